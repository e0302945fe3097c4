//! Owns what people asked for by host name, kept across restarts: which app answers, and what the host is to do.
//!
//! Never here: facts. Whether a worker is ready is never written down; hosts that come with an app's own settings
//! are not either.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::Intent;
use crate::durable;
use crate::name::HostName;

/// What was asked for one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The host.
    pub host: HostName,
    /// The app's directory or entry file.
    pub path: PathBuf,
    /// What the host is to do with its requests.
    pub intent: Intent,
    /// The operator's page while the intent is [`Intent::Stop`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// The registry file and what is in it.
///
/// Every change is on the disk before the call returns and rewrites the whole file (about 10 ms for 100,000 hosts),
/// so its calls block: one owner, never on a data-path thread.
#[derive(Debug)]
pub struct Registry {
    path: PathBuf,
    entries: BTreeMap<HostName, Entry>,
}

/// Why the registry could not be read or written. The file is never changed by an error.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The file is there but cannot be read.
    #[error("cannot read the registry `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The file is not a registry: damaged, or edited wrongly.
    #[error("the registry `{}` is malformed at line {line}, column {column}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// Where, counted from 1; 0 where the line is empty.
        column: usize,
        /// What the parser found there.
        source: serde_json::Error,
    },
    /// Another version of the program wrote the file.
    #[error("the registry `{}` has version {found}; this program knows version {VERSION} only", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version read.
        found: u64,
    },
    /// The file names a host twice, and nothing says which of the two is meant.
    #[error("the registry `{}` names the host `{host}` twice: remove one of the two", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The host.
        host: HostName,
    },
    /// An entry that JSON cannot hold: a path that is not UTF-8.
    #[error("the registry cannot hold the entry of `{host}`")]
    Entry {
        /// The host.
        host: HostName,
        /// What cannot be written.
        source: serde_json::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the registry `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

impl Registry {
    /// Reads the registry at `path`; a missing file is an empty registry.
    ///
    /// # Errors
    /// See [`RegistryError`]. An unknown version is an error, not a guess.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        let entries = match fs::read(path) {
            Ok(bytes) => parse(path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(RegistryError::Read { path: path.into(), source }),
        };
        Ok(Self { path: path.into(), entries })
    }

    /// Every entry, sorted by host.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.values().cloned().collect()
    }

    /// The entry of one host.
    pub fn get(&self, host: &HostName) -> Option<&Entry> {
        self.entries.get(host)
    }

    /// Adds a host or changes what was asked for it; on the disk before this returns. False when it was so before.
    ///
    /// # Errors
    /// When it cannot be written; the registry then is as before.
    pub fn set(&mut self, entry: Entry) -> Result<bool, RegistryError> {
        let host = entry.host.clone();
        if self.entries.get(&host) == Some(&entry) {
            return Ok(false);
        }
        let before = self.entries.insert(host.clone(), entry);
        self.save_or_restore(host, before)
    }

    /// Forgets a host; on the disk before this returns. False when it was not known.
    ///
    /// # Errors
    /// When it cannot be written; the registry then is as before.
    pub fn remove(&mut self, host: &HostName) -> Result<bool, RegistryError> {
        match self.entries.remove(host) {
            None => Ok(false),
            before => self.save_or_restore(host.clone(), before),
        }
    }

    fn save_or_restore(&mut self, host: HostName, before: Option<Entry>) -> Result<bool, RegistryError> {
        let saved = self.save();
        if saved.is_err() {
            match before {
                Some(entry) => self.entries.insert(host, entry),
                None => self.entries.remove(&host),
            };
        }
        saved.map(|()| true)
    }

    fn save(&self) -> Result<(), RegistryError> {
        let bytes = render(self.entries.values())?;
        durable::write_atomic(&self.path, &bytes, FILE_MODE)
            .map_err(|source| RegistryError::Write { path: self.path.clone(), source })
    }
}

/// Read first and alone: the rest of another version's file may look like anything.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "version")]
    _version: u64,
    hosts: Vec<Entry>,
}

fn parse(path: &Path, bytes: &[u8]) -> Result<BTreeMap<HostName, Entry>, RegistryError> {
    let malformed = |source: serde_json::Error| RegistryError::Malformed {
        path: path.into(),
        line: source.line(),
        column: source.column(),
        source,
    };
    let Versioned { version } = serde_json::from_slice(bytes).map_err(malformed)?;
    if version != VERSION {
        return Err(RegistryError::Version { path: path.into(), found: version });
    }
    let document: Document = serde_json::from_slice(bytes).map_err(malformed)?;

    let mut entries = BTreeMap::new();
    for entry in document.hosts {
        let host = entry.host.clone();
        if entries.insert(host.clone(), entry).is_some() {
            return Err(RegistryError::Twice { path: path.into(), host });
        }
    }
    Ok(entries)
}

/// One host a line, so that a person can read the file and compare two of them.
fn render<'a>(entries: impl Iterator<Item = &'a Entry>) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = format!("{{\"version\":{VERSION},\"hosts\":[").into_bytes();
    let mut separator: &[u8] = b"\n";
    for entry in entries {
        bytes.extend_from_slice(separator);
        serde_json::to_writer(&mut bytes, entry)
            .map_err(|source| RegistryError::Entry { host: entry.host.clone(), source })?;
        separator = b",\n";
    }
    bytes.extend_from_slice(b"\n]}\n");
    Ok(bytes)
}

const VERSION: u64 = 1;
/// An operator's page is nobody else's business before it is shown.
const FILE_MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn entry(host: &str, path: &str) -> Entry {
        Entry { host: host.parse().unwrap(), path: path.into(), intent: Intent::Run, page: None }
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry.json");
        (dir, path)
    }

    #[test]
    fn a_missing_file_is_an_empty_registry_and_is_not_created() {
        let (_dir, path) = folder();
        assert_eq!(Registry::open(&path).unwrap().entries(), []);
        assert!(!path.exists());
    }

    #[test]
    fn what_was_set_is_there_after_opening_again() {
        let (_dir, path) = folder();
        let stopped = Entry {
            intent: Intent::Stop,
            page: Some("<p>\"back\" soon</p>\n".into()),
            ..entry("b.example", "/srv/b")
        };
        let mut registry = Registry::open(&path).unwrap();

        assert!(registry.set(stopped.clone()).unwrap());
        assert!(registry.set(entry("*.a.example", "/srv/a")).unwrap());

        assert_eq!(Registry::open(&path).unwrap().entries(), [entry("*.a.example", "/srv/a"), stopped]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_file_has_one_host_a_line() {
        let (_dir, path) = folder();
        let mut registry = Registry::open(&path).unwrap();
        registry.set(entry("a.example", "/srv/a")).unwrap();
        registry.set(entry("b.example", "/srv/b")).unwrap();

        let expected = "{\"version\":1,\"hosts\":[\n\
            {\"host\":\"a.example\",\"path\":\"/srv/a\",\"intent\":\"run\"},\n\
            {\"host\":\"b.example\",\"path\":\"/srv/b\",\"intent\":\"run\"}\n\
            ]}\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn what_changes_nothing_writes_nothing() {
        let (_dir, path) = folder();
        let mut registry = Registry::open(&path).unwrap();
        registry.set(entry("a.example", "/srv/a")).unwrap();
        fs::remove_file(&path).unwrap();

        assert!(!registry.set(entry("a.example", "/srv/a")).unwrap());
        assert!(!registry.remove(&"unknown.example".parse().unwrap()).unwrap());

        assert!(!path.exists());
    }

    #[test]
    fn a_failed_write_leaves_the_registry_as_it_was() {
        let (dir, path) = folder();
        let mut registry = Registry::open(&path).unwrap();
        registry.set(entry("a.example", "/srv/a")).unwrap();
        let before = registry.entries();
        dir.close().unwrap();

        assert!(matches!(registry.set(entry("b.example", "/srv/b")), Err(RegistryError::Write { .. })));
        assert!(matches!(registry.set(entry("a.example", "/srv/b")), Err(RegistryError::Write { .. })));
        let host = "a.example".parse().unwrap();
        assert!(matches!(registry.remove(&host), Err(RegistryError::Write { .. })));

        assert_eq!(registry.entries(), before);
    }

    #[test]
    fn a_path_that_json_cannot_hold_is_refused() {
        let (_dir, path) = folder();
        let mut registry = Registry::open(&path).unwrap();
        let odd = Entry { path: OsStr::from_bytes(b"/srv/\xff").into(), ..entry("a.example", "/") };

        assert!(matches!(registry.set(odd), Err(RegistryError::Entry { .. })));

        assert_eq!(registry.entries(), []);
        assert!(!path.exists());
    }

    #[test]
    fn another_version_is_named_whatever_else_the_file_holds() {
        let (_dir, path) = folder();
        fs::write(&path, r#"{"hosts":{"new":"shape"},"version":2}"#).unwrap();

        let error = Registry::open(&path).unwrap_err();

        let expected =
            format!("the registry `{}` has version 2; this program knows version 1 only", path.display());
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_malformed_file_is_an_error_with_its_place_and_is_left_alone() {
        let (_dir, path) = folder();
        let host = r#"{"host":"a.example","path":"/a","intent":"run"}"#;
        for (text, line, column) in [
            (String::new(), 1, 0),
            ("{\"version\":1,\"hosts\":[\n{\"host\":\"a.ex".into(), 2, 13),
            ("[]".into(), 1, 2),
            ("{\"version\":1,\n\"hosts\":[],\n\"extra\":1}".into(), 3, 7),
            (
                "{\"version\":1,\"hosts\":[\n{\"host\":\"a:1\",\"path\":\"/a\",\"intent\":\"run\"}]}".into(),
                2,
                13,
            ),
            (format!("{{\"version\":1,\"hosts\":[{host}]}}\nrest"), 2, 1),
        ] {
            fs::write(&path, &text).unwrap();
            let error = Registry::open(&path).unwrap_err();
            let place = format!("is malformed at line {line}, column {column}");
            assert!(error.to_string().ends_with(&place), "{text:?}: {error}");
            assert!(error.source().is_some());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_host_named_twice_is_refused() {
        let (_dir, path) = folder();
        let host = r#"{"host":"A.example","path":"/a","intent":"run"}"#;
        fs::write(&path, format!("{{\"version\":1,\"hosts\":[{host},{}]}}", host.to_lowercase())).unwrap();

        assert!(matches!(Registry::open(&path), Err(RegistryError::Twice { .. })));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_an_empty_registry() {
        let (_dir, path) = folder();
        fs::create_dir(&path).unwrap();
        assert!(matches!(Registry::open(&path), Err(RegistryError::Read { .. })));
    }

    #[test]
    fn after_any_history_the_file_says_what_the_memory_says() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (_dir, path) = folder();
        let mut registry = Registry::open(&path).unwrap();
        let mut model = BTreeMap::new();
        for _ in 0..300 {
            let host: HostName = format!("h{}.example", random.u8(..12)).parse().unwrap();
            let changed = if random.u8(..3) == 0 {
                assert_eq!(registry.remove(&host).unwrap(), model.remove(&host).is_some());
                random.bool()
            } else {
                let intent = [Intent::Run, Intent::Hold, Intent::Stop][random.usize(..3)];
                let page = random.bool().then(|| random.char(..).to_string());
                let entry =
                    Entry { host: host.clone(), path: format!("/{}", random.u8(..3)).into(), intent, page };
                let new = model.insert(host, entry.clone()).as_ref() != Some(&entry);
                assert_eq!(registry.set(entry).unwrap(), new);
                random.bool()
            };
            if changed {
                registry = Registry::open(&path).unwrap();
            }
            assert_eq!(registry.entries(), model.values().cloned().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_hundred_thousand_hosts_survive() {
        let (_dir, path) = folder();
        let many: Vec<_> = (0..100_000).map(|n| entry(&format!("host-{n:06}.example"), "/srv/app")).collect();
        fs::write(&path, render(many.iter()).unwrap()).unwrap();

        let mut registry = Registry::open(&path).unwrap();
        registry.remove(&"host-000000.example".parse().unwrap()).unwrap();

        assert_eq!(Registry::open(&path).unwrap().entries(), many[1..]);
    }
}
