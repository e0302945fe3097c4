//! A request on its way to a worker: connections to workers, the heads and bodies that go over them, and the record of
//! the request.
//!
//! Never here: which worker is asked, or what becomes of its answer (`exchange`).

pub(in crate::acceptor) mod access;
pub(in crate::acceptor) mod answer_records;
pub(in crate::acceptor) mod body_coding;
pub(in crate::acceptor) mod claimed_worker;
pub(in crate::acceptor) mod early_hints;
pub(in crate::acceptor) mod exchange_error;
pub(in crate::acceptor) mod fastcgi;
pub(in crate::acceptor) mod h2c;
pub(in crate::acceptor) mod outgoing;
pub(in crate::acceptor) mod reply_body;
pub(in crate::acceptor) mod restraint;
pub(in crate::acceptor) mod send;
pub(in crate::acceptor) mod unread;
pub(in crate::acceptor) mod upgrade;
pub(in crate::acceptor) mod upload;
pub(in crate::acceptor) mod upstream_conn;
pub(in crate::acceptor) mod worker_head;
