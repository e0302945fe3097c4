//! Timers, deadlines and dates.
//!
//! Never here: how long anything may take; that is in the settings, or beside what waits.

mod backoff;
mod heartbeat;
mod lazy_deadline;
pub mod timer;
mod wall_clock;

pub use backoff::Backoff;
pub use heartbeat::{Heartbeat, Heartbeats};
pub use lazy_deadline::{Elapsed, LazyDeadline};
pub use wall_clock::WallClock;
