//! Owns what every backend promises: how workers are started, what they find, which events they cause, how they end.
//!
//! Never here: a process or a unit. `tests/it/backend.rs` holds the promises to child processes, `tests/systemd` to
//! units.

pub(super) mod backend_error;
pub(super) mod environment;
pub(super) mod exit;
pub(super) mod listening;
pub(super) mod readiness;
pub(super) mod signal;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use self::backend_error::StartError;
use self::exit::WorkerExit;
use self::listening::Listening;
use self::signal::Signal;
use crate::digest;
use crate::name::{AppName, GenerationId, WorkerId};
use crate::pool::Address;
use crate::spec::{JobName, LaunchSpec};

/// Starts, watches and ends the workers of one instance. The backend's [`WorkerEvent`]s go into the channel that the
/// backend was made with.
pub trait Backend: Send + Sync + 'static {
    /// Starts a worker: its listener exists and can be connected to when this returns.
    ///
    /// # Errors
    /// [`StartError`] when there is no process; then no event follows.
    ///
    /// # Cancel safety
    /// Not safe: await the future to its end in a task of its own.
    fn start(&self, order: Order) -> Pin<Box<dyn Future<Output = Result<Started, StartError>> + Send + '_>>;

    /// Whether the first process of a worker has not exited, as far as is known at this moment; false may come before
    /// the event of the worker's end. Unknown workers do not live.
    fn lives(&self, worker: WorkerId) -> bool;

    /// Sends a worker, with all its processes, a signal. Unknown workers are no error, because late calls are normal.
    fn signal(&self, worker: WorkerId, signal: Signal);

    /// Has the memory of a worker measured anew, unless that was done a moment ago. The result may be there only some
    /// milliseconds later.
    fn refresh_memory(&self, _worker: WorkerId) {}

    /// Resident memory of a worker with all its processes in bytes, as it was measured last; `None` when that is not
    /// known.
    fn memory(&self, worker: WorkerId) -> Option<u64>;

    /// The process that listens at a worker's address, and where else the worker listens; `None` where that cannot be
    /// found out. The look takes some milliseconds on another thread. Cancel-safe.
    fn listening(
        &self,
        _worker: WorkerId,
        _address: Address,
    ) -> Pin<Box<dyn Future<Output = Option<Listening>> + Send + '_>> {
        Box::pin(std::future::ready(None))
    }

    /// The workers of this instance that an earlier server left behind; asked once, before the first start. Events of
    /// them follow as of other workers. There are none where workers end with their server.
    ///
    /// # Cancel safety
    /// Not safe: await the future to its end.
    fn survivors(&self) -> Pin<Box<dyn Future<Output = Vec<SurvivingWorker>> + Send + '_>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// A short word for everything that a worker of this spec is started with: two workers with the same word were
    /// started in the same way, in every version of this program.
    fn fingerprint(&self, launch: &LaunchSpec) -> String {
        digest::of(launch)
    }

    /// Whether workers go on when their server ends without stopping them.
    fn outlives(&self) -> bool {
        false
    }

    /// Leaves the workers to another server: from now on nothing that is dropped here touches them or their sockets.
    /// Without effect where workers end with their server.
    fn leave(&self) {}
}

/// A worker that outlived the server that started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurvivingWorker {
    /// The worker's id.
    pub worker: WorkerId,
    /// The worker's app.
    pub app: AppName,
    /// The worker's generation.
    pub generation: GenerationId,
    /// The worker's process and its address.
    pub started: Started,
    /// The [`Backend::fingerprint`] of the spec that it was started with.
    pub fingerprint: String,
    /// When the worker was started.
    pub since: SystemTime,
    /// The job, of what is no worker.
    pub job: Option<JobName>,
}

/// An order to start one worker.
#[derive(Clone, Debug)]
pub struct Order {
    /// The worker's id.
    pub worker: WorkerId,
    /// The worker's generation.
    pub generation: GenerationId,
    /// The worker's program, environment and limits.
    pub launch: Arc<LaunchSpec>,
}

/// A worker that has a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The worker's process.
    pub pid: u32,
    /// The address at which the worker listens, or will listen; a job has none.
    pub address: Option<Address>,
}

/// An event of a worker, as the backend reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    /// The worker said `READY=1` on its notify socket.
    Ready(WorkerId),
    /// The worker wrote a line to standard output or standard error.
    Output(WorkerId, String),
    /// The worker is about to end, or has ended; these are the last lines it wrote, already logged elsewhere.
    LastLines(WorkerId, Vec<String>),
    /// The worker's first process has exited, and others of its processes take a moment to end.
    Ending(WorkerId, WorkerExit),
    /// The worker is gone, with all its processes; nothing follows.
    Exited(WorkerId, WorkerExit),
}
