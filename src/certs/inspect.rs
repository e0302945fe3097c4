//! Owns a look at a pair that is not in use: whether it would work, for which names, and how long.
//!
//! Never here: using it.

use std::sync::Arc;
use std::time::SystemTime;

use super::certificate::{Certificate, CertificateError};
use crate::name::HostName;

/// A pair that works.
#[derive(Clone, Debug)]
pub(crate) struct Inspected {
    /// The hosts that the certificate is for.
    pub(crate) names: Arc<[HostName]>,
    /// When the certificate becomes valid.
    pub(crate) not_before: SystemTime,
    /// When the certificate ends.
    pub(crate) not_after: SystemTime,
}

/// Reads a chain and its key as if they were to be used.
///
/// # Errors
/// Why the pair cannot be used. An expired pair is no error.
pub(crate) fn inspect(chain: &[u8], key: &[u8]) -> Result<Inspected, CertificateError> {
    let Certificate { names, not_before, not_after, .. } = Certificate::from_pem(chain, key)?;
    Ok(Inspected { names, not_before, not_after })
}
