//! Owns the log record of a setting for which a request was refused: at most one a minute for each setting, whatever
//! clients do.
//!
//! Never here: the text for the client (`reply`), or which refusals have a setting (`reason`).

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::acceptor::error::ServeError;

/// Logs the setting for which a request was refused, for whoever may want to change it.
pub(in crate::acceptor) fn log(error: &ServeError, app: Option<&str>) {
    let Some(setting) = &error.reason().setting else { return };
    if is_due(&setting.last_logged) {
        let (setting, value) = (setting.key, error.detail());
        let limit = if value.is_empty() { String::new() } else { format!("; {setting} is {value}") };
        tracing::info!(app, setting, value = &*value, "a request was refused: {error}{limit}");
    }
}

/// Whether nothing was logged within the last minute; true for one thread only, and noted as logged.
pub(in crate::acceptor) fn is_due(last_logged: &AtomicU64) -> bool {
    let now = BEGIN.elapsed().as_secs() + QUIET;
    let before = last_logged.load(Ordering::Relaxed);
    now >= before + QUIET
        && last_logged.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// The seconds in which one setting is not logged again.
const QUIET: u64 = 60;
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
