//! Owns the scripted stand-in for a backend that tests of the supervisor run against, under paused time too.
//!
//! Never here: a process, a socket, or a decision; what a worker does is in the test's script.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Backend, Order, Signal, StartError, Started, SurvivingWorker, WorkerEvent, WorkerExit};
use crate::name::WorkerId;
use crate::pool::Address;

/// A backend whose workers do what a script says. Dropping it ends all of them without an event.
pub(crate) struct FakeBackend {
    events: mpsc::Sender<WorkerEvent>,
    state: Mutex<FakeState>,
}

/// The behaviour of a fake worker. By default a worker is ready at once, stays, and ends at once when asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    /// The time from start to [`WorkerEvent::Ready`]; `None`: never ready.
    pub(crate) ready_after: Option<Duration>,
    /// The time from start to an end by itself; `None`: the worker stays.
    pub(crate) exit_after: Option<(Duration, WorkerExit)>,
    /// The time from [`Signal::Terminate`] to an exit with status 0; `None`: the worker ignores the signal.
    pub(crate) on_terminate: Option<Duration>,
    /// Whether the start fails.
    pub(crate) start_error: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        let at_once = Some(Duration::ZERO);
        Self { ready_after: at_once, exit_after: None, on_terminate: at_once, start_error: false }
    }
}

impl FakeBackend {
    /// A backend whose workers behave as [`Behaviour::default`] says.
    pub(crate) fn new(events: mpsc::Sender<WorkerEvent>) -> Arc<Self> {
        let state = FakeState {
            script: Box::new(|_| Behaviour::default()),
            started: Vec::new(),
            signals: Vec::new(),
            memory: HashMap::new(),
            alive: HashMap::new(),
            leaderless: HashSet::new(),
            left: Vec::new(),
            tasks: JoinSet::new(),
        };
        Arc::new(Self { events, state: Mutex::new(state) })
    }

    /// Asks `script` what each worker does that is started from now on.
    pub(crate) fn script(&self, script: impl FnMut(&Order) -> Behaviour + Send + 'static) {
        self.lock().script = Box::new(script);
    }

    /// Adds a worker that an earlier server has left; its times begin when it is found.
    pub(crate) fn left_behind(&self, survivor: SurvivingWorker, behaviour: Behaviour) {
        self.lock().left.push((survivor, behaviour));
    }

    /// All orders so far, the failed ones too, in their order.
    pub(crate) fn started(&self) -> Vec<Order> {
        self.lock().started.clone()
    }

    /// All signals so far, those to unknown workers too, in their order.
    pub(crate) fn signals(&self) -> Vec<(WorkerId, Signal)> {
        self.lock().signals.clone()
    }

    /// The workers that have been started and whose end has not been reported, in the order of their ids.
    pub(crate) fn alive(&self) -> Vec<WorkerId> {
        let mut alive: Vec<_> = self
            .lock()
            .alive
            .iter()
            .filter(|(_, fake)| !fake.end.is_closed())
            .map(|(worker, _)| *worker)
            .collect();
        alive.sort_unstable();
        alive
    }

    /// Ends a worker now, in this way; nothing happens if it has ended.
    pub(crate) fn crash(&self, worker: WorkerId, exit: WorkerExit) {
        self.end(worker, Duration::ZERO, exit);
    }

    /// Makes [`Backend::lives`] false from now on, as when the first process of a worker has exited.
    pub(crate) fn lose_leader(&self, worker: WorkerId) {
        self.lock().leaderless.insert(worker);
    }

    /// Sets what [`Backend::memory`] answers for a worker from now on.
    pub(crate) fn set_memory(&self, worker: WorkerId, bytes: u64) {
        self.lock().memory.insert(worker, bytes);
    }

    fn end(&self, worker: WorkerId, after: Duration, exit: WorkerExit) {
        if let Some(fake) = self.lock().alive.get(&worker) {
            // A worker that has ended already does not listen.
            fake.end.send((Instant::now() + after, exit)).ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for FakeBackend {
    fn start(&self, order: Order) -> Pin<Box<dyn Future<Output = Result<Started, StartError>> + Send + '_>> {
        Box::pin(async move {
            let mut state = self.lock();
            let behaviour = (state.script)(&order);
            let worker = order.worker;
            let listens = order.launch.job.is_none();
            state.started.push(order);
            if behaviour.start_error {
                return Err(refused());
            }
            state.live(worker, behaviour, self.events.clone());
            Ok(Started {
                pid: FIRST_PID + u32::try_from(worker.0).unwrap_or_default(),
                address: listens.then(|| Address::Unix(PathBuf::from(format!("/nonexistent/{worker}.sock")))),
            })
        })
    }

    fn lives(&self, worker: WorkerId) -> bool {
        self.alive().contains(&worker) && !self.lock().leaderless.contains(&worker)
    }

    fn signal(&self, worker: WorkerId, signal: Signal) {
        let on_terminate = {
            let mut state = self.lock();
            state.signals.push((worker, signal));
            state.alive.get(&worker).and_then(|fake| fake.on_terminate)
        };
        match signal {
            Signal::Terminate => {
                if let Some(delay) = on_terminate {
                    self.end(worker, delay, WorkerExit::Status(0));
                }
            }
            Signal::Kill => self.end(worker, Duration::ZERO, WorkerExit::Timeout),
            Signal::OutOfMemory => self.end(worker, Duration::ZERO, WorkerExit::OutOfMemory),
            Signal::Reload(_) => {}
        }
    }

    fn memory(&self, worker: WorkerId) -> Option<u64> {
        self.lock().memory.get(&worker).copied()
    }

    fn survivors(&self) -> Pin<Box<dyn Future<Output = Vec<SurvivingWorker>> + Send + '_>> {
        Box::pin(async move {
            let mut state = self.lock();
            let left = std::mem::take(&mut state.left);
            for (survivor, behaviour) in &left {
                state.live(survivor.worker, *behaviour, self.events.clone());
            }
            left.into_iter().map(|(survivor, _)| survivor).collect()
        })
    }
}

struct FakeState {
    script: Box<dyn FnMut(&Order) -> Behaviour + Send>,
    started: Vec<Order>,
    signals: Vec<(WorkerId, Signal)>,
    memory: HashMap<WorkerId, u64>,
    /// Every worker that was ever started; its channel takes when and how it is to end, and is closed after its end.
    alive: HashMap<WorkerId, Alive>,
    leaderless: HashSet<WorkerId>,
    left: Vec<(SurvivingWorker, Behaviour)>,
    tasks: JoinSet<()>,
}

impl FakeState {
    fn live(&mut self, worker: WorkerId, behaviour: Behaviour, events: mpsc::Sender<WorkerEvent>) {
        let (end, ends) = mpsc::unbounded_channel();
        self.alive.insert(worker, Alive { end, on_terminate: behaviour.on_terminate });
        self.tasks.spawn(live(worker, behaviour, events, ends));
    }
}

struct Alive {
    end: mpsc::UnboundedSender<(Instant, WorkerExit)>,
    on_terminate: Option<Duration>,
}

/// Runs one fake worker. Of several ends the earliest counts.
async fn live(
    worker: WorkerId,
    behaviour: Behaviour,
    events: mpsc::Sender<WorkerEvent>,
    mut ends: mpsc::UnboundedReceiver<(Instant, WorkerExit)>,
) {
    let born = Instant::now();
    let mut ready = behaviour.ready_after.map(|after| born + after);
    let mut end = behaviour.exit_after.map(|(after, exit)| (born + after, exit));
    let exit = loop {
        tokio::select! {
            biased;
            Some((at, exit)) = ends.recv() => {
                if end.is_none_or(|(sooner, _)| at < sooner) {
                    end = Some((at, exit));
                }
            }
            exit = ending(end) => break exit,
            () = due(ready) => {
                ready = None;
                // A test that no longer listens has seen enough.
                events.send(WorkerEvent::Ready(worker)).await.ok();
            }
        }
    };
    drop(ends);
    events.send(WorkerEvent::Exited(worker, exit)).await.ok();
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn ending(end: Option<(Instant, WorkerExit)>) -> WorkerExit {
    due(end.map(|(at, _)| at)).await;
    end.map_or(WorkerExit::Status(0), |(_, exit)| exit)
}

fn refused() -> StartError {
    StartError::Program {
        program: "fake".into(),
        directory: PathBuf::from("/nonexistent"),
        source: io::Error::new(io::ErrorKind::NotFound, "no such program"),
    }
}

const FIRST_PID: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tests::order;

    fn fake() -> (Arc<FakeBackend>, mpsc::Receiver<WorkerEvent>) {
        let (events, received) = mpsc::channel(64);
        (FakeBackend::new(events), received)
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_follows_its_script() {
        let (fake, mut events) = fake();
        fake.script(|order| Behaviour {
            ready_after: Some(Duration::from_secs(5)),
            exit_after: Some((Duration::from_secs(60), WorkerExit::Status(3))),
            start_error: order.worker == WorkerId(2),
            ..Behaviour::default()
        });
        let born = Instant::now();

        fake.start(order(1, &["app"])).await.unwrap();
        fake.start(order(2, &["app"])).await.unwrap_err();

        assert_eq!(events.recv().await, Some(WorkerEvent::Ready(WorkerId(1))));
        assert_eq!(born.elapsed(), Duration::from_secs(5));
        assert_eq!(fake.alive(), [WorkerId(1)]);
        assert_eq!(events.recv().await, Some(WorkerEvent::Exited(WorkerId(1), WorkerExit::Status(3))));
        assert_eq!(born.elapsed(), Duration::from_secs(60));
        assert_eq!(fake.alive(), []);
        assert_eq!(fake.started().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deaf_worker_ends_only_when_killed() {
        let (fake, mut events) = fake();
        fake.script(|_| Behaviour { ready_after: None, on_terminate: None, ..Behaviour::default() });
        let worker = WorkerId(1);
        fake.start(order(1, &["app"])).await.unwrap();

        fake.signal(worker, Signal::Terminate);
        tokio::time::timeout(Duration::from_secs(3600), events.recv()).await.unwrap_err();
        fake.signal(worker, Signal::Kill);

        assert_eq!(events.recv().await, Some(WorkerEvent::Exited(worker, WorkerExit::Timeout)));
        assert_eq!(fake.signals(), [(worker, Signal::Terminate), (worker, Signal::Kill)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_is_the_last_that_is_heard_of_a_worker() {
        let (fake, mut events) = fake();
        let worker = WorkerId(1);
        fake.start(order(1, &["app"])).await.unwrap();
        assert_eq!(events.recv().await, Some(WorkerEvent::Ready(worker)));

        fake.crash(worker, WorkerExit::Signal(11));
        fake.crash(worker, WorkerExit::Status(0));

        assert_eq!(events.recv().await, Some(WorkerEvent::Exited(worker, WorkerExit::Signal(11))));
        fake.crash(worker, WorkerExit::Status(0));
        tokio::time::timeout(Duration::from_secs(3600), events.recv()).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_what_the_test_says() {
        let (fake, mut events) = fake();
        let worker = WorkerId(1);
        fake.start(order(1, &["app"])).await.unwrap();
        assert_eq!(events.recv().await, Some(WorkerEvent::Ready(worker)));

        assert_eq!(fake.memory(worker), None);
        fake.set_memory(worker, 1 << 30);
        assert_eq!(fake.memory(worker), Some(1 << 30));
        fake.signal(worker, Signal::OutOfMemory);

        assert_eq!(events.recv().await, Some(WorkerEvent::Exited(worker, WorkerExit::OutOfMemory)));
    }
}
