//! A client's connection: its place, its bytes, its state and its deadlines, whichever HTTP it speaks.
//!
//! Never here: a request.

pub(in crate::acceptor) mod client_cert;
pub(in crate::acceptor) mod client_socket;
pub(in crate::acceptor) mod client_stream;
pub(in crate::acceptor) mod conn_state;
pub(in crate::acceptor) mod deadlines;
pub(in crate::acceptor) mod eviction;
pub(in crate::acceptor) mod half_closed;
pub(in crate::acceptor) mod head_memory;
pub(in crate::acceptor) mod http2_stream;
pub(in crate::acceptor) mod place_state;
pub(in crate::acceptor) mod places;
pub(in crate::acceptor) mod read_ahead;
pub(in crate::acceptor) mod tcp_keepalive;
