//! Owns the pause between attempts at something that failed: the pause doubles up to a cap, and has jitter.
//!
//! Never here: sleeping, or deciding whether to try again.

use std::time::Duration;

/// Pauses that double from a base up to a cap, each ±10 % so that many callers do not try in step.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// A backoff that starts at about `base` and never exceeds `cap`.
    pub(crate) fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, attempt: 0 }
    }

    /// The pause before the next attempt; counts that attempt.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let factor = 2_u32.checked_pow(self.attempt).unwrap_or(u32::MAX);
        self.attempt = self.attempt.saturating_add(1);
        let nominal = self.base.saturating_mul(factor).min(self.cap);
        let spread = nominal / JITTER_DIVISOR;
        (nominal - spread).saturating_add(spread.mul_f64(2.0 * fastrand::f64())).min(self.cap)
    }

    /// Forgets the failures: the next pause is about `base` again.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// The jitter: one tenth up and one tenth down.
const JITTER_DIVISOR: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(250);
    const CAP: Duration = Duration::from_secs(30);

    #[test]
    fn delays_double_within_a_tenth_and_never_pass_the_cap() {
        let seed = fastrand::get_seed();
        for _ in 0..200 {
            let mut backoff = Backoff::new(BASE, CAP);
            for nominal in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
                let nominal = Duration::from_millis(nominal);
                let delay = backoff.next_delay();
                assert!(delay >= nominal.mul_f64(0.899), "seed {seed}: {delay:?} < {nominal:?}");
                assert!(delay <= nominal.mul_f64(1.101).min(CAP), "seed {seed}: {delay:?} > {nominal:?}");
            }
        }
    }

    #[test]
    fn delays_differ_from_caller_to_caller() {
        let delays: std::collections::BTreeSet<_> =
            (0..50).map(|_| Backoff::new(BASE, CAP).next_delay()).collect();
        assert!(delays.len() > 1);
    }

    #[test]
    fn a_reset_starts_over() {
        let mut backoff = Backoff::new(BASE, CAP);
        for _ in 0..5 {
            backoff.next_delay();
        }
        assert_eq!(backoff.attempt, 5);

        backoff.reset();

        assert_eq!(backoff.attempt, 0);
        assert!(backoff.next_delay() < BASE * 2);
    }

    #[test]
    fn a_very_long_row_of_failures_stays_at_the_cap() {
        let mut backoff = Backoff { base: BASE, cap: CAP, attempt: u32::MAX };
        assert!(backoff.next_delay() >= CAP.mul_f64(0.899));
        assert_eq!(backoff.attempt, u32::MAX);
    }

    #[test]
    fn extreme_bounds_do_not_overflow() {
        assert_eq!(Backoff::new(Duration::ZERO, CAP).next_delay(), Duration::ZERO);
        assert_eq!(Backoff::new(BASE, Duration::ZERO).next_delay(), Duration::ZERO);
        assert!(Backoff::new(Duration::MAX, Duration::MAX).next_delay() > CAP);
    }
}
