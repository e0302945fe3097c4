//! Owns the words that the server, the launcher and systemd exchange over D-Bus. Never here: a connection, or a
//! decision.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use zbus::{Fd, OwnedObjectPath, Type, Variant};

/// The launcher's name on the bus.
pub(crate) const LAUNCHER: &str = "org.rip_server.Launcher1";
/// The launcher's only object.
pub(crate) const LAUNCHER_PATH: &str = "/org/rip_server/Launcher1";

/// The request to start one worker. The request does not name the instance, which the launcher takes from the caller's
/// own unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub(crate) struct StartRequest {
    pub(crate) app: String,
    pub(crate) worker: u64,
    pub(crate) generation: u64,
    /// The app's directory, or that of its entry file; symbolic links followed.
    pub(crate) directory: String,
    /// Program and arguments; the program is a path or is looked up in PATH.
    pub(crate) command: Vec<String>,
    /// The worker's environment, but for what the unit adds: `RIP_APP`, `RIP_INSTANCE`, `RIP_WORKER`, `RIP_GENERATION`,
    /// `RIP_LAUNCH`.
    pub(crate) environment: HashMap<String, String>,
    /// Whether the worker may say `READY=1` in the instance's folder for that.
    pub(crate) notifies: bool,
    /// Whether the worker makes its own socket, in a folder of its own.
    pub(crate) binds: bool,
    /// The fingerprint, kept in the worker's environment as `RIP_LAUNCH` for the server that adopts the worker.
    pub(crate) fingerprint: String,
    /// The most memory of the worker, in bytes; 0: no limit.
    pub(crate) memory_max: u64,
    /// The time from SIGTERM to SIGKILL, in microseconds.
    pub(crate) kill_after: u64,
}

/// The calls of the launcher.
#[zbus::proxy(
    interface = "org.rip_server.Launcher1",
    default_service = "org.rip_server.Launcher1",
    default_path = "/org/rip_server/Launcher1"
)]
pub(super) trait Launcher {
    /// Starts a worker's unit, and returns its name when systemd has taken the job. `listener` has one listening
    /// socket, or none; it becomes the unit's standard input.
    fn start_worker(&self, request: &StartRequest, listener: Vec<Fd<'_>>) -> zbus::Result<String>;

    /// Sends SIGTERM, and SIGKILL after the unit's time. A worker that is gone is no error.
    fn stop_worker(&self, app: &str, worker: u64) -> zbus::Result<()>;

    /// Sends `KILL` to all processes of a worker, or `HUP`, `USR1`, `USR2` to its main one. A worker that is gone is no
    /// error.
    fn signal_worker(&self, app: &str, worker: u64, signal: &str) -> zbus::Result<()>;

    /// The last lines that a worker wrote, at most 100, from the journal.
    fn worker_output(&self, app: &str, worker: u64, lines: u32) -> zbus::Result<Vec<String>>;
}

/// A property of a transient unit; org.freedesktop.systemd1(5).
pub(super) type Property<'a> = (&'a str, Variant<'a>);

/// A row of `ListUnitsByPatterns`: name, description, load, active, sub, follower, path, job id, job type, job path.
type UnitRow =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// The calls of systemd itself; org.freedesktop.systemd1(5).
#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(crate) trait Manager {
    /// Begins the emission of signals for this connection.
    fn subscribe(&self) -> zbus::Result<()>;

    /// Makes a unit and starts it; returns the job.
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[Property<'_>],
        aux: &[(&str, &[Property<'_>])],
    ) -> zbus::Result<OwnedObjectPath>;

    /// Stops a unit; returns the job.
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;

    /// Sends a signal to `main` or `all` processes of a unit.
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;

    /// The object of a loaded unit.
    fn get_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;

    /// The unit that a process belongs to.
    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, pid: u32) -> zbus::Result<OwnedObjectPath>;

    /// The object, name and invocation of the unit that a process belongs to; from version 253 on.
    #[zbus(name = "GetUnitByPIDFD")]
    fn get_unit_by_pidfd(&self, process: Fd<'_>) -> zbus::Result<(OwnedObjectPath, String, Vec<u8>)>;

    /// The unit with this invocation id.
    #[zbus(name = "GetUnitByInvocationID")]
    fn get_unit_by_invocation_id(&self, invocation: &[u8]) -> zbus::Result<OwnedObjectPath>;

    /// The loaded units whose names match.
    fn list_units_by_patterns(&self, states: &[&str], patterns: &[&str]) -> zbus::Result<Vec<UnitRow>>;

    /// The signal that a job is over.
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: &str, result: &str) -> zbus::Result<()>;

    /// The signal that a unit is no longer loaded.
    #[zbus(signal)]
    fn unit_removed(&self, id: &str, unit: OwnedObjectPath) -> zbus::Result<()>;

    /// The version, such as `252.39-1~deb12u1`.
    #[zbus(property)]
    fn version(&self) -> zbus::Result<String>;
}
