//! Owns the pairs that the ACME agent has got: a folder that it writes, `HOST/fullchain.pem` and `HOST/privkey.pem`
//! each.
//!
//! Never here: getting and renewing them, which the agent does.

use std::path::Path;
use std::time::SystemTime;

use crate::certs::CertError;

use super::folder::PairFolder;

/// The pairs of the agent, also when its folder comes later.
///
/// # Errors
/// When the attempt itself breaks.
pub(super) async fn open(store: &Path, now: SystemTime) -> Result<PairFolder, CertError> {
    PairFolder::open_if_there("acme", store, now).await
}
