//! Owns the order in which passwords are checked: a few at a time, client after client.
//!
//! Checking one password takes a core for as long as many requests take. A client that guesses waits behind its own
//! guesses, and delays another client's check by one guess at most. Never here: checking a password.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::budget::{Budget, Reservation};
use crate::name::ClientNet;

/// The turns of all threads. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub(in crate::acceptor) struct PasswordTurns {
    /// The places of checks that run or wait.
    places: Budget,
    /// The queue; the lock is held to enter, or to take the next check out.
    queue: Arc<Mutex<TurnQueue>>,
}

struct TurnQueue {
    /// How many turns are free now.
    free: usize,
    /// The clients that wait, the next one first.
    order: VecDeque<Option<ClientNet>>,
    /// The checks of each client that wait, in the order in which they came.
    waiting: HashMap<Option<ClientNet>, VecDeque<oneshot::Sender<GrantedTurn>>>,
}

/// The right to check one password now. Dropping it hands the turn to the next check.
pub(in crate::acceptor) struct PasswordTurn {
    _turn: GrantedTurn,
    _place: Reservation,
}

struct GrantedTurn(PasswordTurns);

impl PasswordTurns {
    /// `at_once`: the number of turns; `most`: the number of places.
    pub(in crate::acceptor) fn new(at_once: usize, most: u64) -> Self {
        let queue = TurnQueue { free: at_once.max(1), order: VecDeque::new(), waiting: HashMap::new() };
        Self { places: Budget::new(most), queue: Arc::new(Mutex::new(queue)) }
    }

    /// The places, and how many each client has.
    pub(in crate::acceptor) fn places(&self) -> &Budget {
        &self.places
    }

    /// Waits for a turn; `None`: too many checks wait, in all or of this client. Cancel-safe.
    pub(in crate::acceptor) async fn take(&self, client: Option<ClientNet>) -> Option<PasswordTurn> {
        let mut place = self.places.reserve(client);
        if !place.grow_to(1) {
            return None;
        }
        let waits = self.lock().enter(client);
        let turn = match waits {
            Some(waits) => waits.await.ok()?,
            None => GrantedTurn(self.clone()),
        };
        Some(PasswordTurn { _turn: turn, _place: place })
    }

    fn lock(&self) -> MutexGuard<'_, TurnQueue> {
        // No code that runs under the lock panics.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A check that ends gives its turn to the next one that waits.
impl Drop for GrantedTurn {
    fn drop(&mut self) {
        let next = self.0.lock().next();
        if let Some(next) = next {
            drop(next.send(Self(self.0.clone())));
        }
    }
}

impl TurnQueue {
    /// Enters a check; `None`: the check has its turn at once.
    fn enter(&mut self, client: Option<ClientNet>) -> Option<oneshot::Receiver<GrantedTurn>> {
        if let Some(left) = self.free.checked_sub(1) {
            self.free = left;
            return None;
        }
        let (grant, granted) = oneshot::channel();
        let own = self.waiting.entry(client).or_default();
        if own.is_empty() {
            self.order.push_back(client);
        }
        own.push_back(grant);
        Some(granted)
    }

    /// Takes out the check whose turn is next.
    fn next(&mut self) -> Option<oneshot::Sender<GrantedTurn>> {
        while let Some(client) = self.order.pop_front() {
            let Some(own) = self.waiting.get_mut(&client) else { continue };
            let next = own.pop_front();
            match own.is_empty() {
                true => drop(self.waiting.remove(&client)),
                false => self.order.push_back(client),
            }
            if let Some(next) = next.filter(|next| !next.is_closed()) {
                return Some(next);
            }
        }
        self.free += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::poll;

    use super::*;

    fn client(last: u8) -> Option<ClientNet> {
        Some(ClientNet::of([10, 0, 0, last].into()))
    }

    #[tokio::test]
    async fn who_guesses_delays_somebody_else_by_one_guess() {
        let turns = PasswordTurns::new(1, 64);
        let first = turns.take(client(1)).await.unwrap();
        let mut guesses: Vec<_> = (0..10).map(|_| Box::pin(turns.take(client(1)))).collect();
        for guess in &mut guesses {
            assert!(poll!(guess).is_pending());
        }
        let mut other = Box::pin(turns.take(client(2)));
        assert!(poll!(&mut other).is_pending());
        drop(first);
        let Poll::Ready(Some(guess)) = poll!(&mut guesses[0]) else { panic!("the first in the queue") };
        assert!(poll!(&mut other).is_pending());
        drop(guess);
        assert!(matches!(poll!(&mut other), Poll::Ready(Some(_))), "before nine others");
    }

    #[tokio::test]
    async fn a_client_has_half_of_the_places_and_others_find_some() {
        let turns = PasswordTurns::new(1, 8);
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(turns.take(client(1)))).collect();
        let mut held = Vec::new();
        for one in &mut waiting {
            if let Poll::Ready(turn) = poll!(one) {
                held.push(turn.unwrap());
            }
        }
        assert_eq!(held.len(), 1);
        assert!(turns.take(client(1)).await.is_none());
        assert!(poll!(Box::pin(turns.take(client(2)))).is_pending(), "it has a place");
    }

    #[tokio::test]
    async fn a_turn_passes_over_who_has_left_and_none_is_lost() {
        let turns = PasswordTurns::new(2, 64);
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut all: Vec<_> =
                (0..20).map(|_| Some(Box::pin(turns.take(client(random.u8(0..3)))))).collect();
            let mut held = Vec::new();
            for _ in 0..60 {
                let one = random.usize(0..all.len());
                match random.u8(0..3) {
                    0 => all[one] = None,
                    1 => drop(held.pop()),
                    _ => {
                        let Some(waits) = &mut all[one] else { continue };
                        if let Poll::Ready(turn) = poll!(waits) {
                            all[one] = None;
                            held.extend(turn);
                        }
                    }
                }
                assert!(held.len() <= 2);
            }
            drop((all, held));
            assert_eq!((turns.lock().free, turns.places().held()), (2, 0));
        }
    }
}
