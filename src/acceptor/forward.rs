//! One request to one worker and its answer back; to a second worker where the first cannot have acted on it.
//!
//! Never here: bodies on their way to the client (`drain`, `buffer`), or what a failure looks like (`reply`).

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use http::{Method, Response, StatusCode, header};
use tokio::time::Instant;

use crate::directory::App;
use crate::name::WorkerId;
use crate::pool::{Claim, ClaimError, Condemned, Doing, Lease};
use crate::spec::{Protocol, Rules};

use super::access::Recording;
use super::buffer::Buffer;
use super::drain::{Answer, Draining, WORKER_READ, drain};
use super::error::{Retry, ServeError};
use super::headers::clean_answer;
use super::link::Link;
use super::reply_body::ReplyBody;
use super::request_body::RequestBody;
use super::send::{Sent, send};
use super::shard::Shard;
use super::tunnel::{self, Upgrade};
use super::worker_body::{BodyDecoder, Piece};
use super::worker_head::{AnswerHead, Origin, ReceiveFraming, RequestHead, parse_answer, write_request};

/// A request that is ready to be handed to a worker.
pub(super) struct Outgoing<'a> {
    pub(super) shard: &'a Rc<Shard>,
    pub(super) app: &'a Arc<App>,
    pub(super) rules: &'a Arc<Rules>,
    pub(super) head: RequestHead<'a>,
    pub(super) origin: Origin<'a>,
    pub(super) body: RequestBody,
    /// Until when it may wait for a worker.
    pub(super) queue_until: Instant,
    pub(super) upgrade: Option<Upgrade>,
}

/// Hands the request over and returns the worker's answer.
///
/// # Errors
/// What went wrong with the last worker that was asked, or with the queue.
///
/// # Cancel safety
/// Dropping it leaves the worker to finish for nobody; the worker is given back when it has.
pub(super) async fn forward(
    mut request: Outgoing<'_>,
    recording: &mut Recording,
) -> Result<Response<ReplyBody>, ServeError> {
    let first = match attempt(&mut request, None, recording).await {
        Err(error) => error,
        Ok(answer) => return Ok(answer),
    };
    let worker = match &first {
        ServeError::Unreachable { worker, .. }
        | ServeError::WorkerDied { worker, .. }
        | ServeError::WorkerBusy { worker } => *worker,
        _ => return Err(first),
    };
    if !request.body.is_repeatable() || !first.retry().allows(request.head.method) {
        return Err(first);
    }
    tracing::debug!(app = %request.app.name, %worker, error = %first, "asking another worker");
    request.app.metrics.refused("retried");
    match attempt(&mut request, Some(worker), recording).await {
        // No other worker came in time: what the first one did is the better reason.
        Err(ServeError::QueueTimeout | ServeError::NoWorker | ServeError::QueueFull)
            if first.retry() != Retry::Always || matches!(first, ServeError::Unreachable { .. }) =>
        {
            Err(first)
        }
        other => other,
    }
}

async fn attempt(
    request: &mut Outgoing<'_>,
    not: Option<WorkerId>,
    recording: &mut Recording,
) -> Result<Response<ReplyBody>, ServeError> {
    let lease = claim(request, not, recording).await?;
    let granted = Instant::now();
    if request.rules.protocol == Protocol::H2c {
        return super::h2c::exchange(request, lease, recording).await;
    }
    let outcome = exchange(request, lease, granted, not.is_none()).await;
    recording.note(|record| record.in_worker = Some(granted.elapsed()));
    let (head, answer) = outcome?;
    if head.status == StatusCode::SERVICE_UNAVAILABLE && head.headers.contains_key("rip-worker-busy") {
        let worker = answer.lease.member().worker;
        spawn_abandon(request.shard, answer, request.rules.timeouts.request);
        return Err(ServeError::WorkerBusy { worker });
    }
    respond(request, head, answer, recording)
}

async fn claim(
    request: &Outgoing<'_>,
    not: Option<WorkerId>,
    recording: &mut Recording,
) -> Result<Lease, ServeError> {
    let asked = Instant::now();
    let doing = Doing {
        id: request.origin.id,
        method: request.head.method.clone(),
        target: request
            .head
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")),
        since: asked,
    };
    let outcome = request.app.pool.claim(Claim { doing, deadline: request.queue_until, not }).await;
    let waited = asked.elapsed();
    request.app.metrics.queue_waited(waited);
    recording.note(|record| record.queued = Some(waited));
    let lease = outcome.map_err(|error| match error {
        ClaimError::Full => ServeError::QueueFull,
        ClaimError::Expired { any_worker: true } => ServeError::QueueTimeout,
        ClaimError::Expired { any_worker: false } | ClaimError::Closed => ServeError::NoWorker,
    })?;
    recording.note(|record| {
        record.worker = Some(lease.member().worker);
        record.generation = Some(lease.member().generation);
    });
    Ok(lease)
}

/// Sends the request and reads the answer's head; again, once, where a kept connection was closed under it.
async fn exchange(
    request: &mut Outgoing<'_>,
    lease: Lease,
    granted: Instant,
    may_repeat: bool,
) -> Result<(AnswerHead, Answer), ServeError> {
    let timeouts = request.rules.timeouts;
    let link = Link::open(lease.member(), request.shard.index, timeouts.connect).await;
    let (lease, link) = reached(lease, link)?;
    let may_repeat = may_repeat && link.used;
    let (source, lease) = match send_and_wait(request, lease, link, granted).await {
        Err(Unanswered::Worker(source, lease)) => (source, lease),
        Err(Unanswered::Other(error)) => return Err(error),
        Ok(answer) => return Ok(answer),
    };
    // Most likely the worker ended an idle connection at the moment it was used again.
    if !(may_repeat && request.body.is_repeatable() && Retry::IfIdempotent.allows(request.head.method)) {
        return Err(died(source, &lease).await);
    }
    let link = match Link::open_new(lease.member(), request.shard.index, timeouts.connect).await {
        Ok(link) => link,
        // It was the worker that ended, not the connection alone.
        Err(_) => return Err(died(source, &lease).await),
    };
    match send_and_wait(request, lease, link, granted).await {
        Err(Unanswered::Worker(source, lease)) => Err(died(source, &lease).await),
        Err(Unanswered::Other(error)) => Err(error),
        Ok(answer) => Ok(answer),
    }
}

/// A worker that refuses connections is taken out.
fn reached(lease: Lease, link: io::Result<Link>) -> Result<(Lease, Link), ServeError> {
    match link {
        Ok(link) => Ok((lease, link)),
        Err(source) => {
            if matches!(source.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) {
                lease.condemn(Condemned::Unreachable);
            }
            Err(ServeError::Unreachable { worker: lease.member().worker, source })
        }
    }
}

async fn died(source: io::Error, lease: &Lease) -> ServeError {
    let cause = lease.member().ended_within(CAUSE_KNOWN).await;
    ServeError::WorkerDied { worker: lease.member().worker, cause, source }
}

/// Why one sending of a request brought no answer.
enum Unanswered {
    /// The connection ended without a byte of it.
    Worker(io::Error, Lease),
    Other(ServeError),
}

async fn send_and_wait(
    request: &mut Outgoing<'_>,
    lease: Lease,
    link: Link,
    granted: Instant,
) -> Result<(AnswerHead, Answer), Unanswered> {
    let timeouts = &request.rules.timeouts;
    let worker = lease.member().worker;
    let mut out = Vec::with_capacity(1024);
    write_request(&mut out, request.head, &request.origin, request.body.framing(), request.rules.keepalive);
    let mut in_hand = InHand::new(request, lease, link, granted);
    let deadline = in_hand.deadline;
    let method = request.head.method;
    let work = async {
        let link = in_hand.link();
        let sent =
            send(link, out, &mut request.body, &request.shard.server.limits, request.rules.max_body).await?;
        if sent == Sent::All {
            in_hand.sent = true;
        }
        // The clock of a streamed body runs from its last byte: only then can the worker answer.
        let limit = if request.body.is_repeatable() { deadline } else { Instant::now() + timeouts.request };
        tokio::time::timeout_at(limit, read_head(in_hand.link(), method))
            .await
            .unwrap_or(Err(Failed::Late))
            .map(|head| (head, sent))
    };
    match work.await {
        Ok((head, sent)) => {
            let (lease, link) = in_hand.take();
            let keep = head.keepalive && sent == Sent::All && request.rules.keepalive;
            let decoder = BodyDecoder::new(head.framing);
            Ok((head, Answer { lease, link, decoder, keep }))
        }
        Err(Failed::Late) => {
            let (lease, _) = in_hand.take();
            tracing::warn!(app = %request.app.name, %worker, request_id = %request.origin.id, limit = ?timeouts.request,
                "a worker did not answer in time");
            if lease.member().concurrency.get() == 1 {
                lease.condemn(Condemned::TooSlow);
            }
            Err(Unanswered::Other(ServeError::WorkerTimeout { worker }))
        }
        Err(Failed::Worker(source)) => {
            let (lease, _) = in_hand.take();
            Err(Unanswered::Worker(source, lease))
        }
        Err(Failed::Answer(what)) => {
            drop(in_hand.take());
            Err(Unanswered::Other(ServeError::BadAnswer { worker, what }))
        }
        // The worker sees its connection end when `in_hand` is dropped.
        Err(Failed::Client(error)) => Err(Unanswered::Other(error)),
    }
}

/// Why no answer came.
pub(super) enum Failed {
    Late,
    Worker(io::Error),
    Answer(&'static str),
    Client(ServeError),
}

/// Reads until the answer's final head is there; interim ones (RFC 9110 §15.2) are passed over.
async fn read_head(link: &mut Link, method: &Method) -> Result<AnswerHead, Failed> {
    loop {
        while !link.buf.is_empty() {
            match parse_answer(&mut link.buf, method).map_err(Failed::Answer)? {
                Some(head)
                    if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS => {}
                Some(head) => return Ok(head),
                None => break,
            }
        }
        match link.fill(HEAD_READ).await {
            Ok(0) if link.buf.is_empty() => return Err(Failed::Worker(io::ErrorKind::UnexpectedEof.into())),
            Ok(0) => return Err(Failed::Answer("it ends in the middle of its head")),
            Ok(_) => {}
            Err(error) => return Err(Failed::Worker(error)),
        }
    }
}

/// A worker that has begun, or may have begun, on our request. Dropped before its answer: the client has gone, and the
/// worker is waited for by a task of its own.
struct InHand {
    shard: Rc<Shard>,
    held: Option<(Lease, Link)>,
    method: Method,
    deadline: Instant,
    hang_up: std::time::Duration,
    /// All of the request.
    sent: bool,
}

impl InHand {
    fn new(request: &Outgoing<'_>, lease: Lease, link: Link, granted: Instant) -> Self {
        Self {
            shard: Rc::clone(request.shard),
            held: Some((lease, link)),
            method: request.head.method.clone(),
            deadline: granted + request.rules.timeouts.request,
            hang_up: request.rules.timeouts.request,
            sent: false,
        }
    }

    fn link(&mut self) -> &mut Link {
        &mut self.held.as_mut().expect("it is held until taken, which consumes it").1
    }

    fn take(mut self) -> (Lease, Link) {
        self.held.take().expect("it is held until taken, which consumes it")
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let Some((lease, mut link)) = self.held.take() else { return };
        if lease.member().concurrency.get() > 1 {
            return;
        }
        let (method, deadline, hang_up, sent) = (self.method.clone(), self.deadline, self.hang_up, self.sent);
        self.shard.stop.spawn_local("abandoned request", async move {
            if !sent {
                link.end_request().await;
            }
            match tokio::time::timeout_at(deadline, read_head(&mut link, &method)).await {
                Ok(Ok(head)) => {
                    let decoder = BodyDecoder::new(head.framing);
                    Answer { lease, link, decoder, keep: head.keepalive && sent }.abandon(hang_up).await;
                }
                Ok(Err(_)) => {}
                Err(_) => lease.condemn(Condemned::TooSlow),
            }
        });
    }
}

fn spawn_abandon(shard: &Shard, answer: Answer, limit: std::time::Duration) {
    shard.stop.spawn_local("refused request", answer.abandon(limit));
}

/// Makes the client's answer of the worker's.
fn respond(
    request: &mut Outgoing<'_>,
    mut head: AnswerHead,
    mut answer: Answer,
    recording: &mut Recording,
) -> Result<Response<ReplyBody>, ServeError> {
    if let Some(count) = head.headers.get("rip-reloads").and_then(|value| value.to_str().ok()?.parse().ok()) {
        answer.lease.note_reloads(count);
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return tunnel::open(request.upgrade.take(), head, answer, recording);
    }
    let chunked = head.framing == ReceiveFraming::Chunked;
    clean_answer(&mut head.headers, chunked);
    let stream = is_event_stream(&head);
    let length = answer.decoder.remaining();
    let body = match take_whole(&mut answer) {
        _ if stream => {
            let worker = answer.lease.member().worker;
            match answer.lease.into_tunnel() {
                Ok(tunnel) => ReplyBody::direct(answer.link, answer.decoder, tunnel),
                Err(_) => return Err(ServeError::NoTunnel { worker }),
            }
        }
        Whole::Yes(bytes) => {
            answer.give_back();
            ReplyBody::full(bytes)
        }
        Whole::No(first) => pipe(request, answer, first, length),
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response)
}

enum Whole {
    Yes(bytes::Bytes),
    /// What of it is there already.
    No(Option<bytes::Bytes>),
}

/// Most answers come with their head in one read: they need no buffer and no task.
fn take_whole(answer: &mut Answer) -> Whole {
    match answer.decoder.remaining() {
        Some(0) => Whole::Yes(bytes::Bytes::new()),
        Some(left) if left <= answer.link.buf.len() as u64 => match answer.decoder.next(&mut answer.link.buf)
        {
            Ok(Piece::Data(data)) if answer.decoder.remaining() == Some(0) => Whole::Yes(data),
            Ok(Piece::Data(data)) => Whole::No(Some(data)),
            _ => Whole::No(None),
        },
        _ => Whole::No(None),
    }
}

fn pipe(
    request: &Outgoing<'_>,
    answer: Answer,
    first: Option<bytes::Bytes>,
    length: Option<u64>,
) -> ReplyBody {
    let limits = &request.shard.server.limits;
    let buffer = Buffer::new(limits.reply_memory);
    if let Some(first) = first {
        // An empty buffer has room.
        let _ = buffer.try_push(first);
    }
    let how = Draining {
        worker_idle: request.rules.timeouts.body_idle,
        client_idle: limits.write_idle,
        hang_up: request.rules.timeouts.request,
        most_spooled: limits.reply_spool,
        folder: request.shard.server.spool.clone(),
        metrics: request.shard.metrics.clone(),
    };
    request.shard.stop.spawn_local("answer", drain(answer, Rc::clone(&buffer), how));
    ReplyBody::piped(buffer, length)
}

fn is_event_stream(head: &AnswerHead) -> bool {
    head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.len() >= 17 && kind[..17].eq_ignore_ascii_case(b"text/event-stream")
    })
}

/// The first read of an answer: most answers fit, and idle connections hold no buffer.
const HEAD_READ: usize = 8 << 10;
/// How long to wait for the word how a worker ended, which its exit brings shortly after its connection's end.
const CAUSE_KNOWN: std::time::Duration = std::time::Duration::from_millis(200);
const _: () = assert!(HEAD_READ <= WORKER_READ);
