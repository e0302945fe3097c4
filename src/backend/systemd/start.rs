//! Owns making a worker's unit and having systemd start it: the same code for a server that may do so itself and for
//! the launcher.
//!
//! Never here: whether the request may be granted (`launcher`), or what comes of the unit (`watch`).

use std::path::PathBuf;

use super::properties::{WorkerUnit, properties};
use super::required_files::MissingFileError;
use super::systemd_calls::SystemdCalls;
use super::{hidden_paths, required_files};

/// Why a worker's unit was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnitStartError {
    /// A file or folder does not exist that the admin has named for the unit.
    #[error(transparent)]
    Missing(#[from] MissingFileError),
    /// systemd refused the unit, or could not be asked.
    #[error("systemd: {0}")]
    Systemd(#[from] zbus::Error),
}

/// Starts the unit of a worker, and returns its name when systemd has queued the job. Finds out which apps of the
/// machine, `apps` among them, the worker does not see. When the future is dropped, the unit is started or not.
///
/// # Errors
/// See [`UnitStartError`].
pub(crate) async fn start(
    systemd: &SystemdCalls,
    worker: WorkerUnit<'_>,
    apps: &[PathBuf],
) -> Result<String, UnitStartError> {
    required_files::look(worker.sandbox, worker.instance, worker.scope)?;
    let hidden = hidden_paths::hidden(&worker.sandbox.roots, apps, worker.visible);
    let worker = WorkerUnit { hidden: &hidden, ..worker };
    let unit = worker.name();
    systemd.start(&unit, &properties(&worker)).await?;
    Ok(unit)
}
