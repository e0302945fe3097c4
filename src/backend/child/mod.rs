//! Owns the backend whose workers are child processes of the server, each a process group of its own.
//!
//! Never here: a sandbox or a memory limit of the kernel's; the supervisor watches [`Backend::memory`] and sends
//! [`Signal::OutOfMemory`]. A process that leaves its worker's group, as daemons do, is found only when its worker ends
//! (`strays`).

mod child_process;
mod child_workers;
mod children;
mod output_lines;
#[cfg(any(test, fuzzing))]
pub(super) use output_lines::Lines;

mod procfs;
pub(crate) mod reaper;
mod reaper_client;
mod spawn;
mod strays;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::kill_process_group;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use self::child_workers::{ChildWorkers, Measured, Running};
use self::reaper_client::ReaperClient;
use self::spawn::SpawnedWorker;
pub(crate) use self::spawn::{environment_of_command, environment_of_unit};
use super::listeners::{self, Belongings};
use super::sockets::Sockets;
use super::{Backend, Listening, OpenError, Order, Signal, StartError, Started, WorkerEvent};
use crate::name::{InstanceName, WorkerId};
use crate::pool::Address;
use crate::tasks::TaskGroup;

/// The settings of a [`ChildBackend`].
pub struct ChildSettings {
    /// The run-time folder; sockets go into `w` and `n` below it.
    pub runtime_dir: PathBuf,
    /// The instance's name, for the process list.
    pub instance: InstanceName,
    /// The prefix of the names of workers' sockets.
    pub socket_prefix: Option<String>,
    /// The program that has `worker-exec` and `worker-guard`, as an absolute path; `/proc/self/exe` stays the running
    /// version when a package upgrade replaces the file.
    pub self_exe: PathBuf,
    /// The group of the tasks that watch workers. These tasks end with their workers, not at the request to stop.
    pub stop: TaskGroup,
    /// The channel for events. Output is dropped when the channel is full, everything else waits.
    pub events: mpsc::Sender<WorkerEvent>,
}

/// Workers as child processes. Dropping the backend ends no worker.
pub struct ChildBackend {
    workers: Arc<ChildWorkers>,
    stop: TaskGroup,
    /// The memory as it was measured last: one look at `/proc` serves all workers for a while.
    memory: Mutex<Option<Measured>>,
}

impl ChildBackend {
    /// Waits until workers of a server that was killed in the same directory are gone, at most 10 s, and starts the
    /// reaper.
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
        let lock = reaper_client::lock(&runtime_dir).await.map_err(files)?;
        let sockets = Sockets::prepare(&runtime_dir, socket_prefix).map_err(files)?;
        let reaper = ReaperClient::start(self_exe.clone(), instance, lock, &stop)
            .map_err(|source| OpenError::Reaper { program: self_exe.clone(), source })?;
        let workers = ChildWorkers::new(self_exe, sockets, reaper, events);
        Ok(Self { workers, stop, memory: Mutex::default() })
    }
}

impl Backend for ChildBackend {
    fn start(&self, order: Order) -> Pin<Box<dyn Future<Output = Result<Started, StartError>> + Send + '_>> {
        Box::pin(async move {
            let id = order.worker;
            let worker = SpawnedWorker::spawn(&self.workers, order)?;
            let group = worker.group();
            // The reaper learns of the group before the program runs, so that it ends the worker whatever happens to
            // the server.
            self.workers.reaper.add(group, worker.child_group());
            self.workers.lock().insert(id, Running { group, told: false, killed: None });
            let (answer, answered) = oneshot::channel();
            self.stop.spawn("worker", worker.live(Arc::clone(&self.workers), answer));
            answered.await.unwrap_or_else(|_| Err(lost()))
        })
    }

    fn lives(&self, worker: WorkerId) -> bool {
        self.workers.lock().get(&worker).is_some_and(|entry| procfs::lives(entry.group))
    }

    fn signal(&self, worker: WorkerId, signal: Signal) {
        let mut running = self.workers.lock();
        let Some(entry) = running.get_mut(&worker) else {
            return;
        };
        entry.told |= signal.ends();
        entry.killed = entry.killed.or(signal.kills());
        // Under the lock: entries leave before their group's id is free for others.
        if let Err(error) = kill_process_group(entry.group, signal.number()) {
            tracing::warn!(%worker, ?signal, %error, "cannot signal a worker");
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
            let look = move || listeners::look(&address, &Belongings::of(procfs::family(group)));
            // The task fails only when the runtime shuts down.
            spawn_blocking(look).await.ok()?
        })
    }

    fn refresh_memory(&self, _worker: WorkerId) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.as_ref().is_none_or(|measured| measured.at.elapsed() >= MEMORY_FRESH) {
            *memory = Some(self.workers.measure());
        }
    }

    fn memory(&self, worker: WorkerId) -> Option<u64> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.as_ref().and_then(|measured| measured.bytes.get(&worker).copied())
    }
}

fn lost() -> StartError {
    let source = io::Error::other("the task that watches the worker has ended");
    StartError::Program { program: "worker-exec".into(), directory: PathBuf::new(), source }
}

const MEMORY_FRESH: Duration = Duration::from_secs(1);
