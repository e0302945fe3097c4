//! Owns the slots of all workers of a pool, and which seat is taken next.
//!
//! Plain data. Never here: the requests that wait for a seat (`state`).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::name::{GenerationId, WorkerId};

use super::affinity::WantedGeneration;
use super::in_flight::InFlightRequest;
use super::member::Member;
use super::report::WorkerStanding;
use super::worker_slot::{Seat, WorkerSlot};

/// The slots of all workers.
#[derive(Default)]
pub(super) struct WorkerSlots {
    slots: BTreeMap<WorkerId, WorkerSlot>,
    /// Workers with a free seat, each once, the last freed one behind the others. The list may have workers that are no
    /// longer routable, which are removed when they come up.
    free: Vec<WorkerId>,
    /// The generation that gets requests.
    current: GenerationId,
    /// The generation that gets those that ask for it.
    canary: Option<GenerationId>,
}

/// A seat that was given back.
pub(super) struct Freed {
    /// The new requests that the seat's worker can get.
    pub(super) role: Duty,
    /// Whether its worker has nothing in hand.
    pub(super) at_rest: bool,
    /// Whether that was the last request that its worker should answer.
    pub(super) due: bool,
}

/// The new requests that a worker can get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    Current,
    Canary,
    /// None, but for those of its clients.
    Leaving,
}

impl WorkerSlots {
    pub(super) fn get(&self, worker: WorkerId) -> Option<&WorkerSlot> {
        self.slots.get(&worker)
    }

    pub(super) fn get_mut(&mut self, worker: WorkerId) -> Option<&mut WorkerSlot> {
        self.slots.get_mut(&worker)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &WorkerSlot> {
        self.slots.values()
    }

    /// The slots of workers of the current generation that can get new requests.
    pub(super) fn routable(&self) -> impl Iterator<Item = &WorkerSlot> {
        self.all().filter(|slot| slot.routable(self.current))
    }

    /// Whether a worker can get new requests, of all clients or of some.
    fn is_routable(&self, slot: &WorkerSlot) -> bool {
        slot.routable(self.current) || self.canary.is_some_and(|canary| slot.routable(canary))
    }

    /// The generation that answers a claim that wants this one.
    pub(super) fn generation(&self, wanted: WantedGeneration) -> GenerationId {
        let canary = self.canary.filter(|_| wanted == WantedGeneration::Canary);
        let canary = canary.filter(|canary| self.all().any(|slot| slot.routable(*canary)));
        canary.unwrap_or(self.current)
    }

    pub(super) fn is_canary(&self, generation: GenerationId) -> bool {
        self.canary == Some(generation)
    }

    /// Whether the worker gets the requests of the clients that have it, and is of this generation.
    pub(super) fn serves_clients_of(&self, generation: GenerationId, worker: WorkerId) -> bool {
        self.get(worker).is_some_and(|slot| slot.serves_its_clients(generation))
    }

    /// Whether the worker gets the requests of the clients that have it.
    pub(super) fn serves_its_clients(&self, worker: WorkerId) -> bool {
        let generations = [Some(self.current), self.canary];
        generations.into_iter().flatten().any(|generation| self.serves_clients_of(generation, worker))
    }

    /// Whether another worker than this one can get a new request now.
    pub(super) fn any_free_but(&self, not: WorkerId) -> bool {
        let is_free = |worker: WorkerId| {
            self.get(worker).is_some_and(|slot| slot.routable(self.current) && !slot.is_full())
        };
        self.free.iter().any(|worker| *worker != not && is_free(*worker))
    }

    /// The facts about a worker that the supervisor acts on.
    pub(super) fn standing(&self, slot: &WorkerSlot) -> WorkerStanding {
        WorkerStanding {
            worker: slot.member.worker,
            generation: slot.member.generation,
            in_flight: slot.busy,
            tunnels: slot.tunnels.held() as usize,
            max_tunnels: slot.tunnels.total() as usize,
            served: slot.served,
            reloads: slot.reloads,
            recycle_due: slot.recycle_after.is_some_and(|limit| slot.served >= limit),
            routable: self.is_routable(slot),
            condemned: slot.condemned,
            doubted: slot.doubted,
            distrusted: slot.member.is_distrusted(),
        }
    }

    pub(super) fn publish(&mut self, member: Arc<Member>, recycle_after: Option<u64>) {
        let worker = member.worker;
        if member.generation == self.current {
            self.free.push(worker);
        }
        self.slots.insert(worker, WorkerSlot::new(member, recycle_after));
    }

    pub(super) fn promote(&mut self, generation: GenerationId) {
        self.current = generation;
        self.canary = None;
        let free = self.slots.iter().filter(|(_, slot)| slot.routable(generation) && !slot.is_full());
        self.free = free.map(|(worker, _)| *worker).collect();
    }

    pub(super) fn set_canary(&mut self, canary: Option<GenerationId>) {
        self.canary = canary;
    }

    pub(super) fn remove(&mut self, worker: WorkerId) {
        self.slots.remove(&worker);
    }

    /// Takes a free seat of the routable worker, other than `not`, that has the least in hand; of several that of the
    /// one freed last.
    pub(super) fn pop_free(&mut self, not: Option<WorkerId>) -> Option<(WorkerId, usize)> {
        let mut best: Option<(usize, usize)> = None;
        let mut at = self.free.len();
        while at > 0 {
            at -= 1;
            let worker = self.free[at];
            let Some(slot) = self.slots.get(&worker).filter(|slot| slot.routable(self.current)) else {
                self.free.remove(at);
                best = best.map(|(place, busy)| (place - 1, busy));
                continue;
            };
            if Some(worker) == not {
                continue;
            }
            if best.is_none_or(|(_, busy)| slot.busy < busy) {
                best = Some((at, slot.busy));
            }
            if slot.busy == 0 {
                break;
            }
        }
        let (at, _) = best?;
        let worker = self.free[at];
        let slot = &self.slots[&worker];
        if slot.busy + 1 == slot.seats.len() {
            self.free.remove(at);
        }
        Some((worker, slot.free_seat()?))
    }

    /// Takes a free seat of this worker.
    pub(super) fn take_free(&mut self, worker: WorkerId) -> Option<(WorkerId, usize)> {
        let slot = self.slots.get(&worker)?;
        let number = slot.free_seat()?;
        if slot.busy + 1 == slot.seats.len() {
            self.free.retain(|free| *free != worker);
        }
        Some((worker, number))
    }

    /// Takes a free seat of the routable worker of the generation, other than `not`, that a new client would find the
    /// least used.
    pub(super) fn take_least_used(
        &mut self,
        generation: GenerationId,
        not: Option<WorkerId>,
    ) -> Option<(WorkerId, usize)> {
        let free = self
            .slots
            .iter()
            .filter(|(worker, slot)| slot.routable(generation) && !slot.is_full() && Some(**worker) != not);
        let worker = *free.min_by_key(|(_, slot)| slot.use_for_newcomer())?.0;
        self.take_free(worker)
    }

    /// Hands out a seat that was taken.
    pub(super) fn seat(
        &mut self,
        worker: WorkerId,
        number: usize,
        mut in_flight: InFlightRequest,
        waited: bool,
    ) -> Seat {
        let slot = self.slots.get_mut(&worker).expect("a free seat belongs to a known worker");
        let since = Instant::now();
        in_flight.since = since;
        slot.seats[number] = Some(in_flight);
        slot.busy += 1;
        Seat { member: Arc::clone(&slot.member), since, waited, number }
    }

    /// Takes a seat back; `None`: its worker is gone.
    pub(super) fn free(&mut self, seat: &Seat) -> Option<Freed> {
        let worker = seat.worker();
        let current = self.current;
        let slot = self.slots.get_mut(&worker)?;
        let was_full = slot.is_full();
        slot.seats[seat.number] = None;
        slot.busy -= 1;
        slot.served += 1;
        let due = slot.recycle_after.is_some_and(|limit| slot.served == limit);
        if !slot.routable(current) {
            if self.canary.is_some_and(|canary| slot.routable(canary)) {
                return Some(Freed { role: Duty::Canary, at_rest: false, due });
            }
            // A connection that is kept after this last request would keep a worker waiting that is to end.
            slot.member.close_parked();
            return Some(Freed { role: Duty::Leaving, at_rest: slot.at_rest(), due });
        }
        if !was_full && let Some(at) = self.free.iter().rposition(|free| *free == worker) {
            self.free.remove(at);
        }
        self.free.push(worker);
        Some(Freed { role: Duty::Current, at_rest: false, due })
    }
}
