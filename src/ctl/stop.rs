//! Owns `stop`: asks the server to end and waits until it has.
//!
//! Never here: how the server drains.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::api::{self, Service, Status, Stopping};

use super::asleep::Asleep;
use super::client::{Call, understood};
use super::screen::Screen;
use super::session::Session;
use super::trouble::{Exit, Trouble};

/// Returns when the server's control socket or its process is gone; with `no_wait` once it has been told.
pub(super) async fn stop(session: &mut Session<'_>, no_wait: bool) -> Result<Exit, Trouble> {
    let status: Status = understood(&session.client.call(Call::get("/status")).await?)?;
    let server = Server::of(session.client.socket(), &status);

    if let Some(service) = &status.service {
        return stop_units(session, &status, service, no_wait).await;
    }
    let answer = session.client.call(Call::post("/stop", &api::Stop {})?).await?;
    let Stopping { drain, .. } = understood(&answer)?;
    if !no_wait {
        if !session.json {
            session
                .screen
                .say(format_args!("{}: stopping, requests in hand have {drain} s", status.instance));
        }
        // The data path drains, and then the workers do.
        let limit = session.limit.unwrap_or(Duration::from_secs(drain) * 2 + AFTER_DRAIN);
        timeout(limit, server.gone())
            .await
            .map_err(|_| Trouble::late(&format!("stopping {}", status.instance), limit))?;
    }
    if session.json {
        session.screen.json(&Stopped { ok: true, drain, stopped: !no_wait });
    } else {
        let done = if no_wait { "told to stop" } else { "stopped" };
        session.screen.say(format_args!("{}: {done}", status.instance));
    }
    Ok(Exit::Ok)
}

/// With its sockets, or the next connection would start it again; with the rights of whoever calls.
async fn stop_units(
    session: &mut Session<'_>,
    status: &Status,
    service: &Service,
    no_wait: bool,
) -> Result<Exit, Trouble> {
    let mut systemctl = Command::new("systemctl");
    if service.user {
        systemctl.arg("--user");
    }
    if no_wait {
        systemctl.arg("--no-block");
    }
    systemctl.arg("stop").args(units(service)).stdin(Stdio::null());
    let stopped = match session.limit {
        Some(limit) => timeout(limit, systemctl.status())
            .await
            .map_err(|_| Trouble::late(&format!("stopping {}", status.instance), limit))?,
        None => systemctl.status().await,
    };
    match stopped {
        Ok(exit) if exit.success() => {}
        Ok(exit) => return Err(not_stopped(service, &exit.to_string())),
        Err(error) => return Err(not_stopped(service, &error.to_string())),
    }
    if session.json {
        session.screen.json(&Stopped { ok: true, drain: 0, stopped: !no_wait });
    } else {
        let done = if no_wait { "told to stop" } else { "stopped" };
        session.screen.say(format_args!("{}: {done}, with its sockets", status.instance));
    }
    Ok(Exit::Ok)
}

/// Closes the sockets of a server that does not run.
pub(super) fn close(
    server: &Asleep,
    no_wait: bool,
    screen: &mut Screen,
    json: bool,
) -> Result<Exit, Trouble> {
    let service = Service { unit: server.unit.clone(), user: server.user, workers: None };
    let mut systemctl = std::process::Command::new("systemctl");
    if service.user {
        systemctl.arg("--user");
    }
    if no_wait {
        systemctl.arg("--no-block");
    }
    match systemctl.arg("stop").args(units(&service)).stdin(Stdio::null()).status() {
        Ok(exit) if exit.success() => {}
        Ok(exit) => return Err(not_stopped(&service, &exit.to_string())),
        Err(error) => return Err(not_stopped(&service, &error.to_string())),
    }
    if json {
        screen.json(&Stopped { ok: true, drain: 0, stopped: !no_wait });
    } else {
        screen.say(format_args!("{}: did not run; its sockets are closed", service.unit));
    }
    Ok(Exit::Ok)
}

fn not_stopped(service: &Service, why: &str) -> Trouble {
    Trouble::new(Exit::Failed, "systemctl", format!("systemctl did not stop {}: {why}", service.unit))
        .hint("stopping a service of the system needs its rights: try sudo")
}

/// The service and the sockets that start it.
fn units(service: &Service) -> Vec<String> {
    let mut units = vec![service.unit.clone()];
    if let Some(instance) =
        service.unit.strip_prefix("rip-server@").and_then(|rest| rest.strip_suffix(".service"))
    {
        // Before the service: what is started by a connection must not come back in between.
        let sockets = ["https", "http", "control"].map(|kind| format!("rip-server-{kind}@{instance}.socket"));
        units.splice(0..0, sockets);
    }
    units
}

#[derive(Serialize)]
struct Stopped {
    ok: bool,
    drain: u64,
    stopped: bool,
}

/// What shows that a server is there. Never by connecting: a socket of systemd's would start it again.
struct Server<'a> {
    socket: &'a Path,
    /// Device and inode: a server started meanwhile makes a new file of the same name.
    file: Option<(u64, u64)>,
    /// A socket of systemd's stays when its server ends, and so does any socket after a SIGKILL.
    process: Option<OwnedFd>,
}

impl<'a> Server<'a> {
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
        // A pidfd can be read from once its process has ended.
        let ended = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&Timespec::default()));
        ended.is_ok_and(|ready| ready > 0)
    }
}

fn identity(socket: &Path) -> Option<(u64, u64)> {
    fs::metadata(socket).ok().map(|found| (found.dev(), found.ino()))
}

const AFTER_DRAIN: Duration = Duration::from_secs(15);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
