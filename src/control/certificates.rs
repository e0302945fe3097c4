//! Owns what calls need of certificates; whoever starts the control server brings it.
//!
//! Never here: how it is done.

use std::pin::Pin;

use http::StatusCode;
use tokio::sync::mpsc;

use crate::api::{AcmeStatus, CertPlan, CertificateStatus, HostCertificate, ImportCert, RenewEvent};
use crate::name::HostName;

use super::reply::CallError;

/// The certificates of a server.
pub(crate) trait Certificates: Send + Sync {
    /// Those in use, as of now.
    fn in_use(&self) -> Vec<CertificateStatus>;

    /// How those of authorities stand, as of now.
    fn acme(&self) -> Vec<AcmeStatus>;

    /// The one of each of these hosts.
    fn of(&self, hosts: &[HostName]) -> Vec<HostCertificate>;

    /// Gets a host a new one; goes on when nobody listens any more.
    fn renew(&self, host: HostName, force: bool) -> mpsc::Receiver<RenewEvent>;

    /// What an order would meet. Cancel-safe.
    fn plan(&self, host: HostName) -> CertificateCall<'_, CertPlan>;

    /// Takes a pair in, and waits until it is in use. Cancel-safe: the pair is in, whole, or is not.
    fn import(&self, host: HostName, pair: ImportCert) -> CertificateCall<'_, HostCertificate>;

    /// The host is no longer served: an imported pair of it goes.
    fn removed(&self, host: &HostName) -> CertificateCall<'_, ()>;
}

/// See [`Certificates`].
pub(crate) type CertificateCall<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, CertificateCallError>> + Send + 'a>>;

/// Why nothing was done; a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CertificateCallError {
    /// The settings, or another source, are against it.
    Conflict(String),
    /// What was brought cannot be used.
    Rejected(String),
    /// It went wrong.
    Failed(String),
}

impl From<CertificateCallError> for CallError {
    fn from(error: CertificateCallError) -> Self {
        match error {
            CertificateCallError::Conflict(text) => Self::new(StatusCode::CONFLICT, "conflict", text),
            CertificateCallError::Rejected(text) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "rejected", text)
            }
            CertificateCallError::Failed(text) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
            }
        }
    }
}
