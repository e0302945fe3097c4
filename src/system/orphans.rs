//! Reaps orphans that the kernel gives to this process: as the first process of a container (pid_namespaces(7)), or as
//! a subreaper (prctl(2)).
//!
//! Never here: a child that this process waits for.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, getpid, waitid};
use tokio::signal::unix::{self, SignalKind};
use tokio::time::sleep;

/// Keeps a child from being reaped as an orphan, for as long as this lives. Children that are waited for from their
/// start on need none: a child is reaped as an orphan only when it has been a zombie for a second.
#[derive(Debug)]
pub(crate) struct AwaitedChild(Pid);

impl AwaitedChild {
    /// Claims the child; to be made before the child can have ended.
    pub(crate) fn new(child: Pid) -> Self {
        own().insert(child);
        Self(child)
    }
}

impl Drop for AwaitedChild {
    fn drop(&mut self) {
        own().remove(&self.0);
    }
}

/// Whether the kernel gives orphans to this process.
pub(crate) fn come_here() -> bool {
    getpid().is_init() || rustix::process::child_subreaper().is_ok_and(|parent| parent.is_some())
}

/// Reaps orphans until the future is dropped.
///
/// # Errors
/// When no handler of SIGCHLD can be installed.
///
/// # Panics
/// Outside a tokio runtime with signals and time enabled.
pub(crate) async fn reap() -> io::Result<()> {
    let mut ends = unix::signal(SignalKind::child())?;
    let mut seen = HashSet::new();
    loop {
        if seen.is_empty() {
            ends.recv().await;
        }
        sleep(PAUSE).await;
        let zombies = zombies();
        let own = own().clone();
        let orphans: HashSet<Pid> = zombies.difference(&own).copied().collect();
        // Only children that have been zombies for a while are reaped: the code that has started a child reaps it
        // sooner.
        for orphan in orphans.intersection(&seen) {
            // An error means that the orphan is gone, as it should be.
            let _ = waitid(WaitId::Pid(*orphan), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
        seen = orphans.difference(&seen).copied().collect();
    }
}

/// Children of this process that have exited and were not reaped.
fn zombies() -> HashSet<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashSet::new() };
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?));
    let me = getpid();
    let dead = |pid: &Pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state_and_parent(&stat) == Some(("Z", me))
    };
    pids.filter(dead).collect()
}

/// The state and the parent in the text of `/proc/PID/stat` (proc_pid_stat(5)).
fn state_and_parent(stat: &str) -> Option<(&str, Pid)> {
    // The command's name, in parentheses, may itself have spaces and parentheses.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    Some((fields.next()?, Pid::from_raw(fields.next()?.parse().ok()?)?))
}

fn own() -> MutexGuard<'static, HashSet<Pid>> {
    // The data under the lock is whole after every step.
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The claimed children; looked at once a second at most, and changed when a worker starts or ends.
static OWN: LazyLock<Mutex<HashSet<Pid>>> = LazyLock::new(Mutex::default);

const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_parent_are_found_behind_any_name() {
        let parent = Pid::from_raw(7);
        assert_eq!(state_and_parent("9 (a) b) Z 7 9 9 0"), parent.map(|parent| ("Z", parent)));
        for stat in ["9 (a) Z 0 9", "9 (a) Z", "9 (a", ""] {
            assert_eq!(state_and_parent(stat), None, "{stat}");
        }
    }
}
