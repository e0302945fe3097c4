//! The texts that the program prints about itself, all made from the table of settings and the list of commands.
//!
//! Never here: printing them.

pub(crate) mod completions;
mod example;
mod file_manual;
mod help;
mod manual;
pub(crate) mod roff;
pub(crate) mod text;
pub(crate) mod usage;
