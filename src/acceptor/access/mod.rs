//! Who asks: names and passwords as requests bring them, and whether they are right.
//!
//! Never here: for which paths they are asked for (`spec`), or the answer to whom they are wrong (`request`).

pub(in crate::acceptor) mod credentials;
pub(in crate::acceptor) mod forward_auth;
pub(in crate::acceptor) mod identity;
pub(in crate::acceptor) mod passwords;
pub(in crate::acceptor) mod turns;
pub(in crate::acceptor) mod user_files;
pub(in crate::acceptor) mod verdicts;
