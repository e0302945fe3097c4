//! A client that has ended its sending side and may still wait for an answer: whether its connection breaks meanwhile.
//!
//! The end of what a client sends does not tell whether it still reads (RFC 9293 §3.6), and readers of the socket learn
//! nothing after it. Writers learn of a reset, too: so from the client's end on the same socket is watched once more,
//! as one that is written to. Never here: who is owed an answer (`client_stream`).

use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll, Waker, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::net::TcpStream;

pub(in crate::acceptor) struct HalfClosed {
    /// The socket, by another descriptor; `None` where there was none to be had, so that only the next write shows a
    /// reset.
    socket: Option<TcpStream>,
    /// The waker of the task that reads the stream; it is not told of the end before its answer is sent.
    reader: Waker,
    /// Whether the reader may be told of the end.
    told: bool,
}

impl HalfClosed {
    /// Starts to watch the socket.
    pub(in crate::acceptor) fn new(socket: &TcpStream) -> Self {
        let socket = once_more(socket).inspect_err(|error| {
            tracing::debug!(%error, "a client that sends no more cannot be watched");
        });
        Self { socket: socket.ok(), reader: Waker::noop().clone(), told: false }
    }

    /// Notes that nothing is owed to the client any more, and wakes the reader to hear of the end.
    pub(in crate::acceptor) fn tell(&mut self) {
        self.told = true;
        self.reader.wake_by_ref();
    }

    /// Ready when the reader may be told of the client's end, with an error if its connection is broken.
    pub(in crate::acceptor) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.told {
            return Poll::Ready(Ok(()));
        }
        self.reader.clone_from(cx.waker());
        ready!(self.poll_broken(cx));
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    /// Ready when the connection is broken.
    pub(in crate::acceptor) fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(socket) = &self.socket else { return Poll::Pending };
        let look =
            || if is_broken(socket) { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WouldBlock)) };
        loop {
            if ready!(socket.poll_write_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            // A socket that is not broken yet would block: the loop waits until it can be written to again.
            match socket.try_io(Interest::WRITABLE, look) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

/// Opens the same socket by another descriptor.
fn once_more(socket: &TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(socket.as_fd().try_clone_to_owned()?.into())
}

/// Whether both directions have ended (`POLLHUP`, poll(2)), or the connection was reset.
fn is_broken(socket: impl AsFd) -> bool {
    let socket = socket.as_fd();
    let mut asked = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&at_once)).is_err()
        || asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use crate::time::timer;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, client)
    }

    #[tokio::test]
    async fn a_client_that_only_sends_no_more_is_there_until_its_connection_is_reset() {
        let (mut ours, mut client) = pair().await;
        client.shutdown().await.unwrap();
        assert_eq!(ours.read(&mut [0; 1]).await.unwrap(), 0);
        let mut end = HalfClosed::new(&ours);
        let soon = timer::timeout(Duration::from_millis(20), poll_fn(|cx| end.poll_end(cx))).await;
        assert!(soon.is_err(), "it may be waiting");
        // The socket is closed with something unread, which causes a reset.
        ours.write_all(b"!").await.unwrap();
        client.readable().await.unwrap();
        drop(client);
        let error = poll_fn(|cx| end.poll_end(cx)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn the_end_is_told_when_nothing_is_owed_any_more() {
        let (ours, _client) = pair().await;
        let mut end = HalfClosed::new(&ours);
        let soon = timer::timeout(Duration::from_millis(20), poll_fn(|cx| end.poll_end(cx))).await;
        assert!(soon.is_err());
        end.tell();
        poll_fn(|cx| end.poll_end(cx)).await.unwrap();
    }
}
