//! Passwords as they are kept: hashes that a password can be checked against, and files of users.
//!
//! Never here: who asks and how often (`acceptor`), or writing such a file (`ctl`).

pub(crate) mod hash;
pub(crate) mod users;
