//! Owns noticing that files have changed: what a file is at a moment, and when changed files have come to rest.
//!
//! Never here: reading them, or when to look.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The file that a name leads to, symbolic links followed: certificate tools renew by turning one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileMark {
    device: u64,
    inode: u64,
    size: u64,
    /// Modification and status change, each in seconds and nanoseconds.
    times: [i64; 4],
}

impl FileMark {
    /// `None`: there is no such file, or nobody may look.
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

/// Tells when files have changed and rest again: the two of a pair are rarely replaced in one moment.
#[derive(Debug)]
pub(super) struct RestWatch<M> {
    taken: M,
    last: M,
    /// Looks in a row that found something other than the look before.
    restless: u32,
}

impl<M: Clone + PartialEq> RestWatch<M> {
    /// Starts from the files as they were *before* they were read.
    pub(super) fn new(taken: M) -> Self {
        Self { last: taken.clone(), taken, restless: 0 }
    }

    /// Looks at the files' marks; true once for each change, when two looks in a row have found the same, or when they
    /// have not come to rest for very long.
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

/// Among many files one that is written all the time must not keep the others from being taken.
const LONG: u32 = 5;
