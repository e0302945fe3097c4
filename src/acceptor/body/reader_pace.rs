//! How fast a client takes an answer, and when that is too slow for what the answer keeps from others.
//!
//! Never here: what is kept, or ending an answer (`response_pump`).

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::time::LazyDeadline;

/// Measures how fast a client takes an answer, and says when that is too slow.
pub(in crate::acceptor) struct ReaderPace<'a> {
    /// How long the client may take nothing, whether or not others want what the answer keeps.
    limit: Duration,
    /// How long the client may take nothing while others want what the answer keeps.
    still: Duration,
    /// Says whether others want what the answer keeps; asked at each look.
    wanted: &'a dyn Fn() -> Wanted,
    timer: LazyDeadline,
    gauge: Option<Gauge>,
}

/// Whether others want what an answer keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum Wanted {
    /// Nobody wants what the answer keeps.
    Not,
    /// Others want what the answer holds: the client has to be quick.
    Yes,
    /// Others want what the answer holds, and this client keeps so much that the server does not wait for it.
    AtOnce,
}

/// How many bytes a client has taken, and when that was last looked at.
struct Gauge {
    taken: u64,
    /// The time since which `taken` has not grown.
    since: Instant,
    /// The time of the last look in a row of [`LOOK`], and the bytes taken by then.
    looked: (u64, Instant),
    next: Instant,
}

/// Why the server waits for a client no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum TooSlow {
    /// The client has taken nothing for too long.
    Stalled,
    /// The client takes too little while others want what its answer keeps.
    Pressed,
}

impl<'a> ReaderPace<'a> {
    /// `limit`: the longest time without a byte taken; `still`: the same while others want what the answer keeps.
    pub(in crate::acceptor) fn new(limit: Duration, still: Duration, wanted: &'a dyn Fn() -> Wanted) -> Self {
        Self { limit, still, wanted, timer: LazyDeadline::new(), gauge: None }
    }

    /// Ready when the client, which has taken `taken` bytes by now, is too slow; else the task is woken to ask again.
    pub(in crate::acceptor) fn poll_too_slow(&mut self, cx: &mut Context<'_>, taken: u64) -> Poll<TooSlow> {
        let now = Instant::now();
        let gauge = self.gauge.get_or_insert_with(|| Gauge {
            taken,
            since: now,
            looked: (taken, now),
            next: now + OFTEN.min(self.limit),
        });
        if gauge.taken != taken {
            (gauge.taken, gauge.since) = (taken, now);
        }
        loop {
            let due = gauge.next.min(gauge.since + self.limit);
            if self.timer.poll(cx, due).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= gauge.since + self.limit {
                return Poll::Ready(TooSlow::Stalled);
            }
            if now < gauge.next {
                continue;
            }
            gauge.next = now + OFTEN;
            let slow = gauge.is_slow(now, self.still);
            match (self.wanted)() {
                Wanted::AtOnce => return Poll::Ready(TooSlow::Pressed),
                Wanted::Yes if slow => return Poll::Ready(TooSlow::Pressed),
                Wanted::Yes | Wanted::Not => {}
            }
        }
    }
}

impl Gauge {
    /// Whether nothing was taken for `still`, or too little since the last look.
    fn is_slow(&mut self, now: Instant, still: Duration) -> bool {
        let (before, at) = self.looked;
        let mut little = false;
        if now >= at + LOOK {
            little = self.taken - before < LEAST;
            self.looked = (self.taken, now);
        }
        little || now >= self.since + still
    }
}

/// The interval of looks at a client that the server waits for.
const OFTEN: Duration = Duration::from_secs(1);
/// The span over which a client's bytes are counted: bytes that lie in the kernel make it look idle for seconds.
const LOOK: Duration = Duration::from_secs(10);
/// The fewest bytes that a client has to take in [`LOOK`].
const LEAST: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;

    use super::*;

    const STILL: Duration = Duration::from_secs(3);
    const LIMIT: Duration = Duration::from_secs(60);

    /// After how many seconds a client that takes `rate` bytes a second is too slow, and why.
    async fn too_slow(rate: u64, wanted: Wanted) -> Option<(u64, TooSlow)> {
        let (start, wanted) = (Instant::now(), move || wanted);
        let mut pace = ReaderPace::new(LIMIT, STILL, &wanted);
        let taken = Cell::new(0);
        let measured = async {
            loop {
                let seconds = start.elapsed().as_secs();
                taken.set(seconds * rate);
                let next = crate::time::timer::sleep(Duration::from_millis(500));
                tokio::select! {
                    biased;
                    why = poll_fn(|cx| pace.poll_too_slow(cx, taken.get())) => return (start.elapsed().as_secs(), why),
                    () = next => {}
                }
            }
        };
        crate::time::timer::timeout(Duration::from_secs(300), measured).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_has_the_limit_and_only_a_moment_while_others_want_it() {
        assert_eq!(too_slow(0, Wanted::Not).await, Some((60, TooSlow::Stalled)));
        assert_eq!(too_slow(0, Wanted::Yes).await, Some((3, TooSlow::Pressed)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_little_is_too_slow_only_while_others_want_it() {
        assert_eq!(too_slow(1, Wanted::Not).await, None);
        assert_eq!(too_slow(1, Wanted::Yes).await, Some((10, TooSlow::Pressed)));
        assert_eq!(too_slow(LEAST / 5, Wanted::Yes).await, None);
        assert_eq!(too_slow(LEAST / 5, Wanted::AtOnce).await, Some((1, TooSlow::Pressed)));
    }
}
