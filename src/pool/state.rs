//! The slots and the queue of a pool as plain data: no lock, no await.
//!
//! Invariant: every seat handed out comes back by [`PoolState::release`] exactly once, and a worker never has more
//! seats out than its concurrency. Never here: waking anybody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::budget::{Budget, Reservation};
use crate::name::{GenerationId, WorkerId};

use super::fair_queue::{FairQueue, Gone, QueueClient, Room, Ticket};
use super::in_flight::InFlightRequest;
use super::member::Member;
use super::mode::Mode;
use super::report::{PoolDemand, PoolReport, WorkerReport, WorkerStanding};
use super::saturation::Saturation;
use super::worker_fault::WorkerFault;
use super::worker_slot::WorkerSlot;

/// A seat at a worker, handed out.
pub(super) struct Seat {
    pub(super) member: Arc<Member>,
    pub(super) since: Instant,
    /// Whether the claim waited for the seat.
    pub(super) waited: bool,
    number: usize,
}

impl Seat {
    pub(super) fn worker(&self) -> WorkerId {
        self.member.worker
    }
}

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
}

/// The whole state of a pool.
pub(super) struct PoolState<W> {
    slots: BTreeMap<WorkerId, WorkerSlot>,
    /// Workers with a free seat, each once, the last freed one behind the others. The list may have workers that are no
    /// longer routable, which are removed when they come up.
    free: Vec<WorkerId>,
    /// Claims that wait, and requests of held hosts, which count as waiting.
    queue: FairQueue<WaitingClaim<W>, W>,
    current: GenerationId,
    max_queue: usize,
    mode: Mode,
    claims: u64,
    /// When it was last logged which requests hold the workers.
    saturation_told: Option<Instant>,
}

impl<W> PoolState<W> {
    pub(super) fn new(max_queue: usize) -> Self {
        Self {
            slots: BTreeMap::new(),
            free: Vec::new(),
            queue: FairQueue::new(),
            current: GenerationId::default(),
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
        if let Some((worker, number)) = self.pop_free(not) {
            return Granted::Seat(self.seat(worker, number, in_flight, false));
        }
        if let Some(not) = not {
            // A claim that waited before goes in front, and is not refused for its bad luck.
            let ticket = self.queue.push_retried(not, WaitingClaim { in_flight, waiter: waiter() });
            return Granted::Waiting(QueueEntry { ticket, pushed_out: None });
        }
        let Some(pushed_out) = self.make_room(client) else { return Granted::Full };
        let ticket = self.queue.push(client, WaitingClaim { in_flight, waiter: waiter() });
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
        let current = self.current;
        let Some(slot) = self.slots.get_mut(&worker) else {
            return Released { grant: None, tell_supervisor: false };
        };
        let was_full = slot.is_full();
        slot.seats[seat.number] = None;
        slot.busy -= 1;
        slot.served += 1;
        let due = slot.recycle_after.is_some_and(|limit| slot.served == limit);
        if !slot.routable(current) {
            // A connection that is kept after this last request would keep a worker waiting that is to end.
            slot.member.close_parked();
            return Released { grant: None, tell_supervisor: slot.at_rest() || due };
        }
        if !was_full && let Some(at) = self.free.iter().rposition(|free| *free == worker) {
            self.free.remove(at);
        }
        self.free.push(worker);
        Released { grant: self.serve_next(), tell_supervisor: due }
    }

    /// Takes a place for a tunnel; `None` when the worker has none left for the client. A worker that is gone counts
    /// none.
    pub(super) fn open_tunnel(&self, worker: WorkerId, client: QueueClient) -> Option<Reservation> {
        let Some(slot) = self.slots.get(&worker) else { return Some(Budget::new(0).reserve(client)) };
        let mut place = slot.tunnels.reserve(client);
        place.grow_to(1).then_some(place)
    }

    /// Whether the supervisor should look after a tunnel's end: it was the worker's last one.
    pub(super) fn is_without_tunnels(&self, worker: WorkerId) -> bool {
        // A worker that is due may have waited for this; one that drains is done if it has nothing else in hand.
        self.slots.get(&worker).is_some_and(|slot| slot.tunnels.held() == 0)
    }

    pub(super) fn condemn(&mut self, worker: WorkerId, why: WorkerFault) {
        if let Some(slot) = self.slots.get_mut(&worker) {
            slot.condemned.get_or_insert(why);
        }
    }

    /// Notes that a worker let a request's time pass; returns whether that is new.
    pub(super) fn doubt(&mut self, worker: WorkerId) -> bool {
        self.slots.get_mut(&worker).is_some_and(|slot| !std::mem::replace(&mut slot.doubted, true))
    }

    pub(super) fn trust(&mut self, worker: WorkerId) {
        if let Some(slot) = self.slots.get_mut(&worker) {
            slot.doubted = false;
        }
    }

    /// The requests that hold the workers; `None` within a minute of the last answer.
    pub(super) fn saturation(&mut self, now: Instant) -> Option<Saturation> {
        if self.saturation_told.is_some_and(|told| now.saturating_duration_since(told) < BETWEEN_SATURATIONS)
        {
            return None;
        }
        let routable = || self.slots.values().filter(|slot| slot.routable(self.current));
        let held = routable()
            .flat_map(|slot| slot.seats.iter().flatten().map(|in_flight| (&slot.member, in_flight)));
        let saturation = Saturation::of(routable().count(), held)?;
        self.saturation_told = Some(now);
        Some(saturation)
    }

    /// Notes how often a worker has loaded its app anew; returns whether the count changed.
    pub(super) fn note_reloads(&mut self, worker: WorkerId, count: u64) -> bool {
        let Some(slot) = self.slots.get_mut(&worker) else { return false };
        std::mem::replace(&mut slot.reloads, count) != count
    }

    pub(super) fn publish(&mut self, member: Arc<Member>, recycle_after: Option<u64>) -> Vec<(W, Seat)> {
        let worker = member.worker;
        let routable = member.generation == self.current;
        self.slots.insert(worker, WorkerSlot::new(member, recycle_after));
        if routable {
            self.free.push(worker);
        }
        self.serve_all()
    }

    pub(super) fn promote(&mut self, generation: GenerationId) -> Vec<(W, Seat)> {
        self.current = generation;
        let free = self.slots.iter().filter(|(_, slot)| slot.routable(generation) && !slot.is_full());
        self.free = free.map(|(worker, _)| *worker).collect();
        self.serve_all()
    }

    pub(super) fn retire(&mut self, worker: WorkerId) {
        if let Some(slot) = self.slots.get_mut(&worker) {
            slot.retired = true;
            // An idle connection would keep a worker that waits for its clients from ending.
            slot.member.retire();
        }
    }

    pub(super) fn note_end(&self, worker: WorkerId, cause: &'static str) {
        if let Some(slot) = self.slots.get(&worker) {
            slot.member.note_end(cause);
        }
    }

    pub(super) fn remove(&mut self, worker: WorkerId) {
        self.slots.remove(&worker);
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
        PoolDemand { claims: self.claims, waiting: self.queue.claims_len() }
    }

    pub(super) fn is_resting(&self) -> bool {
        self.mode == Mode::Resting
    }

    pub(super) fn any_worker(&self) -> bool {
        self.slots.values().any(|slot| slot.routable(self.current))
    }

    pub(super) fn routable(&self) -> usize {
        self.slots.values().filter(|slot| slot.routable(self.current)).count()
    }

    /// How many requests the workers take at a time, while one waits.
    pub(super) fn wanted_places(&self) -> Option<usize> {
        let routable = || self.slots.values().filter(|slot| slot.routable(self.current));
        self.queue.has_claims().then(|| routable().map(|slot| slot.member.concurrency.get() as usize).sum())
    }

    pub(super) fn standings(&self) -> Vec<WorkerStanding> {
        self.slots.values().map(|slot| self.standing(slot)).collect()
    }

    pub(super) fn report(&self) -> PoolReport {
        let workers = self.slots.values().map(|slot| WorkerReport {
            standing: self.standing(slot),
            in_flight: slot.seats.iter().flatten().cloned().collect(),
        });
        PoolReport { workers: workers.collect(), queued: self.queue.len(), max_queue: self.max_queue }
    }

    fn standing(&self, slot: &WorkerSlot) -> WorkerStanding {
        WorkerStanding {
            worker: slot.member.worker,
            generation: slot.member.generation,
            in_flight: slot.busy,
            tunnels: slot.tunnels.held() as usize,
            max_tunnels: slot.tunnels.total() as usize,
            served: slot.served,
            reloads: slot.reloads,
            recycle_due: slot.recycle_after.is_some_and(|limit| slot.served >= limit),
            routable: slot.routable(self.current),
            condemned: slot.condemned,
            doubted: slot.doubted,
            distrusted: slot.member.is_distrusted(),
        }
    }

    /// Takes a free seat of the routable worker, other than `not`, that has the least in hand; of several that of the
    /// one freed last.
    fn pop_free(&mut self, not: Option<WorkerId>) -> Option<(WorkerId, usize)> {
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
        Some((worker, slot.seats.iter().position(Option::is_none)?))
    }

    fn seat(
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

    /// Gives a free seat to a waiting claim: to one that had another worker before, else to that of the client whose
    /// turn it is.
    fn serve_next(&mut self) -> Option<(W, Seat)> {
        let (waiting, (worker, number)) = if let Some(not) = self.first_retried() {
            let free = self.pop_free(Some(not))?;
            (self.queue.pop_retried(not)?, free)
        } else if self.queue.has_ordinary() {
            let free = self.pop_free(None)?;
            (self.queue.pop()?, free)
        } else {
            return None;
        };
        let WaitingClaim { in_flight, waiter } = waiting;
        Some((waiter, self.seat(worker, number, in_flight, true)))
    }

    /// The worker that the first retried claim must not get, if another worker is free.
    fn first_retried(&self) -> Option<WorkerId> {
        let is_free = |worker: &WorkerId| {
            self.slots.get(worker).is_some_and(|slot| slot.routable(self.current) && !slot.is_full())
        };
        self.queue.first_retried(|not| self.free.iter().any(|worker| *worker != not && is_free(worker)))
    }

    fn serve_all(&mut self) -> Vec<(W, Seat)> {
        std::iter::from_fn(|| self.serve_next()).collect()
    }
}

/// The shortest time between two messages that an app has too few places.
const BETWEEN_SATURATIONS: Duration = Duration::from_secs(60);
