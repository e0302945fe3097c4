//! Passwords as they are kept: hashes that a password can be checked against, and files of users.
//!
//! Never here: when and how often a password is checked (`acceptor`), or writing such a file (`ctl`).

pub(crate) mod hash;
pub(crate) mod users;
