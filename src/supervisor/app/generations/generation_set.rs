//! Owns which generations an app has: the one that serves, the candidate, the one on probation, and how many workers
//! each is to have.
//!
//! Never here: how one comes and goes (`deploys`).

use std::sync::Arc;

use tokio::time::Instant;

use crate::api::Rejection;
use crate::name::GenerationId;
use crate::spec::{AppSpec, WorkerCount};
use crate::supervisor::app::plan::{Desired, GenerationTarget};

use super::deploy::{Deploy, Generation};
use super::probation::Probation;

/// The generations of an app.
pub(in crate::supervisor::app) struct GenerationSet {
    /// What the app was when its directory and settings were last read.
    pub(super) spec: Arc<AppSpec>,
    /// The number of workers a person asked for.
    pub(super) scaled: Option<WorkerCount>,
    cores: usize,
    pub(super) current: Option<Generation>,
    pub(super) deploy: Option<Deploy>,
    /// While the current generation may yet be taken back.
    pub(super) probation: Option<Probation>,
    /// Why the last deploy was rejected, if it was.
    pub(super) rejected: Option<Rejection>,
}

impl GenerationSet {
    /// No generation yet, of an app that was read as `spec`, on a machine of so many cores.
    pub(super) fn new(spec: Arc<AppSpec>, cores: usize) -> Self {
        Self { spec, scaled: None, cores, current: None, deploy: None, probation: None, rejected: None }
    }

    /// The app as it was last read.
    pub(in crate::supervisor::app) fn spec(&self) -> &Arc<AppSpec> {
        &self.spec
    }

    pub(in crate::supervisor::app) fn current(&self) -> Option<&Generation> {
        self.current.as_ref()
    }

    /// The deploy on its way.
    pub(in crate::supervisor::app) fn deploy(&self) -> Option<&Deploy> {
        self.deploy.as_ref()
    }

    /// The probation of the generation that serves.
    pub(in crate::supervisor::app) fn probation(&self) -> Option<&Probation> {
        self.probation.as_ref()
    }

    /// Why the last deploy was rejected, if it was.
    pub(in crate::supervisor::app) fn rejected(&self) -> Option<&Rejection> {
        self.rejected.as_ref()
    }

    /// The generation whose workers are kept, in case the current one is taken back.
    pub(in crate::supervisor::app) fn before(&self) -> Option<GenerationId> {
        self.probation.as_ref().map(|probation| probation.before.id)
    }

    fn candidate(&self) -> Option<&Generation> {
        self.deploy.as_ref()?.candidate.as_ref()
    }

    /// What a generation that workers are started of is made of.
    pub(in crate::supervisor::app) fn spec_of(&self, generation: GenerationId) -> Option<Arc<AppSpec>> {
        let mut known = self.current.iter().chain(self.candidate());
        Some(Arc::clone(&known.find(|known| known.id == generation)?.spec))
    }

    /// How many workers there should be once all is done.
    pub(in crate::supervisor::app) fn wanted(&self) -> usize {
        let generation = self.candidate().or(self.current.as_ref());
        self.wanted_of(generation.map_or(&self.spec, |generation| &generation.spec))
    }

    pub(super) fn wanted_of(&self, spec: &AppSpec) -> usize {
        self.scaled.unwrap_or(spec.upkeep.workers).resolve(self.cores)
    }

    /// What the workers should come to.
    pub(in crate::supervisor::app) fn desired(&self, now: Instant) -> Desired {
        let target = |generation: &Generation| GenerationTarget {
            generation: generation.id,
            count: self.wanted_of(&generation.spec),
            may_start: generation.budget.allows(now),
        };
        Desired {
            current: self.current.as_ref().map(target),
            candidate: self.candidate().map(target),
            before: self.before(),
        }
    }

    /// When a pause before a start, or the probation, is over.
    pub(in crate::supervisor::app) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let generations = self.current.iter().chain(self.candidate());
        let pauses = generations.filter_map(|generation| generation.budget.paused_until(now));
        pauses.chain(self.probation.as_ref().map(|probation| probation.until)).min()
    }

    /// Whether the app is being read.
    pub(in crate::supervisor::app) fn is_reading(&self) -> bool {
        self.deploy.as_ref().is_some_and(|deploy| deploy.candidate.is_none())
    }
}
