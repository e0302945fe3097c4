//! Owns the states of one host's certificate on its way from wanted to renewed.
//!
//! Pure: `on(event, now)` gives the next state and what is to be done. Never here: carrying an action out, or the order
//! of hosts (`queue`).

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::failure::{Failure, FailureKind};
use super::schedule::{Life, Window, far, pause, renew_at};

/// The certificate of one host.
///
/// ```text
///          ┌─────────────issued──────────────┐
///          ▼                                 │
/// Resting ──due, or asked for──▶ Ordering ───┤
///                                    ▲       │
///                   time over, or asked for  │
///                                    │       │
///                                 Failing ◀──┘ failed
/// ```
///
/// The state on disk after [`Event::Begun`] counts as a failure when it is read again: a program that crashes in every
/// attempt then waits as long as one whose attempts fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HostState {
    /// From when until when the pair in the store is valid.
    pub(super) life: Option<Life>,
    /// When the authority wants the pair to be renewed.
    pub(super) window: Option<Window>,
    /// Whether the pair in the store was got before the last third of its predecessor's life.
    #[serde(default)]
    early: bool,
    /// When the pair in the store was got.
    #[serde(default)]
    pub(super) issued_at: Option<SystemTime>,
    /// The directory URL of the authority that issued the pair in the store.
    #[serde(default)]
    pub(super) issued_by: Option<String>,
    /// Attempts since the last one that brought a pair.
    pub(super) failures: u32,
    pub(super) phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// Nothing is to be done before the renewal is due.
    Resting,
    /// An attempt is being made.
    Ordering { since: SystemTime },
    /// The last attempt failed.
    Failing { retry_at: SystemTime, failure: Failure },
}

/// An event for the state of a host's certificate.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The host's turn has come, and an attempt begins.
    Begun,
    /// A pair of the authority with this directory URL is in the store.
    Issued { life: Life, by: String },
    /// The attempt brought no pair.
    Failed(Failure),
    /// The authority answered when to renew: a moment, if it named one, and when to ask again.
    Told { moment: Option<SystemTime>, ask_at: SystemTime },
}

/// The task's actions after an event, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Write the state down, and only then go on.
    WriteDown,
    /// Order a certificate.
    Order,
}

/// The rules that stay the same from one event to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    /// The longest pause after a first failure.
    pub(super) first_pause: Duration,
}

impl HostState {
    /// The state of a host whose pair in the store, if there is one, has this life.
    pub(super) fn new(life: Option<Life>) -> Self {
        Self {
            life,
            window: None,
            early: false,
            issued_at: None,
            issued_by: None,
            failures: 0,
            phase: Phase::Resting,
        }
    }

    /// The state with which a host goes on after a restart: the pair in the store counts, and an attempt that was cut
    /// off has failed. An order that is still open is taken up soon, the first [`RESUMED_SOON`] times.
    pub(super) fn resumed(
        mut self,
        life: Option<Life>,
        order_stays: bool,
        manners: Manners,
        share: f64,
    ) -> Self {
        if self.life != life {
            (self.life, self.window, self.early) = (life, None, false);
        }
        if let Phase::Ordering { since } = self.phase {
            let wait = match order_stays && self.failures <= RESUMED_SOON {
                true => Duration::from_secs(1),
                false => pause(self.failures.max(1), life, manners.first_pause, since, share),
            };
            let failure =
                Failure::new(FailureKind::Interrupted, "the attempt was cut off by the end of the program");
            self.phase = Phase::Failing { retry_at: since + wait, failure: failure.keeping_order() };
        }
        self
    }

    /// Returns the next state and what is to be done. `share`, from 0 to 1, spreads pauses.
    pub(super) fn on(
        self,
        event: Event,
        now: SystemTime,
        manners: Manners,
        share: f64,
    ) -> (Self, Vec<Effect>) {
        match event {
            Event::Begun => {
                let next =
                    Self { phase: Phase::Ordering { since: now }, failures: self.failures + 1, ..self };
                (next, vec![Effect::WriteDown, Effect::Order])
            }
            Event::Issued { life, by } => {
                let early = self.life.is_some_and(|old| now < renew_at(old, None, false));
                let next = Self {
                    life: Some(life),
                    window: None,
                    early,
                    issued_at: Some(now),
                    issued_by: Some(by),
                    failures: 0,
                    phase: Phase::Resting,
                };
                (next, vec![Effect::WriteDown])
            }
            Event::Failed(failure) => {
                let wait = pause(self.failures.max(1), self.life, manners.first_pause, now, share);
                // A `Retry-After` of years is a mistake of the authority's and is not kept.
                let asked = failure.retry_after.map(|at| at.min(now + LONGEST_ASKED));
                let retry_at = asked.map_or(now + wait, |asked| asked.max(now + wait));
                let next = Self { phase: Phase::Failing { retry_at, failure }, ..self };
                (next, vec![Effect::WriteDown])
            }
            Event::Told { moment, ask_at } => {
                // The chosen moment stays as long as the authority still means about the same window.
                let kept = self.window.map(|window| window.moment);
                let moment = moment.or(kept).unwrap_or(far());
                (Self { window: Some(Window { moment, ask_at }), ..self }, vec![Effect::WriteDown])
            }
        }
    }

    /// When the host's turn comes; never while an attempt is being made.
    pub(super) fn due_at(&self) -> SystemTime {
        match &self.phase {
            Phase::Ordering { .. } => far(),
            Phase::Failing { retry_at, .. } => *retry_at,
            Phase::Resting => self.renew_at(),
        }
    }

    /// When the pair is renewed, whatever else is going on; at once when there is no pair.
    pub(super) fn renew_at(&self) -> SystemTime {
        let Some(life) = self.life else { return SystemTime::UNIX_EPOCH };
        let said = self.window.map(|window| window.moment).filter(|moment| *moment < far());
        renew_at(life, said, self.early)
    }

    /// When the authority is asked about the renewal; `None` when there is no pair to ask about.
    pub(super) fn ask_at(&self) -> Option<SystemTime> {
        let resting = self.phase == Phase::Resting && self.life.is_some();
        resting.then(|| self.window.map_or(SystemTime::UNIX_EPOCH, |window| window.ask_at))
    }

    pub(super) fn is_ordering(&self) -> bool {
        matches!(self.phase, Phase::Ordering { .. })
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        match &self.phase {
            Phase::Failing { failure, .. } => Some(failure),
            _ => None,
        }
    }
}

/// The longest that an authority's Retry-After is kept.
const LONGEST_ASKED: Duration = Duration::from_secs(7 * 86_400);
/// The number of attempts at one order that begin at once after a restart.
const RESUMED_SOON: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const MANNERS: Manners = Manners { first_pause: Duration::from_secs(120) };

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000 + seconds)
    }

    fn life(from: u64, until: u64) -> Life {
        Life { from: at(from), until: at(until) }
    }

    fn issued(from: u64, until: u64) -> Event {
        Event::Issued { life: life(from, until), by: "https://ca.example/dir".into() }
    }

    fn on(state: HostState, event: Event, seconds: u64) -> HostState {
        state.on(event, at(seconds), MANNERS, 0.5).0
    }

    #[test]
    fn a_host_without_a_pair_is_due_at_once_and_an_attempt_is_written_down_before_it_is_made() {
        let host = HostState::new(None);
        assert!(host.due_at() <= at(0));
        let (host, effects) = host.on(Event::Begun, at(0), MANNERS, 0.5);
        assert_eq!(effects, [Effect::WriteDown, Effect::Order]);
        assert!(host.is_ordering());
        assert_eq!(host.due_at(), far(), "one order at a time");
    }

    #[test]
    fn a_new_pair_rests_until_its_last_third() {
        let host = on(on(HostState::new(None), Event::Begun, 0), issued(0, 300), 1);
        assert_eq!((host.failures, host.due_at()), (0, at(200)));
    }

    #[test]
    fn failures_wait_longer_and_longer_and_as_long_as_the_authority_says() {
        let host = on(HostState::new(None), Event::Begun, 0);
        let failure = Failure::new(FailureKind::Busy, "busy");
        let host = on(host, Event::Failed(failure.clone()), 10);
        assert_eq!(host.due_at(), at(130));
        let host = on(host, Event::Begun, 130);
        let asked = Failure { retry_after: Some(at(5_000)), ..failure.clone() };
        assert_eq!(on(host.clone(), Event::Failed(asked), 140).due_at(), at(5_000));
        let never = Failure { retry_after: Some(far()), ..failure.clone() };
        assert_eq!(on(host.clone(), Event::Failed(never), 140).due_at(), at(140 + 7 * 86_400));
        let soon = Failure { retry_after: Some(at(141)), ..failure };
        assert_eq!(on(host, Event::Failed(soon), 140).due_at(), at(380));
    }

    #[test]
    fn an_attempt_that_was_cut_off_counts_as_one_that_failed() {
        let host = on(HostState::new(None), Event::Begun, 0);
        let again = host.clone().resumed(None, false, MANNERS, 0.5);
        assert_eq!(again.due_at(), at(120));
        assert_eq!(host.clone().resumed(None, true, MANNERS, 0.5).due_at(), at(1), "the order goes on");
        let mut crashing = host;
        for _ in 0..5 {
            crashing = on(crashing.resumed(None, true, MANNERS, 0.5), Event::Begun, 0);
        }
        assert_eq!(crashing.resumed(None, true, MANNERS, 0.5).due_at(), at(3_600));
    }

    #[test]
    fn a_window_in_the_past_renews_at_once_and_then_not_again_at_once() {
        let host = on(on(HostState::new(None), Event::Begun, 0), issued(0, 1000), 0);
        let told = Event::Told { moment: Some(at(0)), ask_at: at(50) };
        let host = on(host, told.clone(), 10);
        assert!(host.due_at() <= at(10));
        let host = on(on(host, Event::Begun, 10), issued(10, 1010), 11);
        let host = on(host, told, 12);
        assert_eq!(host.due_at(), at(110));
    }

    #[test]
    fn another_pair_in_the_store_forgets_what_was_said_of_the_old_one() {
        let host = on(on(HostState::new(None), Event::Begun, 0), issued(0, 300), 0);
        let host = on(host, Event::Told { moment: Some(at(5)), ask_at: at(50) }, 1);
        let host = host.resumed(Some(life(0, 600)), false, MANNERS, 0.5);
        assert_eq!(host.due_at(), at(400));
    }
}
