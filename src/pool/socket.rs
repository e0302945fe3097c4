//! A worker's socket, from which a short answer is read first and taken later.
//!
//! Who takes bytes from a Unix socket wakes the thread that waits at its other end, only to find that there is room to
//! write again (`unix_write_space`). To wake a core that sleeps costs more than the answer. So what is short is looked
//! at (`MSG_PEEK`, recv(2)), and taken together with the next request, which has to wake that thread anyway. Never
//! here: waiting.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::sockopt::socket_domain;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, recv, send};

/// A connected stream socket that does not block. Used by one thread at a time: what is kept beside it is atomic only so
/// that it can be shared on that thread and then handed to another.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// Whether the next read is to leave the bytes: over a Unix socket, while its answers are short.
    leaves: AtomicBool,
    local: bool,
    /// Bytes that were read and left.
    left: AtomicUsize,
}

impl Socket {
    /// # Errors
    /// When it is no socket.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let local = socket_domain(&fd)? == AddressFamily::UNIX;
        Ok(Self { fd, leaves: AtomicBool::new(false), local, left: AtomicUsize::new(0) })
    }

    /// The same socket by another descriptor, with nothing left on it.
    ///
    /// # Errors
    /// When there is no descriptor to be had.
    pub(super) fn again(&self) -> io::Result<Self> {
        Self::new(self.fd.try_clone()?)
    }

    /// Reads into what `into` has room for, at least one byte; 0 is the end.
    pub(super) fn read(&self, into: &mut Vec<u8>) -> Result<usize, Errno> {
        self.take_left()?;
        let before = into.len();
        if self.leaves.load(Relaxed) {
            let count = recv(&self.fd, spare_capacity(into), RecvFlags::PEEK)?.0;
            if count <= SHORT {
                self.left.store(count, Relaxed);
                return Ok(count);
            }
            into.truncate(before);
        }
        let count = recv(&self.fd, spare_capacity(into), RecvFlags::empty())?.0;
        self.leaves.store(self.local && count <= SHORT, Relaxed);
        Ok(count)
    }

    /// Writes some of the bytes, without a signal where nobody reads.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let sent = send(&self.fd, bytes, SendFlags::NOSIGNAL);
        // Afterwards: whoever is awake already need not be woken. What cannot be taken fails the next read.
        self.take_left().ok();
        sent
    }

    /// Whether there is something new to read, or the end.
    pub(super) fn has_news(&self) -> Result<bool, Errno> {
        self.take_left()?;
        match recv(&self.fd, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes what was read and left. Whatever of it cannot be taken stays left: it must never pass for the answer to
    /// another request.
    fn take_left(&self) -> Result<(), Errno> {
        let mut sink = [MaybeUninit::<u8>::uninit(); SHORT];
        loop {
            let left = self.left.load(Relaxed);
            if left == 0 {
                return Ok(());
            }
            match recv(&self.fd, &mut sink[..left], RecvFlags::empty()) {
                Ok((_, count)) if count > 0 => self.left.store(left - count, Relaxed),
                Ok(_) => return Err(Errno::IO),
                Err(Errno::INTR) => {}
                // The bytes are there: only another reader can have taken them.
                Err(Errno::AGAIN) => return Err(Errno::IO),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Socket {
    /// A socket that is closed with bytes on it looks like one that broke (`ECONNRESET`) to the other end.
    fn drop(&mut self) {
        self.take_left().ok();
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// What is read at once up to this size is left.
const SHORT: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (Socket, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Socket::new(ours.into()).unwrap(), theirs)
    }

    /// One exchange of a request and its answer, as over a kept connection.
    fn exchange(socket: &Socket, worker: &mut UnixStream, answer: &[u8]) -> Vec<u8> {
        let mut request = [0; 3];
        socket.write(b"ask").unwrap();
        worker.read_exact(&mut request).unwrap();
        worker.write_all(answer).unwrap();
        let mut into = Vec::with_capacity(64 << 10);
        let count = socket.read(&mut into).unwrap();
        assert_eq!(count, into.len());
        into
    }

    fn unread(socket: &Socket) -> u64 {
        rustix::io::ioctl_fionread(&socket.fd).unwrap()
    }

    #[test]
    fn short_answers_are_left_until_the_next_request_and_each_is_read_once() {
        let (socket, mut worker) = pair();
        for answer in ["one", "two!", "three", "four"] {
            assert_eq!(exchange(&socket, &mut worker, answer.as_bytes()), answer.as_bytes());
            assert!(unread(&socket) <= answer.len() as u64);
        }
        assert_eq!(unread(&socket), 4, "the last one is still there");
    }

    #[test]
    fn long_answers_are_taken_at_once_also_after_short_ones() {
        let (socket, mut worker) = pair();
        exchange(&socket, &mut worker, b"short");
        let long = vec![7; SHORT + 1];
        assert_eq!(exchange(&socket, &mut worker, &long), long);
        assert_eq!(unread(&socket), 0);
    }

    #[test]
    fn what_follows_something_left_is_read_next() {
        let (socket, mut worker) = pair();
        exchange(&socket, &mut worker, b"one");
        assert_eq!(exchange(&socket, &mut worker, b"two"), b"two");
        assert!(!socket.has_news().unwrap(), "it is no news");
        exchange(&socket, &mut worker, b"three");
        worker.write_all(b"four").unwrap();
        assert!(socket.has_news().unwrap());
        let mut into = Vec::with_capacity(64);
        socket.read(&mut into).unwrap();
        assert_eq!(into, b"four");
        drop(worker);
        assert_eq!(socket.read(&mut into), Ok(0));
    }

    #[test]
    fn what_was_left_and_is_gone_fails_the_reads_that_follow() {
        let (socket, mut worker) = pair();
        exchange(&socket, &mut worker, b"one");
        exchange(&socket, &mut worker, b"two");
        rustix::io::read(&socket.fd, &mut [0; 2]).unwrap();
        let mut into = Vec::with_capacity(64);
        assert_eq!(socket.read(&mut into), Err(Errno::IO));
        worker.write_all(b"!").unwrap();
        assert_eq!(socket.write(b"ask"), Ok(3));
        assert_eq!((socket.has_news(), socket.read(&mut into)), (Err(Errno::IO), Err(Errno::IO)));
        assert!(into.is_empty());
    }

    #[test]
    fn a_socket_closed_with_something_left_ends_as_usual_for_the_worker() {
        let (socket, mut worker) = pair();
        exchange(&socket, &mut worker, b"one");
        exchange(&socket, &mut worker, b"two");
        assert_eq!(unread(&socket), 3);
        drop(socket);
        assert_eq!(worker.read(&mut [0; 1]).unwrap(), 0);
    }
}
