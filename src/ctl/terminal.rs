//! Owns the terminal of a command that is no child of this program: one of its own, whose bytes are passed on to and from
//! this program's, as script(1) does.
//!
//! Never here: the command.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use tokio::signal::unix::{SignalKind, signal};

/// A terminal for a command.
pub(super) struct Terminal {
    path: String,
    ours: OwnedFd,
    /// The command's side; while it is open here, the end of one of the command's processes is not the terminal's.
    theirs: File,
}

impl Terminal {
    /// A terminal as large as this program's; `None`: this program has none, and its streams can be handed over.
    pub(super) fn of_process() -> io::Result<Option<Self>> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let path = ptsname(&ours, Vec::new())?.into_string().map_err(io::Error::other)?;
        let theirs = rustix::fs::open(
            path.as_str(),
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        let terminal = Self { path, ours, theirs: File::from(theirs) };
        terminal.fit();
        Ok(Some(terminal))
    }

    /// The path by which others open it.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Passes bytes and sizes on until `command` is over, and then what it has written.
    pub(super) async fn pass(self, command: impl Future<Output = Result<u8, String>>) -> Result<u8, String> {
        let failed = |error: io::Error| error.to_string();
        let raw = RawInput::begin().map_err(failed)?;
        let (input, output) =
            (self.ours.try_clone().map_err(failed)?, self.ours.try_clone().map_err(failed)?);
        thread::spawn(move || copy(io::stdin(), File::from(input)));
        let (done, written) = mpsc::channel::<()>();
        thread::spawn(move || {
            copy(File::from(output), io::stdout());
            drop(done);
        });
        let mut resized = signal(SignalKind::window_change()).map_err(failed)?;
        let mut command = pin!(command);
        let code = loop {
            tokio::select! {
                code = &mut command => break code,
                _ = resized.recv() => self.fit(),
            }
        };
        // The other side ends when the last process has closed it.
        drop(self.theirs);
        written.recv_timeout(LAST_WORDS).ok();
        drop(raw);
        code
    }

    fn fit(&self) {
        if let Ok(size) = tcgetwinsize(io::stdin()) {
            // A terminal that cannot be resized keeps its size.
            tcsetwinsize(&self.ours, size).ok();
        }
    }
}

/// Copies bytes as they come until one side ends.
fn copy(mut from: impl Read, mut to: impl Write) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

/// Standard input without lines, echo and signals; as it was when this is dropped.
struct RawInput(Termios);

impl RawInput {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin().as_fd())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawInput {
    fn drop(&mut self) {
        tcsetattr(io::stdin().as_fd(), OptionalActions::Drain, &self.0).ok();
    }
}

/// How long what the command has written is waited for after its end.
const LAST_WORDS: Duration = Duration::from_secs(2);
