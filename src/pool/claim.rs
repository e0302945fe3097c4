//! Owns what a request asks of a pool, and why it may get no worker.
//!
//! Plain data. Never here: which worker it gets (`state`).

use tokio::time::Instant;

use crate::name::{ClientNet, WorkerId};

use super::affinity::ClaimTerms;
use super::in_flight::InFlightRequest;

/// Why a claim got no worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimError {
    /// The queue is full. A claim is refused at once, or later, when its place was given to a client with fewer.
    #[error("the queue is full")]
    Full,
    /// The deadline passed while waiting.
    #[error("no worker became free in time")]
    Expired {
        /// Whether the app had any worker that could have become free.
        any_worker: bool,
    },
    /// The app takes no requests.
    #[error("the app has no workers and gets none")]
    Closed,
}

/// A request's wish for a worker, as [`Pool::claim`](super::Pool::claim) takes it.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) in_flight: InFlightRequest,
    /// The client of the claim; `None`: unknown, and all such claims count as one client's.
    pub(crate) client: Option<ClientNet>,
    /// The time until which the claim may wait.
    pub(crate) deadline: Instant,
    /// The worker that must not be taken, because it failed this request before; such a claim waits in front.
    pub(crate) not: Option<WorkerId>,
    /// The worker or generation that the claim has to get; `None`: any worker of the current generation will do.
    pub(crate) terms: Option<ClaimTerms>,
}
