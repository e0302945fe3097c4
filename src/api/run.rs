//! Owns the messages about a command that is to run as the workers of an app do.
//!
//! Never here: running it (`ctl`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::BackendName;
use crate::name::{AppName, GenerationId, InstanceName, WorkerId};

/// The app that a command is to run beside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunRequest {
    /// The app; `None`: the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<AppName>,
}

/// The folder, environment and user with which a command runs as the workers of an app do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunPlace {
    /// Always true.
    pub(crate) ok: bool,
    pub(crate) app: AppName,
    /// The generation that serves.
    pub(crate) generation: GenerationId,
    /// The backend that runs the workers.
    pub(crate) backend: BackendName,
    /// The folder of the generation.
    pub(crate) directory: PathBuf,
    /// The whole environment.
    pub(crate) env: BTreeMap<String, String>,
    /// The workers' user and group, where they are child processes; else the server's.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The instance.
    pub(crate) instance: InstanceName,
    /// Whether units of the workers are those of a user's own systemd.
    #[serde(default)]
    pub(crate) user_units: bool,
}

/// The timer whose command is to run now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunTimer {
    /// The app; `None`: the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<AppName>,
    pub(crate) timer: String,
}

/// The answer that a timer's command has been started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TimerStarted {
    /// Always true.
    pub(crate) ok: bool,
    pub(crate) app: AppName,
    pub(crate) timer: String,
    /// The number by which logs and units name it.
    pub(crate) worker: WorkerId,
}
