//! Owns a worker's socket, from which short answers are read first and taken later.
//!
//! A reader that takes bytes from a Unix socket wakes the thread that waits at its other end, only for that thread to
//! find that there is room to write again (`unix_write_space`). To wake a core that sleeps costs more than the answer.
//! So a short answer is looked at (`MSG_PEEK`, recv(2)), and is taken after a later request was sent, which has to wake
//! that thread anyway. Where requests come one at a time, bytes are taken after one of a few requests only, as each
//! taking is a system call. Never here: waiting.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::sockopt::socket_domain;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, recv, send};

/// A connected stream socket that does not block. Only one thread at a time uses the socket: the fields beside it are
/// atomic only so that the socket can be shared on that thread and then handed to another.
#[derive(Debug)]
pub(super) struct WorkerSocket {
    fd: OwnedFd,
    /// Whether the next read is to leave the bytes: while answers are short.
    leaves: AtomicBool,
    /// Bytes that were read and left, or [`LOST`].
    left: AtomicUsize,
    /// Whether some of the bytes left were read since the last write.
    answering: AtomicBool,
    /// Requests that were sent while something was left, none of it taken yet.
    requests: AtomicU8,
    /// The number of the answer with which the bytes left are taken; 0: nothing is ever left.
    patience: AtomicU8,
}

impl WorkerSocket {
    /// # Errors
    /// When `fd` is no socket.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let patience = if socket_domain(&fd)? == AddressFamily::UNIX { MOST_REQUESTS } else { 0 };
        Ok(Self {
            fd,
            leaves: AtomicBool::new(false),
            left: AtomicUsize::new(0),
            answering: AtomicBool::new(false),
            requests: AtomicU8::new(0),
            patience: AtomicU8::new(patience),
        })
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
        if !self.answering.load(Relaxed)
            && self.leaves.load(Relaxed)
            && let Some(count) = self.look(into)?
        {
            return Ok(count);
        }
        self.take_left()?;
        let count = recv(&self.fd, spare_capacity(into), RecvFlags::empty())?.0;
        self.leaves.store(count <= SHORT && self.patience.load(Relaxed) > 0, Relaxed);
        Ok(count)
    }

    /// Takes in that there is nothing to read now: a worker that is in the middle of an answer is to have room for the
    /// rest.
    pub(super) fn waits(&self) {
        if self.answering.load(Relaxed) {
            self.make_room();
        }
    }

    /// Reads what comes after the bytes that were left, and leaves it too. `None` when there is nothing, or too much.
    fn look(&self, into: &mut Vec<u8>) -> Result<Option<usize>, Errno> {
        let (before, left) = (into.len(), self.left.load(Relaxed));
        let room = into.capacity() - before;
        let seen = match recv(&self.fd, spare_capacity(into), RecvFlags::PEEK) {
            Err(Errno::AGAIN) if left > 0 => 0,
            seen => seen?.0,
        };
        if seen <= left || seen > SHORT || seen == room {
            into.truncate(before);
            return Ok(None);
        }
        into.drain(before..before + left);
        self.left.store(seen, Relaxed);
        self.answering.store(true, Relaxed);
        Ok(Some(seen - left))
    }

    /// Writes some of the bytes, without a signal where nobody reads.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let sent = send(&self.fd, bytes, SendFlags::NOSIGNAL);
        let (left, begins) = (self.left.load(Relaxed), self.answering.load(Relaxed));
        if left > 0 {
            let requests = self.requests.load(Relaxed).saturating_add(1);
            if begins && left <= MOST_LEFT && requests < self.patience.load(Relaxed) {
                self.requests.store(requests, Relaxed);
                self.answering.store(false, Relaxed);
            } else {
                // Room is made after the write: a worker that the write has woken need not be woken again.
                self.make_room();
            }
        }
        sent
    }

    /// Writes as [`write`](Self::write) does, and takes what was left: where requests come in a row, the bytes left on
    /// all connections are soon more than the caches hold.
    pub(super) fn write_and_take(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let sent = send(&self.fd, bytes, SendFlags::NOSIGNAL);
        self.make_room();
        sent
    }

    /// Takes the bytes that were left in the socket, because the worker may lack the room to write. An error of taking
    /// them fails the next read.
    pub(super) fn make_room(&self) {
        self.take_left().ok();
    }

    /// Takes what was left, now and after each request from now on. Returns whether anything was left; if nothing was,
    /// nothing changes.
    pub(super) fn keep_room(&self) -> bool {
        let lacked = self.left.load(Relaxed) > 0;
        if lacked {
            self.patience.store(1, Relaxed);
            self.make_room();
        }
        lacked
    }

    /// Has bytes taken when they are read from now on.
    pub(super) fn leave_nothing(&self) {
        self.patience.store(0, Relaxed);
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
        self.answering.store(false, Relaxed);
        self.requests.store(0, Relaxed);
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
/// Bytes that were left in the socket are taken with one in so many requests, and with each request while they are more
/// than so many bytes; that saves most of the system calls. The bytes are few beside the worker's send buffer (208 kB
/// unless the worker or the machine says otherwise), except when the worker writes byte by byte: the kernel counts 768
/// bytes for each write, and calls a socket writable (poll(2)) while a quarter is in use. A worker that writes byte by
/// byte can come to wait, and has its room when that is noticed (`UpstreamConn`).
const MOST_REQUESTS: u8 = 4;
const MOST_LEFT: usize = 1 << 10;
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
    fn short_answers_are_left_for_a_few_requests_and_each_is_read_once() {
        let (socket, mut worker) = pair();
        let mut most = 0;
        for number in 0..20 {
            let answer = format!("answer {number}");
            assert_eq!(exchange(&socket, &mut worker, answer.as_bytes()), answer.as_bytes());
            assert!(unread(&socket) > 0 || number == 0, "the last one is still there");
            most = most.max(unread(&socket));
        }
        assert_eq!(most, 4 * "answer 10".len() as u64);
    }

    #[test]
    fn answers_of_some_length_are_left_until_the_next_request() {
        let (socket, mut worker) = pair();
        let some = MOST_LEFT + 1;
        for (length, expected) in [(1, 0), (some, some), (1, 1), (some, some + 1), (1, 1)] {
            exchange(&socket, &mut worker, &vec![7; length]);
            assert_eq!(unread(&socket), expected as u64);
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
    fn the_rest_of_a_request_leaves_the_worker_all_the_room_there_is() {
        let (socket, _worker) = pair_with_two_left();
        socket.write(b"head").unwrap();
        assert_eq!(unread(&socket), 3);
        socket.write(b"body").unwrap();
        assert_eq!(unread(&socket), 0);
    }

    #[test]
    fn a_worker_that_once_lacked_room_has_it_from_then_on() {
        let (socket, mut worker) = pair_with_two_left();
        assert!(socket.keep_room());
        assert_eq!(unread(&socket), 0);
        assert!(!socket.keep_room(), "it has room");
        for _ in 0..10 {
            exchange(&socket, &mut worker, b"more");
            assert_eq!(unread(&socket), 4);
        }
    }

    #[test]
    fn a_request_in_a_row_with_others_takes_what_was_left() {
        let (socket, mut worker) = pair_with_two_left();
        assert_eq!(socket.write_and_take(b"ask"), Ok(3));
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
