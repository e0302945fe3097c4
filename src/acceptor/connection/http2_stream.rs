//! The byte stream of an HTTP/2 connection: it counts the client's frames (`frames`), and ends the connection with a
//! GOAWAY of its own for reasons that the library cannot give.
//!
//! Never here: deadlines (`deadlines`), or what frames mean.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::time::timer;

use super::client_stream::ClientStream;
use super::conn_state::ConnState;
use crate::acceptor::peer::RateLimit;
use crate::acceptor::wire::frames::{ENHANCE_YOUR_CALM, Frames, NO_ERROR, goaway};

pub(in crate::acceptor) struct Http2Stream {
    stream: ClientStream,
    state: Arc<ConnState>,
    frames: Frames,
    /// The frames that all connections of a client may still borrow together.
    shares: Arc<RateLimit>,
    /// Bytes of a head that the state has counted.
    head: usize,
    /// Whether all of the last write was taken, so that the next write begins a frame.
    whole: bool,
    /// The end of the connection, once it is to end.
    farewell: Option<Box<Farewell>>,
}

/// The end of a connection: GOAWAY is sent, then nothing more. Requests that the client still sends are not answered.
struct Farewell {
    /// The part of the frame that is not written yet.
    left: Vec<u8>,
    shut: bool,
    /// Until when the connection reads on: the kernel would else answer with a reset that may keep the client from
    /// reading the frame.
    until: Option<Pin<Box<Sleep>>>,
}

impl Http2Stream {
    pub(in crate::acceptor) fn new(
        stream: ClientStream,
        state: Arc<ConnState>,
        shares: Arc<RateLimit>,
        now: Instant,
    ) -> Self {
        Self { stream, state, frames: Frames::new(now), shares, head: 0, whole: true, farewell: None }
    }

    /// Ends the connection with a GOAWAY of this code. When a frame of the server's is half written, there is no place
    /// for a GOAWAY, and the connection just ends.
    fn end(&mut self, code: u32, reads_on: bool) {
        let last = self.frames.last_stream();
        self.farewell = Some(Box::new(Farewell {
            left: if self.whole { goaway(last, code).to_vec() } else { Vec::new() },
            shut: false,
            until: reads_on.then(|| Box::pin(timer::sleep(READS_ON))),
        }));
    }

    /// Ready only with the error that ends the connection.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(farewell) = &mut self.farewell else { return Poll::Pending };
        if farewell.until.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(ended());
        }
        let mut stream = Pin::new(&mut self.stream);
        while !farewell.left.is_empty() {
            match ready!(stream.as_mut().poll_write(cx, &farewell.left)) {
                Ok(written) if written > 0 => drop(farewell.left.drain(..written)),
                _ => return Poll::Ready(ended()),
            }
        }
        if !farewell.shut {
            if ready!(stream.as_mut().poll_shutdown(cx)).is_err() {
                return Poll::Ready(ended());
            }
            farewell.shut = true;
        }
        if farewell.until.is_none() {
            return Poll::Ready(ended());
        }
        let mut sink = [0; 4096];
        loop {
            let mut unread = ReadBuf::new(&mut sink);
            match ready!(stream.as_mut().poll_read(cx, &mut unread)) {
                Ok(()) if !unread.filled().is_empty() => {}
                _ => return Poll::Ready(ended()),
            }
        }
    }

    /// Whether there is memory for the coming head.
    fn holds_head(&mut self) -> bool {
        let head = self.frames.unended_fields();
        std::mem::replace(&mut self.head, head) == head || self.state.holds_head(head)
    }

    fn note_write(&mut self, result: Poll<io::Result<usize>>, offered: usize) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = result {
            self.whole = written == offered;
            self.frames.sent(written);
        }
        result
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was ended with GOAWAY")
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.farewell.is_none() && this.state.is_to_say_farewell() {
            this.end(NO_ERROR, false);
        }
        if this.farewell.is_none() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            let client = this.state.place_of();
            // A trusted proxy has no share, here as everywhere.
            let share = |frames| client.is_none_or(|client| this.shares.take(client, frames));
            if !this.frames.received(&buf.filled()[before..], share) {
                this.state.note_flood();
            } else if this.holds_head() {
                return Poll::Ready(Ok(()));
            }
            buf.set_filled(before);
            this.end(ENHANCE_YOUR_CALM, true);
        }
        this.poll_farewell(cx).map(Err)
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.farewell.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_write(result, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = bufs.iter().map(|buf| buf.len()).sum();
        if self.farewell.is_some() {
            return Poll::Ready(Ok(offered));
        }
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note_write(result, offered)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.farewell.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.farewell.is_some() {
            return self.poll_farewell(cx).map(|_| Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How long a client that has sent too much may go on before the connection is closed.
const READS_ON: Duration = Duration::from_secs(1);
