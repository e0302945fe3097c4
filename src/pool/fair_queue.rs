//! The queue of a pool: clients are served in turn, and the requests of one client in the order they came.
//!
//! Plain data. Never here: workers and their seats (`state`), or how waiting requests learn of a change.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::{ClientNet, WorkerId};

use super::numbered_queue::NumberedQueue;

/// The client whose turn it is; `None`: all clients that trusted proxies do not name, which count as one.
pub(super) type QueueClient = Option<ClientNet>;

/// Claims `C` that wait for a worker, and requests `H` of held hosts, which take room and are not served.
///
/// A claim that is retried is served before all others. Each step takes O(log n) on average, and O(workers) more while
/// retried claims wait.
pub(super) struct FairQueue<C, H> {
    /// Retried claims by the worker that each must not get, because it failed the request.
    retried: BTreeMap<WorkerId, NumberedQueue<C>>,
    /// The things of each client in the queue; a client without any is not listed.
    clients: BTreeMap<QueueClient, PerClient<C, H>>,
    /// The clients that have a claim, in the order in which they are served.
    turns: NumberedQueue<QueueClient>,
    /// Each client with its length and `since`, sorted: the last one makes room. The set is built when the queue is
    /// full for the first time, and dropped when no client has anything in the queue.
    by_length: Option<BTreeSet<(usize, u64, QueueClient)>>,
    len: usize,
    /// The last number that was given to anything.
    number: u64,
}

/// The things of one client in the queue.
struct PerClient<C, H> {
    claims: NumberedQueue<C>,
    held: NumberedQueue<H>,
    /// The client's number in `turns` while it has a claim.
    turn: u64,
    /// The number of the first thing that the client had here since it last had nothing.
    since: u64,
}

impl<C, H> PerClient<C, H> {
    fn new(since: u64) -> Self {
        Self { claims: NumberedQueue::new(), held: NumberedQueue::new(), turn: 0, since }
    }

    fn len(&self) -> usize {
        self.claims.len() + self.held.len()
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
            turns: NumberedQueue::new(),
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
            if own.held.last_number() > own.claims.last_number() {
                return own.held.pop_last().map(Gone::Held);
            }
            let claim = own.claims.pop_last();
            if own.claims.is_empty() {
                turns.remove(own.turn);
            }
            claim.map(Gone::Claim)
        });
        gone.map_or(Room::None, Room::Instead)
    }

    /// Adds a claim behind the client's others.
    pub(super) fn push(&mut self, client: QueueClient, claim: C) -> Ticket {
        let number = self.next_number();
        self.change(client, |own, turns| {
            if own.claims.is_empty() {
                own.turn = number;
                turns.push(number, client);
            }
            own.claims.push(number, claim);
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
            Kind::Claim(client) if self.clients.contains_key(&client) => self.change(client, |own, turns| {
                if own.claims.remove(ticket.number).is_some() && own.claims.is_empty() {
                    turns.remove(own.turn);
                }
            }),
            Kind::Held(client) if self.clients.contains_key(&client) => self.change(client, |own, _| {
                own.held.remove(ticket.number);
            }),
            Kind::Claim(_) | Kind::Held(_) => {}
        }
    }

    /// How many claims wait; one step for each client.
    pub(super) fn claims_len(&self) -> usize {
        self.len - self.clients.values().map(|own| own.held.len()).sum::<usize>()
    }

    pub(super) fn has_claims(&self) -> bool {
        self.has_ordinary() || !self.retried.is_empty()
    }

    /// Whether a claim waits that is not retried.
    pub(super) fn has_ordinary(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Takes out the oldest claim of the client whose turn it is.
    pub(super) fn pop(&mut self) -> Option<C> {
        let client = self.turns.pop_first()?;
        let number = self.next_number();
        self.change(client, |own, turns| {
            let claim = own.claims.pop_first();
            if !own.claims.is_empty() {
                own.turn = number;
                turns.push(number, client);
            }
            claim
        })
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
        while let Some(claim) = self.pop() {
            claims.push(claim);
        }
        claims
    }

    /// All claims, in no order.
    #[cfg(test)]
    pub(super) fn claims(&self) -> impl Iterator<Item = &C> {
        let firsts = self.clients.values().map(|own| &own.claims);
        self.retried.values().chain(firsts).flat_map(NumberedQueue::iter)
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
        work: impl FnOnce(&mut PerClient<C, H>, &mut NumberedQueue<QueueClient>) -> R,
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
mod tests {
    use super::*;

    fn client(last: u8) -> QueueClient {
        (last > 0).then(|| ClientNet::of([10, 0, 0, last].into()))
    }

    /// The same queue as a plain model of its rules.
    #[derive(Default)]
    struct Model {
        /// The clients, the one that is next first.
        turns: Vec<QueueClient>,
        /// The requests in the order they came; `true`: held.
        waiting: Vec<(QueueClient, u64, bool)>,
        /// The clients with anything, in the order they came.
        came: Vec<QueueClient>,
        retried: Vec<(WorkerId, u64)>,
    }

    impl Model {
        fn len(&self) -> usize {
            self.waiting.len() + self.retried.len()
        }

        fn count(&self, client: QueueClient) -> usize {
            self.waiting.iter().filter(|(own, _, _)| *own == client).count()
        }

        fn push(&mut self, client: QueueClient, id: u64, held: bool) {
            if !held && !self.turns.contains(&client) {
                self.turns.push(client);
            }
            if !self.came.contains(&client) {
                self.came.push(client);
            }
            self.waiting.push((client, id, held));
        }

        fn remove(&mut self, id: u64) -> Option<(QueueClient, u64, bool)> {
            let at = self.waiting.iter().position(|(_, own, _)| *own == id)?;
            let gone = self.waiting.remove(at);
            if !self.waiting.iter().any(|(own, _, held)| *own == gone.0 && !held) {
                self.turns.retain(|own| *own != gone.0);
            }
            if self.count(gone.0) == 0 {
                self.came.retain(|own| *own != gone.0);
            }
            Some(gone)
        }

        fn pop(&mut self) -> Option<u64> {
            let next = *self.turns.first()?;
            let (_, id, _) = *self.waiting.iter().find(|(own, _, held)| *own == next && !held).unwrap();
            self.remove(id);
            if self.turns.first() == Some(&next) {
                self.turns.rotate_left(1);
            }
            Some(id)
        }

        fn make_room(&mut self, client: QueueClient, most: usize) -> Room<u64, u64> {
            if self.len() < most {
                return Room::Free;
            }
            // The client that came last, of those that have the most.
            let Some(other) = self.came.iter().copied().max_by_key(|own| self.count(*own)) else {
                return Room::None;
            };
            if self.count(other) < self.count(client) + 2 {
                return Room::None;
            }
            let (_, id, held) = *self.waiting.iter().rfind(|(own, _, _)| *own == other).unwrap();
            self.remove(id);
            Room::Instead(if held { Gone::Held(id) } else { Gone::Claim(id) })
        }
    }

    #[test]
    fn a_queue_does_in_any_history_what_its_rules_say() {
        for round in 0..500 {
            let seed = fastrand::u64(..);
            history(&mut fastrand::Rng::with_seed(seed), &format!("round {round}, seed {seed}"));
        }
    }

    fn history(random: &mut fastrand::Rng, seed: &str) {
        let (mut queue, mut model) = (FairQueue::<u64, u64>::new(), Model::default());
        let mut tickets: Vec<(Ticket, u64)> = Vec::new();
        let (clients, most) = (random.u8(1..6), random.usize(0..20));
        for id in 0..300 {
            let client = client(random.u8(0..clients));
            match random.u8(0..12) {
                kind @ 0..6 => {
                    let room = queue.make_room(client, most);
                    assert_eq!(room, model.make_room(client, most), "{seed}");
                    if room != Room::None {
                        let held = kind == 5;
                        let ticket = if held { queue.hold(client, id) } else { queue.push(client, id) };
                        tickets.push((ticket, id));
                        model.push(client, id, held);
                    }
                }
                6 => {
                    let not = WorkerId(random.u64(0..3));
                    tickets.push((queue.push_retried(not, id), id));
                    model.retried.push((not, id));
                }
                7 if !tickets.is_empty() => {
                    // Tickets of things that were served or pushed out long ago are given back, too.
                    let (ticket, id) = *random.choice(&tickets).unwrap();
                    queue.leave(ticket);
                    model.remove(id);
                    model.retried.retain(|(_, own)| *own != id);
                }
                8 => {
                    let barred = WorkerId(random.u64(0..3));
                    let not = queue.first_retried(|not| not != barred);
                    let at = model.retried.iter().position(|(not, _)| *not != barred);
                    assert_eq!(not, at.map(|at| model.retried[at].0), "{seed}");
                    if let (Some(not), Some(at)) = (not, at) {
                        assert_eq!(queue.pop_retried(not), Some(model.retried.remove(at).1), "{seed}");
                    }
                }
                9 if random.u8(0..20) == 0 => {
                    let mut claims = queue.take_claims();
                    claims.sort_unstable();
                    let retried = std::mem::take(&mut model.retried);
                    let mut waited: Vec<u64> = retried.into_iter().map(|(_, id)| id).collect();
                    waited.extend(std::iter::from_fn(|| model.pop()));
                    waited.sort_unstable();
                    assert_eq!(claims, waited, "{seed}");
                }
                _ => assert_eq!(queue.pop(), model.pop(), "{seed}"),
            }
            assert_eq!(queue.len(), model.len(), "{seed}");
            assert_eq!(queue.has_ordinary(), !model.turns.is_empty(), "{seed}");
            assert_eq!(queue.has_claims(), queue.claims().next().is_some(), "{seed}");
            let held = model.waiting.iter().filter(|(_, _, held)| *held).count();
            assert_eq!(queue.claims().count(), model.len() - held, "{seed}");
        }
        for (ticket, _) in tickets {
            queue.leave(ticket);
        }
        let FairQueue { retried, clients, turns, by_length, len, .. } = queue;
        let nothing = retried.is_empty() && clients.is_empty() && turns.is_empty() && by_length.is_none();
        assert!(nothing && len == 0, "whatever has left has left nothing: {seed}");
    }

    fn popped(queue: &mut FairQueue<u64, u64>) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn one_of_each_client_is_served_in_turn_and_those_of_one_in_their_order() {
        let mut queue = FairQueue::new();
        for id in 0..5 {
            queue.push(client(1), id);
        }
        queue.push(client(2), 10);
        queue.push(client(2), 11);
        queue.hold(client(3), 20);
        queue.push(client(0), 30);
        assert_eq!(queue.pop(), Some(0));
        queue.push(client(4), 40);
        assert_eq!(popped(&mut queue), [10, 30, 1, 40, 11, 2, 3, 4]);
        assert_eq!(queue.len(), 1, "what is held stays");
    }

    #[test]
    fn a_client_that_is_alone_may_fill_the_queue_and_the_newest_of_it_makes_room_for_others() {
        let mut queue = FairQueue::new();
        for id in 0..4 {
            assert_eq!(queue.make_room(client(1), 4), Room::Free);
            queue.push(client(1), id);
        }
        assert_eq!(queue.make_room(client(1), 4), Room::None);
        assert_eq!(queue.make_room(client(2), 4), Room::Instead(Gone::Claim(3)));
        queue.push(client(2), 10);
        assert_eq!(queue.make_room(client(2), 4), Room::Instead(Gone::Claim(2)));
        queue.push(client(2), 11);
        assert_eq!(queue.make_room(client(2), 4), Room::None, "both have two");
        assert_eq!(queue.make_room(client(1), 4), Room::None);
        assert_eq!(
            queue.make_room(client(3), 4),
            Room::Instead(Gone::Claim(11)),
            "of equals the one that came last"
        );
        queue.hold(client(3), 20);
        assert_eq!(queue.make_room(client(4), 4), Room::Instead(Gone::Claim(1)));
        queue.push(client(4), 30);
        assert_eq!(queue.make_room(client(5), 4), Room::None, "nobody has more than one");
        assert_eq!(popped(&mut queue), [0, 10, 30]);
    }

    #[test]
    fn held_places_make_room_as_claims_do_and_retried_claims_never() {
        let mut queue = FairQueue::new();
        queue.hold(client(1), 0);
        queue.push(client(1), 1);
        queue.hold(client(1), 2);
        assert_eq!(queue.make_room(client(2), 3), Room::Instead(Gone::Held(2)));
        queue.push_retried(WorkerId(1), 3);
        queue.push_retried(WorkerId(1), 4);
        assert_eq!(queue.make_room(client(2), 3), Room::Instead(Gone::Claim(1)));
        assert_eq!(queue.make_room(client(2), 3), Room::None);
        assert_eq!((queue.len(), queue.has_ordinary()), (3, false));
    }
}
