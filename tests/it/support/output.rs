//! The lines that a server writes to standard output and standard error.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::until;

/// The lines so far; more come while the server runs.
#[derive(Clone, Default)]
pub(crate) struct Output {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Output {
    /// Starts the command and takes in what it writes. With `error_only` standard output is something else.
    pub(super) fn capture(mut command: Command, error_only: bool) -> (Child, Self) {
        if !error_only {
            command.stdin(Stdio::null()).stdout(Stdio::piped());
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let output = Self::default();
        if let Some(stdout) = child.stdout.take() {
            output.read(stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            output.read(stderr);
        }
        (child, output)
    }

    /// The same for standard output alone; standard error goes elsewhere.
    pub(super) fn of_records(mut command: Command, errors: OwnedFd) -> (Child, Self) {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let output = Self::default();
        if let Some(stdout) = child.stdout.take() {
            output.read(stdout);
        }
        (child, output)
    }

    /// The same on a terminal of its own.
    pub(super) fn on_a_terminal(mut command: Command) -> (Child, Self) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal =
            File::options().read(true).write(true).open(OsStr::from_bytes(name.to_bytes())).unwrap();
        command.stdin(Stdio::null()).stdout(terminal.try_clone().unwrap()).stderr(terminal);
        let child = command.spawn().unwrap();
        let output = Self::default();
        output.read(File::from(master));
        (child, output)
    }

    fn read(&self, stream: impl Read + Send + 'static) {
        let lines = Arc::clone(&self.lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                lines.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Whether any line so far contains the text.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.count(text) > 0
    }

    /// Waits until a line contains the text: lines are on their way for a while.
    pub(crate) async fn says(&self, text: &str) {
        until(&format!("the server says {text:?}"), || async { self.contains(text) }).await;
    }

    /// How many lines so far contain the text.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// The lines so far that are JSON objects.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        self.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}
