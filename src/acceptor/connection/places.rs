//! Owns the places of connections: which connections have one, which wait for one, and which resting ones make room.
//!
//! All threads share the places: their lock is taken when a connection comes and when it ends, never for a request. A
//! connection that is to make room is asked, and its own thread decides whether it still rests. Never here: accepting
//! (`listen`), or ending a connection (`deadlines`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::{Metrics, OpenConnection};
use crate::name::ClientNet;

use super::eviction::{Candidate, ConnectionCounts, EvictionRequest, Found, candidates};
use super::place_state::{PlaceState, millis};
use crate::acceptor::limit::Limit;

/// The places of all connections; see the module. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(in crate::acceptor) struct Places(Arc<PlacesInner>);

#[derive(Debug)]
struct PlacesInner {
    total: usize,
    per_client: Option<usize>,
    epoch: Instant,
    held: Mutex<PlacesState>,
}

#[derive(Debug, Default)]
struct PlacesState {
    /// The connections that have a place; each knows its index here.
    placed: Vec<Arc<PlaceState>>,
    /// The connections that wait for a place; those of a client in the order they came.
    waiting: Vec<Arc<PlaceState>>,
    clients: HashMap<ClientNet, ClientPlaces>,
    /// How many connections were asked to make room, and have neither ended nor declined.
    asked: usize,
    /// The connections that could be asked next, as of that time: one look at all connections serves many newcomers.
    next: Found,
    looked: Option<Instant>,
    /// Whether that look has found any.
    found: bool,
}

/// How many connections a client has.
#[derive(Debug, Default)]
struct ClientPlaces {
    placed: usize,
    waiting: usize,
    /// How many of the connections beyond the client's share have a request in hand.
    borrowing: usize,
}

/// Why a connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum Refused {
    /// The client has as many connections as one address may have.
    AddressLimit,
    /// There is no place, and as many of the client's connections wait already as may.
    Full,
}

impl Places {
    /// `total`: the most connections in all; `per_client`: the most of one client.
    pub(in crate::acceptor) fn new(total: usize, per_client: Option<usize>, now: Instant) -> Self {
        Self(Arc::new(PlacesInner { total, per_client, epoch: now, held: Mutex::default() }))
    }

    /// Has the metrics show how many places there are, and how many of them are taken.
    pub(in crate::acceptor) fn show(&self, metrics: &Metrics) {
        let places = self.clone();
        let taken = move || places.lock().placed.len() as u64;
        metrics.show_limit(Limit::Connections.name(), self.0.total as u64, taken);
    }

    /// Admits a connection that has come. The connection has a place at once, or waits for one; resting connections may
    /// then be asked to make room.
    ///
    /// # Errors
    /// [`Refused`], when the connection is to be closed.
    pub(in crate::acceptor) fn enter(
        &self,
        client: Option<ClientNet>,
        now: Instant,
    ) -> Result<Admission, Refused> {
        let place_state = Arc::new(PlaceState::new(client, self.0.epoch, now));
        let mut held = self.lock();
        let own = client.and_then(|client| held.clients.get(&client));
        let (placed, waiting) = own.map_or((0, 0), |own| (own.placed, own.waiting));
        if client.is_some() && self.0.per_client.is_some_and(|most| placed + waiting >= most) {
            return Err(Refused::AddressLimit);
        }
        if held.placed.len() < self.0.total {
            held.place(&place_state, self.0.total);
        } else {
            let room = MOST_WAITING.saturating_sub(held.waiting.len());
            if room == 0 || (client.is_some() && waiting >= room) {
                return Err(Refused::Full);
            }
            held.wait(&place_state);
            self.ask_for(&mut held, client, now, false);
        }
        drop(held);
        Ok(Admission { places: self.clone(), place_state, counted: None })
    }

    /// Has resting connections make room when there are places but no descriptors.
    pub(in crate::acceptor) fn relieve(&self, now: Instant) {
        let mut held = self.lock();
        for _ in 0..RELIEF {
            if !self.ask_one(&mut held, None, now, true) {
                break;
            }
        }
    }

    fn ask_for(&self, held: &mut PlacesState, client: Option<ClientNet>, now: Instant, patient: bool) {
        if held.asked < held.waiting.len() {
            self.ask_one(held, client, now, patient);
        }
    }

    /// Asks the first connection that may be ended for a newcomer of the client; false when there is none.
    fn ask_one(
        &self,
        held: &mut PlacesState,
        client: Option<ClientNet>,
        now: Instant,
        patient: bool,
    ) -> bool {
        let order = EvictionRequest { now: millis(self.0.epoch, now), newcomer: client, patient };
        let is_fresh = held.looked.is_some_and(|at| now.saturating_duration_since(at) < FRESH);
        if is_fresh && let Some(place_state) = held.take_next(order) {
            return held.ask(&place_state);
        }
        // The fresh look has found nothing, or what is left of it may not be ended for this newcomer.
        if is_fresh && !(held.found && held.next.first.is_empty()) {
            return false;
        }
        held.looked = Some(now);
        let most = self.0.total / SHARE_OF_A_LOOK + 1;
        held.next = candidates(&held.placed, &held.clients, order.now, most);
        held.found = !held.next.first.is_empty();
        held.take_next(order).is_some_and(|place_state| held.ask(&place_state))
    }

    fn lock(&self) -> MutexGuard<'_, PlacesState> {
        // No code that runs under the lock panics.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionCounts for HashMap<ClientNet, ClientPlaces> {
    fn of(&self, client: ClientNet) -> usize {
        self.get(&client).map_or(0, |client| client.placed)
    }
}

impl PlacesState {
    /// Takes the first candidate that still rests as it did and may be ended for this newcomer.
    fn take_next(&mut self, order: EvictionRequest) -> Option<Arc<PlaceState>> {
        let Found { first, soon } = &mut self.next;
        first.retain(Candidate::holds);
        let at = first.iter().position(|candidate| order.allows(candidate, &self.clients, *soon))?;
        Some(first.remove(at).place_state)
    }

    fn ask(&mut self, place_state: &PlaceState) -> bool {
        place_state.ask();
        self.asked += 1;
        true
    }

    fn place(&mut self, place_state: &Arc<PlaceState>, total: usize) {
        let free = total.saturating_sub(self.placed.len());
        place_state.set_index(self.placed.len());
        self.placed.push(Arc::clone(place_state));
        let mut lent = false;
        if let Some(client) = place_state.client() {
            let client = self.clients.entry(client).or_default();
            lent = client.placed >= free;
            client.placed += 1;
        }
        place_state.place(lent);
    }

    fn wait(&mut self, place_state: &Arc<PlaceState>) {
        self.waiting.push(Arc::clone(place_state));
        if let Some(client) = place_state.client() {
            self.clients.entry(client).or_default().waiting += 1;
        }
    }

    fn leave(&mut self, place_state: &PlaceState) {
        // The connection stays asked, so that whoever ended it learns why.
        if place_state.is_asked() {
            self.asked -= 1;
        }
        if place_state.is_placed() {
            let at = place_state.index();
            self.placed.swap_remove(at);
            place_state.set_index(usize::MAX);
            if let Some(moved) = self.placed.get(at) {
                moved.set_index(at);
            }
            self.forget(place_state.client(), |client| &mut client.placed);
        } else if let Some(at) =
            self.waiting.iter().position(|other| std::ptr::eq(&raw const **other, place_state))
        {
            self.waiting.remove(at);
            self.forget(place_state.client(), |client| &mut client.waiting);
        }
    }

    fn forget(&mut self, client: Option<ClientNet>, count: impl Fn(&mut ClientPlaces) -> &mut usize) {
        let Some(client) = client else { return };
        let Some(counts) = self.clients.get_mut(&client) else { return };
        *count(counts) -= 1;
        if counts.placed == 0 && counts.waiting == 0 {
            self.clients.remove(&client);
        }
    }

    /// Gives free places to those that wait, first to the clients that have the fewest.
    fn settle(&mut self, total: usize) {
        while self.placed.len() < total && !self.waiting.is_empty() {
            let has =
                |place_state: &PlaceState| place_state.client().map_or(0, |client| self.clients.of(client));
            let first = (0..self.waiting.len()).min_by_key(|at| has(&self.waiting[*at])).unwrap_or(0);
            let place_state = self.waiting.remove(first);
            self.forget(place_state.client(), |client| &mut client.waiting);
            self.place(&place_state, total);
        }
    }
}

/// The place of a connection until its last byte, or its wait for one. Dropping it gives the place back.
#[derive(Debug)]
pub(in crate::acceptor) struct Admission {
    places: Places,
    place_state: Arc<PlaceState>,
    counted: Option<OpenConnection>,
}

impl Admission {
    pub(in crate::acceptor) fn place_state(&self) -> &Arc<PlaceState> {
        &self.place_state
    }

    /// Keeps the connection in the count of open ones for as long as it has its place.
    pub(in crate::acceptor) fn count(&mut self, open: OpenConnection) {
        self.counted = Some(open);
    }

    /// Asks others once more, for a connection that still waits; `patient`: it has waited for a while.
    pub(in crate::acceptor) fn ask_again(&self, now: Instant, patient: bool) {
        let mut held = self.places.lock();
        if !self.place_state.is_placed() {
            self.places.ask_for(&mut held, self.place_state.client(), now, patient);
        }
    }

    /// Counts a request of a connection beyond its client's share; false when too many of those have one already.
    pub(in crate::acceptor) fn borrow(&self) -> bool {
        let most = (self.places.0.total / LENT).max(LENT_AT_LEAST);
        let mut held = self.places.lock();
        let client = self.place_state.client().and_then(|client| held.clients.get_mut(&client));
        match client {
            Some(client) if client.borrowing >= most => false,
            Some(client) => {
                client.borrowing += 1;
                true
            }
            None => true,
        }
    }

    /// Ends the request that [`borrow`](Self::borrow) counted.
    pub(in crate::acceptor) fn give_back(&self) {
        let mut held = self.places.lock();
        if let Some(client) = self.place_state.client().and_then(|client| held.clients.get_mut(&client)) {
            client.borrowing -= 1;
        }
    }

    /// Notes that the connection was asked to make room, but has something in hand and stays.
    pub(in crate::acceptor) fn decline(&self) {
        let mut held = self.places.lock();
        if self.place_state.unask() {
            held.asked -= 1;
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut held = self.places.lock();
        held.leave(&self.place_state);
        held.settle(self.places.0.total);
    }
}

/// The most connections that wait for a place. A client has at most as many of them as it leaves free.
const MOST_WAITING: usize = 256;
/// The part of all connections that a client may use at a time beyond its share, so that others always find some that
/// can be ended.
const LENT: usize = 4;
/// The least number that a client may use beyond its share, for servers with few places.
const LENT_AT_LEAST: usize = 16;
/// A look at all connections finds one in so many.
const SHARE_OF_A_LOOK: usize = 64;
/// How long the result of a look is used.
const FRESH: Duration = Duration::from_millis(50);
/// The number of connections that make room when there are no descriptors.
const RELIEF: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn net(last: u8) -> Option<ClientNet> {
        (last != 0).then(|| ClientNet::of([10, 0, 0, last].into()))
    }

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    /// The connections that have been asked, in their order.
    fn asked(all: &[Admission]) -> Vec<usize> {
        (0..all.len()).filter(|at| all[*at].place_state().is_asked()).collect()
    }

    #[test]
    fn one_connection_is_asked_for_each_newcomer_and_the_client_with_fewest_is_served_first() {
        let start = Instant::now();
        let places = Places::new(4, None, start);
        let mut held: Vec<_> = (0..4).map(|ms| places.enter(net(1), at(start, ms)).unwrap()).collect();
        assert!(held.iter().all(|one| one.place_state().is_placed()));
        held[3].place_state().works();
        let more = places.enter(net(1), at(start, 2000)).unwrap();
        let other = places.enter(net(2), at(start, 2000)).unwrap();
        assert_eq!(asked(&held), [0, 1]);
        assert!(!more.place_state().is_placed() && !other.place_state().is_placed());
        drop(held.remove(0));
        assert!(other.place_state().is_placed() && !more.place_state().is_placed(), "though it came later");
        held[0].place_state().works();
        held[0].decline();
        assert_eq!(asked(&held), [0; 0]);
        more.ask_again(at(start, 2000), false);
        assert_eq!(asked(&held), [1], "another one");
        drop(held.remove(1));
        assert!(more.place_state().is_placed());
    }

    #[test]
    fn what_is_in_use_is_never_asked_and_those_that_wait_have_shares_too() {
        let start = Instant::now();
        let places = Places::new(2, None, start);
        let held: Vec<_> = (0..2).map(|_| places.enter(net(1), start).unwrap()).collect();
        held.iter().for_each(|one| one.place_state().works());
        let later = at(start, 5000);
        let mut waiting = Vec::new();
        let refused = loop {
            match places.enter(net(1), later) {
                Ok(one) => waiting.push(one),
                Err(refused) => break refused,
            }
        };
        assert_eq!((refused, waiting.len()), (Refused::Full, MOST_WAITING / 2));
        waiting.push(places.enter(net(2), later).unwrap());
        assert_eq!(asked(&held), [0; 0]);
    }

    #[test]
    fn connections_of_an_address_have_a_limit_of_their_own_but_not_those_of_proxies() {
        let start = Instant::now();
        let places = Places::new(10, Some(2), start);
        let held: Vec<_> = [1, 1, 0, 0, 0].map(|last| places.enter(net(last), start).unwrap()).into();
        assert_eq!(places.enter(net(1), start).unwrap_err(), Refused::AddressLimit);
        assert!(places.enter(net(2), start).is_ok());
        drop(held);
        assert!(places.enter(net(1), start).is_ok());
    }

    #[test]
    fn beyond_its_share_a_client_uses_a_part_of_its_connections_at_a_time() {
        let start = Instant::now();
        let places = Places::new(100, None, start);
        let held: Vec<_> = (0..100).map(|_| places.enter(net(1), start).unwrap()).collect();
        let lent: Vec<_> = held.iter().filter(|one| one.place_state().is_lent()).collect();
        assert_eq!(lent.len(), 50);
        assert_eq!(lent.iter().filter(|one| one.borrow()).count(), 25);
        lent[0].give_back();
        assert!(lent[30].borrow() && !lent[31].borrow());
    }

    #[test]
    fn after_any_history_the_counts_are_right_and_nothing_is_left_behind() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let start = Instant::now();
            let places = Places::new(8, None, start);
            let mut all: Vec<Admission> = Vec::new();
            for step in 0..300 {
                let now = at(start, step * 40);
                match random.u8(0..5) {
                    0 | 1 => all.extend(places.enter(net(random.u8(0..4)), now)),
                    2 if !all.is_empty() => drop(all.swap_remove(random.usize(0..all.len()))),
                    3 if !all.is_empty() => {
                        let one = &all[random.usize(0..all.len())];
                        if random.bool() { one.place_state().works() } else { one.place_state().idles(now) }
                    }
                    4 if !all.is_empty() => {
                        let one = &all[random.usize(0..all.len())];
                        if random.bool() { one.decline() } else { one.ask_again(now, random.bool()) }
                    }
                    _ => {}
                }
                let placed = all.iter().filter(|one| one.place_state().is_placed()).count();
                assert_eq!(placed, all.len().min(8), "seed {seed}");
                let held = places.lock();
                assert_eq!((held.placed.len(), held.waiting.len()), (placed, all.len() - placed));
                assert_eq!(held.asked, asked(&all).len(), "seed {seed}");
                assert!(held.placed.iter().enumerate().all(|(at, place_state)| place_state.index() == at));
            }
            drop(all);
            let held = places.lock();
            assert!(held.clients.is_empty() && held.placed.is_empty() && held.asked == 0, "seed {seed}");
        }
    }
}
