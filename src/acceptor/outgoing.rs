//! A request that is ready to be handed to a worker.
//!
//! Never here: handing it over (`forward`).

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use crate::directory::App;
use crate::name::ClientNet;
use crate::spec::Rules;

use super::request_body::RequestBody;
use super::shard::Shard;
use super::upgrade::Upgrade;
use super::worker_head::{Origin, RequestHead};

/// A request that is ready to be handed to a worker.
pub(super) struct Outgoing<'a> {
    pub(super) shard: &'a Rc<Shard>,
    /// Whose share of the server's resources it takes from.
    pub(super) client: Option<ClientNet>,
    pub(super) app: &'a Arc<App>,
    pub(super) rules: &'a Arc<Rules>,
    pub(super) head: RequestHead<'a>,
    pub(super) origin: Origin<'a>,
    pub(super) body: RequestBody,
    /// Bytes of it that may lie unread while the request waits.
    pub(super) unread: u64,
    /// Since when it waits for a worker.
    pub(super) ready: Instant,
    /// Until when it may.
    pub(super) queue_until: Instant,
    pub(super) upgrade: Option<Upgrade>,
    /// It was sent twice already, over a kept connection that was just closing and over a new one.
    pub(super) resent: bool,
    /// Its worker has gone on to a request that waited.
    pub(super) handed_on: bool,
}
