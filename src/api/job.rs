//! Owns what is said of a job.
//!
//! Never here: running one (`supervisor`), or how it looks to a person (`ctl`).

use serde::{Deserialize, Serialize};

use crate::name::WorkerId;

/// A job in [`AppStatus`](super::AppStatus): what runs beside the workers of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// `release`, `process.NAME` or `timer.NAME`, as the settings name it.
    pub job: String,
    /// The command, and for a timer its times.
    pub command: String,
    /// How many of a side process there should be.
    pub wanted: usize,
    /// How many run.
    pub running: usize,
    /// The numbers by which logs and units name those that run.
    pub workers: Vec<WorkerId>,
    /// A sentence that says what the job is doing, and how it ended last.
    pub doing: String,
}
