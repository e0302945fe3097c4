//! Owns how many failures a generation may have: the pause before its next start, and when it is given up.
//!
//! Never here: starting, waiting, or what a failure was.

use std::time::Duration;

use tokio::time::Instant;

use crate::supervisor::app::worker_state::WorkerFailure;
use crate::time::Backoff;

/// The failures of one generation; no other generation shares the budget.
#[derive(Clone, Debug)]
pub(in crate::supervisor::app) struct CrashBudget {
    backoff: Backoff,
    failures: u32,
    not_before: Option<Instant>,
    closed: bool,
}

/// The verdict on a candidate after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor::app) enum TrialVerdict {
    /// The generation may try again, after the pause.
    Again,
    /// The generation has spent its budget.
    Reject,
}

impl CrashBudget {
    /// A budget without failures.
    pub(in crate::supervisor::app) fn new() -> Self {
        Self {
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            failures: 0,
            not_before: None,
            closed: false,
        }
    }

    /// A budget with which no worker may ever be started.
    pub(in crate::supervisor::app) fn closed() -> Self {
        Self { closed: true, ..Self::new() }
    }

    /// Counts a failure. The verdict is for a candidate: workers of a generation that serves are started again
    /// for ever.
    pub(in crate::supervisor::app) fn failed(
        &mut self,
        failure: WorkerFailure,
        now: Instant,
    ) -> TrialVerdict {
        if self.not_before.is_some_and(|last| now >= last + FORGIVEN_AFTER) {
            *self = Self { closed: self.closed, ..Self::new() };
        }
        self.failures += 1;
        // Workers that fail together count as one failure for the pause: only the first of them makes it longer.
        if self.not_before.is_none_or(|pause| now >= pause) {
            self.not_before = Some(now + self.backoff.next_delay());
        }
        // A worker that is too late had the whole time for a start: two more attempts would make a deploy wait three
        // times as long.
        if failure == WorkerFailure::TooLate || self.failures >= TRIAL_FAILURES {
            return TrialVerdict::Reject;
        }
        TrialVerdict::Again
    }

    /// Whether a worker may be started now.
    pub(in crate::supervisor::app) fn allows(&self, now: Instant) -> bool {
        !self.closed && self.not_before.is_none_or(|pause| now >= pause)
    }

    /// When the pause ends, if there is one.
    pub(in crate::supervisor::app) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|pause| *pause > now && !self.closed)
    }

    /// The number of failures since they were last forgiven.
    pub(in crate::supervisor::app) fn failures(&self) -> u32 {
        self.failures
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
const TRIAL_FAILURES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails so many times at the moment when a start is allowed again; returns the pauses.
    fn fail_at_once(budget: &mut CrashBudget, times: usize) -> Vec<Duration> {
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..times {
            budget.failed(WorkerFailure::InService, now);
            let until = budget.paused_until(now).unwrap();
            pauses.push(until - now);
            now = until;
        }
        pauses
    }

    #[test]
    fn pauses_double_from_a_quarter_of_a_second_to_thirty_seconds() {
        let pauses = fail_at_once(&mut CrashBudget::new(), 10);
        let nominal = [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000];
        for (pause, nominal) in pauses.iter().zip(nominal.map(Duration::from_millis)) {
            assert!(*pause >= nominal.mul_f64(0.899) && *pause <= nominal.mul_f64(1.101), "{pauses:?}");
        }
    }

    #[test]
    fn workers_that_fall_together_pause_once() {
        let (mut budget, now) = (CrashBudget::new(), Instant::now());
        for _ in 0..8 {
            budget.failed(WorkerFailure::InService, now);
        }
        assert_eq!(budget.failures(), 8);
        assert!(budget.paused_until(now).unwrap() <= now + FIRST_PAUSE.mul_f64(1.101));
    }

    #[test]
    fn a_minute_alive_is_forgiveness() {
        let (mut budget, now) = (CrashBudget::new(), Instant::now());
        budget.failed(WorkerFailure::InService, now);
        budget.failed(WorkerFailure::InService, now);
        let minute_later = budget.paused_until(now).unwrap() + FORGIVEN_AFTER;

        assert_eq!(budget.failed(WorkerFailure::InService, minute_later), TrialVerdict::Again);

        assert_eq!(budget.failures(), 1);
        let pause = budget.paused_until(minute_later).unwrap() - minute_later;
        assert!(pause <= FIRST_PAUSE.mul_f64(1.101), "{pause:?}");
    }

    #[test]
    fn the_third_failure_ends_a_trial() {
        let (mut budget, now) = (CrashBudget::new(), Instant::now());
        assert_eq!(budget.failed(WorkerFailure::BeforeReady, now), TrialVerdict::Again);
        assert_eq!(budget.failed(WorkerFailure::InService, now), TrialVerdict::Again);
        assert_eq!(budget.failed(WorkerFailure::BeforeReady, now), TrialVerdict::Reject);
    }

    #[test]
    fn a_start_that_takes_too_long_ends_a_trial_at_once() {
        assert_eq!(CrashBudget::new().failed(WorkerFailure::TooLate, Instant::now()), TrialVerdict::Reject);
    }

    #[test]
    fn nothing_starts_during_a_pause() {
        let (mut budget, now) = (CrashBudget::new(), Instant::now());
        assert!(budget.allows(now));
        budget.failed(WorkerFailure::InService, now);
        let until = budget.paused_until(now).unwrap();
        assert!(!budget.allows(now));
        assert!(budget.allows(until));
        assert_eq!(budget.paused_until(until), None);
    }
}
