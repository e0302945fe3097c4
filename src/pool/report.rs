//! What a pool tells of itself: to the supervisor, which acts on it, and to people.
//!
//! Plain data. Never here: where it comes from (`state`).

use tokio::time::Instant;

use crate::name::{GenerationId, WorkerId};

use super::in_flight::InFlightRequest;
use super::mode::Mode;
use super::worker_fault::WorkerFault;

/// What the supervisor acts on, of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The worker.
    pub worker: WorkerId,
    /// Its generation.
    pub generation: GenerationId,
    /// Requests it has in hand.
    pub in_flight: usize,
    /// Tunnels it holds.
    pub tunnels: usize,
    /// Tunnels it may hold.
    pub max_tunnels: usize,
    /// Requests it has answered.
    pub served: u64,
    /// How often it loaded its app anew.
    pub reloads: u64,
    /// It has answered as many requests as it should.
    pub recycle_due: bool,
    /// It can get new requests.
    pub routable: bool,
    /// The data path gave it up.
    pub condemned: Option<WorkerFault>,
    /// It let a request's time pass beside others: whether it still answers is to be found out.
    pub doubted: bool,
    /// It has sent bytes that belong to no answer: none of its connections is used twice.
    pub distrusted: bool,
}

/// One worker in a [`Report`].
#[derive(Clone, Debug)]
pub struct WorkerReport {
    /// The facts.
    pub standing: Standing,
    /// What it has in hand.
    pub in_flight: Vec<InFlightRequest>,
}

/// A pool at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its workers, in no order.
    pub workers: Vec<WorkerReport>,
    /// Requests that wait, those of held hosts included.
    pub queued: usize,
    /// How many requests may.
    pub max_queue: usize,
    /// When the one that waits longest arrived.
    pub oldest_wait: Option<Instant>,
    /// Whether it takes requests.
    pub mode: Mode,
    /// The generation that is routed to.
    pub current: GenerationId,
}
