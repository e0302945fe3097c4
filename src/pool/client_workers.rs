//! Owns which worker the clients of an app have that are known by their addresses.
//!
//! Plain data. Never here: which worker a new client gets (`state`), or clients that say themselves which they have.

use std::collections::{BTreeMap, HashMap};

use crate::name::{ClientNet, WorkerId};

/// The workers of clients, of at most `most` of them: the one that has asked for nothing for longest is forgotten.
#[derive(Debug)]
pub(super) struct ClientWorkers {
    /// Each client's worker, and the number of its last request.
    workers: HashMap<ClientNet, (WorkerId, u64)>,
    /// The clients by the number of their last request.
    order: BTreeMap<u64, ClientNet>,
    number: u64,
    most: usize,
}

impl ClientWorkers {
    pub(super) fn new(most: usize) -> Self {
        Self { workers: HashMap::new(), order: BTreeMap::new(), number: 0, most }
    }

    /// The worker of a client that asks.
    pub(super) fn of(&mut self, client: ClientNet) -> Option<WorkerId> {
        let worker = self.workers.get(&client)?.0;
        self.note(client, worker);
        Some(worker)
    }

    /// Notes that the client has this worker from now on.
    pub(super) fn note(&mut self, client: ClientNet, worker: WorkerId) {
        self.number += 1;
        if let Some((_, before)) = self.workers.insert(client, (worker, self.number)) {
            self.order.remove(&before);
        }
        self.order.insert(self.number, client);
        if self.workers.len() > self.most
            && let Some((_, idle)) = self.order.pop_first()
        {
            self.workers.remove(&idle);
        }
    }
}

/// The number of clients that an app's pool remembers: some 8 MB.
pub(super) const MOST_CLIENTS: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_that_asked_last_are_known_in_any_history() {
        for round in 0..100 {
            let seed = fastrand::u64(..);
            let mut random = fastrand::Rng::with_seed(seed);
            let most = random.usize(1..8);
            let mut workers = ClientWorkers::new(most);
            // The clients and their workers, the one that asked last behind the others.
            let mut model: Vec<(ClientNet, WorkerId)> = Vec::new();
            for _ in 0..200 {
                let client = ClientNet::of([10, 0, 0, random.u8(0..12)].into());
                let known = model.iter().position(|(own, _)| *own == client).map(|at| model.remove(at));
                assert_eq!(workers.of(client), known.map(|(_, worker)| worker), "round {round}, seed {seed}");
                let noted = random.bool().then(|| WorkerId(random.u64(1..5)));
                if let Some(worker) = noted {
                    workers.note(client, worker);
                }
                model.extend(noted.or(known.map(|(_, worker)| worker)).map(|worker| (client, worker)));
                if model.len() > most {
                    model.remove(0);
                }
                assert_eq!(
                    (workers.workers.len(), workers.order.len()),
                    (model.len(), model.len()),
                    "{seed}"
                );
            }
        }
    }
}
