//! Owns the first seconds of a generation that has taken over: what it took over from, what it has got wrong so far, and
//! whether that is too much.
//!
//! Never here: going back (`deploy`), or keeping the workers that would serve again (`plan`).

use std::time::Duration;

use tokio::time::Instant;

use super::rollout::{Generation, Rollout};

/// A generation that serves and may yet be taken back.
///
/// ```text
///   promoted ──→ on probation ──→ passed: the workers of the generation before go
///                     ├─────────→ taken back: the generation before serves again
///                     └─────────→ superseded: a later one is promoted, and what it is taken back to stays the same
/// ```
pub(in crate::manager) struct Probation {
    /// What served before and serves again if need be.
    pub(in crate::manager) before: Generation,
    /// Whoever waits for its end, and what its workers wrote.
    pub(in crate::manager) rollout: Rollout,
    /// Milliseconds from when it was asked for until it served.
    pub(in crate::manager) ms: u64,
    /// When it is over.
    pub(in crate::manager) until: Instant,
    began: Instant,
    failures: usize,
}

/// What becomes of a generation on probation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Verdict {
    /// It may go on.
    Stays,
    /// It is taken back.
    TakenBack,
}

impl Probation {
    /// Begins now, and is over after `limit`.
    pub(in crate::manager) fn new(
        before: Generation,
        rollout: Rollout,
        ms: u64,
        limit: Duration,
        now: Instant,
    ) -> Self {
        Self { before, rollout, ms, until: now + limit, began: now, failures: 0 }
    }

    /// Counts a worker that failed, of a generation that is to have `workers`.
    pub(in crate::manager) fn failed(&mut self, workers: usize) -> Verdict {
        self.failures += 1;
        let too_many = self.failures >= MOST_FAILURES || self.failures * 2 >= workers;
        if too_many { Verdict::TakenBack } else { Verdict::Stays }
    }

    /// For how long it has served.
    pub(in crate::manager) fn served(&self, now: Instant) -> Duration {
        now - self.began
    }
}

/// As many as end a trial.
const MOST_FAILURES: usize = 3;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::manager::tests::blog;
    use crate::name::GenerationId;

    #[test]
    fn half_of_the_workers_or_three_are_too_many() {
        for (workers, allowed) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2), (100, 2)] {
            let now = Instant::now();
            let before = Generation::new(GenerationId(1), Arc::new(blog()));
            let rollout = Rollout::new(GenerationId(2), Vec::new(), now);
            let mut probation = Probation::new(before, rollout, 0, Duration::from_secs(5), now);
            for _ in 0..allowed {
                assert_eq!(probation.failed(workers), Verdict::Stays, "{workers}");
            }
            assert_eq!(probation.failed(workers), Verdict::TakenBack, "{workers}");
        }
    }
}
