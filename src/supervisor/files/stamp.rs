//! Owns what tells one state of a file from another.
//!
//! Never here: which files matter.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use crate::digest;

/// The state of a file. Length and inode belong to it, because a copy may keep the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::supervisor) struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
    /// A digest of the content, of a file of a usual size that was read.
    content: Option<String>,
}

impl Stamp {
    /// The stamp of a file, without its content.
    pub(in crate::supervisor) fn of(found: &Metadata) -> Self {
        Self { modified: found.modified().ok(), len: found.len(), inode: found.ino(), content: None }
    }

    /// The stamp with the file's content, because the kernel's clock for files stands still for up to 10 ms, and two
    /// writes in that time may differ in nothing else. `None`: there is no such file.
    pub(in crate::supervisor) fn with_content(file: &Path) -> Option<Self> {
        let found = fs::metadata(file).ok()?;
        let usual = found.is_file() && found.len() <= MOST_READ;
        let content = usual.then(|| fs::read(file).ok()).flatten();
        let content = content.map(|bytes| digest::word(&[&bytes], 26));
        Some(Self { content, ..Self::of(&found) })
    }

    /// A word that stays the same for as long as the file does, over reboots and copies of a file that was read.
    pub(super) fn word(&self) -> String {
        let time =
            self.modified.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
        self.content.clone().unwrap_or_else(|| format!("{}.{}", time.as_nanos(), self.len))
    }

    /// The stamp of a file, without its content. `None`: there is no such file.
    pub(in crate::supervisor) fn of_file(file: &Path) -> Option<Self> {
        fs::metadata(file).ok().map(|found| Self::of(&found))
    }
}

/// The largest file whose content is read; a larger one is known by its time, length and inode.
const MOST_READ: u64 = 1 << 20;
