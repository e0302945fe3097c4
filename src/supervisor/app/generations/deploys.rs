//! Owns the generations of an app: which serves, which is a candidate, and how one comes and goes: asked for, read,
//! tried out, promoted, taken back, rejected, superseded.
//!
//! Never here: when a candidate is promoted (`plan`), how often it may fail (`crash_budget`), or a worker (`workers`).

mod holding;
mod lines;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api::{DeployEvent, Rejection};
use crate::directory::App;
use crate::name::GenerationId;
use crate::pool::{Mode, PoolWriter};
use crate::spec::canary::CanaryWish;
use crate::spec::{AppSpec, WorkerRange};

use super::app_reader::AppReader;
use super::autoscaler::{Load, Resize};
use super::crash_budget::{CrashBudget, TrialVerdict};
use super::deploy::{Deploy, Generation};
use super::generation_set::{GenerationSet, ReleaseEnd};
use super::probation::{Probation, ProbationVerdict};
use super::worker_output::WorkerOutput;
use crate::supervisor::app::adoption::Starts;
use crate::supervisor::app::deploy_observer::DeployObserver;
use crate::supervisor::app::facts::FactsWriter;
use crate::supervisor::app::messages::TaskReport;
use crate::supervisor::app::worker_state::WorkerFailure;
use crate::supervisor::app_context::AppContext;
use crate::supervisor::files::content::Content;
use crate::supervisor::supervisor_error::ResolveError;

/// The generations of an app.
pub(in crate::supervisor::app) struct Deploys {
    app: Arc<App>,
    ctx: AppContext,
    pool: PoolWriter,
    facts: FactsWriter,
    output: WorkerOutput,
    reader: AppReader,
    set: GenerationSet,
    /// The last generation that was given a number.
    latest: GenerationId,
}

impl Deploys {
    /// Begins without a generation for an app that was read as `spec`; the first generation will have the number after
    /// `latest`.
    pub(in crate::supervisor::app) fn new(
        app: Arc<App>,
        ctx: AppContext,
        pool: PoolWriter,
        facts: FactsWriter,
        spec: Arc<AppSpec>,
        latest: GenerationId,
        reports: mpsc::Sender<TaskReport>,
    ) -> Self {
        let reader = AppReader::new(ctx.clone(), reports);
        let output = WorkerOutput::new(app.name.clone(), ctx.clone());
        let set = GenerationSet::new(spec, ctx.cores);
        Self { app, ctx, pool, facts, output, reader, set, latest }
    }

    /// The generations as they are now.
    pub(in crate::supervisor::app) fn set(&self) -> &GenerationSet {
        &self.set
    }

    /// Sets the number of workers that the app is to have from now on; returns the wanted number before and after.
    pub(in crate::supervisor::app) fn scale(&mut self, count: WorkerRange) -> (usize, usize) {
        let before = self.set.wanted();
        self.set.scaled = Some(count);
        self.begin_scaling_anew();
        (before, self.set.wanted())
    }

    /// Has the number of workers follow the load.
    pub(in crate::supervisor::app) fn follow_load(&mut self, load: &Load, now: Instant) {
        let rested = self.set.is_resting();
        let change = self.set.follow_load(load, now);
        let rests = self.set.is_resting();
        if rests != rested {
            self.pool.set_mode(if rests { Mode::Resting } else { Mode::Open });
        }
        let Some(Resize { from, to, cause, why, .. }) = change else { return };
        tracing::info!(app = %self.app.name, from, to, why, "workers: {from} → {to}: {why}");
        self.app.metrics.scaled(cause);
    }

    fn begin_scaling_anew(&mut self) {
        self.set.autoscaler.begin_anew(Instant::now());
        self.pool.set_mode(Mode::Open);
    }

    /// Lets a generation serve of which an earlier server has left `workers` workers. `Starts::Never`: nobody knows any
    /// more how its workers are started.
    pub(in crate::supervisor::app) fn adopt(
        &mut self,
        generation: GenerationId,
        workers: usize,
        starts: Starts,
    ) {
        self.set.autoscaler.adopt(workers);
        let mut adopted = Generation::adopted(generation, Arc::clone(&self.set.spec));
        if starts == Starts::Never {
            adopted.budget = CrashBudget::closed();
        }
        self.set.current = Some(adopted);
        self.pool.set_mode(Mode::Open);
        self.pool.promote(generation);
    }

    /// Tries out the spec that was read when the app became known.
    pub(in crate::supervisor::app) fn begin_first(&mut self, observer: Option<DeployObserver>) {
        let id = self.next_generation();
        self.set.deploy = Some(Deploy::new(id, observer.into_iter().collect(), Instant::now()));
        self.try_out(Generation::first(id, Arc::clone(&self.set.spec)), None);
        self.reader.look(id, Arc::clone(&self.set.spec));
    }

    /// Keeps the state of a generation's files, which a task has looked at.
    pub(in crate::supervisor::app) fn seen(&mut self, generation: GenerationId, content: Content) {
        self.set.note_content(generation, content, &self.ctx.released_content);
    }

    /// Takes in how release steps have ended.
    pub(in crate::supervisor::app) fn released(&mut self, ended: impl IntoIterator<Item = ReleaseEnd>) {
        for end in ended {
            let rejected = self.set.released(end, &self.ctx.released_content);
            rejected.into_iter().for_each(|why| self.reject(why));
        }
    }

    /// Reads the app anew, to try it out. A deploy that is on its way is superseded, and its observers wait for this
    /// one from then on.
    pub(in crate::supervisor::app) fn begin(
        &mut self,
        observer: Option<DeployObserver>,
        why: &str,
        wish: Option<CanaryWish>,
    ) {
        let id = self.supersede(observer);
        if let Some(deploy) = &mut self.set.deploy {
            deploy.wish = wish;
        }
        tracing::info!(app = %self.app.name, generation = %id, why, "deploy begins");
        self.reader.read(id, &self.set.spec);
    }

    /// Makes a candidate of the generation that served before, as it was then: the app is not read anew.
    ///
    /// # Errors
    /// The generation that serves, where none is known that served before it.
    pub(in crate::supervisor::app) fn roll_back(
        &mut self,
        mut observer: Option<DeployObserver>,
    ) -> Result<(), GenerationId> {
        if self.is_refused(&mut observer, "rollback asked for") {
            return Ok(());
        }
        let serving = self.set.current.as_ref().ok_or_else(GenerationId::default)?;
        let earlier = self.set.earlier().cloned().ok_or(serving.id)?;
        let caveat = earlier.caveat(serving);
        let id = self.supersede(observer);
        let note = format!("generation {id} is generation {} again, {caveat}", earlier.id);
        tracing::info!(app = %self.app.name, generation = %id, again = %earlier.id, "rollback begins");
        self.try_out(earlier.again(id), Some(note));
        Ok(())
    }

    /// Begins a deploy in the place of one on its way; whoever waits for that one waits for this one from then on.
    fn supersede(&mut self, observer: Option<DeployObserver>) -> GenerationId {
        let mut observers = self.end_deploy().map(|deploy| deploy.superseded(&self.app)).unwrap_or_default();
        observers.extend(observer);
        self.end_canary();
        let id = self.next_generation();
        let mut deploy = Deploy::new(id, observers, Instant::now());
        deploy.reloading = Some(self.ctx.reload_notices.begin());
        self.set.deploy = Some(deploy);
        id
    }

    /// Takes in the app as it was read for the deploy on its way; returns whether there is a candidate now.
    pub(in crate::supervisor::app) fn resolved(
        &mut self,
        generation: GenerationId,
        read: Result<AppSpec, ResolveError>,
        content: Option<Content>,
    ) -> bool {
        match read {
            Ok(spec) if spec.name != self.app.name => {
                let name = &spec.name;
                self.reject(format!("the app calls itself `{name}` now: a new name needs a new start"));
                false
            }
            Ok(spec) => {
                if let Some(why) = self.set.fault_of_wish(&spec) {
                    self.reject(why);
                    return false;
                }
                let mut candidate = Generation { content, ..Generation::new(generation, Arc::new(spec)) };
                let note = self.set.note_about(&mut candidate, &self.ctx.released_content);
                self.try_out(candidate, note);
                true
            }
            Err(error) => {
                self.reject(error.to_string());
                false
            }
        }
    }

    /// Tries a candidate out; `note` is what the observers of the deploy should know.
    fn try_out(&mut self, candidate: Generation, note: Option<String>) {
        self.set.spec = Arc::clone(&candidate.spec);
        let Some(deploy) = &mut self.set.deploy else { return };
        let (app, generation) = (self.app.name.clone(), deploy.id);
        if let Some(note) = &note {
            tracing::info!(%app, %generation, "{note}");
        }
        deploy.is_rollback = candidate.again.is_some();
        deploy.candidate = Some(candidate);
        self.pool.set_mode(Mode::Open);
        let workers = self.set.wanted();
        if let Some(deploy) = &self.set.deploy {
            deploy.tell(DeployEvent::Starting { app, generation, workers, note });
        }
    }

    /// Notes that one more worker of a generation is ready, `ready` in all.
    pub(in crate::supervisor::app) fn worker_ready(&mut self, generation: GenerationId, ready: usize) {
        if let Some(deploy) = self.set.deploy.as_ref().filter(|deploy| deploy.id == generation) {
            let (app, workers) = (self.app.name.clone(), self.set.wanted());
            deploy.tell(DeployEvent::Ready { app, generation, ready, workers });
        }
        // An adopted generation is known to serve only when one of its workers has answered.
        let adopted = self.set.current.as_ref().filter(|current| current.id == generation);
        if let Some(current) = adopted.filter(|_| !self.facts.is_settled() && self.set.deploy.is_none()) {
            self.facts.serves(&current.spec);
        }
    }

    /// Makes the candidate serve from now on. `has_ready`: whether a generation has a worker that is ready.
    pub(in crate::supervisor::app) fn promote(
        &mut self,
        generation: GenerationId,
        has_ready: impl FnOnce(GenerationId) -> bool,
    ) {
        self.end_candidate_output(generation);
        self.output.forget_candidate();
        let Some(mut deploy) = self.set.deploy.take_if(|deploy| deploy.id == generation) else { return };
        let Some(candidate) = deploy.candidate.take() else { return };
        if let Some(wish) = deploy.wish {
            return self.hold(candidate, deploy, wish);
        }
        let from = self.set.current.as_ref().map(|current| current.id.0);
        let ms = u64::try_from(deploy.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(app = %self.app.name, generation = %generation, from, ms, "generation serves");
        self.set.rejected = None;
        let limit = candidate.spec.rules.timeouts.probation;
        let served = self.hand_over(candidate);
        let before = match self.set.probation.take() {
            None => served,
            // The generation had not passed its probation: the one that it would have been taken back to stays.
            Some(earlier) => {
                deploy.follow(earlier.deploy.superseded(&self.app));
                Some(earlier.before)
            }
        };
        if let Some(before) = &before {
            self.set.remember(before);
        }
        match before.filter(|before| !limit.is_zero() && has_ready(before.id)) {
            None => deploy.done(&self.app, ms),
            Some(before) => {
                let app = self.app.name.clone();
                let probation = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                deploy.tell(DeployEvent::Serving { app, generation, ms, probation });
                self.set.probation = Some(Probation::new(before, deploy, ms, limit, Instant::now()));
            }
        }
    }

    /// Lets a generation serve, in one step; returns the one that served.
    fn hand_over(&mut self, to: Generation) -> Option<Generation> {
        self.app.rules.store(Arc::clone(&to.spec.rules));
        self.pool.set_max_queue(to.spec.rules.max_queue);
        self.pool.promote(to.id);
        self.begin_scaling_anew();
        self.ctx.serving_generations.note(&self.app.name, to.id);
        self.facts.serves(&to.spec);
        self.set.current.replace(to)
    }

    /// Ends a probation whose time is over.
    pub(in crate::supervisor::app) fn end_probation(&mut self, now: Instant) {
        let Some(Probation { deploy, ms, .. }) =
            self.set.probation.take_if(|probation| now >= probation.until)
        else {
            return;
        };
        tracing::info!(app = %self.app.name, generation = %deploy.id, "generation has passed its probation");
        deploy.done(&self.app, ms);
    }

    /// Takes the serving generation back: the one before it serves again with its workers, which were kept for that.
    fn take_back(&mut self, why: &str) {
        let Some(probation) = self.set.probation.take() else { return };
        let served = probation.served(Instant::now()).as_secs_f64();
        let Probation { before, deploy, .. } = probation;
        drop(self.abort("the generation beside it was taken back"));
        let (app, generation, serving) = (self.app.name.clone(), deploy.id, before.id);
        let reason =
            format!("{why}, {served:.1} s after it began to serve: generation {serving} serves again");
        tracing::error!(%app, %generation, %serving, reason, "generation taken back");
        let rejection = self.rejection(&deploy, reason);
        self.set.take_from_memory(before.id);
        self.hand_over(before);
        deploy.end(DeployEvent::Rejected { app, rejection });
    }

    /// Counts and keeps a rejection, with the lines of the workers.
    fn rejection(&mut self, deploy: &Deploy, reason: String) -> Rejection {
        deploy.count(&self.app, "rejected");
        let rejection = Rejection { generation: deploy.id, reason, output: deploy.output() };
        self.output.quote(deploy.id, &rejection.output);
        self.set.rejected = Some(rejection.clone());
        rejection
    }

    /// Takes in that a worker has failed, with what follows for its generation.
    pub(in crate::supervisor::app) fn worker_failed(
        &mut self,
        generation: GenerationId,
        failure: WorkerFailure,
        why: &str,
    ) {
        if let Some(current) = self.set.current.as_mut().filter(|current| current.id == generation) {
            // A serving generation has proved itself: its workers are started again for as long as it takes.
            current.failed(failure, why);
            self.current_failed(format!("a worker {why}"));
            return;
        }
        let candidate = self.set.deploy.as_mut().and_then(|deploy| deploy.candidate.as_mut());
        let Some(candidate) = candidate.filter(|candidate| candidate.id == generation) else {
            return self.canary_failed(generation, failure, why);
        };
        if candidate.failed(failure, why) == TrialVerdict::Reject {
            let failures = candidate.budget.failures();
            let times =
                if failures > 1 { format!(", the last of {failures} failures") } else { String::new() };
            self.reject(format!("a worker {why}{times}"));
        }
    }

    fn current_failed(&mut self, reason: String) {
        let wanted = self.set.current.as_ref().map_or(0, |current| self.set.wanted_of(&current.spec));
        let serving = self.set.current.as_ref().map(|current| current.id);
        let tried = self.set.probation.as_mut().filter(|probation| Some(probation.deploy.id) == serving);
        if tried.map(|probation| probation.failed(wanted)) == Some(ProbationVerdict::TakenBack) {
            self.take_back(&reason);
            return;
        }
        // An adopted worker that does not answer is replaced, and nobody waits for that.
        if !self.facts.is_settled() && self.set.deploy.is_none() {
            self.facts.does_not_serve(reason);
        }
    }

    /// Ends the deploy as rejected; the old generation goes on. Without one the app takes no requests until it is
    /// deployed or changed.
    fn reject(&mut self, reason: String) {
        let Some(deploy) = self.end_deploy() else { return };
        let (app, generation) = (self.app.name.clone(), deploy.id);
        let serving = self.set.current.as_ref().map(|current| current.id.0);
        self.end_canary();
        tracing::error!(%app, %generation, serving, reason, "generation rejected");
        let rejection = self.rejection(&deploy, reason.clone());
        if self.set.current.is_some() {
            self.facts.goes_on();
        } else {
            self.pool.set_mode(Mode::Closed);
            self.facts.does_not_serve(reason);
        }
        deploy.end(DeployEvent::Rejected { app, rejection });
    }

    /// Takes the deploy out, with the lines of its workers.
    fn end_deploy(&mut self) -> Option<Deploy> {
        let id = self.set.deploy.as_ref()?.id;
        self.end_candidate_output(id);
        self.set.deploy.take()
    }

    /// Ends a deploy and a probation because the app ends; nobody is to blame.
    pub(in crate::supervisor::app) fn give_up(&mut self, reason: &str) {
        drop(self.abort(reason));
        let tried = self.set.probation.take().map(|probation| probation.deploy);
        for deploy in [self.end_deploy(), tried].into_iter().flatten() {
            deploy.given_up(&self.app, reason);
        }
    }

    fn next_generation(&mut self) -> GenerationId {
        self.latest = self.latest.next();
        self.latest
    }
}
