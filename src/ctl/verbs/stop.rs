//! Owns `stop`: asks the server to end and waits until it has.
//!
//! Never here: how the server drains.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::sleep;

use crate::api::{ServiceUnit, Status, StopAnswer, StopServer, endpoints};
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::find::FoundServer;
use crate::ctl::screen::Screen;
use crate::ctl::session::{Caller, Session};
use crate::ctl::stopped_server::StoppedServer;

/// Stop the server: it finishes the requests in hand first
///
/// Returns when the server is gone
#[derive(Debug, Args)]
pub(in crate::ctl) struct StopVerb {
    /// Return as soon as the server has been told
    #[arg(long)]
    no_wait: bool,
}

impl StopVerb {
    /// Stops the server; returns when its control socket or its process is gone, or with `no_wait` when it was told.
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        match caller.find()? {
            FoundServer::Running(socket) => {
                caller.ask_at(socket, async |session| stop(session, self.no_wait).await)
            }
            FoundServer::Stopped(server) => close(&server, self.no_wait, caller.screen, caller.common.json),
        }
    }
}

async fn stop(session: &mut Session<'_>, no_wait: bool) -> Result<Exit, CtlError> {
    let status = session.client.call(&endpoints::GET_STATUS, &()).await?.read()?;
    let server = ServerTraces::of(session.client.socket(), &status);

    if let Some(service) = &status.service {
        return stop_units(session, &status, service, no_wait).await;
    }
    let StopAnswer { drain, lame_duck, .. } =
        session.client.call(&endpoints::STOP, &StopServer {}).await?.read()?;
    if !no_wait {
        if !session.json {
            session
                .screen
                .say(format_args!("{}: stopping, requests in hand have {drain} s", status.instance));
        }
        // The data path drains, and then the workers do.
        let limit = session.limit.unwrap_or(Duration::from_secs(lame_duck + drain * 2) + AFTER_DRAIN);
        let gone = async {
            server.gone().await;
            Ok(())
        };
        CtlError::unless_within(Some(limit), &format!("stopping {}", status.instance), gone).await?;
    }
    if session.json {
        session.screen.json(&StopReport { ok: true, drain, stopped: !no_wait });
    } else {
        let done = if no_wait { "told to stop" } else { "stopped" };
        session.screen.say(format_args!("{}: {done}", status.instance));
    }
    Ok(Exit::Ok)
}

/// Stops the service with its sockets, or the next connection would start it again; with the caller's rights.
async fn stop_units(
    session: &mut Session<'_>,
    status: &Status,
    service: &ServiceUnit,
    no_wait: bool,
) -> Result<Exit, CtlError> {
    let mut systemctl = Command::from(systemctl_stop(service, no_wait));
    let what = format!("stopping {}", status.instance);
    let stopped = CtlError::unless_within(session.limit, &what, async { Ok(systemctl.status().await) });
    check_stopped(service, stopped.await?)?;
    if session.json {
        session.screen.json(&StopReport { ok: true, drain: 0, stopped: !no_wait });
    } else {
        let done = if no_wait { "told to stop" } else { "stopped" };
        session.screen.say(format_args!("{}: {done}, with its sockets", status.instance));
    }
    Ok(Exit::Ok)
}

/// Closes the sockets of a server that does not run.
fn close(server: &StoppedServer, no_wait: bool, screen: &mut Screen, json: bool) -> Result<Exit, CtlError> {
    let service = ServiceUnit { unit: server.unit.clone(), user: server.user, workers: None };
    check_stopped(&service, systemctl_stop(&service, no_wait).status())?;
    if json {
        screen.json(&StopReport { ok: true, drain: 0, stopped: !no_wait });
    } else {
        screen.say(format_args!("{}: did not run; its sockets are closed", service.unit));
    }
    Ok(Exit::Ok)
}

fn systemctl_stop(service: &ServiceUnit, no_wait: bool) -> std::process::Command {
    let mut systemctl = std::process::Command::new("systemctl");
    systemctl.args(service.user.then_some("--user")).args(no_wait.then_some("--no-block"));
    systemctl.arg("stop").args(units(service)).stdin(Stdio::null());
    systemctl
}

fn check_stopped(service: &ServiceUnit, ended: io::Result<ExitStatus>) -> Result<(), CtlError> {
    let why = match ended {
        Ok(exit) if exit.success() => return Ok(()),
        Ok(exit) => exit.to_string(),
        Err(error) => error.to_string(),
    };
    let message = format!("systemctl did not stop {}: {why}", service.unit);
    Err(CtlError::new(Exit::Failed, "systemctl", message)
        .hint("stopping a service of the system needs its rights: try sudo"))
}

/// The service and the sockets that start it.
fn units(service: &ServiceUnit) -> Vec<String> {
    let mut units = vec![service.unit.clone()];
    if let Some(instance) =
        service.unit.strip_prefix("rip-server@").and_then(|rest| rest.strip_suffix(".service"))
    {
        // The sockets come before the service: a connection must not start it again in between.
        let sockets = ["https", "http", "control"].map(|kind| format!("rip-server-{kind}@{instance}.socket"));
        units.splice(0..0, sockets);
    }
    units
}

#[derive(Serialize)]
struct StopReport {
    ok: bool,
    drain: u64,
    stopped: bool,
}

/// The signs by which a server is seen to be there. A connection is no such sign: it would start a server behind a
/// socket of systemd's.
struct ServerTraces<'a> {
    socket: &'a Path,
    /// The device and inode of the socket's file: a server that was started meanwhile makes a new file of the same
    /// name.
    file: Option<(u64, u64)>,
    /// The process: a socket of systemd's stays when its server ends, and so does any socket after a SIGKILL.
    process: Option<OwnedFd>,
}

impl<'a> ServerTraces<'a> {
    fn of(socket: &'a Path, status: &Status) -> Self {
        let pid = i32::try_from(status.pid).ok().and_then(Pid::from_raw);
        let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Self { socket, file: identity(socket), process }
    }

    async fn gone(&self) {
        while self.file.is_some() && identity(self.socket) == self.file && !self.process_ended() {
            sleep(BETWEEN_LOOKS).await;
        }
    }

    fn process_ended(&self) -> bool {
        let Some(process) = &self.process else { return false };
        // A pidfd can be read from when its process has ended.
        let ended = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&Timespec::default()));
        ended.is_ok_and(|ready| ready > 0)
    }
}

fn identity(socket: &Path) -> Option<(u64, u64)> {
    fs::metadata(socket).ok().map(|found| (found.dev(), found.ino()))
}

const AFTER_DRAIN: Duration = Duration::from_secs(15);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
