//! Owns one thread of the data path and the parts that it has for all its requests: the server's limits, write batches,
//! connections to HTTP/2 workers.
//!
//! Never here: a single request.

pub(in crate::acceptor) mod batch_window;
pub(in crate::acceptor) mod date;
pub(in crate::acceptor) mod h2c_body;
pub(in crate::acceptor) mod h2c_channels;
pub(in crate::acceptor) mod handshakes;
pub(in crate::acceptor) mod last_route;
pub(in crate::acceptor) mod on_thread;
pub(in crate::acceptor) mod own_answers;
pub(in crate::acceptor) mod server;
pub(in crate::acceptor) mod shard;
pub(in crate::acceptor) mod stall_limit;
pub(in crate::acceptor) mod upstreams;
pub(in crate::acceptor) mod windows;
pub(in crate::acceptor) mod worker_seal;
pub(in crate::acceptor) mod write_batch;
