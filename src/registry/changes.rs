//! Owns `registry.changes`: the changes since `registry.json` was written, a line each.
//!
//! Never here: the entries that the changes are made to.
//!
//! ```text
//! {"version":1}
//! SUM NUMBER {"set":{"host":…,"path":…,"state":…}}
//! SUM NUMBER {"remove":HOST}
//! NUL NUL NUL …
//! ```
//!
//! The file has its full length from the start, filled with zeros, so that a change overwrites bytes: the file system
//! has no metadata to write, and a line that a crash has cut has zeros where bytes are missing. A line is written when
//! the one before is on the disk, so that only the last one can be cut; one that has all its bytes and a wrong sum has
//! been damaged by something else. A change that was never answered is left out; one that was answered and cannot be
//! read is an error.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::name::RouteName;
use crate::system::durable;

use super::{FILE_MODE, LAST_NUMBER, RegistryEntry, RegistryError};

/// A change of the registry; making it twice is the same as making it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Change {
    /// A host is added, or its entry is changed.
    Set(RegistryEntry),
    /// A host is forgotten.
    Remove(RouteName),
}

impl Change {
    pub(super) fn host(&self) -> &RouteName {
        match self {
            Self::Set(entry) => &entry.host,
            Self::Remove(host) => host,
        }
    }
}

/// The file, open for another change.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) file: File,
    /// The place of the next line.
    pub(super) end: u64,
}

impl Changes {
    /// Opens the file, if there is one, with the changes it holds and their numbers. A change that was cut off in the
    /// writing is overwritten with zeros.
    pub(super) fn open(path: &Path) -> Result<Option<(Self, Vec<Numbered>)>, RegistryError> {
        let unreadable = |source| RegistryError::Read { path: path.into(), source };
        let file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(unreadable(source)),
        };
        let bytes = fs::read(path).map_err(unreadable)?;
        let ParsedChanges { changes, end, cut } = parse(path, &bytes)?;
        let file = Self { file, end: end as u64 };
        if cut > 0 {
            tracing::warn!(path = %path.display(), bytes = cut, "a change of the registry was cut off before it was answered; it is left out");
            file.wipe(cut).map_err(|source| RegistryError::Write { path: path.into(), source })?;
        }
        Ok(Some((file, changes)))
    }

    /// Makes the file with one line in it, in the place of an earlier file; the file is on the disk when this returns.
    ///
    /// # Errors
    /// `FileTooLarge` when the line does not fit; else what the file system said.
    pub(super) fn create(path: &Path, line: &[u8]) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(SIZE);
        bytes.extend_from_slice(HEAD);
        bytes.extend_from_slice(line);
        let end = bytes.len() as u64;
        if bytes.len() > SIZE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        bytes.resize(SIZE, 0);
        durable::write_atomic(path, &bytes, FILE_MODE)?;
        Ok(Self { file: File::options().write(true).open(path)?, end })
    }

    /// Whether another line fits, and would be found at the path: a person may have removed or replaced the file.
    pub(super) fn takes(&self, path: &Path, line: &[u8]) -> bool {
        let fits = self.end + line.len() as u64 <= SIZE as u64;
        let same = |ours: Metadata, found: Metadata| (ours.dev(), ours.ino()) == (found.dev(), found.ino());
        fits && self.file.metadata().and_then(|ours| Ok(same(ours, fs::metadata(path)?))).unwrap_or(false)
    }

    /// Adds a line, which is on the disk when this returns.
    ///
    /// # Errors
    /// The file system's error. A part of the line may then be there, unless it could be overwritten with zeros.
    pub(super) fn append(&mut self, line: &[u8]) -> Result<(), NotAppended> {
        match self.file.write_all_at(line, self.end).and_then(|()| self.file.sync_data()) {
            Ok(()) => {
                self.end += line.len() as u64;
                Ok(())
            }
            Err(source) => Err(NotAppended { source, clean: self.wipe(line.len()).is_ok() }),
        }
    }

    fn wipe(&self, length: usize) -> io::Result<()> {
        self.file.write_all_at(&vec![0; length], self.end)?;
        self.file.sync_data()
    }
}

/// A line that is perhaps not on the disk.
pub(super) struct NotAppended {
    /// The file system's error.
    pub(super) source: io::Error,
    /// Whether the line is certainly not there.
    pub(super) clean: bool,
}

/// A change with its number, which is one more than that of the change before, in the file and across files.
pub(super) type Numbered = (u64, Change);

/// The line of a change.
///
/// # Errors
/// When JSON cannot hold the change.
pub(super) fn line(number: u64, change: &Change) -> Result<Vec<u8>, RegistryError> {
    let text = serde_json::to_string(change)
        .map_err(|source| RegistryError::Entry { host: change.host().clone(), source })?;
    Ok(format!("{} {number} {text}\n", sum(number, &text)).into_bytes())
}

pub(super) struct ParsedChanges {
    pub(super) changes: Vec<Numbered>,
    /// The place of the next line.
    pub(super) end: usize,
    /// How many bytes lie there of a line that was cut off.
    pub(super) cut: usize,
}

/// Reads the bytes of a file; `path` is for messages.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<ParsedChanges, RegistryError> {
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut found = ParsedChanges { changes: Vec::new(), end: 0, cut: 0 };
    // Somebody has given up all changes of the file.
    if written == 0 {
        return Ok(found);
    }
    check_head(path, bytes)?;
    found.end = HEAD.len();
    while found.end < written {
        let rest = &bytes[found.end..written];
        let length = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let expected = found.changes.last().map(|(number, _)| number + 1);
        match understood(&rest[..length]).filter(|(number, _)| expected.is_none_or(|next| next == *number)) {
            Some(change) => {
                found.changes.push(change);
                found.end += length;
            }
            None if length == rest.len() && is_cut(rest) => {
                found.cut = length;
                break;
            }
            None => {
                let (line, offset) = (found.changes.len() + 2, found.end);
                return Err(RegistryError::Damaged { path: path.into(), line, offset });
            }
        }
    }
    Ok(found)
}

/// Whether bytes of the last line are missing: those of sectors that were not written before the crash, or those of its
/// end. A whole line behind zeros is not cut: the zeros have replaced the end of the line before.
fn is_cut(line: &[u8]) -> bool {
    let mut behind_zeros = line.split(|byte| *byte == 0).skip(1);
    (line.contains(&0) || !line.ends_with(b"\n")) && !behind_zeros.any(|rest| understood(rest).is_some())
}

fn check_head(path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
    #[derive(Deserialize)]
    struct Head {
        version: u64,
    }
    if bytes.starts_with(HEAD) {
        return Ok(());
    }
    let head = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match serde_json::from_slice(head) {
        Ok(Head { version }) if version != VERSION => {
            Err(RegistryError::Version { path: path.into(), found: version, known: VERSION })
        }
        _ => Err(RegistryError::Damaged { path: path.into(), line: 1, offset: 0 }),
    }
}

/// The change in a whole line, if its sum is right.
fn understood(line: &[u8]) -> Option<Numbered> {
    let line = str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (expected, rest) = line.split_once(' ')?;
    let (number, text) = rest.split_once(' ')?;
    let number = number.parse().ok().filter(|number| *number <= LAST_NUMBER)?;
    let change = serde_json::from_str(text).ok()?;
    (sum(number, text) == expected).then_some((number, change))
}

fn sum(number: u64, text: &str) -> String {
    digest::word(&[&number.to_be_bytes(), text.as_bytes()], SUM)
}

const VERSION: u64 = 1;
const HEAD: &[u8] = b"{\"version\":1}\n";
/// The length of a sum in letters, five bits each.
const SUM: usize = 16;
/// The size of the file, for some two thousand hosts: for each change a 2000th of the snapshot is written.
const SIZE: usize = 256 * 1024;
