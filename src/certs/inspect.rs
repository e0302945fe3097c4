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
    /// The names it is for.
    pub(crate) names: Arc<[HostName]>,
    /// From when on it is valid.
    pub(crate) not_before: SystemTime,
    /// When it ends.
    pub(crate) not_after: SystemTime,
}

/// Reads a chain and its key as if they were to be used.
///
/// # Errors
/// Why they cannot be. An expired pair is none.
pub(crate) fn inspect(chain: &[u8], key: &[u8]) -> Result<Inspected, CertificateError> {
    let Certificate { names, not_before, not_after, .. } = Certificate::from_pem(chain, key)?;
    Ok(Inspected { names, not_before, not_after })
}
