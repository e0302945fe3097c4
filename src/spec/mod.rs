//! Owns the finished settings, which config produces and everything else reads: what is to run, and within which
//! limits.
//!
//! ```text
//! setting_types ── settings (the table, and the structs of its sections) ──┬─ app
//!                                                                          └─ server
//! ```
//!
//! Never here: where a value came from (`config`), or acting on it.

pub(crate) mod acme;
mod app;
pub(crate) mod asked_apps;
pub(crate) mod auth;
mod by_path;
pub(crate) mod canary;
pub(crate) mod field_names;
pub(crate) mod jobs;
pub(crate) mod mounts;
pub(crate) mod redirects;
mod server;
pub(crate) mod setting_types;
pub(crate) mod settings;

pub use app::LaunchSpec;
pub(crate) use app::{AppSpec, Sources, span};
pub(crate) use by_path::ByPath;
pub use jobs::JobName;
pub(crate) use server::{AccessFormat, CertFiles, CertSources, Hsts, Scheme, ServerSpec};
pub(crate) use setting_types::{
    BackendChoice, Compress, OwnPages, PortChoice, Protocol, ProxiedListener, Rate, ReadyBy, ReadyWhen,
    Reload, Scripts, Sticky, WorkerCount, WorkerRange,
};
pub use setting_types::{Listen, ReloadSignal};
pub use settings::table::Memory;
#[cfg(test)]
pub(crate) use settings::table::Timeouts;
pub(crate) use settings::table::{
    ClientCerts, FileSettings, JobSettings, Limits, ListenSettings, LogSettings, PhpSettings,
    ProgramSettings, Recycle, Rules, Sandbox, StaticSettings, TlsSettings, UnitSettings, Upkeep,
};
