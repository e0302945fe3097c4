//! Owns what a pool knows of one worker: its seats and tunnels, and whether it may get requests.
//!
//! Plain data. Never here: which worker is chosen (`state`).

use std::sync::Arc;

use tokio::time::Instant;

use crate::budget::Budget;
use crate::name::{GenerationId, WorkerId};

use super::in_flight::InFlightRequest;
use super::member::Member;
use super::worker_fault::WorkerFault;

/// A seat at a worker, handed out.
pub(super) struct Seat {
    pub(super) member: Arc<Member>,
    pub(super) since: Instant,
    /// Whether the claim waited for the seat.
    pub(super) waited: bool,
    pub(super) number: usize,
}

impl Seat {
    pub(super) fn worker(&self) -> WorkerId {
        self.member.worker
    }
}

/// The slot of one worker in a pool.
pub(super) struct WorkerSlot {
    pub(super) member: Arc<Member>,
    /// The request in each seat; `None`: the seat is free.
    pub(super) seats: Vec<Option<InFlightRequest>>,
    /// How many seats are taken.
    pub(super) busy: usize,
    pub(super) tunnels: Budget,
    pub(super) served: u64,
    pub(super) reloads: u64,
    pub(super) recycle_after: Option<u64>,
    /// Whether the worker gets nothing new.
    pub(super) retired: bool,
    /// Whether the worker, though retired, gets the requests of the clients that have it.
    pub(super) keeps_clients: bool,
    /// The number of the claim by which the worker got a client last.
    pub(super) newest_client: u64,
    pub(super) condemned: Option<WorkerFault>,
    /// Whether the worker let a request's time pass, and was not asked since whether it answers at all.
    pub(super) doubted: bool,
}

impl WorkerSlot {
    /// A slot with nothing in hand.
    pub(super) fn new(member: Arc<Member>, recycle_after: Option<u64>) -> Self {
        Self {
            seats: vec![None; member.concurrency.get() as usize],
            busy: 0,
            tunnels: Budget::new(member.tunnels.into()),
            member,
            served: 0,
            reloads: 0,
            recycle_after,
            retired: false,
            keeps_clients: false,
            newest_client: 0,
            condemned: None,
            doubted: false,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.busy == self.seats.len()
    }

    pub(super) fn routable(&self, current: GenerationId) -> bool {
        !self.retired && self.condemned.is_none() && self.member.generation == current
    }

    /// Whether the worker gets the requests of the clients that have it.
    pub(super) fn serves_its_clients(&self, current: GenerationId) -> bool {
        self.condemned.is_none() && self.member.generation == current && (!self.retired || self.keeps_clients)
    }

    /// How little a new client would find the worker used: what it has in hand, its tunnels, and how long ago it got
    /// a client.
    pub(super) fn use_for_newcomer(&self) -> (u64, u64) {
        (self.busy as u64 + self.tunnels.held(), self.newest_client)
    }

    /// Whether clients were given the worker to keep.
    pub(super) fn has_clients(&self) -> bool {
        self.newest_client > 0
    }

    pub(super) fn free_seat(&self) -> Option<usize> {
        self.seats.iter().position(Option::is_none)
    }

    pub(super) fn at_rest(&self) -> bool {
        self.tunnels.held() == 0 && self.busy == 0
    }
}
