//! Owns the workers of an app and what is done to each: started, probed, published, told to go, forgotten.
//!
//! Never here: how many there should be (`plan`), or what a worker's failure means for its generation (`deploys`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api::WorkerTally;
use crate::backend::{Order, Signal, StartError, Started, SurvivingWorker, WorkerEvent, WorkerExit};
use crate::directory::App;
use crate::name::{GenerationId, WorkerId};
use crate::pool::{Address, Member, PoolDemand, PoolWriter, WorkerFault, WorkerStanding};
use crate::spec::{AppSpec, ReadyBy, ReloadSignal};

use super::generations::autoscaler::Load;
use super::generations::deploy::Generation;
use super::leavers::Leavers;
use super::messages::TaskReport;
use super::phase_change::{PhaseChange, PhaseInput, WorkerNews};
use super::plan::{RetireReason, WorkerView};
use super::probes::Probes;
use super::worker_record::{WorkerRecord, tally};
use super::worker_starter::WorkerStarter;
use super::worker_state::{Breakdown, PhaseEvent, WorkerAction, WorkerPhase};
use crate::supervisor::app_context::AppContext;

pub(super) struct AppWorkers {
    app: Arc<App>,
    ctx: AppContext,
    pool: PoolWriter,
    records: BTreeMap<WorkerId, WorkerRecord>,
    starter: WorkerStarter,
    /// The channel on which the data path passes on what workers write to it.
    output: mpsc::Sender<(WorkerId, String)>,
    probes: Probes,
    leavers: Leavers,
    /// The time when the workers' memory is looked at next.
    weigh_at: Option<Instant>,
}

impl AppWorkers {
    pub(super) fn new(
        app: Arc<App>,
        ctx: AppContext,
        pool: PoolWriter,
        starter: WorkerStarter,
        reports: mpsc::Sender<TaskReport>,
        output: mpsc::Sender<(WorkerId, String)>,
    ) -> Self {
        let probes = Probes::new(app.name.clone(), ctx.clone(), reports);
        let (records, leavers) = (BTreeMap::new(), Leavers::new(pool.clone()));
        Self { app, ctx, pool, records, starter, output, probes, leavers, weigh_at: None }
    }

    /// Whether no worker is left.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Forgets all workers and leaves them as they are.
    pub(super) fn leave(&mut self) {
        self.records.clear();
    }

    /// The generation of a worker that is not gone.
    pub(super) fn generation_of(&self, worker: WorkerId) -> Option<GenerationId> {
        self.records.get(&worker).map(|record| record.generation)
    }

    /// All workers and what is known of each.
    pub(super) fn records(&self) -> impl Iterator<Item = (&WorkerId, &WorkerRecord)> {
        self.records.iter()
    }

    /// The workers of a generation that are ready.
    pub(super) fn ready_of(&self, generation: GenerationId) -> impl Iterator<Item = WorkerId> {
        let ready = move |record: &WorkerRecord| {
            record.generation == generation && record.state == WorkerPhase::Ready
        };
        self.records.iter().filter(move |(_, record)| ready(record)).map(|(worker, _)| *worker)
    }

    /// The load of a generation's workers.
    pub(super) fn load(&self, generation: &Generation) -> Load {
        let PoolDemand { claims, waiting } = self.pool.demand();
        let seats = generation.spec.rules.concurrency().get() as usize;
        let mut load = Load { claims, waiting, seats, ..Load::default() };
        let ready =
            |record: &&WorkerRecord| record.generation == generation.id && record.state == WorkerPhase::Ready;
        for record in self.records.values().filter(ready) {
            load.ready += 1;
            load.without_tunnels += usize::from(record.tunnels == 0);
            load.tunnels += record.tunnels;
            load.in_hand += record.in_hand;
            load.largest = load.largest.max(record.memory);
        }
        load
    }

    /// How many workers are in which state, of `wanted`; those of `before` count as draining.
    pub(super) fn tally(&self, wanted: usize, before: Option<GenerationId>) -> WorkerTally {
        tally(self.records.values(), wanted, before)
    }

    /// The facts about all workers for the plan.
    pub(super) fn views(&self, now: Instant) -> Vec<WorkerView> {
        self.records.iter().map(|(worker, record)| record.view(*worker, now)).collect()
    }

    /// The memory of a worker as it was measured last; the call has it measured anew.
    pub(super) fn memory(&self, worker: WorkerId) -> Option<u64> {
        self.ctx.backend.refresh_memory(worker);
        self.ctx.backend.memory(worker)
    }

    /// Orders one worker of a generation. `deploying`: a deploy is on its way.
    pub(super) fn start(&mut self, generation: GenerationId, spec: Arc<AppSpec>, deploying: bool) {
        let worker = self.ctx.next_worker();
        // The worker replaces one that is due, which is no event worth reading of.
        let replaces = !deploying && self.records.values().any(|record| record.stale.is_some());
        if replaces {
            tracing::trace!(app = %self.app.name, %worker, %generation, from = "", to = "starting", "worker {worker}: starting");
        } else {
            tracing::info!(app = %self.app.name, %worker, %generation, from = "", to = "starting", "worker {worker}: starting");
        }
        self.app.metrics.worker_started();
        let order = Order { worker, generation, launch: Arc::clone(&spec.launch) };
        let mut record = WorkerRecord::new(generation, spec, Instant::now());
        record.replaces = replaces;
        self.records.insert(worker, record);
        self.starter.start(order);
    }

    /// Takes over a worker that an earlier server has left. Returns the event for its state, and the events since it
    /// was found.
    pub(super) fn adopt(
        &mut self,
        surviving: SurvivingWorker,
        spec: &Arc<AppSpec>,
        age: Duration,
    ) -> (PhaseInput, Vec<WorkerEvent>) {
        let SurvivingWorker { worker, generation, started, .. } = surviving;
        tracing::info!(app = %self.app.name, %worker, %generation, pid = started.pid, "worker is adopted");
        self.app.metrics.worker_adopted();
        let happened = self.starter.enrol(worker);
        let mut record = WorkerRecord::new(generation, Arc::clone(spec), Instant::now());
        record.adopt(started, age);
        self.records.insert(worker, record);
        let event = if spec.ready_by == ReadyBy::Notify {
            // The worker said to the earlier server that it is ready, and is not to be probed.
            PhaseEvent::Ready
        } else {
            PhaseEvent::Started
        };
        (PhaseInput { worker, event, why: "left by an earlier server".into() }, happened)
    }

    /// Lets a worker go as the plan says, of an app whose generation `serving` serves.
    pub(super) fn retire(
        &mut self,
        worker: WorkerId,
        reason: RetireReason,
        serving: Option<GenerationId>,
    ) -> Option<PhaseInput> {
        let record = self.records.get_mut(&worker)?;
        record.recycling = reason == RetireReason::Recycled;
        let why = match reason {
            RetireReason::Superseded if Some(record.generation) < serving => {
                "a newer generation serves".into()
            }
            RetireReason::Superseded => "its generation was given up".into(),
            RetireReason::Recycled => record.stale.clone().unwrap_or_default(),
            RetireReason::Surplus => "there are more workers than wanted".into(),
        };
        Some(PhaseInput { worker, event: PhaseEvent::Retire(record.spec.rules.timeouts.drain), why })
    }

    /// Lets all workers go within `drain`, or each within its own app's time.
    pub(super) fn retire_all(&self, drain: Option<Duration>, why: &str) -> Vec<PhaseInput> {
        let input = |(worker, record): (&WorkerId, &WorkerRecord)| {
            let drain = drain.unwrap_or(record.spec.rules.timeouts.drain);
            PhaseInput { worker: *worker, event: PhaseEvent::Retire(drain), why: why.into() }
        };
        self.records.iter().map(input).collect()
    }

    /// Has the serving workers load the app anew, and starting ones when they serve.
    pub(super) fn reload(&mut self, signal: ReloadSignal) {
        for (worker, record) in &mut self.records {
            match record.state {
                WorkerPhase::Ready => self.ctx.backend.signal(*worker, Signal::Reload(signal)),
                // The worker may have loaded the old code already, and may not yet survive the signal.
                WorkerPhase::Starting { .. } => record.reload_when_ready = true,
                WorkerPhase::Draining { .. } | WorkerPhase::Stopping { .. } | WorkerPhase::Exited => {}
            }
        }
    }

    /// Moves a worker on; `None`: the worker is gone. [`carry_out`](Self::carry_out) does what the change asks for.
    pub(super) fn advance(&mut self, input: PhaseInput) -> Option<PhaseChange> {
        let PhaseInput { worker, event, why } = input;
        let now = Instant::now();
        let record = self.records.get_mut(&worker)?;
        let from = record.state;
        let (to, actions) = from.on(event, record.spec.rules.timeouts.kill, now);
        record.state = to;
        if to.name() != from.name() {
            record.why = (to != WorkerPhase::Ready).then(|| why.clone());
            record.ready = if to == WorkerPhase::Ready { Some(now) } else { record.ready };
        }
        Some(PhaseChange { worker, generation: record.generation, from, to, actions, why })
    }

    /// Logs a change and carries its actions out; returns the news for the worker's generation.
    pub(super) fn carry_out(&mut self, change: PhaseChange) -> Vec<WorkerNews> {
        if let Some(record) = self.records.get(&change.worker) {
            change.log(&self.app.name, record);
        }
        let PhaseChange { worker, generation, to, actions, why, .. } = change;
        let mut news = Vec::new();
        if matches!(to, WorkerPhase::Stopping { .. } | WorkerPhase::Exited) {
            self.leavers.send_away(worker);
        }
        for action in actions {
            match action {
                WorkerAction::Probe => {
                    if let Some(record) = self.records.get_mut(&worker) {
                        self.probes.readiness(worker, record);
                    }
                }
                WorkerAction::Publish => news.extend(self.publish(worker).map(WorkerNews::Ready)),
                WorkerAction::Withdraw => self.leavers.withdraw(worker, to, self.records.get(&worker)),
                WorkerAction::Terminate => self.ctx.backend.signal(worker, Signal::Terminate),
                WorkerAction::Kill => self.ctx.backend.signal(worker, Signal::Kill),
                WorkerAction::Fail(failure) => {
                    news.push(WorkerNews::Failed { generation, failure, why: why.clone() });
                }
                WorkerAction::Forget => self.forget(worker),
            }
        }
        if let Some(record) = self.records.get_mut(&worker)
            && !matches!(record.state, WorkerPhase::Starting { .. })
        {
            record.probing = None;
        }
        news
    }

    /// Gives the worker to the pool; returns its generation, if the worker has an address.
    fn publish(&mut self, worker: WorkerId) -> Option<GenerationId> {
        let record = self.records.get_mut(&worker)?;
        let address = record.address.clone()?;
        let (rules, generation) = (&record.spec.rules, record.generation);
        let app = (self.app.name.clone(), self.app.metrics.clone());
        let member = Member::new(app, worker, generation, address, rules.concurrency(), rules.tunnels);
        let member = member.with_output(self.output.clone());
        self.pool.publish(Arc::new(member), record.recycle_after());
        if std::mem::take(&mut record.reload_when_ready)
            && let Some(signal) = record.spec.upkeep.reload_signal
        {
            self.ctx.backend.signal(worker, Signal::Reload(signal));
        }
        Some(generation)
    }

    fn forget(&mut self, worker: WorkerId) {
        self.pool.remove(worker);
        self.ctx.router.forget(worker);
        self.records.remove(&worker);
    }

    /// Takes in that the backend has started a worker, or could not.
    pub(super) fn started(
        &mut self,
        worker: WorkerId,
        started: Result<Started, StartError>,
    ) -> Option<PhaseInput> {
        let record = self.records.get_mut(&worker)?;
        let started = match started {
            Ok(started) => started,
            Err(error) => return Some(PhaseInput::not_started(worker, &error)),
        };
        record.pid = Some(started.pid);
        record.address = started.address;
        if record.said_ready && record.believes() && matches!(record.state, WorkerPhase::Starting { .. }) {
            self.believe(worker)
        } else {
            Some(PhaseInput { worker, event: PhaseEvent::Started, why: "has a process".into() })
        }
    }

    /// Takes in that a worker says that it is ready.
    pub(super) fn said_ready(&mut self, worker: WorkerId) -> Option<PhaseInput> {
        let record = self.records.get_mut(&worker)?;
        record.said_ready = true;
        if record.believes() { self.believe(worker) } else { None }
    }

    /// Takes a worker's word that it is ready. The word counts at once where no other process can listen; else the
    /// check of who has the port comes first.
    fn believe(&mut self, worker: WorkerId) -> Option<PhaseInput> {
        let record = self.records.get_mut(&worker)?;
        match record.address.clone() {
            Some(address @ Address::Tcp(_)) if matches!(record.state, WorkerPhase::Starting { .. }) => {
                self.probes.port(worker, record, address);
                None
            }
            Some(_) => self.ready(worker, "said so"),
            // Without its address nobody could send the worker anything; the address comes with `Started`.
            None => None,
        }
    }

    /// Takes in that a worker takes requests. The answer, or the word, of a worker whose first process has exited is
    /// not its own; the event of its end is about to come.
    pub(super) fn ready(&self, worker: WorkerId, why: &str) -> Option<PhaseInput> {
        let lives = self.ctx.backend.lives(worker);
        lives.then(|| PhaseInput { worker, event: PhaseEvent::Ready, why: why.into() })
    }

    /// Takes in that a worker's first process has exited. The rest must not answer, neither for an app that is being
    /// tried out nor for one that serves.
    pub(super) fn ending(&mut self, worker: WorkerId, exit: WorkerExit) -> Option<PhaseInput> {
        let record = self.records.get_mut(&worker)?;
        if matches!(record.state, WorkerPhase::Starting { .. } | WorkerPhase::Ready) {
            record.ending = Some(exit);
        }
        self.pool.note_end(worker, exit.cause());
        Some(PhaseInput { worker, event: PhaseEvent::Ending, why: exit.to_string() })
    }

    pub(super) fn exited(&self, worker: WorkerId, exit: WorkerExit) -> PhaseInput {
        if let Some(record) = self.records.get(&worker) {
            self.app.metrics.worker_exited(record.cause_of(exit));
        }
        self.pool.note_end(worker, exit.cause());
        PhaseInput { worker, event: PhaseEvent::Gone, why: exit.to_string() }
    }

    /// Reads the pool: complaints of the data path, and draining workers with nothing in hand.
    pub(super) fn read_pool(&mut self, now: Instant) -> Vec<PhaseInput> {
        let standings: BTreeMap<_, WorkerStanding> =
            self.pool.standings().into_iter().map(|standing| (standing.worker, standing)).collect();
        let mut inputs = Vec::new();
        for (worker, record) in &mut self.records {
            let (worker, standing) = (*worker, standings.get(worker));
            if let Some(fault) = standing.and_then(|standing| standing.condemned) {
                let (breakdown, why) = Breakdown::of(fault);
                record.condemned = true;
                inputs.push(PhaseInput { worker, event: PhaseEvent::Condemn(breakdown), why: why.into() });
            } else if standing.is_some_and(|standing| standing.doubted) {
                self.probes.liveness(worker, record);
            }
            if let Some(standing) = standing {
                record.note_service(standing, now);
            }
            let idle = standing.is_none_or(|standing| standing.in_flight + standing.tunnels == 0);
            if idle && matches!(record.state, WorkerPhase::Draining { .. }) && self.leavers.may_go(worker) {
                inputs.push(PhaseInput {
                    worker,
                    event: PhaseEvent::Idle,
                    why: "has nothing in hand".into(),
                });
            }
        }
        inputs
    }

    /// Takes in the result of probing a worker that let a request's time pass.
    pub(super) fn liveness(&mut self, worker: WorkerId, silent: bool) {
        let Some(record) = self.records.get_mut(&worker) else { return };
        record.doubted = false;
        if silent {
            tracing::warn!(app = %self.app.name, %worker, "worker {worker} answers nothing any more");
        } else {
            tracing::debug!(app = %self.app.name, %worker, "worker {worker} was slow with a request, and answers others");
        }
        self.pool.settle(worker, silent.then_some(WorkerFault::TooSlow));
    }

    /// Reads the clock: the workers' age and memory, and the time limits of their states.
    pub(super) fn read_clock(&mut self, now: Instant) -> Vec<PhaseInput> {
        let weighing = self.weigh_at.is_none_or(|at| now >= at);
        let mut inputs = Vec::new();
        self.leavers.send_due_away(now);
        for (worker, record) in &mut self.records {
            let worker = *worker;
            record.note_age(now);
            if weighing && record.weighs() && record.state == WorkerPhase::Ready {
                record.weigh(worker, &*self.ctx.backend, now);
            }
            if record.state.wake_at().is_some_and(|at| now >= at) {
                let why = match record.state {
                    WorkerPhase::Starting { .. } => record.too_late(),
                    WorkerPhase::Draining { .. } => {
                        "had requests in hand when its drain time was over".into()
                    }
                    _ => "did not stop in time".into(),
                };
                inputs.push(PhaseInput { worker, event: PhaseEvent::Tick, why });
            }
        }
        if weighing {
            let any = self.records.values().any(WorkerRecord::weighs);
            self.weigh_at = any.then_some(now + WEIGH_EVERY);
        }
        inputs
    }

    /// When [`read_clock`](Self::read_clock) has something to do.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let states = self.records.values().filter_map(|record| record.state.wake_at());
        let ages = self.records.values().filter_map(WorkerRecord::due_at);
        let weighing = self.weigh_at.filter(|_| self.records.values().any(WorkerRecord::weighs));
        states.chain(ages).chain(weighing).chain(self.leavers.wake_at()).min()
    }
}

const WEIGH_EVERY: Duration = Duration::from_secs(5);
