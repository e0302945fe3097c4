//! A worker and the connection to it that a request has.
//!
//! Never here: the request, or its answer.

use crate::pool::Lease;

use super::upstream_conn::UpstreamConn;

/// A claimed worker and the connection to it. Boxed everywhere, because it is moved often until the answer is over.
pub(in crate::acceptor) struct ClaimedWorker {
    pub(in crate::acceptor) lease: Lease,
    pub(in crate::acceptor) upstream: UpstreamConn,
}

impl ClaimedWorker {
    /// The worker's lease alone, when the connection is of no more use.
    pub(in crate::acceptor) fn close(self) -> Lease {
        self.lease
    }
}
