//! Owns whether balancers are asked to send requests elsewhere; requests that come are served meanwhile.
//!
//! Never here: the end of the server, which asks balancers the same (`readiness`), or the stop of a single host.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::spec::settings::units::show_duration;

/// The drain that was asked for, if one is under way. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct BalancerDrain(Arc<Mutex<Option<Until>>>);

/// How long a drain lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The drain lasts until `undrain`, or until the end of the server.
    Undrained,
    /// The drain lasts until this moment.
    Time(Instant),
}

impl Until {
    /// The end of a drain that begins at `now`; `None`: it has no end of its own.
    pub(super) fn after(now: Instant, lasts: Option<Duration>) -> Self {
        lasts.map_or(Self::Undrained, |lasts| Self::Time(now + lasts))
    }

    /// How much of the drain is left at `now`; `None`: it has no end of its own.
    pub(super) fn left(self, now: Instant) -> Option<Duration> {
        match self {
            Self::Undrained => None,
            Self::Time(until) => Some(until.saturating_duration_since(now)),
        }
    }

    /// The rest of the drain, for people: "for 12s more", "until `rip-serverctl undrain`".
    pub(super) fn shown(self, now: Instant) -> String {
        self.left(now).map_or_else(
            || "until `rip-serverctl undrain`".to_owned(),
            |left| {
                // Rounded up: a drain that is under way has at least 1 s left.
                let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                format!("for {} more", show_duration(Duration::from_secs(seconds)))
            },
        )
    }
}

impl BalancerDrain {
    /// Begins a drain, or changes the end of the one under way.
    pub(super) fn begin(&self, until: Until) {
        *self.lock() = Some(until);
    }

    /// Ends the drain; returns whether there was one at `now`.
    pub(super) fn end(&self, now: Instant) -> bool {
        let before = self.at(now).is_some();
        *self.lock() = None;
        before
    }

    /// The drain that is under way at `now`.
    pub(super) fn at(&self, now: Instant) -> Option<Until> {
        self.lock().filter(|until| until.left(now).is_none_or(|left| !left.is_zero()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Until>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_drain_ends_by_itself_where_it_was_given_a_time() {
        let (drain, now) = (BalancerDrain::default(), Instant::now());
        drain.begin(Until::after(now, Some(SECOND)));
        let until = drain.at(now).unwrap();
        assert_eq!((until.left(now), until.shown(now)), (Some(SECOND), "for 1s more".to_owned()));
        assert_eq!(until.shown(now + SECOND / 2), "for 1s more");
        assert_eq!(drain.at(now + SECOND), None);
        assert!(!drain.end(now + SECOND));
    }

    #[test]
    fn another_drain_lasts_until_it_is_taken_back() {
        let (drain, now) = (BalancerDrain::default(), Instant::now());
        drain.begin(Until::after(now, Some(SECOND)));
        drain.begin(Until::after(now, None));
        assert_eq!(drain.at(now + 1000 * SECOND), Some(Until::Undrained));
        assert!(drain.end(now));
        assert_eq!(drain.at(now), None);
    }
}
