//! The settings: one table of all, the structs that it makes, what each setting takes, and reading a value.
//!
//! Never here: where a value came from (`config`), or what follows from it.

pub(crate) mod compound;
mod expected;
pub(crate) mod form;
pub(crate) mod job_values;
pub(crate) mod mount_value;
mod rows_of_apps;
mod rows_of_server;
pub(crate) mod sections;
mod setting;
pub(crate) mod setting_kind;
pub(crate) mod setting_value;
pub(crate) mod table;
pub(crate) mod units;
mod variables;
