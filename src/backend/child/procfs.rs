//! Owns what the kernel says about processes: the end of a child, who is in a process group, how much memory it has.
//!
//! Never here: a signal, or a decision about what is found.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::signal::unix::{self, SignalKind};

use crate::system::orphans::AwaitedChild;

/// Tells when a child has exited, and does not reap it: until then no other process has its ids.
pub(super) struct ExitWatch {
    child: Pid,
    /// The guard that keeps other code from reaping the child, from its start on.
    _own: AwaitedChild,
    /// Tells the end of any child; waitid(2) says whether it was this one's.
    ends: unix::Signal,
}

impl ExitWatch {
    /// Watches a child that has not been reaped.
    pub(super) fn new(child: &Child) -> io::Result<Self> {
        let child = Pid::from_child(child);
        Ok(Self { child, _own: AwaitedChild::new(child), ends: unix::signal(SignalKind::child())? })
    }

    /// Returns when the child has exited. Cancel-safe.
    pub(super) async fn exited(&mut self) {
        // An error can only mean that there is no such child any more.
        while lives(self.child) {
            self.ends.recv().await;
        }
    }

    /// The status of a child that has exited and has not been reaped.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        let ended = waitid(WaitId::Pid(self.child), LOOK).ok()??;
        // The status in the form of wait(2).
        let raw = ended.exit_status().map(|status| status << 8).or(ended.terminating_signal())?;
        Some(ExitStatus::from_raw(raw))
    }
}

/// All processes that have not exited, by process group.
pub(super) struct Groups(HashMap<Pid, Vec<Pid>>);

impl Groups {
    /// Reads `/proc` once: about 10 µs per process of the machine.
    pub(super) fn read() -> io::Result<Self> {
        let mut groups: HashMap<Pid, Vec<Pid>> = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
                continue;
            };
            // A process that ended meanwhile is no member any more.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
                continue;
            };
            if let Some(group) = living_group(&stat) {
                groups.entry(group).or_default().push(pid);
            }
        }
        Ok(Self(groups))
    }

    /// The members of a group, its leader among them.
    pub(super) fn members(&self, group: Pid) -> &[Pid] {
        self.0.get(&group).map_or(&[], Vec::as_slice)
    }

    /// Memory of a group in bytes: each page counts by the share that the processes have in it (PSS), so that workers
    /// forked from one loaded app, or running one big binary, add up to their real cost. `None`: no such process.
    pub(super) fn memory(&self, group: Pid) -> Option<u64> {
        self.members(group).iter().filter_map(|pid| memory(*pid)).reduce(|sum, bytes| sum + bytes)
    }
}

/// The processes of a group that have not exited, and their descendants in other groups.
pub(super) fn family(group: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?));
    let kin = |pid: Pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parent(&stat), living_group(&stat)?))
    };
    let all: Vec<(Pid, Option<Pid>, Pid)> = pids.filter_map(kin).collect();
    let mut family: Vec<Pid> = all.iter().filter(|(.., own)| *own == group).map(|(pid, ..)| *pid).collect();
    let mut looked_at = 0;
    while let Some(elder) = family.get(looked_at).copied() {
        looked_at += 1;
        let children = all.iter().filter(|(_, parent, _)| *parent == Some(elder)).map(|(pid, ..)| *pid);
        let born: Vec<Pid> = children.filter(|child| !family.contains(child)).collect();
        family.extend(born);
    }
    family
}

/// The parent in a line of `/proc/PID/stat`.
fn parent(stat: &str) -> Option<Pid> {
    Pid::from_raw(stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().nth(1)?.parse().ok()?)
}

/// The process group of a process that has not exited.
pub(super) fn group_of(pid: Pid) -> Option<Pid> {
    living_group(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether a child that may have been reaped already has not exited.
pub(super) fn lives(child: Pid) -> bool {
    matches!(waitid(WaitId::Pid(child), LOOK), Ok(None))
}

/// Whether a child has exited, without waiting for it or reaping it.
const LOOK: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG).union(WaitIdOptions::NOWAIT);

/// How many processes the kernel has killed for want of memory since its start; `None` where it does not count them.
pub(super) fn oom_kills() -> Option<u64> {
    let vmstat = fs::read_to_string("/proc/vmstat").ok()?;
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
}

/// The process group in a line of `/proc/PID/stat`, unless the process has exited: proc_pid_stat(5).
fn living_group(stat: &str) -> Option<Pid> {
    // The command's name, in parentheses, may itself have spaces and parentheses.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    if matches!(state, "Z" | "X" | "x") { None } else { Pid::from_raw(group) }
}

fn memory(pid: Pid) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kib: u64 = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))?
        .trim()
        .strip_suffix(" kB")?
        .parse()
        .ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_behind_any_name() {
        for (stat, group) in [
            ("7 (sh) S 1 42 42 0", Some(42)),
            ("7 (a b) c) R 1 42 7 0", Some(42)),
            ("7 () S 9 (x) Z 1 42 7 0", None),
            ("7 (sh) Z 1 42 42 0", None),
            ("7 (sh) S 1 0 0 0", None),
            ("7 (sh) S 1", None),
            ("7 (sh", None),
            ("", None),
        ] {
            assert_eq!(living_group(stat), group.and_then(Pid::from_raw), "{stat}");
        }
    }

    #[test]
    fn this_process_is_in_its_group_and_has_memory() {
        let groups = Groups::read().unwrap();
        let group = rustix::process::getpgrp();

        assert!(groups.members(group).contains(&rustix::process::getpid()));
        assert!(groups.memory(group).unwrap() > 1 << 20);
        assert_eq!(groups.memory(Pid::from_raw(i32::MAX).unwrap()), None);
        assert!(family(group).contains(&rustix::process::getpid()));
    }
}
