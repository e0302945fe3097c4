//! Moves a worker's answer into a buffer as fast as the worker gives it, so that a slow client does not hold the
//! worker.
//!
//! The pump holds the lease until the answer's last byte, or until the worker's side of the connection is closed. If it
//! gave the lease back earlier, one worker could have two requests in hand. Never here: the client's side
//! (`reply_body`).

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::pool::WorkerFault;
use crate::time::{Elapsed, timer};

use super::answer_sink::AnswerSink;
use super::pump_context::{ALONE, PumpContext, PumpStop};
use crate::acceptor::body::buffer::{Buffer, NoReader};
use crate::acceptor::body::cut_short::CutShort;
use crate::acceptor::body::request_body::discard;
use crate::acceptor::body::upload_clock::UploadClock;
use crate::acceptor::upstream::claimed_worker::ClaimedWorker;
use crate::acceptor::upstream::send::after_the_others;
use crate::acceptor::upstream::upload::{Upload, UploadEnd};
use crate::acceptor::upstream::upstream_conn::Source;
use crate::acceptor::upstream::worker_head::AnswerHead;
use crate::acceptor::wire::worker_body::{BodyDecoder, Piece};

/// An answer whose head has been read.
pub(in crate::acceptor) struct IncomingAnswer {
    pub(in crate::acceptor) claimed: Box<ClaimedWorker>,
    pub(in crate::acceptor) decoder: BodyDecoder,
    /// Whether the connection may be kept.
    pub(in crate::acceptor) keep: bool,
    /// Whether the head says where the answer ends; see [`AnswerHead::counted`].
    counted: bool,
    /// Whether the worker keeps the connection open after the answer.
    keepalive: bool,
    /// Whether the answer comes in FastCGI's records, which say where it ends.
    in_records: bool,
}

/// Moves the answer into the buffer until its end, and the rest of the request to the worker; then gives the worker
/// back. `first`: bytes of the answer that were read already and are not in the buffer.
pub(in crate::acceptor) async fn pump_response(
    mut answer: IncomingAnswer,
    buffer: Rc<Buffer>,
    first: Option<Bytes>,
    how: PumpContext,
    mut upload: Option<Box<Upload>>,
) {
    let stopped = match &mut upload {
        None => {
            let ClaimedWorker { lease, upstream } = &mut *answer.claimed;
            let put = AnswerSink::new(&buffer, &how, lease);
            pump(upstream, &mut answer.decoder, put, first, &how, None).await
        }
        Some(upload) => {
            let stopped = pump_both_ways(&mut answer, upload, &buffer, first, &how).await;
            answer.keep &= upload.is_complete();
            if stopped.is_err() && !upload.is_complete() {
                // The request gets no end, or the worker would take what it has for all there is.
                answer.claimed.upstream.end_request();
            }
            stopped
        }
    };
    match stopped {
        Ok(()) => {
            answer.end().await;
            if let Some(upload) = upload.filter(|upload| !upload.is_complete()) {
                discard(upload.into_rest().0).await;
            }
            // The worker is free. The bytes of a client that does not read are not kept for ever.
            let read = buffer.wait_read(how.pace(ALONE, &|| how.wants_room())).await;
            how.give_up(&buffer, read);
        }
        Err(PumpStop::Reader(why)) => {
            how.give_up(&buffer, Err(why));
            answer.abandon(how.hang_up).await;
        }
        Err(PumpStop::Worker(why)) => {
            if matches!(why, CutShort::Stalled) {
                answer.condemn(WorkerFault::Stalled);
            }
            buffer.cut(why);
        }
        Err(PumpStop::Client(why)) => {
            buffer.cut(CutShort::Request(why.reason().word));
            answer.abandon(how.hang_up).await;
        }
    }
}

/// Moves answer and request at the same time. When the answer is complete, the part of the request that the worker did
/// not take was not wanted.
async fn pump_both_ways(
    answer: &mut IncomingAnswer,
    upload: &mut Upload,
    buffer: &Buffer,
    first: Option<Bytes>,
    how: &PumpContext,
) -> Result<(), PumpStop> {
    let ClaimedWorker { lease, upstream } = &mut *answer.claimed;
    let (mut reader, writer) = upstream.split();
    let upload_clock = upload.upload_clock();
    let put = AnswerSink::new(buffer, how, lease);
    let mut pumping = pin!(pump(&mut reader, &mut answer.decoder, put, first, how, Some(&upload_clock)));
    tokio::select! {
        biased;
        stopped = &mut pumping => return stopped,
        passed = upload.pass_on(&writer) => match passed {
            Ok(UploadEnd::All | UploadEnd::Refused) => {}
            Err(error) => return Err(PumpStop::Client(error)),
        },
    }
    pumping.await
}

async fn pump(
    upstream: &mut impl Source,
    decoder: &mut BodyDecoder,
    mut put: AnswerSink<'_>,
    first: Option<Bytes>,
    how: &PumpContext,
    upload_clock: Option<&UploadClock>,
) -> Result<(), PumpStop> {
    let buffer = put.buffer;
    if let Some(first) = first {
        put.put(first).await?;
    }
    loop {
        match decoder.next(upstream.buf()) {
            Err(what) => return Err(PumpStop::Worker(CutShort::Malformed(what))),
            Ok(Piece::End(trailers)) => {
                buffer.complete(trailers);
                return Ok(());
            }
            Ok(Piece::Data(data)) => {
                let much = data.len() >= MUCH;
                put.put(data).await?;
                if much {
                    // The client is sent the piece while it is still in the core's cache.
                    after_the_others().await;
                }
            }
            Ok(Piece::Need) => {
                let read = fill_in_time(upstream, how.worker_idle, upload_clock);
                tokio::select! {
                    biased;
                    read = read => match read {
                        Err(_) => return Err(PumpStop::Worker(CutShort::Stalled)),
                        Ok(Err(error)) => return Err(PumpStop::Worker(error.into())),
                        Ok(Ok(0)) if decoder.ends_here() => {
                            buffer.complete(None);
                            return Ok(());
                        }
                        Ok(Ok(0)) => {
                            return Err(PumpStop::Worker(CutShort::Io(std::io::ErrorKind::UnexpectedEof.into())));
                        }
                        Ok(Ok(_)) => {}
                    },
                    () = buffer.wait_gone() => return Err(PumpStop::Reader(NoReader::Gone)),
                }
            }
        }
    }
}

/// Reads more of the answer within the time limit. A worker that waits for the rest of its request is not silent.
async fn fill_in_time(
    upstream: &mut impl Source,
    idle: Duration,
    upload_clock: Option<&UploadClock>,
) -> Result<std::io::Result<usize>, Elapsed> {
    let Some(upload_clock) = upload_clock else {
        return upstream.within(Instant::now() + idle, async |upstream| upstream.fill().await).await;
    };
    let mut timer = std::mem::take(upstream.timer());
    let filled = upload_clock.within(&mut timer, idle, upstream.fill()).await;
    *upstream.timer() = timer;
    filled
}

impl IncomingAnswer {
    /// `kept`: whether the connection may be kept as far as the request goes.
    pub(in crate::acceptor) fn new(mut claimed: Box<ClaimedWorker>, head: &AnswerHead, kept: bool) -> Self {
        let AnswerHead { framing, counted, keepalive, .. } = *head;
        // Records end an answer whatever its head says.
        let in_records = claimed.upstream.records().is_some();
        let keep = kept && keepalive && (counted || in_records);
        Self { claimed, decoder: BodyDecoder::new(framing), keep, counted, in_records, keepalive }
    }

    /// Whether the worker can be given back as soon as the answer is complete: the end of the answer is certain.
    pub(in crate::acceptor) fn ends_for_certain(&self) -> bool {
        let is_alone = self.claimed.lease.member().concurrency.get() == 1;
        self.counted || !(is_alone || self.in_records)
    }

    /// Ends a complete answer: the worker is free, at once or when it has nothing more to send.
    async fn end(self) {
        if self.ends_for_certain() {
            self.give_back();
        } else {
            self.see_off().await;
        }
    }

    /// Ends an answer that had no body, but behind which one may follow at any time. An answer in records is read to
    /// its end, and its connection may be kept. Any other connection is not used again, and the worker is free when it
    /// has closed the connection, or does not close it in time.
    pub(in crate::acceptor) async fn see_off(mut self) {
        let ClaimedWorker { lease, upstream } = &mut *self.claimed;
        if self.keepalive && !self.in_records {
            upstream.end_request();
        }
        let member = lease.member();
        match timer::timeout(SEEN_OFF, upstream.hear_out()).await {
            Ok(true) if member.note_unasked_body() => {
                tracing::warn!(app = %member.app, worker = %member.worker, generation = %member.generation,
                    "a worker has sent a body behind an answer that has none (to HEAD, or 204, 205, 304): it is dropped");
            }
            Ok(_) => {}
            Err(_) => {
                tracing::debug!(app = %member.app, worker = %member.worker, "a worker does not close a connection that has ended")
            }
        }
        if upstream.records().is_some_and(|records| records.is_over()) {
            self.give_back();
        }
    }

    /// Ends a complete answer: keeps the connection if that is allowed, and frees the worker. Returns whether a request
    /// that waited has the worker now.
    pub(in crate::acceptor) fn give_back(self) -> bool {
        let ClaimedWorker { lease, upstream } = *self.claimed;
        if self.keep {
            upstream.park(&lease);
        }
        lease.hand_on()
    }

    /// Gives the worker up. A worker that takes one request at a time and is stuck with this one is of no use to
    /// others.
    pub(in crate::acceptor) fn condemn(&self, why: WorkerFault) {
        if self.claimed.lease.member().concurrency.get() == 1 {
            self.claimed.lease.condemn(why);
        }
    }

    /// Ends an answer that nobody reads any more. The worker is free only when it has ended the answer or its
    /// connection, with records when it takes another connection.
    pub(in crate::acceptor) async fn abandon(mut self, limit: Duration) {
        if self.claimed.lease.member().concurrency.get() > 1 {
            return;
        }
        let deadline = Instant::now() + limit;
        if self.decoder.length().is_some_and(|left| left <= WORTH_READING) {
            match timer::timeout_at(deadline, self.read_to_end()).await {
                Ok(true) => return self.end().await,
                Ok(false) => return,
                Err(_) => return self.condemn(WorkerFault::Stalled),
            }
        }
        if self.in_records {
            return self.claimed.hang_up(deadline).await;
        }
        let seen = self.claimed.upstream.refuse_answer(self.claimed.lease.member());
        if !seen {
            // The worker may notice that no more of the request comes. In any case it is free when the answer or the
            // connection has ended.
            self.claimed.upstream.end_request();
        }
        let over = async {
            if !self.read_to_end().await && seen {
                self.claimed.upstream.closed_by_worker().await;
            }
        };
        if timer::timeout_at(deadline, over).await.is_err() {
            self.condemn(WorkerFault::Stalled);
        }
    }

    /// Reads and drops the rest of the answer; returns whether it came to its end.
    async fn read_to_end(&mut self) -> bool {
        loop {
            match self.decoder.next(&mut self.claimed.upstream.buf) {
                Ok(Piece::End(_)) => return true,
                Ok(Piece::Data(_)) => {}
                Ok(Piece::Need) => match self.claimed.upstream.fill().await {
                    // In FastCGI records the end of the answer is not the end of the connection, which the worker
                    // keeps.
                    Ok(0) => return self.in_records || self.decoder.ends_here(),
                    Ok(_) => {}
                    Err(_) => return false,
                },
                Err(_) => return false,
            }
        }
    }
}

/// How long a worker has to close a connection from which nothing more is read; usually it takes far less.
const SEEN_OFF: Duration = Duration::from_secs(1);
/// The number of bytes that are worth a turn of their own.
const MUCH: usize = 16 << 10;
/// The most bytes of an answer that are read for nobody, to keep its connection.
const WORTH_READING: u64 = 1 << 20;
