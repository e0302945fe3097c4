//! Owns the ways to have systemd start, stop and signal a worker's unit: through the launcher, or oneself where one may.
//!
//! Never here: when, or watching what comes of it.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use zbus::{Connection, Fd};

use super::dbus::{LauncherProxy, ManagerProxy, StartRequest};
use super::journal::last_lines;
use super::needs;
use super::properties::{Scope, Worker, properties};
use super::sandbox::SandboxInForce;
use super::sight::hidden;
use super::unit;
use crate::name::{AppName, InstanceName, WorkerId};

/// Who starts units for this server.
#[derive(Clone, Debug)]
pub(super) enum Starter {
    /// The launcher, with rights that this process does not have.
    Launcher,
    /// This process: it is root, or its systemd is a user's own.
    Direct(Box<Direct>),
}

/// What is needed to make units oneself.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    pub(super) instance: InstanceName,
    pub(super) sandbox: SandboxInForce,
    pub(super) scope: Scope,
    pub(super) apps: Vec<PathBuf>,
    pub(super) scripts: PathBuf,
    pub(super) program: PathBuf,
}

/// A worker, as the calls name it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) app: AppName,
    pub(super) worker: WorkerId,
    pub(super) unit: String,
}

impl Starter {
    /// Returns once systemd has taken the job.
    pub(super) async fn start(
        &self,
        bus: &Connection,
        request: &StartRequest,
        listener: Option<BorrowedFd<'_>>,
    ) -> zbus::Result<()> {
        match self {
            Self::Launcher => {
                let listener = listener.map(Fd::from).into_iter().collect();
                LauncherProxy::new(bus).await?.start_worker(request, listener).await.map(drop)
            }
            Self::Direct(direct) => direct.start(bus, request, listener).await,
        }
    }

    /// SIGTERM, and SIGKILL after the unit's time. One that is gone is fine.
    pub(super) async fn stop(&self, bus: &Connection, target: &Target) -> zbus::Result<()> {
        match self {
            Self::Launcher => {
                LauncherProxy::new(bus).await?.stop_worker(target.app.as_str(), target.worker.0).await
            }
            Self::Direct(_) => {
                gone_is_fine(ManagerProxy::new(bus).await?.stop_unit(&target.unit, "replace").await.map(drop))
            }
        }
    }

    /// Sends a signal by name: `KILL` to all processes, others to the main one. One that is gone is fine.
    pub(super) async fn signal(&self, bus: &Connection, target: &Target, name: &str) -> zbus::Result<()> {
        match self {
            Self::Launcher => {
                let launcher = LauncherProxy::new(bus).await?;
                launcher.signal_worker(target.app.as_str(), target.worker.0, name).await
            }
            Self::Direct(_) => {
                let (whom, number) = number(name);
                gone_is_fine(ManagerProxy::new(bus).await?.kill_unit(&target.unit, whom, number).await)
            }
        }
    }

    /// The last lines that a worker wrote.
    pub(super) async fn output(&self, bus: &Connection, target: &Target, lines: u32) -> Vec<String> {
        let asked = match self {
            Self::Direct(direct) => return last_lines(&target.unit, direct.scope, lines).await,
            Self::Launcher => match LauncherProxy::new(bus).await {
                Ok(launcher) => launcher.worker_output(target.app.as_str(), target.worker.0, lines).await,
                Err(error) => Err(error),
            },
        };
        asked.unwrap_or_else(|error| {
            tracing::debug!(unit = target.unit, %error, "the launcher does not tell what a worker wrote");
            Vec::new()
        })
    }
}

impl Direct {
    async fn start(
        &self,
        bus: &Connection,
        request: &StartRequest,
        listener: Option<BorrowedFd<'_>>,
    ) -> zbus::Result<()> {
        let failure = |error: String| zbus::Error::Failure(error);
        let app = AppName::parse(&request.app).map_err(|error| failure(error.to_string()))?;
        let sandbox = self.sandbox.get();
        needs::look(&sandbox, &self.instance, self.scope).map_err(|error| failure(error.to_string()))?;
        let directory = Path::new(&request.directory);
        let worker = Worker {
            request,
            instance: &self.instance,
            app: &app,
            sandbox: &sandbox,
            scope: self.scope,
            hidden: &hidden(&sandbox.roots, &self.apps, directory),
            scripts: Some(&self.scripts),
            visible: directory,
            program: &self.program,
        };
        let unit = unit::name(&self.instance, &app, WorkerId(request.worker));
        let properties = properties(&worker, listener);
        let manager = ManagerProxy::new(bus).await?;
        manager.start_transient_unit(&unit, "fail", &properties, &[]).await.map(drop)
    }
}

fn number(name: &str) -> (&'static str, i32) {
    use rustix::process::Signal;
    match name {
        "HUP" => ("main", Signal::HUP.as_raw()),
        "USR1" => ("main", Signal::USR1.as_raw()),
        "USR2" => ("main", Signal::USR2.as_raw()),
        _ => ("all", Signal::KILL.as_raw()),
    }
}

/// A unit that is not loaded has no process left.
pub fn gone_is_fine(outcome: zbus::Result<()>) -> zbus::Result<()> {
    match outcome {
        Err(zbus::Error::MethodError(name, ..)) if GONE.contains(&name.as_str()) => Ok(()),
        outcome => outcome,
    }
}

/// The listener of a worker as the calls take it.
pub(super) fn borrowed(listener: Option<&std::os::unix::net::UnixListener>) -> Option<BorrowedFd<'_>> {
    listener.map(AsFd::as_fd)
}

const GONE: [&str; 2] = ["org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.NoSuchProcess"];
