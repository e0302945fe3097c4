//! Owns the pairs that were imported by `rip-serverctl certs import`: a folder of the server's own, a folder in it for
//! each host.
//!
//! Never here: taking a pair in, which the keeper does when it is asked to.

use std::path::Path;
use std::time::SystemTime;

use crate::certs::CertError;

use super::folder::PairFolder;

/// Opens the imported pairs in `certs`, the folder where certificates are kept.
///
/// # Errors
/// When the attempt itself breaks.
pub(super) async fn open(certs: &Path, now: SystemTime) -> Result<PairFolder, CertError> {
    PairFolder::open_if_there("imported", &certs.join("imported"), now).await
}
