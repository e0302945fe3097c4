//! Owns when a side process that ended may be started again: at once the first time, then after pauses that double.
//! Pure.
//!
//! Never here: starting it.

use std::time::Duration;

use tokio::time::Instant;

/// How often the processes of one name have ended by themselves lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Restarts {
    /// Ends in a row, none of which was after a long run.
    in_a_row: u32,
    /// When the next may be started; `None`: now.
    next: Option<Instant>,
    /// How the last one ended.
    pub(super) last: Option<String>,
}

impl Restarts {
    /// Takes in that one ended by itself after it had run for `ran`; returns the pause before the next.
    pub(super) fn ended(&mut self, ran: Duration, why: String, now: Instant) -> Duration {
        self.in_a_row = if ran >= LONG_RUN { 1 } else { self.in_a_row.saturating_add(1) };
        let pause = FIRST.saturating_mul(1 << (self.in_a_row - 1).min(10)).min(LONGEST);
        self.next = Some(now + pause);
        self.last = Some(why);
        pause
    }

    /// Ends in a row.
    pub(super) fn failures(&self) -> u32 {
        self.in_a_row
    }

    /// Whether this end is the one that a person has to be told of: it fails again and again.
    pub(super) fn is_news(&self) -> bool {
        self.in_a_row == TOLD_AT
    }

    pub(super) fn may_start(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| now >= next)
    }

    /// When the next may be started, if it has to wait.
    pub(super) fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|next| now < *next)
    }
}

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// A run after which the pauses begin anew.
const LONG_RUN: Duration = Duration::from_secs(60);
const TOLD_AT: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        assert!(restarts.may_start(now));
        for (seconds, news) in [
            (1, false),
            (2, false),
            (4, true),
            (8, false),
            (16, false),
            (32, false),
            (60, false),
            (60, false),
        ] {
            let pause = restarts.ended(Duration::ZERO, "exited".into(), now);
            assert_eq!((pause.as_secs(), restarts.is_news()), (seconds, news));
            assert!(!restarts.may_start(now) && restarts.may_start(now + pause));
        }
        assert_eq!(restarts.ended(LONG_RUN, "exited".into(), now).as_secs(), 1);
        assert_eq!(restarts.failures(), 1);
    }

    #[test]
    fn no_history_starts_one_more_often_than_its_pauses_allow() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut restarts, mut now) = (Restarts::default(), Instant::now());
            let mut starts = 0;
            let begin = now;
            while now < begin + Duration::from_secs(600) {
                if restarts.may_start(now) {
                    starts += 1;
                    let ran = Duration::from_millis(random.u64(0..2000));
                    now += ran;
                    restarts.ended(ran, String::new(), now);
                }
                now += Duration::from_millis(random.u64(1..500));
            }
            assert!((10..=17).contains(&starts), "seed {seed}: {starts}");
        }
    }
}
