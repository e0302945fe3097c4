//! Owns `stop`: asks the server to end and waits until it has.
//!
//! Never here: how the server drains.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::api::{self, Status, Stopping};

use super::client::{Call, understood};
use super::trouble::{Exit, Trouble};
use super::verbs::Session;

/// Returns when the server's control socket or its process is gone; with `no_wait` once it has been told.
pub(super) async fn stop(session: &mut Session<'_>, no_wait: bool) -> Result<Exit, Trouble> {
    let status: Status = understood(&session.client.call(Call::get("/status")).await?)?;
    let server = Server::of(session.client.socket(), &status);

    let answer = session.client.call(Call::post("/stop", &api::Stop {})?).await?;
    let Stopping { drain, .. } = understood(&answer)?;
    if !no_wait {
        if !session.json {
            session
                .screen
                .say(format_args!("{}: stopping, requests in hand have {drain} s", status.instance));
        }
        let limit = session.limit.unwrap_or(Duration::from_secs(drain) + AFTER_DRAIN);
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
