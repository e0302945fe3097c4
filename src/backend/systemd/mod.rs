//! Owns the backend whose workers are transient units of systemd's, siblings of the server that outlive it.
//!
//! ```text
//! start, signal ──→ starter ──→ launcher or systemd          watch ←── systemd's signals
//!                     unit_table: which units there are ←──────┘ └──→ events
//! ```
//!
//! Never here: what a unit may do (`properties`); who may ask for one (`launcher`, a program of its own).

pub(crate) mod bus;
pub(crate) mod dbus;
mod found_units;
pub(crate) mod hidden_paths;
pub(crate) mod journal;
pub(crate) mod leftovers;
mod listening;
pub(crate) mod own_unit;
pub(crate) mod paths;
pub(crate) mod properties;
mod readiness;
pub(crate) mod required_files;
pub(crate) mod sandbox_in_force;
pub(crate) mod start;
mod start_request;
mod starter;
pub(crate) mod systemd_calls;
pub(crate) mod unit;
mod watch;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::sync::{mpsc, watch as state};
use tokio::time::{sleep, timeout};
use zbus::Connection;

use self::dbus::ManagerProxy;
use self::leftovers::{ALL_WORKERS, Leftovers};
use self::properties::Scope;
use self::sandbox_in_force::SandboxInForce;
use self::start_request::start_request;
use self::starter::{DirectStarter, Starter, Target};
use self::watch::unit_signals;
use self::watch::unit_table::{Remainder, UnitEnd, UnitTable};
use super::contract::readiness::tell_readiness;
use super::sockets::{Door, Sockets, WorkerUsers};
use super::{
    Backend, Listening, OpenError, Order, Signal, StartError, Started, SurvivingWorker, WorkerEvent,
    WorkerExit,
};
use crate::digest;
use crate::name::{InstanceName, WorkerId};
use crate::pool::Address;
use crate::spec::LaunchSpec;
use crate::system::durable::private_dir;
use crate::tasks::{TaskGroup, TaskHandle};
use crate::time::Backoff;

/// The settings of a [`SystemdBackend`].
pub(crate) struct SystemdSettings {
    pub(crate) runtime_dir: PathBuf,
    /// The instance, whose name is in the names of units.
    pub(crate) instance: InstanceName,
    /// The prefix of the names of workers' sockets.
    pub(crate) socket_prefix: Option<String>,
    /// The apps that the server starts with.
    pub(crate) apps: Vec<PathBuf>,
    /// Where the worker scripts are.
    pub(crate) scripts: PathBuf,
    /// The program that has `worker-exec`; systemd has to be able to execute it.
    pub(crate) program: PathBuf,
    pub(crate) sandbox: SandboxInForce,
    pub(crate) scope: Scope,
    /// The group of the tasks that watch.
    pub(crate) stop: TaskGroup,
    pub(crate) events: mpsc::Sender<WorkerEvent>,
}

/// Workers as units. Dropping the backend ends no worker.
pub(crate) struct SystemdBackend {
    shared: Arc<SystemdInner>,
}

/// The parts that the backend and its tasks share.
struct SystemdInner {
    instance: InstanceName,
    scope: Scope,
    sandbox: SandboxInForce,
    starter: Starter,
    sockets: Sockets,
    units: UnitTable,
    bus: state::Receiver<Option<Connection>>,
    stop: TaskGroup,
    events: mpsc::Sender<WorkerEvent>,
}

impl SystemdBackend {
    /// Checks that systemd can be talked to, and begins to listen to its signals.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(crate) async fn open(settings: SystemdSettings) -> Result<Self, OpenError> {
        let SystemdSettings {
            apps,
            runtime_dir,
            instance,
            socket_prefix,
            scripts,
            program,
            sandbox,
            scope,
            stop,
            events,
        } = settings;
        let first = bus::connect(scope).await?;
        let root = rustix::process::geteuid().is_root();
        let may_start_units = scope == Scope::User || root;
        let workers = match scope {
            Scope::System => WorkerUsers::OtherUsers {
                notify: paths::notify_folder(&instance),
                bound: paths::sockets_folder(&instance),
            },
            Scope::User => WorkerUsers::SameUser,
        };
        let barriers = if scope == Scope::System && root { keep_others_out() } else { Ok(()) };
        let sockets = barriers
            .and_then(|()| Sockets::open(&runtime_dir, socket_prefix, workers))
            .map_err(|source| OpenError::Files { runtime_dir: runtime_dir.clone(), source })?;
        let starter = if may_start_units {
            let (instance, sandbox) = (instance.clone(), sandbox.clone());
            Starter::Direct(Box::new(DirectStarter { instance, sandbox, scope, apps, scripts, program }))
        } else {
            Starter::Launcher
        };
        let (publish, bus) = state::channel(None);
        let units = UnitTable::default();
        let shared = Arc::new(SystemdInner {
            instance,
            scope,
            sandbox,
            starter,
            sockets,
            units,
            bus,
            stop: stop.clone(),
            events,
        });
        let hearing = unit_signals::listen(Arc::clone(&shared), first, publish);
        let asked = stop.clone();
        stop.spawn("units", async move {
            tokio::select! {
                () = asked.requested() => {}
                () = hearing => {}
            }
        });
        // For services the launcher sweeps; a user's manager writes no such files.
        if scope == Scope::System && root {
            let (owner, asked) = (Arc::clone(&shared), stop.clone());
            stop.spawn("leftovers", async move {
                tokio::select! {
                    () = asked.requested() => {}
                    () = Leftovers::of_machine().keep_swept(|| owner.all_workers()) => {}
                }
            });
        }
        Ok(Self { shared })
    }
}

impl Backend for SystemdBackend {
    fn start(&self, order: Order) -> Pin<Box<dyn Future<Output = Result<Started, StartError>> + Send + '_>> {
        Box::pin(self.shared.start(order))
    }

    fn lives(&self, worker: WorkerId) -> bool {
        self.shared.units.lives(worker)
    }

    fn signal(&self, worker: WorkerId, signal: Signal) {
        if let Some(target) = self.shared.units.note_signal(worker, signal) {
            let shared = Arc::clone(&self.shared);
            self.shared.stop.spawn("worker signal", async move { shared.tell(&target, signal).await });
        }
    }

    fn listening(
        &self,
        worker: WorkerId,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = Option<Listening>> + Send + '_>> {
        Box::pin(self.shared.listening(worker, address))
    }

    fn refresh_memory(&self, worker: WorkerId) {
        let shared = Arc::clone(&self.shared);
        self.shared.stop.spawn("worker memory", async move { shared.measure_memory(worker).await });
    }

    fn memory(&self, worker: WorkerId) -> Option<u64> {
        self.shared.units.memory(worker)
    }

    fn survivors(&self) -> Pin<Box<dyn Future<Output = Vec<SurvivingWorker>> + Send + '_>> {
        Box::pin(found_units::find(&self.shared))
    }

    fn fingerprint(&self, launch: &LaunchSpec) -> String {
        self.shared.fingerprint(launch)
    }

    fn outlives(&self) -> bool {
        true
    }

    fn leave(&self) {
        self.shared.units.leave();
    }
}

impl SystemdInner {
    async fn start(self: &Arc<Self>, order: Order) -> Result<Started, StartError> {
        let launch = &order.launch;
        let target = Target {
            app: launch.app.clone(),
            worker: order.worker,
            unit: unit::name(&self.instance, &launch.app, order.worker),
        };
        let failed = |reason: String| StartError::Unit { unit: target.unit.clone(), reason };
        let Door { address, listener, file } = self.sockets.door_of(&order)?;
        let (notify, notify_file) = self.sockets.notify(order.worker)?;
        let request = start_request(&order, address.as_ref(), notify_file.path(), self.fingerprint(launch))
            .map_err(&failed)?;
        let listening = launch.notify.then(|| self.listen(notify, &target));
        let files = file.into_iter().chain([notify_file]).collect();
        let started = self.units.expect(target.clone(), files, listening);
        let asked = async {
            let bus = self.connection().await.ok_or("systemd cannot be talked to")?;
            let taken = self.starter.start(&bus, &request, starter::borrowed(listener.as_ref())).await;
            drop(listener);
            taken.map_err(|error| explained(&error))?;
            Ok(bus)
        };
        let outcome: Result<Connection, String> = asked.await;
        let bus = outcome.map_err(|reason| {
            self.units.forget(&target.unit);
            failed(reason)
        })?;
        match timeout(RUN_LIMIT, started).await {
            Ok(Ok(Ok(pid))) => Ok(Started { pid, address }),
            Ok(Ok(Err(exit))) if launch.job.is_some() && exit != WorkerExit::Unseen => {
                // A short command is over before systemd tells that it runs.
                let left = Remainder::Nothing;
                self.tell_end(&bus, UnitEnd { target: target.clone(), exit, left, unasked: true }).await;
                Ok(Started { pid: 0, address })
            }
            Ok(Ok(Err(exit))) => {
                let said = self.starter.output(&bus, &target, 5).await.join("; ");
                let said = if said.is_empty() { String::new() } else { format!(": {said}") };
                Err(failed(match exit {
                    // A unit that never had a process has no exit to report.
                    WorkerExit::Unseen => format!("systemd could not set it up{said}"),
                    exit => format!("it {exit} before its program ran{said}"),
                }))
            }
            Ok(Err(_)) => Err(failed("it was forgotten".into())),
            Err(_) => {
                // The worker comes late or never: it is not wanted any more.
                self.tell(&target, Signal::Kill).await;
                self.units.forget(&target.unit);
                Err(failed(format!("it did not run within {} s", RUN_LIMIT.as_secs())))
            }
        }
    }

    fn listen(self: &Arc<Self>, notify: UnixDatagram, target: &Target) -> TaskHandle {
        const NAME: &str = "worker readiness";
        match self.scope {
            Scope::User => self.stop.spawn(NAME, tell_readiness(notify, target.worker, self.events.clone())),
            Scope::System => {
                self.stop.spawn(NAME, readiness::of_own_user(Arc::clone(self), notify, target.clone()))
            }
        }
    }

    /// Sends a worker a signal, again and again until that has succeeded or the worker is gone.
    async fn tell(&self, target: &Target, signal: Signal) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while self.units.has(&target.unit) {
            let told = match self.connection().await {
                Some(bus) => self.tell_once(&bus, target, signal).await,
                None => Err(zbus::Error::Failure("systemd cannot be talked to".into())),
            };
            let Err(error) = told else { return };
            tracing::warn!(unit = target.unit, ?signal, "cannot signal a worker: {}", explained(&error));
            if matches!(signal, Signal::Reload(_)) {
                return;
            }
            sleep(backoff.next_delay()).await;
        }
    }

    async fn tell_once(&self, bus: &Connection, target: &Target, signal: Signal) -> zbus::Result<()> {
        match signal {
            Signal::Terminate => self.starter.stop(bus, target).await,
            signal => self.starter.signal(bus, target, signal).await,
        }
    }

    async fn tell_end(&self, bus: &Connection, ended: UnitEnd) {
        let UnitEnd { target, exit, left, unasked } = ended;
        if left == Remainder::Processes {
            self.events.send(WorkerEvent::Ending(target.worker, exit)).await.ok();
            return;
        }
        if unasked {
            let words = timeout(LAST_LINES_TIMEOUT, self.starter.output(bus, &target, LAST_LINES)).await;
            if let Some(lines) = words.ok().filter(|lines| !lines.is_empty()) {
                self.events.send(WorkerEvent::LastLines(target.worker, lines)).await.ok();
            }
        }
        // Without a receiver nobody needs the event.
        self.events.send(WorkerEvent::Exited(target.worker, exit)).await.ok();
    }

    async fn measure_memory(&self, worker: WorkerId) {
        let Some(target) = self.units.target(worker) else { return };
        if self.units.is_awaited(&target.unit) {
            return;
        }
        let Some(bus) = self.connection().await else { return };
        let object = bus::object_of(&target.unit);
        let current = bus::property(&bus, &object, bus::SERVICE, "MemoryCurrent").await;
        let bytes = current.ok().and_then(|current| match &*current {
            // All bits set mean: not counted.
            zbus::Variant::U64(bytes) if *bytes != u64::MAX => Some(*bytes),
            _ => None,
        });
        self.units.note_memory(&object, bytes);
    }

    fn fingerprint(&self, launch: &LaunchSpec) -> String {
        let sandbox = self.sandbox.get();
        let stamps = required_files::stamps(&sandbox, &self.instance, self.scope);
        digest::of(&(launch, &*sandbox, self.scope, stamps))
    }

    /// The names of all loaded units of workers, of every instance.
    async fn all_workers(&self) -> zbus::Result<Vec<String>> {
        let gone = || zbus::Error::Failure("systemd cannot be talked to".into());
        let bus = self.connection().await.ok_or_else(gone)?;
        let rows = ManagerProxy::new(&bus).await?.list_units_by_patterns(&[], &[ALL_WORKERS]).await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// The connection in use; waits for a while when there is none.
    async fn connection(&self) -> Option<Connection> {
        let mut bus = self.bus.clone();
        let there = timeout(BUS_LIMIT, bus.wait_for(Option::is_some)).await.ok()?.ok()?;
        there.clone()
    }
}

/// Makes the folders of a server that root runs by hand; those of a service are made by its unit and its package.
fn keep_others_out() -> io::Result<()> {
    private_dir(Path::new(paths::NOTIFY), 0o750)?;
    private_dir(Path::new(paths::APPS), 0o750)
}

/// The other side's message, without the error's name where there is a message.
fn explained(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(_, Some(said), _) => said.clone(),
        other => {
            let text = other.to_string();
            let named =
                text.split_once(": ").filter(|(name, _)| name.starts_with("org.freedesktop.DBus.Error."));
            named.map(|(_, said)| said.to_owned()).unwrap_or(text)
        }
    }
}

/// The time limit from the job to a program that runs.
const RUN_LIMIT: Duration = Duration::from_secs(30);
/// The time limit for a bus that is being restarted.
const BUS_LIMIT: Duration = Duration::from_secs(15);
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(3);
const LAST_LINES: u32 = 50;
