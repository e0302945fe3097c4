//! Counts the workers that wait for a client to read, by app and client.
//!
//! Never here: when a worker waits (`response_pump`), or what becomes of an answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::name::ClientNet;

/// The counts of all apps. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub(in crate::acceptor) struct BlockedWorkers(Arc<Mutex<BlockedCounts>>);

/// The number of blocked workers, by the app's address and the client that blocks them.
type BlockedCounts = HashMap<(usize, Option<ClientNet>), usize>;

/// A worker that waits for a client. Dropping it ends the wait.
#[derive(Debug)]
pub(in crate::acceptor) struct BlockedWorker {
    all: BlockedWorkers,
    key: (usize, Option<ClientNet>),
}

impl BlockedWorkers {
    /// Counts a worker of the app that waits for the client. `app` is any number that no other app has.
    pub(in crate::acceptor) fn begin(&self, app: usize, client: Option<ClientNet>) -> BlockedWorker {
        let key = (app, client);
        *self.lock().entry(key).or_default() += 1;
        BlockedWorker { all: self.clone(), key }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BlockedCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockedWorker {
    /// Whether the client blocks more of the app's `places` than are left unblocked. A single place is never too many,
    /// and an unknown client (`None`) never has too many.
    pub(in crate::acceptor) fn is_too_much(&self, places: usize) -> bool {
        if self.key.1.is_none() {
            return false;
        }
        let counts = self.all.lock();
        let own = counts.get(&self.key).copied().unwrap_or_default();
        let all: usize =
            counts.iter().filter(|((app, _), _)| *app == self.key.0).map(|(_, count)| count).sum();
        own > places.saturating_sub(all).max(1)
    }
}

impl Drop for BlockedWorker {
    fn drop(&mut self) {
        let mut counts = self.all.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_holds_no_more_workers_than_are_left_and_one_in_any_case() {
        let client = |last| Some(ClientNet::of([10, 0, 0, last].into()));
        let all = BlockedWorkers::default();
        let (one, two) = (all.begin(1, client(1)), all.begin(1, client(1)));
        let _other_app = all.begin(2, client(1));
        assert!(!one.is_too_much(4) && one.is_too_much(3) && one.is_too_much(1));
        let third = all.begin(1, client(2));
        assert!(!third.is_too_much(1) && two.is_too_much(4) && !two.is_too_much(5));
        let strangers = (all.begin(1, None), all.begin(1, None));
        assert!(!strangers.0.is_too_much(1));
        drop((one, third, strangers));
        assert!(!two.is_too_much(1));
        drop((two, _other_app));
        assert!(all.lock().is_empty());
    }
}
