//! Owns the states of a certificate that has to be obtained and renewed.
//!
//! Never here: obtaining one, the clock, or what clients are shown; the keeper does what the actions say.

use std::time::{Duration, SystemTime};

use super::certificate::Certificate;

/// The state of a certificate on its way from wanted to renewed.
///
/// ```text
/// Missing ──wanted──▶ Obtaining ──obtained──▶ Valid ──wanted, due──▶ Renewing
///                      │     ▲                  ▲                     │  │  ▲
///                   failed  retry               └──────obtained───────┘  │  │
///                      ▼     │                                        failed retry
///                      Failing (without a certificate, or with the old one) ◀┘
/// ```
///
/// A certificate that clients accept is never given up for one that they do not.
#[derive(Clone, Debug)]
pub(super) enum CertEntry {
    /// Nobody has asked for a certificate yet.
    Missing,
    /// The first certificate is being obtained.
    Obtaining,
    /// A certificate is in use, and no other is being obtained.
    Valid {
        /// The one in use.
        current: Certificate,
        /// When the certificate is due for renewal; never, when only a changed file brings another.
        renew_at: Option<SystemTime>,
    },
    /// Another certificate is being obtained while one is in use.
    Renewing {
        /// The certificate in use meanwhile.
        current: Certificate,
    },
    /// The last attempt brought no better certificate.
    Failing {
        /// The certificate in use all the same, if there is one.
        current: Option<Certificate>,
        /// When to try again.
        retry_at: SystemTime,
        /// Why the attempt failed, in a sentence.
        problem: String,
    },
}

/// An event for a certificate's entry.
#[derive(Clone, Debug)]
pub(super) enum CertEvent {
    /// Another certificate is wanted: at the start, and when the names or the files have changed.
    Wanted,
    /// The keeper looked at the clock.
    Tick,
    /// An attempt brought a certificate.
    Obtained {
        /// The new certificate.
        certificate: Certificate,
        /// When the new certificate will be due for renewal.
        renew_at: Option<SystemTime>,
        /// The pause before the next attempt, if the new certificate is of no use.
        retry_in: Duration,
    },
    /// An attempt brought nothing.
    Failed {
        /// Why the attempt failed, in a sentence.
        problem: String,
        /// The pause before the next attempt.
        retry_in: Duration,
    },
}

/// An action for the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CertAction {
    /// Obtain a certificate, and report how that went.
    Obtain,
    /// Show clients the [`current`](CertEntry::current) certificate from now on.
    Publish,
}

impl CertEntry {
    /// Returns the next state and what is to be done. Late events are normal: a certificate that comes when nobody
    /// waits for it any more is taken if it is of use.
    pub(super) fn on(self, event: CertEvent, now: SystemTime) -> (Self, Vec<CertAction>) {
        match event {
            CertEvent::Wanted => self.wanted(),
            CertEvent::Tick if self.is_due(now) => self.wanted(),
            CertEvent::Tick => (self, vec![]),
            CertEvent::Obtained { certificate, renew_at, retry_in } => {
                match worse(&certificate, self.current(), now) {
                    None => (Self::Valid { current: certificate, renew_at }, vec![CertAction::Publish]),
                    Some(problem) => self.failed(problem.into(), now + retry_in),
                }
            }
            CertEvent::Failed { problem, retry_in } => self.failed(problem, now + retry_in),
        }
    }

    /// The certificate that clients are shown.
    pub(super) fn current(&self) -> Option<&Certificate> {
        match self {
            Self::Missing | Self::Obtaining => None,
            Self::Valid { current, .. } | Self::Renewing { current } => Some(current),
            Self::Failing { current, .. } => current.as_ref(),
        }
    }

    /// Why the last attempt failed.
    pub(super) fn problem(&self) -> Option<&str> {
        match self {
            Self::Failing { problem, .. } => Some(problem),
            Self::Missing | Self::Obtaining | Self::Valid { .. } | Self::Renewing { .. } => None,
        }
    }

    /// When a [`CertEvent::Tick`] will change something.
    pub(super) fn due_at(&self) -> Option<SystemTime> {
        match self {
            Self::Missing | Self::Obtaining | Self::Renewing { .. } => None,
            Self::Valid { renew_at, .. } => *renew_at,
            Self::Failing { retry_at, .. } => Some(*retry_at),
        }
    }

    /// The state's name in the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Obtaining => "obtaining",
            Self::Valid { .. } => "valid",
            Self::Renewing { .. } => "renewing",
            Self::Failing { .. } => "failing",
        }
    }

    fn is_due(&self, now: SystemTime) -> bool {
        match self {
            // The date was set by a clock that has since been put back: waiting for it could take years.
            Self::Failing { retry_at, .. } if *retry_at > now + LONGEST_PAUSE => true,
            other => other.due_at().is_some_and(|due| due <= now),
        }
    }

    fn wanted(self) -> (Self, Vec<CertAction>) {
        match self {
            Self::Missing | Self::Failing { current: None, .. } => {
                (Self::Obtaining, vec![CertAction::Obtain])
            }
            Self::Valid { current, .. } | Self::Failing { current: Some(current), .. } => {
                (Self::Renewing { current }, vec![CertAction::Obtain])
            }
            busy @ (Self::Obtaining | Self::Renewing { .. }) => (busy, vec![]),
        }
    }

    fn failed(self, problem: String, retry_at: SystemTime) -> (Self, Vec<CertAction>) {
        match self {
            // Nobody waits for this certificate any more: the one in use was obtained since.
            Self::Missing | Self::Valid { .. } => (self, vec![]),
            Self::Obtaining => (Self::Failing { current: None, retry_at, problem }, vec![]),
            Self::Renewing { current } => {
                (Self::Failing { current: Some(current), retry_at, problem }, vec![])
            }
            Self::Failing { current, .. } => (Self::Failing { current, retry_at, problem }, vec![]),
        }
    }
}

/// Why `new` is not taken in the place of `current`. Without a current certificate any other is better than none.
pub(super) fn worse(
    new: &Certificate,
    current: Option<&Certificate>,
    now: SystemTime,
) -> Option<&'static str> {
    let keeps = current.is_some_and(|current| current.is_good(now));
    if !keeps || new.is_good(now) {
        None
    } else if new.not_after <= now {
        Some("the new certificate has expired already; the old one stays")
    } else {
        Some("the new certificate is not valid yet; the old one stays")
    }
}

/// The longest pause that an issuer may ask for.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::super::testing::{DAY, Pem, now};
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A certificate with these dates; all have the same key, because only the dates matter here.
    fn dated(not_before: SystemTime, not_after: SystemTime) -> Certificate {
        static ONE: std::sync::LazyLock<Certificate> =
            std::sync::LazyLock::new(|| Pem::new(&["a.example"], now(), now() + DAY).certificate());
        Certificate { not_before, not_after, ..ONE.clone() }
    }

    fn good(days: u32) -> Certificate {
        dated(now() - DAY, now() + days * DAY)
    }

    fn expired() -> Certificate {
        dated(now() - 2 * DAY, now() - DAY)
    }

    fn obtained(certificate: Certificate) -> CertEvent {
        CertEvent::Obtained { renew_at: Some(certificate.renew_at()), certificate, retry_in: MINUTE }
    }

    fn failed() -> CertEvent {
        CertEvent::Failed { problem: "no".into(), retry_in: MINUTE }
    }

    fn valid(days: u32) -> CertEntry {
        CertEntry::Valid { current: good(days), renew_at: Some(good(days).renew_at()) }
    }

    fn renewing() -> CertEntry {
        CertEntry::Renewing { current: good(9) }
    }

    fn failing(current: Option<Certificate>) -> CertEntry {
        CertEntry::Failing { current, retry_at: now() + MINUTE, problem: "no".into() }
    }

    /// A step of the test: the state's name, the end of the current certificate, the actions.
    fn step(
        entry: CertEntry,
        event: CertEvent,
        at: SystemTime,
    ) -> (&'static str, Option<SystemTime>, Vec<CertAction>) {
        let (entry, actions) = entry.on(event, at);
        (entry.name(), entry.current().map(|current| current.not_after), actions)
    }

    fn ends(days: u32) -> Option<SystemTime> {
        Some(now() + days * DAY)
    }

    #[test]
    fn a_missing_one_that_is_wanted_is_obtained() {
        let after = step(CertEntry::Missing, CertEvent::Wanted, now());
        assert_eq!(after, ("obtaining", None, vec![CertAction::Obtain]));
    }

    #[test]
    fn the_first_that_is_obtained_is_published() {
        let after = step(CertEntry::Obtaining, obtained(good(5)), now());
        assert_eq!(after, ("valid", ends(5), vec![CertAction::Publish]));
    }

    #[test]
    fn without_any_even_an_expired_one_is_better_than_no_answer() {
        let after = step(CertEntry::Obtaining, obtained(expired()), now());
        assert_eq!(after, ("valid", Some(now() - DAY), vec![CertAction::Publish]));
    }

    #[test]
    fn a_first_attempt_that_fails_waits() {
        assert_eq!(step(CertEntry::Obtaining, failed(), now()), ("failing", None, vec![]));
    }

    #[test]
    fn a_valid_one_that_is_wanted_anew_stays_in_use_meanwhile() {
        let after = step(valid(9), CertEvent::Wanted, now());
        assert_eq!(after, ("renewing", ends(9), vec![CertAction::Obtain]));
    }

    #[test]
    fn a_valid_one_is_renewed_when_it_is_due_and_not_before() {
        let due = good(8).renew_at();
        assert_eq!(due, now() + 5 * DAY);
        let early = step(valid(8), CertEvent::Tick, due - MINUTE);
        assert_eq!(early, ("valid", ends(8), vec![]));
        let after = step(valid(8), CertEvent::Tick, due);
        assert_eq!(after, ("renewing", ends(8), vec![CertAction::Obtain]));
    }

    #[test]
    fn one_from_files_is_never_due() {
        let files = CertEntry::Valid { current: good(1), renew_at: None };
        assert_eq!(step(files, CertEvent::Tick, now() + 9 * DAY), ("valid", ends(1), vec![]));
    }

    #[test]
    fn a_renewed_one_takes_the_place_of_the_old_one() {
        let after = step(renewing(), obtained(good(90)), now());
        assert_eq!(after, ("valid", ends(90), vec![CertAction::Publish]));
    }

    #[test]
    fn an_operator_may_choose_one_that_ends_sooner() {
        assert_eq!(step(renewing(), obtained(good(1)), now()).1, ends(1));
    }

    #[test]
    fn one_that_clients_refuse_never_takes_the_place_of_a_good_one() {
        for bad in [expired(), dated(now() + DAY, now() + 90 * DAY)] {
            assert_eq!(step(renewing(), obtained(bad), now()), ("failing", ends(9), vec![]));
        }
    }

    #[test]
    fn a_renewal_that_fails_leaves_the_old_one_in_use() {
        assert_eq!(step(renewing(), failed(), now()), ("failing", ends(9), vec![]));
    }

    #[test]
    fn a_failing_one_is_tried_again_at_its_time() {
        let early = step(failing(Some(good(9))), CertEvent::Tick, now());
        assert_eq!(early, ("failing", ends(9), vec![]));
        let after = step(failing(Some(good(9))), CertEvent::Tick, now() + MINUTE);
        assert_eq!(after, ("renewing", ends(9), vec![CertAction::Obtain]));
        let after = step(failing(None), CertEvent::Tick, now() + MINUTE);
        assert_eq!(after, ("obtaining", None, vec![CertAction::Obtain]));
    }

    #[test]
    fn a_failing_one_is_tried_at_once_when_it_is_wanted_or_the_clock_was_put_back() {
        let after = step(failing(None), CertEvent::Wanted, now());
        assert_eq!(after, ("obtaining", None, vec![CertAction::Obtain]));
        let after = step(failing(None), CertEvent::Tick, now() - 2 * LONGEST_PAUSE);
        assert_eq!(after, ("obtaining", None, vec![CertAction::Obtain]));
    }

    #[test]
    fn one_attempt_runs_at_a_time() {
        for event in [CertEvent::Wanted, CertEvent::Tick] {
            assert_eq!(step(CertEntry::Obtaining, event.clone(), now()), ("obtaining", None, vec![]));
            assert_eq!(step(renewing(), event, now()), ("renewing", ends(9), vec![]));
        }
    }

    #[test]
    fn late_answers_are_taken_if_they_are_of_use() {
        assert_eq!(step(valid(9), failed(), now()), ("valid", ends(9), vec![]));
        assert_eq!(step(valid(9), obtained(expired()), now()), ("valid", ends(9), vec![]));
        assert_eq!(step(valid(9), obtained(good(90)), now()).1, ends(90));
        assert_eq!(step(failing(None), obtained(good(9)), now()).0, "valid");
    }

    #[test]
    fn no_history_loses_a_good_certificate_or_takes_a_bad_one_for_it() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            let (mut entry, mut at) = (CertEntry::Missing, now());
            for _ in 0..200 {
                // Clocks mostly run forward.
                let jump = random.u32(..40) * DAY / 4;
                at = if random.u8(..8) == 0 { at - jump } else { at + jump };
                let event = match random.u8(..4) {
                    0 => CertEvent::Wanted,
                    1 => CertEvent::Tick,
                    2 => failed(),
                    _ => {
                        let from = at + 5 * DAY - random.u32(..40) * DAY;
                        obtained(dated(from, from + random.u32(1..60) * DAY))
                    }
                };
                let had = entry.current().cloned();
                let (next, actions) = entry.on(event, at);

                let has = next.current();
                assert!(had.is_none() || has.is_some());
                let swapped = had.as_ref().map(|had| had.not_after) != has.map(|has| has.not_after);
                let was_good = had.is_some_and(|had| had.is_good(at));
                assert!(!(swapped && was_good) || has.is_some_and(|has| has.is_good(at)));
                assert!(!swapped || actions == [CertAction::Publish]);
                let busy = matches!(next, CertEntry::Obtaining | CertEntry::Renewing { .. });
                assert!(!actions.contains(&CertAction::Obtain) || busy);
                entry = next;
            }
        }
    }
}
