//! Owns how a claim finds the worker that its client has, for apps that keep state in a process.
//!
//! Plain data. Never here: which worker a client without one gets (`state`).

use crate::name::{ClientNet, WorkerId};

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

/// What becomes of the clients of a worker that gets nothing else any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItsClients {
    /// The worker goes on with their requests.
    Stay,
    /// They get other workers.
    Go,
}
