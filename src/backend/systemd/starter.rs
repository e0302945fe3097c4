//! Owns the two ways to have systemd start, stop and signal a worker's unit: through the launcher, or directly where
//! the server may.
//!
//! Never here: when that is done, or watching the unit.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use zbus::{Connection, Fd};

use super::dbus::{LauncherProxy, StartRequest};
use super::journal::last_lines;
use super::properties::{Scope, UnitStreams, WorkerUnit};
use super::sandbox_in_force::SandboxInForce;
use super::start::{UnitStartError, start};
use super::systemd_calls::SystemdCalls;
use crate::backend::Signal;
use crate::name::{AppName, InstanceName, WorkerId};

/// The way by which this server's units are started.
#[derive(Clone, Debug)]
pub(super) enum Starter {
    /// The launcher, which has rights that this process does not have.
    Launcher,
    /// The server itself: it is root, or its systemd is a user's own.
    Direct(Box<DirectStarter>),
}

/// The parts that the server needs to make units itself.
#[derive(Clone, Debug)]
pub(super) struct DirectStarter {
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
    /// Starts the unit; returns when systemd has taken the job.
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

    /// Sends SIGTERM, and SIGKILL after the unit's time. A worker that is gone is no error.
    pub(super) async fn stop(&self, bus: &Connection, target: &Target) -> zbus::Result<()> {
        match self {
            Self::Launcher => {
                LauncherProxy::new(bus).await?.stop_worker(target.app.as_str(), target.worker.0).await
            }
            Self::Direct(_) => SystemdCalls::new(bus).await?.stop(&target.unit).await,
        }
    }

    /// Sends a signal: one that ends the worker to all its processes, others to the main one. A worker that is gone is
    /// no error.
    pub(super) async fn signal(&self, bus: &Connection, target: &Target, signal: Signal) -> zbus::Result<()> {
        match self {
            Self::Launcher => {
                let launcher = LauncherProxy::new(bus).await?;
                launcher.signal_worker(target.app.as_str(), target.worker.0, signal.name()).await
            }
            Self::Direct(_) => SystemdCalls::new(bus).await?.signal(&target.unit, signal).await,
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

impl DirectStarter {
    async fn start(
        &self,
        bus: &Connection,
        request: &StartRequest,
        listener: Option<BorrowedFd<'_>>,
    ) -> zbus::Result<()> {
        let app = AppName::parse(&request.app).map_err(|error| zbus::Error::Failure(error.to_string()))?;
        let worker = WorkerUnit {
            request,
            instance: &self.instance,
            app: &app,
            sandbox: &self.sandbox.get(),
            scope: self.scope,
            hidden: &[],
            scripts: Some(&self.scripts),
            visible: Path::new(&request.directory),
            program: &self.program,
            streams: UnitStreams::Journal(listener),
        };
        match start(&SystemdCalls::new(bus).await?, worker, &self.apps).await {
            Ok(_) => Ok(()),
            Err(UnitStartError::Systemd(error)) => Err(error),
            Err(UnitStartError::Missing(error)) => Err(zbus::Error::Failure(error.to_string())),
        }
    }
}

/// The listener of a worker, as the calls take it.
pub(super) fn borrowed(listener: Option<&std::os::unix::net::UnixListener>) -> Option<BorrowedFd<'_>> {
    listener.map(AsFd::as_fd)
}
