//! A connection to a worker: opened or taken over from the last request, and kept for the next one.
//!
//! Awaited in the request's own task: no task, channel or pool of its own. Never here: what a request or an answer
//! looks like (`worker_head`, `worker_body`), or which worker is asked.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use crate::pool::{Address, Member, Parked, ParkedStream};

/// A connection to one worker with the bytes read ahead of it.
pub(super) struct Link {
    stream: ParkedStream,
    shard: usize,
    /// Whether an earlier request was sent over it.
    pub(super) reused: bool,
    /// Read from the worker and not yet used.
    pub(super) buf: BytesMut,
}

impl Link {
    /// Takes the member's kept connection if it is still good, else opens one within `limit`.
    ///
    /// # Errors
    /// What connecting says; `TimedOut` past the limit.
    pub(super) async fn open(member: &Arc<Member>, shard: usize, limit: Duration) -> io::Result<Self> {
        while let Some(parked) = member.unpark(shard) {
            if let Some(link) = Self::reuse(parked, shard) {
                return Ok(link);
            }
        }
        Self::open_new(member, shard, limit).await
    }

    /// Opens a connection within `limit`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(super) async fn open_new(member: &Member, shard: usize, limit: Duration) -> io::Result<Self> {
        let stream = tokio::time::timeout(limit, connect(&member.address))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "connecting took too long")))?;
        Ok(Self { stream, shard, reused: false, buf: BytesMut::new() })
    }

    /// A connection that rested too long, was closed or has unasked bytes on it is not used: the worker may be about
    /// to close it, and a request lost that way could not be told from one acted on.
    fn reuse(parked: Parked, shard: usize) -> Option<Self> {
        if parked.since.elapsed() > MAX_REST {
            return None;
        }
        let stream = if parked.shard == shard { parked.stream } else { adopt(parked.stream).ok()? };
        let link = Self { stream, shard, reused: true, buf: BytesMut::new() };
        let mut byte = [0];
        let silent =
            matches!(link.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        silent.then_some(link)
    }

    /// Keeps the connection for the member's next request; only when nothing is left on it.
    pub(super) fn park(self, member: &Member) {
        if self.buf.is_empty() {
            member.park(Parked { shard: self.shard, since: Instant::now(), stream: self.stream });
        }
    }

    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.stream {
            ParkedStream::Unix(stream) => stream.try_read(buf),
            ParkedStream::Tcp(stream) => stream.try_read(buf),
        }
    }

    /// Writes some of the bytes.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    /// Tells the worker that no more of the request will come.
    pub(super) async fn end_request(&mut self) {
        if let Err(error) = tokio::io::AsyncWriteExt::shutdown(self).await {
            tracing::debug!(%error, "a worker's connection was closed already");
        }
    }

    /// Lets the worker's next write fail, as if the client itself had gone; what it has written can still be read.
    ///
    /// Returns whether the worker's reaction can be seen from here: over TCP it cannot, dropping the link must do.
    pub(super) fn refuse_answer(&self) -> bool {
        match &self.stream {
            ParkedStream::Unix(stream) => rustix::net::shutdown(stream, rustix::net::Shutdown::Read).is_ok(),
            ParkedStream::Tcp(_) => false,
        }
    }

    /// Returns once the worker has closed its side for good.
    pub(super) async fn closed_by_worker(&self) {
        loop {
            let ready = match &self.stream {
                ParkedStream::Unix(stream) => stream.ready(Interest::WRITABLE | Interest::ERROR).await,
                ParkedStream::Tcp(stream) => stream.ready(Interest::WRITABLE | Interest::ERROR).await,
            };
            match ready {
                Ok(ready) if ready.is_write_closed() || ready.is_error() => return,
                Ok(_) => tokio::time::sleep(HANG_UP_CHECK).await,
                Err(_) => return,
            }
        }
    }

    /// Both directions, to be used at the same time by one task.
    pub(super) fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        let Self { stream, buf, .. } = self;
        (Reader { stream, buf }, Writer(stream))
    }

    fn stream(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.stream {
            ParkedStream::Unix(stream) => Pin::new(stream as &mut dyn Duplex),
            ParkedStream::Tcp(stream) => Pin::new(stream as &mut dyn Duplex),
        }
    }
}

/// What an answer is read from: a link, or one half of it.
pub(super) trait Source {
    /// Read from the worker and not yet used.
    fn buf(&mut self) -> &mut BytesMut;

    /// Reads what is there, at most `room` bytes, behind what `buf` holds; 0 is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>>;

    /// [`poll_fill`](Self::poll_fill) as a future. Cancel-safe: bytes read are in `buf`.
    async fn fill(&mut self, room: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, room)).await
    }
}

impl Source for Link {
    fn buf(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        self.buf.reserve(room);
        let Self { stream, buf, .. } = self;
        read_some(stream, buf, cx)
    }
}

/// The half of a link that the answer comes from.
pub(super) struct Reader<'a> {
    stream: &'a ParkedStream,
    buf: &'a mut BytesMut,
}

impl Source for Reader<'_> {
    fn buf(&mut self) -> &mut BytesMut {
        self.buf
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        self.buf.reserve(room);
        loop {
            let read = match self.stream {
                ParkedStream::Unix(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_read_buf(self.buf)
                }
                ParkedStream::Tcp(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_read_buf(self.buf)
                }
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }
}

/// The half of a link that the request goes into.
pub(super) struct Writer<'a>(&'a ParkedStream);

impl Writer<'_> {
    /// Writes some of the bytes. Cancel-safe.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let written = match self.0 {
                ParkedStream::Unix(stream) => {
                    stream.writable().await?;
                    stream.try_write(bytes)
                }
                ParkedStream::Tcp(stream) => {
                    stream.writable().await?;
                    stream.try_write(bytes)
                }
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return written,
            }
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl Duplex for UnixStream {}
impl Duplex for TcpStream {}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.buf.is_empty() {
            let ahead = self.buf.len().min(buf.remaining());
            buf.put_slice(&self.buf.split_to(ahead));
            return Poll::Ready(Ok(()));
        }
        self.stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

async fn connect(address: &Address) -> io::Result<ParkedStream> {
    match address {
        Address::Unix(path) => UnixStream::connect(path).await.map(ParkedStream::Unix),
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(ParkedStream::Tcp(stream))
        }
    }
}

/// Moves a connection to the event loop of this thread.
fn adopt(stream: ParkedStream) -> io::Result<ParkedStream> {
    match stream {
        ParkedStream::Unix(stream) => UnixStream::from_std(stream.into_std()?).map(ParkedStream::Unix),
        ParkedStream::Tcp(stream) => TcpStream::from_std(stream.into_std()?).map(ParkedStream::Tcp),
    }
}

fn read_some(stream: &mut ParkedStream, buf: &mut BytesMut, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    match stream {
        ParkedStream::Unix(stream) => tokio_util::io::poll_read_buf(Pin::new(stream), cx, buf),
        ParkedStream::Tcp(stream) => tokio_util::io::poll_read_buf(Pin::new(stream), cx, buf),
    }
}

/// How long a kept connection may rest: shorter than the idle limits of the servers apps use (gunicorn's is 2 s).
const MAX_REST: Duration = Duration::from_secs(1);
/// While the socket stays writable, hang-ups are looked for that often.
const HANG_UP_CHECK: Duration = Duration::from_millis(5);
