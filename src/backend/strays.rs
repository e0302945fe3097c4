//! Owns finding and ending the processes of a worker that left its process group, as daemons do (daemon(7), setsid(2)).
//!
//! Never here: a process that was started for another worker, or by anybody else. What is a worker's is told by the
//! word in its environment that no other worker of any server has; a process that has thrown its environment away is
//! not found.

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use tokio::task::spawn_blocking;

use crate::name::WorkerId;

/// The word by which the processes of one worker are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark(String);

impl Mark {
    /// A word that no other worker has.
    pub(super) fn new() -> Self {
        Self(format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)))
    }

    /// What [`VARIABLE`] is set to.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Kills every process that has the mark, and names in the log those that are outside `group`; returns how many
    /// there were. Reading `/proc` takes about 20 µs for each process of the machine, off this thread.
    pub(super) async fn end(&self, worker: WorkerId, group: Pid) -> usize {
        let mark = self.clone();
        let looking = spawn_blocking(move || {
            let found = mark.processes();
            for process in &found {
                process.kill(&mark);
            }
            found
        });
        // Only a runtime that shuts down does not run it.
        let found = looking.await.unwrap_or_default();
        for Stray { pid, .. } in found.iter().filter(|stray| stray.group != Some(group)) {
            let command = command(*pid);
            tracing::warn!(%worker, %pid, command, "a process had left its worker's process group: it ends with its worker");
        }
        found.len()
    }

    /// Whether a process other than `leader` is alive that has the mark.
    pub(super) async fn has_others(&self, leader: Pid) -> bool {
        let mark = self.clone();
        let looking = spawn_blocking(move || mark.processes().iter().any(|process| process.pid != leader));
        looking.await.unwrap_or_default()
    }

    fn processes(&self) -> Vec<Stray> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let pids = pids.filter_map(Pid::from_raw).filter(|pid| *pid != getpid());
        pids.filter(|pid| self.is_on(*pid))
            .map(|pid| Stray { pid, group: super::procs::group_of(pid) })
            .collect()
    }

    /// A process that has exited, and one of another user's, show no environment.
    fn is_on(&self, pid: Pid) -> bool {
        let wanted = format!("{VARIABLE}={}", self.0);
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes())
    }
}

/// A process that has the mark.
struct Stray {
    pid: Pid,
    /// `None`: it has just exited.
    group: Option<Pid>,
}

impl Stray {
    /// Looks at the mark again once the process is held: its number may have become another's.
    fn kill(&self, mark: &Mark) {
        let Ok(held) = pidfd_open(self.pid, PidfdFlags::empty()) else { return };
        if mark.is_on(self.pid) {
            // One that is gone already is what it is to be.
            pidfd_send_signal(held, Signal::KILL).ok();
        }
    }
}

fn command(pid: Pid) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().into()
}

/// The variable in a worker's environment that holds its mark.
pub(super) const VARIABLE: &str = "RIP_MARK";

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_process_is_found_in_any_group_and_only_by_its_own_mark() {
        let (mark, other) = (Mark::new(), Mark::new());
        let mut child =
            Command::new("sleep").arg("600").env(VARIABLE, mark.as_str()).process_group(0).spawn().unwrap();
        let pid = Pid::from_child(&child);
        // The environment is the program's once it has been executed.
        while !mark.is_on(pid) {
            tokio::task::yield_now().await;
        }

        assert!(mark.has_others(getpid()).await);
        assert!(!mark.has_others(pid).await && !other.has_others(getpid()).await);
        assert_eq!(other.end(WorkerId(1), getpid()).await, 0);
        assert!(child.try_wait().unwrap().is_none());
        assert_eq!(mark.end(WorkerId(1), getpid()).await, 1);
        assert!(!child.wait().unwrap().success());
    }
}
