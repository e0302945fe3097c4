//! Owns finding out whether a connection would start a stopped server, as it does where systemd listens in its place,
//! and what systemd says of a server that does not run.
//!
//! Never here: connecting to a server, starting or stopping one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;
use zbus::Connection;

use super::error::{CtlError, Exit};
use crate::backend::systemd::bus::{SERVICE, UNIT, connect, object_of, property};
use crate::backend::systemd::dbus::ManagerProxy;
use crate::backend::systemd::properties::Scope;
use crate::backend::systemd::unit;
use crate::name::InstanceName;

/// A server that is stopped, as systemd knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoppedServer {
    pub(super) unit: String,
    /// Whether its unit belongs to a user's own manager.
    pub(super) user: bool,
    /// The failed units of the service, each with its result.
    failed: Vec<(String, String)>,
}

/// The sockets among these that are systemd's now, each with the server that a connection would start. There are none
/// where systemd cannot be asked, because then nothing would be started.
pub(super) fn behind(sockets: &[PathBuf]) -> BTreeMap<PathBuf, StoppedServer> {
    let (of_user, of_system): (Vec<_>, Vec<_>) =
        sockets.iter().filter(|socket| socket.exists()).partition(|socket| is_of_user(socket));
    let mut asleep = BTreeMap::new();
    for (scope, sockets) in [(Scope::System, of_system), (Scope::User, of_user)] {
        let there: Vec<_> = sockets.into_iter().map(|socket| (socket, listened_at(socket))).collect();
        if !there.is_empty() {
            asleep.extend(ask(scope, async |bus| listening(bus, scope, &there).await).unwrap_or_default());
        }
    }
    asleep
}

/// The failed units of an instance, in whichever manager.
pub(super) fn failed(instance: &InstanceName) -> Option<StoppedServer> {
    [Scope::System, Scope::User].into_iter().find_map(|scope| {
        let unit = unit::server(instance);
        let failed = ask(scope, async |bus| failures(bus, &unit).await)?;
        (!failed.is_empty()).then_some(StoppedServer { unit, user: scope == Scope::User, failed })
    })
}

impl StoppedServer {
    /// The error for a verb that needs a running server.
    pub(super) fn error(&self) -> CtlError {
        let name = self.unit.trim_end_matches(".service");
        let why: String =
            self.failed.iter().map(|(unit, result)| format!("; {unit} has failed: {result}")).collect();
        CtlError::new(Exit::Unreachable, "not-running", format!("{name} is not running{why}"))
            .hint(self.how_to_start())
    }

    fn how_to_start(&self) -> String {
        let user = if self.user { " --user" } else { "" };
        let unit = quoted(self.unit.trim_end_matches(".service"));
        let start = format!("systemctl{user} start {unit}");
        match self.failed.iter().any(|(_, result)| result == START_LIMIT) {
            _ if self.failed.is_empty() => format!("start it: {start}"),
            // The limit refuses every start for a while, also when the server would start.
            limited => {
                let reset =
                    if limited { format!("systemctl{user} reset-failed {unit}; ") } else { String::new() };
                let of = if self.user { "--user-unit" } else { "-u" };
                let failed: String =
                    self.failed.iter().map(|(unit, _)| format!(" {of} {}", quoted(unit))).collect();
                format!("journalctl{failed} says why; when that is mended: {reset}{start}")
            }
        }
    }
}

/// Asks a manager of units; `None`: there is none, or it does not answer.
fn ask<T>(scope: Scope, question: impl AsyncFnOnce(&Connection) -> zbus::Result<T>) -> Option<T> {
    if !Path::new(BOOTED).exists() {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let asked = async { question(&connect(scope).await?).await };
    runtime.block_on(async { timeout(BUS_REPLY_TIMEOUT, asked).await }).ok()?.ok()
}

async fn listening(
    bus: &Connection,
    scope: Scope,
    sockets: &[(&PathBuf, PathBuf)],
) -> zbus::Result<BTreeMap<PathBuf, StoppedServer>> {
    let mut asleep = BTreeMap::new();
    // A socket whose service runs is in state `running`: then systemd does not watch it.
    let rows = ManagerProxy::new(bus).await?.list_units_by_patterns(&["listening"], &["*.socket"]).await?;
    for row in rows {
        let object = row.6.as_str();
        let listens: Vec<(String, String)> = property(bus, object, SOCKET, "Listen").await?.try_into()?;
        for (socket, path) in sockets {
            if !listens.iter().any(|(_, listens)| Path::new(listens) == path.as_path()) {
                continue;
            }
            let triggers: Vec<String> = property(bus, object, UNIT, "Triggers").await?.try_into()?;
            let Some(unit) = triggers.into_iter().next() else { continue };
            let state: String = property(bus, &object_of(&unit), UNIT, "ActiveState").await?.try_into()?;
            if STOPPED.contains(&state.as_str()) {
                let failed = failures(bus, &unit).await?;
                asleep.insert((*socket).clone(), StoppedServer { unit, user: scope == Scope::User, failed });
            }
        }
    }
    Ok(asleep)
}

/// The failed units among a service and the sockets of its instance, with their results.
async fn failures(bus: &Connection, unit: &str) -> zbus::Result<Vec<(String, String)>> {
    let sockets = unit.replace("rip-server@", "rip-server-*@").replace(".service", ".socket");
    let rows = ManagerProxy::new(bus).await?.list_units_by_patterns(&["failed"], &[unit, &sockets]).await?;
    let mut failed = Vec::new();
    for row in rows {
        let interface = if row.0.ends_with(".socket") { SOCKET } else { SERVICE };
        failed.push((row.0, property(bus, row.6.as_str(), interface, "Result").await?.try_into()?));
    }
    failed.sort();
    Ok(failed)
}

/// The socket that a path leads to, links followed. A user who may not look there may not connect either, and learns
/// that from connecting.
fn listened_at(socket: &Path) -> PathBuf {
    fs::canonicalize(socket).or_else(|_| fs::read_link(socket)).unwrap_or_else(|_| socket.to_owned())
}

fn is_of_user(socket: &Path) -> bool {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|own| !own.is_empty());
    socket.starts_with("/run/user") || own.is_some_and(|own| socket.starts_with(own))
}

/// Quotes a unit's name for a shell: an escaped name has backslashes.
fn quoted(unit: &str) -> String {
    if unit.contains('\\') { format!("'{unit}'") } else { unit.to_owned() }
}

const SOCKET: &str = "org.freedesktop.systemd1.Socket";
const STOPPED: [&str; 2] = ["inactive", "failed"];
/// The folder that shows that systemd runs the machine (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
const START_LIMIT: &str = "service-start-limit-hit";
const BUS_REPLY_TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn asleep(unit: &str, user: bool, failed: &[(&str, &str)]) -> CtlError {
        let failed = failed.iter().map(|(unit, result)| ((*unit).to_owned(), (*result).to_owned())).collect();
        StoppedServer { unit: unit.to_owned(), user, failed }.error()
    }

    #[test]
    fn a_server_that_is_stopped_is_told_with_what_starts_it() {
        let error = asleep("rip-server@my\\x2dapp.service", false, &[]);
        assert_eq!(error.exit, Exit::Unreachable);
        assert_eq!(error.text.message, "rip-server@my\\x2dapp is not running");
        assert_eq!(error.text.hint.as_deref(), Some("start it: systemctl start 'rip-server@my\\x2dapp'"));

        let error = asleep("rip-server@a.service", true, &[("rip-server-https@a.socket", "resources")]);
        assert_eq!(
            error.text.message,
            "rip-server@a is not running; rip-server-https@a.socket has failed: resources"
        );
        assert_eq!(
            error.text.hint.as_deref(),
            Some(
                "journalctl --user-unit rip-server-https@a.socket says why; when that is mended: systemctl --user start rip-server@a"
            )
        );

        let error = asleep(
            "rip-server@a.service",
            false,
            &[("rip-server-https@a.socket", START_LIMIT), ("rip-server@a.service", "exit-code")],
        );
        assert_eq!(
            error.text.hint.as_deref(),
            Some(
                "journalctl -u rip-server-https@a.socket -u rip-server@a.service says why; when that is mended: systemctl reset-failed rip-server@a; systemctl start rip-server@a"
            )
        );
    }
}
