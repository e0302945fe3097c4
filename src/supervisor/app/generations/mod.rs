//! Owns the generations of an app: the one that serves, the candidate, and how often each may fail.
//!
//! Never here: a worker (`workers`), or which workers there should be (`plan`).

mod app_reader;
pub(super) mod autoscaler;
mod canary;
mod candidate_output;
mod crash_budget;
pub(super) mod deploy;
pub(super) mod deploys;
pub(super) mod generation_set;
mod probation;
mod worker_output;
