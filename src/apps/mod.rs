//! Apps: what a directory or file is, how to run it, and the workers that ship with the server.
//!
//! Never here: starting a process, deciding how many, or reading a config file; what a config file said arrives
//! as [`Hints`].

mod declared;
mod detect;
mod development;
mod executable;
mod found;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod javascript;
mod package;
pub mod production;
mod programs;
mod project;
mod python;
mod python_target;
mod ruby;
pub mod runtimes;
mod shell;
mod site;
mod source;
pub mod static_worker;

pub use detect::detect;
pub use found::{DetectError, Found, Hints, Kind, Launch, Listen, ReadyBy, StaticHint};
