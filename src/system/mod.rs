//! The calls to Linux and systemd beyond what the standard library offers.
//!
//! Never here: units and the bus of systemd (`backend`), or what a signal leads to (`boot`).

pub(crate) mod calendar;
pub(crate) mod durable;
pub(crate) mod heap_trim;
pub(crate) mod notify;
pub(crate) mod orphans;
pub(crate) mod process_setup;
pub(crate) mod sd;
pub(crate) mod signals;
pub(crate) mod user;
pub(crate) mod writer_thread;
