//! A client's stream, with the bytes that were read from it and not yet taken.
//!
//! While an answer is made, reading goes on: that is how a client that leaves is noticed. Never here: what the bytes
//! mean.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use super::client_stream::ClientStream;

/// The stream of one client; see the module. Dropping it loses what was read ahead.
pub(in crate::acceptor) struct ReadAhead<'a> {
    pub(in crate::acceptor) stream: &'a mut ClientStream,
    buffer: BytesMut,
    /// The bytes that were read and not yet taken.
    pub(in crate::acceptor) bytes: Bytes,
    /// Whether the client sends no more.
    ended: bool,
}

impl<'a> ReadAhead<'a> {
    pub(in crate::acceptor) fn new(stream: &'a mut ClientStream) -> Self {
        Self { stream, buffer: BytesMut::new(), bytes: Bytes::new(), ended: false }
    }

    /// Reads something when there is nothing ahead. Ready with false when the client sends no more.
    pub(in crate::acceptor) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.bytes.is_empty() {
            return Poll::Ready(Ok(true));
        }
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        // Even an empty rest would keep the memory that is read into here.
        self.bytes = Bytes::new();
        // Asking the socket costs less than asking TLS.
        ready!(self.stream.poll_readable(cx));
        let read = ready!(self.stream.poll_piece(cx, &mut self.buffer))?;
        self.bytes = self.buffer.split().freeze();
        self.ended = read == 0;
        Poll::Ready(Ok(read > 0))
    }

    /// Runs `work`; `None` if the client is gone before it ends.
    ///
    /// # Cancel safety
    /// As `work`.
    pub(in crate::acceptor) async fn unless_gone<T>(
        &mut self,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        poll_fn(|cx| match work(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll_gone(cx).map(|()| None),
        })
        .await
    }

    /// Ready when the client has hung up, as far as that can be seen: bytes that it has sent ahead hide its end, and a
    /// client that only sends no more may be waiting.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.bytes.is_empty() {
            match ready!(self.poll_more(cx)) {
                Ok(true) => {}
                Ok(false) => return self.stream.poll_left(cx),
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}
