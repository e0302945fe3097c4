//! Owns the workers that drain and whose clients still have them, and until when.
//!
//! Never here: why a worker goes (`plan`), or which requests are those of its clients (`pool`).

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::worker_record::WorkerRecord;
use super::worker_state::WorkerPhase;
use crate::name::WorkerId;
use crate::pool::{ItsClients, PoolWriter};
use crate::spec::Sticky;

/// The workers that drain and go on with the requests of their clients.
pub(super) struct Leavers {
    pool: PoolWriter,
    /// When the clients of each get other workers.
    until: BTreeMap<WorkerId, Instant>,
}

impl Leavers {
    pub(super) fn new(pool: PoolWriter) -> Self {
        Self { pool, until: BTreeMap::new() }
    }

    /// Has a worker that goes over to this state get nothing new. Where clients keep workers, those of one that drains
    /// go on with it for the first half of its time, so that what they ask last has the other half.
    pub(super) fn withdraw(&mut self, worker: WorkerId, to: WorkerPhase, record: Option<&WorkerRecord>) {
        let sticky = record.is_some_and(|record| record.spec.rules.sticky != Sticky::Off);
        let its_clients = match to {
            WorkerPhase::Draining { give_up } if sticky => {
                let now = Instant::now();
                self.until.insert(worker, now + give_up.saturating_duration_since(now) / 2);
                ItsClients::Stay
            }
            _ => ItsClients::Go,
        };
        self.pool.retire(worker, its_clients);
    }

    /// Whether a worker that drains, and was seen with nothing in hand, can be ended: one of its clients may have asked
    /// something since, and none does after this.
    pub(super) fn may_go(&self, worker: WorkerId) -> bool {
        !self.until.contains_key(&worker) || self.pool.close_at_rest(worker)
    }

    /// Has the clients of a worker get others, if they still have it.
    pub(super) fn send_away(&mut self, worker: WorkerId) {
        if self.until.remove(&worker).is_some() {
            self.pool.retire(worker, ItsClients::Go);
        }
    }

    /// The same for all workers whose clients have had them for long enough.
    pub(super) fn send_due_away(&mut self, now: Instant) {
        let due: Vec<_> =
            self.until.iter().filter(|(_, until)| now >= **until).map(|(worker, _)| *worker).collect();
        due.into_iter().for_each(|worker| self.send_away(worker));
    }

    /// When [`send_due_away`](Self::send_due_away) has something to do.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.until.values().copied().min()
    }
}
