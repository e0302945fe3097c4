//! Timers, deadlines and dates.
//!
//! Never here: how long anything may take, which is in the settings or beside the code that waits.

mod backoff;
mod heartbeat;
mod lazy_deadline;
pub(crate) mod timer;
mod wall_clock;

pub(crate) use backoff::Backoff;
pub(crate) use heartbeat::{Heartbeat, Heartbeats};
pub(crate) use lazy_deadline::{Elapsed, LazyDeadline};
pub(crate) use wall_clock::WallClock;
