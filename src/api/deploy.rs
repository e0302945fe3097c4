//! The words of deploys: what is to be deployed, how far it is, and how it ended.
//!
//! Never here: the other words of the control socket (`api`), or how an event looks to a person (`ctl`).

use serde::{Deserialize, Serialize};

use crate::name::{AppName, GenerationId};

/// The apps that are to be deployed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeployRequest {
    /// The app; `None`: all apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<AppName>,
    /// How many of a hundred clients get the new generation, before somebody decides about the others; 1 to 99.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) canary: Option<u8>,
    /// How many workers the new generation gets, and as many clients as these would serve; not beside `canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first: Option<usize>,
}

/// The app whose generation is held, or that is to go back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichApp {
    /// The app; `None`: the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<AppName>,
}

/// A generation that was held and is given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Aborted {
    pub(crate) ok: bool,
    pub(crate) app: AppName,
    pub(crate) generation: GenerationId,
    /// The generation that all clients get.
    pub(crate) serving: GenerationId,
}

/// Progress of a deploy; the last line is one of `done`, `held` and `rejected` for each app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum DeployEvent {
    /// Workers of the new generation are being started.
    Starting {
        app: AppName,
        generation: GenerationId,
        workers: usize,
        /// A note for the caller: that nothing has changed, or what a rollback does not bring back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    Ready {
        app: AppName,
        generation: GenerationId,
        ready: usize,
        /// How many workers are wanted.
        workers: usize,
    },
    /// The new generation serves, and is taken back if its workers crash within its probation.
    Serving {
        app: AppName,
        generation: GenerationId,
        /// Milliseconds from the start of the deploy until the generation served.
        ms: u64,
        /// The length of the probation in milliseconds.
        probation: u64,
    },
    /// The new generation serves for good.
    Done {
        app: AppName,
        generation: GenerationId,
        /// Milliseconds from the start of the deploy until the generation served.
        ms: u64,
    },
    /// A share of the clients gets the new generation until somebody decides.
    Held {
        app: AppName,
        generation: GenerationId,
        /// Milliseconds from the start of the deploy until then.
        ms: u64,
        /// The share, such as `10 %`.
        share: String,
        workers: usize,
    },
    /// The old generation goes on serving, or serves again.
    Rejected { app: AppName, rejection: Rejection },
    /// A later deploy took over; its events follow.
    Superseded { app: AppName, generation: GenerationId },
}

/// A generation that a share of the clients gets, until somebody decides whether all get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryStatus {
    /// The generation.
    pub generation: GenerationId,
    /// The share of the clients, such as `10 %`.
    pub share: String,
    /// How many of its workers are ready.
    pub ready: usize,
    /// For how many seconds it has been held.
    pub held: u64,
}

/// Why a generation was rejected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejection {
    /// The generation that was rejected.
    pub generation: GenerationId,
    /// The reason, in a sentence.
    pub reason: String,
    /// The last lines that the generation's workers wrote.
    pub output: Vec<String>,
}
