//! Apps: what a directory or file is, how to run it, and the workers that ship with the server.
//!
//! Never here: starting a process, deciding how many, or reading a config file, whose settings arrive as `Hints`.

mod app_folder;
mod detect;
mod detected_app;
#[cfg(test)]
mod docs;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod kind;
mod kinds;
pub(crate) mod procfile;
pub(crate) mod production;
mod programs;
mod project;
mod recogniser;
mod source_files;
pub(crate) mod static_worker;
pub(crate) mod worker_scripts;

pub(crate) use detect::detect;
pub(crate) use detected_app::{DetectedApp, Hints, StaticHint};
