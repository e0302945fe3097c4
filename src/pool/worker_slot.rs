//! Owns what a pool knows of one worker: its seats and tunnels, and whether it may get requests.
//!
//! Plain data. Never here: which worker is chosen (`state`).

use std::sync::Arc;

use crate::budget::Budget;
use crate::name::GenerationId;

use super::in_flight::InFlightRequest;
use super::member::Member;
use super::worker_fault::WorkerFault;

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

    pub(super) fn at_rest(&self) -> bool {
        self.tunnels.held() == 0 && self.busy == 0
    }
}
