//! Owns the parts that one thread has for its exchanges with workers.
//!
//! Never here: the parts of clients' connections (`shard`), or of a single request.

use std::sync::Arc;

use crate::tasks::{ShutdownToken, TaskGroup};

use super::h2c_channels::Channels;
use super::server::Server;
use super::write_batch::WriteBatch;
use crate::acceptor::body::buffer_pool::BufferPool;

/// The side of a thread that faces the workers.
pub(in crate::acceptor) struct Upstreams {
    /// The thread's number: only the thread that made a connection uses it again.
    pub(in crate::acceptor) index: usize,
    pub(in crate::acceptor) server: Arc<Server>,
    pub(in crate::acceptor) stop: TaskGroup,
    /// Requested when nothing is to be finished any more: the thread's requests are about to be dropped.
    pub(in crate::acceptor) cut: ShutdownToken,
    pub(in crate::acceptor) channels: Channels,
    pub(in crate::acceptor) buffers: BufferPool,
    pub(in crate::acceptor) write_batch: WriteBatch,
}
