//! The process's own limits: as many open files as the connections it may have need.
//!
//! Never here: limits of workers.

use crate::birth;

/// Raises the soft limit of open files as far as the hard one allows, and says so when that is not enough.
///
/// A connection needs one descriptor and, while it is served, another one to a worker.
pub(super) fn raise_open_files(max_connections: usize) {
    let needed = (max_connections as u64).saturating_mul(2);
    let wanted = needed + OWN_FILES;
    let limit = birth::raise_open_files(wanted);
    if limit < needed {
        tracing::warn!(
            limit,
            needed,
            "fewer open files are allowed than {max_connections} connections may need: raise LimitNOFILE, or lower \
             limits.max_connections"
        );
    }
}

/// Listeners, workers' pipes and sockets, files.
const OWN_FILES: u64 = 1024;
