//! Owns the files by which the agent remembers its work across restarts, one for each host: how its attempts went, and
//! its open order.
//!
//! Never here: pairs (`store`). Every call blocks on the disk.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::name::HostName;
use crate::system::durable;

use super::host::HostState;

/// The agent's own folder; nobody else can read it.
#[derive(Clone, Debug)]
pub(super) struct StateFiles {
    folder: PathBuf,
}

/// The record of a host that lasts over restarts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HostRecord {
    pub(super) host: HostName,
    pub(super) state: HostState,
    /// When the host was removed, if it was.
    #[serde(default)]
    pub(super) removed: Option<SystemTime>,
}

/// An order that has been begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OrderRecord {
    /// The directory URL of the authority.
    pub(super) authority: String,
    /// The URL of the order itself; none until the authority has told it.
    pub(super) url: Option<String>,
    /// The private key of the certificate to be, PEM.
    pub(super) key: String,
    pub(super) begun: SystemTime,
}

impl StateFiles {
    /// Makes the folders where they are missing.
    ///
    /// # Errors
    /// The file system's error.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        for folder in [folder, &folder.join("hosts"), &folder.join("orders")] {
            durable::private_dir(folder, 0o700)?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Reads the records of all hosts. A file that cannot be read counts as missing, and the log says so.
    pub(super) fn hosts(&self) -> Vec<HostRecord> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("hosts")) else { return Vec::new() };
        let json = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(json)
            .filter_map(|path| read(&path))
            .collect()
    }

    /// Reads the record of a host; `None`: there is none, or it cannot be read.
    pub(super) fn host(&self, host: &HostName) -> Option<HostRecord> {
        read(&self.path("hosts", host))
    }

    /// Writes the record of a host down.
    ///
    /// # Errors
    /// The file system's error.
    pub(super) fn save_host(&self, record: &HostRecord) -> io::Result<()> {
        write(&self.path("hosts", &record.host), record)
    }

    pub(super) fn forget_host(&self, host: &HostName) {
        std::fs::remove_file(self.path("hosts", host)).ok();
        self.close_order(host);
    }

    pub(super) fn order(&self, host: &HostName) -> Option<OrderRecord> {
        read(&self.path("orders", host))
    }

    /// Writes down an open order.
    ///
    /// # Errors
    /// The file system's error.
    pub(super) fn save_order(&self, host: &HostName, record: &OrderRecord) -> io::Result<()> {
        write(&self.path("orders", host), record)
    }

    pub(super) fn close_order(&self, host: &HostName) {
        std::fs::remove_file(self.path("orders", host)).ok();
    }

    /// When orders were begun in the last hours, as it was written down.
    pub(super) fn begun_orders(&self) -> Vec<SystemTime> {
        let path = self.folder.join(BEGUN);
        if path.exists() { read(&path).unwrap_or_default() } else { Vec::new() }
    }

    /// Writes down when orders were begun.
    ///
    /// # Errors
    /// The file system's error.
    pub(super) fn save_begun_orders(&self, times: &[SystemTime]) -> io::Result<()> {
        write(&self.folder.join(BEGUN), &times)
    }

    fn path(&self, folder: &str, host: &HostName) -> PathBuf {
        self.folder.join(folder).join(format!("{}.json", folder_name(host)))
    }
}

const BEGUN: &str = "orders-begun.json";

/// The name of a host's folder: for a wildcard it begins with `_`.
pub(super) fn folder_name(host: &HostName) -> String {
    match host.as_str().strip_prefix('*') {
        Some(rest) => format!("_{rest}"),
        None => host.as_str().to_owned(),
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = std::fs::read(path).ok()?;
    match serde_json::from_slice(&text) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a file of the agent cannot be read, and counts as missing");
            None
        }
    }
}

fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    durable::write_atomic(path, &serde_json::to_vec(value)?, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_and_what_is_damaged_counts_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        let files = StateFiles::open(folder.path()).unwrap();
        let host: HostName = "*.example.com".parse().unwrap();
        let record = HostRecord { host: host.clone(), state: HostState::new(None), removed: None };
        files.save_host(&record).unwrap();
        assert_eq!(files.hosts()[0].state, record.state);
        assert!(folder.path().join("hosts/_.example.com.json").exists());
        std::fs::write(folder.path().join("hosts/_.example.com.json"), "{").unwrap();
        assert!(files.hosts().is_empty());
        assert!(files.begun_orders().is_empty());
        files.save_begun_orders(&[SystemTime::UNIX_EPOCH]).unwrap();
        assert_eq!(files.begun_orders(), [SystemTime::UNIX_EPOCH]);
        files.forget_host(&host);
        assert!(files.order(&host).is_none());
    }
}
