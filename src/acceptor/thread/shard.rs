//! Owns the parts that the connections and requests of one thread share.
//!
//! A connection stays on the thread that accepted it, so that nothing here is locked. Never here: any step of a
//! request.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::directory::{Directory, HostRoutes};
use crate::metrics::Metrics;
use crate::name::HostName;
use crate::spec::ProxiedListener;
use crate::tasks::{ShutdownToken, TaskGroup};
use crate::time::Heartbeats;

use super::date::HttpDate;
use super::handshakes::HandshakeTurns;
use super::last_route::LastRoute;
use super::own_answers::OwnAnswers;
use super::server::Server;
use super::upstreams::Upstreams;
use crate::acceptor::connection::client_cert::ShownClientCert;
use crate::acceptor::connection::conn_state::ConnState;
use crate::acceptor::peer::Peer;
use crate::acceptor::records::access_log::AccessLog;
use crate::acceptor::wire::framing::FramingError;

pub(in crate::acceptor) struct Shard {
    pub(in crate::acceptor) server: Arc<Server>,
    pub(in crate::acceptor) own_answers: Arc<OwnAnswers>,
    pub(in crate::acceptor) directory: Directory,
    pub(in crate::acceptor) metrics: Metrics,
    pub(in crate::acceptor) access: AccessLog,
    pub(in crate::acceptor) stop: TaskGroup,
    /// Requested when nothing is to be finished any more: the thread's requests are about to be dropped.
    pub(in crate::acceptor) cut: ShutdownToken,
    pub(in crate::acceptor) upstreams: Rc<Upstreams>,
    pub(in crate::acceptor) handshakes: HandshakeTurns,
    pub(in crate::acceptor) date: HttpDate,
    /// The number of requests whose answers are not over.
    pub(in crate::acceptor) requests: Cell<usize>,
    /// Where the thread's accept loops report that they run.
    pub(in crate::acceptor) heartbeats: Heartbeats,
}

/// The purpose of a listener's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum Role {
    /// Apps over TLS.
    Https,
    /// Apps without TLS.
    Http,
    /// Redirects to HTTPS.
    Redirect,
}

impl Role {
    /// The word for the listener in settings.
    pub(in crate::acceptor) fn listener(self) -> ProxiedListener {
        match self {
            Self::Https => ProxiedListener::Https,
            Self::Http | Self::Redirect => ProxiedListener::Http,
        }
    }
}

/// A client's connection, as its requests see it.
pub(in crate::acceptor) struct Connection {
    pub(in crate::acceptor) shard: Rc<Shard>,
    pub(in crate::acceptor) role: Role,
    pub(in crate::acceptor) peer: Peer,
    pub(in crate::acceptor) local: SocketAddr,
    /// The name that the client asked for in the TLS handshake.
    pub(in crate::acceptor) sni: Option<HostName>,
    /// The certificate that the handshake asked for, and what the client has shown.
    pub(in crate::acceptor) client_cert: Option<Box<ShownClientCert>>,
    pub(in crate::acceptor) state: Arc<ConnState>,
    /// The number of requests so far that hyper has read.
    pub(in crate::acceptor) requests: Cell<u64>,
    pub(in crate::acceptor) last: LastRoute,
}

impl Connection {
    /// Whether so many requests are open, on the connection or on the whole thread, that each further one has to
    /// reserve room for its answer.
    pub(in crate::acceptor) fn is_crowded(&self) -> bool {
        self.shard.requests.get() > MANY || self.state.is_crowded()
    }

    pub(in crate::acceptor) fn scheme(&self) -> &'static str {
        match self.role {
            Role::Https => "https",
            Role::Http | Role::Redirect => "http",
        }
    }

    /// The fault of the head of the request that hyper brings now; to be asked once for each request.
    pub(in crate::acceptor) fn framing_error_of_next(&self) -> Option<FramingError> {
        let number = self.requests.get();
        self.requests.set(number + 1);
        self.state.flaw(number)
    }

    /// The routes of the name in the handshake, when it has any.
    pub(in crate::acceptor) fn sni_routes(&self) -> Option<HostRoutes> {
        self.shard.directory.lookup(self.sni.as_ref()?.as_str())
    }
}

/// The number of requests on a thread that need no reservation for their answers, whoever sends them.
const MANY: usize = 256;
