//! Owns a connected stream to a worker, registered with the event loop of one thread.
//!
//! Only reads are waited for. The kernel reports a Unix socket as writable each time its peer has read something
//! (`unix_write_space`), so a stream registered for both would wake its thread once more for every request. A write
//! that has to wait is registered apart, when that happens. Never here: connecting, or what is said on the stream.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::worker_socket::{News, WorkerSocket};

/// A connected stream to a worker, as the module describes. Only one thread at a time uses the stream.
#[derive(Debug)]
pub(super) struct WorkerStream {
    reads: AsyncFd<WorkerSocket>,
    /// The same socket registered for writes, from the first write on that had to wait.
    writes: OnceLock<AsyncFd<WorkerSocket>>,
}

impl WorkerStream {
    /// Registers a connected stream socket that does not block.
    ///
    /// # Errors
    /// When the socket cannot be registered.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        Self::over(WorkerSocket::new(socket)?)
    }

    fn over(socket: WorkerSocket) -> io::Result<Self> {
        Ok(Self { reads: watched(socket, Interest::READABLE)?, writes: OnceLock::new() })
    }

    /// Registers the stream with the event loop of this thread instead.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(super) fn moved_here(self) -> io::Result<Self> {
        Self::over(self.reads.into_inner())
    }

    /// Waits for no write any more, as before the first one that had to wait.
    pub(super) fn forget_writes(&mut self) {
        self.writes = OnceLock::new();
    }

    /// Tells what there is to read on a stream over which nothing was asked, as far as the event loop has heard. Costs
    /// no system call when there is nothing.
    pub(super) fn heard(&self) -> News {
        let news = |socket: &WorkerSocket| match socket.news() {
            Ok(News::None) => Err(io::ErrorKind::WouldBlock.into()),
            news => Ok(news?),
        };
        match self.reads.try_io(Interest::READABLE, news) {
            Ok(news) => news,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => News::None,
            Err(_) => News::End,
        }
    }

    /// Tells the same as [`heard`](Self::heard), and of bytes of which the event loop has not heard yet. Costs a system
    /// call.
    pub(super) fn heard_or_there(&self) -> News {
        let heard = self.heard();
        if heard != News::None {
            return heard;
        }
        match self.reads.get_ref().has_bytes() {
            Ok(false) => News::None,
            Ok(true) => News::Bytes,
            Err(_) => News::End,
        }
    }

    /// Tells the same as [`heard`](Self::heard), as the kernel knows it: for a stream of which the event loop of this
    /// thread has heard nothing yet.
    pub(super) fn news(&self) -> News {
        self.reads.get_ref().news().unwrap_or(News::End)
    }

    /// Reads into what `into` has room for, at least one byte; 0 is the end.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let room = into.capacity() - into.len();
        loop {
            let Poll::Ready(ready) = self.reads.poll_read_ready(cx) else {
                // A worker in the middle of an answer is to have room for the rest.
                self.reads.get_ref().make_room();
                return Poll::Pending;
            };
            let mut guard = ready?;
            match self.reads.get_ref().read(into) {
                // The read gave less than there was room for: the next read would only say that nothing is there.
                Ok(count) => {
                    if count < room {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Ready when there is something to read, or the end, as far as the event loop has heard. Else the task is woken
    /// then, as by [`poll_read`](Self::poll_read).
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.reads.poll_read_ready(cx).map(drop)
    }

    /// Writes as many of the bytes as there is room for now; 0 when there is none. For requests sent in a row.
    ///
    /// # Errors
    /// The error of the write, such as `BrokenPipe`.
    pub(super) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.reads.get_ref().write(bytes) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            written => Ok(written?),
        }
    }

    /// Writes some of the bytes.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            // The write itself tells whether there is room.
            match self.reads.get_ref().write(bytes) {
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
            let writes = match self.writes.get() {
                Some(writes) => writes,
                None => {
                    let again = watched(self.reads.get_ref().again()?, Interest::WRITABLE)?;
                    self.writes.get_or_init(|| again)
                }
            };
            let mut guard = ready!(writes.poll_write_ready(cx))?;
            match self.reads.get_ref().write(bytes) {
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Leaves nothing in the kernel that was read from now on: for streams of something else than requests.
    pub(super) fn leave_nothing(&self) {
        self.reads.get_ref().leave_nothing();
    }

    /// Ends what is written.
    ///
    /// # Errors
    /// When the socket is closed already.
    pub(super) fn end_writes(&self) -> io::Result<()> {
        Ok(shutdown(self.reads.get_ref(), Shutdown::Write)?)
    }

    /// Lets the other side's writes fail from now on; what it has written can still be read.
    ///
    /// # Errors
    /// When the socket is closed already.
    pub(super) fn refuse_reads(&self) -> io::Result<()> {
        Ok(shutdown(self.reads.get_ref(), Shutdown::Read)?)
    }

    /// Whether both directions have ended (`POLLHUP`, poll(2)), or the socket is broken.
    pub(super) fn is_hung_up(&self) -> bool {
        let mut asked = [PollFd::from_borrowed_fd(self.reads.as_fd(), PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A socket that cannot even be asked is of no use any more.
        poll(&mut asked, Some(&at_once)).is_err()
            || asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
    }
}

#[expect(
    unsafe_code,
    reason = "tokio takes any type that names a descriptor, and cannot know who else may close it"
)]
fn watched(socket: WorkerSocket, interest: Interest) -> io::Result<AsyncFd<WorkerSocket>> {
    // SAFETY: the descriptor is owned by what is moved in, and only ever lent: it stays open, and the same socket,
    // until the `AsyncFd` is dropped or gives it back.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (WorkerStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (WorkerStream::new(ours.into()).unwrap(), theirs)
    }

    async fn read(stream: &WorkerStream, room: usize) -> Vec<u8> {
        let mut into = Vec::with_capacity(room);
        poll_fn(|cx| stream.poll_read(cx, &mut into)).await.unwrap();
        into
    }

    #[tokio::test]
    async fn what_the_worker_writes_is_read_up_to_the_end() {
        let (stream, mut worker) = pair();
        assert_eq!((stream.heard(), stream.heard_or_there()), (News::None, News::None));
        worker.write_all(b"abcdef").unwrap();
        assert_eq!((stream.heard(), stream.heard_or_there()), (News::None, News::Bytes));
        assert_eq!(read(&stream, 4).await, b"abcd");
        assert_eq!(read(&stream, 4).await, b"ef");
        drop(worker);
        assert_eq!(read(&stream, 4).await, b"");
        assert_eq!((stream.heard(), stream.heard_or_there()), (News::End, News::End));
    }

    #[tokio::test]
    async fn bytes_are_heard_of_once_the_event_loop_had_its_turn() {
        let (stream, mut worker) = pair();
        worker.write_all(b"!").unwrap();
        poll_fn(|cx| stream.poll_readable(cx)).await;
        assert_eq!(stream.heard(), News::Bytes);
    }

    #[tokio::test]
    async fn a_stream_that_was_closed_before_it_moved_here_is_not_silent() {
        let (stream, worker) = pair();
        assert_eq!(stream.news(), News::None);
        drop(worker);
        let moved = stream.moved_here().unwrap();
        assert_eq!(moved.heard(), News::None, "nothing has been heard of it yet");
        assert_eq!(moved.news(), News::End);
    }

    #[tokio::test]
    async fn a_write_waits_for_the_worker_to_read_and_goes_on() {
        let (stream, mut worker) = pair();
        let bytes = vec![7; 1 << 20];
        let mut sent = 0;
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; 1 << 20];
            worker.read_exact(&mut all).unwrap();
            all
        });
        while sent < bytes.len() {
            sent += poll_fn(|cx| stream.poll_write(cx, &bytes[sent..])).await.unwrap();
        }
        assert_eq!(reader.join().unwrap(), bytes);
    }

    #[tokio::test]
    async fn a_worker_whose_answer_is_refused_is_seen_to_close() {
        let (stream, mut worker) = pair();
        worker.write_all(b"before").unwrap();
        stream.refuse_reads().unwrap();
        assert!(worker.write_all(b"after").is_err());
        assert_eq!(read(&stream, 16).await, b"before");
        assert!(!stream.is_hung_up());
        drop(worker);
        assert!(stream.is_hung_up());
    }

    #[tokio::test]
    async fn writing_to_a_worker_that_has_closed_fails_without_a_signal() {
        let (stream, worker) = pair();
        drop(worker);
        let error = poll_fn(|cx| stream.poll_write(cx, b"x")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
