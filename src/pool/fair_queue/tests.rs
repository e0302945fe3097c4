//! The fair queue beside a simple model, through random histories, and its turns by example.

use super::*;

fn client(last: u8) -> QueueClient {
    (last > 0).then(|| ClientNet::of([10, 0, 0, last].into()))
}

/// Where a request waits: in a lane, or it is held.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Lane(Option<Lane>),
    Held,
}

/// The same queue as a plain model of its rules.
#[derive(Default)]
struct Model {
    /// The clients in their lanes, the one that is next first.
    turns: Vec<(Option<Lane>, QueueClient)>,
    /// The requests in the order they came, with their lanes; `None`: held.
    waiting: Vec<(QueueClient, u64, Place)>,
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

    fn push(&mut self, client: QueueClient, id: u64, place: Place) {
        if let Place::Lane(lane) = place
            && !self.turns.contains(&(lane, client))
        {
            self.turns.push((lane, client));
        }
        if !self.came.contains(&client) {
            self.came.push(client);
        }
        self.waiting.push((client, id, place));
    }

    fn remove(&mut self, id: u64) -> Option<(QueueClient, u64, Place)> {
        let at = self.waiting.iter().position(|(_, own, _)| *own == id)?;
        let gone = self.waiting.remove(at);
        if !self.waiting.iter().any(|(own, _, place)| (*own, *place) == (gone.0, gone.2)) {
            self.turns.retain(|(lane, own)| (*own, Place::Lane(*lane)) != (gone.0, gone.2));
        }
        if self.count(gone.0) == 0 {
            self.came.retain(|own| *own != gone.0);
        }
        Some(gone)
    }

    fn next_of(&self, lanes: &[Option<Lane>]) -> Option<Option<Lane>> {
        self.turns.iter().map(|(lane, _)| *lane).find(|lane| lanes.contains(lane))
    }

    fn pop(&mut self, lane: Option<Lane>) -> Option<u64> {
        let at = self.turns.iter().position(|(own, _)| *own == lane)?;
        let next = self.turns[at].1;
        let here = |(own, _, place): &&(QueueClient, u64, Place)| (*own, *place) == (next, Place::Lane(lane));
        let (_, id, _) = *self.waiting.iter().find(here).unwrap();
        self.remove(id);
        if let Some(at) = self.turns.iter().position(|turn| *turn == (lane, next)) {
            let turn = self.turns.remove(at);
            self.turns.push(turn);
        }
        Some(id)
    }

    fn open(&mut self, lane: Lane) {
        for at in (0..self.turns.len()).rev() {
            let (own, client) = self.turns[at];
            if own == Some(lane) {
                match self.turns.contains(&(None, client)) {
                    true => drop(self.turns.remove(at)),
                    false => self.turns[at].0 = None,
                }
            }
        }
        for (_, _, place) in &mut self.waiting {
            if *place == Place::Lane(Some(lane)) {
                *place = Place::Lane(None);
            }
        }
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
        let (_, id, place) = *self.waiting.iter().rfind(|(own, _, _)| *own == other).unwrap();
        self.remove(id);
        Room::Instead(if place == Place::Held { Gone::Held(id) } else { Gone::Claim(id) })
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
    let lanes = [None, Some(Lane::Worker(WorkerId(1))), Some(Lane::Canary)];
    for id in 0..300 {
        let client = client(random.u8(0..clients));
        let lane = lanes[random.usize(0..3)];
        match random.u8(0..13) {
            kind @ 0..6 => {
                let room = queue.make_room(client, most);
                assert_eq!(room, model.make_room(client, most), "{seed}");
                if room != Room::None {
                    let place = if kind == 5 { Place::Held } else { Place::Lane(lane) };
                    let ticket = match place {
                        Place::Held => queue.hold(client, id),
                        Place::Lane(lane) => queue.push(client, lane, id),
                    };
                    tickets.push((ticket, id));
                    model.push(client, id, place);
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
                waited.extend(
                    lanes
                        .into_iter()
                        .flat_map(|lane| std::iter::from_fn(|| model.pop(lane)).collect::<Vec<_>>()),
                );
                waited.sort_unstable();
                assert_eq!(claims, waited, "{seed}");
            }
            10 => {
                if let Some(lane) = lane {
                    queue.open(lane);
                    model.open(lane);
                }
            }
            11 => {
                assert_eq!(queue.next_of(lanes), model.next_of(&lanes), "{seed}");
                assert_eq!(queue.next_of([lane, None]), model.next_of(&[lane, None]), "{seed}");
            }
            _ => assert_eq!(queue.pop(lane), model.pop(lane), "{seed}"),
        }
        assert_eq!(queue.len(), model.len(), "{seed}");
        assert_eq!(queue.has_ordinary(), model.next_of(&[None]).is_some(), "{seed}");
        assert_eq!(queue.has_lanes(), model.next_of(&lanes[1..]).is_some(), "{seed}");
        assert_eq!(queue.has_claims(), queue.claims().next().is_some(), "{seed}");
        let held = model.waiting.iter().filter(|(_, _, place)| *place == Place::Held).count();
        assert_eq!(queue.claims().count(), model.len() - held, "{seed}");
    }
    for (ticket, _) in tickets {
        queue.leave(ticket);
    }
    let FairQueue { retried, clients, turns, by_length, len, .. } = queue;
    let no_turns = turns.any.is_empty() && turns.lanes.is_empty();
    let nothing = retried.is_empty() && clients.is_empty() && no_turns && by_length.is_none();
    assert!(nothing && len == 0, "whatever has left has left nothing: {seed}");
}

fn popped(queue: &mut FairQueue<u64, u64>) -> Vec<u64> {
    std::iter::from_fn(|| queue.pop(None)).collect()
}

#[test]
fn one_of_each_client_is_served_in_turn_and_those_of_one_in_their_order() {
    let mut queue = FairQueue::new();
    for id in 0..5 {
        queue.push(client(1), None, id);
    }
    queue.push(client(2), None, 10);
    queue.push(client(2), None, 11);
    queue.hold(client(3), 20);
    queue.push(client(0), None, 30);
    assert_eq!(queue.pop(None), Some(0));
    queue.push(client(4), None, 40);
    assert_eq!(popped(&mut queue), [10, 30, 1, 40, 11, 2, 3, 4]);
    assert_eq!(queue.len(), 1, "what is held stays");
}

#[test]
fn a_client_that_is_alone_may_fill_the_queue_and_the_newest_of_it_makes_room_for_others() {
    let mut queue = FairQueue::new();
    for id in 0..4 {
        assert_eq!(queue.make_room(client(1), 4), Room::Free);
        queue.push(client(1), None, id);
    }
    assert_eq!(queue.make_room(client(1), 4), Room::None);
    assert_eq!(queue.make_room(client(2), 4), Room::Instead(Gone::Claim(3)));
    queue.push(client(2), None, 10);
    assert_eq!(queue.make_room(client(2), 4), Room::Instead(Gone::Claim(2)));
    queue.push(client(2), None, 11);
    assert_eq!(queue.make_room(client(2), 4), Room::None, "both have two");
    assert_eq!(queue.make_room(client(1), 4), Room::None);
    assert_eq!(
        queue.make_room(client(3), 4),
        Room::Instead(Gone::Claim(11)),
        "of equals the one that came last"
    );
    queue.hold(client(3), 20);
    assert_eq!(queue.make_room(client(4), 4), Room::Instead(Gone::Claim(1)));
    queue.push(client(4), None, 30);
    assert_eq!(queue.make_room(client(5), 4), Room::None, "nobody has more than one");
    assert_eq!(popped(&mut queue), [0, 10, 30]);
}

#[test]
fn held_places_make_room_as_claims_do_and_retried_claims_never() {
    let mut queue = FairQueue::new();
    queue.hold(client(1), 0);
    queue.push(client(1), None, 1);
    queue.hold(client(1), 2);
    assert_eq!(queue.make_room(client(2), 3), Room::Instead(Gone::Held(2)));
    queue.push_retried(WorkerId(1), 3);
    queue.push_retried(WorkerId(1), 4);
    assert_eq!(queue.make_room(client(2), 3), Room::Instead(Gone::Claim(1)));
    assert_eq!(queue.make_room(client(2), 3), Room::None);
    assert_eq!((queue.len(), queue.has_ordinary()), (3, false));
}
