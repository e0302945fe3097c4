//! Owns counters that each have a word as their label, and the locks of maps that grow.
//!
//! Never here: which words there are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Counters by a word from the source, made when the word is first used.
#[derive(Debug, Default)]
pub(super) struct ByCause(RwLock<BTreeMap<&'static str, AtomicU64>>);

impl ByCause {
    pub(super) fn add(&self, cause: &'static str) {
        self.add_many(cause, 1);
    }

    pub(super) fn add_many(&self, cause: &'static str, more: u64) {
        if let Some(count) = read(&self.0).get(cause) {
            count.fetch_add(more, Ordering::Relaxed);
            return;
        }
        write(&self.0).entry(cause).or_default().fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn each(&self, mut visit: impl FnMut(&'static str, u64) -> fmt::Result) -> fmt::Result {
        read(&self.0).iter().try_for_each(|(cause, count)| visit(cause, count.load(Ordering::Relaxed)))
    }
}

/// Takes a lock for reading. No code panics while it holds one of these locks, and a count that is one short is better
/// than none.
pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
