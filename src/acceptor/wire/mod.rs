//! HTTP/1 as bytes: heads, framing, chunks, fields. No socket and no clock.
//!
//! These parts read and write HTTP/1, each for its own reason:
//!
//! - `fast_head` reads heads of plain requests, which most are: they cost least this way.
//! - hyper (`downstream/http1`) reads all other requests and their bodies, and writes their answers: it knows bodies,
//!   `100-continue`, HTTP/1.0 and upgrades.
//! - `framing`, with `chunks`, follows the bytes that hyper reads: hyper does not tell what it was lenient about.
//! - `downstream/fast_answer` writes the answers to plain requests, which hyper has not seen.
//! - `upstream/worker_head` writes heads for workers and reads those of their answers: the client's role, with other
//!   first lines and other limits.
//! - `worker_body` reads bodies of answers. `chunks` cannot: it finds their ends alone.
//!
//! Rules that hold for more than one of these parts are written once: how a body's end is told in `body_framing`, which
//! fields pass in `headers` and `trailers`, how fields and chunks are written in `encode`.
//!
//! Beside HTTP/1 the room has HTTP/2's `frames`, and the `proxy_header` in front of everything.
//!
//! Never here: who sent the bytes, or what follows from them.

pub(in crate::acceptor) mod body_framing;
pub(in crate::acceptor) mod chunks;
pub(in crate::acceptor) mod encode;
pub(in crate::acceptor) mod fast_head;
pub(in crate::acceptor) mod frames;
pub(in crate::acceptor) mod framing;
pub(in crate::acceptor) mod headers;
pub(in crate::acceptor) mod proxy_header;
pub(in crate::acceptor) mod trailers;
pub(in crate::acceptor) mod websocket;
pub(in crate::acceptor) mod worker_body;
