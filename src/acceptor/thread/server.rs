//! What all threads of the data path know of the server.
//!
//! Never here: what belongs to one thread (`shard`).

use std::path::PathBuf;

use http::HeaderValue;
use ipnet::IpNet;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::challenges::Challenges;
use crate::spec::Limits;

use crate::acceptor::body::held_back::HeldBack;
use crate::acceptor::body::uploads::Uploads;
use crate::acceptor::limit::LimitLog;
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
    pub(in crate::acceptor) held_back: HeldBack,
    /// Answers to authorities that ask whether a name leads here.
    pub(in crate::acceptor) challenges: Challenges,
    /// What clients have met of the limits.
    pub(in crate::acceptor) limit_log: LimitLog,
}
