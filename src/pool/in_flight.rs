//! Owns what is known of a request that a worker has, to show what the worker is doing.
//!
//! Never here: the worker.

use http::Method;
use http::uri::PathAndQuery;
use tokio::time::Instant;

use crate::name::RequestId;

/// A request that a worker has, or that waits for one.
#[derive(Clone, Debug)]
pub(crate) struct InFlightRequest {
    pub(crate) id: RequestId,
    pub(crate) method: Method,
    pub(crate) target: PathAndQuery,
    /// When the request arrived; after its grant, when the worker got it.
    pub(crate) since: Instant,
}
