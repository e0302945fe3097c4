//! An app's files as texts and names.
//!
//! Never here: what their contents mean.

use std::fs;
use std::path::Path;

use super::detected_app::DetectError;

/// The file's text, which must be there.
pub(super) fn read(path: &Path) -> Result<String, DetectError> {
    fs::read_to_string(path).map_err(|source| DetectError::Unreadable { path: path.to_owned(), source })
}

/// The file's text, for a light look. A file that cannot be read counts as empty, and fails when it is run.
pub(super) fn text_of(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The file name for a sentence.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
