//! Owns what the task of an app is told by others, and what its own tasks report to it.
//!
//! Never here: acting on any of it. What happens to workers is told by the backend (`backend::WorkerEvent`).

use std::time::Duration;

use tokio::sync::oneshot;

use super::deploy_observer::DeployObserver;
use crate::api::{AppStatus, Scaled, WorkerStatus};
use crate::backend::{StartError, Started};
use crate::name::{GenerationId, WorkerId};
use crate::spec::{AppSpec, WorkerRange};
use crate::supervisor::files::app_files::Fingerprint;
use crate::supervisor::supervisor_error::ResolveError;

/// What the set of apps tells the task of one.
pub(in crate::supervisor) enum AppCommand {
    /// Put a new generation in the place of the one that serves.
    Deploy(Option<DeployObserver>),
    /// Have that many workers.
    Scale(WorkerRange, oneshot::Sender<Scaled>),
    /// Tell how the app is; its hosts are left out.
    Status(oneshot::Sender<AppStatus>),
    /// Tell how each worker is.
    Workers(oneshot::Sender<Vec<WorkerStatus>>),
    /// Let all workers finish within that time, and end; `None`: the app's own drain time.
    Stop(Option<Duration>),
    /// End, and leave all workers as they are.
    Leave,
}

/// What a task that the app's own task has started reports to it.
pub(super) enum TaskReport {
    /// The backend has started a worker, or could not.
    Started(WorkerId, Result<Started, StartError>),
    /// A worker that was starting takes requests.
    Answered(WorkerId),
    /// The app as it was read, and its files before that.
    Resolved(GenerationId, Box<Result<AppSpec, ResolveError>>, Option<Box<Fingerprint>>),
    /// Whether a worker that let a request's time pass is silent.
    Liveness { worker: WorkerId, silent: bool },
}
