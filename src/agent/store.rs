//! Owns the finished pairs: a folder for each host, with `fullchain.pem` and `privkey.pem`, replaced as one.
//!
//! Never here: ordering them. Every call blocks on the disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::certs;
use crate::name::HostName;
use crate::system::durable;

use super::failure::{Failure, FailureKind};
use super::schedule::Life;
use super::state_files::folder_name;

/// The store of the pairs: a folder that servers watch.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    /// Whether the folder's group may read the pairs: modes 0750 and 0640, else 0700 and 0600.
    shared: bool,
}

impl Store {
    /// Makes the folder where it is missing.
    ///
    /// # Errors
    /// The file system's error.
    pub(crate) fn open(folder: &Path, shared: bool) -> io::Result<Self> {
        durable::private_dir(folder, if shared { 0o750 } else { 0o700 })?;
        Ok(Self { folder: folder.to_owned(), shared })
    }

    /// Where a host's pair is.
    pub(super) fn folder_of(&self, host: &HostName) -> PathBuf {
        self.folder.join(folder_name(host))
    }

    /// The chain of a host's pair, and its dates; `None` when there is no pair that can be used.
    pub(super) fn pair(&self, host: &HostName) -> Option<(Life, Vec<u8>)> {
        let folder = self.folder_of(host);
        let chain = fs::read(folder.join(CHAIN)).ok()?;
        let key = fs::read(folder.join(KEY)).ok()?;
        let found = certs::inspect(&chain, &key).ok()?;
        Some((Life { from: found.not_before, until: found.not_after }, chain))
    }

    /// Checks that a pair is the host's, and puts it in the place of the one before, both files as one and durably.
    ///
    /// # Errors
    /// When the pair is not the host's, has expired or does not work; nothing is changed then. When the file system
    /// fails.
    pub(super) fn replace(
        &self,
        host: &HostName,
        chain: &str,
        key: &str,
        now: SystemTime,
    ) -> Result<Life, Failure> {
        let bad = |why: String| {
            Failure::new(FailureKind::Certificate, format!("the certificate is not used: {why}"))
        };
        let found =
            certs::inspect(chain.as_bytes(), key.as_bytes()).map_err(|error| bad(error.to_string()))?;
        let above = host.as_str().split_once('.').map(|(_, parent)| format!("*.{parent}"));
        if !found.names.iter().any(|name| name == host || Some(name.as_str()) == above.as_deref()) {
            return Err(bad(format!("it is not for {host}")));
        }
        if found.not_after <= now {
            return Err(bad("it has expired".into()));
        }
        self.write(host, chain, key).map_err(|error| {
            Failure::new(FailureKind::Local, format!("cannot write the certificate: {error}"))
        })?;
        Ok(Life { from: found.not_before, until: found.not_after })
    }

    /// Takes in a pair that an operator has brought, as [`replace`](Self::replace) does.
    ///
    /// # Errors
    /// Why the pair is not used, in a sentence; nothing is changed then.
    pub(crate) fn import(
        &self,
        host: &HostName,
        chain: &str,
        key: &str,
        now: SystemTime,
    ) -> Result<(), String> {
        self.replace(host, chain, key, now).map(drop).map_err(|failure| failure.text)
    }

    fn write(&self, host: &HostName, chain: &str, key: &str) -> io::Result<()> {
        let place = self.folder_of(host);
        let aside = self.folder.join(format!(".{}.new", folder_name(host)));
        remove(&aside)?;
        let (folder_mode, file_mode) = if self.shared { (0o750, 0o640) } else { (0o700, 0o600) };
        durable::private_dir(&aside, folder_mode)?;
        durable::write_atomic(&aside.join(CHAIN), chain.as_bytes(), file_mode)?;
        durable::write_atomic(&aside.join(KEY), key.as_bytes(), file_mode)?;
        exchange(&aside, &place)?;
        File::open(&self.folder)?.sync_all()?;
        remove(&aside)
    }

    /// Removes a host's pair.
    pub(crate) fn remove(&self, host: &HostName) {
        remove(&self.folder_of(host)).ok();
    }
}

/// Puts the folder `new` in the place of `old`; `old`, if there was one, is then in the place of `new`.
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) => fs::rename(new, old),
        // Some file systems cannot exchange two folders: then there is no pair for a moment, and readers look again.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            remove(old)?;
            fs::rename(new, old)
        }
        Err(errno) => Err(errno.into()),
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

const CHAIN: &str = "fullchain.pem";
const KEY: &str = "privkey.pem";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    #[test]
    fn a_pair_is_replaced_as_one_with_the_rights_it_is_to_have() {
        let folder = tempfile::tempdir().unwrap();
        for (shared, mode) in [(false, 0o600), (true, 0o640)] {
            let store = Store::open(&folder.path().join(format!("{shared}")), shared).unwrap();
            let host: HostName = "*.a.example".parse().unwrap();
            for _ in 0..2 {
                let (chain, key) = pair("*.a.example");
                store.replace(&host, &chain, &key, SystemTime::now()).unwrap();
                assert_eq!(fs::read_to_string(store.folder_of(&host).join(CHAIN)).unwrap(), chain);
                let found = fs::metadata(store.folder_of(&host).join(KEY)).unwrap().permissions().mode();
                assert_eq!(found & 0o777, mode);
            }
            let names: Vec<_> =
                fs::read_dir(&store.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, ["_.a.example"], "nothing is left beside it");
            store.remove(&host);
            assert!(store.pair(&host).is_none());
        }
    }

    #[test]
    fn a_bad_pair_never_replaces_a_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), false).unwrap();
        let host: HostName = "a.example".parse().unwrap();
        let (good, key) = pair("a.example");
        store.replace(&host, &good, &key, SystemTime::now()).unwrap();
        let (other, other_key) = pair("b.example");
        let far = SystemTime::now() + Duration::from_secs(70_000_000_000);
        for (chain, key, now) in [
            (&good, &other_key, SystemTime::now()),
            (&other, &other_key, SystemTime::now()),
            (&"<html>".to_owned(), &key, SystemTime::now()),
            (&good, &key, far),
        ] {
            let failure = store.replace(&host, chain, key, now).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Certificate, "{}", failure.text);
            assert_eq!(fs::read_to_string(store.folder_of(&host).join(CHAIN)).unwrap(), good);
        }
    }
}
