//! Apps: what a directory or file is, how to run it, and the workers that ship with the server.
//!
//! Never here: starting a process, deciding how many, or reading a config file; what a config file said arrives
//! as [`Hints`].

mod candidate;
mod detect;
mod files;
mod found;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod kinds;
pub mod production;
mod programs;
mod project;
pub mod runtimes;
pub mod static_worker;

pub use detect::detect;
pub use found::{DetectError, Found, Hints, Kind, Launch, Listen, ReadyBy, StaticHint};
