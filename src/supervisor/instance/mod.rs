//! Owns all apps of an instance: how they come and go, and which hosts lead to them.
//!
//! Never here: the life of one app (`app`).

pub(super) mod app_entries;
pub(super) mod app_entry;
pub(super) mod app_set;
pub(super) mod hosts;
pub(super) mod path_match;
