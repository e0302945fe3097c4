//! Owns the certificate that was given as two PEM files: reading them, and noticing that they have changed.
//!
//! Never here: deciding whether the new one is taken.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::spec::CertSource;

use super::CertError;
use super::certificate::{Certificate, CertificateError};

/// A chain and its key, each a file. Every call blocks on the disk.
#[derive(Clone, Debug)]
pub(super) struct FilePair {
    cert: PathBuf,
    key: PathBuf,
}

impl FilePair {
    pub(super) fn new(cert: PathBuf, key: PathBuf) -> Self {
        Self { cert, key }
    }

    /// Reads both files.
    pub(super) fn load(&self) -> Result<Certificate, CertError> {
        let chain = read(&self.cert)?;
        let key = read(&self.key)?;
        Certificate::from_pem(&chain, &key).map_err(|source| self.blame(source))
    }

    /// What the files are at this moment: two equal marks mean that nobody has touched them between.
    pub(super) fn mark(&self) -> Mark {
        Mark([FileMark::of(&self.cert), FileMark::of(&self.key)])
    }

    fn blame(&self, source: CertificateError) -> CertError {
        let path = if source.is_about_key() { &self.key } else { &self.cert };
        CertError::Invalid { path: path.clone(), source }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertError> {
    fs::read(path).map_err(|source| CertError::Read { path: path.into(), source })
}

/// See [`FilePair::mark`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark([Option<FileMark>; 2]);

/// The file that a name leads to, symbolic links followed: certificate tools renew by turning one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileMark {
    device: u64,
    inode: u64,
    size: u64,
    /// Modification and status change, each in seconds and nanoseconds.
    times: [i64; 4],
}

impl FileMark {
    fn of(path: &Path) -> Option<Self> {
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

/// Tells when the files have changed and rest again: the two of a pair are rarely replaced in one moment.
#[derive(Debug)]
pub(super) struct Watch {
    taken: Mark,
    last: Mark,
}

impl Watch {
    /// The files that a source names, with a watch over them.
    pub(super) fn of(source: &CertSource) -> Option<(FilePair, Self)> {
        let CertSource::Files { cert, key } = source else { return None };
        let pair = FilePair::new(cert.clone(), key.clone());
        let watch = Self::new(pair.mark());
        Some((pair, watch))
    }

    /// Starts from the files as they were *before* they were read.
    pub(super) fn new(taken: Mark) -> Self {
        Self { last: taken.clone(), taken }
    }

    /// Looks at the files' marks; true once for each change, when two looks in a row have found the same.
    pub(super) fn look(&mut self, now: Mark) -> bool {
        let rests = now == self.last;
        self.last = now;
        let changed = rests && self.last != self.taken;
        if changed {
            self.taken = self.last.clone();
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DAY, Pem, now};
    use super::*;

    struct Pair {
        _dir: tempfile::TempDir,
        files: FilePair,
    }

    fn pair(cert: &str, key: &str) -> Pair {
        let dir = tempfile::tempdir().unwrap();
        let files = FilePair::new(dir.path().join("cert.pem"), dir.path().join("key.pem"));
        fs::write(&files.cert, cert).unwrap();
        fs::write(&files.key, key).unwrap();
        Pair { _dir: dir, files }
    }

    fn error(cert: &str, key: &str) -> (String, String) {
        let pair = pair(cert, key);
        match pair.files.load().unwrap_err() {
            CertError::Invalid { path, source } => {
                (path.file_name().unwrap().to_str().unwrap().into(), source.to_string())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_pair_is_read_with_its_names_and_dates() {
        let made = Pem::new(&["b.example", "*.a.example", "127.0.0.1", "::1"], now(), now() + 90 * DAY);
        let certificate = pair(&made.cert, &made.key).files.load().unwrap();

        let names: Vec<_> = certificate.names.iter().map(|name| name.as_str()).collect();
        assert_eq!(names, ["*.a.example", "127.0.0.1", "[::1]", "b.example"]);
        assert_eq!((certificate.not_before, certificate.not_after), (now(), now() + 90 * DAY));
        assert_eq!(certificate.renew_at(), now() + 60 * DAY);
        assert_eq!(certificate.worry_at(), now() + 76 * DAY);
    }

    #[test]
    fn one_file_may_hold_both() {
        let made = Pem::new(&["a.example"], now(), now() + DAY);
        let both = format!("# a remark\n{}{}", made.key, made.cert);
        pair(&both, &both).files.load().unwrap();
    }

    #[test]
    fn what_is_wrong_is_said_of_the_file_at_fault() {
        let made = Pem::new(&["a.example"], now(), now() + DAY);
        let other = Pem::new(&["a.example"], now(), now() + DAY);
        let cut = &made.cert[..made.cert.len() / 2];
        let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let second_bad = format!("{}{no_der}", made.cert);
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (cert, key, file, start) in [
            ("", &made.key[..], "cert.pem", "there is no certificate in it"),
            (&made.key, &made.key, "cert.pem", "there is no certificate in it"),
            (cut, &made.key, "cert.pem", "the certificate is damaged PEM text"),
            (no_der, &made.key, "cert.pem", "certificate 1 in it is not X.509"),
            (&second_bad, &made.key, "cert.pem", "certificate 2 in it is not X.509"),
            (&made.cert, "", "key.pem", "there is no private key in it"),
            (&made.cert, &made.cert, "key.pem", "there is no private key in it"),
            (&made.cert, encrypted, "key.pem", "the private key is encrypted"),
            (&made.cert, no_key, "key.pem", "the private key cannot be used"),
            (&made.cert, &other.key, "key.pem", "the private key does not belong to the first certificate"),
        ] {
            let (blamed, text) = error(cert, key);
            assert_eq!(blamed, file, "{text}");
            assert!(text.starts_with(start), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let made = Pem::new(&["a.example"], now(), now() + DAY);
        let pair = pair(&made.cert, &made.key);
        fs::remove_file(&pair.files.key).unwrap();

        let error = pair.files.load().unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read `{}`", pair.files.key.display()));
    }

    #[test]
    fn a_change_counts_once_the_files_rest() {
        let pair = pair("one", "key");
        let mut watch = Watch::new(pair.files.mark());
        assert!(!watch.look(pair.files.mark()));

        fs::write(&pair.files.cert, "another").unwrap();
        assert!(!watch.look(pair.files.mark()));
        fs::write(&pair.files.key, "another").unwrap();
        assert!(!watch.look(pair.files.mark()));

        assert!(watch.look(pair.files.mark()));
        assert!(!watch.look(pair.files.mark()));
    }

    #[test]
    fn a_turned_link_is_a_change_and_so_is_a_file_that_goes() {
        let pair = pair("one", "key");
        let link = pair.files.cert.with_file_name("live.pem");
        std::os::unix::fs::symlink(&pair.files.cert, &link).unwrap();
        let live = FilePair::new(link.clone(), pair.files.key.clone());
        let before = live.mark();

        fs::remove_file(&link).unwrap();
        let gone = live.mark();
        std::os::unix::fs::symlink(&pair.files.key, &link).unwrap();

        assert_ne!(gone, before);
        assert_ne!(live.mark(), before);
    }
}
