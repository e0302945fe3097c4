//! Owns the sentence for an operator about which requests hold the workers of an app whose requests wait in vain.
//!
//! Never here: when it is logged (`state`), or a request's query, which may be secret.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::name::{AppName, WorkerId};

use super::in_flight::InFlightRequest;
use super::member::Member;

/// Workers that have no place left.
#[derive(Clone, Debug)]
pub(crate) struct Saturation {
    pub(crate) workers: usize,
    /// How many requests each worker takes at the same time.
    pub(crate) seats: usize,
    /// The worker that has had a request for the longest time.
    pub(crate) worker: WorkerId,
    pub(crate) longest: InFlightRequest,
    /// Whether other workers have a place left, and the requests wait for the worker that their clients have.
    pub(crate) others_are_free: bool,
}

impl Saturation {
    /// The saturation of so many workers by the requests in hand; `None` if there are none.
    pub(super) fn of<'a>(
        workers: usize,
        others_are_free: bool,
        held: impl Iterator<Item = (&'a Arc<Member>, &'a InFlightRequest)>,
    ) -> Option<Self> {
        let (member, longest) = held.min_by_key(|(_, in_flight)| in_flight.since)?;
        let seats = member.concurrency.get() as usize;
        Some(Self { workers, seats, worker: member.worker, longest: longest.clone(), others_are_free })
    }

    /// The sentence for the log, with what to do about it: "the only worker of chat has had GET /socket.io/ for 10 s;
    /// …".
    pub(crate) fn sentence(&self, app: &AppName, now: Instant) -> String {
        let held = HeldRequest { in_flight: &self.longest, now };
        match (self.workers, self.seats) {
            _ if self.others_are_free => format!(
                "worker {} of {app} has {} in hand, the longest of them {held}, and its clients wait for it because of \
                 `sticky`, though other workers are free; c:N lets it take more",
                self.worker, self.seats
            ),
            (..=1, ..=1) => {
                format!("the only worker of {app} has had {held}; c:N lets it take several, w:N adds workers")
            }
            (..=1, seats) => format!(
                "the only worker of {app} has {seats} requests in hand, the longest of them {held}; \
                 c:N lets it take more, w:N adds workers"
            ),
            (workers, ..=1) => format!(
                "all {workers} workers of {app} have a request in hand, worker {} has had {held}; \
                 c:N lets each take several, w:N adds workers",
                self.worker
            ),
            (workers, seats) => format!(
                "all {workers} workers of {app} have {seats} requests in hand, worker {} has had {held}; \
                 c:N lets each take more, w:N adds workers",
                self.worker
            ),
        }
    }
}

/// A request, and for how long a worker has had it.
struct HeldRequest<'a> {
    in_flight: &'a InFlightRequest,
    now: Instant,
}

impl fmt::Display for HeldRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InFlightRequest { method, target, since, .. } = self.in_flight;
        let path = target.path();
        let shown: String = path.chars().take(LONGEST_PATH).collect();
        let more = if shown.len() < path.len() || target.query().is_some() { "…" } else { "" };
        write!(f, "{method} {shown}{more} for ")?;
        match self.now.saturating_duration_since(*since) {
            short if short < Duration::from_secs(1) => write!(f, "{} ms", short.as_millis()),
            long => write!(f, "{} s", long.as_secs()),
        }
    }
}

const LONGEST_PATH: usize = 80;

#[cfg(test)]
mod tests {
    use http::Method;
    use http::uri::PathAndQuery;

    use super::*;
    use crate::name::RequestId;

    fn told(workers: usize, seats: usize, target: &'static str, held: Duration) -> String {
        let since = Instant::now();
        let in_flight = InFlightRequest {
            id: RequestId::random(),
            method: Method::GET,
            target: PathAndQuery::from_static(target),
            since,
        };
        let saturation =
            Saturation { workers, seats, worker: WorkerId(7), longest: in_flight, others_are_free: false };
        saturation.sentence(&AppName::parse("chat").unwrap(), since + held)
    }

    #[test]
    fn it_says_who_holds_what_and_what_to_do() {
        let poll = "/socket.io/?EIO=4&sid=secret";
        let table = [
            (
                1,
                1,
                "the only worker of chat has had GET /socket.io/… for 10 s; c:N lets it take several, w:N adds workers",
            ),
            (
                1,
                4,
                "the only worker of chat has 4 requests in hand, the longest of them GET /socket.io/… for 10 s; c:N lets it take more, w:N adds workers",
            ),
            (
                3,
                1,
                "all 3 workers of chat have a request in hand, worker 7 has had GET /socket.io/… for 10 s; c:N lets each take several, w:N adds workers",
            ),
            (
                3,
                4,
                "all 3 workers of chat have 4 requests in hand, worker 7 has had GET /socket.io/… for 10 s; c:N lets each take more, w:N adds workers",
            ),
        ];
        for (workers, seats, expected) in table {
            assert_eq!(told(workers, seats, poll, Duration::from_millis(10_900)), expected);
        }
    }

    #[test]
    fn where_clients_wait_for_their_worker_that_one_is_named() {
        let since = Instant::now();
        let longest = InFlightRequest {
            id: RequestId::random(),
            method: Method::GET,
            target: PathAndQuery::from_static("/poll"),
            since,
        };
        let chat = AppName::parse("chat").unwrap();
        let saturation =
            Saturation { workers: 1, seats: 2, worker: WorkerId(7), longest, others_are_free: true };
        assert_eq!(
            saturation.sentence(&chat, since + Duration::from_secs(3)),
            "worker 7 of chat has 2 in hand, the longest of them GET /poll for 3 s, and its clients wait for it because \
             of `sticky`, though other workers are free; c:N lets it take more"
        );
    }

    #[test]
    fn what_is_short_is_told_exactly_and_what_is_long_is_cut() {
        assert!(told(1, 1, "/", Duration::from_millis(250)).contains("had GET / for 250 ms;"));
        let long: &'static str = Box::leak(format!("/{}", "x".repeat(500)).into_boxed_str());
        let told = told(1, 1, long, Duration::from_secs(61));
        assert!(told.contains("xxx… for 61 s;") && told.len() < 200, "{told}");
    }
}
