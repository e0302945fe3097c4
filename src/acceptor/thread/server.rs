//! Owns the parts that all threads share: the limits of clients, and the budgets that clients share.
//!
//! Never here: the parts of one thread (`shard`), or answers of the server's own (`own_answers`).

use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use prometheus_client::metrics::counter::Counter;

use crate::budget::Budget;
use crate::metrics::Metrics;
use crate::spec::Limits;

use crate::acceptor::access::forward_auth::AuthCalls;
use crate::acceptor::access::passwords::Passwords;
use crate::acceptor::body::blocked_workers::BlockedWorkers;
use crate::acceptor::body::uploads::Uploads;
use crate::acceptor::limit::{Limit, LimitLog};
use crate::acceptor::peer::RateLimit;

use super::worker_seal::WorkerSeal;

/// The limits of clients, and what counts against them; one for all threads.
pub(in crate::acceptor) struct Server {
    pub(in crate::acceptor) limits: Limits,
    pub(in crate::acceptor) trusted: Vec<IpNet>,
    /// Whether clients may open WebSockets over HTTP/2.
    pub(in crate::acceptor) h2_websocket: bool,
    pub(in crate::acceptor) spool: PathBuf,
    pub(in crate::acceptor) rate: Option<RateLimit>,
    /// The budget of connections whose PROXY header has not come.
    pub(in crate::acceptor) unintroduced: Budget,
    /// The rate limit of each client's HTTP/2 frames without content.
    pub(in crate::acceptor) frames: Arc<RateLimit>,
    /// The budget of large heads.
    pub(in crate::acceptor) heads: Budget,
    /// The budget of the first `body_memory` bytes of each request body.
    pub(in crate::acceptor) memory: Budget,
    /// The budget of the bytes of request bodies above that.
    pub(in crate::acceptor) room: Budget,
    /// The budget of answers that wait for their clients.
    pub(in crate::acceptor) reply_room: Budget,
    /// Request bodies that are coming.
    pub(in crate::acceptor) uploads: Uploads,
    /// The budget of streamed bodies whose requests wait.
    pub(in crate::acceptor) unread: Budget,
    /// Bytes that were written to spool files, for the metrics.
    pub(in crate::acceptor) spooled_bytes: Counter,
    /// The budget of spool files: bytes on disk of request bodies and answers together.
    pub(in crate::acceptor) spool_space: Budget,
    /// The part of `spool_space` that answers have, to know which client has used it up by not reading.
    pub(in crate::acceptor) spooled_answers: Budget,
    /// Workers that wait for clients to read.
    pub(in crate::acceptor) blocked_workers: BlockedWorkers,
    /// The limits that clients have met.
    pub(in crate::acceptor) limit_log: LimitLog,
    /// The passwords that clients have shown, and the checks that run.
    pub(in crate::acceptor) passwords: Passwords,
    /// Requests that another program is asked about.
    pub(in crate::acceptor) auth_calls: AuthCalls,
    /// The seal on the workers that clients are told.
    pub(in crate::acceptor) worker_seal: WorkerSeal,
}

impl Server {
    /// Shows in the metrics how much is held of each budget, and its total.
    pub(in crate::acceptor) fn show_budgets(&self, metrics: &Metrics) {
        for (limit, budget) in [
            (Limit::Heads, &self.heads),
            (Limit::BodyMemory, &self.memory),
            (Limit::BodyRoom, &self.room),
            (Limit::Spool, &self.spool_space),
            (Limit::Uploads, self.uploads.places()),
            (Limit::UnreadBodies, &self.unread),
            (Limit::ReplyRoom, &self.reply_room),
            (Limit::ReplySpool, &self.spooled_answers),
            (Limit::Passwords, self.passwords.places()),
            (Limit::AuthCalls, self.auth_calls.places()),
        ] {
            let held = budget.clone();
            metrics.show_limit(limit.name(), budget.total(), move || held.held());
        }
    }
}
