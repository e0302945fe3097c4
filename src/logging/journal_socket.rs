//! journald's socket (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): a record goes as a datagram, a long one as a
//! file.
//!
//! Never here: what a record says (`journal`), or which thread waits for journald (`outlet`).

use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// journald's socket, connected.
#[derive(Debug)]
pub(super) struct JournalSocket(UnixDatagram);

impl JournalSocket {
    /// Connects to journald.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(super) fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(JOURNALD)?;
        Ok(Self(socket))
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Sends one record; waits while journald takes none.
    pub(super) fn send(&self, record: &[u8]) -> io::Result<()> {
        match self.0.send(record) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) => self.send_sealed(record),
            // journald was started anew, and the socket is still the old one's.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.0.connect(JOURNALD)?;
                self.0.send(record).map(drop)
            }
            sent => sent.map(drop),
        }
    }

    /// Sends a record that is too long for a datagram as a file that cannot change any more.
    fn send_sealed(&self, record: &[u8]) -> io::Result<()> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create("rip-server-log", flags)?);
        file.write_all(record)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [file.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.0, &[IoSlice::new(&[])], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

const JOURNALD: &str = "/run/systemd/journal/socket";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_too_long_for_a_datagram_arrives_as_a_file() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let record = vec![b'x'; 4 << 20];
        JournalSocket(ours).send(&record).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let mut nothing = [0];
        let flags = rustix::net::RecvFlags::empty();
        rustix::net::recvmsg(&theirs, &mut [io::IoSliceMut::new(&mut nothing)], &mut beside, flags).unwrap();
        let sent = beside.drain().find_map(|message| match message {
            rustix::net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let file = File::from(sent.unwrap());
        assert_eq!(file.metadata().unwrap().len(), record.len() as u64);
    }
}
