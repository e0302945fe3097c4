//! Owns the backend whose workers are child processes of the server, each a process group of its own.
//!
//! Never here: a sandbox or a memory limit of the kernel's; the manager watches [`Backend::memory`] and says
//! [`Signal::OutOfMemory`]. A process that leaves its worker's group, as daemons do, is found when its worker ends
//! (`strays`), and not before.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::kill_process_group;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::child_workers::{ChildWorkers, Measured, Running};
use super::keeper::{self, Keeper};
use super::killed::Killed;
use super::listeners::{self, Belongings};
use super::procs;
use super::sockets::Sockets;
use super::worker::Worker;
use super::{Backend, Event, Listening, Order, Signal, StartError, Started};
use crate::name::{InstanceName, WorkerId};
use crate::pool::Address;
use crate::spec::ReloadSignal;
use crate::tasks::TaskGroup;

/// What a [`ChildBackend`] is made from.
pub struct ChildSettings {
    /// Where sockets go: into `w` and `n` below it.
    pub runtime_dir: PathBuf,
    /// For the process list.
    pub instance: InstanceName,
    /// In front of the names of workers' sockets.
    pub socket_prefix: Option<String>,
    /// The program that has `worker-exec` and `worker-guard`, as an absolute path; `/proc/self/exe` stays the running
    /// version when a package upgrade replaces the file.
    pub self_exe: PathBuf,
    /// The group of the tasks that watch workers. They end with their workers, not at the request to stop.
    pub stop: TaskGroup,
    /// Where events go. Output is dropped when it is full, everything else waits.
    pub events: mpsc::Sender<Event>,
}

/// Why there is no backend.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The workers of another server are still there.
    #[error("another server has its workers' sockets in {}", runtime_dir.display())]
    Busy {
        /// Where.
        runtime_dir: PathBuf,
    },
    /// Its files could not be made.
    #[error("cannot make the workers' sockets in {}: {source}", runtime_dir.display())]
    Files {
        /// Where.
        runtime_dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its guard could not be started.
    #[error("cannot start the guard of the workers, `{} worker-guard`: {source}", program.display())]
    Guard {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Workers as child processes. Dropping it ends no worker.
pub struct ChildBackend {
    workers: Arc<ChildWorkers>,
    stop: TaskGroup,
    /// Reading `/proc` serves all workers for a while.
    memory: Mutex<Option<Measured>>,
}

impl ChildBackend {
    /// Waits until workers of a server that was killed in the same directory are gone, at most 10 s, and starts the
    /// guard.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(settings: ChildSettings) -> Result<Self, OpenError> {
        let ChildSettings { runtime_dir, instance, socket_prefix, self_exe, stop, events } = settings;
        let files = |source: io::Error| match source.kind() {
            io::ErrorKind::WouldBlock => OpenError::Busy { runtime_dir: runtime_dir.clone() },
            _ => OpenError::Files { runtime_dir: runtime_dir.clone(), source },
        };
        std::fs::create_dir_all(&runtime_dir).map_err(files)?;
        let lock = keeper::lock(&runtime_dir).await.map_err(files)?;
        let sockets = Sockets::prepare(&runtime_dir, socket_prefix).map_err(files)?;
        let keeper = Keeper::start(self_exe.clone(), instance, lock, &stop)
            .map_err(|source| OpenError::Guard { program: self_exe.clone(), source })?;
        let workers = ChildWorkers::new(self_exe, sockets, keeper, events);
        Ok(Self { workers, stop, memory: Mutex::default() })
    }
}

impl Backend for ChildBackend {
    fn start(&self, order: Order) -> Pin<Box<dyn Future<Output = Result<Started, StartError>> + Send + '_>> {
        Box::pin(async move {
            let id = order.worker;
            let worker = Worker::spawn(&self.workers, order)?;
            let group = worker.group();
            // Before the program runs: whatever happens from here on, somebody ends it.
            self.workers.keeper.add(group, worker.ward());
            self.workers.lock().insert(id, Running { group, told: false, killed: None });
            let (answer, answered) = oneshot::channel();
            self.stop.spawn("worker", worker.live(Arc::clone(&self.workers), answer));
            answered.await.unwrap_or_else(|_| Err(lost()))
        })
    }

    fn lives(&self, worker: WorkerId) -> bool {
        self.workers.lock().get(&worker).is_some_and(|entry| procs::lives(entry.group))
    }

    fn signal(&self, worker: WorkerId, signal: Signal) {
        use rustix::process::Signal as Number;
        let number = match signal {
            Signal::Terminate => Number::TERM,
            Signal::Kill | Signal::OutOfMemory => Number::KILL,
            Signal::Reload(ReloadSignal::Hup) => Number::HUP,
            Signal::Reload(ReloadSignal::Usr1) => Number::USR1,
            Signal::Reload(ReloadSignal::Usr2) => Number::USR2,
        };
        let mut running = self.workers.lock();
        let Some(entry) = running.get_mut(&worker) else {
            return;
        };
        entry.told |= !matches!(signal, Signal::Reload(_));
        match signal {
            Signal::Kill => entry.killed = entry.killed.or(Some(Killed::TooSlow)),
            Signal::OutOfMemory => entry.killed = Some(Killed::ForMemory),
            Signal::Terminate | Signal::Reload(_) => {}
        }
        // Under the lock: entries leave before their group's id is free for others.
        if let Err(error) = kill_process_group(entry.group, number) {
            tracing::warn!(%worker, signal = ?number, %error, "cannot signal a worker");
        }
    }

    fn listening(
        &self,
        worker: WorkerId,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = Option<Listening>> + Send + '_>> {
        let group = self.workers.lock().get(&worker).map(|entry| entry.group);
        Box::pin(async move {
            let group = group?;
            let look = move || listeners::look(&address, &Belongings::of(procs::family(group)));
            // Only a runtime that shuts down does not run it.
            spawn_blocking(look).await.ok()?
        })
    }

    fn memory(&self, worker: WorkerId) -> Option<u64> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = memory.as_ref().is_some_and(|measured| measured.at.elapsed() < MEMORY_FRESH);
        if !fresh {
            *memory = Some(self.workers.measure());
        }
        memory.as_ref().and_then(|measured| measured.bytes.get(&worker).copied())
    }
}

fn lost() -> StartError {
    let source = io::Error::other("the task that watches the worker has ended");
    StartError::Program { program: "worker-exec".into(), directory: PathBuf::new(), source }
}

const MEMORY_FRESH: Duration = Duration::from_secs(1);
