//! The byte stream to a client, with what the connection's timers have to know of it.
//!
//! What hyper reads passes through [`Framing`]; writes that wait are dated. Never here: ending a connection (`connection`).

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

use super::client_socket::ClientSocket;
use super::framing::{Flaw, Framing};
use super::half_closed::HalfClosed;
use super::listen::Admission;
use super::vigil;

/// What a client speaks through.
pub(super) enum Transport {
    Plain(ClientSocket),
    Tls(Box<TlsStream<ClientSocket>>),
}

/// Where a connection stands, shared by its stream, its requests and its timer.
///
/// All three live on one thread, but hyper wants a stream that could move: hence the lock, which nobody ever waits for.
pub(super) struct Wire {
    state: Mutex<State>,
    http2: bool,
    /// The client may be silent for hours from now on: its socket is to tell whether it is still there.
    long_lived: AtomicBool,
    /// The connection's place among all; an upgraded connection keeps it.
    _admission: Admission,
}

struct State {
    /// Only fed for HTTP/1: the framing of HTTP/2 is binary.
    framing: Framing,
    phase: Phase,
    /// Since when a write waits for the client to read.
    blocked: Option<Instant>,
    /// An answer was given before the body was read: take the rest in before closing, or the answer may be lost.
    linger: bool,
    /// Requests whose answers are not complete.
    open: usize,
    /// Heads that were read, less answers that are complete.
    owed: u64,
    /// An answer that may last for hours has begun: who ends its side of the connection has left.
    lasting: bool,
    /// Answers over HTTP/2 that could go on if the client took more. Their bytes never reach a write that would wait:
    /// flow control holds them back.
    untaken: usize,
    /// When the client last took something of such an answer, or the first of them began to wait.
    taken: Instant,
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// For the next request, since then.
    Idle(Instant),
    /// For the rest of a head, since then.
    Head(Instant),
    /// For us, or for a body, since then.
    Busy(Instant),
}

impl Wire {
    pub(super) fn new(http2: bool, now: Instant, admission: Admission) -> Arc<Self> {
        let state = State {
            framing: Framing::default(),
            phase: Phase::Idle(now),
            blocked: None,
            linger: false,
            open: 0,
            owed: 0,
            lasting: false,
            untaken: 0,
            taken: now,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            http2,
            long_lived: AtomicBool::new(false),
            _admission: admission,
        })
    }

    pub(super) fn is_http2(&self) -> bool {
        self.http2
    }

    /// A request has arrived.
    pub(super) fn begin(&self, now: Instant) {
        let mut state = self.lock();
        state.open += 1;
        state.phase = Phase::Busy(now);
    }

    /// The last byte of an answer is handed over.
    pub(super) fn end(&self, now: Instant) {
        let mut state = self.lock();
        state.open = state.open.saturating_sub(1);
        state.owed = state.owed.saturating_sub(1);
        if state.open == 0 {
            state.lasting = false;
            // The beginning of the next head may have come with this request; after an answer that was given early
            // there is no next one.
            let begun = !state.linger && state.framing.inside_head();
            state.phase = if begun { Phase::Head(now) } else { Phase::Idle(now) };
        }
    }

    /// One more, or one less, of the answers that wait for the client to take more; over HTTP/2 only.
    pub(super) fn waits_for_client(&self, waits: bool) {
        let mut state = self.lock();
        if waits {
            state.untaken += 1;
            if state.untaken == 1 {
                state.taken = Instant::now();
            }
        } else {
            state.untaken = state.untaken.saturating_sub(1);
        }
    }

    /// The client has taken a part of one of them.
    pub(super) fn client_took(&self) {
        self.lock().taken = Instant::now();
    }

    /// The idle time starts anew.
    pub(super) fn rest(&self, now: Instant) {
        self.lock().phase = Phase::Idle(now);
    }

    /// What the connection waits for, and since when a write does.
    pub(super) fn waiting(&self) -> (Phase, Option<Instant>) {
        let state = self.lock();
        (state.phase, state.blocked.or((state.untaken > 0).then_some(state.taken)))
    }

    /// Whether nothing of a request is under way: an answer may end before its request does.
    pub(super) fn is_between_requests(&self) -> bool {
        !self.http2 && self.lock().framing.between_messages()
    }

    /// What is wrong with the head of request `number`; see [`Framing::flaw`].
    pub(super) fn flaw(&self, number: u64) -> Option<Flaw> {
        if self.http2 { None } else { self.lock().framing.flaw(number) }
    }

    /// What is written next begins something that may last for hours.
    pub(super) fn becomes_long_lived(&self) {
        self.long_lived.store(!self.http2, Ordering::Relaxed);
        self.lock().lasting = true;
    }

    /// Whether a client that sends no more has left, as it waits for nothing, or cannot be told from one that has.
    pub(super) fn is_left_by_end(&self) -> bool {
        self.lock().lasting
    }

    /// Whether a client that sends no more has sent all of a request, and waits for its answer.
    fn owes_an_answer(&self, unsent: bool) -> bool {
        let state = self.lock();
        !self.http2 && !state.lasting && (state.owed > 0 || unsent) && state.framing.between_messages()
    }

    /// Whether the last request was answered, or is none any more.
    fn owes_nothing(&self) -> bool {
        let state = self.lock();
        state.owed == 0 || !state.framing.between_messages()
    }

    /// The connection is about to leave HTTP.
    pub(super) fn switch_off_framing(&self) {
        self.lock().framing.switch_off();
    }

    /// Makes the end of the connection wait for what the client still sends.
    pub(super) fn linger(&self) {
        self.lock().linger = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many of the bytes may be passed on; see [`Framing::feed`].
    fn received(&self, bytes: &[u8]) -> usize {
        if self.http2 {
            return bytes.len();
        }
        let mut state = self.lock();
        let before = state.framing.heads();
        let whole = state.framing.feed(bytes);
        state.owed += state.framing.heads() - before;
        if matches!(state.phase, Phase::Idle(_)) && state.framing.inside_head() {
            state.phase = Phase::Head(Instant::now());
        }
        whole
    }

    /// A write waits for the client to read, or no longer does.
    fn blocked(&self, since: Option<Instant>) {
        self.lock().blocked = since;
    }
}

/// A [`Transport`] that keeps its [`Wire`] true.
pub(super) struct ClientStream {
    transport: Transport,
    wire: Arc<Wire>,
    /// Read already, and put back to be read again.
    unread: Bytes,
    /// Whether the wire sees what is read.
    watched: bool,
    /// A request's body broke: nothing behind that is read.
    broken: bool,
    /// Whether the wire knows of a write that waits.
    blocked: bool,
    lingered: usize,
    shut: bool,
    /// There since the client sends no more and was owed an answer then.
    ended: Option<Box<HalfClosed>>,
}

impl ClientStream {
    pub(super) fn new(transport: Transport, wire: Arc<Wire>) -> Self {
        Self {
            transport,
            wire,
            unread: Bytes::new(),
            watched: true,
            broken: false,
            blocked: false,
            lingered: 0,
            shut: false,
            ended: None,
        }
    }

    fn transport(self: Pin<&mut Self>) -> (Pin<&mut dyn Stream>, &Wire) {
        let this = self.get_mut();
        let transport: Pin<&mut dyn Stream> = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream as &mut dyn Stream),
            Transport::Tls(stream) => Pin::new(stream.as_mut() as &mut dyn Stream),
        };
        (transport, &this.wire)
    }
}

impl ClientStream {
    fn note_write<T>(&mut self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if self.wire.long_lived.load(Ordering::Relaxed) && self.wire.long_lived.swap(false, Ordering::Relaxed)
        {
            vigil::keep(self.socket());
        }
        if result.is_pending() != self.blocked {
            self.blocked = result.is_pending();
            self.wire.blocked(self.blocked.then(Instant::now));
        }
        result
    }

    /// The wire does not see what is read from now on: who reads looks itself at where requests end. To be called
    /// between two requests.
    pub(super) fn leave_unwatched(&mut self) {
        self.watched = false;
    }

    /// Has bytes read again, which begin a request; the wire sees them, and all that follow.
    pub(super) fn put_back(&mut self, bytes: Bytes) {
        self.unread = bytes;
        self.watched = true;
    }

    /// Whether all that was put back was read again.
    pub(super) fn has_no_unread(&self) -> bool {
        self.unread.is_empty()
    }

    /// Ready when there is something to read, or the connection broke.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.transport {
            // What is decrypted already is not seen at the socket.
            Transport::Tls(stream) if !stream.get_ref().1.wants_read() => Poll::Ready(()),
            _ => self.socket().poll_read_ready(cx).map(|_| ()),
        }
    }

    /// Adds what comes next to `buffer`, in one piece of at most a TLS record: to look for another is left to the next
    /// call. Ready with 0 at the end.
    pub(super) fn poll_piece(
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

    /// The client sends no more. Ready when it has left: when its connection breaks, or when an answer that may last for
    /// hours has begun before.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended.is_none() {
            if self.wire.is_left_by_end() {
                return Poll::Ready(());
            }
            self.ended = Some(Box::new(HalfClosed::new(self.socket())));
        }
        self.ended.as_ref().map_or(Poll::Pending, |ended| ended.poll_broken(cx))
    }

    /// The end of what the client sends; not before it has the answers that it is owed: hyper takes whoever sends no more
    /// for one that has left.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended.is_none() {
            if !self.wire.owes_an_answer(self.blocked) {
                return Poll::Ready(Ok(()));
            }
            self.ended = Some(Box::new(HalfClosed::new(self.socket())));
        }
        match &mut self.ended {
            // What is left is no request: a tunnel.
            Some(_) if !self.wire.is_between_requests() => Poll::Ready(Ok(())),
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
            let whole = self.wire.received(new);
            self.broken = whole < new.len();
            buf.set_filled(before + whole);
            if self.broken && whole == 0 {
                return Poll::Ready(Err(badly_framed()));
            }
        }
        Poll::Ready(result)
    }
}

/// As the parser behind says it of chunks that are none.
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
        if result.is_ready() && self.ended.is_some() && self.wire.owes_nothing() {
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
        if self.wire.lock().linger { self.poll_linger(cx) } else { Poll::Ready(Ok(())) }
    }
}

impl ClientStream {
    /// Takes in what the client still sends, within limits, so that the kernel does not answer it with a reset that
    /// would make the client lose the answer it has not read yet.
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

/// Room for a piece of which the length is not known.
const READ: usize = 4 << 10;
/// As much as a client may still send after an early answer.
const LINGER_BYTES: usize = 4 << 20;
