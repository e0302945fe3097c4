//! What a request is, for those who ask what a worker is doing.
//!
//! Never here: who is doing it.

use http::Method;
use http::uri::PathAndQuery;
use tokio::time::Instant;

use crate::name::RequestId;

/// What a request is, for those who ask what a worker is doing.
#[derive(Clone, Debug)]
pub struct Doing {
    /// Its id.
    pub id: RequestId,
    /// Its method.
    pub method: Method,
    /// Its target.
    pub target: PathAndQuery,
    /// When it arrived; from its grant on, when the worker got it.
    pub since: Instant,
}
