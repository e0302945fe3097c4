//! Owns how the default certificate is obtained: read from files, made by mkcert, or self-signed.
//!
//! Never here: when; and never the certificates of single hosts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::name::HostName;
use crate::spec::CertSource;

use super::certificate::Certificate;
use super::files::FilePair;
use super::mkcert::Mkcert;
use super::{CertError, in_full, local};

/// Where the default certificate comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// These files.
    Files(FilePair),
    /// mkcert, for every host as far as one certificate goes.
    Mkcert {
        mkcert: Mkcert,
        /// What was made is kept here.
        folder: PathBuf,
    },
    /// Ourselves, for this machine; hosts have theirs.
    SelfSigned {
        /// What was made is kept here.
        folder: PathBuf,
    },
}

impl Origin {
    /// Its name in the status.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Mkcert { .. } => "mkcert",
            Self::SelfSigned { .. } => "self-signed",
        }
    }

    /// The names that the default certificate has to have.
    pub(super) fn names(&self, registered: Vec<HostName>) -> Vec<HostName> {
        match self {
            Self::Files(_) => vec![],
            Self::Mkcert { .. } | Self::SelfSigned { .. } => {
                with_local(registered.into_iter().filter(|host| self.is_for(host)).collect())
            }
        }
    }

    /// Whether the default certificate has to name a registered host.
    pub(super) fn is_for(&self, host: &HostName) -> bool {
        match self {
            Self::Files(_) => false,
            Self::Mkcert { .. } => true,
            // Clients that ask for an address send no SNI: only the default certificate can answer.
            Self::SelfSigned { .. } => host.address().is_some(),
        }
    }

    /// From when on `certificate` is due; files are renewed by whoever wrote them.
    pub(super) fn renew_at(&self, certificate: &Certificate) -> Option<SystemTime> {
        match self {
            Self::Files(_) => None,
            Self::Mkcert { .. } | Self::SelfSigned { .. } => Some(certificate.renew_at()),
        }
    }

    /// Obtains a certificate for `names`: the one that is kept if it still serves, else another. Dropping the
    /// future may leave another one kept.
    pub(super) async fn obtain(
        &self,
        names: Vec<HostName>,
        now: SystemTime,
    ) -> Result<Certificate, CertError> {
        match self.clone() {
            Self::Files(pair) => blocking(move || pair.load()).await?,
            Self::Mkcert { mkcert, folder } => by_mkcert(mkcert, folder, names, now).await,
            Self::SelfSigned { folder } => blocking(move || by_ourselves(&folder, &names, now)).await?,
        }
    }
}

/// The first default certificate, and where it came from after all: mkcert that is missing or fails is replaced by
/// ourselves.
pub(super) async fn first(
    source: &CertSource,
    mkcert: Option<Mkcert>,
    folder: &Path,
    hosts: Vec<HostName>,
    now: SystemTime,
) -> Result<(Origin, Certificate), CertError> {
    let by_us = Origin::SelfSigned { folder: folder.into() };
    let wanted = match (source, mkcert) {
        (CertSource::Files { cert, key }, _) => {
            let files = Origin::Files(FilePair::new(cert.clone(), key.clone()));
            let certificate = files.obtain(vec![], now).await?;
            return Ok((files, certificate));
        }
        (CertSource::SelfSigned, _) => by_us.clone(),
        (CertSource::Mkcert, Some(mkcert)) => Origin::Mkcert { mkcert, folder: folder.into() },
        (CertSource::Mkcert, None) => {
            tracing::warn!(
                "mkcert is not installed: using self-signed certificates, which browsers warn about"
            );
            by_us.clone()
        }
    };
    let kept = folder.to_owned();
    blocking(move || local::folder(&kept)).await??;

    match wanted.obtain(wanted.names(hosts.clone()), now).await {
        Ok(certificate) => Ok((wanted, certificate)),
        Err(error) if matches!(wanted, Origin::Mkcert { .. }) => {
            let error = in_full(&error);
            tracing::warn!(error, "using self-signed certificates, which browsers warn about");
            let certificate = by_us.obtain(by_us.names(hosts), now).await?;
            Ok((by_us, certificate))
        }
        Err(error) => Err(error),
    }
}

async fn by_mkcert(
    mkcert: Mkcert,
    folder: PathBuf,
    names: Vec<HostName>,
    now: SystemTime,
) -> Result<Certificate, CertError> {
    let path = folder.join("mkcert.pem");
    let (kept_path, kept_names) = (path.clone(), names.clone());
    if let Some(kept) = blocking(move || local::cached(&kept_path, &kept_names, now)).await? {
        return Ok(kept);
    }
    let pem = mkcert.make(&folder, &names).await?;
    let certificate = Certificate::from_pem(&pem, &pem).map_err(CertError::Made)?;
    blocking(move || keep(&path, &pem)).await?;
    Ok(certificate)
}

fn by_ourselves(folder: &Path, names: &[HostName], now: SystemTime) -> Result<Certificate, CertError> {
    let path = folder.join("default.pem");
    if let Some(kept) = local::cached(&path, names, now) {
        return Ok(kept);
    }
    let made = local::self_signed(names, now)?;
    keep(&path, &made.pem);
    Ok(made.certificate)
}

/// A full disk is no reason not to serve.
fn keep(path: &Path, pem: &[u8]) {
    if let Err(error) = local::store(path, pem) {
        let error = in_full(&error);
        tracing::warn!(error, "a new certificate is not kept: after a restart it will be another one");
    }
}

fn with_local(registered: Vec<HostName>) -> Vec<HostName> {
    let local: Vec<HostName> = LOCAL.iter().filter_map(|name| HostName::parse(name).ok()).collect();
    let others: BTreeSet<HostName> = registered.into_iter().filter(|host| !local.contains(host)).collect();
    if others.len() > MAX_HOSTS {
        tracing::warn!(
            hosts = others.len(),
            "a certificate names {MAX_HOSTS} hosts at most; the others are left out"
        );
    }
    local.into_iter().chain(others.into_iter().take(MAX_HOSTS)).collect()
}

/// Runs what blocks on the disk beside the loop.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CertError> {
    tokio::task::spawn_blocking(work).await.map_err(CertError::Interrupted)
}

const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Some clients refuse certificates with more than 100 names.
const MAX_HOSTS: usize = 97;

#[cfg(test)]
mod tests {
    use super::super::testing::hosts;
    use super::*;

    fn self_signed() -> Origin {
        Origin::SelfSigned { folder: "/nowhere".into() }
    }

    #[test]
    fn the_self_signed_default_names_this_machine_and_registered_addresses() {
        let names = self_signed().names(hosts(&["b.example", "10.0.0.1", "localhost", "::1"]));
        assert_eq!(names, hosts(&["localhost", "127.0.0.1", "::1", "10.0.0.1"]));
    }

    #[test]
    fn the_default_certificate_stays_small_whatever_is_registered() {
        let many: Vec<_> = (0..=255).map(|n| format!("10.0.0.{n}").parse().unwrap()).collect();
        assert_eq!(self_signed().names(many).len(), 100);
    }

    #[test]
    fn files_need_no_names() {
        let files = Origin::Files(FilePair::new("/a".into(), "/b".into()));
        assert_eq!(files.names(hosts(&["a.example"])), []);
    }
}
