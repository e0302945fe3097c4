//! Owns a worker's move from one state to the next: the event, the change, and what follows for its generation.
//!
//! Never here: which state follows (`worker_state`), or carrying out the actions of a change (`workers`).

use crate::backend::StartError;
use crate::name::{AppName, GenerationId, WorkerId};

use super::worker_record::WorkerRecord;
use super::worker_state::{PhaseEvent, WorkerAction, WorkerFailure, WorkerPhase};

/// An event for a worker's state, and its reason.
pub(super) struct PhaseInput {
    pub(super) worker: WorkerId,
    pub(super) event: PhaseEvent,
    pub(super) why: String,
}

impl PhaseInput {
    /// The message that the backend could not start a worker.
    pub(super) fn not_started(worker: WorkerId, error: &StartError) -> Self {
        Self { worker, event: PhaseEvent::Gone, why: format!("could not be started: {error}") }
    }
}

/// A worker's state before and after an event, and the actions that follow.
pub(super) struct PhaseChange {
    pub(super) worker: WorkerId,
    pub(super) generation: GenerationId,
    pub(super) from: WorkerPhase,
    pub(super) to: WorkerPhase,
    pub(super) actions: Vec<WorkerAction>,
    pub(super) why: String,
}

impl PhaseChange {
    /// Whether the worker has stopped starting: it is ready now, or will never be.
    pub(super) fn ends_start(&self) -> bool {
        matches!(self.from, WorkerPhase::Starting { .. }) && self.to.name() != self.from.name()
    }

    /// Logs the change, if there is one; `record` is that of its worker.
    pub(super) fn log(&self, app: &AppName, record: &WorkerRecord) {
        let Self { worker, generation, actions, why, .. } = self;
        let (from, to) = (self.from.name(), self.to.name());
        let failed =
            actions.iter().any(|action| matches!(action, WorkerAction::Fail(_) | WorkerAction::Kill));
        if from == to && !failed {
            return;
        }
        if failed || (to == "stopping" && from == "ready" && !record.recycling) {
            tracing::warn!(%app, %worker, %generation, from, to, why, "worker {worker}: {from} → {to}: {why}");
        } else if record.recycling && to == "exited" {
            let reason = record.stale.as_deref().unwrap_or_default();
            tracing::debug!(%app, %worker, %generation, from, to, why, "worker {worker} was recycled: {reason}");
        } else if record.recycling || (record.replaces && from == "starting") {
            // The ordinary changes of a worker that is recycled, and of its replacement, are logged at trace, for
            // operators who ask.
            tracing::trace!(%app, %worker, %generation, from, to, why, "worker {worker}: {from} → {to}: {why}");
        } else {
            tracing::info!(%app, %worker, %generation, from, to, why, "worker {worker}: {from} → {to}: {why}");
        }
    }
}

/// News for a generation from a worker's change of state.
pub(super) enum WorkerNews {
    /// A worker takes requests from now on.
    Ready(GenerationId),
    Failed {
        generation: GenerationId,
        failure: WorkerFailure,
        why: String,
    },
}
