//! Owns which files of an app are looked at, and noticing that they have changed.
//!
//! Never here: what follows from a change (`app`).

pub(super) mod app_files;
pub(super) mod content;
pub(super) mod file_watch;
pub(super) mod source_tree;
pub(super) mod stamp;
