//! Owns what day it is: dates for certificates and for what people read.
//!
//! Never here: measuring how long something takes, which is for `tokio::time::Instant`, because no clock change moves
//! it.

use std::time::SystemTime;

/// The wall clock, passed to code that needs dates, so that tests can stop it.
#[derive(Clone, Debug)]
pub(crate) struct WallClock(ClockSource);

#[derive(Clone, Debug)]
enum ClockSource {
    System,
    #[cfg(test)]
    Fixed(SystemTime),
}

impl WallClock {
    /// The machine's clock; it may jump in either direction.
    pub(crate) fn system() -> Self {
        Self(ClockSource::System)
    }

    /// A clock that always shows `time`.
    #[cfg(test)]
    pub(crate) fn fixed(time: SystemTime) -> Self {
        Self(ClockSource::Fixed(time))
    }

    /// The time that the clock shows now.
    pub(crate) fn now(&self) -> SystemTime {
        match self.0 {
            ClockSource::System => SystemTime::now(),
            #[cfg(test)]
            ClockSource::Fixed(time) => time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_shows_the_time_of_the_machine() {
        let before = SystemTime::now();
        let shown = WallClock::system().now();
        assert!(before <= shown && shown <= SystemTime::now());
    }

    #[test]
    fn a_fixed_clock_and_its_clones_stand_still() {
        let clock = WallClock::fixed(SystemTime::UNIX_EPOCH);
        assert_eq!(clock.now(), SystemTime::UNIX_EPOCH);
        assert_eq!(clock.clone().now(), SystemTime::UNIX_EPOCH);
    }
}
