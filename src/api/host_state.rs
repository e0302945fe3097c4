//! Owns the three states of a host, and the earlier words for them.
//!
//! Never here: what requests meet in each (`acceptor`), or keeping them (`registry`).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The way in which a host treats its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HostState {
    /// Workers answer the requests.
    #[default]
    #[serde(alias = "run")]
    Running,
    /// The requests wait in the queue.
    #[serde(alias = "hold")]
    Paused,
    /// The requests are answered 503, with the operator's page if there is one.
    #[serde(alias = "stop")]
    Stopped,
}

impl std::fmt::Display for HostState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// Writes the field `state` of an answer, and beside it `intent` with the earlier word, for one more version.
pub(super) fn serialize<S: Serializer>(state: &HostState, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Fields {
        state: HostState,
        intent: &'static str,
    }
    let intent = match state {
        HostState::Running => "run",
        HostState::Paused => "hold",
        HostState::Stopped => "stop",
    };
    Fields { state: *state, intent }.serialize(serializer)
}

/// Reads the field, also from an earlier server, which only writes `intent`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HostState, D::Error> {
    #[derive(Deserialize)]
    struct Fields {
        state: Option<HostState>,
        intent: Option<HostState>,
    }
    let Fields { state, intent } = Fields::deserialize(deserializer)?;
    state.or(intent).ok_or_else(|| serde::de::Error::missing_field("state"))
}
