//! Owns the hosts that people added or changed, kept across restarts: which app answers for each, and the host's state.
//!
//! Never here: facts, such as whether a worker is ready, or hosts of an app's own settings.
//!
//! Two files: `registry.json` has every host, and `registry.changes` beside it the changes since. Changes are numbered,
//! and the first file names the last change that it has: a change that both files have is not made twice, and a missing
//! one is an error.

mod changes;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod snapshot;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::api::HostState;
use crate::name::RouteName;

use changes::{Change, Changes, NotAppended, Numbered};
use snapshot::Snapshot;

/// The entry of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistryEntry {
    pub(crate) host: RouteName,
    /// The app's directory or entry file.
    #[serde(serialize_with = "write_path", deserialize_with = "read_path")]
    pub(crate) path: Arc<Path>,
    /// The way in which the host treats its requests; earlier files have `intent`.
    #[serde(alias = "intent")]
    pub(crate) state: HostState,
    /// The operator's page while the host is [`HostState::Stopped`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) page: Option<String>,
    /// Whether a certificate may be got for the host from an authority; only written where it may not.
    #[serde(default = "crate::api::yes", skip_serializing_if = "crate::api::is_yes")]
    pub(crate) acme: bool,
}

/// The registry's files and their entries.
///
/// Every change is on the disk before the call returns: as one line of a file (about 0.4 ms), and once in some two
/// thousand changes as a file of all hosts (20 to 40 ms for 100,000 of them). The calls block, so that the registry has
/// one owner and is never used on a data-path thread.
#[derive(Debug)]
pub(crate) struct Registry {
    path: PathBuf,
    entries: BTreeMap<RouteName, RegistryEntry>,
    /// The number of the last change.
    last_change: u64,
    pending: PendingChanges,
}

/// The changes on the disk that the snapshot does not have.
#[derive(Debug)]
enum PendingChanges {
    /// There are no changes beside the snapshot.
    Nothing,
    /// The changes are in this file, and further ones can follow.
    Open(Changes),
    /// The changes are in files that may also have the next number, whose change was answered with an error: only a new
    /// snapshot can follow.
    Unsure,
}

/// Why the registry could not be read or written. The files are never changed by an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// A file is there but cannot be read.
    #[error("cannot read the registry `{}`", path.display())]
    Read {
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
    /// The file is not a registry: damaged, or edited wrongly.
    #[error("the registry `{}` is malformed at line {line}, column {column}", path.display())]
    Malformed {
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1; 0 where the line is empty.
        column: usize,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A change is not as it was written.
    #[error(
        "the registry's changes `{path}` are damaged at line {line}, byte {offset}: \
         `truncate --size={offset} {path}` gives up this change and those after it",
        path = path.display()
    )]
    Damaged {
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The place where the line begins, in bytes from 0.
        offset: usize,
    },
    /// Another version of the program wrote the file.
    #[error("the registry `{}` has version {found}; this program knows version {known} at most", path.display())]
    Version { path: PathBuf, found: u64, known: u64 },
    /// The snapshot is older than the changes: a copy was put back, or it was written by hand.
    #[error(
        "the registry `{path}` has the changes up to {last}, and those in `{changes}` begin with {first}: \
         put back the file they were made to, or remove them to go on without",
        path = path.display(), changes = changes.display()
    )]
    Gap {
        path: PathBuf,
        /// The last change that the snapshot has.
        last: u64,
        changes: PathBuf,
        first: u64,
    },
    /// The file names a host twice, and nothing says which of the two is meant.
    #[error("the registry `{}` names the host `{host}` twice: remove one of the two", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        host: RouteName,
    },
    /// JSON cannot hold an entry: its path is not UTF-8.
    #[error("the registry cannot hold the entry of `{host}`")]
    Entry {
        host: RouteName,
        /// The value that cannot be written.
        source: serde_json::Error,
    },
    /// A file cannot be written.
    #[error("cannot write the registry `{}`", path.display())]
    Write {
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
}

impl Registry {
    /// Reads the registry at `path`, and the changes beside it; a missing file is an empty registry.
    ///
    /// # Errors
    /// See [`RegistryError`]. An unknown version is an error, not a guess.
    pub(crate) fn open(path: &Path) -> Result<Self, RegistryError> {
        let Snapshot { last_change, entries } = Snapshot::read(path)?;
        let mut registry = Self { path: path.into(), entries, last_change, pending: PendingChanges::Nothing };
        if let Some((file, changes)) = Changes::open(&registry.changes_path())? {
            registry.take(file, changes)?;
        }
        Ok(registry)
    }

    /// Every entry, sorted by host.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &RegistryEntry> {
        self.entries.values()
    }

    /// The entry of one host.
    pub(crate) fn get(&self, host: &RouteName) -> Option<&RegistryEntry> {
        self.entries.get(host)
    }

    /// Adds a host or changes its entry; the change is on the disk when this returns. False when nothing had to be
    /// changed.
    ///
    /// # Errors
    /// When the change cannot be written; the registry is then as before.
    pub(crate) fn set(&mut self, entry: RegistryEntry) -> Result<bool, RegistryError> {
        if self.entries.get(&entry.host) == Some(&entry) {
            return Ok(false);
        }
        self.change(Change::Set(entry))
    }

    /// Removes a host; the change is on the disk when this returns. False when the host was not known.
    ///
    /// # Errors
    /// When the change cannot be written; the registry is then as before.
    pub(crate) fn remove(&mut self, host: &RouteName) -> Result<bool, RegistryError> {
        if !self.entries.contains_key(host) {
            return Ok(false);
        }
        self.change(Change::Remove(host.clone()))
    }

    /// Puts all changes into the one file that people read. Without this call nothing is lost.
    ///
    /// # Errors
    /// When the file cannot be written; the changes then stay where they are.
    pub(crate) fn settle(&mut self) -> Result<(), RegistryError> {
        match self.pending {
            PendingChanges::Nothing => Ok(()),
            PendingChanges::Open(_) => self.write_snapshot(self.last_change),
            // The number of a change that failed may be on the disk.
            PendingChanges::Unsure => self.write_snapshot(self.last_change + 1),
        }
    }

    /// Makes the changes that the snapshot does not have.
    fn take(&mut self, file: Changes, changes: Vec<Numbered>) -> Result<(), RegistryError> {
        let Some((first, _)) = changes.first() else { return Ok(()) };
        if *first > self.last_change + 1 {
            let (path, changes) = (self.path.clone(), self.changes_path());
            return Err(RegistryError::Gap { path, last: self.last_change, changes, first: *first });
        }
        let snapshot = self.last_change;
        for (number, change) in changes.into_iter().filter(|(number, _)| *number > snapshot) {
            apply(&mut self.entries, change);
            self.last_change = number;
        }
        // Otherwise the last server ended between writing a new snapshot and removing the changes that it replaced.
        if self.last_change > snapshot {
            self.pending = PendingChanges::Open(file);
        }
        Ok(())
    }

    fn change(&mut self, change: Change) -> Result<bool, RegistryError> {
        let line = changes::line(self.last_change + 1, &change)?;
        let host = change.host().clone();
        let before = apply(&mut self.entries, change);
        let written = self.write(&line);
        if written.is_err() {
            match before {
                Some(entry) => self.entries.insert(host, entry),
                None => self.entries.remove(&host),
            };
        }
        written.map(|()| true)
    }

    /// Writes the next change, which the entries have already.
    fn write(&mut self, line: &[u8]) -> Result<(), RegistryError> {
        let (number, path) = (self.last_change + 1, self.changes_path());
        match &mut self.pending {
            PendingChanges::Open(file) if file.takes(&path, line) => {
                file.append(line).map_err(|error| self.not_appended(error))?;
            }
            PendingChanges::Nothing => match Changes::create(&path, line) {
                Ok(file) => self.pending = PendingChanges::Open(file),
                // The line is too long, or the disk has room for a small registry and not for this file.
                Err(_) => return self.write_all(number),
            },
            PendingChanges::Open(_) | PendingChanges::Unsure => return self.write_all(number),
        }
        self.last_change = number;
        Ok(())
    }

    fn not_appended(&mut self, error: NotAppended) -> RegistryError {
        if !error.clean {
            self.pending = PendingChanges::Unsure;
        }
        RegistryError::Write { path: self.changes_path(), source: error.source }
    }

    fn write_all(&mut self, number: u64) -> Result<(), RegistryError> {
        self.write_snapshot(number).inspect_err(|_| self.pending = PendingChanges::Unsure)
    }

    fn write_snapshot(&mut self, last_change: u64) -> Result<(), RegistryError> {
        snapshot::write(&self.path, last_change, self.entries.values())?;
        self.last_change = last_change;
        self.pending = PendingChanges::Nothing;
        // A file that cannot be removed is passed over by its numbers, and replaced by the next change.
        fs::remove_file(self.changes_path()).ok();
        Ok(())
    }

    fn changes_path(&self) -> PathBuf {
        self.path.with_extension("changes")
    }
}

/// Makes a change; returns the host's earlier entry.
fn apply(entries: &mut BTreeMap<RouteName, RegistryEntry>, change: Change) -> Option<RegistryEntry> {
    match change {
        Change::Set(entry) => entries.insert(entry.host.clone(), entry),
        Change::Remove(host) => entries.remove(&host),
    }
}

fn write_path<S: Serializer>(path: &Arc<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().serialize(serializer)
}

fn read_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Path>, D::Error> {
    PathBuf::deserialize(deserializer).map(Arc::from)
}

/// The mode of the files: an operator's page is secret until it is shown.
const FILE_MODE: u32 = 0o600;
/// The number at which changes end, long before the next number could not be written.
const LAST_NUMBER: u64 = 1 << 53;

#[cfg(test)]
mod tests;
