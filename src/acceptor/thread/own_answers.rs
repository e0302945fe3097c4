//! Owns the parts of the server's own answers and fields: its status, redirects to HTTPS, and challenges of
//! authorities.
//!
//! Never here: making them (`request::builtin`).

use http::HeaderValue;
use tokio::time::Instant;

use crate::challenges::Challenges;

/// The parts of which the server's own answers are made.
pub(in crate::acceptor) struct OwnAnswers {
    /// The value of `Strict-Transport-Security` in HTTPS answers.
    pub(in crate::acceptor) hsts: Option<HeaderValue>,
    pub(in crate::acceptor) status_for_all: bool,
    /// The port that redirects lead to.
    pub(in crate::acceptor) https_port: Option<u16>,
    pub(in crate::acceptor) http_port: Option<u16>,
    pub(in crate::acceptor) started: Instant,
    /// Answers to authorities that ask whether a name leads here.
    pub(in crate::acceptor) challenges: Challenges,
}
