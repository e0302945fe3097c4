//! `rip-server-launcher`: the one part with the right to have systemd start a unit, which is as good as being root.
//!
//! ```text
//! server ──D-Bus──→ service: caller (whose server is it) → admin (root's settings) → check → systemd
//! ```
//!
//! The launcher takes from its caller only what an app's own files could cause anyway: the command and the environment.
//! Never here: a socket of the network, a file of the server's, or a decision when a worker should run.

mod admin;
mod caller;
mod check;
pub(crate) mod command;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod service;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use zbus::connection;

use crate::backend::systemd::dbus::{LAUNCHER, LAUNCHER_PATH};
use crate::backend::systemd::leftovers::{ALL_WORKERS, Leftovers};
use crate::backend::systemd::systemd_calls::SystemdCalls;
use crate::backend::systemd::unit;
use crate::logging;
use crate::name::InstanceName;

use service::{Activity, Service};

/// Runs the program, given the words after its name: none, to serve on the system bus until nobody calls for a minute,
/// or `--stop-workers INSTANCE`.
///
/// Returns 0 when done, 1 when the launcher cannot run, 2 for wrong words.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> = words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let job = match words.as_slice() {
        [] => LauncherJob::Serve,
        ["--stop-workers", instance] => match InstanceName::parse(instance) {
            Ok(instance) => LauncherJob::StopWorkers(instance),
            Err(error) => return wrong(&format!("--stop-workers {instance}: {error}")),
        },
        ["--help" | "-h"] => return print(USAGE),
        ["--version" | "-V"] => {
            return print(concat!("rip-server-launcher ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        words => return wrong(&format!("`{}` was not understood", words.join(" "))),
    };
    match start(job) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

enum LauncherJob {
    Serve,
    StopWorkers(InstanceName),
}

fn start(job: LauncherJob) -> anyhow::Result<()> {
    let instance = match &job {
        LauncherJob::Serve => None,
        LauncherJob::StopWorkers(instance) => Some(instance),
    };
    logging::start(None, instance, &std::env::var("RIP_LOG").unwrap_or_default())?;
    let _last_records = logging::FlushAtEnd;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match job {
            LauncherJob::Serve => serve().await,
            LauncherJob::StopWorkers(instance) => stop_workers(&instance).await,
        }
    })
}

async fn serve() -> anyhow::Result<()> {
    let activity = Arc::new(Activity::new());
    let bus = connection::Builder::system().method_timeout(SYSTEMD_REPLY_TIMEOUT).build().await?;
    let service = Service::new(SystemdCalls::new(&bus).await?, Arc::clone(&activity));
    bus.object_server().at(LAUNCHER_PATH, service).await?;
    bus.request_name(LAUNCHER).await?;
    let systemd = SystemdCalls::new(&bus).await?;
    tokio::select! {
        () = activity.idle_for(IDLE) => {}
        () = Leftovers::of_machine().keep_swept(|| systemd.list(ALL_WORKERS)) => {}
    }
    // A call from here on starts the next launcher; calls that came before are still answered.
    bus.release_name(LAUNCHER).await?;
    tokio::time::sleep(LAST_CALLS).await;
    activity.idle_for(Duration::ZERO).await;
    bus.graceful_shutdown().await;
    Ok(())
}

/// Cleans up after a server that has failed for good.
async fn stop_workers(instance: &InstanceName) -> anyhow::Result<()> {
    let bus = connection::Builder::system().method_timeout(SYSTEMD_REPLY_TIMEOUT).build().await?;
    let systemd = SystemdCalls::new(&bus).await?;
    // From version 254 on, systemd calls for the clean-up at every failure, also when it starts the server again.
    if !systemd.is_over(&unit::server(instance)).await? {
        tracing::info!("the server is being started again: its workers are left to it");
        return Ok(());
    }
    let units = systemd.list(&unit::pattern(instance)).await?;
    for name in &units {
        systemd.stop(name).await?;
    }
    tracing::info!(workers = units.len(), "stopped what the server left behind");
    Ok(())
}

fn print(text: &str) -> ExitCode {
    // A reader that closed the pipe has read enough.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    ExitCode::SUCCESS
}

fn wrong(what: &str) -> ExitCode {
    eprint!("rip-server-launcher: {what}\n{USAGE}");
    ExitCode::from(2)
}

const USAGE: &str =
    "usage: rip-server-launcher                           serve rip-server over D-Bus, as its service does
       rip-server-launcher --stop-workers INSTANCE   stop the workers of a server that is gone
       rip-server-launcher --help | --version
";
/// The time limit of each call to systemd.
const SYSTEMD_REPLY_TIMEOUT: Duration = Duration::from_secs(20);
/// The launcher ends after so long without a call.
const IDLE: Duration = Duration::from_secs(60);
/// The time between giving the name back and the end.
const LAST_CALLS: Duration = Duration::from_millis(200);
