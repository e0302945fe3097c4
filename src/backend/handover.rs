//! Owns the talk between the server and a worker's start-up shim: the go with the listener, then why the program
//! could not be executed, or nothing.
//!
//! Never here: making the listener (`sockets`), starting the shim (`child`), executing the program (`shim`).
//!
//! ```text
//! server                        shim
//!   │── one byte, listener ──────▶│      not before the reaper knows the process group
//!   │                             │ exec
//!   │◀──────────── end of file ───│      it runs: the channel closes on exec
//!   │◀── error number and text ───│      or it cannot
//! ```

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::AsyncReadExt;

/// Sends the go, with the listener if the worker is to have one. The message fits the socket's buffer, so that sending
/// it never blocks.
pub(super) fn give(channel: impl AsFd, listener: Option<&UnixListener>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = listener.map(|listener| [listener.as_fd()]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(channel, &[IoSlice::new(GO)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits until the program runs or cannot. When the future is dropped, only the answer is lost.
///
/// # Errors
/// Why the program could not be executed, in a sentence.
pub(super) async fn outcome(channel: tokio::net::UnixStream) -> io::Result<()> {
    let mut answer = Vec::new();
    channel.take(MAX_ANSWER as u64).read_to_end(&mut answer).await?;
    let Some((errno, text)) = answer.split_first_chunk() else {
        return Ok(());
    };
    let kind = io::Error::from_raw_os_error(i32::from_le_bytes(*errno)).kind();
    Err(io::Error::new(kind, String::from_utf8_lossy(text)))
}

/// The message that the shim got.
pub(super) enum Given {
    /// The go, with the listener or without.
    Go(Option<OwnedFd>),
    /// The server is gone.
    Gone,
}

/// The shim's wait for the go. The listener is closed on exec.
pub(super) fn receive(channel: &UnixStream) -> io::Result<Given> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = rustix::io::retry_on_intr(|| {
        recvmsg(channel, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)
    })?;
    if got.bytes == 0 {
        return Ok(Given::Gone);
    }
    let listener = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(Given::Go(listener))
}

/// Why the program cannot be executed.
pub(super) struct ExecRefusal {
    /// The error number, 0 when there is none.
    pub(super) errno: i32,
    /// The reason for people, without the program's name.
    pub(super) text: String,
}

impl ExecRefusal {
    /// Sends the shim's report.
    pub(super) fn send(&self, mut channel: &UnixStream) -> io::Result<()> {
        let mut answer = self.errno.to_le_bytes().to_vec();
        answer.extend(self.text.bytes());
        answer.truncate(MAX_ANSWER);
        channel.write_all(&answer)
    }
}

impl From<Errno> for ExecRefusal {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl From<io::Error> for ExecRefusal {
    fn from(error: io::Error) -> Self {
        Self { errno: error.raw_os_error().unwrap_or_default(), text: error.to_string() }
    }
}

const GO: &[u8] = b"g";
const MAX_ANSWER: usize = 4096;
