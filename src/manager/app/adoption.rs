//! Owns what becomes of workers that outlived the server that started them: which are gone on with, which give way.
//!
//! Never here: finding them (`backend`), or the plan that replaces the others.
//!
//! ```text
//!   of the generation that served ─┬─ would be started the same way now ──→ asked, then that generation goes on
//!                                  └─ would not ──→ it serves until a new generation is ready
//!   of another generation, or of no app ──→ told to end
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::backend::{Signal, Survivor};
use crate::name::GenerationId;
use crate::pool::Mode;
use crate::spec::{AppSpec, ReadyBy};

use super::app_task::AppTask;
use super::budget::Budget;
use super::crew::Record;
use super::rollout::{Generation, Listener};
use super::worker::Event;

impl AppTask {
    /// Begins with what an earlier server left, if that is any good, else with a first generation.
    pub(in crate::manager) fn begin(
        &mut self,
        spec: AppSpec,
        listener: Option<Listener>,
        survivors: Vec<Survivor>,
    ) {
        let spec = Arc::new(spec);
        self.latest = survivors.iter().map(|survivor| survivor.generation).max().unwrap_or_default();
        let served =
            self.around.ledger.current(&self.app.name).or_else(|| self.newest_that_fits(&spec, &survivors));
        let (mine, others): (Vec<_>, Vec<_>) =
            survivors.into_iter().partition(|survivor| Some(survivor.generation) == served);
        for other in others {
            let (worker, generation) = (other.worker, other.generation);
            tracing::info!(app = %self.app.name, %worker, %generation, "worker of another generation is told to end");
            self.around.post.forget(worker);
            self.around.backend.signal(worker, Signal::Terminate);
        }
        let Some(generation) = served.filter(|_| !mine.is_empty()) else {
            return self.first_generation(spec, listener);
        };
        let fits = mine.iter().all(|survivor| self.fits(&spec, survivor));
        self.take_over(generation, &spec, mine);
        if fits {
            self.look_at_files_of(&spec);
            drop(listener);
        } else {
            // It serves until the new one does, and is not started again: nobody knows any more how.
            self.close_current();
            self.first_generation(spec, listener);
        }
    }

    fn newest_that_fits(&self, spec: &AppSpec, survivors: &[Survivor]) -> Option<GenerationId> {
        let fitting = survivors.iter().filter(|survivor| self.fits(spec, survivor));
        fitting.map(|survivor| survivor.generation).max()
    }

    /// Whether it runs what would be started now.
    fn fits(&self, spec: &AppSpec, survivor: &Survivor) -> bool {
        let same = self.around.backend.fingerprint(&spec.launch) == survivor.fingerprint;
        same && !spec.entry.as_deref().is_some_and(|entry| is_newer(entry, survivor.since))
    }

    fn take_over(&mut self, generation: GenerationId, spec: &Arc<AppSpec>, survivors: Vec<Survivor>) {
        self.spec = Arc::clone(spec);
        self.current = Some(Generation::new(generation, Arc::clone(spec)));
        self.pool.set_mode(Mode::Open);
        self.pool.promote(generation);
        for survivor in survivors {
            let worker = survivor.worker;
            tracing::info!(app = %self.app.name, %worker, %generation, pid = survivor.started.pid, "worker is adopted");
            self.app.metrics.worker_adopted();
            let happened = self.around.post.enrol(worker, self.events.clone());
            let mut record = Record::new(generation, Arc::clone(spec), Instant::now());
            record.adopt(survivor.started, age(survivor.since));
            self.crew.insert(worker, record);
            let happened_before = if spec.ready_by == ReadyBy::Notify {
                // What it said was said to the server before, and it is not to be asked.
                Event::Ready
            } else {
                Event::Started
            };
            self.feed(worker, happened_before, "left by an earlier server");
            happened.into_iter().for_each(|event| self.happened(event));
        }
    }

    fn close_current(&mut self) {
        if let Some(current) = &mut self.current {
            current.budget = Budget::closed();
        }
    }
}

/// An entry that cannot be looked at is no reason to end what runs.
fn is_newer(entry: &Path, than: SystemTime) -> bool {
    let changed = std::fs::metadata(entry).and_then(|entry| entry.modified());
    changed.is_ok_and(|changed| changed > than)
}

/// The clock may have been set back meanwhile.
fn age(since: SystemTime) -> Duration {
    SystemTime::now().duration_since(since).unwrap_or_default()
}
