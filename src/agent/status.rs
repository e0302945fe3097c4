//! Owns the status of certificates: the facts that people are shown.
//!
//! Never here: how that looks on a terminal (`ctl`).

use std::collections::{BTreeMap, HashSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::api::{CheckResult, PlanCheck};
use crate::name::HostName;

use super::failure::FailureKind;
use super::host::{HostState, Phase};
use super::names::Unobtainable;

/// How all certificates stand that one agent looks after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// The hosts, by name; those that can get no certificate come last.
    pub(crate) hosts: Vec<HostStatus>,
    /// Attempts that failed since the agent's start, by kind.
    pub(super) failures: BTreeMap<FailureKind, u64>,
}

/// The limits on orders, and how near an order for a host is to each.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    /// Why no order may begin now.
    pub(super) objection: Option<String>,
    /// Orders begun in the last minute, and the most that may be.
    pub(super) minute: (usize, usize),
    /// Orders begun in the last three hours and the most that may be, where an authority counts them.
    pub(super) three_hours: Option<(usize, usize)>,
    /// How many attempts for this host have failed in a row.
    pub(super) failures: u32,
}

impl Limits {
    /// The limits as a check of a plan.
    pub(super) fn check(&self) -> PlanCheck {
        let (begun, most) = self.minute;
        let mut text = format!("{begun} of {most} orders begun in the last minute");
        if let Some((begun, most)) = self.three_hours {
            text += &format!(", {begun} of {most} in three hours");
        }
        match self.failures {
            0 => {}
            1 => text += "; one attempt for this host has failed",
            failures => text += &format!("; {failures} attempts for this host have failed in a row"),
        }
        let result = match &self.objection {
            Some(why) => {
                text = format!("{why}; {text}");
                CheckResult::Doubtful
            }
            None => CheckResult::Ok,
        };
        PlanCheck { check: "limits".into(), result, text }
    }
}

impl Standing {
    /// The part that is about these hosts.
    pub(super) fn of(&self, hosts: &HashSet<HostName>) -> Self {
        let own = self.hosts.iter().filter(|status| hosts.contains(&status.host));
        Self { hosts: own.cloned().collect(), failures: self.failures.clone() }
    }
}

/// How a host's certificate stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostStatus {
    pub(crate) host: HostName,
    /// The directory URL of the authority that the pair in the store is of.
    pub(crate) issued_by: Option<String>,
    /// When the pair in the store was got.
    pub(super) issued_at: Option<SystemTime>,
    /// When the pair in the store ends; none when there is no pair.
    pub(crate) expires_at: Option<SystemTime>,
    /// When the pair is renewed; none when there is no pair.
    pub(crate) renew_at: Option<SystemTime>,
    /// Whether an order is under way.
    pub(crate) ordering: bool,
    /// Why there is no pair, or no newer one, in plain words.
    pub(crate) problem: Option<String>,
    /// When the next attempt is made, when the last one failed.
    pub(crate) retry_at: Option<SystemTime>,
}

impl HostStatus {
    pub(super) fn of(host: &HostName, state: &HostState) -> Self {
        let retry_at = match &state.phase {
            Phase::Failing { retry_at, .. } => Some(*retry_at),
            _ => None,
        };
        Self {
            host: host.clone(),
            issued_by: state.issued_by.clone(),
            issued_at: state.issued_at,
            expires_at: state.life.map(|life| life.until),
            renew_at: state.life.map(|_| state.renew_at()),
            ordering: state.is_ordering(),
            problem: state.failure().map(|failure| failure.text.clone()),
            retry_at,
        }
    }

    pub(super) fn unobtainable(host: &HostName, why: Unobtainable) -> Self {
        Self::of_problem(host, why.to_string())
    }

    /// The status of a host of which only a problem is known.
    pub(super) fn of_problem(host: &HostName, problem: String) -> Self {
        Self {
            host: host.clone(),
            issued_by: None,
            issued_at: None,
            expires_at: None,
            renew_at: None,
            ordering: false,
            problem: Some(problem),
            retry_at: None,
        }
    }

    /// When an authority is asked next, if that is known.
    pub(super) fn next_try_at(&self) -> Option<SystemTime> {
        self.retry_at.or(self.renew_at)
    }
}
