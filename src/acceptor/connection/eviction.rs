//! Owns the order in which resting connections are ended when others need their places.
//!
//! The client with the most connections comes first; of its connections first those that have never had a request and
//! are not new, then those idle for longest, then new ones. Trusted proxies come last. Never here: asking connections
//! to make room (`places`).

use std::cmp::Reverse;
use std::sync::Arc;

use crate::name::ClientNet;

use super::place_state::{PlaceState, Rest};

/// A connection that could be ended.
#[derive(Clone, Debug)]
pub(in crate::acceptor) struct Candidate {
    pub(in crate::acceptor) place_state: Arc<PlaceState>,
    /// The connection's rest when it was found.
    rest: Rest,
}

impl Candidate {
    /// Whether the connection is still doing the same.
    pub(in crate::acceptor) fn holds(&self) -> bool {
        self.place_state.rest() == self.rest
            && !self.place_state.is_asked()
            && self.place_state.index() != usize::MAX
    }
}

/// How many connections each client has.
pub(in crate::acceptor) trait ConnectionCounts {
    fn of(&self, client: ClientNet) -> usize;
}

/// The result of a look at all connections.
#[derive(Debug, Default)]
pub(in crate::acceptor) struct Found {
    /// Some connections that could be ended, in order.
    pub(in crate::acceptor) first: Vec<Candidate>,
    /// The most connections of a client that has one which has rested too shortly to be ended, but soon could be.
    pub(in crate::acceptor) soon: usize,
}

/// The request to end a connection for a newcomer, and its time.
#[derive(Clone, Copy, Debug)]
pub(in crate::acceptor) struct EvictionRequest {
    /// The time, in milliseconds from the epoch of the connections.
    pub(in crate::acceptor) now: u64,
    /// The newcomer's client; `None`: a trusted proxy, or no particular one.
    pub(in crate::acceptor) newcomer: Option<ClientNet>,
    /// Whether the newcomer has waited so long that other clients with connections to spare would have made room.
    pub(in crate::acceptor) patient: bool,
}

impl EvictionRequest {
    /// Whether the candidate may be ended for the newcomer. The newcomer's own connections may, unless they are new; so
    /// may those of clients that have more, but not of clients that have as many; those of a trusted proxy may if no
    /// others can be. A client is left alone while connections of one with more could be ended soon.
    pub(in crate::acceptor) fn allows(
        self,
        candidate: &Candidate,
        counts: &impl ConnectionCounts,
        soon: usize,
    ) -> bool {
        let has_most = |client| self.patient || counts.of(client) >= soon;
        match (candidate.place_state.client(), self.newcomer) {
            (None, newcomer) => self.patient && newcomer.is_none_or(|newcomer| counts.of(newcomer) == 0),
            (Some(other), None) => has_most(other),
            (Some(own), Some(newcomer)) if own == newcomer => {
                class(candidate.rest, self.now) != Some(EvictionClass::New)
            }
            (Some(other), Some(newcomer)) => counts.of(other) > counts.of(newcomer) && has_most(other),
        }
    }
}

/// The classes of connections, in the order in which they are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum EvictionClass {
    /// The connection has had time for a request and has sent none.
    Silent,
    Idle,
    /// The connection's first request may be on its way.
    New,
}

fn class(rest: Rest, now: u64) -> Option<EvictionClass> {
    match rest {
        Rest::No => None,
        Rest::New(since) if now.saturating_sub(since) >= SILENT_AFTER => Some(EvictionClass::Silent),
        Rest::New(_) => Some(EvictionClass::New),
        Rest::Idle(_) => Some(EvictionClass::Idle),
    }
}

/// Looks for the first connections that could be ended, at most so many.
pub(in crate::acceptor) fn candidates(
    placed: &[Arc<PlaceState>],
    counts: &impl ConnectionCounts,
    now: u64,
    most: usize,
) -> Found {
    let mut soon = 0;
    let mut found = Vec::new();
    // Connections of a client often stand in a row, so that the last count is used again.
    let mut last = (None, 0);
    for (at, place_state) in placed.iter().enumerate() {
        let rest = place_state.rest();
        let Some(class) = class(rest, now).filter(|_| !place_state.is_asked()) else { continue };
        let since = match rest {
            Rest::New(since) | Rest::Idle(since) => since,
            Rest::No => continue,
        };
        if place_state.client() != last.0 {
            last = (place_state.client(), place_state.client().map_or(0, |client| counts.of(client)));
        }
        let count = last.1;
        if now.saturating_sub(since) < AT_LEAST {
            soon = soon.max(count);
            continue;
        }
        found.push(((place_state.client().is_none(), Reverse(count), class, since), at, rest));
    }
    if found.len() > most {
        found.select_nth_unstable_by_key(most, |(key, _, _)| *key);
        found.truncate(most);
    }
    found.sort_unstable_by_key(|(key, _, _)| *key);
    let first =
        found.into_iter().map(|(_, at, rest)| Candidate { place_state: Arc::clone(&placed[at]), rest });
    Found { first: first.collect(), soon }
}

/// Milliseconds in which a client that means to send a request has sent it, over TLS too, wherever it is.
const SILENT_AFTER: u64 = 1000;
/// Milliseconds that a connection rests at least before it is ended; one in use rests for shorter.
const AT_LEAST: u64 = 100;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    impl ConnectionCounts for HashMap<ClientNet, u64> {
        fn of(&self, client: ClientNet) -> usize {
            self.get(&client).copied().unwrap_or(0) as usize
        }
    }

    fn net(last: u8) -> ClientNet {
        ClientNet::of([10, 0, 0, last].into())
    }

    /// `(client, whether it has had a request, since)`; client 0 is a trusted proxy.
    fn spots(of: &[(u8, bool, u64)]) -> (Vec<Arc<PlaceState>>, HashMap<ClientNet, u64>) {
        let epoch = Instant::now();
        let mut counts = HashMap::new();
        let spots = of.iter().map(|(client, served, since)| {
            let client = (*client != 0).then(|| net(*client));
            if let Some(client) = client {
                *counts.entry(client).or_default() += 1;
            }
            let since = epoch + Duration::from_millis(*since);
            let place_state = PlaceState::new(client, epoch, since);
            place_state.set_index(0);
            if *served {
                place_state.idles(since);
            }
            Arc::new(place_state)
        });
        (spots.collect(), counts)
    }

    fn order(of: &[(u8, bool, u64)], now: u64, most: usize) -> Vec<usize> {
        let (spots, counts) = spots(of);
        let found = candidates(&spots, &counts, now, most).first;
        let place = |one: &Candidate| {
            spots.iter().position(|place_state| Arc::ptr_eq(place_state, &one.place_state)).unwrap()
        };
        found.iter().map(place).collect()
    }

    #[test]
    fn silent_ones_come_first_then_the_longest_idle_then_new_ones() {
        let of = [(1, true, 900), (2, false, 4500), (3, true, 100), (4, false, 3000), (5, false, 2000)];
        assert_eq!(order(&of, 5000, 9), [4, 3, 2, 0, 1]);
        assert_eq!(order(&of, 5000, 2), [4, 3], "a part is the first part");
    }

    #[test]
    fn those_of_the_client_with_most_connections_come_before_all_others() {
        let of = [
            (1, false, 0),
            (2, true, 4000),
            (2, true, 3000),
            (0, false, 0),
            (1, true, 4500),
            (2, true, 2000),
        ];
        assert_eq!(order(&of, 5000, 9), [5, 2, 1, 0, 4, 3], "a trusted proxy's last");
    }

    #[test]
    fn who_has_something_in_hand_or_has_just_ended_it_is_left_alone() {
        let (spots, counts) = spots(&[(1, true, 4950), (1, false, 4901), (1, true, 0)]);
        spots[2].works();
        let found = candidates(&spots, &counts, 5000, 9);
        assert!(found.first.is_empty());
        assert_eq!(found.soon, 3, "two of its three");
        let found = candidates(&spots, &counts, 5050, 9).first;
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(Candidate::holds));
        spots[0].works();
        spots[1].ask();
        assert!(!found.iter().any(Candidate::holds), "what has changed meanwhile");
    }

    #[test]
    fn nobody_is_ended_for_a_client_that_has_as_many() {
        let of = [(1, true, 0), (2, true, 0), (2, true, 0), (3, false, 4500), (0, true, 0)];
        let (spots, counts) = spots(&of);
        let Found { first, soon } = candidates(&spots, &counts, 5000, 9);
        assert_eq!(soon, 0);
        let allowed = |newcomer, patient| {
            let order = EvictionRequest { now: 5000, newcomer, patient };
            let allowed = first.iter().filter(|one| order.allows(one, &counts, soon));
            let mut clients: Vec<_> = allowed.map(|one| one.place_state.client()).collect();
            clients.sort_unstable();
            clients
        };
        let [one, two, three] = [1, 2, 3].map(|last| Some(net(last)));
        assert_eq!(allowed(Some(net(9)), false), [one, two, two, three], "it has none");
        assert_eq!(allowed(Some(net(9)), true), [None, one, two, two, three], "nor does anybody else");
        assert_eq!(allowed(one, true), [one, two, two]);
        assert_eq!(allowed(two, true), [two, two]);
        assert_eq!(allowed(three, true), [two, two], "its own is new");
        assert_eq!((allowed(None, false).len(), allowed(None, true).len()), (4, 5));
    }

    #[test]
    fn a_client_with_fewer_is_left_alone_while_one_with_more_is_too_new() {
        let (spots, counts) =
            spots(&[(1, true, 0), (2, false, 4950), (2, false, 4950), (3, true, 0), (3, true, 0)]);
        let Found { first, soon } = candidates(&spots, &counts, 5000, 9);
        let allowed = |patient| {
            let order = EvictionRequest { now: 5000, newcomer: Some(net(9)), patient };
            first.iter().filter(|one| order.allows(one, &counts, soon)).count()
        };
        assert_eq!((first.len(), soon), (3, 2));
        assert_eq!(allowed(false), 2, "those of the client that has as many");
        assert_eq!(allowed(true), 3);
    }
}
