//! What the server asks of Linux and systemd beyond what the standard library offers.
//!
//! Never here: units and the bus of systemd (`backend`), or what a signal leads to (`boot`).

pub mod durable;
pub mod heap_trim;
pub mod orphans;
pub mod process_setup;
pub mod sd;
pub mod signals;
pub mod user;
pub(crate) mod writer_thread;
