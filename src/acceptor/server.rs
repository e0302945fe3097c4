//! What all threads of the data path know of the server.
//!
//! Never here: what belongs to one thread (`shard`).

use std::path::PathBuf;

use http::HeaderValue;
use ipnet::IpNet;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::spec::Limits;

use super::held_back::HeldBack;
use super::limit::LimitLog;
use super::peer::RateLimit;
use super::uploads::Uploads;

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
