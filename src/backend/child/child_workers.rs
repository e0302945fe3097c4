//! Owns the child workers that run, and what their tasks share: sockets, the reaper's client, where events go.
//!
//! Never here: starting a worker (`child`), or living with one (`worker`).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::Pid;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::procfs::Groups;
use super::reaper_client::ReaperClient;
use crate::backend::WorkerEvent;
use crate::backend::contract::exit::Killed;
use crate::backend::sockets::Sockets;
use crate::name::WorkerId;

/// The parts that the backend and its workers' tasks share.
pub(super) struct ChildWorkers {
    pub(super) self_exe: PathBuf,
    pub(super) sockets: Sockets,
    pub(super) reaper: Arc<ReaperClient>,
    pub(super) events: mpsc::Sender<WorkerEvent>,
    /// The workers whose process has not been reaped. Signals are sent under this lock, so that none comes too late.
    running: Mutex<HashMap<WorkerId, Running>>,
}

/// A worker whose process has not been reaped.
pub(super) struct Running {
    pub(super) group: Pid,
    /// Whether the worker was told to end.
    pub(super) told: bool,
    pub(super) killed: Option<Killed>,
}

/// The memory of the workers' process groups at one moment.
pub(super) struct Measured {
    pub(super) at: Instant,
    /// The resident bytes of each worker.
    pub(super) bytes: HashMap<WorkerId, u64>,
}

impl ChildWorkers {
    pub(super) fn new(
        self_exe: PathBuf,
        sockets: Sockets,
        reaper: Arc<ReaperClient>,
        events: mpsc::Sender<WorkerEvent>,
    ) -> Arc<Self> {
        Arc::new(Self { self_exe, sockets, reaper, events, running: Mutex::default() })
    }

    /// Lets no signal reach the worker's group any more; returns why the worker was killed, if it was.
    pub(super) fn forget(&self, worker: WorkerId) -> Option<Killed> {
        self.lock().remove(&worker)?.killed
    }

    /// Whether the worker was told to end and, since then, was not killed.
    pub(super) fn has_time_to_end(&self, worker: WorkerId) -> bool {
        self.lock().get(&worker).is_some_and(|entry| entry.told && entry.killed.is_none())
    }

    /// Whether the worker was killed because it did not end in time.
    pub(super) fn was_too_slow(&self, worker: WorkerId) -> bool {
        self.lock().get(&worker).is_some_and(|entry| entry.killed == Some(Killed::TooSlow))
    }

    /// Whether the worker was told to end.
    pub(super) fn was_told(&self, worker: WorkerId) -> bool {
        self.lock().get(&worker).is_some_and(|entry| entry.told)
    }

    pub(super) fn measure(&self) -> Measured {
        let groups: Vec<_> = self.lock().iter().map(|(worker, entry)| (*worker, entry.group)).collect();
        let bytes = match Groups::read() {
            Ok(read) => groups.iter().filter_map(|(id, group)| Some((*id, read.memory(*group)?))).collect(),
            Err(error) => {
                tracing::warn!(%error, "cannot read /proc: the memory of workers is not known");
                HashMap::new()
            }
        };
        Measured { at: Instant::now(), bytes }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<WorkerId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
