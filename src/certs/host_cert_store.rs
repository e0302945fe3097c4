//! Owns the folder with the certificates of single hosts, a file each.
//!
//! Never here: whether a host is still registered.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::name::HostName;

use super::certificate::Certificate;
use super::{CertError, self_made};

/// The folder with a file for each host. Every call blocks on the disk.
#[derive(Clone, Debug)]
pub(super) struct HostFolder {
    path: PathBuf,
}

impl HostFolder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the certificates that are valid at `now`. The others stay in the folder until another replaces them,
    /// because a clock that is wrong today may be right tomorrow.
    pub(super) fn load(&self, now: SystemTime) -> Vec<(HostName, Certificate)> {
        let Ok(files) = fs::read_dir(&self.path) else { return vec![] };
        files
            .filter_map(|file| host(file.ok()?.file_name().to_str()?))
            .take(LOADED)
            .filter_map(|host| {
                let certificate = self_made::cached(&self.file(&host)?, std::slice::from_ref(&host), now)?;
                Some((host, certificate))
            })
            .collect()
    }

    /// Keeps a host's certificate, unless the host's name is too long for the name of a file.
    pub(super) fn store(&self, host: &HostName, pem: &[u8]) -> Result<(), CertError> {
        let Some(path) = self.file(host) else { return Ok(()) };
        for folder in [self.path.parent(), Some(&*self.path)].into_iter().flatten() {
            self_made::folder(folder)?;
        }
        self_made::store(&path, pem)
    }

    /// Removes a host's certificate if there is one.
    pub(super) fn remove(&self, host: &HostName) {
        if let Some(path) = self.file(host) {
            fs::remove_file(path).ok();
        }
    }

    /// The host's file. No name of a host holds a `/` or starts with a dot.
    fn file(&self, host: &HostName) -> Option<PathBuf> {
        (host.as_str().len() <= NAME).then(|| self.path.join(format!("{host}{SUFFIX}")))
    }
}

fn host(file: &str) -> Option<HostName> {
    file.strip_suffix(SUFFIX).and_then(|host| HostName::parse(host).ok())
}

const SUFFIX: &str = ".pem";
/// The longest name of a host: 255 bytes less the suffix and what a temporary file's name adds.
const NAME: usize = 230;
/// The most certificates that are read: one takes about 50 µs, and the server waits for it.
const LOADED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::super::testing::{DAY, hosts, now};
    use super::*;

    #[test]
    fn certificates_of_hosts_come_back_while_they_serve() {
        let dir = tempfile::tempdir().unwrap();
        let folder = HostFolder::new(dir.path().join("hosts"));
        let long = format!("{}.example", ["abcdefghi"; 24].join("."));
        for host in hosts(&["a.example", "*.a.example", "b.example", &long]) {
            let made = self_made::self_signed(std::slice::from_ref(&host), now()).unwrap();
            folder.store(&host, &made.pem).unwrap();
        }
        fs::write(folder.path.join("c.example.pem"), "damaged").unwrap();
        fs::write(folder.path.join("notes.txt"), "of a person").unwrap();
        folder.remove(&"b.example".parse().unwrap());

        let mut found: Vec<_> = folder.load(now()).into_iter().map(|(host, _)| host).collect();
        found.sort();
        assert_eq!(found, hosts(&["*.a.example", "a.example"]));
        assert!(folder.load(now() + 300 * DAY).is_empty());
    }
}
