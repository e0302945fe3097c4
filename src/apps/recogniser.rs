//! A row of the table of recognisers: how a folder or a file is looked at, which programs run the app, and its rows in
//! documents.
//!
//! Never here: a row itself; each is a static in the file of its runtime (`kinds`).

use std::path::Path;

use super::app_folder::AppFolder;
use super::detected_app::{DetectError, DetectedApp};
use super::kind::AppKind;
use super::programs::Program;

/// Looks at a folder; `None`: the folder is no app of this sort.
pub(super) type LookAtFolder = fn(&AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError>;
/// Takes a file that was given by name.
pub(super) type TakeFile = fn(&AppFolder<'_>, &Path) -> Result<DetectedApp, DetectError>;

/// A row of the table of recognisers.
pub(super) struct Recogniser {
    pub(super) in_folder: LookAtFolder,
    /// Whether the row goes by the operator's settings alone, which also count for a file given by name.
    pub(super) by_settings: bool,
    /// The suffixes of files that can be given by name, each with the function that takes one.
    pub(super) files: &'static [(&'static str, TakeFile)],
    /// The files that the row looks for, as the error names them when a folder is no app; empty: the row looks at no
    /// folder.
    pub(super) looks_for: &'static str,
    /// The programs that run the app, each with how to install it.
    pub(super) programs: &'static [Program<'static>],
    /// Programs and Python modules that are event loops: a shell line that ends in one takes several requests at once.
    pub(super) event_loops: &'static [&'static str],
    /// The kinds of the apps that the row finds.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test makes documents of it"))]
    pub(super) kinds: &'static [&'static AppKind],
    /// Rows of README: in the directory, run by, needs.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test makes documents of it"))]
    pub(super) readme: &'static [[&'static str; 3]],
    /// Rows of SPEC: recognised by, run as, listens by.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test makes documents of it"))]
    pub(super) spec: &'static [[&'static str; 3]],
}

impl Recogniser {
    /// A row that only looks at folders; rows say what else they do.
    pub(super) const fn new(in_folder: LookAtFolder) -> Self {
        Self {
            in_folder,
            by_settings: false,
            files: &[],
            looks_for: "",
            programs: &[],
            event_loops: &[],
            kinds: &[],
            readme: &[],
            spec: &[],
        }
    }
}
