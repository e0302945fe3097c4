//! How much clients may make the server hold: a total that all share, of which no client takes more than it leaves.
//!
//! Never here: what is held (bytes of memory, bytes on disk, places), or what becomes of whoever gets nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::name::ClientNet;

/// A total of something, and who holds how much of it. Cheap to clone; all clones are the same total.
///
/// A client may take more as long as it then holds no more than was free before. So a client that is alone gets half of
/// the total, two get a third each, and somebody new always finds something free.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<ClientTotals>);

#[derive(Debug)]
struct ClientTotals {
    total: u64,
    /// The sum of what all hold, for callers that need not know it exactly.
    all: AtomicU64,
    /// The amount that each client holds; the lock is held for one look-up.
    held: Mutex<HeldAmounts>,
}

#[derive(Debug, Default)]
struct HeldAmounts {
    all: u64,
    /// The amount that each client holds; only clients that hold something have an entry.
    by_client: HashMap<ClientNet, u64>,
}

impl Budget {
    /// Makes a total of which nothing is held yet.
    pub(crate) fn new(total: u64) -> Self {
        Self(Arc::new(ClientTotals { total, all: AtomicU64::new(0), held: Mutex::default() }))
    }

    /// Makes a reservation that holds nothing yet. A client of `None` has no share of its own: the total alone is its
    /// limit.
    pub(crate) fn reserve(&self, client: Option<ClientNet>) -> Reservation {
        Reservation { budget: self.clone(), client, amount: 0 }
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.total
    }

    /// How much is held by all.
    pub(crate) fn held(&self) -> u64 {
        self.lock().all
    }

    /// Whether half of the total or more is held.
    pub(crate) fn is_half_held(&self) -> bool {
        self.held() >= self.0.total / 2
    }

    /// Whether less than a quarter is free. Takes no lock.
    pub(crate) fn is_short(&self) -> bool {
        self.0.all.load(Ordering::Relaxed) > self.0.total / 4 * 3
    }

    /// Whether a client holds so much that it may take less than a quarter of that beside it. Takes no lock while three
    /// quarters are free: nobody can hold so much then.
    pub(crate) fn is_used_up_by(&self, client: Option<ClientNet>) -> bool {
        if self.0.all.load(Ordering::Relaxed) <= self.0.total / 4 {
            return false;
        }
        let held = self.lock();
        let free = self.0.total.saturating_sub(held.all);
        let Some(client) = client else { return free < held.all / 4 };
        let own = held.by_client.get(&client).copied().unwrap_or(0);
        free.saturating_sub(own) < own / 4
    }

    fn lock(&self) -> MutexGuard<'_, HeldAmounts> {
        // Nothing panics under the lock.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a [`Budget`] that one holder has taken. Dropping it gives everything back.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Budget,
    client: Option<ClientNet>,
    amount: u64,
}

impl Reservation {
    pub(crate) fn amount(&self) -> u64 {
        self.amount
    }

    /// Takes as much more as makes the reservation `amount`. Returns false and changes nothing when the total or the
    /// client's share forbids that. The reservation never becomes smaller.
    #[must_use]
    pub(crate) fn grow_to(&mut self, amount: u64) -> bool {
        let Some(more) = amount.checked_sub(self.amount).filter(|more| *more > 0) else { return true };
        let mut held = self.budget.lock();
        let free = self.budget.0.total.saturating_sub(held.all);
        let own = self.client.and_then(|client| held.by_client.get(&client)).copied().unwrap_or(0);
        let most = if self.client.is_some() { free.saturating_sub(own) } else { free };
        if more > most {
            return false;
        }
        held.all += more;
        self.budget.0.all.store(held.all, Ordering::Relaxed);
        if let Some(client) = self.client {
            *held.by_client.entry(client).or_default() += more;
        }
        self.amount = amount;
        true
    }

    /// Gives back what is above `amount`.
    pub(crate) fn shrink_to(&mut self, amount: u64) {
        let Some(less) = self.amount.checked_sub(amount).filter(|less| *less > 0) else { return };
        self.amount = amount;
        let mut held = self.budget.lock();
        held.all -= less;
        self.budget.0.all.store(held.all, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        if let Some(own) = held.by_client.get_mut(&client) {
            *own -= less;
            if *own == 0 {
                held.by_client.remove(&client);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Option<ClientNet> {
        Some(ClientNet::of([10, 0, 0, last].into()))
    }

    #[test]
    fn a_client_that_is_alone_gets_half_and_leaves_half_of_the_rest_to_the_next() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (budget.reserve(client(1)), budget.reserve(client(2)));
        assert!(one.grow_to(50) && !one.grow_to(51));
        assert!(two.grow_to(25) && !two.grow_to(26));
        assert_eq!(budget.held(), 75);
        drop(one);
        assert!(two.grow_to(50));
    }

    #[test]
    fn what_one_client_holds_in_many_reservations_counts_together() {
        let budget = Budget::new(100);
        let mut parts: Vec<_> = (0..51).map(|_| budget.reserve(client(1))).collect();
        let granted = parts.iter_mut().filter_map(|part| part.grow_to(1).then_some(())).count();
        assert_eq!(granted, 50);
    }

    #[test]
    fn who_has_no_share_may_take_all_and_a_total_of_one_is_for_somebody() {
        let budget = Budget::new(10);
        let mut proxy = budget.reserve(None);
        assert!(proxy.grow_to(10) && !proxy.grow_to(11));
        assert!(!budget.reserve(client(1)).grow_to(1));
        assert!(Budget::new(1).reserve(client(1)).grow_to(1));
        assert!(!Budget::new(0).reserve(client(1)).grow_to(1));
    }

    #[test]
    fn a_client_has_used_it_up_before_it_holds_all_it_may_and_nobody_else_has() {
        let budget = Budget::new(1000);
        let mut one = budget.reserve(client(1));
        for (amount, used_up) in [(100, false), (400, false), (440, false), (450, true), (500, true)] {
            assert!(one.grow_to(amount));
            assert_eq!(budget.is_used_up_by(client(1)), used_up, "{amount}");
            assert!(!budget.is_used_up_by(client(2)) && !budget.is_short(), "{amount}");
        }
        let (mut two, mut three) = (budget.reserve(client(2)), budget.reserve(client(3)));
        assert!(two.grow_to(250) && budget.is_used_up_by(client(2)) && !budget.is_short());
        assert!(three.grow_to(1) && budget.is_short() && !budget.is_used_up_by(client(3)));
        drop((one, two));
        assert!(!budget.is_short());
        let mut proxy = budget.reserve(None);
        assert!(proxy.grow_to(700) && !budget.is_used_up_by(None));
        assert!(proxy.grow_to(900) && budget.is_used_up_by(None));
    }

    #[test]
    fn after_any_history_the_sums_are_right_and_nothing_is_left_behind() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let budget = Budget::new(1000);
            let mut parts: Vec<Reservation> = Vec::new();
            for _ in 0..200 {
                match random.u8(0..4) {
                    0 => parts.push(budget.reserve(client(random.u8(0..3)).filter(|_| random.u8(0..5) > 0))),
                    1 if !parts.is_empty() => drop(parts.swap_remove(random.usize(0..parts.len()))),
                    2 if !parts.is_empty() => {
                        let at = random.usize(0..parts.len());
                        let before = parts[at].amount();
                        let asked = random.u64(0..400);
                        let granted = parts[at].grow_to(asked);
                        assert_eq!(parts[at].amount(), if granted { before.max(asked) } else { before });
                    }
                    3 if !parts.is_empty() => {
                        let at = random.usize(0..parts.len());
                        parts[at].shrink_to(random.u64(0..400));
                    }
                    _ => {}
                }
                let sum: u64 = parts.iter().map(Reservation::amount).sum();
                assert_eq!(budget.held(), sum, "seed {seed}");
                assert!(sum <= 1000, "seed {seed}");
            }
            drop(parts);
            let held = budget.lock();
            assert!(held.all == 0 && held.by_client.is_empty(), "seed {seed}");
        }
    }
}
