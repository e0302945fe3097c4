//! Owns which files of an app are looked at, and noticing that they have changed.
//!
//! Never here: what a change leads to (`app`).

pub(super) mod app_files;
pub(super) mod file_watch;
pub(super) mod source_tree;
pub(super) mod stamp;
