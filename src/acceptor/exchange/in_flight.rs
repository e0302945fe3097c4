//! A request that a worker has in hand until the head of its answer is there, also when its client has gone.
//!
//! Never here: what becomes of the answer (`forward`, `response_pump`).

use std::io;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::pool::WorkerFault;
use crate::time::timer;

use super::response_pump::IncomingAnswer;
use crate::acceptor::thread::upstreams::Upstreams;
use crate::acceptor::upstream::claimed_worker::ClaimedWorker;
use crate::acceptor::upstream::early_hints::EarlyHints;
use crate::acceptor::upstream::exchange_error::ExchangeError;
use crate::acceptor::upstream::fastcgi;
use crate::acceptor::upstream::outgoing::Outgoing;
use crate::acceptor::upstream::upstream_conn::{Source, UpstreamConn};
use crate::acceptor::upstream::worker_head::{AnswerHead, parse_answer};

/// A worker that has begun, or may have begun, with the request. When it is dropped before the answer, because the
/// client has gone, a task of its own waits for the worker.
pub(in crate::acceptor) struct InFlight {
    upstreams: Rc<Upstreams>,
    held: Option<Box<ClaimedWorker>>,
    method: Method,
    /// Until when the answer's head must be there. `None` while the body is passed on as it comes: then the time runs
    /// from when the client leaves.
    deadline: Option<Instant>,
    hang_up: Duration,
    /// Whether all of the request was sent.
    pub(in crate::acceptor) sent: bool,
}

impl InFlight {
    pub(in crate::acceptor) fn new(request: &Outgoing<'_>, claimed: Box<ClaimedWorker>) -> Self {
        let (granted, limit) = (claimed.lease.since(), request.rules.timeouts.request);
        Self {
            upstreams: Rc::clone(request.upstreams),
            held: Some(claimed),
            method: request.head.method.clone(),
            deadline: request.body.is_repeatable().then(|| granted + limit),
            hang_up: limit,
            sent: false,
        }
    }

    /// Since when the worker has the request.
    pub(in crate::acceptor) fn granted(&self) -> Instant {
        self.held.as_ref().expect(HELD).lease.since()
    }

    /// Whether the request waited for the worker.
    pub(in crate::acceptor) fn waited(&self) -> bool {
        self.held.as_ref().expect(HELD).lease.waited()
    }

    /// Whether the worker's connections may be used again.
    pub(in crate::acceptor) fn keeps_connections(&self) -> bool {
        !self.held.as_ref().expect(HELD).lease.member().is_distrusted()
    }

    /// Prepares for an answer in records of FastCGI.
    pub(in crate::acceptor) fn expect_records(&mut self) {
        let ClaimedWorker { lease, upstream } = &mut **self.held.as_mut().expect(HELD);
        upstream.expect_records(lease.member());
    }

    /// The connection, and the flag to set when all of the request was sent.
    pub(in crate::acceptor) fn parts(&mut self) -> (&mut UpstreamConn, &mut bool) {
        let held = self.held.as_mut().expect(HELD);
        (&mut held.upstream, &mut self.sent)
    }

    /// The worker, for whoever has the answer or knows that there is none.
    pub(in crate::acceptor) fn take(mut self) -> Box<ClaimedWorker> {
        self.held.take().expect(HELD)
    }
}

const HELD: &str = "it is held until taken, which consumes it";

impl Drop for InFlight {
    fn drop(&mut self) {
        let Some(mut claimed) = self.held.take() else { return };
        if claimed.lease.member().concurrency.get() > 1 {
            if claimed.lease.since().elapsed() >= self.hang_up.min(LONG) {
                claimed.lease.doubt();
            }
            return;
        }
        let (method, hang_up, sent) = (self.method.clone(), self.hang_up, self.sent);
        let deadline = self.deadline.unwrap_or_else(|| Instant::now() + hang_up);
        self.upstreams.stop.spawn_local("abandoned request", async move {
            if !sent {
                claimed.upstream.end_request();
            }
            match timer::timeout_at(deadline, read_head(&mut claimed.upstream, &method)).await {
                Ok(Ok(head)) => IncomingAnswer::new(claimed, &head, sent).abandon(hang_up).await,
                Ok(Err(_)) => {}
                Err(_) => claimed.lease.condemn(WorkerFault::TooSlow),
            }
        });
    }
}

/// The wait after which a client may have left because the worker answers nobody.
const LONG: Duration = Duration::from_secs(10);

/// Reads until the answer's final head is there; of interim heads (RFC 9110 §15.2) only the links of 103 are kept.
pub(in crate::acceptor) async fn read_head(
    upstream: &mut impl Source,
    method: &Method,
) -> Result<AnswerHead, ExchangeError> {
    if upstream.records().is_some() {
        return Box::pin(fastcgi::read_head(upstream, method)).await;
    }
    let mut hints = EarlyHints::default();
    loop {
        while !upstream.buf().is_empty() {
            match parse_answer(upstream.buf(), method).map_err(ExchangeError::BadAnswer)? {
                Some(head)
                    if head.status().is_informational()
                        && head.status() != StatusCode::SWITCHING_PROTOCOLS =>
                {
                    hints.note(&head);
                }
                Some(mut head) => {
                    hints.add_to(&mut head);
                    return Ok(head);
                }
                None => break,
            }
        }
        match upstream.fill().await {
            Ok(0) if upstream.buf().is_empty() => {
                return Err(ExchangeError::Worker(io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(0) => return Err(ExchangeError::BadAnswer("it ends in the middle of its head")),
            Ok(_) => {}
            Err(error) => return Err(ExchangeError::Worker(error)),
        }
    }
}
