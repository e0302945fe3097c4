//! Owns `rip-server worker-guard`: a process that outlives a killed server for as long as it takes to end its workers.
//!
//! Never here: a worker ended while the server lives; restarting anything; the server's side (`keeper`).
//!
//! Standard input is a pipe that only the server holds the other end of: its end of file is the server's end. Standard
//! output is the open lock file of the runtime directory: held until nothing of the old server is left, so that the
//! next one does not start its workers on top.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::Instant;

use super::procs::Groups;
use super::strays::{self, Mark};

/// Runs `worker-guard INSTANCE`, given the words after `worker-guard`; returns when the server is gone and nothing of
/// its workers is left. Blocks; to be called without a runtime.
pub fn run_guard(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let instance = words.into_iter().next().unwrap_or_default();
    let wards = listen(io::stdin().lock());
    if !wards.is_empty() {
        // On a thread of its own: whoever read the server's output may be gone, or read nothing, and
        // nothing may keep the workers from their end.
        let (server, count) = (instance.display(), wards.len());
        let text = format!("rip-server: the server of {server} is gone; ending its workers: {count}\n");
        let (said, heard) = std::sync::mpsc::sync_channel(1);
        let say = move || said.send(io::stderr().write_all(text.as_bytes()).is_ok());
        let speaking = std::thread::Builder::new().spawn(say);
        end(&wards);
        if speaking.is_ok() {
            let _ = heard.recv_timeout(LAST_WORDS);
        }
    }
    ExitCode::SUCCESS
}

/// What the guard looks after: process groups.
pub(super) type Wards = HashMap<Pid, Ward>;

/// What else a worker is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ward {
    /// In the environment of its processes, also of those that left the group.
    pub(super) mark: Mark,
    /// The socket files it leaves behind.
    pub(super) files: Vec<PathBuf>,
}

/// The line that puts a group under guard. Shorter than PIPE_BUF, so that it arrives whole or not at all: pipe(7).
pub(super) fn line_of(group: Pid, ward: &Ward) -> Vec<u8> {
    let mut line = format!("+{group}\t{}", ward.mark.as_str()).into_bytes();
    for file in &ward.files {
        line.push(b'\t');
        line.extend_from_slice(file.as_os_str().as_bytes());
    }
    line.push(b'\n');
    line
}

/// The line that releases a group.
pub(super) fn release_of(group: Pid) -> Vec<u8> {
    format!("-{group}\n").into_bytes()
}

/// Follows the server's lines to their end; what is left had not been released.
fn listen(mut lines: impl BufRead) -> Wards {
    let (mut wards, mut line) = (Wards::new(), Vec::new());
    while let Ok(1..) = lines.read_until(b'\n', &mut line) {
        // A last line without its end was cut short by the server's death.
        if line.pop() == Some(b'\n') {
            apply(&mut wards, &line);
        }
        line.clear();
    }
    wards
}

fn apply(wards: &mut Wards, line: &[u8]) {
    let mut words = line.get(1..).unwrap_or_default().split(|byte| *byte == b'\t');
    let number =
        words.next().and_then(|word| std::str::from_utf8(word).ok()).and_then(|word| word.parse().ok());
    // Group 1 is init's, and a signal to it one to every process: never, whatever the line says.
    let Some(group) = number.filter(|number| *number > 1).and_then(Pid::from_raw) else {
        return;
    };
    match line[0] {
        b'+' => {
            let mark = words.next().and_then(|word| std::str::from_utf8(word).ok());
            let Some(mark) = mark.filter(|mark| !mark.is_empty()).map(Mark::parse) else { return };
            let files = words.map(|word| PathBuf::from(OsStr::from_bytes(word))).collect();
            wards.insert(group, Ward { mark, files });
        }
        b'-' => drop(wards.remove(&group)),
        _ => {}
    }
}

fn end(wards: &Wards) {
    signal_all(wards, Signal::TERM);
    wait_while_alive(wards, PATIENCE);
    signal_all(wards, Signal::KILL);
    // What was killed is gone a moment later, and whoever comes after this guard takes it for gone.
    wait_while_alive(wards, DYING);
    for file in wards.values().flat_map(|ward| &ward.files) {
        fs::remove_file(file).ok();
    }
}

fn wait_while_alive(wards: &Wards, limit: Duration) {
    let give_up = Instant::now() + limit;
    while Instant::now() < give_up && any_alive(wards) {
        #[expect(
            clippy::disallowed_methods,
            reason = "one thread, and nothing tells when a foreign group is empty"
        )]
        std::thread::sleep(TICK);
    }
}

fn signal_all(wards: &Wards, signal: Signal) {
    for group in wards.keys() {
        // Gone is what they are to be.
        kill_process_group(*group, signal).ok();
    }
    for stray in strays::all() {
        let theirs = |(group, ward): (&Pid, &Ward)| ward.mark == stray.mark && stray.group != Some(*group);
        if wards.iter().any(theirs) {
            stray.signal(signal);
        }
    }
}

fn any_alive(wards: &Wards) -> bool {
    Groups::read().is_ok_and(|groups| wards.keys().any(|group| !groups.members(*group).is_empty()))
        || strays::all().iter().any(|stray| wards.values().any(|ward| ward.mark == stray.mark))
}

const PATIENCE: Duration = Duration::from_secs(5);
/// For the kernel to end what was killed; together with the patience and the last words less than a new server waits for this guard.
const DYING: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(20);
/// For whoever takes standard error, when nothing else is left to do.
const LAST_WORDS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(raw: i32) -> Pid {
        Pid::from_raw(raw).unwrap()
    }

    #[test]
    fn what_was_not_released_is_left() {
        let files = vec![PathBuf::from("/run/a b/w/1.sock"), PathBuf::from("/run/a b/n/1")];
        let bare = Ward { mark: Mark::new(), files: vec![] };
        let ward = Ward { mark: Mark::new(), files };
        let mut lines = line_of(pid(100), &ward);
        lines.extend(line_of(pid(200), &bare));
        lines.extend(line_of(pid(300), &bare));
        lines.extend(release_of(pid(200)));
        lines.extend(release_of(pid(999)));

        assert_eq!(listen(&lines[..]), Wards::from([(pid(100), ward), (pid(300), bare)]));
    }

    #[test]
    fn lines_that_make_no_sense_guard_nothing() {
        for lines in [
            "",
            "\n",
            "+\n",
            "+0\n",
            "+1\n",
            "+-1\n",
            "+x\n",
            "+300\n",
            "+300\t\n",
            "100\n",
            "+99999999999\n",
            "+100",
            "\t\n",
            "+\t\n",
        ] {
            assert_eq!(listen(lines.as_bytes()), Wards::new(), "{lines:?}");
        }
    }
}
