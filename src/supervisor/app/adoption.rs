//! Owns what becomes of workers that outlived their server: which go on to serve, and which are replaced.
//!
//! Never here: finding them (`backend`), or the plan that replaces the others.
//!
//! ```text
//!   of the generation that served ─┬─ would be started the same way now ──→ asked, then that generation goes on
//!                                  └─ would not ──→ it serves until a new generation is ready
//!   of another generation, or of no app ──→ told to end
//! ```

use std::path::Path;
use std::time::SystemTime;

use crate::backend::{Signal, SurvivingWorker};
use crate::name::GenerationId;
use crate::spec::AppSpec;
use crate::supervisor::app_context::AppContext;

/// The workers of an app that an earlier server has left.
pub(super) struct Adoption {
    /// The latest generation of any of these workers.
    pub(super) latest: GenerationId,
    /// The workers that go on, all of one generation, and whether further workers of it can be started.
    pub(super) serving: Option<(GenerationId, Vec<SurvivingWorker>, Starts)>,
}

impl Adoption {
    /// Decides about the surviving workers of an app that was read as `spec`; those that do not go on are told to end.
    pub(super) fn of(spec: &AppSpec, surviving: Vec<SurvivingWorker>, ctx: &AppContext) -> Self {
        let latest = surviving.iter().map(|worker| worker.generation).max().unwrap_or_default();
        let fits = |worker: &SurvivingWorker| fits(spec, worker, ctx);
        let newest = || surviving.iter().filter(|worker| fits(worker)).map(|worker| worker.generation).max();
        let served = ctx.serving_generations.current(&spec.name).or_else(newest);
        let (mine, others): (Vec<_>, Vec<_>) =
            surviving.into_iter().partition(|worker| Some(worker.generation) == served);
        for SurvivingWorker { worker, generation, .. } in others {
            tracing::info!(app = %spec.name, %worker, %generation, "worker of another generation is told to end");
            ctx.router.forget(worker);
            ctx.backend.signal(worker, Signal::Terminate);
        }
        let starts = if mine.iter().all(fits) { Starts::Alike } else { Starts::Never };
        let serving = served.filter(|_| !mine.is_empty());
        Self { latest, serving: serving.map(|generation| (generation, mine, starts)) }
    }
}

/// Whether a worker runs what would be started now.
fn fits(spec: &AppSpec, worker: &SurvivingWorker, ctx: &AppContext) -> bool {
    let same = ctx.backend.fingerprint(&spec.launch) == worker.fingerprint;
    same && !spec.entry.as_deref().is_some_and(|entry| is_newer(entry, worker.since))
}

/// Whether the entry file is newer. An entry that cannot be looked at is no reason to end running workers.
fn is_newer(entry: &Path, than: SystemTime) -> bool {
    let changed = std::fs::metadata(entry).and_then(|entry| entry.modified());
    changed.is_ok_and(|changed| changed > than)
}

/// Whether further workers of an adopted generation can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor::app) enum Starts {
    /// Further workers are started as those that were found.
    Alike,
    Never,
}
