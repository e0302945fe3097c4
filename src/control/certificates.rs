//! Owns the interface by which calls reach the certificates; the code that starts the control server implements it.
//!
//! Never here: an implementation.

use std::pin::Pin;

use http::StatusCode;
use tokio::sync::mpsc;

use crate::api::{AcmeStatus, CertPlan, CertificateStatus, HostCertificate, ImportCert, RenewEvent};
use crate::name::HostName;

use super::reply::CallError;

/// The certificates of a server, for calls.
pub(crate) trait Certificates: Send + Sync {
    /// The certificates in use now.
    fn in_use(&self) -> Vec<CertificateStatus>;

    /// How the certificates of authorities stand now.
    fn acme(&self) -> Vec<AcmeStatus>;

    /// The certificate of each of these hosts.
    fn of(&self, hosts: &[HostName]) -> Vec<HostCertificate>;

    /// Gets a new certificate for a host. The renewal goes on when the receiver is dropped.
    fn renew(&self, host: HostName, force: bool) -> mpsc::Receiver<RenewEvent>;

    /// Makes the checks of an order for a host, without ordering. Cancel-safe.
    fn plan(&self, host: HostName) -> CertificateCall<'_, CertPlan>;

    /// Takes in a pair for a host, and waits until it is in use. When the future is dropped, the pair is taken in as a
    /// whole or not at all.
    fn import(&self, host: HostName, pair: ImportCert) -> CertificateCall<'_, HostCertificate>;

    /// Removes the imported pair of a host that is no longer served.
    fn removed(&self, host: &HostName) -> CertificateCall<'_, ()>;
}

/// See [`Certificates`].
pub(crate) type CertificateCall<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, CertificateCallError>> + Send + 'a>>;

/// Why nothing was done, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CertificateCallError {
    /// The settings, or another source, conflict with the call.
    Conflict(String),
    /// The pair cannot be used.
    Rejected(String),
    /// The attempt failed.
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
