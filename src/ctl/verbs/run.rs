//! Owns `run`: this program becomes a command that runs in the folder, with the environment and as the user of an app's
//! workers.
//!
//! Never here: finding out folder, environment and user, which the server knows.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use clap::Args;
use rustix::process::{getegid, geteuid};

use crate::api::{BackendName, RunPlace, RunRequest, endpoints};
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::session::Caller;
use crate::name::AppName;

/// Run a command as the workers of an app run: with the folder, the environment and the user of the version that serves
///
/// The command takes the place of this program: terminal, signals and exit code are its own. Programs of `.venv`, `venv`
/// and `node_modules` of the folder are found first. Workers have to be child processes of the server
#[derive(Debug, Args)]
#[command(override_usage = "rip-serverctl run [APP] -- COMMAND…")]
pub(in crate::ctl) struct RunVerb {
    /// The app [default: the only one]
    app: Option<AppName>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl RunVerb {
    /// Becomes the command; returns only when the command could not be started.
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        let mut place = None;
        caller.ask(async |session| {
            let wanted = RunRequest { app: self.app.clone() };
            place = Some(session.client.call(&endpoints::RUN_PLACE, &wanted).await?.read()?);
            Ok(Exit::Ok)
        })?;
        match (place, self.command.split_first()) {
            (Some(place), Some((program, words))) => Err(replaced_by(program, words, &place)),
            _ => Ok(Exit::Usage),
        }
    }
}

/// Replaces this process by the command; returns why that failed.
fn replaced_by(program: &OsString, words: &[OsString], place: &RunPlace) -> CtlError {
    let RunPlace { app, backend, directory, env, uid, gid, .. } = place;
    if *backend == BackendName::Systemd {
        let message = format!(
            "the workers of {app} are units of systemd, and commands run beside child processes only"
        );
        return CtlError::new(Exit::Refused, "conflict", message)
            .hint("`systemd-run --pty` with the properties that `systemctl show` prints of a worker's unit runs one");
    }
    let mut command = Command::new(program);
    command.args(words).env_clear().envs(env).env("PATH", path(env, directory)).current_dir(directory);
    if let Ok(terminal) = std::env::var("TERM") {
        command.env("TERM", terminal);
    }
    let (own, group) = (geteuid().as_raw(), getegid().as_raw());
    if own == 0 && (*uid, *gid) != (own, group) {
        command.uid(*uid).gid(*gid);
    } else if own != *uid {
        let message = format!("the workers of {app} run as user {uid}, and this is user {own}");
        return CtlError::new(Exit::Refused, "forbidden", message).hint("run it as that user, or as root");
    }
    if !directory.is_dir() {
        return CtlError::new(Exit::Failed, "failed", format!("the folder {} is gone", directory.display()));
    }
    let error = command.exec();
    let program = program.display();
    CtlError::new(Exit::Failed, "failed", format!("cannot run {program} in {}: {error}", directory.display()))
}

/// The command's `PATH`: the app's own folders of programs, then the `PATH` of its workers.
fn path(env: &BTreeMap<String, String>, directory: &Path) -> OsString {
    let usual = env.get("PATH").map_or(USUAL_PATH, String::as_str);
    let environment = env.get("VIRTUAL_ENV").map(|folder| Path::new(folder).join("bin"));
    let own = OWN.iter().map(|folder| directory.join(folder));
    let own = environment.into_iter().chain(own).filter(|folder| folder.is_dir());
    // A folder with a colon in its name cannot stand in `PATH`: the workers' own `PATH` is then taken.
    std::env::join_paths(own.chain(std::env::split_paths(usual))).unwrap_or_else(|_| usual.into())
}

const OWN: [&str; 3] = ["node_modules/.bin", ".venv/bin", "venv/bin"];
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
