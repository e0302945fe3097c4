//! The texts that the program prints about itself, all made from the table of settings and the list of commands.
//!
//! Never here: printing them.

pub(crate) mod completions;
mod default_config;
pub(crate) mod doc_text;
mod file_manual;
mod help;
mod manual;
#[cfg(test)]
mod packaging;
pub(crate) mod roff;
pub(crate) mod usage;
