//! Owns the states of one worker and what each event makes of them: pure, no clock, no process.
//!
//! Never here: why a worker should start or go (`plan`), or carrying an action out (`app_task`).

use std::time::Duration;

use tokio::time::Instant;

/// Where a worker is in its life.
///
/// ```text
///                     Ready            Retire              Idle, Tick ≥ give_up
///   Starting{give_up} ─────→ Ready ─────────→ Draining{give_up} ─────→ Stopping{kill_at} ──┐ Tick ≥ kill_at:
///    │    │                   │  │                │   │                   ↑  ↑  ↑   ↑  └─────┘ Kill, again and again
///    │    │                   │  └── Condemn ─────┼───┼───────────────────┘  │  │   │
///    │    │                   │                   │   └── Condemn ───────────┘  │   │
///    │    └── Retire, Ending, Tick ≥ give_up ─────┼───────────────────────────┘   │   Ready and Draining: Ending, too
///    │                        │                   │                  Started: Terminate once more
///    └── Gone ────────────────┴─ Gone ────────────┴─ Gone ────── Gone ──→ Exited
/// ```
///
/// A `Gone` or an `Ending` that nobody asked for, a start that takes too long and a worker that cannot be reached are failures. Any
/// event that an arrow does not name leaves the state as it is: late events are normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum State {
    /// Has been ordered; not known to answer.
    Starting {
        /// When it has taken too long.
        give_up: Instant,
    },
    /// Takes requests.
    Ready,
    /// Finishes what it has in hand.
    Draining {
        /// When it has to go all the same.
        give_up: Instant,
    },
    /// Was told to go.
    Stopping {
        /// When it is killed.
        kill_at: Instant,
    },
    /// Is gone, with all its processes.
    Exited,
}

/// What can happen to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Event {
    /// It has a process.
    Started,
    /// It said or showed that it takes requests.
    Ready,
    /// It is to finish what it has in hand within that time, and go.
    Retire(Duration),
    /// It has nothing in hand; told only of workers that get nothing new.
    Idle,
    /// The data path gave it up.
    Condemn(Fault),
    /// The process that it was started as has exited; others of its processes take a moment.
    Ending,
    /// It has ended, or never had a process.
    Gone,
    /// Time has passed.
    Tick,
}

/// Whether a condemned worker broke down by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Fault {
    /// It does not even take a connection: the same as an exit nobody asked for, and often seen just before it.
    Broken,
    /// It took too long for one request.
    Stuck,
}

/// What a change of state asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Action {
    /// Find out when it is ready.
    Probe,
    /// Let it take requests.
    Publish,
    /// Give it nothing new.
    Withdraw,
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
    /// Count a failure.
    Fail(Failure),
    /// Forget it.
    Forget,
}

/// How a worker failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Failure {
    /// It ended before it was ready.
    BeforeReady,
    /// It was not ready in time.
    TooLate,
    /// It ended, or broke down, while it served.
    InService,
}

impl State {
    /// What `event` makes of the worker; `kill` is the time from SIGTERM to SIGKILL.
    pub(in crate::manager) fn on(self, event: Event, kill: Duration, now: Instant) -> (Self, Vec<Action>) {
        let stopping = Self::Stopping { kill_at: now + kill };
        match self {
            Self::Starting { give_up } => match event {
                Event::Started => (self, vec![Action::Probe]),
                Event::Ready => (Self::Ready, vec![Action::Publish]),
                Event::Retire(_) => (stopping, vec![Action::Terminate]),
                Event::Ending => (stopping, vec![Action::Fail(Failure::BeforeReady)]),
                Event::Tick if now >= give_up => {
                    (stopping, vec![Action::Fail(Failure::TooLate), Action::Terminate])
                }
                Event::Gone => (Self::Exited, vec![Action::Fail(Failure::BeforeReady), Action::Forget]),
                Event::Tick | Event::Idle | Event::Condemn(_) => (self, Vec::new()),
            },
            Self::Ready => match event {
                Event::Retire(drain) => (Self::Draining { give_up: now + drain }, vec![Action::Withdraw]),
                Event::Condemn(fault) => (stopping, condemned(fault)),
                Event::Ending => (stopping, vec![Action::Withdraw, Action::Fail(Failure::InService)]),
                Event::Gone => (Self::Exited, vec![Action::Fail(Failure::InService), Action::Forget]),
                Event::Started | Event::Ready | Event::Idle | Event::Tick => (self, Vec::new()),
            },
            Self::Draining { give_up } => match event {
                Event::Retire(drain) => (Self::Draining { give_up: give_up.min(now + drain) }, Vec::new()),
                Event::Idle | Event::Condemn(_) => (stopping, vec![Action::Terminate]),
                Event::Tick if now >= give_up => (stopping, vec![Action::Terminate]),
                Event::Ending => (stopping, Vec::new()),
                Event::Gone => (Self::Exited, vec![Action::Forget]),
                Event::Tick | Event::Started | Event::Ready => (self, Vec::new()),
            },
            Self::Stopping { kill_at } => match event {
                // It was told to go before it had a process that could hear it.
                Event::Started => (self, vec![Action::Terminate]),
                Event::Tick if now >= kill_at => (stopping, vec![Action::Kill]),
                Event::Gone => (Self::Exited, vec![Action::Forget]),
                Event::Tick
                | Event::Ready
                | Event::Retire(_)
                | Event::Idle
                | Event::Condemn(_)
                | Event::Ending => (self, Vec::new()),
            },
            Self::Exited => (self, Vec::new()),
        }
    }

    /// When [`Event::Tick`] next means something.
    pub(in crate::manager) fn wake_at(self) -> Option<Instant> {
        match self {
            Self::Starting { give_up } | Self::Draining { give_up } => Some(give_up),
            Self::Stopping { kill_at } => Some(kill_at),
            Self::Ready | Self::Exited => None,
        }
    }

    /// For logs.
    pub(in crate::manager) fn name(self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Ready => "ready",
            Self::Draining { .. } => "draining",
            Self::Stopping { .. } => "stopping",
            Self::Exited => "exited",
        }
    }
}

fn condemned(fault: Fault) -> Vec<Action> {
    match fault {
        Fault::Broken => vec![Action::Withdraw, Action::Fail(Failure::InService), Action::Terminate],
        Fault::Stuck => vec![Action::Withdraw, Action::Terminate],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILL: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);

    fn starting(now: Instant) -> State {
        State::Starting { give_up: now + SECOND }
    }

    fn draining(now: Instant) -> State {
        State::Draining { give_up: now + SECOND }
    }

    fn stopping(now: Instant) -> State {
        State::Stopping { kill_at: now + KILL }
    }

    #[test]
    fn starting_started_is_probed() {
        let now = Instant::now();
        assert_eq!(starting(now).on(Event::Started, KILL, now), (starting(now), vec![Action::Probe]));
    }

    #[test]
    fn starting_ready_is_published() {
        let now = Instant::now();
        assert_eq!(starting(now).on(Event::Ready, KILL, now), (State::Ready, vec![Action::Publish]));
    }

    #[test]
    fn starting_retire_is_stopped_at_once() {
        let now = Instant::now();
        let next = starting(now).on(Event::Retire(SECOND), KILL, now);
        assert_eq!(next, (stopping(now), vec![Action::Terminate]));
    }

    #[test]
    fn starting_too_long_is_a_failure() {
        let now = Instant::now();
        let late = now + SECOND;
        let next = starting(now).on(Event::Tick, KILL, late);
        assert_eq!(next, (stopping(late), vec![Action::Fail(Failure::TooLate), Action::Terminate]));
    }

    #[test]
    fn starting_gone_is_a_failure() {
        let now = Instant::now();
        let next = starting(now).on(Event::Gone, KILL, now);
        assert_eq!(next, (State::Exited, vec![Action::Fail(Failure::BeforeReady), Action::Forget]));
    }

    #[test]
    fn ready_retire_drains() {
        let now = Instant::now();
        let next = State::Ready.on(Event::Retire(SECOND), KILL, now);
        assert_eq!(next, (draining(now), vec![Action::Withdraw]));
    }

    #[test]
    fn ready_condemned_for_being_stuck_is_no_failure() {
        let now = Instant::now();
        let next = State::Ready.on(Event::Condemn(Fault::Stuck), KILL, now);
        assert_eq!(next, (stopping(now), vec![Action::Withdraw, Action::Terminate]));
    }

    #[test]
    fn ready_condemned_for_being_broken_is_a_failure() {
        let now = Instant::now();
        let (next, actions) = State::Ready.on(Event::Condemn(Fault::Broken), KILL, now);
        assert_eq!(next, stopping(now));
        assert_eq!(actions, [Action::Withdraw, Action::Fail(Failure::InService), Action::Terminate]);
    }

    #[test]
    fn ready_gone_is_a_crash() {
        let now = Instant::now();
        let next = State::Ready.on(Event::Gone, KILL, now);
        assert_eq!(next, (State::Exited, vec![Action::Fail(Failure::InService), Action::Forget]));
    }

    #[test]
    fn an_exit_of_the_first_process_is_a_failure_and_ends_what_is_left() {
        let now = Instant::now();
        let failed = Action::Fail(Failure::BeforeReady);
        assert_eq!(starting(now).on(Event::Ending, KILL, now), (stopping(now), vec![failed]));
        let crashed = vec![Action::Withdraw, Action::Fail(Failure::InService)];
        assert_eq!(State::Ready.on(Event::Ending, KILL, now), (stopping(now), crashed));
        assert_eq!(draining(now).on(Event::Ending, KILL, now), (stopping(now), vec![]));
    }

    #[test]
    fn draining_idle_is_stopped_at_once() {
        let now = Instant::now();
        assert_eq!(draining(now).on(Event::Idle, KILL, now), (stopping(now), vec![Action::Terminate]));
    }

    #[test]
    fn draining_condemned_is_stopped() {
        let now = Instant::now();
        let next = draining(now).on(Event::Condemn(Fault::Broken), KILL, now);
        assert_eq!(next, (stopping(now), vec![Action::Terminate]));
    }

    #[test]
    fn draining_too_long_is_stopped() {
        let now = Instant::now();
        let late = now + SECOND;
        assert_eq!(draining(now).on(Event::Tick, KILL, late), (stopping(late), vec![Action::Terminate]));
    }

    #[test]
    fn draining_retired_again_takes_the_earlier_end() {
        let now = Instant::now();
        let sooner = draining(now).on(Event::Retire(SECOND / 2), KILL, now).0;
        assert_eq!(sooner, State::Draining { give_up: now + SECOND / 2 });
        assert_eq!(draining(now).on(Event::Retire(SECOND * 9), KILL, now).0, draining(now));
    }

    #[test]
    fn draining_gone_is_no_crash() {
        let now = Instant::now();
        assert_eq!(draining(now).on(Event::Gone, KILL, now), (State::Exited, vec![Action::Forget]));
    }

    #[test]
    fn stopping_started_is_told_once_more() {
        let now = Instant::now();
        let next = stopping(now).on(Event::Started, KILL, now);
        assert_eq!(next, (stopping(now), vec![Action::Terminate]));
    }

    #[test]
    fn stopping_too_long_is_killed_again_and_again() {
        let now = Instant::now();
        let (first, second) = (now + KILL, now + KILL + KILL);
        let (state, actions) = stopping(now).on(Event::Tick, KILL, first);
        assert_eq!((state, actions), (stopping(first), vec![Action::Kill]));
        assert_eq!(state.on(Event::Tick, KILL, second), (stopping(second), vec![Action::Kill]));
    }

    #[test]
    fn stopping_gone_is_no_crash() {
        let now = Instant::now();
        assert_eq!(stopping(now).on(Event::Gone, KILL, now), (State::Exited, vec![Action::Forget]));
    }

    #[test]
    fn late_and_early_events_change_nothing() {
        let now = Instant::now();
        let broken = Event::Condemn(Fault::Broken);
        let unmoved: [(State, &[Event]); 5] = [
            (starting(now), &[Event::Tick, Event::Idle, broken]),
            (State::Ready, &[Event::Started, Event::Ready, Event::Idle, Event::Tick]),
            (draining(now), &[Event::Started, Event::Ready, Event::Tick]),
            (
                stopping(now),
                &[Event::Ready, Event::Retire(SECOND), Event::Idle, broken, Event::Tick, Event::Ending],
            ),
            (
                State::Exited,
                &[Event::Started, Event::Ready, Event::Idle, broken, Event::Gone, Event::Tick, Event::Ending],
            ),
        ];
        for (state, events) in unmoved {
            for event in events {
                assert_eq!(state.on(*event, KILL, now), (state, vec![]), "{state:?} on {event:?}");
            }
        }
    }
}
