//! `rip-server`: an HTTPS application server that hands each request to a supervised worker process.
//!
//! # How data flows
//!
//! ```text
//! acceptor:  listen → tls → http → route → claim → forward → reply
//!                                    │       │
//!                              directory   pool          (floor 3, the only things both halves share)
//!                                    │       │
//! supervisor: desired state → plan → backend → probe → publish / retire
//! ```
//!
//! A request never calls the supervisor and the supervisor never calls a request: the data path claims a worker
//! from an app's [`pool`] and gives it back; the [`supervisor`] publishes workers into the pool and retires them.
//!
//! # Floors
//!
//! A module imports only from floors below its own, and siblings never import each other. The test `layers`
//! holds this table.
//!
//! | floor | modules |
//! |---|---|
//! | 0 ground | [`name`] [`budget`] [`digest`] [`fastcgi`] [`files`] [`pattern`] |
//! | 0 ground | [`tasks`] [`time`] [`system`] [`logging`] [`metrics`] |
//! | 1 words | [`spec`] [`passwords`] |
//! | 2 edges | [`config`] [`api`] |
//! | 3 shared | [`pool`] [`directory`] [`challenges`] |
//! | 4 data path | [`acceptor`] |
//! | 4 machinery | [`backend`] [`certs`] [`registry`] [`apps`] |
//! | 5 | [`supervisor`] [`agent`] [`launcher`] |
//! | 6 interfaces | [`control`] [`ctl`] |
//! | 7 | [`boot`] |
//!
//! Begin here: `acceptor/request/http.rs` has a request's way, `supervisor/app/plan.rs` says why a worker was started
//! or stopped, and `config/` says what a setting means and where it comes from.

// The documentation is for those who work on the crate: it is made with the items that are not public.
#![allow(rustdoc::private_intra_doc_links)]

mod budget;
mod digest;
mod fastcgi;
mod files;
mod logging;
mod metrics;
pub mod name;
mod pattern;
mod system;
pub mod tasks;
mod time;

#[cfg(test)]
mod generated;
#[cfg(test)]
mod seeded;

mod passwords;
pub mod spec;

pub mod api;
mod config;

mod challenges;
mod directory;
pub mod pool;

mod acceptor;

mod apps;
pub mod backend;
mod certs;
mod registry;

pub mod agent;
mod supervisor;

mod control;
pub mod ctl;
pub mod launcher;

pub mod boot;

/// The functions that the targets of `tests/fuzz` run.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing {
    pub use super::acceptor::fuzzing::*;
    pub use super::apps::fuzzing::*;
    pub use super::backend::fuzzing::*;
    pub use super::certs::fuzzing::*;
    pub use super::config::fuzzing::*;
    pub use super::control::fuzzing::*;
    pub use super::ctl::fuzzing::*;
    pub use super::files::fuzzing::*;
    pub use super::launcher::fuzzing::*;
    pub use super::logging::fuzzing::*;
    pub use super::name::fuzzing::*;
    pub use super::registry::fuzzing::*;
}
