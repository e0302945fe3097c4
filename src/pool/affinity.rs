//! Owns how a claim finds the worker that its client has, for apps that keep state in a process.
//!
//! Plain data. Never here: which worker a client without one gets (`state`).

use crate::name::{ClientNet, WorkerId};

/// Which worker or generation a claim has to get, beyond a free seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClaimTerms {
    /// How the client's own worker is found; `None`: any of the generation will do.
    pub(crate) affinity: Option<Affinity>,
    pub(crate) generation: WantedGeneration,
}

/// The generation that is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WantedGeneration {
    Current,
    /// The one that a share of the clients gets; the current one where there is no such one.
    Canary,
}

/// How a claim finds the worker that its client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Affinity {
    /// The client has shown which worker it has; `None`: none.
    Shown(Option<WorkerId>),
    /// The pool remembers the worker of each client's address.
    Address,
}

/// A client that gets a worker: it has had none, or that worker does not take its requests any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer {
    /// The address to remember the worker by.
    pub(super) remembered: Option<ClientNet>,
    pub(super) had_one: bool,
}

/// Whether the clients of a worker that gets no other requests any more stay with that worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItsClients {
    /// The worker goes on with their requests.
    Stay,
    /// The clients get other workers.
    Go,
}
