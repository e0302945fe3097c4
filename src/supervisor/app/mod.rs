//! Owns one app: its task, its workers and their states, its generations and their deploys.
//!
//! ```text
//! app_task ──→ workers ──→ phase_change, worker_record, worker_state (pure), probes
//!     │   └──→ generations: deploys ──→ deploy, probation, crash_budget (pure)
//!     └──────→ plan (pure): which workers to start and which to let go; file_changes; status
//! ```
//!
//! Never here: other apps, or which hosts lead to this one (`instance`).

mod adoption;
pub(super) mod app_task;
pub(super) mod deploy_observer;
pub(super) mod facts;
mod fastcgi_probe;
mod file_changes;
mod generations;
mod job_runner;
mod leavers;
mod listen_check;
pub(super) mod messages;
mod phase_change;
mod plan;
mod probe;
mod probes;
mod status;
pub(super) mod worker_record;
mod worker_starter;
mod worker_state;
mod workers;
