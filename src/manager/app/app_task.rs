//! Owns one app's workers: the task that hears of everything that happens to them and carries out what follows.
//!
//! Never here: what follows. That is said by `plan`, `worker` and `budget`, which know no time and no process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::api::{AppStatus, Rejection, Scaled, WorkerStatus};
use crate::backend::{self, StartError, Started, Survivor};
use crate::directory::App;
use crate::name::{GenerationId, WorkerId};
use crate::pool::{Mode, PoolWriter, Standing};
use crate::spec::{AppSpec, WorkerCount};

use super::crew::Record;
use super::plan::{Desired, Step, Target, plan};
use super::probation::Probation;
use super::rollout::{Generation, Listener, Rollout};
use super::worker::{Event, State};
use crate::manager::chorus::Chorus;
use crate::manager::error::ResolveError;
use crate::manager::files::app_files::Fingerprint;
use crate::manager::files::watch::{Change, Watch};
use crate::manager::surroundings::Surroundings;

/// What the manager tells the task of an app.
pub(in crate::manager) enum Command {
    /// Put a new generation in the place of the one that serves.
    Deploy(Option<Listener>),
    /// Have that many workers.
    Scale(WorkerCount, oneshot::Sender<Scaled>),
    /// Tell how the app is; its hosts are left out.
    Status(oneshot::Sender<AppStatus>),
    /// Tell how each worker is.
    Workers(oneshot::Sender<Vec<WorkerStatus>>),
    /// Let all workers finish within that time, and end; `None`: the app's own drain time.
    Stop(Option<Duration>),
    /// End, and leave all workers as they are.
    Leave,
}

/// What others may know of an app without asking; gone when the task has ended.
#[derive(Clone, Default)]
pub(in crate::manager) struct Facts {
    /// A first generation serves, or was rejected.
    pub(in crate::manager) settled: bool,
    /// Why no generation serves.
    pub(in crate::manager) rejected: Option<String>,
    /// What the generation that serves is made of.
    pub(in crate::manager) serving: Option<Arc<AppSpec>>,
}

/// What a task that this one started has found.
pub(in crate::manager) enum Outcome {
    Started(WorkerId, Result<Started, StartError>),
    Answered(WorkerId),
    /// The app as it was read, and its files before that.
    Resolved(GenerationId, Result<AppSpec, ResolveError>, Option<Box<Fingerprint>>),
    Doubted {
        worker: WorkerId,
        silent: bool,
    },
}

/// The task.
pub(in crate::manager) struct AppTask {
    pub(in crate::manager) app: Arc<App>,
    pub(in crate::manager) pool: PoolWriter,
    pub(in crate::manager) around: Surroundings,
    /// What the app was when its directory and settings were last read.
    pub(in crate::manager) spec: Arc<AppSpec>,
    /// The number of workers a person asked for.
    pub(in crate::manager) scaled: Option<WorkerCount>,
    pub(in crate::manager) crew: BTreeMap<WorkerId, Record>,
    pub(in crate::manager) current: Option<Generation>,
    pub(in crate::manager) rollout: Option<Rollout>,
    /// While the current generation may yet be taken back.
    pub(in crate::manager) probation: Option<Probation>,
    /// The files as the latest deploy has read them.
    pub(in crate::manager) read: Option<Fingerprint>,
    /// What the watch told while the app was being read.
    pub(in crate::manager) changed_meanwhile: Option<Change>,
    /// What the workers of the rollout write.
    pub(in crate::manager) chorus: Chorus,
    /// The last generation that was given a number.
    pub(in crate::manager) latest: GenerationId,
    pub(in crate::manager) rejected: Option<Rejection>,
    pub(in crate::manager) stopping: bool,
    pub(in crate::manager) facts: watch::Sender<Facts>,
    /// After the facts: their end is news.
    _farewell: Farewell,
    pub(in crate::manager) events: mpsc::Sender<backend::Event>,
    pub(in crate::manager) outcomes: mpsc::Sender<Outcome>,
    pub(in crate::manager) changes: mpsc::Sender<Change>,
    pub(in crate::manager) watch: Option<Watch>,
    weigh_at: Option<Instant>,
    /// The generation whose workers were last said to be reachable by others.
    pub(in crate::manager) exposed: Arc<AtomicU64>,
}

/// Tells that the task has ended, also by a panic.
struct Farewell(Arc<Notify>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// What the task listens to.
struct Ears {
    commands: mpsc::Receiver<Command>,
    events: mpsc::Receiver<backend::Event>,
    outcomes: mpsc::Receiver<Outcome>,
    changes: mpsc::Receiver<Change>,
}

/// How others reach the task of an app.
pub(in crate::manager) struct Handle {
    pub(in crate::manager) commands: mpsc::Sender<Command>,
    pub(in crate::manager) facts: watch::Receiver<Facts>,
}

/// Starts the task of an app with its first generation.
pub(in crate::manager) fn start(
    app: Arc<App>,
    pool: PoolWriter,
    spec: AppSpec,
    listener: Option<Listener>,
    survivors: Vec<Survivor>,
    around: Surroundings,
) -> Handle {
    let (commands, commanded) = mpsc::channel(MAILBOX);
    let (events, happened) = mpsc::channel(MAILBOX);
    let (outcomes, came) = mpsc::channel(MAILBOX);
    let (changes, changed) = mpsc::channel(1);
    let (facts, watched) = watch::channel(Facts::default());
    let ears = Ears { commands: commanded, events: happened, outcomes: came, changes: changed };
    let (stop, farewell) = (around.stop.clone(), Farewell(Arc::clone(&around.news)));
    let mut task = AppTask {
        app,
        pool,
        around,
        spec: Arc::new(spec.clone()),
        scaled: None,
        crew: BTreeMap::new(),
        current: None,
        rollout: None,
        probation: None,
        read: None,
        changed_meanwhile: None,
        chorus: Chorus::default(),
        latest: GenerationId::default(),
        rejected: None,
        stopping: false,
        facts,
        _farewell: farewell,
        events,
        outcomes,
        changes,
        watch: None,
        weigh_at: None,
        exposed: Arc::default(),
    };
    task.begin(spec, listener, survivors);
    stop.spawn("app", task.run(ears));
    Handle { commands, facts: watched }
}

impl AppTask {
    async fn run(mut self, mut ears: Ears) {
        let mut quiet_until = Instant::now();
        loop {
            self.settle();
            if self.stopping && self.crew.is_empty() {
                break;
            }
            let now = Instant::now();
            let wake = self.wake_at(now);
            // Each branch only receives: what is dropped half-way has taken nothing.
            tokio::select! {
                biased;
                Some(command) = ears.commands.recv() => self.command(command),
                Some(event) = ears.events.recv() => {
                    self.happened(event);
                    // Lines come in hundreds and change nothing: one look at the workers after them is enough.
                    while let Ok(event) = ears.events.try_recv() {
                        self.happened(event);
                    }
                }
                Some(outcome) = ears.outcomes.recv() => self.came(outcome),
                Some(change) = ears.changes.recv() => self.files_changed(change),
                // A full queue tells of every request that joins it.
                () = self.pool.changed(), if now >= quiet_until => quiet_until = now + QUIET,
                () = sleep_until(quiet_until), if now < quiet_until => {}
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
        self.around.output.forget(&self.app.name);
    }

    fn command(&mut self, command: Command) {
        // Who asked may have gone; then nobody needs the answer.
        match command {
            Command::Deploy(listener) => self.deploy(listener, "asked for"),
            Command::Scale(count, reply) => drop(reply.send(self.scale(count))),
            Command::Status(reply) => drop(reply.send(self.status())),
            Command::Workers(reply) => drop(reply.send(self.worker_statuses())),
            Command::Stop(drain) => self.stop(drain),
            Command::Leave => self.leave(),
        }
    }

    fn scale(&mut self, count: WorkerCount) -> Scaled {
        let before = self.wanted();
        self.scaled = Some(count);
        let now = self.wanted();
        tracing::info!(app = %self.app.name, before, now, "number of workers changed");
        Scaled { ok: true, app: self.app.name.clone(), before, now }
    }

    fn stop(&mut self, drain: Option<Duration>) {
        if !self.stopping {
            tracing::info!(app = %self.app.name, "app is being stopped");
        }
        self.stopping = true;
        self.watch = None;
        self.pool.set_mode(Mode::Closed);
        self.give_up_rollout("the app is being stopped");
        let own = |record: &Record| drain.unwrap_or(record.spec.rules.timeouts.drain);
        let drains: Vec<_> = self.crew.iter().map(|(worker, record)| (*worker, own(record))).collect();
        for (worker, drain) in drains {
            self.feed(worker, Event::Retire(drain), "the app is being stopped");
        }
    }

    /// Where workers outlive their server.
    fn leave(&mut self) {
        let workers = self.crew.len();
        tracing::info!(app = %self.app.name, workers, "the workers are left for the next server");
        self.stopping = true;
        self.watch = None;
        self.pool.set_mode(Mode::Closed);
        self.give_up_rollout("the server is being restarted");
        self.crew.clear();
    }

    /// Looks at everything that may have changed, and does what follows until nothing does.
    fn settle(&mut self) {
        for _ in 0..MOST_ROUNDS {
            let now = Instant::now();
            self.read_pool();
            self.read_clock(now);
            self.end_probation(now);
            let steps = if self.stopping { Vec::new() } else { plan(&self.desired(now), &self.views()) };
            if steps.is_empty() {
                break;
            }
            for step in steps {
                self.step(step);
            }
        }
        // What was just let go may have had nothing in hand.
        self.read_pool();
        self.show_gauges();
    }

    fn read_pool(&mut self) {
        let now = Instant::now();
        let standings: BTreeMap<_, Standing> =
            self.pool.standings().into_iter().map(|standing| (standing.worker, standing)).collect();
        for worker in self.workers() {
            let standing = standings.get(&worker);
            if let Some(standing) = standing {
                self.judge(standing);
            }
            if let (Some(standing), Some(record)) = (standing, self.crew.get_mut(&worker)) {
                record.note_service(standing, now);
            }
            let draining =
                self.crew.get(&worker).is_some_and(|record| matches!(record.state, State::Draining { .. }));
            if draining && standing.is_none_or(|standing| standing.in_flight + standing.tunnels == 0) {
                self.feed(worker, Event::Idle, "has nothing in hand");
            }
        }
    }

    fn read_clock(&mut self, now: Instant) {
        let weighing = self.weigh_at.is_none_or(|at| now >= at);
        for worker in self.workers() {
            let Some(record) = self.crew.get_mut(&worker) else { continue };
            record.note_age(now);
            if weighing && record.weighs() && record.state == State::Ready {
                self.weigh(worker);
            }
            let Some(record) = self.crew.get(&worker) else { continue };
            if record.state.wake_at().is_some_and(|at| now >= at) {
                let why = match record.state {
                    State::Starting { .. } => record.too_late(),
                    State::Draining { .. } => "had requests in hand when its drain time was over".into(),
                    _ => "did not stop in time".into(),
                };
                self.feed(worker, Event::Tick, &why);
            }
        }
        if weighing {
            let any = self.crew.values().any(Record::weighs);
            self.weigh_at = any.then_some(now + WEIGH_EVERY);
        }
    }

    /// How many workers there should be once all is done.
    pub(in crate::manager) fn wanted(&self) -> usize {
        let trial = self.rollout.as_ref().and_then(|rollout| rollout.trial.as_ref());
        self.wanted_of(trial.or(self.current.as_ref()).map_or(&self.spec, |generation| &generation.spec))
    }

    fn wanted_of(&self, spec: &AppSpec) -> usize {
        self.scaled.unwrap_or(spec.workers).resolve(self.around.cores)
    }

    fn desired(&self, now: Instant) -> Desired {
        let target = |generation: &Generation| Target {
            generation: generation.id,
            count: self.wanted_of(&generation.spec),
            may_start: generation.budget.allows(now),
        };
        Desired {
            current: self.current.as_ref().map(target),
            candidate: self.rollout.as_ref().and_then(|rollout| rollout.trial.as_ref()).map(target),
            before: self.before(),
        }
    }

    /// The generation whose workers are kept, in case the current one is taken back.
    pub(in crate::manager) fn before(&self) -> Option<GenerationId> {
        self.probation.as_ref().map(|probation| probation.before.id)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Start(generation) => self.start_worker(generation),
            Step::Promote(generation) => self.promote(generation),
            Step::Retire(worker, reason) => self.retire(worker, reason),
        }
    }

    /// When something is due without anything having happened.
    fn wake_at(&self, now: Instant) -> Option<Instant> {
        let trial = self.rollout.as_ref().and_then(|rollout| rollout.trial.as_ref());
        let pauses = [self.current.as_ref(), trial].into_iter().flatten();
        let pauses = pauses.filter_map(|generation| generation.budget.paused_until(now));
        let states = self.crew.values().filter_map(|record| record.state.wake_at());
        let ages = self.crew.values().filter_map(Record::due_at);
        let weighing = self.weigh_at.filter(|_| self.crew.values().any(Record::weighs));
        let probation = self.probation.as_ref().map(|probation| probation.until);
        pauses.chain(states).chain(ages).chain(weighing).chain(probation).min()
    }

    /// A copy of the ids, because what is done with one worker may forget another.
    pub(in crate::manager) fn workers(&self) -> Vec<WorkerId> {
        self.crew.keys().copied().collect()
    }

    fn views(&self) -> Vec<super::plan::WorkerView> {
        let now = Instant::now();
        self.crew.iter().map(|(worker, record)| record.view(*worker, now)).collect()
    }
}

const MAILBOX: usize = 64;
/// A plan may call for another one: a promotion lets the old workers go.
const MOST_ROUNDS: usize = 8;
const QUIET: Duration = Duration::from_millis(10);
const WEIGH_EVERY: Duration = Duration::from_secs(5);
