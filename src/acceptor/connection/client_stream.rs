//! The byte stream to a client, and what the connection's timers have to know of it.
//!
//! The [`ConnState`] follows what hyper reads, and learns since when a write waits. Never here: ending a connection
//! (`deadlines`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

use super::client_socket::ClientSocket;
use super::conn_state::ConnState;
use super::half_closed::HalfClosed;
use super::tcp_keepalive;

/// The transport to a client: plain TCP or TLS.
pub(in crate::acceptor) enum Transport {
    Plain(ClientSocket),
    Tls(Box<TlsStream<ClientSocket>>),
}

/// A [`Transport`] that keeps its [`ConnState`] true.
pub(in crate::acceptor) struct ClientStream {
    transport: Transport,
    state: Arc<ConnState>,
    /// Bytes that were put back to be read again.
    unread: Bytes,
    /// Whether the state follows what is read.
    watched: bool,
    /// Whether a request's body broke, so that nothing behind it is read.
    broken: bool,
    /// Whether the state knows of a write that waits.
    blocked: bool,
    lingered: usize,
    shut: bool,
    /// The client's end of its sending side, when it was owed an answer at that time.
    ended: Option<Box<HalfClosed>>,
}

impl ClientStream {
    pub(in crate::acceptor) fn new(transport: Transport, state: Arc<ConnState>) -> Self {
        Self {
            transport,
            state,
            unread: Bytes::new(),
            watched: true,
            broken: false,
            blocked: false,
            lingered: 0,
            shut: false,
            ended: None,
        }
    }

    fn transport(self: Pin<&mut Self>) -> (Pin<&mut dyn Stream>, &ConnState) {
        let this = self.get_mut();
        let transport: Pin<&mut dyn Stream> = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream as &mut dyn Stream),
            Transport::Tls(stream) => Pin::new(stream.as_mut() as &mut dyn Stream),
        };
        (transport, &this.state)
    }
}

impl ClientStream {
    fn note_write<T>(&mut self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if self.state.has_become_long_lived() {
            tcp_keepalive::enable(self.socket());
        }
        if result.is_pending() != self.blocked {
            self.blocked = result.is_pending();
            self.state.blocked(self.blocked.then(Instant::now));
        }
        result
    }

    /// Stops the state from following what is read: the reader itself finds out where requests end. To be called
    /// between two requests.
    pub(in crate::acceptor) fn leave_unwatched(&mut self) {
        self.watched = false;
    }

    pub(in crate::acceptor) fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// Sets how many bytes, at most, are encrypted ahead of the socket from now on.
    pub(in crate::acceptor) fn encrypt_ahead(&mut self, bytes: usize) {
        if let Transport::Tls(stream) = &mut self.transport {
            stream.get_mut().1.set_buffer_limit(Some(bytes));
        }
    }

    /// Puts back bytes that begin a request. The state follows them, and all that comes behind them.
    pub(in crate::acceptor) fn put_back(&mut self, bytes: Bytes) {
        self.unread = bytes;
        self.watched = true;
    }

    /// Whether all bytes that were put back have been read again.
    pub(in crate::acceptor) fn has_no_unread(&self) -> bool {
        self.unread.is_empty()
    }

    /// Ready when there is something to read, or when the connection is broken.
    pub(in crate::acceptor) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.transport {
            // The socket does not show bytes that are decrypted already.
            Transport::Tls(stream) if !stream.get_ref().1.wants_read() => Poll::Ready(()),
            _ => self.socket().poll_read_ready(cx).map(|_| ()),
        }
    }

    /// Adds the next bytes to `buffer`, at most one TLS record; the next call looks for another. Ready with 0 at the
    /// end.
    pub(in crate::acceptor) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(socket) => {
                buffer.reserve(READ);
                poll_read_buf(Pin::new(socket), cx, buffer)
            }
            Transport::Tls(stream) => {
                let mut stream = Pin::new(stream.as_mut());
                let piece = ready!(stream.as_mut().poll_fill_buf(cx))?;
                let length = piece.len();
                buffer.extend_from_slice(piece);
                stream.consume(length);
                Poll::Ready(Ok(length))
            }
        }
    }

    /// Ready when a client that sends no more has left: when its connection breaks, or at once when an answer has begun
    /// that may last for hours.
    pub(in crate::acceptor) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended.is_none() {
            if self.state.is_left_by_end() {
                return Poll::Ready(());
            }
            self.ended = Some(Box::new(HalfClosed::new(self.socket())));
        }
        self.ended.as_ref().map_or(Poll::Pending, |ended| ended.poll_broken(cx))
    }

    /// Ready with the end of what the client sends, but not before the client has the answers that it is owed, because
    /// hyper takes a client that sends no more for one that has left.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended.is_none() {
            if !self.state.owes_an_answer(self.blocked) {
                return Poll::Ready(Ok(()));
            }
            self.ended = Some(Box::new(HalfClosed::new(self.socket())));
        }
        match &mut self.ended {
            // The connection is a tunnel now, so that no answer to a request is owed.
            Some(_) if !self.state.is_between_requests() => Poll::Ready(Ok(())),
            Some(ended) => ended.poll_end(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(socket) => socket.stream(),
            Transport::Tls(stream) => stream.get_ref().0.stream(),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl Stream for ClientSocket {}
impl Stream for TlsStream<ClientSocket> {}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Err(badly_framed()));
        }
        let watched = self.watched;
        let before = buf.filled().len();
        if self.ended.is_some() && self.unread.is_empty() {
            return self.poll_end(cx);
        }
        let result = if self.unread.is_empty() {
            let (transport, _) = self.as_mut().transport();
            let read = ready!(transport.poll_read(cx, buf));
            if read.is_ok() && buf.filled().len() == before && buf.remaining() > 0 {
                return self.poll_end(cx);
            }
            read
        } else {
            let length = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread.split_to(length));
            Ok(())
        };
        let new = &buf.filled()[before..];
        if watched && !new.is_empty() {
            let whole = self.state.received(new);
            self.broken = whole < new.len();
            buf.set_filled(before + whole);
            if self.broken && whole == 0 {
                return Poll::Ready(Err(badly_framed()));
            }
        }
        Poll::Ready(result)
    }
}

/// The error that the parser gives for bad chunks.
fn badly_framed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a chunked body is badly framed")
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let (transport, _) = self.as_mut().transport();
        let result = transport.poll_write(cx, buf);
        self.note_write(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (transport, _) = self.as_mut().transport();
        let result = transport.poll_write_vectored(cx, bufs);
        self.note_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (transport, _) = self.as_mut().transport();
        let result = transport.poll_flush(cx);
        if result.is_ready() && self.ended.is_some() && self.state.owes_nothing() {
            self.ended.iter_mut().for_each(|ended| ended.tell());
        }
        self.note_write(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            let (transport, _) = self.as_mut().transport();
            ready!(transport.poll_shutdown(cx))?;
            self.shut = true;
        }
        if self.state.lingers() { self.poll_linger(cx) } else { Poll::Ready(Ok(())) }
    }
}

impl ClientStream {
    /// Takes in the bytes that the client still sends, within limits. Else the kernel would send a reset, and the
    /// client would lose the answer that it has not read yet.
    fn poll_linger(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sink = [0; 4096];
        while self.lingered < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut sink);
            let (transport, _) = self.as_mut().transport();
            match ready!(transport.poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.lingered += buf.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The size of a piece whose length is not known.
const READ: usize = 4 << 10;
/// The most bytes that a client may still send after an early answer.
const LINGER_BYTES: usize = 4 << 20;
