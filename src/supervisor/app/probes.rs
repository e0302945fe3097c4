//! Owns the tasks that find out whether a worker takes requests: one that starts, and one that let a request's time
//! pass.
//!
//! Never here: how a worker is probed (`probe`, `listen_check`), or what follows from its answer.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{mpsc, watch};

use crate::name::{AppName, WorkerId};
use crate::pool::Address;
use crate::spec::ReadyBy;

use super::listen_check::ListenCheck;
use super::messages::TaskReport;
use super::probe::{Probe, is_silent, silence_limit};
use super::worker_record::{Probing, WorkerRecord};
use crate::supervisor::app_context::AppContext;

/// Starts the tasks that probe the workers of an app.
pub(super) struct Probes {
    app: AppName,
    ctx: AppContext,
    reports: mpsc::Sender<TaskReport>,
    /// The generation for which it was last logged that others can reach its workers.
    exposed: Arc<AtomicU64>,
}

impl Probes {
    pub(super) fn new(app: AppName, ctx: AppContext, reports: mpsc::Sender<TaskReport>) -> Self {
        Self { app, ctx, reports, exposed: Arc::default() }
    }

    /// Finds out when a worker that has a process takes requests.
    pub(super) fn readiness(&self, worker: WorkerId, record: &mut WorkerRecord) {
        let Some(address) = record.address.clone() else { return };
        if record.spec.ready_by == ReadyBy::Notify {
            return self.start(worker, record, address, |check| async move { check.for_ever().await });
        }
        let probe = probe_of(record, address.clone());
        self.start(worker, record, address, |check| async move { check.until_it_answers(&probe).await });
    }

    /// Finds out when a worker that has said that it is ready has the port that it was told.
    pub(super) fn port(&self, worker: WorkerId, record: &mut WorkerRecord, address: Address) {
        self.start(worker, record, address, |check| async move { check.until_it_listens().await });
    }

    fn start<F: Future<Output = ()> + Send + 'static>(
        &self,
        worker: WorkerId,
        record: &mut WorkerRecord,
        address: Address,
        wait: impl FnOnce(ListenCheck) -> F,
    ) {
        let ((met, last), (found, elsewhere)) = (watch::channel(None), watch::channel(None));
        let waiting = wait(ListenCheck {
            backend: Arc::clone(&self.ctx.backend),
            app: self.app.clone(),
            worker,
            generation: record.generation,
            address,
            last: met,
            elsewhere: found,
            exposed: Arc::clone(&self.exposed),
        });
        let reports = self.reports.clone();
        let task = self.ctx.stop.spawn("probe", async move {
            waiting.await;
            // The task of the app is there as long as it has a worker.
            reports.send(TaskReport::Answered(worker)).await.ok();
        });
        record.probing = Some(Probing { task, last, elsewhere });
    }

    /// Finds out whether a worker that let a request's time pass still answers. A worker that takes several requests
    /// may be well although it let the time of one pass. A worker whose event loop stands still answers nobody, and
    /// would never be replaced otherwise.
    pub(super) fn liveness(&self, worker: WorkerId, record: &mut WorkerRecord) {
        let Some(address) = record.address.clone() else { return };
        if std::mem::replace(&mut record.doubted, true) {
            return;
        }
        let probe = probe_of(record, address);
        let limit = silence_limit(record.spec.rules.timeouts.request);
        let reports = self.reports.clone();
        self.ctx.stop.spawn("probe", async move {
            let silent = is_silent(&probe, limit).await;
            // The task of the app is there as long as it has a worker.
            reports.send(TaskReport::Liveness { worker, silent }).await.ok();
        });
    }
}

fn probe_of(record: &WorkerRecord, address: Address) -> Probe {
    let rules = &record.spec.rules;
    Probe::new(address, record.spec.upkeep.ready_path.clone(), rules.protocol, &rules.scripts)
}
