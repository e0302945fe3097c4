//! Owns the variables of the server in a worker's environment, whichever backend starts the worker (SPEC §6.3).
//!
//! Never here: what its app's settings put there, or what is inherited.

use std::ffi::OsString;
use std::path::Path;

use crate::name::{AppName, InstanceName};
use crate::pool::Address;
use crate::spec::LaunchSpec;

/// The variables that say who a worker is, and its directory.
pub(in crate::backend) fn identity(
    app: &AppName,
    instance: &InstanceName,
    (worker, generation): (u64, u64),
    directory: &Path,
) -> [(&'static str, OsString); 5] {
    [
        ("PWD", directory.into()),
        ("RIP_APP", app.as_str().into()),
        ("RIP_INSTANCE", instance.as_str().into()),
        ("RIP_WORKER", worker.to_string().into()),
        ("RIP_GENERATION", generation.to_string().into()),
    ]
}

/// The variables that say where a worker listens, says that it is ready, and writes its pid, and which job a process is
/// that is no worker.
pub(in crate::backend) fn places(
    launch: &LaunchSpec,
    address: Option<&Address>,
    notify_socket: &Path,
    pid_file: &Path,
) -> Vec<(&'static str, OsString)> {
    let mut places = Vec::new();
    if let Some(job) = &launch.job {
        places.push((JOB, job.to_string().into()));
    }
    match address {
        Some(Address::Bound(path)) => places.push(("RIP_SOCKET", path.into())),
        Some(Address::Tcp(address)) => {
            places.push(("HOST", address.ip().to_string().into()));
            places.push(("PORT", address.port().to_string().into()));
        }
        // The worker inherits its listener; a job has none.
        Some(Address::Unix(_)) | None => {}
    }
    if launch.notify {
        places.push(("NOTIFY_SOCKET", notify_socket.into()));
    }
    // An app may name another file for its pid.
    if launch.pid_file && !launch.env.contains_key(PID_FILE) {
        places.push((PID_FILE, pid_file.into()));
    }
    places
}

/// The variable that names the file in which a program writes its pid.
pub(in crate::backend) const PID_FILE: &str = "PIDFILE";

/// The variable that names the job of a process that is no worker.
pub(in crate::backend) const JOB: &str = "RIP_JOB";
