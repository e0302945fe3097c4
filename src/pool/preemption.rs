//! Owns which request gives its worker up to those that wait, when clients make workers wait.
//!
//! Pure: each request reports how long its client is overdue. Never here: how long a client may take.

use std::time::Duration;

use tokio::time::Instant;

/// Lets one request at a time give up its worker: the one whose client is overdue by the most.
#[derive(Debug, Default)]
pub(super) struct Preemption {
    round: Option<Round>,
}

/// The span in which all requests with overdue clients have reported once.
#[derive(Debug)]
struct Round {
    since: Instant,
    most: Duration,
}

impl Preemption {
    /// Whether a request, whose client is overdue by `late` while others wait for a worker, has to end. The request
    /// asks again at least every half of [`ROUND`] for as long as that is so.
    pub(super) fn asks(&mut self, now: Instant, late: Duration) -> bool {
        if let Some(round) = &mut self.round {
            let lasted = now.saturating_duration_since(round.since);
            round.most = round.most.max(late);
            if lasted >= ROUND && late == round.most {
                self.round = None;
                return true;
            }
            // The request whose client was overdue by the most may have ended meanwhile.
            if lasted < ROUND * 4 {
                return false;
            }
        }
        self.round = Some(Round { since: now, most: late });
        false
    }

    /// Forgets the round, because no request waits any more.
    pub(super) fn rest(&mut self) {
        self.round = None;
    }
}

/// How long a request waits for a worker before another one gives its worker up for it, and until a second one does.
pub(super) const ROUND: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    /// The requests that are let go, in order, when all report again and again; `None`: none in that step.
    fn let_go(mut late: Vec<Option<Duration>>, steps: u32) -> Vec<usize> {
        let (start, mut way, mut gone) = (Instant::now(), Preemption::default(), Vec::new());
        for step in 0..steps {
            for (who, late) in late.iter_mut().enumerate() {
                if let Some(since) = *late
                    && way.asks(start + STEP * step, since + STEP * step)
                {
                    gone.push(who);
                    *late = None;
                }
            }
        }
        gone
    }

    #[test]
    fn one_is_let_go_at_a_time_and_the_latest_first() {
        let late = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(let_go(vec![late(3), late(50), late(7)], 3), [0; 0], "nobody at once");
        assert_eq!(let_go(vec![late(3), late(50), late(7)], 4), [1]);
        assert_eq!(let_go(vec![late(3), late(50), late(7)], 6), [1]);
        assert_eq!(let_go(vec![late(3), late(50), late(7)], 40), [1, 2, 0]);
    }

    #[test]
    fn who_ended_otherwise_keeps_nobody_from_being_let_go() {
        let (start, mut way) = (Instant::now(), Preemption::default());
        assert!(!way.asks(start, Duration::from_secs(90)));
        let first = (1..30).find(|step| way.asks(start + STEP * *step, STEP * *step));
        assert_eq!(first, Some(13), "after four rounds, and one more");
    }
}
