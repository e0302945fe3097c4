//! A worker and the connection to it that a request has.
//!
//! Never here: the request, or its answer.

use crate::pool::Lease;

use super::link::Link;

/// A claimed worker and the connection to it. Boxed wherever it is: it is handed on until the answer is over.
pub(super) struct Claimed {
    pub(super) lease: Lease,
    pub(super) link: Link,
}

impl Claimed {
    /// The worker alone, when the connection is of no more use.
    pub(super) fn close(self) -> Lease {
        self.lease
    }
}
