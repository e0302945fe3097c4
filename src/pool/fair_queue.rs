//! The queue of a pool: clients are served in turn, and the requests of one client in the order they came.
//!
//! Plain data. Never here: workers and their seats (`state`), or how waiting requests learn of a change.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::{ClientNet, WorkerId};

use super::numbered_queue::NumberedQueue;

/// The client whose turn it is; `None`: all clients that trusted proxies do not name, which count as one.
pub(super) type QueueClient = Option<ClientNet>;

/// The workers that may serve a claim, where not all may. Claims of a lane are served in turn as all others are, but
/// for a turn that each client has in each of its lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// The claims that wait for this worker alone.
    Worker(WorkerId),
    /// The claims that wait for any worker of the canary.
    Canary,
}

/// Claims `C` that wait for a worker, and requests `H` of held hosts, which take room and are not served.
///
/// A claim that is retried is served before all others. Each step takes O(log n) on average, and O(workers) more while
/// retried claims wait.
pub(super) struct FairQueue<C, H> {
    /// Retried claims by the worker that each must not get, because it failed the request.
    retried: BTreeMap<WorkerId, NumberedQueue<C>>,
    /// The things of each client in the queue; a client without any is not listed.
    clients: BTreeMap<QueueClient, PerClient<C, H>>,
    turns: Turns,
    /// Each client with its length and `since`, sorted: the last one makes room. The set is built when the queue is
    /// full for the first time, and dropped when no client has anything in the queue.
    by_length: Option<BTreeSet<(usize, u64, QueueClient)>>,
    len: usize,
    /// The last number that was given to anything.
    number: u64,
}

/// The clients that have a claim, in the order in which they are served.
struct Turns {
    /// The clients with a claim that any worker may serve.
    any: NumberedQueue<QueueClient>,
    /// The clients with a claim in a lane; a lane without claims is not listed.
    lanes: BTreeMap<Lane, NumberedQueue<QueueClient>>,
}

impl Turns {
    /// The clients with a claim in the lane; `None`: with one that any worker may serve.
    fn of(&mut self, lane: Option<Lane>) -> &mut NumberedQueue<QueueClient> {
        match lane {
            None => &mut self.any,
            Some(lane) => self.lanes.entry(lane).or_insert_with(NumberedQueue::new),
        }
    }

    fn remove(&mut self, lane: Option<Lane>, turn: u64) {
        let turns = self.of(lane);
        turns.remove(turn);
        if let Some(lane) = lane.filter(|_| turns.is_empty()) {
            self.lanes.remove(&lane);
        }
    }
}

/// Claims of one client that the same workers may serve.
struct ClientLine<C> {
    claims: NumberedQueue<C>,
    /// The client's number in the turns while there is a claim.
    turn: u64,
}

impl<C> ClientLine<C> {
    fn new() -> Self {
        Self { claims: NumberedQueue::new(), turn: 0 }
    }
}

/// The things of one client in the queue.
struct PerClient<C, H> {
    /// Claims that any worker may serve.
    any: ClientLine<C>,
    /// Claims in lanes; a lane without claims is not listed.
    lanes: BTreeMap<Lane, ClientLine<C>>,
    held: NumberedQueue<H>,
    /// The number of the first thing that the client had here since it last had nothing.
    since: u64,
}

impl<C, H> PerClient<C, H> {
    fn new(since: u64) -> Self {
        Self { any: ClientLine::new(), lanes: BTreeMap::new(), held: NumberedQueue::new(), since }
    }

    fn len(&self) -> usize {
        self.any.claims.len()
            + self.lanes.values().map(|line| line.claims.len()).sum::<usize>()
            + self.held.len()
    }

    /// The lane of the newest claim, and that claim's number.
    fn newest(&self) -> (Option<u64>, Option<Lane>) {
        let lanes = self.lanes.iter().map(|(lane, line)| (line.claims.last_number(), Some(*lane)));
        lanes.chain([(self.any.claims.last_number(), None)]).max().unwrap_or_default()
    }

    fn line(&mut self, lane: Option<Lane>) -> &mut ClientLine<C> {
        match lane {
            None => &mut self.any,
            Some(lane) => self.lanes.entry(lane).or_insert_with(ClientLine::new),
        }
    }

    /// Forgets the client's turn in the lane, and the lane, when no claim of the client is left there.
    fn tidy(&mut self, lane: Option<Lane>, turns: &mut Turns) {
        let line = self.line(lane);
        if line.claims.is_empty() {
            turns.remove(lane, line.turn);
            if let Some(lane) = lane {
                self.lanes.remove(&lane);
            }
        }
    }

    /// Takes out the claim with this number, in whichever lane it is by now.
    fn remove(&mut self, number: u64, turns: &mut Turns) {
        let lanes = self.lanes.keys().copied().map(Some);
        let all: Vec<_> = std::iter::once(None).chain(lanes).collect();
        if let Some(lane) = all.into_iter().find(|lane| self.line(*lane).claims.remove(number).is_some()) {
            self.tidy(lane, turns);
        }
    }
}

/// A place in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    kind: Kind,
    number: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Retried(WorkerId),
    Claim(QueueClient),
    Held(QueueClient),
}

/// The result of making room for one more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room<C, H> {
    /// There is a place.
    Free,
    /// The thing that was taken out to make room: the newest of the client that had the most.
    Instead(Gone<C, H>),
    None,
}

/// A thing that was taken out to make room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gone<C, H> {
    Claim(C),
    Held(H),
}

impl<C, H> FairQueue<C, H> {
    pub(super) fn new() -> Self {
        Self {
            retried: BTreeMap::new(),
            clients: BTreeMap::new(),
            turns: Turns { any: NumberedQueue::new(), lanes: BTreeMap::new() },
            by_length: None,
            len: 0,
            number: 0,
        }
    }

    /// How many claims and held requests wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Makes room for one more claim or held request of the client, where the queue takes `most`. When the queue is
    /// full, the newest of the client that has the most is taken out, unless the asking client would then have more
    /// than that one. Retried claims are never taken out. Of clients that have equally many, the one that came last
    /// loses.
    pub(super) fn make_room(&mut self, client: QueueClient, most: usize) -> Room<C, H> {
        if self.len < most {
            return Room::Free;
        }
        if self.clients.is_empty() {
            return Room::None;
        }
        let own = self.clients.get(&client).map_or(0, PerClient::len);
        let by_length = self.by_length.get_or_insert_with(|| {
            self.clients.iter().map(|(client, own)| (own.len(), own.since, *client)).collect()
        });
        let Some((_, _, other)) = by_length.last().copied().filter(|(len, _, _)| *len > own + 1) else {
            return Room::None;
        };
        let gone = self.change(other, |own, turns| {
            let (newest, lane) = own.newest();
            if own.held.last_number() > newest {
                return own.held.pop_last().map(Gone::Held);
            }
            let claim = own.line(lane).claims.pop_last();
            own.tidy(lane, turns);
            claim.map(Gone::Claim)
        });
        gone.map_or(Room::None, Room::Instead)
    }

    /// Adds a claim behind the client's others in the lane; `None`: any worker may serve it.
    pub(super) fn push(&mut self, client: QueueClient, lane: Option<Lane>, claim: C) -> Ticket {
        let number = self.next_number();
        self.change(client, |own, turns| {
            let line = own.line(lane);
            if line.claims.is_empty() {
                line.turn = number;
                turns.of(lane).push(number, client);
            }
            line.claims.push(number, claim);
        });
        Ticket { kind: Kind::Claim(client), number }
    }

    /// Adds a claim in front of all claims that have not been served before. The claim must not get the worker `not`.
    pub(super) fn push_retried(&mut self, not: WorkerId, claim: C) -> Ticket {
        let number = self.next_number();
        self.retried.entry(not).or_insert_with(NumberedQueue::new).push(number, claim);
        self.len += 1;
        Ticket { kind: Kind::Retried(not), number }
    }

    /// Takes a place for a held request, which is not served.
    pub(super) fn hold(&mut self, client: QueueClient, held: H) -> Ticket {
        let number = self.next_number();
        self.change(client, |own, _| own.held.push(number, held));
        Ticket { kind: Kind::Held(client), number }
    }

    /// Gives a place back; does nothing when it was left already.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        match ticket.kind {
            Kind::Retried(not) => {
                let Some(line) = self.retried.get_mut(&not) else { return };
                self.len -= usize::from(line.remove(ticket.number).is_some());
                self.forget_retried(not);
            }
            Kind::Claim(client) if self.clients.contains_key(&client) => {
                self.change(client, |own, turns| own.remove(ticket.number, turns));
            }
            Kind::Held(client) if self.clients.contains_key(&client) => self.change(client, |own, _| {
                own.held.remove(ticket.number);
            }),
            Kind::Claim(_) | Kind::Held(_) => {}
        }
    }

    /// How many claims wait that any worker may serve; one step for each client.
    pub(super) fn claims_for_any(&self) -> usize {
        let retried = self.retried.values().map(NumberedQueue::len).sum::<usize>();
        retried + self.clients.values().map(|own| own.any.claims.len()).sum::<usize>()
    }

    pub(super) fn has_claims(&self) -> bool {
        self.has_ordinary() || !self.retried.is_empty() || self.has_lanes()
    }

    /// Whether a claim waits that is not retried and that any worker may serve.
    pub(super) fn has_ordinary(&self) -> bool {
        !self.turns.any.is_empty()
    }

    /// Whether a claim waits that not all workers may serve.
    pub(super) fn has_lanes(&self) -> bool {
        !self.turns.lanes.is_empty()
    }

    /// The lanes in which a claim waits.
    pub(super) fn lanes(&self) -> Vec<Lane> {
        self.turns.lanes.keys().copied().collect()
    }

    /// The one of these lanes that has the client whose turn it is; `Some(None)`: a claim that any worker may serve is next.
    pub(super) fn next_of(&self, lanes: impl IntoIterator<Item = Option<Lane>>) -> Option<Option<Lane>> {
        let first = |lane: &Option<Lane>| match lane {
            None => self.turns.any.first_number(),
            Some(lane) => self.turns.lanes.get(lane)?.first_number(),
        };
        lanes.into_iter().filter_map(|lane| Some((first(&lane)?, lane))).min().map(|(_, lane)| lane)
    }

    /// Takes out the oldest claim in the lane of the client whose turn it is; `None`: one that any worker may serve.
    pub(super) fn pop(&mut self, lane: Option<Lane>) -> Option<C> {
        let client = match lane {
            None => *self.turns.any.first()?,
            Some(lane) => *self.turns.lanes.get(&lane)?.first()?,
        };
        let number = self.next_number();
        self.change(client, |own, turns| {
            let line = own.line(lane);
            let claim = line.claims.pop_first();
            turns.remove(lane, line.turn);
            if line.claims.is_empty() {
                own.tidy(lane, turns);
            } else {
                line.turn = number;
                turns.of(lane).push(number, client);
            }
            claim
        })
    }

    /// Lets any worker serve the claims of a lane; each keeps its place in its client's order, and each client its turn.
    pub(super) fn open(&mut self, lane: Lane) {
        let Some(clients) = self.turns.lanes.remove(&lane) else { return };
        let mut turns = NumberedQueue::new();
        for client in clients.into_things() {
            let Some(own) = self.clients.get_mut(&client) else { continue };
            let Some(line) = own.lanes.remove(&lane) else { continue };
            if own.any.claims.is_empty() {
                own.any.turn = line.turn;
                turns.push(line.turn, client);
            }
            own.any.claims.merge(line.claims);
        }
        self.turns.any.merge(turns);
    }

    /// The worker that the oldest retried claim must not get, among the claims whose barred worker passes `may`.
    pub(super) fn first_retried(&self, may: impl Fn(WorkerId) -> bool) -> Option<WorkerId> {
        let lines = self.retried.iter().filter(|(not, _)| may(**not));
        lines.min_by_key(|(_, line)| line.first_number()).map(|(not, _)| *not)
    }

    /// Takes out the oldest claim that must not get this worker.
    pub(super) fn pop_retried(&mut self, not: WorkerId) -> Option<C> {
        let claim = self.retried.get_mut(&not)?.pop_first()?;
        self.len -= 1;
        self.forget_retried(not);
        Some(claim)
    }

    /// Takes all claims out; held requests stay.
    pub(super) fn take_claims(&mut self) -> Vec<C> {
        let mut claims: Vec<C> = Vec::new();
        claims.extend(std::mem::take(&mut self.retried).into_values().flat_map(NumberedQueue::into_things));
        self.len -= claims.len();
        for lane in self.lanes() {
            self.open(lane);
        }
        while let Some(claim) = self.pop(None) {
            claims.push(claim);
        }
        claims
    }

    /// All claims, in no order.
    #[cfg(test)]
    pub(super) fn claims(&self) -> impl Iterator<Item = &C> {
        let lines = self.clients.values().flat_map(|own| own.lanes.values().chain([&own.any]));
        self.retried.values().chain(lines.map(|line| &line.claims)).flat_map(NumberedQueue::iter)
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn forget_retried(&mut self, not: WorkerId) {
        if self.retried.get(&not).is_some_and(NumberedQueue::is_empty) {
            self.retried.remove(&not);
        }
    }

    /// Changes what one client has, and keeps the order of the clients true.
    fn change<R>(
        &mut self,
        client: QueueClient,
        work: impl FnOnce(&mut PerClient<C, H>, &mut Turns) -> R,
    ) -> R {
        let own = self.clients.entry(client).or_insert_with(|| PerClient::new(self.number));
        let before = own.len();
        let result = work(own, &mut self.turns);
        let (after, since) = (own.len(), own.since);
        self.len = self.len + after - before;
        if after == 0 {
            self.clients.remove(&client);
        }
        if self.clients.is_empty() {
            self.by_length = None;
        }
        if let Some(by_length) = &mut self.by_length
            && before != after
        {
            by_length.remove(&(before, since, client));
            if after > 0 {
                by_length.insert((after, since, client));
            }
        }
        result
    }
}

#[cfg(test)]
mod tests;
