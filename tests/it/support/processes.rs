//! The processes that belong to one test: they name its folder in their environment or command line.

use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Gives the processes of the folder a moment to end and returns those that do not, as `pid command`.
pub(crate) fn left_behind(root: &Path) -> Vec<String> {
    let root = root.to_str().unwrap().as_bytes();
    let mut left = Vec::new();
    for pid in all().filter(|pid| belongs(*pid, root)) {
        let Some(handle) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            continue;
        };
        let wait = Timespec { tv_sec: GRACE.as_secs() as i64, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&wait)).unwrap();
        if ended == 0 && belongs(pid, root) {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            left.push(format!("{pid} {}", String::from_utf8_lossy(&command).replace('\0', " ")));
        }
    }
    left
}

fn all() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Not of zombies: both files are empty then. Not of this test's own process.
fn belongs(pid: i32, root: &[u8]) -> bool {
    let mentions = |file: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        memchr::memmem::find(&bytes, root).is_some()
    };
    pid != std::process::id() as i32 && (mentions("environ") || mentions("cmdline"))
}

const GRACE: Duration = Duration::from_secs(12);
