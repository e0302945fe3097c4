//! Owns who listens at a worker's address, as a backend tells it.
//!
//! Never here: finding it out (`listeners`).

use std::net::SocketAddr;

/// Who listens where a worker should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Who gets connections to its port; `Nobody` for an address that is no port.
    pub holder: Holder,
    /// The worker's port, where it listens there on all addresses instead of the one it was told.
    pub exposed: Option<SocketAddr>,
    /// Where else it listens, for people: `TCP 127.0.0.1:5000`.
    pub elsewhere: Vec<String>,
}

/// Who gets the connections to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The worker.
    Worker,
    /// Another process, for people.
    Other(String),
    /// Nobody listens.
    Nobody,
}
