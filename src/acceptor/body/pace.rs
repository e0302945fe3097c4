//! How fast a request's body comes, and until when the next piece must be there.
//!
//! Only the time in which the server waits for the client counts. Never here: waiting, or what happens when time is up.

use std::time::Duration;

use crate::spec::Limits;

/// The pace of one body: how much has come, and how long the server waited for the client.
pub(in crate::acceptor) struct Pace {
    /// The bytes that have come so far.
    pub(in crate::acceptor) total: u64,
    /// How long the server has waited for the client so far, without the wait that goes on.
    waited: Duration,
    idle: Duration,
    rate: u32,
}

impl Pace {
    pub(in crate::acceptor) fn new(limits: &Limits) -> Self {
        Self { total: 0, waited: Duration::ZERO, idle: limits.body_idle, rate: limits.body_rate }
    }

    pub(in crate::acceptor) fn received(&mut self, bytes: usize) {
        self.total += bytes as u64;
    }

    /// Adds a wait for the client.
    pub(in crate::acceptor) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// How much longer the server waits for the client's next piece. While there is `little` room, a body has to come
    /// faster.
    pub(in crate::acceptor) fn patience(&self, little: bool) -> Duration {
        let rate = match self.rate {
            0 => return self.idle,
            rate if little => rate.max(RATE_WITH_LITTLE_ROOM),
            rate => rate,
        };
        // The time at which the bytes so far would fall below the rate.
        let average = Duration::from_millis(self.total.saturating_mul(1000) / u64::from(rate));
        self.idle.min(average.clamp(RATE_GRACE, FOREVER).saturating_sub(self.waited))
    }
}

/// The time in which a body may come at any rate.
const RATE_GRACE: Duration = Duration::from_secs(10);
/// The least rate while there is little room, in bytes a second: what a poor mobile connection has.
const RATE_WITH_LITTLE_ROOM: u32 = 16 << 10;
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(rate: u32) -> Pace {
        Pace { total: 0, waited: Duration::ZERO, idle: SECOND * 30, rate }
    }

    #[test]
    fn a_body_that_trickles_has_ten_seconds() {
        let mut pace = pace(500);
        pace.waited(SECOND * 9);
        pace.received(10);
        assert_eq!(pace.patience(false), SECOND);
    }

    #[test]
    fn a_body_above_the_rate_may_take_as_long_as_it_needs() {
        let mut pace = pace(500);
        pace.waited(SECOND * 100);
        pace.received(500 * 120);
        assert_eq!(pace.patience(false), SECOND * 20);
        pace.received(500 * 880);
        assert_eq!(pace.patience(false), SECOND * 30, "the idle limit comes first");
    }

    #[test]
    fn with_little_room_a_body_has_to_come_faster_unless_any_rate_will_do() {
        let (mut slow, mut any) = (pace(500), pace(0));
        for pace in [&mut slow, &mut any] {
            pace.received(16 << 14);
            pace.waited(SECOND * 12);
        }
        assert_eq!((slow.patience(false), slow.patience(true)), (SECOND * 30, SECOND * 4));
        assert_eq!((any.patience(false), any.patience(true)), (SECOND * 30, SECOND * 30));
    }
}
