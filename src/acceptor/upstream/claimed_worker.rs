//! A worker and the connection to it that a request has.
//!
//! Never here: the request, or its answer.

use std::future::poll_fn;
use std::io;

use tokio::time::Instant;

use crate::pool::{Lease, WorkerFault};
use crate::time::timer;

use super::upstream_conn::UpstreamConn;
use crate::acceptor::worker_stream::WorkerStream;

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

    /// Closes the connection of an answer in records. The worker is free when it has taken another connection, which
    /// brings no request, and closed it; when it has not by the deadline, it is given up. A worker of FastCGI whose
    /// writes fail waits for the other side to close before it closes itself, as php-cgi does, so that its end could not
    /// be seen on the first connection.
    pub(in crate::acceptor) async fn hang_up(self, deadline: Instant) {
        let lease = self.close();
        let taken = async {
            let next = WorkerStream::new(lease.member().address.connect().await?)?;
            next.end_writes()?;
            let mut said = Vec::with_capacity(64);
            while poll_fn(|cx| next.poll_read(cx, &mut said)).await? > 0 {
                said.clear();
            }
            io::Result::Ok(())
        };
        if timer::timeout_at(deadline, taken).await.is_err() {
            lease.condemn(WorkerFault::Stalled);
        }
    }
}
