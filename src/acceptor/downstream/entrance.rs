//! Owns the settings that hold for all connections of a listener, and the place that each connection gets.
//!
//! Never here: accepting them (`listen`), or whose they are (`proxied`).

use std::net::SocketAddr;

use tokio::time::Instant;

use super::tls::{ChooseTls, refuse};
use crate::acceptor::connection::places::{Admission, Places, Refused};
use crate::acceptor::peer::share_of;
use crate::acceptor::thread::shard::{Role, Shard};

/// The settings and limits that all connections of one listener have in common.
#[derive(Clone)]
pub(in crate::acceptor) struct Entrance {
    pub(in crate::acceptor) role: Role,
    pub(in crate::acceptor) tls: Option<ChooseTls>,
    pub(in crate::acceptor) places: Places,
    /// Whether each connection begins with a PROXY header.
    pub(in crate::acceptor) proxied: bool,
}

impl Entrance {
    /// Admits a connection of the client at this address: to a place, or to the wait for one. `None`: the connection is
    /// to be closed, which the log and the metrics say.
    pub(in crate::acceptor) fn admit(&self, shard: &Shard, client: SocketAddr) -> Option<Admission> {
        let client = share_of(client, &shard.server.trusted);
        match self.places.enter(client, Instant::now()) {
            Ok(admission) => return Some(admission),
            Err(Refused::AddressLimit) => shard.metrics.connection_refused("address-limit"),
            Err(Refused::Full) => refuse(shard, client),
        }
        None
    }
}
