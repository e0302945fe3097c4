//! Owns the launcher's object on the bus: each call from its caller to its answer. Never here: what is allowed.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use zbus::fdo::Error;
use zbus::message::Header;
use zbus::{Connection, OwnedFd};

use crate::backend::systemd::dbus::StartRequest;
use crate::backend::systemd::journal::last_lines;
use crate::backend::systemd::properties::{Scope, UnitStreams, WorkerUnit};
use crate::backend::systemd::start::start;
use crate::backend::systemd::systemd_calls::SystemdCalls;
use crate::backend::systemd::unit;
use crate::name::{InstanceName, WorkerId};

use super::admin;
use super::caller;
use super::check::{self, StartRefusal};

pub(super) struct Service {
    systemd: SystemdCalls,
    activity: Arc<Activity>,
}

impl Service {
    pub(super) fn new(systemd: SystemdCalls, activity: Arc<Activity>) -> Self {
        Self { systemd, activity }
    }
}

#[zbus::interface(name = "org.rip_server.Launcher1")]
impl Service {
    async fn start_worker(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
        request: StartRequest,
        listener: Vec<OwnedFd>,
    ) -> Result<String, Error> {
        let _busy = self.activity.begin();
        let instance = self.caller(bus, &header).await?;
        let started = self.start(&instance, &request, &listener).await;
        match &started {
            Ok(unit) => {
                // The server logs that it starts a worker, and why.
                tracing::debug!(%instance, unit, app = request.app, worker = request.worker, "started")
            }
            Err(error) => {
                tracing::warn!(%instance, app = request.app, worker = request.worker, "not started: {error}")
            }
        }
        started
    }

    async fn stop_worker(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
        app: String,
        worker: u64,
    ) -> Result<(), Error> {
        let _busy = self.activity.begin();
        let instance = self.caller(bus, &header).await?;
        let unit = unit_of(&instance, &app, worker)?;
        self.systemd.stop(&unit).await.map_err(failed)
    }

    async fn signal_worker(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
        app: String,
        worker: u64,
        signal: String,
    ) -> Result<(), Error> {
        let _busy = self.activity.begin();
        let instance = self.caller(bus, &header).await?;
        let signal = check::signal(&signal).map_err(|refusal| {
            tracing::warn!(%instance, app, worker, "not sent: {refusal}");
            refused(refusal)
        })?;
        let unit = unit_of(&instance, &app, worker)?;
        self.systemd.signal(&unit, signal).await.map_err(failed)
    }

    async fn worker_output(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
        app: String,
        worker: u64,
        lines: u32,
    ) -> Result<Vec<String>, Error> {
        let _busy = self.activity.begin();
        let instance = self.caller(bus, &header).await?;
        Ok(last_lines(&unit_of(&instance, &app, worker)?, Scope::System, lines).await)
    }
}

impl Service {
    async fn caller(&self, bus: &Connection, header: &Header<'_>) -> Result<InstanceName, Error> {
        let asked = timeout(WHO_LIMIT, caller::instance(bus, &self.systemd, header)).await;
        let known = asked.map_err(|_| Error::TimedOut("the caller could not be told in time".into()))?;
        known.map_err(|stranger| {
            tracing::warn!("refused: {stranger}");
            Error::AccessDenied(stranger.to_string())
        })
    }

    async fn start(
        &self,
        instance: &InstanceName,
        request: &StartRequest,
        listener: &[OwnedFd],
    ) -> Result<String, Error> {
        let admin = admin::read(Path::new(SETTINGS), instance)
            .map_err(|error| Error::AccessDenied(error.to_string()))?;
        let allowed = check::request(request, instance, &admin, Path::new("/etc/passwd")).map_err(refused)?;
        let listener = check::listeners(listener).map_err(refused)?;
        let apps = admin::all_apps(Path::new(SETTINGS));
        let worker = WorkerUnit {
            request,
            instance,
            app: &allowed.app,
            sandbox: &admin.sandbox,
            scope: Scope::System,
            hidden: &[],
            // The scripts are the package's, which lie among the system's own programs.
            scripts: None,
            visible: &allowed.visible,
            program: Path::new(PROGRAM),
            streams: UnitStreams::Journal(listener.map(AsFd::as_fd)),
        };
        let started = start(&self.systemd, worker, &apps).await;
        started.map_err(|error| Error::Failed(error.to_string()))
    }
}

fn unit_of(instance: &InstanceName, app: &str, worker: u64) -> Result<String, Error> {
    Ok(unit::name(instance, &check::app_name(app).map_err(refused)?, WorkerId(worker)))
}

fn refused(refusal: StartRefusal) -> Error {
    Error::AccessDenied(refusal.to_string())
}

fn failed(error: zbus::Error) -> Error {
    Error::Failed(format!("systemd: {error}"))
}

/// The calls that are being answered.
pub(super) struct Activity {
    busy: AtomicUsize,
    changed: Notify,
}

/// A call that is being answered.
pub(super) struct Busy<'a>(&'a Activity);

impl Activity {
    pub(super) fn new() -> Self {
        Self { busy: AtomicUsize::new(0), changed: Notify::new() }
    }

    fn begin(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
        Busy(self)
    }

    /// Returns when there has been no call for `limit`.
    pub(super) async fn idle_for(&self, limit: Duration) {
        loop {
            let quiet = timeout(limit, self.changed.notified()).await.is_err();
            if quiet && self.busy.load(Ordering::SeqCst) == 0 {
                return;
            }
            if quiet {
                // A call is under way: its end wakes this task.
                self.changed.notified().await;
            }
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

pub(super) const SETTINGS: &str = "/etc/rip-server";
const PROGRAM: &str = "/usr/bin/rip-server";
/// The time limit for three calls to the bus and to systemd.
const WHO_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_idle_only_when_every_call_is_answered() {
        let activity = Activity::new();
        let minute = Duration::from_secs(60);
        let busy = activity.begin();
        assert!(timeout(minute * 10, activity.idle_for(minute)).await.is_err());
        drop(busy);
        timeout(minute * 2, activity.idle_for(minute)).await.unwrap();
    }
}
