//! Random histories of clients that keep their workers.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use http::Method;
use http::uri::PathAndQuery;
use tokio::time::Instant;

use super::affinity::{Affinity, ClaimTerms, ItsClients, WantedGeneration};
use super::state::{Granted, PoolState};
use super::worker_slot::Seat;
use super::{Address, InFlightRequest, Member, WorkerFault, WorkerStanding};
use crate::metrics::AppMetrics;
use crate::name::{AppName, ClientNet, GenerationId, RequestId, WorkerId};

/// A claim that has no seat yet.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    client: u8,
    by_address: bool,
    /// The worker that its client had when it came.
    had: Option<WorkerId>,
}

/// A pool, and a plain model of who may have which worker.
struct World {
    seed: u64,
    random: fastrand::Rng,
    state: PoolState<u64>,
    generation: u64,
    claims: u64,
    /// How many requests each worker takes.
    seats: BTreeMap<WorkerId, usize>,
    /// The workers that take the requests of their clients.
    serving: BTreeSet<WorkerId>,
    /// Of these, the ones that take nothing else.
    leaving: BTreeSet<WorkerId>,
    /// Workers that requests have given up, and of whose end the supervisor has not told the pool.
    broken: BTreeSet<WorkerId>,
    waiting: BTreeMap<u64, Waiting>,
    held: Vec<Seat>,
    /// The workers of clients that are known by their addresses.
    clients: BTreeMap<u8, WorkerId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut state = PoolState::new(200);
        state.promote(GenerationId(1));
        Self {
            seed,
            random: fastrand::Rng::with_seed(seed),
            state,
            generation: 1,
            claims: 0,
            seats: BTreeMap::new(),
            serving: BTreeSet::new(),
            leaving: BTreeSet::new(),
            broken: BTreeSet::new(),
            waiting: BTreeMap::new(),
            held: Vec::new(),
            clients: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        let any = self.random.choice(self.state.standings()).map(|standing| standing.worker);
        match (self.random.u8(0..24), any) {
            (0 | 1, _) => self.publish(),
            (2, Some(worker)) if self.serving.contains(&worker) || self.broken.contains(&worker) => {
                self.retire(worker);
            }
            (3, Some(worker)) if self.leaving.contains(&worker) && self.state.close_at_rest(worker) => {
                self.goes(worker);
            }
            (4, Some(worker)) => {
                self.goes(worker);
                let grants = self.state.remove(worker);
                self.granted(grants);
            }
            (5, Some(worker)) if self.serving.remove(&worker) => {
                self.leaving.remove(&worker);
                self.broken.insert(worker);
                self.state.condemn(worker, WorkerFault::Unreachable);
            }
            (6, _) if self.random.u8(0..4) == 0 => {
                self.generation += 1;
                for gone in [&mut self.serving, &mut self.leaving, &mut self.broken] {
                    gone.clear();
                }
                let grants = self.state.promote(GenerationId(self.generation));
                self.granted(grants);
            }
            (7..=13, _) if !self.held.is_empty() => self.release(),
            _ => self.claim(any),
        }
        self.check();
    }

    fn publish(&mut self) {
        let worker = WorkerId(self.seats.len() as u64 + 1);
        let app = (AppName::parse("chat").unwrap(), AppMetrics::default());
        let seats = NonZeroU32::new(self.random.u32(1..4)).unwrap();
        let (generation, address) = (GenerationId(self.generation), Address::Unix("/nowhere".into()));
        self.seats.insert(worker, seats.get() as usize);
        self.serving.insert(worker);
        let grants =
            self.state.publish(Arc::new(Member::new(app, worker, generation, address, seats, 2)), None);
        self.granted(grants);
    }

    fn retire(&mut self, worker: WorkerId) {
        let its_clients = if self.random.bool() { ItsClients::Stay } else { ItsClients::Go };
        match its_clients {
            ItsClients::Go => self.goes(worker),
            ItsClients::Stay if self.serving.contains(&worker) => drop(self.leaving.insert(worker)),
            ItsClients::Stay => {}
        }
        let grants = self.state.retire(worker, its_clients);
        self.granted(grants);
    }

    fn goes(&mut self, worker: WorkerId) {
        for gone in [&mut self.serving, &mut self.leaving, &mut self.broken] {
            gone.remove(&worker);
        }
    }

    fn release(&mut self) {
        let seat = self.held.swap_remove(self.random.usize(..self.held.len()));
        let grant = self.state.release(&seat).grant;
        self.granted(grant);
    }

    fn claim(&mut self, any: Option<WorkerId>) {
        self.claims += 1;
        let (number, client, by_address) = (self.claims, self.random.u8(1..5), self.random.bool());
        let (affinity, had) = match by_address {
            false => (Affinity::Shown(any), any),
            true => (Affinity::Address, self.clients.get(&client).copied()),
        };
        let in_flight = InFlightRequest {
            id: RequestId::random(),
            method: Method::GET,
            target: PathAndQuery::from_static("/"),
            since: Instant::now(),
        };
        let before = self.state.standings();
        let net = Some(ClientNet::of([10, 0, 0, client].into()));
        self.waiting.insert(number, Waiting { client, by_address, had });
        let terms = ClaimTerms { affinity: Some(affinity), generation: WantedGeneration::Current };
        match self.state.claim_on((net, terms), in_flight, None, || number) {
            Granted::Seat(seat) => {
                if !had.is_some_and(|own| self.serving.contains(&own)) {
                    self.check_least_used(&before, seat.worker());
                }
                self.granted([(number, seat)]);
            }
            Granted::Waiting(_) => {}
            Granted::Full => drop(self.waiting.remove(&number)),
            Granted::Closed => panic!("seed {}: nobody closes it", self.seed),
        }
    }

    fn check_least_used(&self, before: &[WorkerStanding], got: WorkerId) {
        let used = |standing: &WorkerStanding| standing.in_flight + standing.tunnels;
        let free = before.iter().filter(|standing| standing.routable && !self.is_full(standing));
        let got = before.iter().find(|standing| standing.worker == got).map(used);
        assert_eq!(free.map(used).min(), got, "seed {}: {before:?}", self.seed);
    }

    fn is_full(&self, standing: &WorkerStanding) -> bool {
        standing.in_flight == self.seats[&standing.worker]
    }

    fn granted(&mut self, grants: impl IntoIterator<Item = (u64, Seat)>) {
        for (number, seat) in grants {
            let claim = self.waiting.remove(&number).expect("each claim is served once");
            if let Some(own) = claim.had.filter(|own| self.serving.contains(own)) {
                assert_eq!(
                    seat.worker(),
                    own,
                    "seed {}: its worker takes the requests of {claim:?}",
                    self.seed
                );
            }
            if claim.by_address && claim.had != Some(seat.worker()) {
                self.clients.insert(claim.client, seat.worker());
            }
            self.held.push(seat);
        }
    }

    /// Nobody waits where a seat is free for him.
    fn check(&self) {
        let standings = self.state.standings();
        let all_full =
            standings.iter().filter(|standing| standing.routable).all(|standing| self.is_full(standing));
        for claim in self.waiting.values() {
            let own = |workers: &BTreeSet<WorkerId>| claim.had.filter(|own| workers.contains(own));
            let served = match (own(&self.serving), own(&self.broken)) {
                (Some(own), _) => {
                    standings.iter().any(|standing| standing.worker == own && !self.is_full(standing))
                }
                (None, Some(_)) => false,
                (None, None) => !all_full,
            };
            assert!(!served, "seed {}: {claim:?} waits, with {standings:?}", self.seed);
        }
    }

    /// Once nothing breaks any more, everybody is served.
    fn end(mut self) {
        for worker in std::mem::take(&mut self.broken) {
            let grants = self.state.remove(worker);
            self.granted(grants);
        }
        self.publish();
        while !self.held.is_empty() {
            self.release();
            self.check();
        }
        assert!(self.waiting.is_empty(), "seed {}: {:?}", self.seed, self.waiting);
        assert!(self.state.standings().iter().all(|standing| standing.in_flight == 0), "seed {}", self.seed);
    }
}

#[tokio::test(start_paused = true)]
async fn clients_keep_their_workers_in_any_history_and_nobody_waits_in_vain() {
    for _ in 0..500 {
        let mut world = World::new(fastrand::u64(..));
        for _ in 0..200 {
            world.step();
        }
        world.end();
    }
}
