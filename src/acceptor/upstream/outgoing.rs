//! A request that is ready to be handed to a worker.
//!
//! Never here: handing it over (`forward`).

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use crate::directory::App;
use crate::files::scripts::Script;
use crate::name::{ClientNet, WorkerId};
use crate::pool::ClaimTerms;
use crate::spec::Rules;

use super::upgrade::Upgrade;
use super::worker_head::{Origin, RequestHead};
use crate::acceptor::body::request_body::RequestBody;
use crate::acceptor::thread::stall_limit::StallLimit;
use crate::acceptor::thread::upstreams::Upstreams;

/// A request that is ready to be handed to a worker.
pub(in crate::acceptor) struct Outgoing<'a> {
    pub(in crate::acceptor) upstreams: &'a Rc<Upstreams>,
    /// The client whose share of the server's resources the request takes from.
    pub(in crate::acceptor) client: Option<ClientNet>,
    pub(in crate::acceptor) app: &'a Arc<App>,
    pub(in crate::acceptor) rules: &'a Arc<Rules>,
    pub(in crate::acceptor) head: RequestHead<'a>,
    pub(in crate::acceptor) origin: Origin<'a>,
    /// The script to run, for workers that run scripts.
    pub(in crate::acceptor) script: Option<Box<Script>>,
    pub(in crate::acceptor) body: RequestBody,
    /// The bytes of the request's body that may lie unread while the request waits.
    pub(in crate::acceptor) unread: u64,
    /// Since when the request waits for a worker.
    pub(in crate::acceptor) ready: Instant,
    pub(in crate::acceptor) queue_until: Instant,
    pub(in crate::acceptor) upgrade: Option<Upgrade>,
    /// The worker or generation that the request has to get; `None`: any worker of the current generation will do.
    pub(in crate::acceptor) terms: Option<Box<RequestTerms>>,
    /// Whether the request was sent twice already, over a kept connection that was just closing and over a new one.
    pub(in crate::acceptor) resent: bool,
    /// Whether the request's worker has gone on to a request that waited.
    pub(in crate::acceptor) handed_on: bool,
}

/// The worker or generation that a request has to get.
pub(in crate::acceptor) struct RequestTerms {
    pub(in crate::acceptor) claim: ClaimTerms,
    /// The worker that the request got.
    pub(in crate::acceptor) claimed: Option<WorkerId>,
}

impl Outgoing<'_> {
    /// How long the client may make a worker wait while the body is passed on.
    pub(in crate::acceptor) fn courtesy(&self) -> StallLimit {
        StallLimit::new(Arc::clone(&self.upstreams.server), self.client, self.app.pool.clone())
    }
}
