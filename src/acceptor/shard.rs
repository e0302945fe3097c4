//! One thread of the data path: what its connections and requests share.
//!
//! A connection stays on the thread that accepted it, so nothing here is locked. Never here: doing anything.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::directory::{App, Directory};
use crate::metrics::Metrics;
use crate::name::HostName;
use crate::pulse::Pulses;
use crate::stop::Stop;

use super::access_log::AccessLog;
use super::date::HttpDate;
use super::framing::Flaw;
use super::h2c_channels::Channels;
use super::handshakes::Handshakes;
use super::last_route::LastRoute;
use super::outbox::Outbox;
use super::peer::Peer;
use super::server::Server;
use super::solitude::Solitude;
use super::stock::Stock;
use super::wire::Wire;

/// One thread.
pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) server: Arc<Server>,
    pub(super) directory: Directory,
    pub(super) metrics: Metrics,
    pub(super) access: AccessLog,
    pub(super) stop: Stop,
    /// Asked when nothing is to be finished any more: its requests are about to be dropped.
    pub(super) cut: Stop,
    pub(super) channels: Channels,
    pub(super) stock: Stock,
    pub(super) outbox: Outbox,
    pub(super) handshakes: Handshakes,
    pub(super) solitude: Solitude,
    pub(super) date: HttpDate,
    /// Its accept loops tell here that they go round.
    pub(super) pulses: Pulses,
}

/// What a listener's connections are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Apps over TLS.
    Https,
    /// Apps without TLS.
    Http,
    /// Redirects to HTTPS.
    Redirect,
}

/// One client connection, as its requests see it.
pub(super) struct Connection {
    pub(super) shard: Rc<Shard>,
    pub(super) role: Role,
    pub(super) peer: Peer,
    pub(super) local: SocketAddr,
    /// The name asked for in the TLS handshake.
    pub(super) sni: Option<HostName>,
    pub(super) wire: Arc<Wire>,
    /// Requests so far that the parser behind [`Wire`] has seen.
    pub(super) requests: std::cell::Cell<u64>,
    pub(super) last: LastRoute,
}

impl Connection {
    pub(super) fn scheme(&self) -> &'static str {
        match self.role {
            Role::Https => "https",
            Role::Http | Role::Redirect => "http",
        }
    }

    /// What is wrong with the head of the request that the parser brings now; to be asked once for each.
    pub(super) fn flaw_of_next(&self) -> Option<Flaw> {
        let number = self.requests.get();
        self.requests.set(number + 1);
        self.wire.flaw(number)
    }

    /// The app that the name in the handshake belongs to, when it belongs to one.
    pub(super) fn sni_app(&self) -> Option<Arc<App>> {
        let name = self.sni.as_ref()?;
        Some(Arc::clone(&self.shard.directory.lookup(name.as_str())?.app))
    }
}
