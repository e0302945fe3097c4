//! HTTP/1 as bytes: heads, framing, chunks, fields. No socket and no clock.
//!
//! Never here: who sent them, or what follows.

pub(in crate::acceptor) mod body_framing;
pub(in crate::acceptor) mod chunks;
pub(in crate::acceptor) mod fast_head;
pub(in crate::acceptor) mod frames;
pub(in crate::acceptor) mod framing;
pub(in crate::acceptor) mod headers;
pub(in crate::acceptor) mod trailers;
pub(in crate::acceptor) mod worker_body;
