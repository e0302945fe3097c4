//! Owns who listens at a worker's address, as a backend tells it.
//!
//! Never here: finding out who listens (`listeners`).

use std::net::SocketAddr;

/// The listeners that concern one worker: at its own address, and elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The process that gets the connections to the worker's port; `Nobody` for an address that is no port.
    pub holder: Holder,
    /// The worker's port, if it listens there on all addresses instead of the one it was told.
    pub exposed: Option<SocketAddr>,
    /// Where else the worker listens, for people: `TCP 127.0.0.1:5000`.
    pub elsewhere: Vec<String>,
}

/// The process that gets the connections to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The worker.
    Worker,
    /// Another process, named for people.
    Other(String),
    /// No process listens.
    Nobody,
}
