//! Access records: what is known of a request, how a record looks, and its way out.
//!
//! Never here: when a request is over (`upstream::access`).

pub(in crate::acceptor) mod access_line;
pub(in crate::acceptor) mod access_log;
pub(in crate::acceptor) mod access_record;
pub(in crate::acceptor) mod access_writer;
