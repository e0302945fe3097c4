//! Config: words of the command line, variables and TOML files in, typed settings out, each knowing where it came
//! from.
//!
//! ```text
//! table ─┬─ tokens ─┐
//!        ├─ env ────┼─ layer ── merge ── Config ── app ── AppSettings
//!        ├─ file ───┘                      └────── report
//!        └─ pages: help, completions, manuals, example
//! ```
//!
//! [`merge::read`] makes a [`merge::Config`] at the start; [`app::app_settings`] reads an app's own file anew for
//! every deploy. Never here: acting on a setting, making a folder, or anything that waits.

pub mod app;
pub mod command;
pub mod compound;
pub mod error;
pub mod instance;
pub mod machine;
pub mod merge;
pub mod origin;
pub mod report;
pub mod sandbox;

pub(crate) use client::COMPLETE;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

mod client;
mod command_line;
pub(crate) mod completions;
mod env;
mod example;
mod file;
mod file_manual;
mod folders;
mod form;
mod help;
mod kind;
mod layer;
mod manual;
mod near;
mod pages;
pub(crate) mod peers;
pub(crate) mod roff;
mod server;
mod setting;
mod table;
mod tokens;
mod units;
mod unknown;
mod usage;
mod value;
