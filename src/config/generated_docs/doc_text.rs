//! Owns the table of pages and their texts. Never here: making a text, or printing it.

use super::{completions, default_config, file_manual, help, manual};
use crate::config::words::command::GeneratedDoc;

/// The text of a page.
pub(crate) fn text(page: GeneratedDoc) -> String {
    match page {
        GeneratedDoc::Help => help::text(),
        GeneratedDoc::Version => format!("rip-server {}\n", env!("CARGO_PKG_VERSION")),
        GeneratedDoc::Completions(shell) => completions::text(shell),
        GeneratedDoc::Manual => manual::text(),
        GeneratedDoc::FileManual => file_manual::text(),
        GeneratedDoc::DefaultConfig => default_config::text(),
    }
}
