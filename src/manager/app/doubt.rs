//! Workers that the data path complains of: given up at once, or asked first whether they still answer.
//!
//! A worker that takes several requests may be well although it let the time of one pass; one whose event loop stands
//! still answers nobody, and would never be replaced. Never here: what becomes of a worker that is given up (`worker`).

use std::time::Duration;

use crate::name::WorkerId;
use crate::pool::{Condemned, Standing};

use super::app_task::{AppTask, Outcome};
use super::probe::{Question, is_silent};
use super::worker::{Event, Fault};

impl AppTask {
    /// Does what a complaint asks for.
    pub(in crate::manager) fn judge(&mut self, standing: &Standing) {
        let worker = standing.worker;
        if let Some(condemned) = standing.condemned {
            let (fault, why) = fault(condemned);
            if let Some(record) = self.crew.get_mut(&worker) {
                record.condemned = true;
            }
            self.feed(worker, Event::Condemn(fault), why);
        } else if standing.doubted {
            self.ask_whether_it_answers(worker);
        }
    }

    fn ask_whether_it_answers(&mut self, worker: WorkerId) {
        let Some(record) = self.crew.get_mut(&worker) else { return };
        let Some(address) = record.address.clone() else { return };
        if std::mem::replace(&mut record.doubted, true) {
            return;
        }
        let (path, protocol) = (record.spec.ready_path.clone(), record.spec.rules.protocol);
        let limit = record.spec.rules.timeouts.request.clamp(SHORTEST, LONGEST);
        let outcomes = self.outcomes.clone();
        self.around.stop.spawn("probe", async move {
            let silent = is_silent(&Question { address, path, protocol }, limit).await;
            // The task of the app is there as long as it has a worker.
            outcomes.send(Outcome::Doubted { worker, silent }).await.ok();
        });
    }

    /// It has answered, or not.
    pub(in crate::manager) fn settle_doubt(&mut self, worker: WorkerId, silent: bool) {
        let Some(record) = self.crew.get_mut(&worker) else { return };
        record.doubted = false;
        if silent {
            tracing::warn!(app = %self.app.name, %worker, "worker {worker} answers nothing any more");
        } else {
            tracing::debug!(app = %self.app.name, %worker, "worker {worker} was slow with a request, and answers others");
        }
        self.pool.settle(worker, silent.then_some(Condemned::TooSlow));
    }
}

fn fault(condemned: Condemned) -> (Fault, &'static str) {
    match condemned {
        Condemned::TooSlow => (Fault::Stuck, "did not answer within the request time limit"),
        Condemned::Stalled => (Fault::Stuck, "stopped in the middle of an answer"),
        Condemned::Unreachable => (Fault::Broken, "could not be connected to"),
    }
}

/// A worker may be busy with something for a moment.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);
