//! Programs: finding one in `PATH`, and asking it what it can do.
//!
//! Never here: which program an app needs.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::detected_app::DetectError;

/// A program that runs apps.
pub(super) struct Program<'a> {
    pub(super) name: &'a str,
    /// How to install it, as a command where there is one.
    pub(super) install: &'static str,
}

impl Program<'_> {
    /// The error for an app that needs the program where it is not installed.
    pub(super) fn missing(&self, needed_for: &str) -> DetectError {
        let (runtime, needed_for) = (self.name.into(), needed_for.into());
        DetectError::MissingRuntime { runtime, needed_for, install: self.install }
    }
}

/// The folders of a `PATH`, in order.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    folders: Vec<PathBuf>,
}

impl Programs {
    /// Takes `PATH` apart; relative and empty entries are left out, as they would mean the server's own folder.
    pub(super) fn new(path_env: &OsString) -> Self {
        Self { folders: env::split_paths(path_env).filter(|folder| folder.is_absolute()).collect() }
    }

    /// The same folders with `folder` searched first, when it exists.
    pub(super) fn preferring(&self, folder: &Path) -> Self {
        if !folder.is_dir() {
            return self.clone();
        }
        let mut folders = vec![folder.to_owned()];
        folders.extend_from_slice(&self.folders);
        Self { folders }
    }

    /// The first executable file of that name.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(name)).find(|path| is_executable(path))
    }

    /// The folders as the text of a `PATH` variable.
    pub(super) fn variable(&self) -> (String, String) {
        let folders: Vec<_> = self.folders.iter().map(|folder| folder.to_string_lossy()).collect();
        ("PATH".into(), folders.join(":"))
    }

    /// Runs `program` and returns what it wrote when it ends well within [`ASK_TIMEOUT`].
    pub(super) fn ask(&self, program: &Path, args: &[&str]) -> Option<String> {
        let (name, value) = self.variable();
        let mut child = Command::new(program)
            .args(args)
            .env(name, value)
            // The working directory may be gone, and then some programs do not even print their version.
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let output = read_within(&mut child, ASK_TIMEOUT);
        if output.is_none() {
            child.kill().ok();
        }
        let status = child.wait().ok()?;
        output.filter(|_| status.success())
    }
}

/// Whether the path is a regular file that its owner, group or others may execute.
pub(super) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The whole output of a program, read on a thread of its own, so that a full pipe does not stop the program.
fn read_within(child: &mut Child, limit: Duration) -> Option<String> {
    let mut stdout = child.stdout.take()?;
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok()?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let timeout = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)).ok()? > 0;
    if !ended {
        return None;
    }
    reader.join().ok()?.ok()
}

/// The time limit: a runtime that takes longer to print its version would not start an app in time either.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
