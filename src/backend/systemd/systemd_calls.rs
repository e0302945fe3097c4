//! Owns the calls to systemd about units: which unit a process belongs to, and starting, stopping and signalling one.
//!
//! Never here: whether a call is allowed.

use std::os::fd::BorrowedFd;

use zbus::{Connection, Fd, OwnedObjectPath};

use super::bus::{UNIT, property};
use super::dbus::{ManagerProxy, Property};
use crate::backend::Signal;

/// The calls of systemd. Every call has the connection's time limit.
pub(crate) struct SystemdCalls {
    manager: ManagerProxy<'static>,
    bus: Connection,
}

impl SystemdCalls {
    pub(crate) async fn new(bus: &Connection) -> zbus::Result<Self> {
        Ok(Self { manager: ManagerProxy::new(bus).await?, bus: bus.clone() })
    }

    /// The name of the unit that a process is part of.
    pub(crate) async fn unit_of(&self, pid: u32) -> zbus::Result<String> {
        let path: OwnedObjectPath = self.manager.get_unit_by_pid(pid).await?;
        property(&self.bus, path.as_str(), UNIT, "Id").await?.try_into()
    }

    /// The name of the unit of the process that a descriptor stands for; where systemd is older than 253, of the
    /// process with this id.
    pub(crate) async fn unit_of_process(&self, process: BorrowedFd<'_>, pid: u32) -> zbus::Result<String> {
        match self.manager.get_unit_by_pidfd(Fd::from(process)).await {
            Ok((_, unit, _)) => Ok(unit),
            Err(zbus::Error::MethodError(name, ..)) if name == UNKNOWN => self.unit_of(pid).await,
            Err(error) => Err(error),
        }
    }

    /// Starts a unit; returns when the job is queued.
    pub(crate) async fn start(&self, unit: &str, properties: &[Property<'_>]) -> zbus::Result<()> {
        self.manager.start_transient_unit(unit, "fail", properties, &[]).await.map(drop)
    }

    /// Stops a unit; returns when the job is queued. A unit that is not loaded is no error.
    pub(crate) async fn stop(&self, unit: &str) -> zbus::Result<()> {
        gone_is_fine(self.manager.stop_unit(unit, "replace").await.map(drop))
    }

    /// Sends a signal: one that ends the worker to all processes of the unit, others to the main one. A unit that is
    /// not loaded is no error.
    pub(crate) async fn signal(&self, unit: &str, signal: Signal) -> zbus::Result<()> {
        let whom = if signal.ends() { "all" } else { "main" };
        gone_is_fine(self.manager.kill_unit(unit, whom, signal.number().as_raw()).await)
    }

    /// Whether a unit neither runs nor is about to: failed, inactive or not loaded.
    pub(crate) async fn is_over(&self, unit: &str) -> zbus::Result<bool> {
        let rows = self.manager.list_units_by_patterns(&[], &[unit]).await?;
        Ok(rows.iter().all(|row| matches!(row.3.as_str(), "failed" | "inactive")))
    }

    /// The names of loaded units.
    pub(crate) async fn list(&self, pattern: &str) -> zbus::Result<Vec<String>> {
        let rows = self.manager.list_units_by_patterns(&[], &[pattern]).await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }
}

/// Turns the error that a unit is not loaded into success: such a unit has no process left.
fn gone_is_fine(outcome: zbus::Result<()>) -> zbus::Result<()> {
    match outcome {
        Err(zbus::Error::MethodError(name, ..)) if GONE.contains(&name.as_str()) => Ok(()),
        outcome => outcome,
    }
}

const UNKNOWN: &str = "org.freedesktop.DBus.Error.UnknownMethod";
const GONE: [&str; 2] = ["org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.NoSuchProcess"];
