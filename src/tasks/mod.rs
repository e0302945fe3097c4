//! Tasks and their end: groups of tasks, and the token that asks them to end.
//!
//! Never here: the signals that a process gets (`system`), or the order in which parts of the server end (`boot`).

mod shutdown_token;
mod task_group;

pub(crate) use shutdown_token::ShutdownToken;
pub(crate) use task_group::panics;
pub use task_group::{TaskGroup, TaskHandle};
