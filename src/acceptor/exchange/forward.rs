//! Hands a request to a worker and brings its answer back, and asks a second worker where the first cannot have acted
//! on the request.
//!
//! Never here: bodies on their way to the client (`response_pump`, `buffer`), or what a failure looks like (`reply`).

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use crate::name::WorkerId;
use crate::pool::{Claim, ClaimError, InFlightRequest, Lease, WorkerFault};
use crate::spec::Protocol;
use crate::time::{LazyDeadline, timer};

use super::in_flight::{InFlight, read_head};
use super::respond::{is_busy, respond};
use super::response_pump::IncomingAnswer;
use crate::acceptor::body::request_body::RequestBody;
use crate::acceptor::error::ServeError;
use crate::acceptor::reason::Retry;
use crate::acceptor::thread::upstreams::Upstreams;
use crate::acceptor::upstream::access::Recording;
use crate::acceptor::upstream::body_coding::BodyCoding;
use crate::acceptor::upstream::claimed_worker::ClaimedWorker;
use crate::acceptor::upstream::exchange_error::ExchangeError;
use crate::acceptor::upstream::fastcgi::{self, NO_RECORD};
use crate::acceptor::upstream::outgoing::Outgoing;
use crate::acceptor::upstream::reply_body::Reply;
use crate::acceptor::upstream::restraint;
use crate::acceptor::upstream::send::{Sent, after_the_others, send};
use crate::acceptor::upstream::unread::Unclaimed;
use crate::acceptor::upstream::upload::{Upload, UploadEnd};
use crate::acceptor::upstream::upstream_conn::{UpstreamConn, distrust};
use crate::acceptor::upstream::worker_head::{AnswerHead, NO_ANSWER, write_request};

/// Hands the request over and returns the worker's answer.
///
/// # Errors
/// The failure of the last worker that was asked, or of the queue.
///
/// # Cancel safety
/// When the future is dropped, the worker finishes for nobody, and is given back when it has.
pub(in crate::acceptor) async fn forward(
    request: &mut Outgoing<'_>,
    recording: &mut Recording,
) -> Result<Reply, ServeError> {
    if request.rules.protocol == Protocol::FastCgi {
        fastcgi::check(request.head)?;
    }
    match attempt(request, None, recording).await {
        // The future is boxed, here and below: every request would have room for the parts that few of them need.
        Err(first) => Box::pin(ask_another(request, first, recording)).await,
        answered => answered,
    }
}

/// Hands the request over once more, if that is safe.
async fn ask_another(
    request: &mut Outgoing<'_>,
    first: ServeError,
    recording: &mut Recording,
) -> Result<Reply, ServeError> {
    let worker = match &first {
        ServeError::Unreachable { worker, .. }
        | ServeError::WorkerDied { worker, .. }
        | ServeError::WorkerBusy { worker } => *worker,
        _ => return Err(first),
    };
    // Two workers are enough, unless the second is known to be gone: then nobody got the second attempt.
    let gone =
        matches!(first, ServeError::WorkerDied { cause: Some(_), .. } | ServeError::Unreachable { .. });
    if (request.resent && !gone)
        || !request.body.is_repeatable()
        || !first.reason().retry.allows(request.head.method)
    {
        return Err(first);
    }
    tracing::debug!(app = %request.app.name, %worker, error = %first, "asking another worker");
    request.app.metrics.retried();
    match attempt(request, Some(worker), recording).await {
        // No other worker came in time: what happened at the first one is the better reason.
        Err(
            ServeError::QueueTimeout | ServeError::NoWorker | ServeError::QueueFull | ServeError::UnreadFull,
        ) if first.reason().retry != Retry::Always || matches!(first, ServeError::Unreachable { .. }) => {
            Err(first)
        }
        other => other,
    }
}

async fn attempt(
    request: &mut Outgoing<'_>,
    not: Option<WorkerId>,
    recording: &mut Recording,
) -> Result<Reply, ServeError> {
    let lease = claim(request, not, recording).await?;
    if let Some(terms) = &mut request.terms {
        terms.claimed = Some(lease.member().worker);
    }
    if request.rules.protocol == Protocol::H2c {
        return Box::pin(super::h2c::exchange(request, lease, recording)).await;
    }
    let granted = lease.since();
    let outcome = exchange(request, lease).await;
    recording.note(|record| record.in_worker = Some(granted.elapsed()));
    let (head, answer, upload) = outcome?;
    if is_busy(head.status(), head.headers()) {
        let worker = answer.claimed.lease.member().worker;
        spawn_abandon(request.upstreams, answer, request.rules.timeouts.request);
        return Err(ServeError::WorkerBusy { worker });
    }
    let response = respond(request, head, answer, upload, recording)?;
    if request.handed_on {
        // The other task runs first: this client can wait better than a worker can.
        after_the_others().await;
    }
    Ok(response)
}

async fn claim(
    request: &Outgoing<'_>,
    not: Option<WorkerId>,
    recording: &mut Recording,
) -> Result<Lease, ServeError> {
    // The time limit of a second claim begins when it is made.
    let asked = if not.is_none() { request.ready } else { Instant::now() };
    // The future is boxed: few requests wait for anything but a worker.
    let mut outcome = match restraint::is_due(request) || request.unread > 0 {
        true => Box::pin(claim_when_read(request, not, asked)).await,
        false => request.app.pool.claim(claim_of(request, not, asked)).await.map_err(Unclaimed::Pool),
    };
    if outcome.as_ref().is_ok_and(Lease::waited) && restraint::is_due(request) {
        drop(outcome);
        outcome = Box::pin(claim_when_read(request, not, asked)).await;
    }
    let until = outcome.as_ref().map_or_else(|_| Instant::now(), Lease::since);
    let waited = until.saturating_duration_since(asked);
    request.app.metrics.queue_waited(waited);
    recording.note(|record| record.queued = Some(waited));
    let lease = outcome.map_err(|error| match error {
        Unclaimed::Unread => too_many(request, ServeError::UnreadFull),
        Unclaimed::Pool(ClaimError::Full) => too_many(request, ServeError::QueueFull),
        Unclaimed::Pool(ClaimError::Expired { any_worker: true }) => {
            too_many(request, ServeError::QueueTimeout)
        }
        Unclaimed::Pool(ClaimError::Expired { any_worker: false } | ClaimError::Closed) => {
            ServeError::NoWorker
        }
    })?;
    if request.upstreams.cut.is_requested() {
        // A request of this client that was cut gave the worker back, but the worker still works on it.
        return Err(ServeError::NoWorker);
    }
    recording.note(|record| {
        record.worker = Some(lease.member().worker);
        record.generation = Some(lease.member().generation);
    });
    Ok(lease)
}

/// Claims a worker, when the client has read enough of its earlier answers.
async fn claim_when_read(
    request: &Outgoing<'_>,
    not: Option<WorkerId>,
    asked: Instant,
) -> Result<Lease, Unclaimed> {
    loop {
        if restraint::is_due(request) {
            restraint::wait(request).await?;
        }
        let claim = request.app.pool.claim(claim_of(request, not, asked));
        let lease = match request.unread {
            0 => claim.await?,
            _ => request.waiting(claim).await?,
        };
        // While a request waits for a worker, earlier answers to its client may use up the client's share.
        if !lease.waited() || !restraint::is_due(request) {
            return Ok(lease);
        }
    }
}

fn claim_of(request: &Outgoing<'_>, not: Option<WorkerId>, asked: Instant) -> Claim {
    let target = request.head.uri.path_and_query().cloned();
    let in_flight = InFlightRequest {
        id: *request.origin.id,
        method: request.head.method.clone(),
        target: target.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")),
        since: asked,
    };
    let terms = request.terms.as_ref().map(|terms| terms.claim);
    Claim { in_flight, client: request.client, deadline: request.queue_until, not, terms }
}

/// Tells the operator, at intervals, which requests hold the workers that a request waited for in vain.
fn too_many(request: &Outgoing<'_>, error: ServeError) -> ServeError {
    let app = &request.app.name;
    let now = Instant::now();
    if let Some(saturation) = request.app.pool.saturation(now) {
        let (worker, reason) = (saturation.worker, error.reason().word);
        tracing::warn!(%app, %worker, request_id = %request.origin.id, reason, "{}", saturation.sentence(app, now));
    }
    error
}

/// Sends the request and reads the answer's head.
async fn exchange(request: &mut Outgoing<'_>, mut lease: Lease) -> Result<BegunAnswer, ServeError> {
    let connect = request.rules.timeouts.connect;
    let mut opened = UpstreamConn::open(&lease, request.upstreams, connect).await;
    loop {
        let upstream = match opened {
            Ok(upstream) => upstream,
            Err(source) => return Err(unreachable(&lease, source)),
        };
        let reused = upstream.reused;
        let mut in_flight = InFlight::new(request, Box::new(ClaimedWorker { lease, upstream }));
        let failed = match converse(request, &mut in_flight).await {
            Ok((head, sent, upload)) => {
                let kept = sent == Sent::All && request.rules.keepalive;
                let answer = IncomingAnswer::new(in_flight.take(), &head, kept);
                return Ok((head, answer, upload));
            }
            // The worker sees the request break off when `in_hand` is dropped.
            Err(ExchangeError::Client(error)) => return Err(error),
            Err(ExchangeError::BadAnswer(NO_ANSWER | NO_RECORD)) if reused => ExchangeError::Stray,
            Err(failed) => failed,
        };
        let mut claimed = in_flight.take();
        if failed.is_stray() {
            distrust(claimed.lease.member());
        }
        let again = reused
            && request.may_be_sent_again(&failed)
            && (!matches!(failed, ExchangeError::Stray)
                || Box::pin(has_done_with_it(&mut claimed, request)).await);
        lease = claimed.close();
        if !again {
            return Err(Box::pin(request.judge(failed, lease)).await);
        }
        // The worker was just closing the kept connection: the worker itself is well.
        request.resent = !matches!(failed, ExchangeError::Unsent(_));
        opened = Box::pin(UpstreamConn::open_new(lease.member(), request.upstreams, connect)).await;
    }
}

/// Waits until the worker has closed the connection, which shows that it has done with the request; false when that
/// takes longer than a request may. A worker that takes several requests at a time is not waited for.
async fn has_done_with_it(claimed: &mut ClaimedWorker, request: &Outgoing<'_>) -> bool {
    let ClaimedWorker { lease, upstream } = claimed;
    if lease.member().concurrency.get() > 1 {
        return true;
    }
    upstream.end_request();
    timer::timeout_at(lease.since() + request.rules.timeouts.request, upstream.hear_out()).await.is_ok()
}

fn unreachable(lease: &Lease, source: io::Error) -> ServeError {
    if matches!(source.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) {
        lease.condemn(WorkerFault::Unreachable);
    }
    ServeError::Unreachable { worker: lease.member().worker, source }
}

/// Sends one request and reads one answer's head, over one connection.
async fn converse(
    request: &mut Outgoing<'_>,
    in_flight: &mut InFlight,
) -> Result<AnsweredHead, ExchangeError> {
    let limit = request.rules.timeouts.request;
    let method = request.head.method;
    // An answer to HEAD is the last one on its connection, whatever it says; see `AnswerHead::counted`.
    let by_records = request.rules.protocol == Protocol::FastCgi;
    let keepalive =
        request.rules.keepalive && in_flight.keeps_connections() && (by_records || *method != Method::HEAD);
    let mut out = Vec::with_capacity(1024);
    if by_records {
        let (script, length) = (request.script.as_deref(), request.body.length());
        fastcgi::write_request(&mut out, request.head, &request.origin, script, length, keepalive);
        in_flight.expect_records();
    } else {
        write_request(&mut out, request.head, &request.origin, request.body.framing(), keepalive);
    }
    let coding = BodyCoding::of(request.rules.protocol, &request.body);
    let mut upload = request.take_upload(coding);
    let body = &request.body;
    let granted = in_flight.granted();
    // A request that waited for its worker is sent at once, because the worker has nothing else to do.
    let write_batch = (!in_flight.waited()).then_some(&request.upstreams.write_batch);
    let (upstream, all_sent) = in_flight.parts();
    let worked = match &mut upload {
        None => {
            let work = async |upstream: &mut UpstreamConn| {
                let sent = send(upstream, out, body, coding, write_batch, all_sent).await?;
                Ok((read_head(upstream, method).await?, sent))
            };
            upstream.answered_within(granted, limit, work).await
        }
        Some(upload) => {
            let upload_clock = upload.upload_clock();
            let work = async {
                let sent = send(upstream, out, body, coding, None, &mut false).await?;
                let head = head_while_passing(upstream, upload, method).await;
                *all_sent = upload.is_complete();
                Ok((head?, sent))
            };
            Box::pin(async move { upload_clock.within(&mut LazyDeadline::new(), limit, work).await }).await
        }
    };
    match worked.unwrap_or(Err(ExchangeError::Late)) {
        Ok((head, sent)) => Ok((head, sent, upload.filter(|upload| !upload.is_complete()))),
        Err(failed) => {
            if let Some(rest) = upload {
                let (incoming, length) = rest.into_rest();
                request.body = RequestBody::Streaming(incoming, length);
            }
            Err(failed)
        }
    }
}

/// Passes the body on and reads the answer's head, until one of the two is done.
async fn head_while_passing(
    upstream: &mut UpstreamConn,
    upload: &mut Upload,
    method: &Method,
) -> Result<AnswerHead, ExchangeError> {
    let (mut reader, writer) = upstream.split();
    let mut reading = pin!(read_head(&mut reader, method));
    tokio::select! {
        biased;
        head = &mut reading => return head,
        passed = upload.pass_on(&writer) => match passed {
            Ok(UploadEnd::All | UploadEnd::Refused) => {}
            Err(error) => return Err(ExchangeError::Client(error)),
        },
    }
    reading.await
}

/// An answer's head, how much of the request was sent for it, and what is left of one that was answered early.
type AnsweredHead = (AnswerHead, Sent, Option<Box<Upload>>);

/// An answer's head, its body to come, and what is left of a request that was answered early.
type BegunAnswer = (AnswerHead, IncomingAnswer, Option<Box<Upload>>);

impl Outgoing<'_> {
    fn take_upload(&mut self, coding: BodyCoding) -> Option<Box<Upload>> {
        match std::mem::replace(&mut self.body, RequestBody::PassedOn) {
            RequestBody::Streaming(incoming, length) => {
                let limits = (self.upstreams.server.limits.body_idle, self.rules.max_body);
                Some(Box::new(Upload::new(incoming, length, coding, limits, self.courtesy())))
            }
            other => {
                self.body = other;
                None
            }
        }
    }

    /// Whether sending the request over another connection is the same as sending it once.
    fn may_be_sent_again(&self, failed: &ExchangeError) -> bool {
        match failed {
            ExchangeError::Unsent(_) => true,
            ExchangeError::Worker(_) | ExchangeError::Stray => {
                self.body.is_repeatable() && self.head.method.is_idempotent()
            }
            ExchangeError::Late | ExchangeError::BadAnswer(_) | ExchangeError::Client(_) => false,
        }
    }

    /// Judges a failure: what it means for the worker, and for the client.
    async fn judge(&self, failed: ExchangeError, lease: Lease) -> ServeError {
        let worker = lease.member().worker;
        match failed {
            ExchangeError::Client(error) => error,
            ExchangeError::BadAnswer(what) => ServeError::BadAnswer { worker, what },
            ExchangeError::Stray => ServeError::BadAnswer { worker, what: NO_ANSWER },
            ExchangeError::Worker(source) | ExchangeError::Unsent(source) => {
                let member = Arc::clone(lease.member());
                let mut cause = member.ended_within(CAUSE_KNOWN).await;
                if cause.is_none() && self.resent {
                    // Another worker is asked only when this one is known to be gone. This worker may be well, though,
                    // and others wait for it.
                    drop(lease);
                    cause = member.ended_within(CAUSE_LATE).await;
                }
                ServeError::WorkerDied { worker, cause, source }
            }
            ExchangeError::Late => {
                tracing::warn!(app = %self.app.name, %worker, request_id = %self.origin.id,
                    limit = ?self.rules.timeouts.request, "a worker did not answer in time");
                lease.overdue();
                ServeError::WorkerTimeout { worker }
            }
        }
    }
}

fn spawn_abandon(upstreams: &Upstreams, answer: IncomingAnswer, limit: Duration) {
    upstreams.stop.spawn_local("refused request", answer.abandon(limit));
}

/// How long the client waits to learn how its worker ended: the exit is known shortly after the connection's end.
const CAUSE_KNOWN: Duration = Duration::from_millis(200);
/// How much longer the client waits when a second try depends on it: a busy machine reports the exit later.
const CAUSE_LATE: Duration = Duration::from_millis(800);
