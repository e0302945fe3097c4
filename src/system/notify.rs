//! Owns the messages of this process to systemd (sd_notify(3)).
//!
//! Without `NOTIFY_SOCKET` every function has no effect; a failure is only logged at debug. A thread sends the messages in
//! the order of the calls, so that no function waits but those that say so. Never here: what systemd passes to the process
//! (`sd`).

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, sendmsg_addr, socket_with,
};
use sd_notify::NotifyState;

use crate::system::writer_thread::{self, RecordBatch, Sink, WriterHandle};

/// Says that the start, or a reload, is complete; `status` as in [`status`].
pub(crate) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// Says that a reload begins; [`ready`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // The time goes into the same message, as Type=notify-reload needs for this reload.
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic time for systemd"),
    }
}

/// Says that the reload is complete.
pub(crate) fn reloaded() {
    send(&[NotifyState::Ready]);
}

/// Says that the end has begun; `status` as in [`status`].
pub(crate) fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
}

/// Sets the line that `systemctl status` shows; control characters become spaces.
pub(crate) fn status(text: &str) {
    send(&[NotifyState::Status(&one_line(text))]);
}

/// Says that the server is alive; due every [`main_watchdog_interval`].
pub(crate) fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// Asks for `more` time, counted from now, for the current start, reload or stop.
pub(crate) fn extend_timeout(more: Duration) {
    send(&[NotifyState::ExtendTimeoutUsec(u32::try_from(more.as_micros()).unwrap_or(u32::MAX))]);
}

/// The interval in which to call [`watchdog`]: half the time after which systemd kills this process; `None` when
/// the unit has no watchdog or means another process.
pub(crate) fn main_watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()).map(|limit| limit / 2)
}

/// Gives systemd bytes to keep over a restart of the service, in memory that nobody can change, in the place of
/// earlier ones of this name; [`super::sd::Inherited`] has them after the restart. `FileDescriptorStoreMax=` of the
/// unit has to allow it. Blocks until systemd has them.
///
/// # Errors
/// The kernel's error. Without systemd nothing is done.
pub(crate) fn keep(name: &str, bytes: &[u8]) -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.as_encoded_bytes().split_first() {
        Some((b'@', name)) => SocketAddrUnix::new_abstract_name(name)?,
        _ => SocketAddrUnix::new(&*path)?,
    };
    let mut memory = File::from(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    memory.write_all(bytes)?;
    fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let send = |text: &str, ancillary: &mut SendAncillaryBuffer<'_, '_, '_>| {
        sendmsg_addr(&socket, &address, &[IoSlice::new(text.as_bytes())], ancillary, SendFlags::empty())
    };
    send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &mut SendAncillaryBuffer::default())?;
    let descriptors = [memory.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    send(&format!("FDSTORE=1\nFDNAME={name}"), &mut ancillary)?;
    Ok(())
}

/// Waits, for at most a second, until systemd has all messages. For the end of the process: blocks its thread.
pub(crate) fn flush() {
    if let Some(Some(way)) = THREAD.get() {
        way.flush(Duration::from_secs(1));
    }
}

fn send(state: &[NotifyState<'_>]) {
    let way = THREAD.get_or_init(|| {
        std::env::var_os("NOTIFY_SOCKET")?;
        writer_thread::start("notify", NotifySocket).map(|(way, _)| way).ok()
    });
    let Some(way) = way else { return };
    let lines: Vec<String> = state.iter().map(ToString::to_string).collect();
    if way.hand_over(&mut Words(lines.join("\n"))).is_err() {
        tracing::debug!("systemd was not notified: it takes nothing");
    }
}

static THREAD: OnceLock<Option<WriterHandle<Words>>> = OnceLock::new();

/// A message: assignments, one a line.
#[derive(Default)]
struct Words(String);

impl RecordBatch for Words {
    fn records(&self) -> usize {
        1
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn reset(&mut self) -> bool {
        false
    }
}

struct NotifySocket;

impl Sink<Words> for NotifySocket {
    fn write(&mut self, words: &Words) {
        if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&words.0)]) {
            tracing::debug!(%error, "systemd was not notified");
        }
    }
}

/// The text in one line: a line break would begin another assignment of the protocol.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_begin_another_assignment() {
        assert_eq!(one_line("2 apps\nMAINPID=1\r\0\u{85}é"), "2 apps MAINPID=1   é");
    }
}
