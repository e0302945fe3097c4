//! Config: words of the command line, variables and TOML files in, typed settings out, each knowing where it came
//! from.
//!
//! ```text
//! settings ─┬─ words ─┐
//!           ├─ env ───┼─ layer ── merge ── Config ── app ── AppSettings
//!           ├─ file ──┘                      └────── report
//!           └─ generated_docs: help, completions, manuals, default config
//! ```
//!
//! [`merge::read`] makes a [`merge::Config`] at the start; [`app::app_settings`] reads an app's own file anew for
//! every deploy. Never here: acting on a setting, making a folder, or anything that waits.

pub(crate) mod app;
pub(crate) mod asked_apps;
pub(crate) mod error;
pub(crate) mod generated_docs;
pub(crate) mod instance;
pub(crate) mod machine;
pub(crate) mod merge;
pub(crate) mod report;
pub(crate) mod sandbox;
pub(crate) mod shadowed_routes;
pub(crate) mod value_origin;
pub(crate) mod words;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

mod env;
mod field_sums;
mod file;
mod folders;
mod layer;
mod server;
