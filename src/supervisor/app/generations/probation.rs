//! Owns the first seconds of a generation that has taken over: the generation before it, its failures so far, and
//! whether they are too many.
//!
//! Never here: going back (`deploy`), or keeping the workers that would serve again (`plan`).

use std::time::Duration;

use tokio::time::Instant;

use super::deploy::{Deploy, Generation};

/// A generation that serves and may yet be taken back.
///
/// ```text
///   promoted ──→ on probation ──→ passed: the workers of the generation before go
///                     ├─────────→ taken back: the generation before serves again
///                     └─────────→ superseded: a later one is promoted, and what it is taken back to stays the same
/// ```
pub(in crate::supervisor::app) struct Probation {
    /// The generation that served before, and serves again if need be.
    pub(in crate::supervisor::app) before: Generation,
    /// The deploy with the observers that wait for its end, and what its workers wrote.
    pub(in crate::supervisor::app) deploy: Deploy,
    /// The milliseconds from the request until the generation served.
    pub(in crate::supervisor::app) ms: u64,
    pub(in crate::supervisor::app) until: Instant,
    began: Instant,
    failures: FailureCount,
}

/// How many workers of a generation have failed that clients have already.
#[derive(Debug, Default)]
pub(in crate::supervisor::app) struct FailureCount(usize);

impl FailureCount {
    /// Counts a failed worker of a generation that is to have `workers`.
    pub(in crate::supervisor::app) fn failed(&mut self, workers: usize) -> ProbationVerdict {
        self.0 += 1;
        let too_many = self.0 >= MOST_FAILURES || self.0 * 2 >= workers;
        if too_many { ProbationVerdict::TakenBack } else { ProbationVerdict::Stays }
    }
}

/// The verdict on a generation on probation after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor::app) enum ProbationVerdict {
    /// The generation may go on.
    Stays,
    TakenBack,
}

impl Probation {
    /// A probation that begins now and ends after `limit`.
    pub(in crate::supervisor::app) fn new(
        before: Generation,
        deploy: Deploy,
        ms: u64,
        limit: Duration,
        now: Instant,
    ) -> Self {
        Self { before, deploy, ms, until: now + limit, began: now, failures: FailureCount::default() }
    }

    /// Counts a failed worker of a generation that is to have `workers`.
    pub(in crate::supervisor::app) fn failed(&mut self, workers: usize) -> ProbationVerdict {
        self.failures.failed(workers)
    }

    /// The time for which the generation has served.
    pub(in crate::supervisor::app) fn served(&self, now: Instant) -> Duration {
        now - self.began
    }
}

/// The number of failures that end a probation or a canary, the same as for a candidate.
const MOST_FAILURES: usize = 3;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::name::GenerationId;
    use crate::supervisor::tests::blog;

    #[test]
    fn half_of_the_workers_or_three_are_too_many() {
        for (workers, allowed) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2), (100, 2)] {
            let now = Instant::now();
            let before = Generation::new(GenerationId(1), Arc::new(blog()));
            let deploy = Deploy::new(GenerationId(2), Vec::new(), now);
            let mut probation = Probation::new(before, deploy, 0, Duration::from_secs(5), now);
            for _ in 0..allowed {
                assert_eq!(probation.failed(workers), ProbationVerdict::Stays, "{workers}");
            }
            assert_eq!(probation.failed(workers), ProbationVerdict::TakenBack, "{workers}");
        }
    }
}
