//! Limits how long the client of a streamed body may make a worker wait that others wait for.
//!
//! Only the time in which the server waits for the client counts, and the limit holds only while another request waits
//! for a worker. Never here: moving the body, or what becomes of the worker.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::name::ClientNet;
use crate::pool::Pool;
use crate::time::LazyDeadline;

use super::server::Server;
use crate::acceptor::limit::Limit;

/// The bytes that one client has sent, and the time for which the server waited for them.
pub(in crate::acceptor) struct StallLimit {
    server: Arc<Server>,
    client: Option<ClientNet>,
    pool: Pool,
    waits: StallTime,
    timer: LazyDeadline,
    /// Ready when another request waits for a worker; there while the client is overdue.
    wanted: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl StallLimit {
    pub(in crate::acceptor) fn new(server: Arc<Server>, client: Option<ClientNet>, pool: Pool) -> Self {
        let rate = match server.limits.body_rate {
            0 => None,
            rate => Some(rate.max(RATE)),
        };
        let waits = StallTime { rate, total: 0, waited: Duration::ZERO, since: None };
        Self { server, client, pool, waits, timer: LazyDeadline::new(), wanted: None }
    }

    /// Notes that the client has sent so many bytes, or its end.
    pub(in crate::acceptor) fn received(&mut self, bytes: usize) {
        self.waits.received(Instant::now(), bytes);
    }

    /// Waits for the client. Ready when its request has to give its worker up to another one that waits.
    pub(in crate::acceptor) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            let late = match self.waits.late(now) {
                Overdue::Never => return Poll::Pending,
                Overdue::In(left) => {
                    ready!(self.timer.poll(cx, now + left));
                    continue;
                }
                Overdue::By(late) => late,
            };
            let pool = &self.pool;
            let wanted = self.wanted.get_or_insert_with(|| Box::pin(pool.clone().somebody_waits()));
            ready!(wanted.as_mut().poll(cx));
            self.wanted = None;
            if self.pool.is_preempted(now, late) {
                self.server.limit_log.reached(Limit::SlowStream, self.client);
                return Poll::Ready(());
            }
            ready!(self.timer.poll(cx, now + LOOK));
        }
    }
}

/// The bytes that a client has sent, and the time for which the server waited for it.
#[derive(Debug)]
struct StallTime {
    /// The least rate, in bytes a second; `None`: any rate will do.
    rate: Option<u32>,
    total: u64,
    /// The waits that ended before `since`.
    waited: Duration,
    /// Since when the server waits for the client.
    since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overdue {
    Never,
    In(Duration),
    By(Duration),
}

impl StallTime {
    fn received(&mut self, now: Instant, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        self.total += bytes as u64;
    }

    /// Whether the client is overdue; the wait for it begins now, if it had not begun.
    fn late(&mut self, now: Instant) -> Overdue {
        let since = *self.since.get_or_insert(now);
        let Some(rate) = self.rate else { return Overdue::Never };
        let waited = self.waited + now.saturating_duration_since(since);
        let allowed =
            GRACE + Duration::from_millis(self.total.saturating_mul(1000) / u64::from(rate)).min(FOREVER);
        match allowed.checked_sub(waited) {
            Some(left) if !left.is_zero() => Overdue::In(left),
            _ => Overdue::By(waited.saturating_sub(allowed)),
        }
    }
}

/// How long a client may make a worker wait, beside the time that its bytes take at [`RATE`].
const GRACE: Duration = Duration::from_secs(5);
/// The least rate, in bytes a second, unless `limits.body_rate` asks for more: a slower body is no use of a worker that
/// others wait for.
const RATE: u32 = 16 << 10;
/// The interval of looks at an overdue client while others wait.
const LOOK: Duration = Duration::from_millis(100);
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn waits(rate: Option<u32>) -> StallTime {
        StallTime { rate, total: 0, waited: Duration::ZERO, since: None }
    }

    #[test]
    fn only_the_time_in_which_the_client_is_waited_for_counts() {
        let start = Instant::now();
        let mut waits = waits(Some(1000));
        assert_eq!(waits.late(start), Overdue::In(GRACE));
        waits.received(start + SECOND * 3, 10);
        // The worker has taken its time with these bytes.
        assert_eq!(waits.late(start + SECOND * 90), Overdue::In(GRACE - SECOND * 3 + SECOND / 100));
        assert_eq!(waits.late(start + SECOND * 95), Overdue::By(SECOND * 3 - SECOND / 100));
    }

    #[test]
    fn who_sends_at_the_rate_is_never_late_and_at_no_rate_nobody_is() {
        let start = Instant::now();
        let (mut steady, mut any) = (waits(Some(1000)), waits(None));
        for second in 0..1000 {
            let now = start + SECOND * second;
            assert_eq!(steady.late(now), Overdue::In(GRACE), "{second}");
            assert_eq!(any.late(now), Overdue::Never);
            steady.received(now + SECOND, 1000);
        }
    }
}
