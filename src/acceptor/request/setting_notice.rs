//! Owns the operator's log record of a setting that a request was refused for: at most one a minute for each setting,
//! whatever clients do.
//!
//! Never here: what the client is told (`reply`), or which refusals have a setting (`reason`).

use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::acceptor::error::ServeError;

/// Records the setting that a request was refused for, for whoever may want to change it.
pub(in crate::acceptor) fn log(error: &ServeError, app: Option<&str>) {
    let Some(setting) = &error.reason().setting else { return };
    let now = BEGIN.elapsed().as_secs() + QUIET;
    let before = setting.last_logged.load(Ordering::Relaxed);
    let due = now >= before + QUIET;
    if due && setting.last_logged.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    {
        let (setting, value) = (setting.key, error.detail());
        let limit = if value.is_empty() { String::new() } else { format!("; {setting} is {value}") };
        tracing::info!(app, setting, value = &*value, "a request was refused: {error}{limit}");
    }
}

/// Seconds in which one setting is not logged again.
const QUIET: u64 = 60;
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
