//! Owns which files are in a folder of certificates: three levels deep, links followed, with the marks that tell
//! whether they have changed.
//!
//! Never here: what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use crate::certs::file_marks::FileMark;

/// The files of a folder at one moment.
#[derive(Debug, Default)]
pub(super) struct FolderFiles {
    /// The files that may be certificates or keys, by path.
    pub(super) files: BTreeMap<PathBuf, FileMark>,
    /// Folders whose content could not be listed, and why.
    pub(super) unlisted: Vec<(PathBuf, io::Error)>,
}

impl FolderFiles {
    /// Lists a folder. Blocks on the disk, some 2 µs for each file.
    pub(super) fn below(root: &Path) -> Self {
        let mut found = Self::default();
        found.walk(root, LEVELS);
        found
    }

    /// A digest of the files: two equal ones mean that no file was touched, added or removed in between.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.files.hash(&mut hasher);
        self.unlisted.iter().for_each(|(path, _)| path.hash(&mut hasher));
        hasher.finish()
    }

    /// Whether a file may still be there although it was not listed.
    pub(super) fn may_hold(&self, path: &Path) -> bool {
        self.unlisted.iter().any(|(folder, _)| path.starts_with(folder))
    }

    fn walk(&mut self, folder: &Path, levels: u32) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.unlisted.push((folder.to_owned(), error)),
        };
        for entry in entries.flatten() {
            // Names with a dot are files that programs put beside what they are about to replace, and the turning
            // folders of Kubernetes.
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            // A link that leads nowhere is no file.
            let Ok(found) = fs::metadata(&path) else { continue };
            if found.is_dir() && levels > 1 {
                self.walk(&path, levels - 1);
            } else if found.is_file() && found.len() <= LARGEST && self.files.len() < MOST_FILES {
                self.files.insert(path, FileMark::from(&found));
            }
        }
    }
}

/// Every file that is read when a folder of certificates is, for a look at who may read them.
pub(crate) fn pem_files_below(root: &Path) -> Vec<PathBuf> {
    FolderFiles::below(root).files.into_keys().filter(|path| has_pem_suffix(path)).collect()
}

/// Whether a file's name says that it is a certificate or a key.
pub(super) fn has_pem_suffix(path: &Path) -> bool {
    path.extension().is_some_and(|suffix| SUFFIXES.iter().any(|known| suffix == *known))
}

const SUFFIXES: [&str; 5] = ["pem", "crt", "cer", "cert", "key"];
/// The levels of folders that are looked at: `FOLDER/file`, `FOLDER/a/file`, `FOLDER/a/b/file`.
const LEVELS: u32 = 3;
/// The largest file that is read, in bytes: a chain with its key has some 10 KiB.
const LARGEST: u64 = 1 << 20;
const MOST_FILES: usize = 250_000;
