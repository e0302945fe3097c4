//! What a pool tells of itself: to the supervisor, which acts on it, and to people.
//!
//! Plain data. Never here: where it comes from (`state`).

use crate::name::{GenerationId, WorkerId};

use super::in_flight::InFlightRequest;
use super::worker_fault::WorkerFault;

/// What the supervisor acts on, of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerStanding {
    pub(crate) worker: WorkerId,
    pub(crate) generation: GenerationId,
    /// Requests it has in hand.
    pub(crate) in_flight: usize,
    pub(crate) tunnels: usize,
    pub(crate) max_tunnels: usize,
    pub(crate) served: u64,
    /// How often it loaded its app anew.
    pub(crate) reloads: u64,
    /// The worker has answered as many requests as it should.
    pub(crate) recycle_due: bool,
    /// The worker can get new requests.
    pub(crate) routable: bool,
    /// The data path gave it up.
    pub(crate) condemned: Option<WorkerFault>,
    /// The worker let a request's time pass beside others: whether it still answers is to be found out.
    pub(crate) doubted: bool,
    /// The worker has sent bytes that belong to no answer: none of its connections is used twice.
    pub(crate) distrusted: bool,
}

/// What requests ask of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolDemand {
    /// Claims since the pool was made.
    pub(crate) claims: u64,
    /// Requests that wait for a worker; those of held hosts do not count.
    pub(crate) waiting: usize,
}

/// One worker in a [`PoolReport`].
#[derive(Clone, Debug)]
pub(crate) struct WorkerReport {
    pub(crate) standing: WorkerStanding,
    /// What it has in hand.
    pub(crate) in_flight: Vec<InFlightRequest>,
}

/// A pool at one moment.
#[derive(Clone, Debug)]
pub(crate) struct PoolReport {
    /// The pool's workers, in no order.
    pub(crate) workers: Vec<WorkerReport>,
    /// Requests that wait, those of held hosts included.
    pub(crate) queued: usize,
    /// How many requests may.
    pub(crate) max_queue: usize,
}
