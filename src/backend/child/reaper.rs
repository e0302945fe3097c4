//! Owns `rip-server worker-guard`: a process that outlives a killed server for as long as it takes to end its workers.
//!
//! Never here: a worker ended while the server lives; restarting anything; the server's side (`reaper_client`).
//!
//! Standard input is a pipe whose other end only the server holds: its end of file is the server's end. Standard output
//! is the open lock file of the runtime directory; the reaper holds it until nothing of the old server is left, so that
//! the next server does not start its workers before.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::Instant;

use super::children::{ChildGroup, Children, follow};
use super::procfs::Groups;
use super::strays;

/// Runs `worker-guard INSTANCE`, given the words after `worker-guard`; returns when the server is gone and nothing of
/// its workers is left. Blocks; to be called without a runtime.
pub(crate) fn run_reaper(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let instance = words.into_iter().next().unwrap_or_default();
    let children = follow(io::stdin().lock());
    if !children.is_empty() {
        // The notice is written on a thread of its own: the reader of the server's output may be gone, or read nothing,
        // and nothing may delay the end of the workers.
        let (server, count) = (instance.display(), children.len());
        let text = format!("rip-server: the server of {server} is gone; ending its workers: {count}\n");
        let (said, heard) = std::sync::mpsc::sync_channel(1);
        let say = move || said.send(io::stderr().write_all(text.as_bytes()).is_ok());
        let speaking = std::thread::Builder::new().spawn(say);
        end(&children);
        if speaking.is_ok() {
            let _ = heard.recv_timeout(STDERR_TIMEOUT);
        }
    }
    ExitCode::SUCCESS
}

fn end(children: &Children) {
    signal_all(children, Signal::TERM);
    wait_while_alive(children, TERM_TIMEOUT);
    signal_all(children, Signal::KILL);
    // Killed processes are gone a moment later; a server that starts after this process relies on it.
    wait_while_alive(children, KILL_TIMEOUT);
    for file in children.values().flat_map(|child| &child.files) {
        fs::remove_file(file).ok();
    }
}

fn wait_while_alive(children: &Children, limit: Duration) {
    let give_up = Instant::now() + limit;
    while Instant::now() < give_up && any_alive(children) {
        #[expect(
            clippy::disallowed_methods,
            reason = "one thread, and nothing tells when a foreign group is empty"
        )]
        std::thread::sleep(TICK);
    }
}

fn signal_all(children: &Children, signal: Signal) {
    for group in children.keys() {
        // An error means that the group is gone, as it should be.
        kill_process_group(*group, signal).ok();
    }
    for stray in strays::all() {
        let theirs =
            |(group, child): (&Pid, &ChildGroup)| child.mark == stray.mark && stray.group != Some(*group);
        if children.iter().any(theirs) {
            stray.signal(signal);
        }
    }
}

fn any_alive(children: &Children) -> bool {
    Groups::read().is_ok_and(|groups| children.keys().any(|group| !groups.members(*group).is_empty()))
        || strays::all().iter().any(|stray| children.values().any(|child| child.mark == stray.mark))
}

const TERM_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for the kernel to end killed processes. Together with the times for SIGTERM and for the last words it is
/// less than a new server waits for this process.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(20);
/// The time for the reader of standard error, when nothing else is left to do.
const STDERR_TIMEOUT: Duration = Duration::from_millis(500);
