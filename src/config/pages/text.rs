//! Which text belongs to which page. Never here: making one, or printing it.

use super::{completions, example, file_manual, help, manual};
use crate::config::words::command::Page;

/// The text of a page.
pub(crate) fn text(page: Page) -> String {
    match page {
        Page::Help => help::text(),
        Page::Version => format!("rip-server {}\n", env!("CARGO_PKG_VERSION")),
        Page::Completions(shell) => completions::text(shell),
        Page::Manual => manual::text(),
        Page::FileManual => file_manual::text(),
        Page::DefaultConfig => example::text(),
    }
}
