//! Owns a worker's socket, from which short answers are read first and taken later.
//!
//! A reader that takes bytes from a Unix socket wakes the thread that waits at its other end, only for that thread to
//! find that there is room to write again (`unix_write_space`). To wake a core that sleeps costs more than the answer.
//! So a short answer is looked at (`MSG_PEEK`, recv(2)), and is taken after the next request was sent, which has to wake
//! that thread anyway. Never here: waiting.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::sockopt::socket_domain;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, recv, send};

/// A connected stream socket that does not block. Only one thread at a time uses the socket: the fields beside it are
/// atomic only so that the socket can be shared on that thread and then handed to another.
#[derive(Debug)]
pub(super) struct WorkerSocket {
    fd: OwnedFd,
    /// Whether short answers may be left: on Unix sockets.
    may_leave: AtomicBool,
    /// Whether the next read is to leave the bytes: while answers are short.
    leaves: AtomicBool,
    /// Bytes that were read and left, or [`LOST`].
    left: AtomicUsize,
}

impl WorkerSocket {
    /// # Errors
    /// When `fd` is no socket.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let may_leave = AtomicBool::new(socket_domain(&fd)? == AddressFamily::UNIX);
        Ok(Self { fd, may_leave, leaves: AtomicBool::new(false), left: AtomicUsize::new(0) })
    }

    /// Makes a second descriptor of the same socket, which knows nothing of what was left.
    ///
    /// # Errors
    /// When there is no descriptor to be had.
    pub(super) fn again(&self) -> io::Result<Self> {
        Self::new(self.fd.try_clone()?)
    }

    /// Reads into what `into` has room for, at least one byte; 0 is the end.
    pub(super) fn read(&self, into: &mut Vec<u8>) -> Result<usize, Errno> {
        if self.left.load(Relaxed) == 0
            && self.leaves.load(Relaxed)
            && let Some(count) = self.look(into)?
        {
            return Ok(count);
        }
        self.take_left()?;
        let count = recv(&self.fd, spare_capacity(into), RecvFlags::empty())?.0;
        self.leaves.store(count <= SHORT && self.may_leave.load(Relaxed), Relaxed);
        Ok(count)
    }

    /// Reads, and leaves the bytes. `None` when there are too many.
    fn look(&self, into: &mut Vec<u8>) -> Result<Option<usize>, Errno> {
        let before = into.len();
        let room = into.capacity() - before;
        let (_, seen) = recv(&self.fd, spare_capacity(into), RecvFlags::PEEK)?;
        if seen == 0 || seen > SHORT || seen == room {
            into.truncate(before);
            return Ok(None);
        }
        self.left.store(seen, Relaxed);
        Ok(Some(seen))
    }

    /// Writes some of the bytes, without a signal where nobody reads, and then takes what was left: a worker that the
    /// write has woken need not be woken again.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let sent = send(&self.fd, bytes, SendFlags::NOSIGNAL);
        self.make_room();
        sent
    }

    /// Takes the bytes that were left in the socket, because the worker may lack the room to write. An error of taking
    /// them fails the next read.
    pub(super) fn make_room(&self) {
        self.take_left().ok();
    }

    /// Has bytes taken when they are read from now on.
    pub(super) fn leave_nothing(&self) {
        self.may_leave.store(false, Relaxed);
        self.leaves.store(false, Relaxed);
        self.make_room();
    }

    /// Tells what there is to read besides the bytes that were left.
    pub(super) fn news(&self) -> Result<News, Errno> {
        self.take_left()?;
        match recv(&self.fd, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((0, _)) => Ok(News::End),
            Ok(_) => Ok(News::Bytes),
            Err(Errno::AGAIN) => Ok(News::None),
            Err(error) => Err(error),
        }
    }

    /// Whether there are bytes to read besides those that were left, which stay.
    pub(super) fn has_bytes(&self) -> Result<bool, Errno> {
        let left = self.left.load(Relaxed);
        if left > SHORT {
            return Err(Errno::IO);
        }
        let mut seen = [MaybeUninit::<u8>::uninit(); SHORT + 1];
        match recv(&self.fd, &mut seen[..=left], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, count)) => Ok(count > left),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes what was read and left. When some of it cannot be taken, nothing is read any more: those bytes must never
    /// pass for the answer to another request.
    fn take_left(&self) -> Result<(), Errno> {
        let mut sink = [MaybeUninit::<u8>::uninit(); SHORT];
        let mut left = self.left.load(Relaxed);
        if left == LOST {
            return Err(Errno::IO);
        }
        while left > 0 {
            match recv(&self.fd, &mut sink[..left], RecvFlags::empty()) {
                Ok((_, count)) if count > 0 => left -= count,
                Err(Errno::INTR) => {}
                // The bytes are there: only another reader can have taken them.
                _ => {
                    self.left.store(LOST, Relaxed);
                    return Err(Errno::IO);
                }
            }
        }
        self.left.store(0, Relaxed);
        Ok(())
    }
}

/// The state of a connection over which nothing was asked: whether there is something to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing, and the other side is open.
    None,
    /// Bytes that nobody asked for.
    Bytes,
    /// The other side has closed, or the connection is of no use.
    End,
}

impl Drop for WorkerSocket {
    /// Takes what was left before the socket is closed: a socket that is closed with bytes on it looks to the other end
    /// like one that broke (`ECONNRESET`).
    fn drop(&mut self) {
        self.take_left().ok();
    }
}

impl AsFd for WorkerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for WorkerSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// The most bytes of one read that are left.
const SHORT: usize = 4 << 10;
/// Bytes that were left and are gone.
const LOST: usize = usize::MAX;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (WorkerSocket, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (WorkerSocket::new(ours.into()).unwrap(), theirs)
    }

    /// A pair of sockets with the answer `two` left in it; the first answer of a socket is taken at once.
    fn pair_with_two_left() -> (WorkerSocket, UnixStream) {
        let (socket, mut worker) = pair();
        exchange(&socket, &mut worker, b"one");
        exchange(&socket, &mut worker, b"two");
        (socket, worker)
    }

    /// Exchanges a request and its answer, as over a kept connection.
    fn exchange(socket: &WorkerSocket, worker: &mut UnixStream, answer: &[u8]) -> Vec<u8> {
        let mut request = [0; 3];
        socket.write(b"ask").unwrap();
        worker.read_exact(&mut request).unwrap();
        worker.write_all(answer).unwrap();
        let mut into = Vec::with_capacity(64 << 10);
        let count = socket.read(&mut into).unwrap();
        assert_eq!(count, into.len());
        into
    }

    fn unread(socket: &WorkerSocket) -> u64 {
        rustix::io::ioctl_fionread(&socket.fd).unwrap()
    }

    #[test]
    fn a_short_answer_is_left_until_the_next_request_and_read_once() {
        let (socket, mut worker) = pair();
        for number in 0..20 {
            let answer = format!("answer {number}");
            assert_eq!(exchange(&socket, &mut worker, answer.as_bytes()), answer.as_bytes());
            let left = if number == 0 { 0 } else { answer.len() as u64 };
            assert_eq!(unread(&socket), left, "the first one of a socket is taken at once");
        }
    }

    #[test]
    fn of_an_answer_in_pieces_no_more_than_the_last_one_is_left() {
        let (socket, mut worker) = pair_with_two_left();
        let mut into = Vec::with_capacity(64);
        socket.write(b"ask").unwrap();
        for piece in ["th", "re", "e"] {
            worker.write_all(piece.as_bytes()).unwrap();
            socket.read(&mut into).unwrap();
        }
        assert_eq!(into, b"three");
        assert_eq!(unread(&socket), 1);
    }

    #[test]
    fn what_fills_the_room_to_the_brim_is_not_all_there_is() {
        let (socket, mut worker) = pair_with_two_left();
        socket.write(b"ask").unwrap();
        worker.write_all(b"fourteen bytes").unwrap();
        let mut into = Vec::with_capacity(8);
        let room = into.capacity();
        assert_eq!(socket.read(&mut into), Ok(room), "who got less would not look for more");
        into.reserve(64);
        socket.read(&mut into).unwrap();
        assert_eq!(into, b"fourteen bytes");
    }

    #[test]
    fn the_next_request_leaves_the_worker_all_the_room_there_is() {
        let (socket, mut worker) = pair_with_two_left();
        assert_eq!(socket.write(b"ask"), Ok(3));
        assert_eq!(unread(&socket), 0);
        worker.write_all(b"three").unwrap();
        let mut into = Vec::with_capacity(64);
        socket.read(&mut into).unwrap();
        assert_eq!(into, b"three");
    }

    #[test]
    fn where_nothing_is_to_be_left_nothing_is() {
        let (socket, mut worker) = pair_with_two_left();
        socket.leave_nothing();
        for _ in 0..3 {
            assert_eq!(unread(&socket), 0);
            assert_eq!(exchange(&socket, &mut worker, b"three"), b"three");
        }
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
        assert!(!socket.has_bytes().unwrap(), "they are no news");
        assert_eq!(unread(&socket), 3, "and they stay");
        assert_eq!(socket.news().unwrap(), News::None, "it is no news");
        assert!(!socket.has_bytes().unwrap());
        exchange(&socket, &mut worker, b"three");
        worker.write_all(b"four").unwrap();
        assert!(socket.has_bytes().unwrap());
        assert_eq!(socket.news().unwrap(), News::Bytes);
        assert!(socket.has_bytes().unwrap());
        let mut into = Vec::with_capacity(64);
        socket.read(&mut into).unwrap();
        assert_eq!(into, b"four");
        drop(worker);
        assert_eq!(socket.news(), Ok(News::End));
        assert_eq!(socket.read(&mut into), Ok(0));
    }

    #[test]
    fn what_was_left_and_is_gone_fails_the_reads_that_follow() {
        let (socket, mut worker) = pair_with_two_left();
        rustix::io::read(&socket.fd, &mut [0; 2]).unwrap();
        let mut into = Vec::with_capacity(64);
        assert_eq!(socket.read(&mut into), Err(Errno::IO));
        worker.write_all(b"!").unwrap();
        assert_eq!(socket.write(b"ask"), Ok(3));
        assert_eq!((socket.news(), socket.read(&mut into)), (Err(Errno::IO), Err(Errno::IO)));
        assert_eq!(socket.has_bytes(), Err(Errno::IO));
        assert!(into.is_empty());
    }

    #[test]
    fn a_socket_closed_with_something_left_ends_as_usual_for_the_worker() {
        let (socket, mut worker) = pair_with_two_left();
        assert_eq!(unread(&socket), 3);
        drop(socket);
        assert_eq!(worker.read(&mut [0; 1]).unwrap(), 0);
    }
}
