//! A connection to a worker: opened or taken over from the last request, and kept for the next one.
//!
//! The request's own task waits for it: a connection has no task, channel or pool of its own. Never here: what a
//! request or an answer looks like (`worker_head`, `worker_body`), or which worker is asked.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::pool::{Address, Lease, Member, Parked};
use crate::time::{Elapsed, LazyDeadline, timer};

use super::answer_records::AnswerRecords;
use crate::acceptor::body::buffer_pool::BufferPool;
use crate::acceptor::thread::upstreams::Upstreams;
use crate::acceptor::thread::write_batch::{PendingWrite, WriteBatch};
use crate::acceptor::worker_socket::News;
use crate::acceptor::worker_stream::WorkerStream;

/// A connection to one worker with the bytes read ahead of it.
pub(in crate::acceptor) struct UpstreamConn {
    stream: Arc<WorkerStream>,
    shard: usize,
    /// The timer of the deadlines of everything that waits on the connection.
    timer: LazyDeadline,
    /// Whether an earlier request was sent over the connection.
    pub(in crate::acceptor) reused: bool,
    /// See [`Parked::answers`].
    answers: u32,
    buffers: BufferPool,
    /// Whether the worker was told that no more of the request comes.
    ended: bool,
    /// The records of an answer in FastCGI.
    records: Option<Box<AnswerRecords>>,
    /// Bytes that were read from the worker and not yet used.
    pub(in crate::acceptor) buf: Bytes,
}

impl UpstreamConn {
    /// Takes the member's kept connection if it is still good, else opens a new one within `limit`.
    ///
    /// # Errors
    /// The error of connecting; `TimedOut` when that takes longer than `limit`.
    pub(in crate::acceptor) async fn open(
        lease: &Lease,
        upstreams: &Upstreams,
        limit: Duration,
    ) -> io::Result<Self> {
        let member = lease.member();
        while let Some(parked) = member.unpark(upstreams.index) {
            if let Some(upstream) = Self::reuse(parked, upstreams, lease) {
                return Ok(upstream);
            }
        }
        // The future is boxed: most requests find a kept connection.
        Box::pin(Self::open_new(member, upstreams, limit)).await
    }

    /// Opens a connection within `limit`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(in crate::acceptor) async fn open_new(
        member: &Member,
        upstreams: &Upstreams,
        limit: Duration,
    ) -> io::Result<Self> {
        let socket = timer::timeout(limit, member.address.connect())
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "connecting took too long")))?;
        Ok(Self::over(Arc::new(WorkerStream::new(socket)?), LazyDeadline::new(), 0, upstreams))
    }

    /// A connection as if an earlier request had been sent over it.
    #[cfg(test)]
    pub(in crate::acceptor) fn kept(stream: WorkerStream) -> Self {
        let (timer, buffers) = (LazyDeadline::new(), BufferPool::default());
        let (stream, buf, records) = (Arc::new(stream), Bytes::new(), None);
        Self { stream, shard: 0, timer, reused: true, answers: 1, buffers, ended: false, records, buf }
    }

    fn over(stream: Arc<WorkerStream>, timer: LazyDeadline, answers: u32, upstreams: &Upstreams) -> Self {
        Self {
            stream,
            shard: upstreams.index,
            timer,
            reused: answers > 0,
            answers,
            buffers: upstreams.buffers.clone(),
            ended: false,
            records: None,
            buf: Bytes::new(),
        }
    }

    /// Takes a kept connection, unless it has rested too long, was closed or has unasked bytes on it. A worker may be
    /// about to close a connection that rests, and a request that is lost that way could not be told from one that was
    /// acted on. Unasked bytes would be taken for the answer.
    fn reuse(parked: Parked, upstreams: &Upstreams, lease: &Lease) -> Option<Self> {
        let stream = parked.connection.downcast::<WorkerStream>().ok()?;
        let (stream, news) = if parked.shard == upstreams.index {
            // A waited-for worker was in use until a moment ago, and the event loop has had no turn since.
            let news = if lease.waited() { stream.heard_or_there() } else { stream.heard() };
            (stream, news)
        } else {
            let stream = Arc::into_inner(stream)?.moved_here().ok()?;
            let news = stream.news();
            (Arc::new(stream), news)
        };
        if news == News::Bytes {
            distrust(lease.member());
        }
        let rested = lease.since().saturating_duration_since(parked.since);
        if news != News::None || rested > MAX_REST {
            return None;
        }
        let upstream = Self::over(stream, parked.timer, parked.answers, upstreams);
        if parked.answers >= PROVED_AFTER {
            let (member, stop) = (Arc::clone(lease.member()), upstreams.stop.clone());
            upstreams.stop.spawn_local("proof of a connection", async move {
                tokio::select! {
                    () = upstream.prove(member) => {}
                    // A proof does not keep the server from ending.
                    () = stop.requested() => {}
                }
            });
            return None;
        }
        Some(upstream)
    }

    /// Proves a connection: looks whether the worker still sends something when no answer is awaited. Bytes that came
    /// just as a request was written were taken for its answer, its own answer for that to the next request, and so on
    /// without an end, while one request follows the other at once.
    async fn prove(mut self, member: Arc<Member>) {
        self.end_request();
        if let Ok(Ok(1..)) = timer::timeout(PROOF, self.fill()).await {
            distrust(&member);
        }
    }

    /// Keeps the connection for the worker's next request, unless another task still has it or bytes were read that are
    /// not used.
    pub(in crate::acceptor) fn park(mut self, lease: &Lease) {
        let member = lease.member();
        let all_read = self.records.as_ref().is_none_or(|records| records.leaves_nothing());
        if self.buf.is_empty() && all_read {
            let (shard, since) = (self.shard, Instant::now());
            let answers = self.answers.saturating_add(if lease.waited() { WAITED } else { 1 });
            let Some(stream) = Arc::get_mut(&mut self.stream) else { return };
            stream.forget_writes();
            member.park(Parked { shard, since, connection: self.stream, timer: self.timer, answers });
        } else {
            distrust(member);
        }
    }

    /// Puts the bytes into the write batch; see [`WriteBatch::post`] and [`WriteBatch::post_if_silent`].
    pub(in crate::acceptor) fn post(&self, write_batch: &WriteBatch, bytes: Vec<u8>) -> PendingWrite {
        if self.reused {
            write_batch.post_if_silent(&self.stream, bytes)
        } else {
            write_batch.post(&self.stream, bytes)
        }
    }

    /// Writes some of the bytes.
    pub(in crate::acceptor) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, bytes)
    }

    /// Runs `work`, which sends a request and waits for its answer to begin, until `limit` after `since`.
    ///
    /// # Cancel safety
    /// As `work`.
    ///
    /// # Errors
    /// [`Elapsed`] when the time is over.
    pub(in crate::acceptor) async fn answered_within<T>(
        &mut self,
        since: Instant,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Self) -> T,
    ) -> Result<T, Elapsed> {
        let mut timer = std::mem::take(&mut self.timer);
        let done = timer.within(since + limit, pin!(work(self))).await;
        self.timer = timer;
        done
    }

    /// Takes the bytes that are read from now on for the records of one answer.
    pub(in crate::acceptor) fn expect_records(&mut self, member: &Arc<Member>) {
        self.records = Some(Box::new(AnswerRecords::new(member)));
    }

    /// Notes that the bytes from now on are no answers to requests, one after the other.
    pub(in crate::acceptor) fn leave_http1(&self) {
        self.stream.leave_nothing();
    }

    /// Tells the worker that no more of the request will come.
    pub(in crate::acceptor) fn end_request(&mut self) {
        self.ended = true;
        if let Err(error) = self.stream.end_writes() {
            tracing::debug!(%error, "a worker's connection was closed already");
        }
    }

    /// Makes the worker's next write fail, as if the client itself had gone; bytes that it has written can still be
    /// read.
    ///
    /// Returns whether the worker's reaction can be seen from here; else nothing is done. The reaction cannot be seen
    /// over TCP, nor after the request was ended, because a socket whose two directions have ended here looks like one
    /// that the worker has closed.
    pub(in crate::acceptor) fn refuse_answer(&self, member: &Member) -> bool {
        !self.ended && !matches!(member.address, Address::Tcp(_)) && self.stream.refuse_reads().is_ok()
    }

    /// Reads and drops whatever the worker still sends, until it ends its side or the connection breaks. Returns
    /// whether it has sent anything.
    pub(in crate::acceptor) async fn hear_out(&mut self) -> bool {
        let mut said = !std::mem::take(&mut self.buf).is_empty();
        while let Ok(1..) = self.fill().await {
            self.buf.clear();
            said = true;
        }
        said
    }

    /// Returns when the worker has closed its side for good.
    pub(in crate::acceptor) async fn closed_by_worker(&self) {
        while !self.stream.is_hung_up() {
            timer::sleep(HANG_UP_CHECK).await;
        }
    }

    /// The two directions and the timer, for use at the same time by one task.
    pub(in crate::acceptor) fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        let Self { stream, buf, buffers, timer, records, .. } = self;
        (Reader { stream, buf, buffers, timer, records }, Writer(stream))
    }
}

/// Notes that the worker has sent bytes that belong to no answer; the log says so the first time.
pub(in crate::acceptor) fn distrust(member: &Member) {
    if member.distrust() {
        tracing::warn!(app = %member.app, worker = %member.worker, generation = %member.generation,
            "a worker has sent bytes that belong to no answer: from now on each of its requests gets a connection of its own");
    }
}

/// The source of an answer's bytes: a connection, or one half of it.
pub(in crate::acceptor) trait Source {
    /// The bytes that were read from the worker and not yet used.
    fn buf(&mut self) -> &mut Bytes;

    /// The records that the answer comes in; `None`: it comes without records.
    fn records(&mut self) -> Option<&mut AnswerRecords>;

    /// The timer for the deadlines of reading.
    fn timer(&mut self) -> &mut LazyDeadline;

    /// Reads bytes and adds them to `buf`; 0 is the end of the connection, or of an answer in records.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// [`poll_fill`](Self::poll_fill) as a future. Cancel-safe: bytes read are in `buf`.
    async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Runs `work` with the source until a deadline. Cancel-safe if `work` is.
    ///
    /// # Errors
    /// [`Elapsed`] when the deadline passed first.
    async fn within<T>(
        &mut self,
        deadline: Instant,
        work: impl AsyncFnOnce(&mut Self) -> T,
    ) -> Result<T, Elapsed> {
        let mut timer = std::mem::take(self.timer());
        let done = timer.within(deadline, pin!(work(self))).await;
        *self.timer() = timer;
        done
    }
}

impl Source for UpstreamConn {
    fn buf(&mut self) -> &mut Bytes {
        &mut self.buf
    }

    fn records(&mut self) -> Option<&mut AnswerRecords> {
        self.records.as_deref_mut()
    }

    fn timer(&mut self) -> &mut LazyDeadline {
        &mut self.timer
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { stream, buf, buffers, records, .. } = self;
        read_some(stream, buf, buffers, records, cx)
    }
}

/// The half of a connection that the answer is read from.
pub(in crate::acceptor) struct Reader<'a> {
    stream: &'a WorkerStream,
    buf: &'a mut Bytes,
    buffers: &'a BufferPool,
    timer: &'a mut LazyDeadline,
    records: &'a mut Option<Box<AnswerRecords>>,
}

impl Source for Reader<'_> {
    fn buf(&mut self) -> &mut Bytes {
        self.buf
    }

    fn records(&mut self) -> Option<&mut AnswerRecords> {
        self.records.as_deref_mut()
    }

    fn timer(&mut self) -> &mut LazyDeadline {
        self.timer
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        read_some(self.stream, self.buf, self.buffers, self.records, cx)
    }
}

/// Reads some bytes. The rest of the last read, at most the beginning of a head or of a chunk, stays in front.
fn read_some(
    stream: &WorkerStream,
    buf: &mut Bytes,
    buffers: &BufferPool,
    records: &mut Option<Box<AnswerRecords>>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if let Some(records) = records {
        return read_records(stream, buf, buffers, records, cx);
    }
    let mut piece = buffers.take();
    piece.extend_from_slice(buf);
    if piece.len() == piece.capacity() {
        piece.reserve(piece.len());
    }
    let read = stream.poll_read(cx, &mut piece);
    if matches!(read, Poll::Ready(Ok(count)) if count > 0) {
        *buf = buffers.filled(piece);
    } else {
        buffers.give_back(piece);
    }
    read
}

/// Reads until there are bytes of the answer, or its end.
fn read_records(
    stream: &WorkerStream,
    buf: &mut Bytes,
    buffers: &BufferPool,
    records: &mut AnswerRecords,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut piece = buffers.take();
    piece.extend_from_slice(buf);
    let from = piece.len();
    let read = loop {
        if records.is_over() || piece.len() > from {
            break Poll::Ready(Ok(piece.len() - from));
        }
        if piece.len() == piece.capacity() {
            piece.reserve(piece.len());
        }
        match stream.poll_read(cx, &mut piece) {
            Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(_)) => {
                if let Err(bad) = records.unwrap(&mut piece, from) {
                    break Poll::Ready(Err(bad));
                }
            }
            unread => break unread,
        }
    };
    if matches!(read, Poll::Ready(Ok(1..))) {
        *buf = buffers.filled(piece);
    } else {
        buffers.give_back(piece);
    }
    read
}

/// The half of a connection that the request is written to.
pub(in crate::acceptor) struct Writer<'a>(&'a WorkerStream);

impl Writer<'_> {
    /// Writes some of the bytes. Cancel-safe.
    pub(in crate::acceptor) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.0.poll_write(cx, bytes)).await
    }
}

impl AsyncRead for UpstreamConn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buf.is_empty() {
            ready!(self.poll_fill(cx))?;
        }
        let ahead = self.buf.len().min(buf.remaining());
        buf.put_slice(&self.buf[..ahead]);
        self.buf.advance(ahead);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpstreamConn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.end_writes())
    }
}

/// How long a kept connection may rest: shorter than the idle limits of the servers that apps use (gunicorn's is 2 s).
const MAX_REST: Duration = Duration::from_secs(1);
/// After so many answers a connection is proved, and a new one takes its place, which then costs next to nothing.
const PROVED_AFTER: u32 = 1000;
/// The number of answers for which one counts whose request waited for the worker: there shifted answers go on for as
/// long as requests wait, and the worker has the most to do.
const WAITED: u32 = 32;
/// How long a worker has to answer what it was sent over a connection that is proved, and to close it.
const PROOF: Duration = Duration::from_secs(10);
/// The interval of looks at a worker whose answer was refused.
const HANG_UP_CHECK: Duration = Duration::from_millis(5);
