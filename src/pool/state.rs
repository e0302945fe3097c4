//! The slots and the queue of a pool as plain data: no lock, no await.
//!
//! Invariant: every seat handed out comes back by [`PoolState::release`] exactly once, and a worker never has more
//! seats out than its concurrency. Never here: waking anybody.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::budget::{Budget, Reservation};
use crate::name::{GenerationId, WorkerId};

use super::affinity::{Affinity, ClaimTerms, ItsClients, Newcomer};
use super::client_workers::{ClientWorkers, MOST_CLIENTS};
use super::fair_queue::{FairQueue, Gone, Lane, QueueClient, Room, Ticket};
use super::in_flight::InFlightRequest;
use super::member::Member;
use super::mode::Mode;
use super::report::{PoolDemand, PoolReport, WorkerReport, WorkerStanding};
use super::saturation::Saturation;
use super::worker_fault::WorkerFault;
use super::worker_slot::{Seat, WorkerSlot};
use super::worker_slots::{Duty, WorkerSlots};

pub(super) enum Granted<W> {
    Seat(Seat),
    Waiting(QueueEntry<W>),
    Full,
    Closed,
}

/// A place in the queue.
pub(super) struct QueueEntry<W> {
    pub(super) ticket: Ticket,
    /// The waiter that had to leave the queue for this entry.
    pub(super) pushed_out: Option<W>,
}

/// The result of giving a seat back.
pub(super) struct Released<W> {
    pub(super) grant: Option<(W, Seat)>,
    pub(super) tell_supervisor: bool,
}

struct WaitingClaim<W> {
    in_flight: InFlightRequest,
    waiter: W,
    /// The client, if it is to keep a worker other than the one that it waits for.
    newcomer: Option<Newcomer>,
}

/// The whole state of a pool.
pub(super) struct PoolState<W> {
    slots: WorkerSlots,
    /// Claims that wait, and requests of held hosts, which count as waiting.
    queue: FairQueue<WaitingClaim<W>, W>,
    /// The workers of clients that are known by their addresses.
    client_workers: ClientWorkers,
    max_queue: usize,
    mode: Mode,
    claims: u64,
    /// When it was last logged which requests hold the workers.
    saturation_told: Option<Instant>,
}

impl<W> PoolState<W> {
    pub(super) fn new(max_queue: usize) -> Self {
        Self {
            slots: WorkerSlots::default(),
            queue: FairQueue::new(),
            client_workers: ClientWorkers::new(MOST_CLIENTS),
            max_queue,
            mode: Mode::Open,
            claims: 0,
            saturation_told: None,
        }
    }

    /// Gives a claim a free seat, or a place in the queue; `waiter` is only called for a claim that has to wait.
    pub(super) fn claim(
        &mut self,
        client: QueueClient,
        in_flight: InFlightRequest,
        not: Option<WorkerId>,
        waiter: impl FnOnce() -> W,
    ) -> Granted<W> {
        if self.mode == Mode::Closed {
            return Granted::Closed;
        }
        self.claims += 1;
        if let Some((worker, number)) = self.slots.pop_free(not) {
            return Granted::Seat(self.slots.seat(worker, number, in_flight, false));
        }
        self.enqueue(client, (not, None), (in_flight, None), waiter)
    }

    /// Gives a claim a seat at the worker that its client has, or a place in that worker's line. A client without one
    /// gets the least used of the generation that is to answer, and keeps it where clients keep workers.
    pub(super) fn claim_on(
        &mut self,
        (client, terms): (QueueClient, ClaimTerms),
        in_flight: InFlightRequest,
        not: Option<WorkerId>,
        waiter: impl FnOnce() -> W,
    ) -> Granted<W> {
        if self.mode == Mode::Closed {
            return Granted::Closed;
        }
        self.claims += 1;
        let generation = self.slots.generation(terms.generation);
        let (had, remembered) = match terms.affinity {
            None => (None, None),
            Some(Affinity::Shown(had)) => (had, None),
            Some(Affinity::Address) => (client.and_then(|client| self.client_workers.of(client)), client),
        };
        let newcomer = terms.affinity.map(|_| Newcomer { remembered, had_one: had.is_some() });
        let serves = |worker: &WorkerId| self.slots.serves_clients_of(generation, *worker);
        let own = had.filter(|worker| Some(*worker) != not && serves(worker));
        if let Some((worker, number)) = own.and_then(|own| self.slots.take_free(own)) {
            return Granted::Seat(self.slots.seat(worker, number, in_flight, false));
        }
        if own.is_none()
            && let Some((worker, number)) = self.slots.take_least_used(generation, not)
        {
            if let Some(newcomer) = newcomer {
                self.settle_in(worker, newcomer);
            }
            return Granted::Seat(self.slots.seat(worker, number, in_flight, false));
        }
        let of_canary = self.slots.is_canary(generation).then_some(Lane::Canary);
        self.enqueue(client, (not, own.map(Lane::Worker).or(of_canary)), (in_flight, newcomer), waiter)
    }

    /// Gives a claim a place in the queue: in front, if it is not for the worker `not`, else in its lane.
    fn enqueue(
        &mut self,
        client: QueueClient,
        (not, lane): (Option<WorkerId>, Option<Lane>),
        (in_flight, newcomer): (InFlightRequest, Option<Newcomer>),
        waiter: impl FnOnce() -> W,
    ) -> Granted<W> {
        if let Some(not) = not {
            // A claim that waited before goes in front, and is not refused for its bad luck.
            let waiting = WaitingClaim { in_flight, waiter: waiter(), newcomer };
            let ticket = self.queue.push_retried(not, waiting);
            return Granted::Waiting(QueueEntry { ticket, pushed_out: None });
        }
        let Some(pushed_out) = self.make_room(client) else { return Granted::Full };
        let ticket = self.queue.push(client, lane, WaitingClaim { in_flight, waiter: waiter(), newcomer });
        Granted::Waiting(QueueEntry { ticket, pushed_out })
    }

    /// Takes a place in the queue that no worker serves; `None` when the queue is full.
    pub(super) fn hold(&mut self, client: QueueClient, waiter: impl FnOnce() -> W) -> Option<QueueEntry<W>> {
        let pushed_out = self.make_room(client)?;
        Some(QueueEntry { ticket: self.queue.hold(client, waiter()), pushed_out })
    }

    /// Makes room for one more of the client. `None`: there is none; else the waiter that has to leave for it, if any.
    fn make_room(&mut self, client: QueueClient) -> Option<Option<W>> {
        match self.queue.make_room(client, self.max_queue) {
            Room::Free => Some(None),
            Room::Instead(Gone::Claim(WaitingClaim { waiter, .. }) | Gone::Held(waiter)) => {
                Some(Some(waiter))
            }
            Room::None => None,
        }
    }

    /// Gives a place in the queue back, if it was not left already.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        self.queue.leave(ticket);
    }

    pub(super) fn is_waited_for(&self) -> bool {
        self.queue.has_claims()
    }

    pub(super) fn release(&mut self, seat: &Seat) -> Released<W> {
        let worker = seat.worker();
        let Some(freed) = self.slots.free(seat) else {
            return Released { grant: None, tell_supervisor: false };
        };
        let own = Lane::Worker(worker);
        let grant = match freed.role {
            Duty::Current if self.queue.has_lanes() => self.serve_next_at(worker),
            Duty::Current => self.serve_next(),
            Duty::Canary => self.serve_lanes([own, Lane::Canary], worker),
            Duty::Leaving if self.slots.serves_its_clients(worker) => self.serve_lanes([own, own], worker),
            Duty::Leaving => None,
        };
        Released { grant, tell_supervisor: freed.due || freed.at_rest }
    }

    /// Takes a place for a tunnel; `None` when the worker has none left for the client. A worker that is gone counts
    /// none.
    pub(super) fn open_tunnel(&self, worker: WorkerId, client: QueueClient) -> Option<Reservation> {
        let Some(slot) = self.slots.get(worker) else { return Some(Budget::new(0).reserve(client)) };
        let mut place = slot.tunnels.reserve(client);
        place.grow_to(1).then_some(place)
    }

    /// Whether the supervisor should look after a tunnel's end: it was the worker's last one.
    pub(super) fn is_without_tunnels(&self, worker: WorkerId) -> bool {
        // A worker that is due may have waited for this; one that drains is done if it has nothing else in hand.
        self.slots.get(worker).is_some_and(|slot| slot.tunnels.held() == 0)
    }

    pub(super) fn condemn(&mut self, worker: WorkerId, why: WorkerFault) {
        if let Some(slot) = self.slots.get_mut(worker) {
            slot.condemned.get_or_insert(why);
        }
    }

    /// Notes that a worker let a request's time pass; returns whether that is new.
    pub(super) fn doubt(&mut self, worker: WorkerId) -> bool {
        self.slots.get_mut(worker).is_some_and(|slot| !std::mem::replace(&mut slot.doubted, true))
    }

    pub(super) fn trust(&mut self, worker: WorkerId) {
        if let Some(slot) = self.slots.get_mut(worker) {
            slot.doubted = false;
        }
    }

    /// The requests that hold the workers; `None` within a minute of the last answer.
    pub(super) fn saturation(&mut self, now: Instant) -> Option<Saturation> {
        if self.saturation_told.is_some_and(|told| now.saturating_duration_since(told) < BETWEEN_SATURATIONS)
        {
            return None;
        }
        let routable = || self.slots.routable();
        let others_are_free =
            routable().any(|slot| !slot.is_full()) && routable().any(WorkerSlot::has_clients);
        let full = || routable().filter(|slot| slot.is_full() || !others_are_free);
        let held =
            full().flat_map(|slot| slot.seats.iter().flatten().map(|in_flight| (&slot.member, in_flight)));
        let saturation = Saturation::of(full().count(), others_are_free, held)?;
        self.saturation_told = Some(now);
        Some(saturation)
    }

    /// Notes how often a worker has loaded its app anew; returns whether the count changed.
    pub(super) fn note_reloads(&mut self, worker: WorkerId, count: u64) -> bool {
        let Some(slot) = self.slots.get_mut(worker) else { return false };
        std::mem::replace(&mut slot.reloads, count) != count
    }

    pub(super) fn publish(&mut self, member: Arc<Member>, recycle_after: Option<u64>) -> Vec<(W, Seat)> {
        let generation = member.generation;
        self.slots.publish(member, recycle_after);
        match self.slots.is_canary(generation) {
            true => self.serve_canary(generation),
            false => self.serve_all(),
        }
    }

    pub(super) fn promote(&mut self, generation: GenerationId) -> Vec<(W, Seat)> {
        self.slots.promote(generation);
        for lane in self.queue.lanes() {
            self.queue.open(lane);
        }
        self.serve_all()
    }

    /// Gives a generation the claims that ask for the canary; `None`: the current one has them.
    pub(super) fn set_canary(&mut self, canary: Option<GenerationId>) -> Vec<(W, Seat)> {
        self.slots.set_canary(canary);
        if canary.is_none() {
            for lane in self.queue.lanes() {
                if !matches!(lane, Lane::Worker(worker) if self.slots.serves_its_clients(worker)) {
                    self.queue.open(lane);
                }
            }
        }
        self.serve_all()
    }

    pub(super) fn retire(&mut self, worker: WorkerId, its_clients: ItsClients) -> Vec<(W, Seat)> {
        if let Some(slot) = self.slots.get_mut(worker) {
            slot.retired = true;
            slot.keeps_clients = its_clients == ItsClients::Stay;
            // An idle connection would keep a worker that waits for its clients from ending.
            slot.member.retire();
        }
        if its_clients == ItsClients::Go { self.open_line(worker) } else { Vec::new() }
    }

    /// Lets a retired worker get nothing more at all, if it has nothing in hand; returns whether that is so.
    pub(super) fn close_at_rest(&mut self, worker: WorkerId) -> bool {
        let Some(slot) = self.slots.get_mut(worker) else { return true };
        let at_rest = slot.at_rest();
        slot.keeps_clients &= !at_rest;
        at_rest
    }

    pub(super) fn note_end(&self, worker: WorkerId, cause: &'static str) {
        if let Some(slot) = self.slots.get(worker) {
            slot.member.note_end(cause);
        }
    }

    pub(super) fn remove(&mut self, worker: WorkerId) -> Vec<(W, Seat)> {
        self.slots.remove(worker);
        self.open_line(worker)
    }

    /// Lets any worker serve the claims that wait for this one, which is to take nothing any more.
    fn open_line(&mut self, worker: WorkerId) -> Vec<(W, Seat)> {
        if !self.queue.has_lanes() {
            return Vec::new();
        }
        self.queue.open(Lane::Worker(worker));
        self.serve_all()
    }

    /// Sets whether the pool takes requests. When it closes, returns the waiters; dropping them refuses them.
    pub(super) fn set_mode(&mut self, mode: Mode) -> Vec<W> {
        self.mode = mode;
        match mode {
            Mode::Open | Mode::Resting => Vec::new(),
            Mode::Closed => self.queue.take_claims().into_iter().map(|waiting| waiting.waiter).collect(),
        }
    }

    pub(super) fn set_max_queue(&mut self, max_queue: usize) {
        self.max_queue = max_queue;
    }

    pub(super) fn demand(&self) -> PoolDemand {
        PoolDemand { claims: self.claims, waiting: self.queue.claims_for_any() }
    }

    pub(super) fn is_resting(&self) -> bool {
        self.mode == Mode::Resting
    }

    pub(super) fn any_worker(&self) -> bool {
        self.slots.routable().next().is_some()
    }

    pub(super) fn routable(&self) -> usize {
        self.slots.routable().count()
    }

    /// How many requests the workers take at a time, while one waits.
    pub(super) fn wanted_places(&self) -> Option<usize> {
        self.queue
            .has_claims()
            .then(|| self.slots.routable().map(|slot| slot.member.concurrency.get() as usize).sum())
    }

    pub(super) fn standings(&self) -> Vec<WorkerStanding> {
        self.slots.all().map(|slot| self.slots.standing(slot)).collect()
    }

    pub(super) fn report(&self) -> PoolReport {
        let workers = self.slots.all().map(|slot| WorkerReport {
            standing: self.slots.standing(slot),
            in_flight: slot.seats.iter().flatten().cloned().collect(),
        });
        PoolReport { workers: workers.collect(), queued: self.queue.len(), max_queue: self.max_queue }
    }

    /// Notes that a client has this worker from now on.
    fn settle_in(&mut self, worker: WorkerId, Newcomer { remembered, had_one }: Newcomer) {
        if let Some(slot) = self.slots.get_mut(worker) {
            slot.newest_client = self.claims;
            slot.member.metrics.client_given_worker(if had_one { "moved" } else { "new" });
        }
        if let Some(client) = remembered {
            self.client_workers.note(client, worker);
        }
    }

    /// Gives a free seat to a waiting claim: to one that had another worker before, else to that of the client whose
    /// turn it is.
    fn serve_next(&mut self) -> Option<(W, Seat)> {
        let (waiting, (worker, number)) = if let Some(not) = self.first_retried() {
            let free = self.slots.pop_free(Some(not))?;
            (self.queue.pop_retried(not)?, free)
        } else if self.queue.has_ordinary() {
            let free = self.slots.pop_free(None)?;
            (self.queue.pop(None)?, free)
        } else {
            return None;
        };
        let WaitingClaim { in_flight, waiter, newcomer } = waiting;
        if let Some(newcomer) = newcomer {
            self.settle_in(worker, newcomer);
        }
        Some((waiter, self.slots.seat(worker, number, in_flight, true)))
    }

    /// Gives the seat that a worker has free to a waiting claim, where some wait for one worker alone.
    fn serve_next_at(&mut self, worker: WorkerId) -> Option<(W, Seat)> {
        let own = Some(Lane::Worker(worker));
        match self.queue.next_of([own, None]) {
            Some(Some(lane)) if self.first_retried().is_none() => self.serve_lane(lane, worker),
            _ => self.serve_next(),
        }
    }

    /// Gives a free seat of the worker to the claim in one of these lanes whose client's turn it is.
    fn serve_lanes(&mut self, lanes: [Lane; 2], worker: WorkerId) -> Option<(W, Seat)> {
        let lane = self.queue.next_of(lanes.map(Some))?;
        self.serve_lane(lane?, worker)
    }

    fn serve_lane(&mut self, lane: Lane, worker: WorkerId) -> Option<(W, Seat)> {
        let WaitingClaim { in_flight, waiter, newcomer } = self.queue.pop(Some(lane))?;
        let (worker, number) = self.slots.take_free(worker).expect("a claim is served where a seat is free");
        if let (Lane::Canary, Some(newcomer)) = (lane, newcomer) {
            self.settle_in(worker, newcomer);
        }
        Some((waiter, self.slots.seat(worker, number, in_flight, true)))
    }

    /// Gives free seats of the canary to the claims that wait for one.
    fn serve_canary(&mut self, canary: GenerationId) -> Vec<(W, Seat)> {
        let mut grants = Vec::new();
        while self.queue.next_of([Some(Lane::Canary)]).is_some()
            && let Some((worker, _)) = self.slots.take_least_used(canary, None)
        {
            grants.extend(self.serve_lane(Lane::Canary, worker));
        }
        grants
    }

    /// The worker that the first retried claim must not get, if another worker is free.
    fn first_retried(&self) -> Option<WorkerId> {
        self.queue.first_retried(|not| self.slots.any_free_but(not))
    }

    fn serve_all(&mut self) -> Vec<(W, Seat)> {
        std::iter::from_fn(|| self.serve_next()).collect()
    }
}

/// The shortest time between two messages that an app has too few places.
const BETWEEN_SATURATIONS: Duration = Duration::from_secs(60);
