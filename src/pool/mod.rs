//! The pool of one app: which workers can take a request, and which requests wait for one.
//!
//! The pool is the one place where the data path and the supervisor meet. The data path claims a [`Lease`] and drops
//! it; the supervisor publishes and retires workers through a [`PoolWriter`] and reads a [`PoolReport`]. Never here:
//! starting or stopping a process, or sending a byte to one.

mod address;
mod affinity;
mod claim;
mod client_workers;
mod fair_queue;
mod in_flight;
mod member;
mod mode;
mod numbered_queue;
mod preemption;
mod report;
mod saturation;
mod state;
#[cfg(test)]
mod sticky_tests;
#[cfg(test)]
mod tests;
mod worker_fault;
mod worker_slot;
mod worker_slots;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::budget::Reservation;
use crate::name::{ClientNet, GenerationId, WorkerId};
use crate::time::timer;

pub use address::Address;
pub(crate) use affinity::{Affinity, ClaimTerms, ItsClients, WantedGeneration};
pub(crate) use claim::{Claim, ClaimError};
use fair_queue::Ticket;
pub(crate) use in_flight::InFlightRequest;
pub(crate) use member::{Member, Parked};
pub(crate) use mode::Mode;
use preemption::Preemption;
pub(crate) use report::{PoolDemand, PoolReport, WorkerReport, WorkerStanding};
pub(crate) use saturation::Saturation;
use state::{Granted, PoolState, QueueEntry};
pub(crate) use worker_fault::WorkerFault;
use worker_slot::Seat;

/// Hands out workers to requests. Cheap to clone; all clones are the same pool.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<PoolInner>,
}

struct PoolInner {
    /// The slots and the queue under one lock, so that a freed worker and a new request cannot miss each other. The
    /// lock is held for a few steps of plain data only: never across an await, never while a lease is delivered or
    /// dropped.
    state: Mutex<PoolState<Waiter>>,
    /// Tells the supervisor that something has changed on which it acts.
    changed: Notify,
    /// Tells requests whose clients make a worker wait that another request waits for one.
    wanted: Notify,
    preemption: Mutex<Preemption>,
}

/// The way in which a waiting claim gets its lease or its refusal; dropping it means that the pool was closed.
type Waiter = oneshot::Sender<Result<Lease, ClaimError>>;

impl PoolInner {
    fn lock(&self) -> MutexGuard<'_, PoolState<Waiter>> {
        // A panic under the lock leaves plain data behind that is still consistent enough to serve from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// An empty pool, and the handle that fills it. At most `max_queue` claims wait at a time.
    pub(crate) fn new(max_queue: usize) -> (Self, PoolWriter) {
        let shared = Arc::new(PoolInner {
            state: Mutex::new(PoolState::new(max_queue)),
            changed: Notify::new(),
            wanted: Notify::new(),
            preemption: Mutex::default(),
        });
        (Self { shared: Arc::clone(&shared) }, PoolWriter { shared })
    }

    /// Takes a free worker of the current generation, the most recently used first; else waits in the queue. The call
    /// itself does either: the future only waits. The queue serves one claim of each client in turn, and the claims of
    /// one client in the order they came. A claim with terms gets, or waits for, the worker that its
    /// client has, or one of the canary; a client that has none gets the least used one.
    ///
    /// # Errors
    /// [`ClaimError::Full`] and [`ClaimError::Closed`] at once or while it waits, [`ClaimError::Expired`] at
    /// the deadline, by itself.
    ///
    /// # Cancel safety
    /// Dropping the future gives the place in the queue back, and the worker too if it had just been granted.
    pub(crate) fn claim(&self, claim: Claim) -> impl Future<Output = Result<Lease, ClaimError>> {
        let deadline = claim.deadline;
        let mut receiver = None;
        let waiter = || {
            let (sender, end) = oneshot::channel();
            receiver = Some(end);
            sender
        };
        let Claim { in_flight, client, not, terms, .. } = claim;
        let mut state = self.shared.lock();
        let granted = match terms {
            None => state.claim(client, in_flight, not, waiter),
            Some(terms) => state.claim_on((client, terms), in_flight, not, waiter),
        };
        drop(state);
        let outcome = match granted {
            Granted::Seat(seat) => Ok(Ok(self.lease(seat))),
            Granted::Full => Ok(Err(ClaimError::Full)),
            Granted::Closed => Ok(Err(ClaimError::Closed)),
            Granted::Waiting(place) => {
                let receiver = receiver.expect("whoever waits has been given a channel");
                let place = self.take_place(place);
                self.shared.changed.notify_one();
                self.shared.wanted.notify_waiters();
                // Boxed: most claims never wait.
                Err(Box::pin(self.wait(place, receiver, deadline)))
            }
        };
        async move {
            match outcome {
                Ok(at_once) => at_once,
                Err(waiting) => waiting.await,
            }
        }
    }

    async fn wait(
        &self,
        place: QueuePlace,
        receiver: oneshot::Receiver<Result<Lease, ClaimError>>,
        deadline: Instant,
    ) -> Result<Lease, ClaimError> {
        if let Ok(answer) = timer::timeout_at(deadline, receiver).await {
            place.was_left();
            // The sender is gone without an answer: the pool was closed.
            return answer.unwrap_or(Err(ClaimError::Closed));
        }
        let any_worker = self.shared.lock().any_worker();
        Err(ClaimError::Expired { any_worker })
    }

    /// Takes a place in the queue that no worker serves, for a request whose host is held.
    ///
    /// # Errors
    /// [`ClaimError::Full`].
    pub(crate) fn hold(&self, client: Option<ClientNet>) -> Result<HeldPlace, ClaimError> {
        let (sender, pushed_out) = oneshot::channel();
        let place = self.shared.lock().hold(client, || sender).ok_or(ClaimError::Full)?;
        Ok(HeldPlace { _place: self.take_place(place), pushed_out })
    }

    /// Refuses the claim or the held request that was taken out to make room for the place. The caller must not hold
    /// the lock, because the refused task may take it.
    fn take_place(&self, place: QueueEntry<Waiter>) -> QueuePlace {
        if let Some(waiter) = place.pushed_out {
            drop(waiter.send(Err(ClaimError::Full)));
        }
        QueuePlace { pool: self.clone(), ticket: Some(place.ticket) }
    }

    /// Whether there is a worker of the current generation.
    pub(crate) fn any_worker(&self) -> bool {
        self.shared.lock().any_worker()
    }

    /// Whether a request finds a worker, or has one started.
    pub(crate) fn can_serve(&self) -> bool {
        let state = self.shared.lock();
        state.any_worker() || state.is_resting()
    }

    /// How many workers can get requests.
    pub(crate) fn routable(&self) -> usize {
        self.shared.lock().routable()
    }

    /// Returns when a request waits for a worker.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn somebody_waits(self) {
        loop {
            let mut told = std::pin::pin!(self.shared.wanted.notified());
            // A request that begins to wait from here on is noticed.
            told.as_mut().enable();
            if self.shared.lock().is_waited_for() {
                return;
            }
            told.await;
        }
    }

    /// Whether a request whose client makes its worker wait, and is overdue by `late`, is to give the worker up: yes
    /// for one request at a time, the latest first, and only while another request waits. The caller asks again every
    /// 100 ms for as long as its client is overdue.
    pub(crate) fn is_preempted(&self, now: Instant, late: Duration) -> bool {
        let waited_for = self.shared.lock().is_waited_for();
        let mut preemption = self.shared.preemption.lock().unwrap_or_else(PoisonError::into_inner);
        if !waited_for {
            preemption.rest();
        }
        waited_for && preemption.asks(now, late)
    }

    /// The requests that hold the workers, for the log when a request got none; at most once a minute, and `None`
    /// between.
    pub(crate) fn saturation(&self, now: Instant) -> Option<Saturation> {
        self.shared.lock().saturation(now)
    }

    fn lease(&self, seat: Seat) -> Lease {
        Lease { pool: self.clone(), seat: Some(seat) }
    }
}

/// A place in the queue. Dropping it gives it back.
struct QueuePlace {
    pool: Pool,
    /// The ticket; `None` after the place was left.
    ticket: Option<Ticket>,
}

impl QueuePlace {
    /// Notes that the place was left, so that dropping gives nothing back.
    fn was_left(mut self) {
        self.ticket = None;
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.pool.shared.lock().abandon(ticket);
        }
    }
}

/// A place in the queue of a held host. Dropping it gives the place back.
pub(crate) struct HeldPlace {
    _place: QueuePlace,
    pushed_out: oneshot::Receiver<Result<Lease, ClaimError>>,
}

impl HeldPlace {
    /// Returns when the queue was full and the place was given to a client with fewer. Cancel-safe; must not be called
    /// again after it has returned.
    pub(crate) async fn pushed_out(&mut self) {
        // No worker serves the place, so that any message is its end.
        drop((&mut self.pushed_out).await);
    }
}

/// The right of one request to one worker. Dropping the lease gives the worker back in any case.
pub(crate) struct Lease {
    pool: Pool,
    /// The seat; `None` after it was given up for a tunnel's place.
    seat: Option<Seat>,
}

impl Lease {
    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.seat.as_ref().expect("the seat leaves only together with the lease itself").member
    }

    /// When the request got the worker.
    pub(crate) fn since(&self) -> Instant {
        self.seat.as_ref().expect("the seat leaves only together with the lease itself").since
    }

    /// Whether the request waited in the queue for the worker.
    pub(crate) fn waited(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.waited)
    }

    /// How many requests all the app's workers take at a time, if another request waits for one of them.
    pub(crate) fn wanted_places(&self) -> Option<usize> {
        self.pool.shared.lock().wanted_places()
    }

    /// Gives the worker back, as dropping does; returns whether a request that waited has it now.
    pub(crate) fn hand_on(mut self) -> bool {
        self.release()
    }

    fn release(&mut self) -> bool {
        let Some(seat) = self.seat.take() else { return false };
        let next = self.pool.shared.lock().release(&seat);
        self.pool.deliver(next)
    }

    /// Takes the worker out of routing for good; the supervisor reads why and ends it. The lease stays held.
    pub(crate) fn condemn(&self, why: WorkerFault) {
        if let Some(seat) = &self.seat {
            self.pool.shared.lock().condemn(seat.worker(), why);
            self.pool.shared.changed.notify_one();
        }
    }

    /// Notes that the worker did not answer in time. A worker that takes one request at a time is stuck with it and is
    /// given up; one that takes several may be well otherwise, which the supervisor finds out.
    pub(crate) fn overdue(&self) {
        match self.member().concurrency.get() {
            1 => self.condemn(WorkerFault::TooSlow),
            _ => self.doubt(),
        }
    }

    /// Notes that the worker let a request's time pass; the supervisor finds out whether it answers at all.
    pub(crate) fn doubt(&self) {
        if let Some(seat) = &self.seat
            && self.pool.shared.lock().doubt(seat.worker())
        {
            self.pool.shared.changed.notify_one();
        }
    }

    /// Notes how often the worker has loaded its app anew, as it says in its answers.
    pub(crate) fn note_reloads(&self, count: u64) {
        if let Some(seat) = &self.seat
            && self.pool.shared.lock().note_reloads(seat.worker(), count)
        {
            self.pool.shared.changed.notify_one();
        }
    }

    /// Changes the lease into a place beside the worker's requests, for a connection that may live for hours. The
    /// client gets at most as many places at a worker as it then leaves free there (see
    /// [`Budget`](crate::budget::Budget)).
    ///
    /// # Errors
    /// The lease itself, when the worker has no such place left for the client.
    pub(crate) fn into_tunnel(mut self, client: Option<ClientNet>) -> Result<Tunnel, Self> {
        let Some(seat) = self.seat.take() else { return Err(self) };
        let mut state = self.pool.shared.lock();
        let Some(place) = state.open_tunnel(seat.worker(), client) else {
            drop(state);
            self.seat = Some(seat);
            return Err(self);
        };
        let next = state.release(&seat);
        drop(state);
        self.pool.deliver(next);
        Ok(Tunnel { pool: self.pool.clone(), member: Arc::clone(&seat.member), place: Some(place) })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release();
    }
}

/// A long-lived connection's place at a worker. Dropping it gives the place back.
pub(crate) struct Tunnel {
    pool: Pool,
    member: Arc<Member>,
    /// The place; `None` after it was given back.
    place: Option<Reservation>,
}

#[cfg(test)]
impl Tunnel {
    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        drop(self.place.take());
        if self.pool.shared.lock().is_without_tunnels(self.member.worker) {
            self.pool.shared.changed.notify_one();
        }
    }
}

impl Pool {
    /// Delivers a seat to the claim that it was given to. A refused delivery drops a lease, which locks again, so that
    /// the delivery comes after the lock. Returns whether there was such a claim, as far as is known.
    fn deliver(&self, released: state::Released<Waiter>) -> bool {
        if released.tell_supervisor {
            self.shared.changed.notify_one();
        }
        released.grant.is_some_and(|(sender, seat)| sender.send(Ok(self.lease(seat))).is_ok())
    }
}

/// The supervisor's side of a pool: publishes and retires workers. All clones are of the same pool.
#[derive(Clone)]
pub(crate) struct PoolWriter {
    shared: Arc<PoolInner>,
}

impl PoolWriter {
    /// Adds a worker that is ready. The worker gets requests when its generation is the current one. `recycle_after`:
    /// the supervisor is told when the worker has answered that many requests.
    pub(crate) fn publish(&self, member: Arc<Member>, recycle_after: Option<u64>) {
        let grants = self.shared.lock().publish(member, recycle_after);
        self.deliver_all(grants);
    }

    /// Makes a generation the one that gets requests, in one step; workers of others get nothing new.
    pub(crate) fn promote(&self, generation: GenerationId) {
        let grants = self.shared.lock().promote(generation);
        self.deliver_all(grants);
    }

    /// Gives a generation the requests that ask for a canary, or none any more; the current one goes on with all others.
    pub(crate) fn set_canary(&self, canary: Option<GenerationId>) {
        let grants = self.shared.lock().set_canary(canary);
        self.deliver_all(grants);
    }

    /// Lets a worker finish what it has and gives it nothing new but what its clients ask, if they stay. Unknown workers
    /// are no error.
    pub(crate) fn retire(&self, worker: WorkerId, its_clients: ItsClients) {
        let grants = self.shared.lock().retire(worker, its_clients);
        self.deliver_all(grants);
    }

    /// Lets a retired worker get nothing more at all, if it has nothing in hand; returns whether that is so.
    pub(crate) fn close_at_rest(&self, worker: WorkerId) -> bool {
        self.shared.lock().close_at_rest(worker)
    }

    /// Notes how a worker ended, in one stable word such as `signal`, for the requests it left unanswered.
    pub(crate) fn note_end(&self, worker: WorkerId, cause: &'static str) {
        self.shared.lock().note_end(worker, cause);
    }

    /// Ends the doubt in a worker: it answers, or is given up.
    pub(crate) fn settle(&self, worker: WorkerId, gone: Option<WorkerFault>) {
        let mut state = self.shared.lock();
        state.trust(worker);
        if let Some(why) = gone {
            state.condemn(worker, why);
        }
    }

    /// Forgets a worker that is gone. Leases on it stay valid and end by themselves.
    pub(crate) fn remove(&self, worker: WorkerId) {
        let grants = self.shared.lock().remove(worker);
        self.deliver_all(grants);
    }

    /// Sets whether the pool takes requests. Closing refuses those that wait.
    pub(crate) fn set_mode(&self, mode: Mode) {
        let dropped = self.shared.lock().set_mode(mode);
        drop(dropped);
    }

    /// Changes how many claims may wait.
    pub(crate) fn set_max_queue(&self, max_queue: usize) {
        self.shared.lock().set_max_queue(max_queue);
    }

    /// The requests that every worker has in hand, and how many requests wait.
    pub(crate) fn report(&self) -> PoolReport {
        self.shared.lock().report()
    }

    /// The facts that the supervisor acts on, without the requests in hand: cheap enough to read at every change.
    pub(crate) fn standings(&self) -> Vec<WorkerStanding> {
        self.shared.lock().standings()
    }

    /// The demand for the workers: claims so far, and requests that wait.
    pub(crate) fn demand(&self) -> PoolDemand {
        self.shared.lock().demand()
    }

    /// Returns when something happened that the supervisor acts on: a retired worker became idle, a worker reached its
    /// requests or was condemned, a request waits. Changes are not counted: read [`standings`](Self::standings) after
    /// it.
    ///
    /// # Cancel safety
    /// Safe: a change that was not seen is seen by the next call.
    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    fn deliver_all(&self, grants: Vec<(Waiter, Seat)>) {
        let pool = Pool { shared: Arc::clone(&self.shared) };
        for (sender, seat) in grants {
            drop(sender.send(Ok(pool.lease(seat))));
        }
    }
}
