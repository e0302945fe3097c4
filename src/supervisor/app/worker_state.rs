//! Owns the states of one worker and their transitions: pure, without a clock or a process.
//!
//! Never here: why a worker should start or go (`plan`), or carrying an action out (`app_task`).

use std::time::Duration;

use tokio::time::Instant;

use crate::pool::WorkerFault;

/// The state of a worker.
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
/// A `Gone` or an `Ending` that nobody asked for, a start that takes too long and a worker that cannot be reached are
/// failures. Any event that an arrow does not name leaves the state as it is: late events are normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerPhase {
    /// The worker was ordered, and is not known to answer.
    Starting {
        /// When the worker has taken too long.
        give_up: Instant,
    },
    /// The worker takes requests.
    Ready,
    /// The worker finishes what it has in hand.
    Draining {
        /// When the worker has to go all the same.
        give_up: Instant,
    },
    /// The worker was told to end.
    Stopping { kill_at: Instant },
    /// The worker is gone, with all its processes.
    Exited,
}

/// An event in a worker's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PhaseEvent {
    /// The worker has a process.
    Started,
    /// The worker said or showed that it takes requests.
    Ready,
    /// The worker is to finish what it has in hand within that time, and go.
    Retire(Duration),
    /// The worker has nothing in hand; sent only for workers that get nothing new.
    Idle,
    /// The data path gave the worker up.
    Condemn(Breakdown),
    /// The worker's first process has exited; others of its processes take a moment.
    Ending,
    /// The worker has ended, or never had a process.
    Gone,
    Tick,
}

/// Whether a condemned worker broke down by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breakdown {
    /// The worker does not even take a connection: the same as an exit nobody asked for, and often seen just before it.
    Broken,
    /// The worker took too long for one request.
    Stuck,
}

impl Breakdown {
    /// The breakdown for the data path's reason for giving a worker up, and that reason in words.
    pub(super) fn of(fault: WorkerFault) -> (Self, &'static str) {
        match fault {
            WorkerFault::TooSlow => (Self::Stuck, "did not answer within the request time limit"),
            WorkerFault::Stalled => (Self::Stuck, "stopped in the middle of an answer"),
            WorkerFault::Unreachable => (Self::Broken, "could not be connected to"),
        }
    }
}

/// An action that follows from a change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerAction {
    /// Find out when the worker is ready.
    Probe,
    /// Let the worker take requests.
    Publish,
    /// Give the worker nothing new.
    Withdraw,
    Terminate,
    Kill,
    /// Count a failure.
    Fail(WorkerFailure),
    Forget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerFailure {
    /// The worker ended before it was ready.
    BeforeReady,
    /// The worker was not ready in time.
    TooLate,
    /// The worker ended, or broke down, while it served.
    InService,
}

impl WorkerPhase {
    /// Returns the next state and the actions; `kill` is the time from SIGTERM to SIGKILL.
    pub(super) fn on(self, event: PhaseEvent, kill: Duration, now: Instant) -> (Self, Vec<WorkerAction>) {
        let stopping = Self::Stopping { kill_at: now + kill };
        match self {
            Self::Starting { give_up } => match event {
                PhaseEvent::Started => (self, vec![WorkerAction::Probe]),
                PhaseEvent::Ready => (Self::Ready, vec![WorkerAction::Publish]),
                PhaseEvent::Retire(_) => (stopping, vec![WorkerAction::Terminate]),
                PhaseEvent::Ending => (stopping, vec![WorkerAction::Fail(WorkerFailure::BeforeReady)]),
                PhaseEvent::Tick if now >= give_up => {
                    (stopping, vec![WorkerAction::Fail(WorkerFailure::TooLate), WorkerAction::Terminate])
                }
                PhaseEvent::Gone => {
                    (Self::Exited, vec![WorkerAction::Fail(WorkerFailure::BeforeReady), WorkerAction::Forget])
                }
                PhaseEvent::Tick | PhaseEvent::Idle | PhaseEvent::Condemn(_) => (self, Vec::new()),
            },
            Self::Ready => match event {
                PhaseEvent::Retire(drain) => {
                    (Self::Draining { give_up: now + drain }, vec![WorkerAction::Withdraw])
                }
                PhaseEvent::Condemn(fault) => (stopping, condemned(fault)),
                PhaseEvent::Ending => {
                    (stopping, vec![WorkerAction::Withdraw, WorkerAction::Fail(WorkerFailure::InService)])
                }
                PhaseEvent::Gone => {
                    (Self::Exited, vec![WorkerAction::Fail(WorkerFailure::InService), WorkerAction::Forget])
                }
                PhaseEvent::Started | PhaseEvent::Ready | PhaseEvent::Idle | PhaseEvent::Tick => {
                    (self, Vec::new())
                }
            },
            Self::Draining { give_up } => match event {
                PhaseEvent::Retire(drain) => {
                    (Self::Draining { give_up: give_up.min(now + drain) }, Vec::new())
                }
                PhaseEvent::Idle | PhaseEvent::Condemn(_) => (stopping, vec![WorkerAction::Terminate]),
                PhaseEvent::Tick if now >= give_up => (stopping, vec![WorkerAction::Terminate]),
                PhaseEvent::Ending => (stopping, Vec::new()),
                PhaseEvent::Gone => (Self::Exited, vec![WorkerAction::Forget]),
                PhaseEvent::Tick | PhaseEvent::Started | PhaseEvent::Ready => (self, Vec::new()),
            },
            Self::Stopping { kill_at } => match event {
                // The worker was told to go before it had a process that could hear it.
                PhaseEvent::Started => (self, vec![WorkerAction::Terminate]),
                PhaseEvent::Tick if now >= kill_at => (stopping, vec![WorkerAction::Kill]),
                PhaseEvent::Gone => (Self::Exited, vec![WorkerAction::Forget]),
                PhaseEvent::Tick
                | PhaseEvent::Ready
                | PhaseEvent::Retire(_)
                | PhaseEvent::Idle
                | PhaseEvent::Condemn(_)
                | PhaseEvent::Ending => (self, Vec::new()),
            },
            Self::Exited => (self, Vec::new()),
        }
    }

    /// When [`PhaseEvent::Tick`] will next change something.
    pub(super) fn wake_at(self) -> Option<Instant> {
        match self {
            Self::Starting { give_up } | Self::Draining { give_up } => Some(give_up),
            Self::Stopping { kill_at } => Some(kill_at),
            Self::Ready | Self::Exited => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Ready => "ready",
            Self::Draining { .. } => "draining",
            Self::Stopping { .. } => "stopping",
            Self::Exited => "exited",
        }
    }
}

fn condemned(fault: Breakdown) -> Vec<WorkerAction> {
    match fault {
        Breakdown::Broken => vec![
            WorkerAction::Withdraw,
            WorkerAction::Fail(WorkerFailure::InService),
            WorkerAction::Terminate,
        ],
        Breakdown::Stuck => vec![WorkerAction::Withdraw, WorkerAction::Terminate],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILL: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);

    fn starting(now: Instant) -> WorkerPhase {
        WorkerPhase::Starting { give_up: now + SECOND }
    }

    fn draining(now: Instant) -> WorkerPhase {
        WorkerPhase::Draining { give_up: now + SECOND }
    }

    fn stopping(now: Instant) -> WorkerPhase {
        WorkerPhase::Stopping { kill_at: now + KILL }
    }

    #[test]
    fn starting_started_is_probed() {
        let now = Instant::now();
        assert_eq!(
            starting(now).on(PhaseEvent::Started, KILL, now),
            (starting(now), vec![WorkerAction::Probe])
        );
    }

    #[test]
    fn starting_ready_is_published() {
        let now = Instant::now();
        assert_eq!(
            starting(now).on(PhaseEvent::Ready, KILL, now),
            (WorkerPhase::Ready, vec![WorkerAction::Publish])
        );
    }

    #[test]
    fn starting_retire_is_stopped_at_once() {
        let now = Instant::now();
        let next = starting(now).on(PhaseEvent::Retire(SECOND), KILL, now);
        assert_eq!(next, (stopping(now), vec![WorkerAction::Terminate]));
    }

    #[test]
    fn starting_too_long_is_a_failure() {
        let now = Instant::now();
        let late = now + SECOND;
        let next = starting(now).on(PhaseEvent::Tick, KILL, late);
        assert_eq!(
            next,
            (stopping(late), vec![WorkerAction::Fail(WorkerFailure::TooLate), WorkerAction::Terminate])
        );
    }

    #[test]
    fn starting_gone_is_a_failure() {
        let now = Instant::now();
        let next = starting(now).on(PhaseEvent::Gone, KILL, now);
        assert_eq!(
            next,
            (WorkerPhase::Exited, vec![WorkerAction::Fail(WorkerFailure::BeforeReady), WorkerAction::Forget])
        );
    }

    #[test]
    fn ready_retire_drains() {
        let now = Instant::now();
        let next = WorkerPhase::Ready.on(PhaseEvent::Retire(SECOND), KILL, now);
        assert_eq!(next, (draining(now), vec![WorkerAction::Withdraw]));
    }

    #[test]
    fn ready_condemned_for_being_stuck_is_no_failure() {
        let now = Instant::now();
        let next = WorkerPhase::Ready.on(PhaseEvent::Condemn(Breakdown::Stuck), KILL, now);
        assert_eq!(next, (stopping(now), vec![WorkerAction::Withdraw, WorkerAction::Terminate]));
    }

    #[test]
    fn ready_condemned_for_being_broken_is_a_failure() {
        let now = Instant::now();
        let (next, actions) = WorkerPhase::Ready.on(PhaseEvent::Condemn(Breakdown::Broken), KILL, now);
        assert_eq!(next, stopping(now));
        assert_eq!(
            actions,
            [WorkerAction::Withdraw, WorkerAction::Fail(WorkerFailure::InService), WorkerAction::Terminate]
        );
    }

    #[test]
    fn ready_gone_is_a_crash() {
        let now = Instant::now();
        let next = WorkerPhase::Ready.on(PhaseEvent::Gone, KILL, now);
        assert_eq!(
            next,
            (WorkerPhase::Exited, vec![WorkerAction::Fail(WorkerFailure::InService), WorkerAction::Forget])
        );
    }

    #[test]
    fn an_exit_of_the_first_process_is_a_failure_and_ends_what_is_left() {
        let now = Instant::now();
        let failed = WorkerAction::Fail(WorkerFailure::BeforeReady);
        assert_eq!(starting(now).on(PhaseEvent::Ending, KILL, now), (stopping(now), vec![failed]));
        let crashed = vec![WorkerAction::Withdraw, WorkerAction::Fail(WorkerFailure::InService)];
        assert_eq!(WorkerPhase::Ready.on(PhaseEvent::Ending, KILL, now), (stopping(now), crashed));
        assert_eq!(draining(now).on(PhaseEvent::Ending, KILL, now), (stopping(now), vec![]));
    }

    #[test]
    fn draining_idle_is_stopped_at_once() {
        let now = Instant::now();
        assert_eq!(
            draining(now).on(PhaseEvent::Idle, KILL, now),
            (stopping(now), vec![WorkerAction::Terminate])
        );
    }

    #[test]
    fn draining_condemned_is_stopped() {
        let now = Instant::now();
        let next = draining(now).on(PhaseEvent::Condemn(Breakdown::Broken), KILL, now);
        assert_eq!(next, (stopping(now), vec![WorkerAction::Terminate]));
    }

    #[test]
    fn draining_too_long_is_stopped() {
        let now = Instant::now();
        let late = now + SECOND;
        assert_eq!(
            draining(now).on(PhaseEvent::Tick, KILL, late),
            (stopping(late), vec![WorkerAction::Terminate])
        );
    }

    #[test]
    fn draining_retired_again_takes_the_earlier_end() {
        let now = Instant::now();
        let sooner = draining(now).on(PhaseEvent::Retire(SECOND / 2), KILL, now).0;
        assert_eq!(sooner, WorkerPhase::Draining { give_up: now + SECOND / 2 });
        assert_eq!(draining(now).on(PhaseEvent::Retire(SECOND * 9), KILL, now).0, draining(now));
    }

    #[test]
    fn draining_gone_is_no_crash() {
        let now = Instant::now();
        assert_eq!(
            draining(now).on(PhaseEvent::Gone, KILL, now),
            (WorkerPhase::Exited, vec![WorkerAction::Forget])
        );
    }

    #[test]
    fn stopping_started_is_told_once_more() {
        let now = Instant::now();
        let next = stopping(now).on(PhaseEvent::Started, KILL, now);
        assert_eq!(next, (stopping(now), vec![WorkerAction::Terminate]));
    }

    #[test]
    fn stopping_too_long_is_killed_again_and_again() {
        let now = Instant::now();
        let (first, second) = (now + KILL, now + KILL + KILL);
        let (state, actions) = stopping(now).on(PhaseEvent::Tick, KILL, first);
        assert_eq!((state, actions), (stopping(first), vec![WorkerAction::Kill]));
        assert_eq!(state.on(PhaseEvent::Tick, KILL, second), (stopping(second), vec![WorkerAction::Kill]));
    }

    #[test]
    fn stopping_gone_is_no_crash() {
        let now = Instant::now();
        assert_eq!(
            stopping(now).on(PhaseEvent::Gone, KILL, now),
            (WorkerPhase::Exited, vec![WorkerAction::Forget])
        );
    }

    #[test]
    fn late_and_early_events_change_nothing() {
        let now = Instant::now();
        let broken = PhaseEvent::Condemn(Breakdown::Broken);
        let unmoved: [(WorkerPhase, &[PhaseEvent]); 5] = [
            (starting(now), &[PhaseEvent::Tick, PhaseEvent::Idle, broken]),
            (
                WorkerPhase::Ready,
                &[PhaseEvent::Started, PhaseEvent::Ready, PhaseEvent::Idle, PhaseEvent::Tick],
            ),
            (draining(now), &[PhaseEvent::Started, PhaseEvent::Ready, PhaseEvent::Tick]),
            (
                stopping(now),
                &[
                    PhaseEvent::Ready,
                    PhaseEvent::Retire(SECOND),
                    PhaseEvent::Idle,
                    broken,
                    PhaseEvent::Tick,
                    PhaseEvent::Ending,
                ],
            ),
            (
                WorkerPhase::Exited,
                &[
                    PhaseEvent::Started,
                    PhaseEvent::Ready,
                    PhaseEvent::Idle,
                    broken,
                    PhaseEvent::Gone,
                    PhaseEvent::Tick,
                    PhaseEvent::Ending,
                ],
            ),
        ];
        for (state, events) in unmoved {
            for event in events {
                assert_eq!(state.on(*event, KILL, now), (state, vec![]), "{state:?} on {event:?}");
            }
        }
    }
}
