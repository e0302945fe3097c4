//! Owns `run`: this program becomes a command, or starts one as a unit, that runs in the folder, with the environment and
//! as the user of an app's workers.
//!
//! Never here: finding out folder, environment and user, which the server knows.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;
use rustix::process::{getegid, geteuid};
use tokio::signal::unix::{SignalKind, signal};

use crate::api::{BackendName, RunPlace, RunRequest, RunTimer, TimerStarted, endpoints};
use crate::backend::systemd::properties::{Scope, UnitStreams};
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::session::Caller;
use crate::ctl::terminal::Terminal;
use crate::launcher::command::{AdminCommand, RunningCommand};
use crate::name::AppName;

/// Run a command as the workers of an app run: with the folder, the environment and the user of the version that serves
///
/// Terminal and exit code are the command's own. Programs of `.venv`, `venv` and `node_modules` of the folder are found
/// first. Beside workers that are units of systemd the command is a unit with the same sandbox, which root may start
#[derive(Debug, Args)]
#[command(
    override_usage = "rip-serverctl run [APP] -- COMMAND…\n       rip-serverctl run [APP] --timer NAME"
)]
pub(in crate::ctl) struct RunVerb {
    /// The app [default: the only one]
    app: Option<AppName>,
    /// Start the command of this timer now, beside the server
    #[arg(long, value_name = "NAME", conflicts_with = "command")]
    timer: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required_unless_present = "timer", value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl RunVerb {
    /// Starts the command. Beside child processes the call returns only when the command could not be started.
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        if let Some(timer) = self.timer {
            return caller.ask(async |session| {
                let answer =
                    session.client.call(&endpoints::RUN_TIMER, &RunTimer { app: self.app, timer }).await?;
                session.tell(&answer, timer_started)
            });
        }
        let mut beside = None;
        let ended = caller.ask(async |session| {
            let wanted = RunRequest { app: self.app.clone() };
            let place = session.client.call(&endpoints::RUN_PLACE, &wanted).await?.read()?;
            match place.backend {
                BackendName::Systemd => as_unit(&self.command, &place).await,
                BackendName::Child => {
                    beside = Some(place);
                    Ok(Exit::Ok)
                }
            }
        })?;
        match (beside, self.command.split_first()) {
            (Some(place), Some((program, words))) => Err(replaced_by(program, words, &place)),
            _ => Ok(ended),
        }
    }
}

fn timer_started(started: &TimerStarted) -> String {
    let TimerStarted { app, timer, worker, .. } = started;
    format!("timer.{timer} of {app} runs as worker {worker}; `rip-serverctl logs {app}` shows what it writes")
}

/// Runs the command as a unit like those of the workers, on this program's terminal or streams.
async fn as_unit(command: &[OsString], place: &RunPlace) -> Result<Exit, CtlError> {
    let failed = |why: String| CtlError::new(Exit::Failed, "failed", why);
    let own = geteuid();
    let (scope, needed) = if place.user_units { (Scope::User, place.uid) } else { (Scope::System, 0) };
    if own.as_raw() != needed {
        let message = format!("a command beside units of systemd is one itself, and this is user {own}");
        let who = if needed == 0 { "root".to_owned() } else { format!("user {needed}") };
        return Err(CtlError::new(Exit::Refused, "forbidden", message).hint(format!("run it as {who}")));
    }
    let words = command.iter().map(|word| word.to_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    let words = words.ok_or_else(|| failed("units take no words that are not UTF-8".into()))?;
    let own = std::env::current_exe().map_err(|error| failed(format!("cannot find rip-server: {error}")))?;
    let mut environment: Vec<_> = place.env.clone().into_iter().collect();
    environment.extend(std::env::var("TERM").ok().map(|terminal| ("TERM".to_owned(), terminal)));
    let command = AdminCommand {
        instance: &place.instance,
        app: &place.app,
        generation: place.generation.0,
        directory: &place.directory,
        command: words,
        environment,
        program: &own.with_file_name("rip-server"),
        scope,
    };
    let code =
        match Terminal::of_process().map_err(|error| failed(format!("no terminal can be made: {error}")))? {
            Some(terminal) => {
                let running = command.start(UnitStreams::Terminal(terminal.path())).await.map_err(failed)?;
                terminal.pass(running.ended()).await
            }
            None => {
                let streams = (std::io::stdin(), std::io::stdout(), std::io::stderr());
                let streams = [streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()];
                let running = command.start(UnitStreams::Inherited(streams)).await.map_err(failed)?;
                until_ended(&running).await
            }
        };
    code.map(Exit::Command).map_err(failed)
}

/// Waits for the end, and tells the command to end when this program is told so.
async fn until_ended(running: &RunningCommand) -> Result<u8, String> {
    let told = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut interrupt, mut terminate) = (told(SignalKind::interrupt())?, told(SignalKind::terminate())?);
    tokio::select! {
        code = running.ended() => return code,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    running.stop().await;
    running.ended().await
}

/// Replaces this process by the command; returns why that failed.
fn replaced_by(program: &OsString, words: &[OsString], place: &RunPlace) -> CtlError {
    let RunPlace { app, directory, env, uid, gid, .. } = place;
    let mut command = Command::new(program);
    command.args(words).env_clear().envs(env).current_dir(directory);
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
