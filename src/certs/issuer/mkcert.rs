//! Owns the certificate that mkcert makes: one certificate for this machine and for every host without a certificate of
//! an earlier issuer.
//!
//! Never here: running the program (`mkcert_program`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::certs::certificate::Certificate;
use crate::certs::self_made;
use crate::certs::{CertError, in_full};
use crate::name::HostName;

use super::local_names::with_local;
use super::mkcert_program::Mkcert;
use super::obtained::{ObtainedCert, Renewal};
use super::self_signed::keep;
use super::{CertIssuer, CertNeed, Issued, Refreshing, blocking};

/// The certificate that mkcert made for all hosts.
pub(super) struct ByMkcert {
    program: Mkcert,
    /// The folder where the certificate is kept.
    folder: PathBuf,
    obtained: ObtainedCert,
}

impl ByMkcert {
    /// Takes the kept certificate, or has one made; `None` when mkcert fails, and the log says why.
    ///
    /// # Errors
    /// When `folder` cannot be made.
    pub(super) async fn open(
        program: Mkcert,
        folder: &Path,
        need: &CertNeed<'_>,
    ) -> Result<Option<Self>, CertError> {
        let kept = folder.to_owned();
        blocking(move || self_made::folder(&kept)).await??;
        match make(&program, folder, names(need), need.now).await {
            Ok(first) => {
                let obtained = ObtainedCert::with(NAME, Renewal::Ours, first, need.now);
                Ok(Some(Self { program, folder: folder.to_owned(), obtained }))
            }
            Err(error) => {
                let error = in_full(&error);
                tracing::warn!(error, "using self-signed certificates, which browsers warn about");
                Ok(None)
            }
        }
    }

    async fn renew(&mut self, need: &CertNeed<'_>) -> bool {
        let is_wanted = need.hosts_changed && !self.obtained.covers(&names(need));
        let make = || make(&self.program, &self.folder, names(need), need.now);
        self.obtained.renew(is_wanted, need.now, make).await
    }
}

impl CertIssuer for ByMkcert {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_public(&self) -> bool {
        false
    }

    fn refresh<'a>(&'a mut self, need: &'a CertNeed<'a>) -> Refreshing<'a> {
        Box::pin(self.renew(need))
    }

    fn issued(&self) -> Arc<[Issued]> {
        Arc::new([self.obtained.issued("")])
    }

    fn pause(&self, now: SystemTime) -> Duration {
        self.obtained.pause(now)
    }
}

fn names(need: &CertNeed<'_>) -> Vec<HostName> {
    with_local(need.hosts_that(|_| true))
}

async fn make(
    program: &Mkcert,
    folder: &Path,
    names: Vec<HostName>,
    now: SystemTime,
) -> Result<Certificate, CertError> {
    let path = folder.join("mkcert.pem");
    let (kept_path, kept_names) = (path.clone(), names.clone());
    if let Some(kept) = blocking(move || self_made::cached(&kept_path, &kept_names, now)).await? {
        return Ok(kept);
    }
    let pem = program.make(folder, &names).await?;
    let certificate = Certificate::from_pem(&pem, &pem).map_err(CertError::Made)?;
    blocking(move || keep(&path, &pem)).await?;
    Ok(certificate)
}

const NAME: &str = "mkcert";
