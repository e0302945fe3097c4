//! Owns noticing that files have changed: the mark of a file at a moment, and when changed files have come to rest.
//!
//! Never here: reading them, or when to look.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The mark of the file that a name leads to. Symbolic links are followed, because certificate tools renew by changing
/// one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileMark {
    device: u64,
    inode: u64,
    size: u64,
    /// Times of modification and of status change, each in seconds and nanoseconds.
    times: [i64; 4],
}

impl FileMark {
    /// `None`: the file does not exist, or the server may not look at it.
    pub(super) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|found| Self::from(&found))
    }
}

impl From<&Metadata> for FileMark {
    fn from(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            times: [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()],
        }
    }
}

/// Tells when files have changed and rest again, because the two files of a pair are rarely replaced in one moment.
#[derive(Debug)]
pub(super) struct RestWatch<M> {
    taken: M,
    last: M,
    /// How many looks in a row found something other than the look before.
    restless: u32,
}

impl<M: Clone + PartialEq> RestWatch<M> {
    /// Starts with the marks of the files, taken *before* the files were read.
    pub(super) fn new(taken: M) -> Self {
        Self { last: taken.clone(), taken, restless: 0 }
    }

    /// Compares new marks with those of the last look. Returns true once for each change, when two looks in a row have
    /// found the same marks, or when the marks have changed at [`LONG`] looks in a row.
    pub(super) fn look(&mut self, now: M) -> bool {
        self.restless = if now == self.last { 0 } else { self.restless + 1 };
        self.last = now;
        let rests = self.restless == 0 || self.restless.is_multiple_of(LONG);
        let changed = rests && self.last != self.taken;
        if changed {
            self.taken = self.last.clone();
        }
        changed
    }
}

/// Looks after which files that still change are taken: one file that is written all the time must not keep many others
/// from being taken.
const LONG: u32 = 5;
