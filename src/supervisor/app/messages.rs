//! Owns the commands to the task of an app, and the reports of its own tasks.
//!
//! Never here: acting on any of it. Events of workers come from the backend (`backend::WorkerEvent`).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::deploy_observer::DeployObserver;
use crate::api::{Aborted, AppStatus, Scaled, WorkerStatus};
use crate::backend::{StartError, Started};
use crate::name::{GenerationId, WorkerId};
use crate::spec::canary::CanaryWish;
use crate::spec::{AppSpec, LaunchSpec, WorkerRange};
use crate::supervisor::files::content::Content;
use crate::supervisor::jobs::app_jobs::TimerRefusal;
use crate::supervisor::supervisor_error::ResolveError;

/// A command of the set of apps to the task of one app.
pub(in crate::supervisor) enum AppCommand {
    /// Put a new generation in the place of the one that serves, or give it to a share of the clients.
    Deploy(Option<DeployObserver>, Option<CanaryWish>),
    /// Give the generation that is held to all clients; without one, the generation that serves is answered.
    Promote(Option<DeployObserver>, oneshot::Sender<Result<(), GenerationId>>),
    /// Give the generation that is held to none; without one, the generation that serves is answered.
    Abort(oneshot::Sender<Result<Aborted, GenerationId>>),
    /// Have the generation that served before serve again; where none is known, the answer is the number of the one
    /// that serves.
    RollBack(Option<DeployObserver>, oneshot::Sender<Result<(), GenerationId>>),
    /// Report how the workers of the serving generation are started; `None`: no generation serves.
    Serving(oneshot::Sender<Option<(GenerationId, Arc<LaunchSpec>)>>),
    /// Set the number of workers.
    Scale(WorkerRange, oneshot::Sender<Scaled>),
    /// Start the command of a timer now.
    RunTimer(String, oneshot::Sender<Result<WorkerId, TimerRefusal>>),
    /// Report the status of the app, without its hosts.
    Status(oneshot::Sender<AppStatus>),
    /// Report the status of each worker.
    Workers(oneshot::Sender<Vec<WorkerStatus>>),
    /// Let all workers finish within that time, and end; `None`: the app's own drain time.
    Stop(Option<Duration>),
    /// End, and leave all workers as they are.
    Leave,
}

/// A report to the app's task from a task that it has started.
pub(super) enum TaskReport {
    /// The backend has started a worker, or could not.
    Started(WorkerId, Result<Started, StartError>),
    /// A worker that was starting takes requests.
    Answered(WorkerId),
    /// The app as it was read, and the state of its files before that.
    Resolved(GenerationId, Box<Result<AppSpec, ResolveError>>, Option<Box<Content>>),
    /// The files of the app as they were when the app became known.
    Seen(GenerationId, Box<Content>),
    /// When the calendar expression of a timer comes next, or why that is not known.
    Elapses(String, Result<Option<SystemTime>, String>),
    /// Whether a worker that let a request's time pass is silent.
    Liveness { worker: WorkerId, silent: bool },
}
