//! The texts that the program prints about itself, all from the table. Never here: printing them.

use super::command::Page;
use super::{completions, example, file_manual, help, manual};

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
