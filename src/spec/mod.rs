//! What is to run and within which limits: the finished words that config produces and everything else reads.
//!
//! ```text
//! setting_types ── settings (the table, and the structs of its sections) ──┬─ app
//!                                                                          └─ server
//! ```
//!
//! Never here: where a value came from (`config`), or acting on it.

pub mod acme;
mod app;
mod by_path;
pub(crate) mod field_names;
pub(crate) mod redirects;
mod server;
pub(crate) mod setting_types;
pub(crate) mod settings;

pub use app::{AppSpec, LaunchSpec, Sources};
pub use by_path::ByPath;
pub use server::{AccessLog, CertFiles, CertSources, Hsts, Scheme, ServerSpec};
pub use setting_types::{
    BackendChoice, ClientCertMode, Listen, PortChoice, Protocol, Rate, ReadyBy, ReadyWhen, Reload,
    ReloadSignal, Scripts, WorkerCount,
};
pub use settings::table::{
    ClientCerts, FileSettings, Limits, ListenSettings, LogSettings, Memory, PhpSettings, ProgramSettings,
    Recycle, Rules, Sandbox, StaticSettings, Timeouts, TlsSettings, UnitSettings, Upkeep,
};
