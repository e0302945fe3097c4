//! Owns telling systemd that something is being deployed: `RELOADING=1` with the first, `READY=1` after the last.
//!
//! Never here: deploying.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::system::notify;

/// The number of deploys on their way. Clones share it.
#[derive(Clone, Default)]
pub(super) struct ReloadNotices(Arc<AtomicUsize>);

/// Counts a deploy until it is dropped at the deploy's end.
pub(super) struct ReloadNotice(ReloadNotices);

impl ReloadNotices {
    pub(super) fn begin(&self) -> ReloadNotice {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            notify::reloading();
        }
        ReloadNotice(self.clone())
    }
}

impl Drop for ReloadNotice {
    fn drop(&mut self) {
        if self.0.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            notify::reloaded();
        }
    }
}
