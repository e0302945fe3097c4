//! Owns having the backend start what runs for an app, workers and jobs alike, and where their events go.
//!
//! Never here: which to start.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::messages::TaskReport;
use crate::backend::{Order, WorkerEvent};
use crate::name::WorkerId;
use crate::supervisor::app_context::AppContext;

/// Starts processes for the task of an app. Clones do so for the same one.
#[derive(Clone)]
pub(super) struct WorkerStarter {
    pub(super) ctx: AppContext,
    /// The channel on which the backend sends their events.
    pub(super) events: mpsc::Sender<WorkerEvent>,
    pub(super) reports: mpsc::Sender<TaskReport>,
}

impl WorkerStarter {
    /// Has the backend start it; [`TaskReport::Started`] follows.
    pub(super) fn start(&self, order: Order) {
        // No event of it can have come yet.
        drop(self.enrol(order.worker));
        let (backend, reports) = (Arc::clone(&self.ctx.backend), self.reports.clone());
        self.ctx.stop.spawn("worker start", async move {
            let worker = order.worker;
            let started = backend.start(order).await;
            // The task of the app is there as long as it has a worker or a job.
            reports.send(TaskReport::Started(worker, started)).await.ok();
        });
    }

    /// Takes the events of what an earlier server has left; returns those since it was found.
    pub(super) fn enrol(&self, worker: WorkerId) -> Vec<WorkerEvent> {
        self.ctx.router.enrol(worker, self.events.clone())
    }
}
