//! What all threads of the data path know of the server.
//!
//! Never here: what belongs to one thread (`shard`).

use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderValue;
use ipnet::IpNet;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::challenges::Challenges;
use crate::metrics::Metrics;
use crate::spec::Limits;

use crate::acceptor::body::blocked_workers::BlockedWorkers;
use crate::acceptor::body::uploads::Uploads;
use crate::acceptor::limit::{Limit, LimitLog};
use crate::acceptor::peer::RateLimit;

/// What all threads know of the server.
pub(in crate::acceptor) struct Server {
    pub(in crate::acceptor) limits: Limits,
    /// `Strict-Transport-Security` of HTTPS answers.
    pub(in crate::acceptor) hsts: Option<HeaderValue>,
    pub(in crate::acceptor) trusted: Vec<IpNet>,
    pub(in crate::acceptor) status_for_all: bool,
    /// The port that redirects lead to.
    pub(in crate::acceptor) https_port: Option<u16>,
    pub(in crate::acceptor) http_port: Option<u16>,
    /// For spool files.
    pub(in crate::acceptor) spool: PathBuf,
    pub(in crate::acceptor) started: Instant,
    pub(in crate::acceptor) rate: Option<RateLimit>,
    /// HTTP/2 frames that carry nothing, of each client.
    pub(in crate::acceptor) frames: Arc<RateLimit>,
    /// For heads that are large.
    pub(in crate::acceptor) heads: Budget,
    /// For the first `body_memory` of each request body.
    pub(in crate::acceptor) memory: Budget,
    /// For what request bodies are larger than that.
    pub(in crate::acceptor) room: Budget,
    /// For answers that wait for their clients.
    pub(in crate::acceptor) reply_room: Budget,
    /// Request bodies that are coming.
    pub(in crate::acceptor) uploads: Uploads,
    /// For streamed bodies whose requests wait.
    pub(in crate::acceptor) unread: Budget,
    /// For spool files: bytes on disk of request bodies and answers together.
    pub(in crate::acceptor) spool_space: Budget,
    /// What of `spool_space` answers have, that it be known who has used it up by not reading.
    pub(in crate::acceptor) spooled_answers: Budget,
    /// Workers that wait for clients to read.
    pub(in crate::acceptor) blocked_workers: BlockedWorkers,
    /// Answers to authorities that ask whether a name leads here.
    pub(in crate::acceptor) challenges: Challenges,
    /// What clients have met of the limits.
    pub(in crate::acceptor) limit_log: LimitLog,
}

impl Server {
    /// Has the metrics show how much is held of each budget, and how much there is.
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
        ] {
            let held = budget.clone();
            metrics.show_limit(limit.name(), budget.total(), move || held.held());
        }
    }
}
