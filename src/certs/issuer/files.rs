//! Owns the pair that was given as two PEM files, `tls.cert` and `tls.key`: reading it, and noticing that it has
//! changed.
//!
//! Never here: deciding whether the new one is taken.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::certs::CertError;
use crate::certs::certificate::{Certificate, CertificateError};
use crate::certs::file_marks::{FileMark, RestWatch};
use crate::spec::CertFiles;

use super::obtained::{ObtainedCert, Renewal};
use super::{CertIssuer, CertNeed, Issued, Refreshing, blocking};

/// The pair, which answers for its own names and for clients that name no host.
pub(super) struct PairOfFiles {
    pair: FilePair,
    watch: RestWatch<PairMarks>,
    obtained: ObtainedCert,
}

impl PairOfFiles {
    /// Reads the pair.
    ///
    /// # Errors
    /// When a file cannot be read, or is no certificate or not its key.
    pub(super) async fn open(files: &CertFiles, now: SystemTime) -> Result<Self, CertError> {
        let pair = FilePair { cert: files.cert.clone(), key: files.key.clone() };
        let reading = pair.clone();
        // The marks are taken before the files are read, so that a change in between is seen.
        let (marks, certificate) = blocking(move || (reading.marks(), reading.load())).await?;
        let obtained = ObtainedCert::with(NAME, Renewal::Theirs, certificate?, now);
        Ok(Self { pair, watch: RestWatch::new(marks), obtained })
    }

    async fn look(&mut self, now: SystemTime) -> bool {
        let pair = self.pair.clone();
        let marks = blocking(move || pair.marks()).await;
        let has_changed = marks.is_ok_and(|marks| self.watch.look(marks));
        let pair = &self.pair;
        let load = || {
            let pair = pair.clone();
            async { blocking(move || pair.load()).await? }
        };
        self.obtained.renew(has_changed, now, load).await
    }
}

impl CertIssuer for PairOfFiles {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_public(&self) -> bool {
        true
    }

    fn refresh<'a>(&'a mut self, need: &'a CertNeed<'a>) -> Refreshing<'a> {
        Box::pin(self.look(need.now))
    }

    fn issued(&self) -> Arc<[Issued]> {
        Arc::new([self.obtained.issued("put another into its files, which are looked at")])
    }

    fn pause(&self, _: SystemTime) -> Duration {
        LOOK_EVERY
    }
}

/// The files of a chain and its key. Every call blocks on the disk.
#[derive(Clone, Debug)]
struct FilePair {
    cert: PathBuf,
    key: PathBuf,
}

/// The marks of a pair's files: two equal marks mean that the files have not been touched in between.
type PairMarks = [Option<FileMark>; 2];

impl FilePair {
    fn load(&self) -> Result<Certificate, CertError> {
        let chain = read(&self.cert)?;
        let key = read(&self.key)?;
        Certificate::from_pem(&chain, &key).map_err(|source| blame(&self.cert, &self.key, source))
    }

    fn marks(&self) -> PairMarks {
        [FileMark::of(&self.cert), FileMark::of(&self.key)]
    }
}

/// An error that names the file of the pair that is at fault.
pub(super) fn blame(cert: &Path, key: &Path, source: CertificateError) -> CertError {
    let path = if source.is_about_key() { key } else { cert };
    CertError::Invalid { path: path.into(), source }
}

fn read(path: &Path) -> Result<Vec<u8>, CertError> {
    fs::read(path).map_err(|source| CertError::unreadable(path, source))
}

const NAME: &str = "files";
const LOOK_EVERY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::testing::{DAY, Pem, now};

    struct Pair {
        _dir: tempfile::TempDir,
        files: FilePair,
    }

    fn pair(cert: &str, key: &str) -> Pair {
        let dir = tempfile::tempdir().unwrap();
        let files = FilePair { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
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
        assert_eq!(certificate.overdue_at(), now() + 69 * DAY);
        assert_eq!(certificate.urgent_at(), now() + 90 * DAY - DAY * 9 / 2);
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
        let mut watch = RestWatch::new(pair.files.marks());
        assert!(!watch.look(pair.files.marks()));

        fs::write(&pair.files.cert, "another").unwrap();
        assert!(!watch.look(pair.files.marks()));
        fs::write(&pair.files.key, "another").unwrap();
        assert!(!watch.look(pair.files.marks()));

        assert!(watch.look(pair.files.marks()));
        assert!(!watch.look(pair.files.marks()));
    }

    #[test]
    fn a_turned_link_is_a_change_and_so_is_a_file_that_goes() {
        let pair = pair("one", "key");
        let link = pair.files.cert.with_file_name("live.pem");
        std::os::unix::fs::symlink(&pair.files.cert, &link).unwrap();
        let live = FilePair { cert: link.clone(), key: pair.files.key.clone() };
        let before = live.marks();

        fs::remove_file(&link).unwrap();
        let gone = live.marks();
        std::os::unix::fs::symlink(&pair.files.key, &link).unwrap();

        assert_ne!(gone, before);
        assert_ne!(live.marks(), before);
    }
}
