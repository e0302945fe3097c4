//! Owns the server's own default certificate: self-signed, for this machine.
//!
//! The certificate is made when no earlier issuer has one for clients that name no host. Never here: the certificates
//! of single hosts (`host_certs`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::certs::certificate::Certificate;
use crate::certs::self_made;
use crate::certs::{CertError, in_full};
use crate::name::HostName;

use super::local_names::with_local;
use super::obtained::{ObtainedCert, Renewal};
use super::{CertIssuer, CertNeed, Issued, Refreshing, blocking};

/// The self-signed default certificate.
pub(super) struct SelfSignedDefault {
    /// The folder where the certificate is kept.
    folder: PathBuf,
    obtained: ObtainedCert,
    /// Whether the certificate was needed at the last refresh.
    is_needed: bool,
}

impl SelfSignedDefault {
    /// Takes the kept certificate, or makes one, if one is needed.
    ///
    /// # Errors
    /// When a certificate is needed and cannot be made, or when `folder` cannot be made.
    pub(super) async fn open(folder: &Path, need: &CertNeed<'_>) -> Result<Self, CertError> {
        let mut own = Self {
            folder: folder.to_owned(),
            obtained: ObtainedCert::new(NAME, Renewal::Ours),
            is_needed: need.wants_default(),
        };
        if own.is_needed {
            let kept = own.folder.clone();
            blocking(move || self_made::folder(&kept)).await??;
            let first = make(own.folder.clone(), names(need), need.now).await?;
            own.obtained = ObtainedCert::with(NAME, Renewal::Ours, first, need.now);
        }
        Ok(own)
    }

    async fn renew(&mut self, need: &CertNeed<'_>) -> bool {
        let was_needed = std::mem::replace(&mut self.is_needed, need.wants_default());
        if !self.is_needed {
            return was_needed;
        }
        let is_wanted = (need.hosts_changed || !was_needed) && !self.obtained.covers(&names(need));
        let make = || make(self.folder.clone(), names(need), need.now);
        self.obtained.renew(is_wanted, need.now, make).await || !was_needed
    }
}

impl CertIssuer for SelfSignedDefault {
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
        self.is_needed.then(|| self.obtained.issued("")).into_iter().collect()
    }

    fn pause(&self, now: SystemTime) -> Duration {
        self.obtained.pause(now)
    }
}

/// The names of the certificate. Clients that ask for an address send no SNI, so that only the default certificate can
/// answer them.
fn names(need: &CertNeed<'_>) -> Vec<HostName> {
    with_local(need.hosts_that(|host| host.address().is_some()))
}

async fn make(folder: PathBuf, names: Vec<HostName>, now: SystemTime) -> Result<Certificate, CertError> {
    blocking(move || {
        let path = folder.join("default.pem");
        if let Some(kept) = self_made::cached(&path, &names, now) {
            return Ok(kept);
        }
        self_made::folder(&folder)?;
        let made = self_made::self_signed(&names, now)?;
        keep(&path, &made.pem);
        Ok(made.certificate)
    })
    .await?
}

/// Keeps a certificate that was made. A full disk is only logged: the server serves all the same.
pub(super) fn keep(path: &Path, pem: &[u8]) {
    if let Err(error) = self_made::store(path, pem) {
        let error = in_full(&error);
        tracing::warn!(error, "a new certificate is not kept: after a restart it will be another one");
    }
}

const NAME: &str = "self-signed";
