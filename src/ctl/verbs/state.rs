//! Owns `pause`, `resume` and `maintenance`: the verbs that change what a host does with its requests.
//!
//! Never here: what requests meet meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::api::{HostState, SetState, endpoints};
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::render;
use crate::ctl::session::Caller;
use crate::name::RouteName;

/// Let a host's requests wait in the queue
#[derive(Debug, Args)]
pub(in crate::ctl) struct PauseVerb {
    /// The host name
    host: RouteName,
}

/// Serve a host's requests again
#[derive(Debug, Args)]
pub(in crate::ctl) struct ResumeVerb {
    /// The host name
    host: RouteName,
}

/// Answer a host's requests with 503 and a page
#[derive(Debug, Args)]
pub(in crate::ctl) struct MaintenanceVerb {
    /// The host name
    host: RouteName,
    /// A file of HTML that people are shown, of 512 KiB at most
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

impl PauseVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        change(caller, self.host, SetState { state: HostState::Paused, page: None })
    }
}

impl ResumeVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        change(caller, self.host, SetState { state: HostState::Running, page: None })
    }
}

impl MaintenanceVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        let page = self.page.as_deref().map(page_text).transpose()?;
        change(caller, self.host, SetState { state: HostState::Stopped, page })
    }
}

fn change(caller: Caller<'_>, host: RouteName, wanted: SetState) -> Result<Exit, CtlError> {
    let now = match wanted.state {
        HostState::Running => "running",
        HostState::Paused => "paused: its requests wait",
        HostState::Stopped => "stopped: its requests are answered with 503",
    };
    caller.ask(async |session| {
        let wanted = (host, wanted);
        let answer = session.client.call(&endpoints::SET_STATE, &wanted).await?;
        session.tell(&answer, |change| render::changed(&wanted.0, now, change))
    })
}

fn page_text(path: &Path) -> Result<String, CtlError> {
    let file = File::open(path).map_err(|error| CtlError::file(path, &error))?;
    let mut text = String::new();
    file.take(MAX_PAGE + 1).read_to_string(&mut text).map_err(|error| CtlError::file(path, &error))?;
    if text.len() as u64 > MAX_PAGE {
        let long = io::Error::other("longer than 512 KiB");
        return Err(CtlError::file(path, &long));
    }
    Ok(text)
}

/// The largest page: it fits into a request, whatever has to be escaped in it.
const MAX_PAGE: u64 = 512 << 10;
