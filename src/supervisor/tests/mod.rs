//! The supervisor through its public door, against scripted workers and paused time.

mod adoption;
mod deploys;
mod files;
mod hosts;
mod jobs;
mod probation;
mod scaling;
mod workers;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;
use crate::api::AppStatus;
use crate::backend::fake::{Behaviour, FakeBackend};
use crate::backend::{Signal, SurvivingWorker, WorkerEvent, WorkerExit};
use crate::name::{GenerationId, InstanceName, RequestId, WorkerId};
use crate::pool::{Claim, ClaimError, InFlightRequest, Lease, WorkerFault};
use crate::spec::{
    LaunchSpec, Listen, Memory, ReadyBy, Recycle, Reload, ReloadSignal, Rules, Timeouts, Upkeep, WorkerCount,
};
use crate::supervisor::serving_generations::ServingGenerations;

/// An instance whose machine is a script.
struct World {
    supervisor: Supervisor,
    backend: Arc<FakeBackend>,
    apps: Arc<Apps>,
    directory: Directory,
    metrics: Metrics,
    events: mpsc::Sender<WorkerEvent>,
    stop: TaskGroup,
    state: tempfile::TempDir,
}

const GENERATIONS_FILE: &str = "generations.json";

/// The app that is found at each path.
#[derive(Default)]
struct Apps(Mutex<HashMap<PathBuf, AppSpec>>);

impl Apps {
    fn put(&self, spec: AppSpec) {
        self.0.lock().unwrap().insert(spec.path.clone(), spec);
    }

    fn delete(&self, path: &str) {
        self.0.lock().unwrap().remove(Path::new(path));
    }
}

impl Resolve for Apps {
    fn resolve(&self, path: &Path) -> Result<AppSpec, ResolveError> {
        let found = self.0.lock().unwrap().get(path).cloned();
        found.ok_or_else(|| ResolveError::new(format!("there is no app at {}", path.display())))
    }
}

impl World {
    /// Starts these apps; each worker does what the script says.
    fn start(
        specs: impl IntoIterator<Item = AppSpec>,
        script: impl FnMut(&backend::Order) -> Behaviour + Send + 'static,
    ) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), Arc::default(), specs, script)
    }

    fn start_in(
        state: tempfile::TempDir,
        apps: Arc<Apps>,
        specs: impl IntoIterator<Item = AppSpec>,
        script: impl FnMut(&backend::Order) -> Behaviour + Send + 'static,
    ) -> Self {
        let (events, happened) = mpsc::channel(64);
        let backend = FakeBackend::new(events.clone());
        backend.script(script);
        Self::start_on(backend, (events, happened), state, apps, specs)
    }

    /// Starts an app where an earlier server has left workers, and has noted which generation serves.
    fn after(
        spec: AppSpec,
        served: Option<u64>,
        left: impl IntoIterator<Item = SurvivingWorker>,
        mut script: impl FnMut(&backend::Order) -> Behaviour + Send + 'static,
    ) -> Self {
        let (events, happened) = mpsc::channel(64);
        let backend = FakeBackend::new(events.clone());
        for survivor in left {
            let (worker, generation) = (survivor.worker, survivor.generation);
            let behaviour = script(&backend::Order { worker, generation, launch: Arc::clone(&spec.launch) });
            backend.left_behind(survivor, behaviour);
        }
        backend.script(script);
        let state = tempfile::tempdir().unwrap();
        if let Some(served) = served {
            ServingGenerations::open(Some(state.path().join(GENERATIONS_FILE)))
                .note(&spec.name, GenerationId(served));
        }
        Self::start_on(backend, (events, happened), state, Arc::default(), [spec])
    }

    fn start_on(
        backend: Arc<FakeBackend>,
        (events, happened): (mpsc::Sender<WorkerEvent>, mpsc::Receiver<WorkerEvent>),
        state: tempfile::TempDir,
        apps: Arc<Apps>,
        specs: impl IntoIterator<Item = AppSpec>,
    ) -> Self {
        let specs: Vec<_> = specs.into_iter().collect();
        let paths = specs.iter().map(|spec| spec.path.clone()).collect();
        for spec in specs {
            apps.put(spec);
        }
        let (directory, metrics, stop) = (Directory::new(), Metrics::new(), TaskGroup::new());
        let parts = SupervisorParts {
            directory: directory.clone(),
            backend: Arc::clone(&backend) as Arc<dyn Backend>,
            events: happened,
            registry: Registry::open(&state.path().join("registry.json")).unwrap(),
            resolve: Arc::clone(&apps) as Arc<dyn Resolve>,
            metrics: metrics.clone(),
            serving_generations: Some(state.path().join(GENERATIONS_FILE)),
            released_content: state.path().join("releases.json"),
            cores: 4,
            stop: stop.clone(),
        };
        let supervisor = Supervisor::start(parts, paths);
        Self { supervisor, backend, apps, directory, metrics, events, stop, state }
    }

    /// Starts one app `blog`, and returns when it serves.
    async fn serving(spec: AppSpec) -> Self {
        let world = Self::start([spec], |_| Behaviour::default());
        assert_eq!(world.supervisor.settled().await, []);
        world
    }

    async fn app(&self) -> AppStatus {
        self.supervisor.apps().await.remove(0)
    }

    /// Claims a worker of the app of a host, as a request would.
    async fn claim(&self, host: &str) -> Result<Lease, ClaimError> {
        let app = Arc::clone(&self.directory.lookup(host).expect("a known host").all()[0].app);
        let in_flight = InFlightRequest {
            id: RequestId::random(),
            method: http::Method::GET,
            target: http::uri::PathAndQuery::from_static("/slow?secret=1"),
            since: Instant::now(),
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        app.pool.claim(Claim { in_flight, client: None, deadline, not: None, terms: None }).await
    }

    /// Waits until the status of the only app is as wanted.
    async fn until(&self, what: &str, wanted: impl Fn(&AppStatus) -> bool) -> AppStatus {
        let deadline = Instant::now() + Duration::from_secs(600);
        loop {
            let app = self.app().await;
            if wanted(&app) {
                return app;
            }
            assert!(Instant::now() < deadline, "not {what}: {app:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the only app has as many workers as wanted, all of this generation, and none that starts or ends.
    async fn at_rest(&self, generation: u64) -> AppStatus {
        self.until("at rest", |app| {
            let tally = app.workers;
            let moving = tally.starting + tally.draining + tally.stopping;
            app.generation.0 == generation && tally.ready == tally.wanted && moving == 0
        })
        .await
    }

    fn terminated(&self) -> Vec<u64> {
        self.signalled(Signal::Terminate)
    }

    fn signalled(&self, signal: Signal) -> Vec<u64> {
        let signals = self.backend.signals();
        signals.iter().filter(|(_, sent)| *sent == signal).map(|(worker, _)| worker.0).collect()
    }

    fn started(&self) -> Vec<u64> {
        self.backend.started().iter().map(|order| order.worker.0).collect()
    }
}

pub(super) fn blog() -> AppSpec {
    app("blog")
}

/// An app at `/srv/NAME` with the host `NAME.example`, two workers, and the defaults of the settings.
fn app(name: &str) -> AppSpec {
    let name = AppName::parse(name).unwrap();
    let launch = LaunchSpec {
        app: name.clone(),
        instance: InstanceName::parse("test").unwrap(),
        directory: PathBuf::from(format!("/srv/{name}")),
        command: vec!["serve".into()],
        env: std::collections::BTreeMap::new(),
        listen: Listen::Fd,
        notify: true,
        pid_file: false,
        memory: Memory::default(),
        kill_after: Duration::from_secs(5),
        job: None,
    };
    // Tests of other things than probation have none: their deploys end when they serve.
    let timeouts = Timeouts { probation: Duration::ZERO, ..Timeouts::default() };
    let rules = Rules { timeouts, max_queue: 16, max_body: 1 << 20, tunnels: 4, ..Rules::default() };
    let upkeep = Upkeep {
        workers: WorkerCount::Exactly(NonZeroU32::new(2).unwrap()).into(),
        reload: Reload::None,
        ..Upkeep::default()
    };
    AppSpec {
        path: launch.directory.clone(),
        described: format!("{name}, a script"),
        entry: None,
        hosts: vec![host(&format!("{name}.example"))],
        launch: Arc::new(launch),
        upkeep,
        recycle: Recycle::OFF,
        ready_by: ReadyBy::Either,
        sources: Arc::default(),
        rules: Arc::new(rules),
        name,
        jobs: Arc::default(),
        warnings: Vec::new(),
    }
}

fn workers(mut spec: AppSpec, count: u32) -> AppSpec {
    spec.upkeep.workers = WorkerCount::Exactly(NonZeroU32::new(count).unwrap()).into();
    spec
}

fn host(name: &str) -> RouteName {
    RouteName::parse(name).unwrap()
}

fn ready_after(seconds: u64) -> Behaviour {
    Behaviour { ready_after: Some(Duration::from_secs(seconds)), ..Behaviour::default() }
}

fn fails_at_once() -> Behaviour {
    let exit_after = Some((Duration::ZERO, WorkerExit::Status(1)));
    Behaviour { ready_after: None, exit_after, ..Behaviour::default() }
}

/// Every event of a deploy, to its end.
async fn all(mut events: mpsc::Receiver<DeployEvent>) -> Vec<DeployEvent> {
    let mut seen = Vec::new();
    while let Some(event) = events.recv().await {
        seen.push(event);
    }
    seen
}
