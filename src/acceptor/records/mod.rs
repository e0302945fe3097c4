//! Access records: what is noted of a request, how it looks, and its way out.
//!
//! Never here: when a request is over (`upstream::access`).

pub(in crate::acceptor) mod access_line;
pub(in crate::acceptor) mod access_log;
pub(in crate::acceptor) mod access_record;
pub(in crate::acceptor) mod access_writer;
