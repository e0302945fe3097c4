//! One thread of the data path: what its connections and requests share.
//!
//! A connection stays on the thread that accepted it, so nothing here is locked. Never here: doing anything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use ipnet::IpNet;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::directory::{App, Directory};
use crate::metrics::Metrics;
use crate::name::HostName;
use crate::pulse::Pulses;
use crate::spec::Limits;
use crate::stop::Stop;

use super::access_log::AccessLog;
use super::date::HttpDate;
use super::framing::Flaw;
use super::h2c::Channels;
use super::handshakes::Handshakes;
use super::held_back::HeldBack;
use super::last_route::LastRoute;
use super::limit::LimitLog;
use super::outbox::Outbox;
use super::peer::{Peer, RateLimit};
use super::solitude::Solitude;
use super::stock::Stock;
use super::uploads::Uploads;
use super::wire::Wire;

/// What all threads know of the server.
pub(super) struct Server {
    pub(super) limits: Limits,
    /// `Strict-Transport-Security` of HTTPS answers.
    pub(super) hsts: Option<HeaderValue>,
    pub(super) trusted: Vec<IpNet>,
    pub(super) status_for_all: bool,
    /// The port that redirects lead to.
    pub(super) https_port: Option<u16>,
    pub(super) http_port: Option<u16>,
    /// For spool files.
    pub(super) spool: PathBuf,
    pub(super) started: Instant,
    pub(super) rate: Option<RateLimit>,
    /// For the first `body_memory` of each request body.
    pub(super) memory: Budget,
    /// For what request bodies are larger than that.
    pub(super) room: Budget,
    /// For answers that wait for their clients.
    pub(super) reply_room: Budget,
    /// Request bodies that are coming.
    pub(super) uploads: Uploads,
    /// For streamed bodies whose requests wait.
    pub(super) unread: Budget,
    /// For spool files: bytes on disk of request bodies and answers together.
    pub(super) spool_space: Budget,
    /// What of `spool_space` answers have, that it be known who has used it up by not reading.
    pub(super) spooled_answers: Budget,
    /// Workers that wait for clients to read.
    pub(super) held_back: HeldBack,
    /// What clients have met of the limits.
    pub(super) limit_log: LimitLog,
}

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
