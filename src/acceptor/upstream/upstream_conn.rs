//! A connection to a worker: opened or taken over from the last request, and kept for the next one.
//!
//! Awaited in the request's own task: no task, channel or pool of its own. Never here: what a request or an answer
//! looks like (`worker_head`, `worker_body`), or which worker is asked.

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
    /// The timer of the deadlines of whatever is done with the connection.
    timer: LazyDeadline,
    /// Whether an earlier request was sent over it.
    pub(in crate::acceptor) reused: bool,
    /// See [`Parked::answers`].
    answers: u32,
    buffers: BufferPool,
    /// The worker was told that no more of the request comes.
    ended: bool,
    /// Of an answer in FastCGI's records.
    records: Option<Box<AnswerRecords>>,
    /// Read from the worker and not yet used.
    pub(in crate::acceptor) buf: Bytes,
}

impl UpstreamConn {
    /// Takes the member's kept connection if it is still good, else opens one within `limit`.
    ///
    /// # Errors
    /// What connecting says; `TimedOut` past the limit.
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
        // Boxed: most requests find a kept one.
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

    /// As if an earlier request had been sent over it.
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

    /// A connection that rested too long, was closed or has unasked bytes on it is not used: the worker may be about
    /// to close it, and a request lost that way could not be told from one acted on; and the bytes would be taken for
    /// the answer.
    fn reuse(parked: Parked, upstreams: &Upstreams, lease: &Lease) -> Option<Self> {
        let stream = parked.connection.downcast::<WorkerStream>().ok()?;
        let (stream, news) = if parked.shard == upstreams.index {
            // The worker was in use until a moment ago, and the event loop has had no turn since.
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

    /// Looks whether the worker has still something to say on a connection on which nothing is awaited. Bytes that came
    /// just as a request was written were taken for its answer, its answer for that to the next one, and so on: without
    /// an end, while requests come one right after the other.
    async fn prove(mut self, member: Arc<Member>) {
        self.end_request();
        if let Ok(Ok(1..)) = timer::timeout(PROOF, self.fill()).await {
            distrust(&member);
        }
    }

    /// Keeps the connection for the worker's next request, unless somebody else still has it; only when nothing was
    /// read that is not used.
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

    /// Has the bytes written together with those of others; see [`WriteBatch::post`] and
    /// [`WriteBatch::post_if_silent`].
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

    /// Sends a request and waits for its answer to begin, both by way of `work`, until `limit` after `since`. A worker
    /// that has not begun after a second, or half of a shorter limit, may be waiting for room to write, and is given
    /// it.
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
        let stream = Arc::clone(&self.stream);
        let mut timer = std::mem::take(&mut self.timer);
        let done = {
            let mut work = pin!(work(self));
            match timer.within(since + ROOM_AFTER.min(limit / 2), work.as_mut()).await {
                Err(Elapsed) => {
                    if stream.keep_room() {
                        tracing::debug!("a worker that has not answered is given all the room to write");
                    }
                    timer.within(since + limit, work).await
                }
                done => done,
            }
        };
        self.timer = timer;
        done
    }

    /// What is read from now on are the records of one answer.
    pub(in crate::acceptor) fn expect_records(&mut self, member: &Arc<Member>) {
        self.records = Some(Box::new(AnswerRecords::new(member)));
    }

    /// Gives the worker all the room to write that there is.
    pub(in crate::acceptor) fn make_room(&self) {
        self.stream.make_room();
    }

    /// What is read from now on are no answers to requests, one after the other.
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

    /// Lets the worker's next write fail, as if the client itself had gone; what it has written can still be read.
    ///
    /// Returns whether the worker's reaction can be seen from here: over TCP it cannot, nor once the request was ended,
    /// as a socket of which both directions have ended here looks like one that the worker has closed. Then nothing is
    /// done.
    pub(in crate::acceptor) fn refuse_answer(&self, member: &Member) -> bool {
        !self.ended && !matches!(member.address, Address::Tcp(_)) && self.stream.refuse_reads().is_ok()
    }

    /// Takes in and forgets whatever the worker still says, until it ends its side or that breaks. Returns whether it
    /// has said anything.
    pub(in crate::acceptor) async fn hear_out(&mut self) -> bool {
        let mut said = !std::mem::take(&mut self.buf).is_empty();
        while let Ok(1..) = self.fill().await {
            self.buf.clear();
            said = true;
        }
        said
    }

    /// Returns once the worker has closed its side for good.
    pub(in crate::acceptor) async fn closed_by_worker(&self) {
        while !self.stream.is_hung_up() {
            timer::sleep(HANG_UP_CHECK).await;
        }
    }

    /// Both directions and the timer, to be used at the same time by one task.
    pub(in crate::acceptor) fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        let Self { stream, buf, buffers, timer, records, .. } = self;
        (Reader { stream, buf, buffers, timer, records }, Writer(stream))
    }
}

/// Notes that the worker has sent bytes that belong to no answer, and says so the first time.
pub(in crate::acceptor) fn distrust(member: &Member) {
    if member.distrust() {
        tracing::warn!(app = %member.app, worker = %member.worker, generation = %member.generation,
            "a worker has sent bytes that belong to no answer: from now on each of its requests gets a connection of its own");
    }
}

/// What an answer is read from: a connection, or one half of it.
pub(in crate::acceptor) trait Source {
    /// Read from the worker and not yet used.
    fn buf(&mut self) -> &mut Bytes;

    /// The records that the answer comes in; `None`: it comes as it is.
    fn records(&mut self) -> Option<&mut AnswerRecords>;

    /// For the deadlines of reading.
    fn timer(&mut self) -> &mut LazyDeadline;

    /// Reads what is there behind what `buf` holds; 0 is the end: of the connection, or of an answer in records.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// [`poll_fill`](Self::poll_fill) as a future. Cancel-safe: bytes read are in `buf`.
    async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Does something with it until a deadline. Cancel-safe if `work` is.
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

/// The half of a connection that the answer comes from.
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

/// What is left over of the last read, at most the beginning of a head or of a chunk, goes in front.
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

/// Reads until there is some of the answer or its end.
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

/// The half of a connection that the request goes into.
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

/// How long a kept connection may rest: shorter than the idle limits of the servers apps use (gunicorn's is 2 s).
const MAX_REST: Duration = Duration::from_secs(1);
/// A connection over which so many answers came is proved, and a new one takes its place: that costs next to nothing
/// then.
const PROVED_AFTER: u32 = 1000;
/// As so many counts an answer to a request that waited for its worker: there answers are shifted for as long as
/// somebody waits, and the worker has the most to do.
const WAITED: u32 = 32;
/// How long a worker has to answer what it was sent over a connection that is proved, and to close it.
const PROOF: Duration = Duration::from_secs(10);
/// A worker that has not answered by then is given room. Much shorter than a request may take, and so long that few
/// have a timer fire for it.
const ROOM_AFTER: Duration = Duration::from_secs(1);
/// A worker that was hung up on is looked at that often.
const HANG_UP_CHECK: Duration = Duration::from_millis(5);
