//! The words of the command line: what each is, what they mean together, and the errors of wrong ones.
//!
//! Never here: which value wins (`merge`).

pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod command_line;
pub(crate) mod peers;
pub(crate) mod suggest;
pub(crate) mod tokens;
mod unknown;
