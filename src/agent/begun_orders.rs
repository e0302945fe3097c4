//! Owns the times at which orders were begun in the last three hours, of all queues that share an account whose orders
//! are counted.
//!
//! Pure: the time is passed in. Never here: how many may be begun (`queue`), or the file of them (`state_files`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::schedule::HOUR;

/// The times at which orders were begun, the oldest first. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct BegunOrders(Arc<Mutex<VecDeque<SystemTime>>>);

impl BegunOrders {
    /// Takes in the times that were written down before a restart; does nothing when orders are known already.
    pub(super) fn recall(&self, mut times: Vec<SystemTime>) {
        let mut known = self.times();
        if known.is_empty() {
            times.sort();
            known.extend(times);
        }
    }

    /// Notes an order that begins now.
    pub(super) fn note(&self, now: SystemTime) {
        self.times().push_back(now);
    }

    /// Forgets orders that no longer count, and times in the future, which a clock that was set back leaves.
    pub(super) fn forget_old(&self, now: SystemTime) {
        self.times().retain(|at| *at <= now && *at + 3 * HOUR > now);
    }

    /// How many orders are noted.
    pub(super) fn count(&self) -> usize {
        self.times().len()
    }

    /// How many orders were begun after a moment.
    pub(super) fn count_after(&self, moment: SystemTime) -> usize {
        self.times().iter().rev().take_while(|at| **at > moment).count()
    }

    /// When the `nth` order, counted back from the latest, was begun.
    pub(super) fn nth_last(&self, nth: usize) -> Option<SystemTime> {
        let times = self.times();
        times.len().checked_sub(nth).and_then(|place| times.get(place).copied())
    }

    /// All times, to be written down.
    pub(super) fn to_vec(&self) -> Vec<SystemTime> {
        self.times().iter().copied().collect()
    }

    fn times(&self) -> MutexGuard<'_, VecDeque<SystemTime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
