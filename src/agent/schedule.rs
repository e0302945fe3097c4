//! Owns when a certificate is renewed and how long a failure is waited out: both scale with the certificate's life.
//!
//! Pure: the time is passed in. Never here: whose turn it is (`queue`).

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Life {
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

impl Life {
    /// How long the certificate is valid in all.
    pub(super) fn whole(self) -> Duration {
        self.until.duration_since(self.from).unwrap_or_default()
    }

    /// When the last third of the certificate's life begins.
    fn last_third(self) -> SystemTime {
        self.until - self.whole() / 3
    }

    /// When only a twentieth of the life is left: from then on attempts wait for nothing.
    pub(super) fn emergency(self) -> SystemTime {
        self.until - self.whole() / 20
    }
}

/// When an authority wants a certificate to be renewed (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    /// A moment within the window, chosen once.
    pub(super) moment: SystemTime,
    /// When to ask again.
    pub(super) ask_at: SystemTime,
}

impl Window {
    /// The moment to renew at, within the window that an authority named, in seconds since 1970; `None` for a window
    /// that ends before it begins. `share`, from 0 to 1, is the moment's place in the window.
    pub(super) fn of(start: i64, end: i64, share: f64) -> Option<SystemTime> {
        let (start, end) = (u64::try_from(start).ok()?, u64::try_from(end).ok()?);
        let span = end.checked_sub(start).filter(|span| *span > 0)?;
        let at = Duration::from_secs(start) + Duration::from_secs(span).mul_f64(share.clamp(0.0, 1.0));
        SystemTime::UNIX_EPOCH.checked_add(at).filter(|at| *at < far())
    }

    /// When an authority that said `after` is asked again, for a certificate of this life.
    pub(super) fn ask_again(now: SystemTime, life: Life, after: Duration) -> SystemTime {
        let longest = (life.whole() / 10).clamp(Duration::from_secs(1), DAY);
        let shortest = (life.whole() / 100).min(HOUR).clamp(Duration::from_secs(1), longest);
        now + after.clamp(shortest, longest)
    }
}

/// When a certificate is renewed: at the authority's moment, else when its last third begins; no later than the
/// emergency in any case.
///
/// A certificate that was itself got before its predecessor's time (`early`) is not renewed before a tenth of its life
/// has passed: an authority that always says "now" does not cause orders without end.
pub(super) fn renew_at(life: Life, moment: Option<SystemTime>, early: bool) -> SystemTime {
    let Some(moment) = moment else { return life.last_third() };
    let soonest = if early { life.from + life.whole() / 10 } else { SystemTime::UNIX_EPOCH };
    moment.max(soonest).min(life.emergency())
}

/// The pause after so many failures in a row, at least one. The pause doubles from a hundredth of the life (at most
/// `first`) up to an hour and a tenth of the life, and is later a day; it is never more than a tenth of the life, and
/// at most an hour in an emergency. `share`, from 0 to 1, spreads the pause by a tenth to both sides.
pub(super) fn pause(
    failures: u32,
    life: Option<Life>,
    first: Duration,
    now: SystemTime,
    share: f64,
) -> Duration {
    let tenth = life.map_or(DAY, |life| (life.whole() / 10).max(Duration::from_secs(1)));
    let base = life.map_or(first, |life| (life.whole() / 100).clamp(Duration::from_secs(1), first));
    let urgent = life.is_some_and(|life| life.emergency() <= now && now < life.until);
    let long = if failures > MANY && !urgent { DAY } else { HOUR };
    let doubled = base.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(20)));
    let nominal = if failures > MANY && !urgent { long } else { doubled.min(long) }.min(tenth);
    nominal.mul_f64(0.9 + 0.2 * share.clamp(0.0, 1.0))
}

/// A moment later than any date that counts.
pub(super) fn far() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(32_503_680_000)
}

pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// Failures in a row after which one attempt a day is enough.
const MANY: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000 + seconds)
    }

    fn life(seconds: u64) -> Life {
        Life { from: at(0), until: at(seconds) }
    }

    #[test]
    fn the_last_third_counts_without_a_window_whatever_the_life_is() {
        assert_eq!(renew_at(life(240), None, false), at(160));
        assert_eq!(renew_at(life(90 * 86_400), None, false), at(60 * 86_400));
    }

    #[test]
    fn a_window_is_kept_but_never_beyond_the_emergency() {
        let year = life(1000);
        assert_eq!(renew_at(year, Some(at(300)), false), at(300));
        assert_eq!(renew_at(year, Some(at(10)), false), at(10), "now, for once");
        assert_eq!(renew_at(year, Some(at(10)), true), at(100), "not again at once");
        assert_eq!(renew_at(year, Some(at(5000)), false), at(950));
        assert_eq!(renew_at(year, Some(far()), false), at(950));
    }

    #[test]
    fn nonsense_is_no_window() {
        for (start, end) in [(5, 5), (6, 5), (-1, 5), (0, i64::MAX), (i64::MIN, i64::MAX)] {
            assert_eq!(Window::of(start, end, 1.0), None, "{start} {end}");
        }
        assert_eq!(Window::of(100, 200, 0.5), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(150)));
    }

    #[test]
    fn pauses_grow_to_an_hour_and_then_to_a_day_and_scale_with_the_life() {
        let first = Duration::from_secs(120);
        let of = |failures, life| pause(failures, life, first, at(0), 0.5).as_secs();
        let long = Some(life(90 * 86_400));
        assert_eq!(
            [1, 2, 3, 4, 5, 6, 30, 31].map(|n| of(n, long)),
            [120, 240, 480, 960, 1920, 3600, 3600, 86_400]
        );
        assert_eq!([1, 2, 3, 10, 99].map(|n| of(n, Some(life(240)))), [2, 4, 9, 24, 24]);
        assert_eq!([1, 6, 99].map(|n| of(n, None)), [120, 3600, 86_400]);
        assert_eq!(of(99, Some(life(6 * 86_400))), 51_840);
    }

    #[test]
    fn an_emergency_is_tried_every_hour() {
        let ninety = life(90 * 86_400);
        let pause = |now| pause(99, Some(ninety), Duration::from_secs(120), now, 0.5).as_secs();
        assert_eq!(pause(at(86 * 86_400)), 3600);
        assert_eq!(pause(at(80 * 86_400)), 86_400);
    }

    #[test]
    fn a_short_life_is_asked_about_often() {
        let again = |after, whole| Window::ask_again(at(0), life(whole), Duration::from_secs(after));
        assert_eq!(again(21_600, 240), at(24));
        assert_eq!(again(0, 300), at(3));
        assert_eq!(again(21_600, 90 * 86_400), at(21_600));
        assert_eq!(again(9_999_999, 90 * 86_400), at(86_400));
    }
}
