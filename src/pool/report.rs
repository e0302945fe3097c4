//! The reports of a pool: to the supervisor, which acts on them, and to people.
//!
//! Plain data. Never here: making a report (`state`).

use crate::name::{GenerationId, WorkerId};

use super::in_flight::InFlightRequest;
use super::worker_fault::WorkerFault;

/// The facts about one worker that the supervisor acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerStanding {
    pub(crate) worker: WorkerId,
    pub(crate) generation: GenerationId,
    /// How many requests the worker has in hand.
    pub(crate) in_flight: usize,
    pub(crate) tunnels: usize,
    pub(crate) max_tunnels: usize,
    pub(crate) served: u64,
    /// How often the worker has loaded its app anew.
    pub(crate) reloads: u64,
    /// Whether the worker has answered as many requests as it should.
    pub(crate) recycle_due: bool,
    /// Whether the worker can get new requests.
    pub(crate) routable: bool,
    /// Why the data path gave the worker up, if it did.
    pub(crate) condemned: Option<WorkerFault>,
    /// Whether the worker let a request's time pass beside others, so that the supervisor has to find out whether it
    /// still answers.
    pub(crate) doubted: bool,
    /// Whether the worker has sent bytes that belong to no answer, so that none of its connections is used twice.
    pub(crate) distrusted: bool,
}

/// The demand for a pool's workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolDemand {
    /// Claims since the pool was made.
    pub(crate) claims: u64,
    /// Requests that wait for whichever worker is free first; those of held hosts do not count, nor those that wait for
    /// the worker that their client has.
    pub(crate) waiting: usize,
}

/// A worker in a [`PoolReport`].
#[derive(Clone, Debug)]
pub(crate) struct WorkerReport {
    pub(crate) standing: WorkerStanding,
    /// The requests that the worker has in hand.
    pub(crate) in_flight: Vec<InFlightRequest>,
}

/// A pool at one moment.
#[derive(Clone, Debug)]
pub(crate) struct PoolReport {
    /// The pool's workers, in no order.
    pub(crate) workers: Vec<WorkerReport>,
    /// How many requests wait, those of held hosts included.
    pub(crate) queued: usize,
    /// How many requests may wait.
    pub(crate) max_queue: usize,
}
