//! Owns finding and ending the processes of a worker that left its process group, as daemons do (daemon(7), setsid(2)).
//!
//! Never here: a process that was started for another worker, or by anybody else. A worker's processes are known by a
//! word in their environment that no other worker of any server has; a process that has thrown its environment away is
//! not found.

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use tokio::task::spawn_blocking;

use super::procfs::group_of;
use crate::name::WorkerId;

/// The word in the environment by which the processes of one worker are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark(String);

impl Mark {
    /// A mark that no other worker has.
    pub(super) fn new() -> Self {
        Self(format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)))
    }

    /// The value of [`VARIABLE`].
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The mark with this text.
    pub(super) fn parse(text: &str) -> Self {
        Self(text.into())
    }

    /// Sends a signal to every process outside `group` that has the mark; returns those processes. Blocks: reading
    /// `/proc` takes about 20 µs for each process of the machine.
    fn signal(&self, signal: Signal, group: Pid) -> Vec<Stray> {
        let mut found = all();
        found.retain(|stray| stray.mark == *self && stray.group != Some(group));
        for stray in &found {
            stray.signal(signal);
        }
        found
    }

    /// Kills every process outside `group` that has the mark, and names them in the log.
    pub(super) async fn end(&self, worker: WorkerId, group: Pid) {
        let mark = self.clone();
        let looking = spawn_blocking(move || mark.signal(Signal::KILL, group));
        // The task fails only when the runtime shuts down.
        for Stray { pid, command, .. } in looking.await.unwrap_or_default() {
            tracing::warn!(%worker, %pid, command, "a process had left its worker's process group: it ends with its worker");
        }
    }

    /// Whether a process other than `leader` is alive that has the mark.
    pub(super) async fn has_others(&self, leader: Pid) -> bool {
        let mark = self.clone();
        let looking = spawn_blocking(move || all().iter().any(|it| it.mark == mark && it.pid != leader));
        looking.await.unwrap_or_default()
    }
}

/// A process that has a mark.
pub(super) struct Stray {
    pub(super) mark: Mark,
    pid: Pid,
    /// The process group; `None`: the process has just exited.
    pub(super) group: Option<Pid>,
    command: String,
}

impl Stray {
    /// Sends a signal. The mark is looked at again when the process is held by a descriptor, because its number may
    /// have become another process's.
    pub(super) fn signal(&self, signal: Signal) {
        let Ok(held) = pidfd_open(self.pid, PidfdFlags::empty()) else { return };
        if mark_of(self.pid).is_some_and(|mark| mark == self.mark) {
            // An error means that the process is gone, as it should be.
            pidfd_send_signal(held, signal).ok();
        }
    }
}

/// Every process of the machine that has a mark. Blocks.
pub(super) fn all() -> Vec<Stray> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let pids = pids.filter_map(Pid::from_raw).filter(|pid| *pid != getpid());
    let marked = pids.filter_map(|pid| {
        let mark = mark_of(pid)?;
        let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Some(Stray { mark, pid, group: group_of(pid), command: command.trim_end().into() })
    });
    marked.collect()
}

/// The mark of a process; one that has exited, and one of another user, show no environment.
fn mark_of(pid: Pid) -> Option<Mark> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut values = environment.split(|byte| *byte == 0);
    let value = values.find_map(|pair| pair.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"="))?;
    std::str::from_utf8(value).ok().map(Mark::parse)
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
        // The environment is the program's after it has been executed.
        while mark_of(pid).as_ref() != Some(&mark) {
            tokio::task::yield_now().await;
        }

        assert!(mark.has_others(getpid()).await);
        assert!(!mark.has_others(pid).await && !other.has_others(getpid()).await);
        other.end(WorkerId(1), getpid()).await;
        mark.end(WorkerId(1), pid).await;
        assert!(child.try_wait().unwrap().is_none());
        mark.end(WorkerId(1), getpid()).await;
        assert!(!child.wait().unwrap().success());
    }
}
