//! Owns the calls to systemd: which unit a process is of, starting, stopping and signalling units. Never here: whether
//! that may be.

use std::os::fd::BorrowedFd;

use zbus::{Connection, Fd, OwnedObjectPath};

use crate::backend::systemd::bus::{UNIT, property};
use crate::backend::systemd::dbus::{ManagerProxy, Property};
use crate::backend::systemd::starter::gone_is_fine;

/// systemd, as the launcher sees it. Every call has the connection's time limit.
pub(super) struct Systemd {
    manager: ManagerProxy<'static>,
    bus: Connection,
}

impl Systemd {
    pub(super) async fn new(bus: &Connection) -> zbus::Result<Self> {
        Ok(Self { manager: ManagerProxy::new(bus).await?, bus: bus.clone() })
    }

    /// The name of the unit that a process is part of.
    pub(super) async fn unit_of(&self, pid: u32) -> zbus::Result<String> {
        let path: OwnedObjectPath = self.manager.get_unit_by_pid(pid).await?;
        property(&self.bus, path.as_str(), UNIT, "Id").await?.try_into()
    }

    /// The same of the very process that a descriptor stands for; by its number where systemd is older than 253.
    pub(super) async fn unit_of_process(&self, process: BorrowedFd<'_>, pid: u32) -> zbus::Result<String> {
        match self.manager.get_unit_by_pidfd(Fd::from(process)).await {
            Ok((_, unit, _)) => Ok(unit),
            Err(zbus::Error::MethodError(name, ..)) if name == UNKNOWN => self.unit_of(pid).await,
            Err(error) => Err(error),
        }
    }

    /// Returns once the job is queued.
    pub(super) async fn start(&self, unit: &str, properties: &[Property<'_>]) -> zbus::Result<()> {
        self.manager.start_transient_unit(unit, "fail", properties, &[]).await.map(drop)
    }

    /// Returns once the job is queued. A unit that is not loaded is fine.
    pub(super) async fn stop(&self, unit: &str) -> zbus::Result<()> {
        gone_is_fine(self.manager.stop_unit(unit, "replace").await.map(drop))
    }

    /// A unit that is not loaded is fine.
    pub(super) async fn kill(&self, unit: &str, whom: &str, signal: i32) -> zbus::Result<()> {
        gone_is_fine(self.manager.kill_unit(unit, whom, signal).await)
    }

    /// Whether a unit is neither running nor about to: failed, inactive or not loaded.
    pub(super) async fn is_over(&self, unit: &str) -> zbus::Result<bool> {
        let rows = self.manager.list_units_by_patterns(&[], &[unit]).await?;
        Ok(rows.iter().all(|row| matches!(row.3.as_str(), "failed" | "inactive")))
    }

    /// The names of loaded units.
    pub(super) async fn list(&self, pattern: &str) -> zbus::Result<Vec<String>> {
        let rows = self.manager.list_units_by_patterns(&[], &[pattern]).await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }
}

const UNKNOWN: &str = "org.freedesktop.DBus.Error.UnknownMethod";
