//! Owns where certificates come from: one file for each issuer, all behind [`CertIssuer`], and their order.
//!
//! Never here: which certificate answers a handshake, or when an issuer is asked again; the keeper does that.

mod acme_store;
mod files;
mod folder;
mod folder_files;
mod folder_pairs;
mod imported;
mod local_names;
mod mkcert;
mod mkcert_program;
mod obtained;
mod self_signed;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::directory::Directory;
use crate::name::HostName;
use crate::spec::CertSources;

use super::CertError;
use super::cert_table::CertLayer;
use super::certificate::Certificate;

use files::PairOfFiles;
use folder::PairFolder;
use mkcert::ByMkcert;
use self_signed::SelfSignedDefault;

pub(crate) use folder_files::pem_files_below;
pub(super) use mkcert_program::Mkcert;
pub(crate) use mkcert_program::MkcertError;

/// A place that certificates come from.
pub(super) trait CertIssuer: Send + Sync {
    /// The issuer's name in the status and in the log.
    fn name(&self) -> &'static str;

    /// Whether the issuer's certificates are signed by an authority that clients elsewhere may know. A server with such
    /// certificates refuses clients that ask for names without one.
    fn is_public(&self) -> bool;

    /// Brings the issuer's certificates up to date; true when others are to be served than before. Problems are kept
    /// for [`issued`](Self::issued), and good certificates stay in use. Cancel-safe: the next call does what this one
    /// has not.
    fn refresh<'a>(&'a mut self, need: &'a CertNeed<'a>) -> Refreshing<'a>;

    /// The issuer's certificates; the one for clients that name no host comes first.
    fn issued(&self) -> Arc<[Issued]>;

    /// How long from `now` until a refresh may bring something although no host has come or gone.
    fn pause(&self, now: SystemTime) -> Duration;
}

/// See [`CertIssuer::refresh`].
pub(super) type Refreshing<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// The names for which an issuer is to bring certificates.
pub(super) struct CertNeed<'a> {
    pub(super) now: SystemTime,
    /// Whether hosts may have come or gone since the last refresh.
    pub(super) hosts_changed: bool,
    pub(super) directory: &'a Directory,
    /// The certificates of the issuers before this one.
    pub(super) earlier: &'a [Arc<CertLayer>],
}

impl CertNeed<'_> {
    /// The registered hosts for which no earlier issuer has a certificate, of those that are `wanted`.
    pub(super) fn hosts_that(&self, wanted: impl Fn(&HostName) -> bool) -> Vec<HostName> {
        let uncovered =
            |host: &HostName| self.earlier.iter().all(|layer| layer.named(host.as_str()).is_none());
        self.directory.hosts_that(|host| wanted(host) && uncovered(host))
    }

    /// Whether no earlier issuer has a certificate for clients that name no host.
    pub(super) fn wants_default(&self) -> bool {
        self.earlier.iter().all(|layer| layer.first().is_none())
    }
}

/// A certificate of an issuer, or the lack of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Issued {
    /// The certificate in use.
    pub(super) certificate: Option<Certificate>,
    /// Why there is no certificate, or no better one, in a sentence.
    pub(super) problem: Option<String>,
    /// The way by which an operator gets another certificate; empty: the server gets one itself.
    pub(super) remedy: &'static str,
}

/// All that an issuer has, with the issuer's name.
pub(super) type IssuedBy = (&'static str, Arc<[Issued]>);

/// The issuers of a server.
pub(super) struct CertIssuers {
    /// The issuers; a host gets its certificate from the first that has one for it.
    pub(super) in_order: Vec<Box<dyn CertIssuer>>,
    /// Whether the server makes a certificate for each host that no issuer has one for.
    pub(super) made_for_hosts: bool,
}

impl CertIssuers {
    /// Opens the issuers that the settings want. Certificates that mkcert or the server itself makes are kept in
    /// `folder`.
    ///
    /// # Errors
    /// When files or the folder that were named cannot be used, or nothing can be kept in `folder`. mkcert that is
    /// missing or fails is no error: the server makes certificates itself, and the log says so.
    pub(super) async fn open(
        sources: &CertSources,
        mkcert: Option<Mkcert>,
        folder: &Path,
        directory: &Directory,
        now: SystemTime,
    ) -> Result<Self, CertError> {
        let mut in_order: Vec<Box<dyn CertIssuer>> = Vec::new();
        if let Some(pair) = &sources.files {
            in_order.push(Box::new(PairOfFiles::open(pair, now).await?));
        }
        if let Some(named) = &sources.folder {
            in_order.push(Box::new(PairFolder::open("folder", named, now).await?));
        }
        in_order.push(Box::new(imported::open(folder, now).await?));
        if let Some(store) = &sources.acme_store {
            in_order.push(Box::new(acme_store::open(store, now).await?));
        }
        let layers: Vec<_> = in_order.iter().map(|issuer| layer_of(issuer.as_ref())).collect();
        let need = CertNeed { now, hosts_changed: true, directory, earlier: &layers };
        let by_mkcert = match mkcert.filter(|_| sources.mkcert) {
            Some(program) => ByMkcert::open(program, folder, &need).await?,
            None => {
                if sources.mkcert {
                    tracing::warn!(
                        "mkcert is not installed: using self-signed certificates, which browsers warn about"
                    );
                }
                None
            }
        };
        let made_for_hosts = by_mkcert.is_none();
        match by_mkcert {
            Some(by_mkcert) => in_order.push(Box::new(by_mkcert)),
            None => in_order.push(Box::new(SelfSignedDefault::open(folder, &need).await?)),
        }
        Ok(Self { in_order, made_for_hosts })
    }
}

/// The certificates of an issuer, as handshakes look them up.
pub(super) fn layer_of(issuer: &dyn CertIssuer) -> Arc<CertLayer> {
    let issued = issuer.issued();
    let certificates = issued.iter().filter_map(|issued| issued.certificate.clone());
    Arc::new(CertLayer::new(certificates, issuer.is_public()))
}

/// Runs work that blocks on the disk on a thread beside the loop.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CertError> {
    tokio::task::spawn_blocking(work).await.map_err(CertError::Interrupted)
}
