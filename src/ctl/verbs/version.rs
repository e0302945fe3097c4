//! Owns `version`.
//!
//! Never here: `--version`, which asks no server.

use clap::Args;
use serde::Serialize;

use crate::api::{Status, endpoints};
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::find::FoundServer;
use crate::ctl::render;
use crate::ctl::screen::Screen;
use crate::ctl::session::Caller;

/// Print the versions of this program and of the server
#[derive(Debug, Args)]
pub(in crate::ctl) struct VersionVerb;

impl VersionVerb {
    /// Prints the versions. A server that does not answer has none, which is no failure of this verb.
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        let Ok(FoundServer::Running(socket)) = caller.find() else {
            return Ok(versions(None, caller.screen, caller.common.json));
        };
        caller.ask_at(socket, async |session| {
            let answer = session.client.call(&endpoints::GET_STATUS, &()).await;
            let status = answer.and_then(|answer| answer.read()).ok();
            Ok(versions(status, session.screen, session.json))
        })
    }
}

fn versions(server: Option<Status>, screen: &mut Screen, json: bool) -> Exit {
    let client = env!("CARGO_PKG_VERSION");
    if json {
        screen.json(&VersionsReport { ok: true, client, server: server.map(|status| status.version) });
        return Exit::Ok;
    }
    let server = match server {
        Some(status) => format!("rip-server {} ({})", status.version, status.instance),
        None => "rip-server: none answers".into(),
    };
    screen.data(format!("rip-serverctl {client}\n{}\n", render::plain(&server)).as_bytes());
    Exit::Ok
}

#[derive(Serialize)]
struct VersionsReport<'a> {
    ok: bool,
    client: &'a str,
    server: Option<String>,
}
