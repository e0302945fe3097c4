//! The slots and the queue of a pool as plain data: no lock, no await.
//!
//! Invariant: every seat handed out comes back by [`PoolState::release`] exactly once, and a worker never has more
//! seats out than its concurrency. Never here: waking anybody.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::uri::PathAndQuery;
use tokio::time::Instant;

use crate::name::{GenerationId, RequestId, WorkerId};

use super::crowd::Crowd;
use super::member::Member;
use super::report::{Report, SlotReport, Standing};

/// What a request is, for those who ask what a worker is doing.
#[derive(Clone, Debug)]
pub struct Doing {
    /// Its id.
    pub id: RequestId,
    /// Its method.
    pub method: Method,
    /// Its target.
    pub target: PathAndQuery,
    /// When it arrived; from its grant on, when the worker got it.
    pub since: Instant,
}

/// Why the data path gave a worker up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condemned {
    /// It did not answer within the request's time limit.
    TooSlow,
    /// It stopped in the middle of an answer.
    Stalled,
    /// It could not be connected to.
    Unreachable,
}

/// Whether a pool takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does; with no worker they wait.
    Open,
    /// It refuses them: there are no workers and none will come by themselves.
    Closed,
}

/// A seat at a worker, handed out.
pub(super) struct Seat {
    pub(super) member: Arc<Member>,
    pub(super) since: Instant,
    /// Whether its claim waited for it.
    pub(super) waited: bool,
    number: usize,
}

impl Seat {
    pub(super) fn worker(&self) -> WorkerId {
        self.member.worker
    }
}

/// A waiting claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TicketId(i64);

/// What a claim got.
pub(super) enum Granted {
    Seat(Seat),
    Waiting(TicketId),
    Full,
    Closed,
}

/// What giving a seat back led to.
pub(super) struct Released<W> {
    pub(super) grant: Option<(W, Seat)>,
    pub(super) tell_manager: bool,
}

struct Waiting<W> {
    id: TicketId,
    not: Option<WorkerId>,
    doing: Doing,
    waiter: W,
}

struct Slot {
    member: Arc<Member>,
    /// What each seat is doing; `None`: free.
    seats: Vec<Option<Doing>>,
    /// How many of them are taken.
    busy: usize,
    tunnels: u32,
    served: u64,
    reloads: u64,
    recycle_after: Option<u64>,
    /// Gets nothing new.
    retired: bool,
    condemned: Option<Condemned>,
    /// It let a request's time pass, and nobody has asked it since whether it answers at all.
    doubted: bool,
}

impl Slot {
    fn is_full(&self) -> bool {
        self.busy == self.seats.len()
    }

    fn routable(&self, current: GenerationId) -> bool {
        !self.retired && self.condemned.is_none() && self.member.generation == current
    }

    fn at_rest(&self) -> bool {
        self.tunnels == 0 && self.busy == 0
    }
}

/// All there is to know about a pool.
pub(super) struct PoolState<W> {
    slots: BTreeMap<WorkerId, Slot>,
    /// Workers with a free seat, each once, the one that was freed last behind the others. May hold workers that are no
    /// longer routable: they are taken out when they come up.
    free: Vec<WorkerId>,
    /// Sorted by id, so that a ticket is found by binary search.
    queue: VecDeque<Waiting<W>>,
    /// Requests of held hosts: they count as waiting.
    held: usize,
    next_ticket: i64,
    current: GenerationId,
    max_queue: usize,
    mode: Mode,
    /// When it was last told who holds the workers.
    crowd_told: Option<Instant>,
}

impl<W> PoolState<W> {
    pub(super) fn new(max_queue: usize) -> Self {
        Self {
            slots: BTreeMap::new(),
            free: Vec::new(),
            queue: VecDeque::new(),
            held: 0,
            next_ticket: 0,
            current: GenerationId::default(),
            max_queue,
            mode: Mode::Open,
            crowd_told: None,
        }
    }

    /// `waiter` is only made for a claim that has to wait.
    pub(super) fn claim(
        &mut self,
        doing: Doing,
        not: Option<WorkerId>,
        waiter: impl FnOnce() -> W,
    ) -> Granted {
        if self.mode == Mode::Closed {
            return Granted::Closed;
        }
        if let Some((worker, number)) = self.pop_free(not) {
            return Granted::Seat(self.seat(worker, number, doing, false));
        }
        // One that waited before goes in front and is not refused for its bad luck.
        let retried = not.is_some();
        if !retried && self.queue.len() + self.held >= self.max_queue {
            return Granted::Full;
        }
        self.next_ticket += 1;
        let waiter = waiter();
        if retried {
            let id = TicketId(-self.next_ticket);
            self.queue.push_front(Waiting { id, not, doing, waiter });
            return Granted::Waiting(id);
        }
        let id = TicketId(self.next_ticket);
        self.queue.push_back(Waiting { id, not, doing, waiter });
        Granted::Waiting(id)
    }

    pub(super) fn abandon(&mut self, ticket: TicketId) {
        if let Ok(at) = self.queue.binary_search_by_key(&ticket, |waiting| waiting.id) {
            self.queue.remove(at);
        }
    }

    pub(super) fn hold(&mut self) -> bool {
        let fits = self.queue.len() + self.held < self.max_queue;
        self.held += usize::from(fits);
        fits
    }

    pub(super) fn unhold(&mut self) {
        self.held -= 1;
    }

    pub(super) fn release(&mut self, seat: &Seat) -> Released<W> {
        let worker = seat.worker();
        let current = self.current;
        let Some(slot) = self.slots.get_mut(&worker) else {
            return Released { grant: None, tell_manager: false };
        };
        let was_full = slot.is_full();
        slot.seats[seat.number] = None;
        slot.busy -= 1;
        slot.served += 1;
        let due = slot.recycle_after.is_some_and(|limit| slot.served == limit);
        if !slot.routable(current) {
            // What was kept after this last request would keep a worker waiting that is to end.
            slot.member.close_parked();
            return Released { grant: None, tell_manager: slot.at_rest() || due };
        }
        if !was_full && let Some(at) = self.free.iter().rposition(|free| *free == worker) {
            self.free.remove(at);
        }
        self.free.push(worker);
        Released { grant: self.serve_next(), tell_manager: due }
    }

    pub(super) fn open_tunnel(&mut self, worker: WorkerId) -> bool {
        let Some(slot) = self.slots.get_mut(&worker) else { return true };
        let fits = slot.tunnels < slot.member.tunnels;
        slot.tunnels += u32::from(fits);
        fits
    }

    /// Returns whether the manager should look: it was the worker's last tunnel.
    pub(super) fn close_tunnel(&mut self, worker: WorkerId) -> bool {
        let Some(slot) = self.slots.get_mut(&worker) else { return false };
        slot.tunnels = slot.tunnels.saturating_sub(1);
        // One that is due may have waited for this, and one that drains is done if it has nothing else in hand.
        slot.tunnels == 0
    }

    pub(super) fn condemn(&mut self, worker: WorkerId, why: Condemned) {
        if let Some(slot) = self.slots.get_mut(&worker) {
            slot.condemned.get_or_insert(why);
        }
    }

    /// Returns whether that is news.
    pub(super) fn doubt(&mut self, worker: WorkerId) -> bool {
        self.slots.get_mut(&worker).is_some_and(|slot| !std::mem::replace(&mut slot.doubted, true))
    }

    pub(super) fn trust(&mut self, worker: WorkerId) {
        if let Some(slot) = self.slots.get_mut(&worker) {
            slot.doubted = false;
        }
    }

    /// Who holds the workers, once in a while.
    pub(super) fn crowd(&mut self, now: Instant) -> Option<Crowd> {
        if self.crowd_told.is_some_and(|told| now.saturating_duration_since(told) < BETWEEN_CROWDS) {
            return None;
        }
        let routable = || self.slots.values().filter(|slot| slot.routable(self.current));
        let held = routable().flat_map(|slot| slot.seats.iter().flatten().map(|doing| (&slot.member, doing)));
        let crowd = Crowd::of(routable().count(), held)?;
        self.crowd_told = Some(now);
        Some(crowd)
    }

    /// Returns whether the count changed.
    pub(super) fn note_reloads(&mut self, worker: WorkerId, count: u64) -> bool {
        let Some(slot) = self.slots.get_mut(&worker) else { return false };
        std::mem::replace(&mut slot.reloads, count) != count
    }

    pub(super) fn publish(&mut self, member: Arc<Member>, recycle_after: Option<u64>) -> Vec<(W, Seat)> {
        let (worker, seats) = (member.worker, member.concurrency.get() as usize);
        let routable = member.generation == self.current;
        let slot = Slot {
            member,
            seats: vec![None; seats],
            busy: 0,
            tunnels: 0,
            served: 0,
            reloads: 0,
            recycle_after,
            retired: false,
            condemned: None,
            doubted: false,
        };
        self.slots.insert(worker, slot);
        if routable {
            self.free.push(worker);
        }
        self.serve_all()
    }

    pub(super) fn promote(&mut self, generation: GenerationId) -> Vec<(W, Seat)> {
        self.current = generation;
        self.free.clear();
        for (worker, slot) in &self.slots {
            if slot.routable(generation) && !slot.is_full() {
                self.free.push(*worker);
            }
        }
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

    /// Returns those that waited when the pool closes; dropping them refuses them.
    pub(super) fn set_mode(&mut self, mode: Mode) -> Vec<W> {
        self.mode = mode;
        match mode {
            Mode::Open => Vec::new(),
            Mode::Closed => self.queue.drain(..).map(|waiting| waiting.waiter).collect(),
        }
    }

    pub(super) fn set_max_queue(&mut self, max_queue: usize) {
        self.max_queue = max_queue;
    }

    pub(super) fn any_worker(&self) -> bool {
        self.slots.values().any(|slot| slot.routable(self.current))
    }

    pub(super) fn routable(&self) -> usize {
        self.slots.values().filter(|slot| slot.routable(self.current)).count()
    }

    pub(super) fn standings(&self) -> Vec<Standing> {
        self.slots.values().map(|slot| self.standing(slot)).collect()
    }

    pub(super) fn report(&self) -> Report {
        let slots = self.slots.values().map(|slot| SlotReport {
            standing: self.standing(slot),
            doing: slot.seats.iter().flatten().cloned().collect(),
        });
        Report {
            slots: slots.collect(),
            queued: self.queue.len() + self.held,
            oldest_wait: self.queue.iter().map(|waiting| waiting.doing.since).min(),
            mode: self.mode,
            current: self.current,
        }
    }

    fn standing(&self, slot: &Slot) -> Standing {
        Standing {
            worker: slot.member.worker,
            generation: slot.member.generation,
            in_flight: slot.busy,
            tunnels: slot.tunnels as usize,
            served: slot.served,
            reloads: slot.reloads,
            recycle_due: slot.recycle_after.is_some_and(|limit| slot.served >= limit),
            routable: slot.routable(self.current),
            condemned: slot.condemned,
            doubted: slot.doubted,
        }
    }

    /// A free seat of the routable worker other than `not` that has the least in hand; of several that of the one that
    /// was freed last.
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

    fn seat(&mut self, worker: WorkerId, number: usize, mut doing: Doing, waited: bool) -> Seat {
        let slot = self.slots.get_mut(&worker).expect("a free seat belongs to a known worker");
        let since = Instant::now();
        doing.since = since;
        slot.seats[number] = Some(doing);
        slot.busy += 1;
        Seat { member: Arc::clone(&slot.member), since, waited, number }
    }

    /// Gives a free seat to the claim that waited longest among those that may take it.
    fn serve_next(&mut self) -> Option<(W, Seat)> {
        for at in 0..self.queue.len() {
            if let Some((worker, number)) = self.pop_free(self.queue[at].not) {
                let waiting = self.queue.remove(at)?;
                return Some((waiting.waiter, self.seat(worker, number, waiting.doing, true)));
            }
            if self.free.is_empty() {
                return None;
            }
        }
        None
    }

    fn serve_all(&mut self) -> Vec<(W, Seat)> {
        std::iter::from_fn(|| self.serve_next()).collect()
    }
}

/// As often as a person wants to read that an app has too few places.
const BETWEEN_CROWDS: Duration = Duration::from_secs(60);
