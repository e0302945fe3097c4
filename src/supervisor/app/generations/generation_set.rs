//! Owns which generations an app has: the one that serves, the candidate, the one on probation, and how many workers
//! each is to have.
//!
//! Never here: how one comes and goes (`deploys`).

use std::sync::Arc;

use tokio::time::Instant;

use crate::api::Rejection;
use crate::name::GenerationId;
use crate::spec::canary::CanaryWish;
use crate::spec::jobs::shown;
use crate::spec::{AppSpec, WorkerRange, span};
use crate::supervisor::app::file_changes::AppActivity;
use crate::supervisor::app::plan::{Desired, GenerationTarget};
use crate::supervisor::files::content::Content;
use crate::supervisor::released_content::ReleasedContent;

use super::autoscaler::{Autoscaler, Load, Resize, Rollout, ScalingLimits};
use super::canary::HeldCanary;
use super::deploy::{Deploy, EarlierGeneration, Generation, KEPT, ReleaseStep};
use super::probation::Probation;

/// The generations of an app.
pub(in crate::supervisor::app) struct GenerationSet {
    /// The app as its directory and settings were last read.
    pub(super) spec: Arc<AppSpec>,
    /// The number of workers that a person asked for.
    pub(super) scaled: Option<WorkerRange>,
    /// How many workers there are where that follows the load.
    pub(super) autoscaler: Autoscaler,
    cores: usize,
    pub(super) current: Option<Generation>,
    pub(super) deploy: Option<Deploy>,
    /// The probation, while the current generation may be taken back.
    pub(super) probation: Option<Probation>,
    /// The generation that a share of the clients gets until somebody decides.
    pub(super) held: Option<HeldCanary>,
    /// Why the last deploy was rejected, if it was.
    pub(super) rejected: Option<Rejection>,
    /// The generations that served before the current one, the latest one last.
    earlier: Vec<EarlierGeneration>,
}

impl GenerationSet {
    /// A set without a generation, of an app that was read as `spec`, on a machine of so many cores.
    pub(super) fn new(spec: Arc<AppSpec>, cores: usize) -> Self {
        let autoscaler = Autoscaler::new(Instant::now());
        Self {
            spec,
            scaled: None,
            autoscaler,
            cores,
            current: None,
            deploy: None,
            probation: None,
            held: None,
            rejected: None,
            earlier: Vec::new(),
        }
    }

    /// The app as it was last read.
    pub(in crate::supervisor::app) fn spec(&self) -> &Arc<AppSpec> {
        &self.spec
    }

    pub(in crate::supervisor::app) fn current(&self) -> Option<&Generation> {
        self.current.as_ref()
    }

    /// The generation that serves, and what it is made of.
    pub(in crate::supervisor::app) fn serving(&self) -> Option<(GenerationId, &Arc<AppSpec>)> {
        self.current.as_ref().map(|current| (current.id, &current.spec))
    }

    /// The state of the app that decides what a change of its files leads to.
    pub(in crate::supervisor::app) fn activity(&self) -> AppActivity {
        match self.deploy {
            _ if self.is_reading() => AppActivity::Reading,
            None if self.current.is_some() => AppActivity::Serving,
            _ => AppActivity::Starting,
        }
    }

    /// The deploy on its way.
    pub(in crate::supervisor::app) fn deploy(&self) -> Option<&Deploy> {
        self.deploy.as_ref()
    }

    /// The probation of the generation that serves.
    pub(in crate::supervisor::app) fn probation(&self) -> Option<&Probation> {
        self.probation.as_ref()
    }

    /// The generation that a share of the clients gets.
    pub(in crate::supervisor::app) fn held(&self) -> Option<&HeldCanary> {
        self.held.as_ref()
    }

    /// Why the last deploy was rejected, if it was.
    pub(in crate::supervisor::app) fn rejected(&self) -> Option<&Rejection> {
        self.rejected.as_ref()
    }

    /// The generation that a rollback brings back.
    pub(in crate::supervisor::app) fn earlier(&self) -> Option<&EarlierGeneration> {
        self.earlier.last()
    }

    /// Keeps the generation from which another one has taken over, so that a rollback can bring it back.
    pub(super) fn remember(&mut self, before: &Generation) {
        if self.earlier.last().is_none_or(|last| last.id != before.id) {
            self.earlier.push(before.earlier());
            let surplus = self.earlier.len().saturating_sub(MOST_EARLIER);
            self.earlier.drain(..surplus);
        }
    }

    /// Forgets the kept generation `before`, because it serves again itself.
    pub(super) fn take_from_memory(&mut self, before: GenerationId) {
        self.earlier.pop_if(|last| last.id == before);
    }

    /// Keeps lines of workers for the message of a rejection. Lines that come after the rejection are added to it for
    /// as long as it has room.
    pub(super) fn note_output(&mut self, generation: GenerationId, lines: &[String]) {
        let tried = self.probation.as_mut().map(|probation| &mut probation.deploy);
        let held = self.held.as_mut().map(|held| &mut held.deploy);
        let mut deploys = self.deploy.as_mut().into_iter().chain(tried).chain(held);
        if let Some(deploy) = deploys.find(|deploy| deploy.id == generation) {
            lines.iter().for_each(|line| deploy.note_output(line));
        } else if let Some(rejected) = &mut self.rejected
            && rejected.generation == generation
        {
            let room = KEPT.saturating_sub(rejected.output.len());
            rejected.output.extend(lines.iter().take(room).cloned());
        }
    }

    /// Notes the files of a generation as they were when it was read.
    pub(super) fn note_content(
        &mut self,
        generation: GenerationId,
        content: Content,
        released: &ReleasedContent,
    ) {
        let candidate = self.deploy.as_mut().and_then(|deploy| deploy.candidate.as_mut());
        let held = self.held.as_mut().map(|held| &mut held.generation);
        let mut known = self.current.iter_mut().chain(candidate).chain(held);
        if let Some(known) = known.find(|known| known.id == generation) {
            known.content = Some(content);
            if known.release == ReleaseStep::Undecided {
                known.decide_release(released);
            }
        }
    }

    /// Decides whether the release step of a new candidate has to run; returns what the observers of its deploy should
    /// know.
    pub(super) fn note_about(
        &self,
        candidate: &mut Generation,
        released: &ReleasedContent,
    ) -> Option<String> {
        let same = candidate.sameness(self.current.as_ref());
        let asked = self.deploy.as_ref().is_some_and(Deploy::is_asked_for);
        if candidate.is_released() || asked {
            return same;
        }
        candidate.decide_release(released);
        let known = candidate.is_released().then(|| {
            let app = &candidate.spec.name;
            format!("its release step has run for this content; `rip-serverctl deploy {app}` runs it again")
        });
        let notes: Vec<_> = same.into_iter().chain(known).collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    /// Takes in how the release step of a candidate has ended; returns why the candidate is to be rejected.
    pub(super) fn released(
        &mut self,
        (generation, how): ReleaseEnd,
        released: &ReleasedContent,
    ) -> Option<String> {
        let candidate = self.deploy.as_mut()?.candidate.as_mut().filter(|known| known.id == generation)?;
        if let Err(why) = how {
            return Some(format!("the release step `{}` {why}", shown(&candidate.spec.jobs.release)));
        }
        candidate.release = ReleaseStep::Done;
        if let Some(word) = candidate.released_word() {
            released.note(&candidate.spec.name, word);
        }
        None
    }

    /// Whether workers of this generation are being tried out.
    pub(super) fn is_tried(&self, generation: GenerationId) -> bool {
        // A release step is alone, so that no other writes what it writes.
        self.candidate().is_some_and(|candidate| candidate.id == generation && candidate.is_released())
    }

    /// The generation whose workers are kept, in case the current one is taken back.
    pub(in crate::supervisor::app) fn before(&self) -> Option<GenerationId> {
        self.probation.as_ref().map(|probation| probation.before.id)
    }

    fn candidate(&self) -> Option<&Generation> {
        self.deploy.as_ref()?.candidate.as_ref()
    }

    /// The candidate whose release step has to run.
    pub(in crate::supervisor::app) fn releasing(&self) -> Option<(GenerationId, &Arc<AppSpec>)> {
        let candidate = self.candidate().filter(|candidate| candidate.release == ReleaseStep::Wanted)?;
        Some((candidate.id, &candidate.spec))
    }

    /// The generations that workers are started of.
    fn known(&self) -> impl Iterator<Item = &Generation> {
        let held = self.held.as_ref().map(|held| &held.generation);
        self.current.iter().chain(self.candidate()).chain(held)
    }

    /// The spec of a generation that workers are started of.
    pub(in crate::supervisor::app) fn spec_of(&self, generation: GenerationId) -> Option<Arc<AppSpec>> {
        let mut known = self.known();
        Some(Arc::clone(&known.find(|known| known.id == generation)?.spec))
    }

    /// How many workers there should be when all is done.
    pub(in crate::supervisor::app) fn wanted(&self) -> usize {
        match (self.candidate(), &self.current) {
            (Some(candidate), _) => self.wanted_of_candidate(&candidate.spec),
            (None, Some(current)) => self.wanted_of(&current.spec),
            (None, None) => self.wanted_of(&self.spec),
        }
    }

    /// How many workers a share of the clients has beside those of the others.
    pub(in crate::supervisor::app) fn wanted_of_canary(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.workers(self.wanted_of(&held.generation.spec)))
    }

    pub(super) fn wanted_of(&self, spec: &AppSpec) -> usize {
        self.autoscaler.count(&self.limits_of(spec))
    }

    /// The number of workers with which a candidate is tried out: at least one, also for an app that rests.
    fn wanted_of_candidate(&self, spec: &AppSpec) -> usize {
        let wanted = self.wanted_of(spec).max(1);
        let wish = self.deploy.as_ref().and_then(|deploy| deploy.wish);
        wish.map_or(wanted, |wish| wish.workers(wanted))
    }

    /// Why an app that was read as `spec` cannot be held as the deploy wishes, if so.
    pub(super) fn fault_of_wish(&self, spec: &AppSpec) -> Option<String> {
        let wish = self.deploy.as_ref()?.wish?;
        let wanted = self.wanted_of(spec).max(1);
        match wish {
            _ if self.current.is_none() => {
                Some("no generation serves that the other clients could get: deploy it to all".into())
            }
            CanaryWish::First(workers) if workers >= wanted => Some(format!(
                "`--first {workers}` is all of its {wanted} workers: deploy it to all, or to fewer"
            )),
            CanaryWish::First(_) | CanaryWish::Percent(_) => None,
        }
    }

    fn limits_of(&self, spec: &AppSpec) -> ScalingLimits {
        let upkeep = &spec.upkeep;
        ScalingLimits {
            workers: self.scaled.unwrap_or(upkeep.workers).resolve(self.cores),
            quiet: upkeep.workers_quiet,
            idle: upkeep.idle,
            memory: upkeep.memory_total,
        }
    }

    /// The generation that serves, if the number of its workers follows the load.
    pub(in crate::supervisor::app) fn scaled_by_load(&self) -> Option<&Generation> {
        self.current
            .as_ref()
            .filter(|current| !self.limits_of(&current.spec).are_fixed() || self.autoscaler.is_resting())
    }

    /// Takes in the load of the generation that serves.
    pub(super) fn follow_load(&mut self, load: &Load, now: Instant) -> Option<Resize> {
        let limits = self.limits_of(&self.current.as_ref()?.spec);
        let rollout = if self.candidate().is_some() { Rollout::Underway } else { Rollout::None };
        self.autoscaler.on(load, &limits, rollout, now)
    }

    /// Whether the app has no worker because nobody asks.
    pub(in crate::supervisor::app) fn is_resting(&self) -> bool {
        self.autoscaler.is_resting()
    }

    /// How the number of workers follows the load, in a sentence; `None`: it does not.
    pub(in crate::supervisor::app) fn scaling(&self, now: Instant) -> Option<String> {
        let limits = self.limits_of(&self.scaled_by_load()?.spec);
        let (least, most) = limits.workers.clone().into_inner();
        let mut text = match (least, most) {
            (1, 1) => "1 worker".to_owned(),
            (least, most) if least == most => format!("{least} workers"),
            (least, most) => format!("{least} to {most} workers by load"),
        };
        if let Some(idle) = limits.idle {
            text += &format!(", none after {} without a request", span(idle));
        }
        text += &format!(": {} now", self.wanted_of(&self.current.as_ref()?.spec));
        if let Some(Resize { at, from, why, .. }) = self.autoscaler.last() {
            text += &format!(", {from} until {} s ago: {why}", (now - *at).as_secs());
        }
        if self.autoscaler.is_cramped() {
            text += "; requests wait, and one more does not fit memory_total";
        }
        Some(text)
    }

    /// The workers that there should be.
    pub(in crate::supervisor::app) fn desired(&self, now: Instant) -> Desired {
        let target = |generation: &Generation, count| GenerationTarget {
            generation: generation.id,
            count,
            may_start: generation.is_released() && generation.budget.allows(now),
        };
        let current = |current: &Generation| target(current, self.wanted_of(&current.spec));
        let candidate = |candidate: &Generation| target(candidate, self.wanted_of_candidate(&candidate.spec));
        Desired {
            current: self.current.as_ref().map(current),
            candidate: self.candidate().map(candidate),
            canary: self.held.as_ref().map(|held| target(&held.generation, self.wanted_of_canary())),
            before: self.before(),
        }
    }

    /// When a pause before a start, or the probation, ends.
    pub(in crate::supervisor::app) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let pauses = self.known().filter_map(|generation| generation.budget.paused_until(now));
        let scaled = self.scaled_by_load().map(|current| self.limits_of(&current.spec));
        let look = scaled.and_then(|limits| self.autoscaler.wake_at(&limits));
        pauses.chain(self.probation.as_ref().map(|probation| probation.until)).chain(look).min()
    }

    /// Whether the app is being read.
    pub(in crate::supervisor::app) fn is_reading(&self) -> bool {
        self.deploy.as_ref().is_some_and(|deploy| deploy.candidate.is_none())
    }
}

/// How the release step of a generation has ended.
pub(in crate::supervisor::app) type ReleaseEnd = (GenerationId, Result<(), String>);

/// The most earlier generations that are kept: one for a rollback, and those behind it for when a generation is taken
/// back and the one before it serves again.
const MOST_EARLIER: usize = 3;
