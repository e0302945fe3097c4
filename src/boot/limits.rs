//! The process's own limits: the number of open files that its connections and spool files need.
//!
//! Never here: limits of workers.

use crate::spec::Limits;
use crate::system::process_setup;

/// Raises the soft limit of open files as far as the hard one allows, and says so when that is not enough.
///
/// A connection needs one descriptor and, while it is served, another one to a worker. Each spool file needs one.
pub(super) fn raise_open_files(limits: &Limits) {
    let max_connections = limits.max_connections;
    let needed = (max_connections as u64).saturating_mul(2);
    let spool_files = limits.spool() / limits.spool_step();
    let wanted = needed.saturating_add(OWN_FILES + spool_files);
    let limit = process_setup::raise_open_files(wanted);
    if limit < needed {
        tracing::warn!(
            limit,
            needed,
            "fewer open files are allowed than {max_connections} connections may need: raise LimitNOFILE, or lower \
             limits.max_connections"
        );
    }
}

/// The descriptors for listeners, workers' pipes and sockets, and files.
const OWN_FILES: u64 = 1024;
