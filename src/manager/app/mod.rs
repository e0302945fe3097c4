//! Owns one app: its task, its workers and their states, its generations and their deploys.
//!
//! ```text
//! app_task ──→ hearing (what it is told) ──→ plan, worker, budget, probation: pure ──→ act, deploy (what is done)
//! ```
//!
//! Never here: other apps, or which hosts lead to this one (`instance`).

pub(super) mod act;
pub(super) mod adoption;
pub(super) mod app_task;
pub(super) mod budget;
pub(super) mod crew;
pub(super) mod deploy;
pub(super) mod doubt;
pub(super) mod hearing;
pub(super) mod last_words;
pub(super) mod lookout;
pub(super) mod plan;
pub(super) mod probation;
pub(super) mod probe;
pub(super) mod rollout;
pub(super) mod status;
pub(super) mod worker;
pub(super) mod written;
