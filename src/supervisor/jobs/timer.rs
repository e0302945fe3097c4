//! Owns when a command that runs at times is due: after each so much time, or at times of a calendar. Pure.
//!
//! Never here: running it, or understanding a calendar expression (`calendar`).

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::spec::jobs::Times;

/// One timer of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    times: Times,
    next: NextRun,
    /// How its last run ended, and when.
    pub(super) last: Option<(String, Instant)>,
    /// Runs that were skipped because the one before was not over.
    pub(super) skipped: u64,
}

/// When a timer is due next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextRun {
    After(Instant),
    /// By the clock on the wall.
    At(SystemTime),
    /// The calendar has to be asked, now or at this time.
    Unknown(Option<Instant>),
    /// The calendar is being asked.
    Asked,
    /// The calendar has no such time any more.
    Never,
}

/// A step that a timer needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TimerStep {
    Nothing,
    /// The command is due.
    Run,
    /// The command is due, and runs still.
    Skip,
    /// The calendar has to be asked for the next time of this expression.
    Ask(String),
}

impl Timer {
    /// A timer that begins to count now.
    pub(super) fn new(times: Times, now: Instant) -> Self {
        let next = match &times {
            Times::Every(time) => NextRun::After(now + *time),
            Times::At(_) => NextRun::Unknown(None),
        };
        Self { times, next, last: None, skipped: 0 }
    }

    pub(super) fn times(&self) -> &Times {
        &self.times
    }

    pub(super) fn next(&self) -> &NextRun {
        &self.next
    }

    /// The step to take now; `runs` says whether the command still runs.
    pub(super) fn step(&mut self, now: Instant, clock: SystemTime, runs: bool) -> TimerStep {
        match (&self.next, &self.times) {
            (NextRun::After(at), Times::Every(time)) if now >= *at => {
                let late = (now - *at).as_nanos() / time.as_nanos().max(1);
                let periods = u32::try_from(late).unwrap_or(u32::MAX - 1) + 1;
                self.next = NextRun::After(*at + time.saturating_mul(periods));
            }
            (NextRun::At(at), _) if clock >= *at => self.next = NextRun::Unknown(None),
            (NextRun::Unknown(at), Times::At(expression)) if at.is_none_or(|at| now >= at) => {
                self.next = NextRun::Asked;
                return TimerStep::Ask(expression.clone());
            }
            _ => return TimerStep::Nothing,
        }
        if runs {
            self.skipped += 1;
            return TimerStep::Skip;
        }
        TimerStep::Run
    }

    /// Takes in what the calendar says; `Err`: it could not be asked.
    pub(super) fn learn(&mut self, next: Result<Option<SystemTime>, ()>, now: Instant) {
        if self.next == NextRun::Asked {
            self.next = match next {
                Ok(Some(at)) => NextRun::At(at),
                Ok(None) => NextRun::Never,
                Err(()) => NextRun::Unknown(Some(now + ASK_AGAIN)),
            };
        }
    }

    /// When there may be something to do. The clock on the wall may be set meanwhile, so that it is looked at often.
    pub(super) fn wake_at(&self, now: Instant, clock: SystemTime) -> Option<Instant> {
        match &self.next {
            NextRun::After(at) => Some(*at),
            NextRun::At(at) => Some(now + at.duration_since(clock).unwrap_or_default().min(LOOK_AGAIN)),
            NextRun::Unknown(at) => Some(at.unwrap_or(now)),
            NextRun::Asked | NextRun::Never => None,
        }
    }
}

const ASK_AGAIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_runs_once_in_each_period_and_never_twice_at_once() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let begin = Instant::now();
            let (mut now, clock) = (begin, SystemTime::UNIX_EPOCH);
            let period = Duration::from_secs(random.u64(1..100));
            let mut timer = Timer::new(Times::Every(period), now);
            let (mut runs_until, mut runs, mut skips) = (None::<Instant>, 0_u64, 0_u64);
            for _ in 0..500 {
                now += Duration::from_millis(random.u64(0..period.as_millis() as u64));
                let running = runs_until.is_some_and(|until| now < until);
                match timer.step(now, clock, running) {
                    TimerStep::Run => {
                        assert!(!running, "seed {seed}");
                        runs += 1;
                        runs_until =
                            Some(now + Duration::from_millis(random.u64(0..3000 * period.as_secs())));
                    }
                    TimerStep::Skip => {
                        assert!(running, "seed {seed}");
                        skips += 1;
                    }
                    TimerStep::Nothing => {}
                    TimerStep::Ask(_) => panic!("seed {seed}"),
                }
                assert!(timer.wake_at(now, clock).unwrap() > now, "seed {seed}");
            }
            let periods = ((now - begin).as_nanos() / period.as_nanos()) as u64;
            assert_eq!((runs + skips, timer.skipped), (periods, skips), "seed {seed}");
        }
    }

    #[test]
    fn after_a_long_sleep_it_runs_once() {
        let now = Instant::now();
        let mut timer = Timer::new(Times::Every(Duration::from_secs(10)), now);
        let late = now + Duration::from_secs(95);
        assert_eq!(timer.step(late, SystemTime::UNIX_EPOCH, false), TimerStep::Run);
        assert_eq!(timer.wake_at(late, SystemTime::UNIX_EPOCH), Some(now + Duration::from_secs(100)));
    }

    #[test]
    fn a_calendar_is_asked_for_each_time_and_followed_by_the_clock() {
        let (now, clock) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut timer = Timer::new(Times::At("daily".into()), now);
        assert_eq!(timer.step(now, clock, false), TimerStep::Ask("daily".into()));
        assert_eq!(timer.step(now, clock, false), TimerStep::Nothing, "it is being asked");
        timer.learn(Err(()), now);
        assert_eq!(timer.step(now, clock, false), TimerStep::Nothing, "a while later again");
        assert_eq!(timer.step(now + ASK_AGAIN, clock, false), TimerStep::Ask("daily".into()));
        let at = clock + Duration::from_secs(3600);
        timer.learn(Ok(Some(at)), now);
        assert_eq!(timer.step(now, clock, false), TimerStep::Nothing);
        assert_eq!(timer.wake_at(now, clock), Some(now + LOOK_AGAIN));
        assert_eq!(timer.step(now, at, true), TimerStep::Skip, "the clock was set, and it runs still");
        assert_eq!(timer.step(now, at, false), TimerStep::Ask("daily".into()));
        timer.learn(Ok(None), now);
        assert_eq!((timer.step(now, at, false), timer.wake_at(now, at)), (TimerStep::Nothing, None));
    }
}
