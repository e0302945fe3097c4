//! Owns the check of who asks: names and passwords as requests bring them, whether the two are right, and the answers
//! of other programs.
//!
//! Never here: for which paths a password is asked for (`spec`), or the answer to a wrong one (`request`).

pub(in crate::acceptor) mod credentials;
pub(in crate::acceptor) mod forward_auth;
pub(in crate::acceptor) mod identity;
pub(in crate::acceptor) mod passwords;
pub(in crate::acceptor) mod turns;
pub(in crate::acceptor) mod user_files;
pub(in crate::acceptor) mod verdicts;
