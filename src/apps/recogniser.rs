//! One row of the table of what is recognised as an app: how a folder or a file is looked at, which programs run it,
//! and what people are told of it.
//!
//! Never here: a row itself; each is a static in the file of its runtime (`kinds`).

use std::path::Path;

use super::app_folder::AppFolder;
use super::detected_app::{DetectError, DetectedApp};
use super::kind::AppKind;
use super::programs::Program;

/// Looks at a folder; `None`: it is no app of this sort.
pub(super) type LookAtFolder = fn(&AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError>;
/// Takes a file that was given by name.
pub(super) type TakeFile = fn(&AppFolder<'_>, &Path) -> Result<DetectedApp, DetectError>;

/// A row of the table of what is recognised.
pub(super) struct Recogniser {
    pub(super) in_folder: LookAtFolder,
    /// Whether it goes by the operator's settings alone, which count for a file given by name too.
    pub(super) by_settings: bool,
    /// Suffixes of files that can be given by name, each with what takes one.
    pub(super) files: &'static [(&'static str, TakeFile)],
    /// What it looks for, for the person whose folder is nothing; empty: no folder is looked at for it.
    pub(super) looks_for: &'static str,
    /// Programs that run it, each with how to get it.
    pub(super) programs: &'static [Program<'static>],
    /// Programs and Python modules that are event loops: a shell line that ends in one takes several requests at once.
    pub(super) event_loops: &'static [&'static str],
    /// The kinds of the apps that it finds.
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
    /// A row that looks at folders alone. Rows say what else they do.
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
