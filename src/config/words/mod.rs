//! The words of the command line: what each is, what they come to, and what is said of wrong ones.
//!
//! Never here: which value wins (`merge`).

pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod command_line;
pub(crate) mod peers;
pub(crate) mod suggest;
pub(crate) mod tokens;
mod unknown;
