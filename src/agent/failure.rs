//! Owns the failure of an attempt to get a certificate: a kind for numbers, a sentence for people, and its bearing on
//! the next try.
//!
//! Never here: the time of the next try (`schedule`).

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    /// The failure in plain words.
    pub(super) text: String,
    /// The moment before which the authority wants no further attempt.
    #[serde(default)]
    pub(super) retry_after: Option<SystemTime>,
    /// The authority that failed, by its place in the settings.
    #[serde(default)]
    pub(super) authority: usize,
    /// Whether the order stays open for the next attempt.
    #[serde(default)]
    pub(super) order_stays: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FailureKind {
    /// There was no connection, or no answer in time.
    Unreachable,
    /// The authority answered 429 or 503.
    Busy,
    /// The authority's answer cannot be understood.
    Answer,
    /// The account was refused.
    Account,
    /// The authority could not see that the name leads here.
    Challenge,
    /// The order was refused or failed.
    Order,
    /// The order takes longer than one attempt waits.
    Unfinished,
    /// The authority sent another certificate than was asked for.
    Certificate,
    /// Something on this machine failed: a disk, the hook.
    Local,
    /// The attempt was cut off by the end of the program.
    Interrupted,
}

impl FailureKind {
    /// The kind's name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Busy => "busy",
            Self::Answer => "answer",
            Self::Account => "account",
            Self::Challenge => "challenge",
            Self::Order => "order",
            Self::Unfinished => "unfinished",
            Self::Certificate => "certificate",
            Self::Local => "local",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether the failure says something of the authority and not of one name.
    pub(super) fn is_of_authority(self) -> bool {
        matches!(self, Self::Unreachable | Self::Busy | Self::Answer | Self::Account)
    }
}

impl Failure {
    /// A failure without a pause that the authority asked for, at the first authority.
    pub(super) fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), retry_after: None, authority: 0, order_stays: false }
    }

    /// The same failure, with its order kept for the next attempt.
    pub(super) fn keeping_order(self) -> Self {
        Self { order_stays: true, ..self }
    }
}
