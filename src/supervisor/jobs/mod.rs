//! Owns what runs beside the web workers of an app: the release step of a new version, side processes, and commands at
//! times.
//!
//! ```text
//! app_jobs ──→ process_plan, restarts, timer (pure)     which job to start or end now
//!     │   └──→ job_record, job_report                   what is known of each, and what people see of it
//!     └──────→ orders for the backend, which starts jobs as it starts workers, but without a listener
//! ```
//!
//! Never here: a web worker, or which generation serves (`app`).

pub(super) mod app_jobs;
mod job_record;
mod job_report;
mod process_plan;
mod restarts;
mod timer;
