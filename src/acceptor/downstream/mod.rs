//! Owns the way from listeners to requests: TLS, and one file for each protocol that clients speak.
//!
//! Never here: the answer to a request.

pub(in crate::acceptor) mod ahead;
pub(in crate::acceptor) mod entrance;
pub(in crate::acceptor) mod fast_answer;
pub(in crate::acceptor) mod fast_path;
pub(in crate::acceptor) mod http1;
pub(in crate::acceptor) mod http2;
pub(in crate::acceptor) mod hyper_request;
pub(in crate::acceptor) mod listen;
pub(in crate::acceptor) mod proxied;
pub(in crate::acceptor) mod tls;
