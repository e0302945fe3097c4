//! Owns how a generation of an app comes and goes: asked for, read, tried out, promoted, taken back, rejected, superseded.
//!
//! Never here: when one is promoted (`plan`), or how much it may get wrong (`budget`).

use std::sync::Arc;

use tokio::time::Instant;

use crate::api::{DeployEvent, Rejection};
use crate::backend::Signal;
use crate::name::{GenerationId, WorkerId};
use crate::pool::Mode;
use crate::spec::{AppSpec, Reload};

use super::app_task::{AppTask, Outcome};
use super::budget::Verdict;
use super::crew::Record;
use super::probation;
use super::probation::Probation;
use super::rollout::{Generation, Listener, Rollout};
use super::worker::{Failure, State};
use crate::manager::chorus::Chorus;
use crate::manager::error::ResolveError;
use crate::manager::files::app_files::{Fingerprint, Targets, What, seen_by};
use crate::manager::files::watch::{Change, Watch};

impl AppTask {
    /// Tries out what was read when the app became known.
    pub(in crate::manager) fn first_generation(&mut self, spec: Arc<AppSpec>, listener: Option<Listener>) {
        let id = self.next_generation();
        self.rollout = Some(Rollout::new(id, listener.into_iter().collect(), Instant::now()));
        self.try_out(spec);
    }

    /// Reads the app anew, to try out what it has become; a rollout on its way gives way, and whoever waits for that one
    /// waits for this one from then on.
    pub(in crate::manager) fn deploy(&mut self, listener: Option<Listener>, why: &str) {
        if self.stopping {
            return;
        }
        let mut listeners = self.supersede();
        listeners.extend(listener);
        let id = self.next_generation();
        tracing::info!(app = %self.app.name, generation = %id, why, "deploy begins");
        let mut rollout = Rollout::new(id, listeners, Instant::now());
        rollout.reloading = Some(self.around.reloads.begin());
        self.rollout = Some(rollout);
        let (reading, outcomes) = (self.around.read_app(self.spec.path.clone()), self.outcomes.clone());
        let reading = seen_by(Targets::of(&self.spec), reading);
        self.around.stop.spawn("read app", async move {
            let (read, seen) = reading.await;
            // An app that has ended needs it no more.
            outcomes.send(Outcome::Resolved(id, read, seen.map(Box::new))).await.ok();
        });
    }

    /// The app has been read.
    pub(in crate::manager) fn resolved(
        &mut self,
        id: GenerationId,
        read: Result<AppSpec, ResolveError>,
        seen: Option<Fingerprint>,
    ) {
        if self.rollout.as_ref().is_none_or(|rollout| rollout.id != id) {
            return;
        }
        self.read = seen;
        self.take_up(read);
        // Whether that was news could not be told before.
        if let Some(change) = self.changed_meanwhile.take() {
            self.files_changed(change);
        }
    }

    fn take_up(&mut self, read: Result<AppSpec, ResolveError>) {
        match read {
            Ok(spec) if spec.name != self.app.name => {
                let name = &spec.name;
                self.reject(format!("the app calls itself `{name}` now: a new name needs a new start"));
            }
            Ok(spec) => self.try_out(Arc::new(spec)),
            Err(error) => self.reject(error.to_string()),
        }
    }

    fn try_out(&mut self, spec: Arc<AppSpec>) {
        self.spec = Arc::clone(&spec);
        self.look_at_files();
        let Some(rollout) = &mut self.rollout else { return };
        rollout.trial = Some(Generation::new(rollout.id, spec));
        self.pool.set_mode(Mode::Open);
        let workers = self.wanted();
        if let Some(rollout) = &self.rollout {
            let (app, generation) = (self.app.name.clone(), rollout.id);
            rollout.tell(DeployEvent::Starting { app, generation, workers });
        }
    }

    /// One more worker of a generation on trial is ready.
    pub(in crate::manager) fn tell_ready(&self, generation: GenerationId) {
        let Some(rollout) = self.rollout.as_ref().filter(|rollout| rollout.id == generation) else { return };
        let of_it = |state: State, id| state == State::Ready && id == generation;
        let ready = self.crew.values().filter(|record| of_it(record.state, record.generation)).count();
        let (app, workers) = (self.app.name.clone(), self.wanted());
        rollout.tell(DeployEvent::Ready { app, generation, ready, workers });
    }

    /// The generation on trial serves from now on.
    pub(in crate::manager) fn promote(&mut self, generation: GenerationId) {
        // One whose first process has exited is not ready, whatever answers in its place: its end is about to be told.
        if self.ready_of(generation).any(|worker| !self.around.backend.lives(worker)) {
            return;
        }
        self.end_of_trial(generation);
        self.chorus = Chorus::default();
        let Some(mut rollout) = self.rollout.take_if(|rollout| rollout.id == generation) else { return };
        let Some(trial) = rollout.trial.take() else { return };
        let from = self.current.as_ref().map(|current| current.id.0);
        let ms = u64::try_from(rollout.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(app = %self.app.name, generation = %generation, from, ms, "generation serves");
        self.rejected = None;
        let limit = trial.spec.rules.timeouts.probation;
        let served = self.hand_over(trial);
        let before = match self.probation.take() {
            None => served,
            // It had not proved itself: what it would have been taken back to stays.
            Some(earlier) => {
                rollout.follow(self.superseded(earlier.rollout));
                Some(earlier.before)
            }
        };
        match before.filter(|before| !limit.is_zero() && self.ready_of(before.id).next().is_some()) {
            None => self.done(rollout, ms),
            Some(before) => {
                let app = self.app.name.clone();
                let probation = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                rollout.tell(DeployEvent::Serving { app, generation, ms, probation });
                self.probation = Some(Probation::new(before, rollout, ms, limit, Instant::now()));
            }
        }
    }

    /// Lets a generation serve from one moment to the next; returns the one that did.
    fn hand_over(&mut self, to: Generation) -> Option<Generation> {
        self.app.rules.store(Arc::clone(&to.spec.rules));
        self.pool.set_max_queue(to.spec.rules.max_queue);
        self.pool.promote(to.id);
        self.around.ledger.note(&self.app.name, to.id);
        self.serves(&to.spec);
        self.current.replace(to)
    }

    fn done(&self, rollout: Rollout, ms: u64) {
        self.app.metrics.deploy("done");
        let (app, generation) = (self.app.name.clone(), rollout.id);
        rollout.end(DeployEvent::Done { app, generation, ms });
    }

    /// Ends a probation whose time is over.
    pub(in crate::manager) fn end_probation(&mut self, now: Instant) {
        let Some(Probation { rollout, ms, .. }) = self.probation.take_if(|probation| now >= probation.until)
        else {
            return;
        };
        tracing::info!(app = %self.app.name, generation = %rollout.id, "generation has passed its probation");
        self.done(rollout, ms);
    }

    /// The generation before serves again; its workers were kept for that.
    fn take_back(&mut self, why: &str) {
        let Some(probation) = self.probation.take() else { return };
        let served = probation.served(Instant::now()).as_secs_f64();
        let Probation { before, rollout, .. } = probation;
        let (app, generation, serving) = (self.app.name.clone(), rollout.id, before.id);
        let reason =
            format!("{why}, {served:.1} s after it began to serve: generation {serving} serves again");
        tracing::error!(%app, %generation, %serving, reason, "generation taken back");
        self.app.metrics.deploy("rejected");
        let rejection = Rejection { generation, reason, output: rollout.output() };
        self.quote(generation, &rejection.output);
        self.rejected = Some(rejection.clone());
        self.hand_over(before);
        rollout.end(DeployEvent::Rejected { app, rejection });
    }

    /// The workers of a generation that are ready.
    fn ready_of(&self, generation: GenerationId) -> impl Iterator<Item = WorkerId> {
        let ready = move |record: &Record| record.generation == generation && record.state == State::Ready;
        self.crew.iter().filter(move |(_, record)| ready(record)).map(|(worker, _)| *worker)
    }

    /// Lets others know what serves from now on.
    fn serves(&self, spec: &Arc<AppSpec>) {
        self.facts.send_modify(|facts| {
            facts.settled = true;
            facts.rejected = None;
            facts.serving = Some(Arc::clone(spec));
        });
        self.around.news.notify_one();
    }

    /// A generation that was adopted is known to serve only once one of its workers has answered.
    pub(in crate::manager) fn adopted_serves(&self, generation: GenerationId) {
        let adopted = self.current.as_ref().filter(|current| current.id == generation);
        if let Some(current) = adopted.filter(|_| !self.facts.borrow().settled && self.rollout.is_none()) {
            self.serves(&current.spec);
        }
    }

    /// A worker has failed: what that means for its generation.
    pub(in crate::manager) fn failed(&mut self, generation: GenerationId, failure: Failure, why: &str) {
        let now = Instant::now();
        if let Some(current) = self.current.as_mut().filter(|current| current.id == generation) {
            // What serves has served: it is started again for as long as it takes.
            current.budget.failed(failure, now);
            current.last_failure = Some(why.to_owned());
            let reason = format!("a worker {why}");
            let wanted = self.scaled.unwrap_or(current.spec.workers).resolve(self.around.cores);
            let tried = self.probation.as_mut().filter(|probation| probation.rollout.id == generation);
            if tried.map(|probation| probation.failed(wanted)) == Some(probation::Verdict::TakenBack) {
                self.take_back(&reason);
                return;
            }
            self.facts.send_if_modified(|facts| {
                // One that was adopted and does not answer: it is replaced, and nobody waits for that.
                let news = !facts.settled && self.rollout.is_none();
                if news {
                    facts.settled = true;
                    facts.rejected = Some(reason);
                }
                news
            });
            return;
        }
        let trial = self.rollout.as_mut().and_then(|rollout| rollout.trial.as_mut());
        let Some(trial) = trial.filter(|trial| trial.id == generation) else { return };
        trial.last_failure = Some(why.to_owned());
        if trial.budget.failed(failure, now) == Verdict::Reject {
            let failures = trial.budget.failures();
            let times =
                if failures > 1 { format!(", the last of {failures} failures") } else { String::new() };
            self.reject(format!("a worker {why}{times}"));
        }
    }

    /// The rollout ends as if it had never been; the old generation goes on. Without one the app takes no requests
    /// until it is deployed or changed.
    fn reject(&mut self, reason: String) {
        let Some(rollout) = self.end_rollout() else { return };
        let (app, generation) = (self.app.name.clone(), rollout.id);
        let serving = self.current.as_ref().map(|current| current.id.0);
        tracing::error!(%app, %generation, serving, reason, "generation rejected");
        self.app.metrics.deploy("rejected");
        let rejection = Rejection { generation, reason: reason.clone(), output: rollout.output() };
        self.quote(generation, &rejection.output);
        self.rejected = Some(rejection.clone());
        if self.current.is_none() {
            self.pool.set_mode(Mode::Closed);
        }
        let serves = self.current.is_some();
        self.facts.send_modify(|facts| {
            facts.settled = true;
            facts.rejected = (!serves).then_some(reason);
        });
        self.around.news.notify_one();
        rollout.end(DeployEvent::Rejected { app, rejection });
    }

    /// Takes the rollout out, with all that its workers wrote.
    fn end_rollout(&mut self) -> Option<Rollout> {
        let id = self.rollout.as_ref()?.id;
        self.end_of_trial(id);
        self.rollout.take()
    }

    /// Gives way to a later deploy; returns whoever waits.
    fn supersede(&mut self) -> Vec<Listener> {
        self.changed_meanwhile = None;
        self.end_rollout().map(|rollout| self.superseded(rollout)).unwrap_or_default()
    }

    fn superseded(&self, rollout: Rollout) -> Vec<Listener> {
        let (app, generation) = (self.app.name.clone(), rollout.id);
        tracing::info!(%app, %generation, "generation superseded by a later deploy");
        self.app.metrics.deploy("superseded");
        rollout.supersede(DeployEvent::Superseded { app, generation })
    }

    /// Ends a rollout and a probation because the app ends; nobody is to blame.
    pub(in crate::manager) fn give_up_rollout(&mut self, reason: &str) {
        let tried = self.probation.take().map(|probation| probation.rollout);
        for rollout in [self.end_rollout(), tried].into_iter().flatten() {
            let (app, generation) = (self.app.name.clone(), rollout.id);
            tracing::info!(%app, %generation, reason, "deploy given up");
            let rejection = Rejection { generation, reason: reason.into(), output: rollout.output() };
            rollout.end(DeployEvent::Rejected { app, rejection });
        }
    }

    /// The files of the app have changed.
    pub(in crate::manager) fn files_changed(&mut self, change: Change) {
        let reading = self.rollout.as_ref().is_some_and(|rollout| rollout.trial.is_none());
        if reading {
            self.changed_meanwhile = Some(change);
            return;
        }
        if self.watch.as_ref().is_none_or(|watch| *watch.targets() != change.targets) {
            // The deploy that has just read the app looks at other files now, and has begun with what it has read.
            return;
        }
        if self.read.as_ref() == Some(&change.found) {
            tracing::debug!(app = %self.app.name, "files changed before the last deploy read them: nothing to do");
            return;
        }
        // A worker that looks for itself looks at its entry alone.
        let told = match change.what {
            What::Entry => true,
            What::Sources => self.spec.reload_signal.is_some(),
            What::Settings => false,
        };
        let loads_itself = self.current.is_some() && self.rollout.is_none() && told;
        match self.spec.reload {
            Reload::None => {}
            Reload::Module if loads_itself => self.signal_reload(),
            Reload::Process | Reload::Module => match change.what {
                What::Entry => self.deploy(None, "its entry changed"),
                What::Sources => self.deploy(None, "a file that `watch` names changed"),
                What::Settings => self.deploy(None, "its settings or its folder changed"),
            },
        }
    }

    fn signal_reload(&mut self) {
        let Some(signal) = self.spec.reload_signal else { return };
        tracing::info!(app = %self.app.name, ?signal, "entry changed: workers are told to load it anew");
        for (worker, record) in &mut self.crew {
            match record.state {
                State::Ready => self.around.backend.signal(*worker, Signal::Reload(signal)),
                // It may have loaded the old code already, and may not yet survive the signal.
                State::Starting { .. } => record.reload_when_ready = true,
                State::Draining { .. } | State::Stopping { .. } | State::Exited => {}
            }
        }
    }

    /// Looks at the files of what was adopted.
    pub(in crate::manager) fn look_at_files_of(&mut self, spec: &Arc<AppSpec>) {
        self.spec = Arc::clone(spec);
        self.look_at_files();
    }

    fn look_at_files(&mut self) {
        if self.spec.reload == Reload::None {
            self.watch = None;
            return;
        }
        let targets = Targets::of(&self.spec);
        if self.watch.as_ref().is_none_or(|watch| *watch.targets() != targets) {
            self.watch =
                Some(Watch::start(targets, self.read.clone(), self.changes.clone(), &self.around.stop));
        }
    }

    fn next_generation(&mut self) -> GenerationId {
        self.latest = self.latest.next();
        self.latest
    }
}
