//! Owns what is done to a single worker: ordered, asked, published, told to go, forgotten.
//!
//! Never here: why. `worker` says what a change of state asks for.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::backend::{Order, Signal};
use crate::name::{GenerationId, WorkerId};
use crate::pool::{Address, Member};
use crate::spec::{AppSpec, ReadyBy};

use super::app_task::{AppTask, Outcome};
use super::crew::{Probing, Record};
use super::lookout::Lookout;
use super::plan::Reason;
use super::probe::Question;
use super::worker::{Action, Event, State};

impl AppTask {
    /// Orders one worker of a generation.
    pub(in crate::manager) fn start_worker(&mut self, generation: GenerationId) {
        let Some(spec) = self.spec_of(generation) else { return };
        let worker = self.around.next_worker();
        // In the place of one that is due: nothing has happened that anybody would want to read of.
        let replaces = self.rollout.is_none() && self.crew.values().any(|record| record.stale.is_some());
        if replaces {
            tracing::trace!(app = %self.app.name, %worker, %generation, from = "", to = "starting", "worker {worker}: starting");
        } else {
            tracing::info!(app = %self.app.name, %worker, %generation, from = "", to = "starting", "worker {worker}: starting");
        }
        // Nothing can have happened to it yet.
        drop(self.around.post.enrol(worker, self.events.clone()));
        self.app.metrics.worker_started();
        let order = Order { worker, generation, launch: Arc::clone(&spec.launch) };
        let mut record = Record::new(generation, spec, Instant::now());
        record.replaces = replaces;
        self.crew.insert(worker, record);
        let (backend, outcomes) = (Arc::clone(&self.around.backend), self.outcomes.clone());
        self.around.stop.spawn("worker start", async move {
            let started = backend.start(order).await;
            // The task of the app is there as long as it has a worker.
            outcomes.send(Outcome::Started(worker, started)).await.ok();
        });
    }

    fn spec_of(&self, generation: GenerationId) -> Option<Arc<AppSpec>> {
        let trial = self.rollout.as_ref().and_then(|rollout| rollout.trial.as_ref());
        let known = [self.current.as_ref(), trial].into_iter().flatten();
        Some(Arc::clone(&known.into_iter().find(|known| known.id == generation)?.spec))
    }

    /// Lets a worker go as the plan says.
    pub(in crate::manager) fn retire(&mut self, worker: WorkerId, reason: Reason) {
        let Some(record) = self.crew.get_mut(&worker) else { return };
        let serving = self.current.as_ref().map(|current| current.id);
        record.recycling = reason == Reason::Recycled;
        let drain = record.spec.rules.timeouts.drain;
        let why = match reason {
            Reason::Superseded if Some(record.generation) < serving => "a newer generation serves".into(),
            Reason::Superseded => "its generation was given up".into(),
            Reason::Recycled => record.stale.clone().unwrap_or_default(),
            Reason::Surplus => "there are more workers than wanted".into(),
        };
        self.feed(worker, Event::Retire(drain), &why);
    }

    /// Moves a worker on and does what its change of state asks for. Workers that are gone hear nothing.
    pub(in crate::manager) fn feed(&mut self, worker: WorkerId, event: Event, why: &str) {
        let now = Instant::now();
        let Some(record) = self.crew.get_mut(&worker) else { return };
        let from = record.state;
        let (to, actions) = from.on(event, record.spec.rules.timeouts.kill, now);
        record.state = to;
        if to.name() != from.name() {
            record.why = (to != State::Ready).then(|| why.into());
            record.ready = if to == State::Ready { Some(now) } else { record.ready };
        }
        let generation = record.generation;
        if matches!(from, State::Starting { .. }) && to.name() != from.name() {
            self.started_or_failed(worker, generation, to);
        }
        self.log(worker, generation, (from, to), &actions, why);
        for action in actions {
            self.act(worker, generation, action, why);
        }
        if let Some(record) = self.crew.get_mut(&worker)
            && !matches!(record.state, State::Starting { .. })
        {
            record.probing = None;
        }
    }

    fn log(
        &self,
        worker: WorkerId,
        generation: GenerationId,
        (from, to): (State, State),
        actions: &[Action],
        why: &str,
    ) {
        let (app, from, to) = (&self.app.name, from.name(), to.name());
        let failed = actions.iter().any(|action| matches!(action, Action::Fail(_) | Action::Kill));
        if from == to && !failed {
            return;
        }
        let record = self.crew.get(&worker).filter(|_| !failed);
        if let Some(due) = record.filter(|record| record.recycling && to == "exited") {
            let reason = due.stale.as_deref().unwrap_or_default();
            tracing::debug!(%app, %worker, %generation, from, to, why, "worker {worker} was recycled: {reason}");
        } else if record.is_some_and(|record| record.recycling || (record.replaces && from == "starting")) {
            // One line for each is enough, and that only for whoever asks for it.
            tracing::trace!(%app, %worker, %generation, from, to, why, "worker {worker}: {from} → {to}: {why}");
        } else if failed || (to == "stopping" && from == "ready") {
            tracing::warn!(%app, %worker, %generation, from, to, why, "worker {worker}: {from} → {to}: {why}");
        } else {
            tracing::info!(%app, %worker, %generation, from, to, why, "worker {worker}: {from} → {to}: {why}");
        }
    }

    fn act(&mut self, worker: WorkerId, generation: GenerationId, action: Action, why: &str) {
        match action {
            Action::Probe => self.probe(worker),
            Action::Publish => self.publish(worker, generation),
            Action::Withdraw => self.pool.retire(worker),
            Action::Terminate => self.around.backend.signal(worker, Signal::Terminate),
            Action::Kill => self.around.backend.signal(worker, Signal::Kill),
            Action::Fail(failure) => self.failed(generation, failure, why),
            Action::Forget => self.forget(worker),
        }
    }

    fn probe(&mut self, worker: WorkerId) {
        let Some(record) = self.crew.get_mut(&worker) else { return };
        let Some(address) = record.address.clone() else { return };
        if record.spec.ready_by == ReadyBy::Notify {
            return self.look_out(worker, address, |lookout| async move { lookout.for_ever().await });
        }
        let (path, protocol) = (record.spec.ready_path.clone(), record.spec.rules.protocol);
        let question = Question { address: address.clone(), path, protocol };
        self.look_out(
            worker,
            address,
            move |lookout| async move { lookout.until_it_answers(&question).await },
        );
    }

    /// A worker that has said that it is ready is when the port that it was told is its own.
    pub(in crate::manager) fn confirm(&mut self, worker: WorkerId, address: Address) {
        self.look_out(worker, address, |lookout| async move { lookout.until_it_listens().await });
    }

    fn look_out<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        worker: WorkerId,
        address: Address,
        wait: impl FnOnce(Lookout) -> F,
    ) {
        let Some(record) = self.crew.get_mut(&worker) else { return };
        let ((met, last), (found, elsewhere)) = (watch::channel(None), watch::channel(None));
        let waiting = wait(Lookout {
            backend: Arc::clone(&self.around.backend),
            app: self.app.name.clone(),
            worker,
            generation: record.generation,
            address,
            last: met,
            elsewhere: found,
            exposed: Arc::clone(&self.exposed),
        });
        let outcomes = self.outcomes.clone();
        let task = self.around.stop.spawn("probe", async move {
            waiting.await;
            // The task of the app is there as long as it has a worker.
            outcomes.send(Outcome::Answered(worker)).await.ok();
        });
        record.probing = Some(Probing { task, last, elsewhere });
    }

    fn publish(&mut self, worker: WorkerId, generation: GenerationId) {
        let Some(record) = self.crew.get_mut(&worker) else { return };
        let Some(address) = record.address.clone() else { return };
        let rules = &record.spec.rules;
        let app = (self.app.name.clone(), self.app.metrics.clone());
        let member = Member::new(app, worker, generation, address, rules.concurrency, rules.tunnels);
        self.pool.publish(Arc::new(member), record.recycle_after());
        if std::mem::take(&mut record.reload_when_ready)
            && let Some(signal) = record.spec.reload_signal
        {
            self.around.backend.signal(worker, Signal::Reload(signal));
        }
        self.tell_ready(generation);
        self.adopted_serves(generation);
    }

    pub(in crate::manager) fn weigh(&mut self, worker: WorkerId) {
        let Some(bytes) = self.around.backend.memory(worker) else { return };
        let Some(record) = self.crew.get_mut(&worker) else { return };
        record.note_memory(bytes, Instant::now());
        // Where the kernel holds the limit, it was there first.
        if record.spec.launch.memory.hard.is_some_and(|limit| bytes > limit) {
            self.around.backend.signal(worker, Signal::OutOfMemory);
        }
    }

    fn forget(&mut self, worker: WorkerId) {
        self.pool.remove(worker);
        self.around.post.forget(worker);
        self.crew.remove(&worker);
    }
}
