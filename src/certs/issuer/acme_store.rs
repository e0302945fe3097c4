//! Owns the pairs that the ACME agent has got: the agent writes them into a folder, as `HOST/fullchain.pem` and
//! `HOST/privkey.pem`.
//!
//! Never here: getting and renewing them, which the agent does.

use std::path::Path;
use std::time::SystemTime;

use crate::certs::CertError;

use super::folder::PairFolder;

/// Opens the agent's folder, which may also come later.
///
/// # Errors
/// When the attempt itself breaks.
pub(super) async fn open(store: &Path, now: SystemTime) -> Result<PairFolder, CertError> {
    PairFolder::open_if_there("acme", store, now).await
}
