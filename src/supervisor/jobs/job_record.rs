//! Owns what is known of one job that runs: which it is, of which generation, since when, and whether it is to end.
//!
//! Never here: deciding, or a process.

use std::time::Duration;

use tokio::time::Instant;

use crate::name::GenerationId;
use crate::spec::JobName;

/// A job that runs.
#[derive(Clone, Debug)]
pub(super) struct JobRecord {
    pub(super) job: JobName,
    pub(super) generation: GenerationId,
    pub(super) since: Instant,
    /// The process; `None` before there is one.
    pub(super) pid: Option<u32>,
    /// The time that it has from SIGTERM to SIGKILL.
    pub(super) kill_after: Duration,
    pub(super) state: JobState,
}

/// Whether a job is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobState {
    Running,
    /// The job has had SIGTERM, and gets SIGKILL at this moment.
    Ending(Instant),
    /// The job has had SIGKILL.
    Killed,
}

impl JobRecord {
    /// Whether it was told to end.
    pub(super) fn is_ending(&self) -> bool {
        self.state != JobState::Running
    }

    /// When something has to be done about it by the clock.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        if let JobState::Ending(at) = self.state { Some(at) } else { None }
    }
}
