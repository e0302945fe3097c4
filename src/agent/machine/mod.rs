//! `rip-server-agent`: the agent as a program of its own, one for all servers of a machine that are services, and the
//! end of its socket that these servers have.
//!
//! ```text
//! server: link ──messages──▶ conversation ─▶ registrations (who wants what) ─▶ an agent for each kind of settings
//! ```
//!
//! Only the agent has the account's key and talks to authorities. The agent runs while a server is connected, runs no
//! program that a server names and root does not own, and needs no privilege. Never here: getting certificates.

mod conversation;
mod link;
mod messages;
mod registrations;
mod roots_own;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::net::UnixListener;
use tokio::time::timeout;

use crate::challenges::Challenges;
use crate::logging;
use crate::system::notify;
use crate::system::process_setup;
use crate::system::sd::Inherited;
use crate::system::signals::{ServerSignal, Signals};
use crate::tasks::TaskGroup;
use crate::time::WallClock;

use registrations::Registrations;

pub(crate) use link::{AgentLink, LinkParts};

/// Where servers reach the agent.
pub(crate) const SOCKET: &str = "/run/rip-agent/agent.sock";
/// Where the agent leaves pairs, a folder for each host.
pub(crate) const PAIRS: &str = "/var/lib/rip-certs";
/// The folder that only the agent can read: account, attempts, orders.
const STATE: &str = "/var/lib/rip-agent";

/// Runs the program, given the words after its name: none, to serve the socket that systemd hands over until no server
/// has been connected for a while.
///
/// Returns 0 when done, 1 when the agent cannot run, 2 for wrong words.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> = words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => {}
        ["--help" | "-h"] => return print(USAGE),
        ["--version" | "-V"] => return print(concat!("rip-server-agent ", env!("CARGO_PKG_VERSION"), "\n")),
        words => {
            eprint!("rip-server-agent: `{}` was not understood\n{USAGE}", words.join(" "));
            return ExitCode::from(2);
        }
    }
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rip-server-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    process_setup::unblock_signals();
    let sockets = Inherited::take()?.control;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    logging::start(None, None, &std::env::var("RIP_LOG").unwrap_or_default())?;
    let _last_records = logging::FlushAtEnd;
    if sockets.is_empty() {
        bail!("no socket was passed: systemd starts this program by rip-server-agent.socket");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(sockets));
    notify::flush();
    served
}

async fn serve(sockets: Vec<std::os::unix::net::UnixListener>) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let stop = TaskGroup::new();
    let registrations = Arc::new(Registrations::new(registrations::Parts {
        state: PathBuf::from(STATE),
        pairs: PathBuf::from(PAIRS),
        challenges: Challenges::default(),
        clock: WallClock::system(),
        stop: stop.clone(),
    })?);
    for socket in sockets {
        let listener = UnixListener::from_std(socket)?;
        stop.spawn("agent socket", accept(listener, Arc::clone(&registrations), stop.clone()));
    }
    notify::ready("looking after certificates");
    loop {
        tokio::select! {
            () = registrations.unused_for(UNUSED) => break,
            signal = signals.next() => if matches!(signal, ServerSignal::Terminate | ServerSignal::Interrupt) { break },
        }
    }
    stop.request();
    stop.finished_within(Duration::from_secs(5)).await;
    Ok(())
}

async fn accept(listener: UnixListener, registrations: Arc<Registrations>, stop: TaskGroup) {
    loop {
        let accepted = tokio::select! {
            () = stop.requested() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (registrations, ending) = (Arc::clone(&registrations), stop.clone());
                stop.spawn("agent connection", async move {
                    tokio::select! {
                        () = ending.requested() => {}
                        () = conversation::hold(stream, registrations) => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a server's connection");
                timeout(ACCEPT_AGAIN, stop.requested()).await.ok();
            }
        }
    }
}

fn print(text: &str) -> ExitCode {
    // A reader that closed the pipe has read enough: the error is dropped.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    ExitCode::SUCCESS
}

const USAGE: &str =
    "usage: rip-server-agent                      get certificates for servers, as its service does
       rip-server-agent --help | --version
";
/// The agent ends when no server has been connected for so long.
const UNUSED: Duration = Duration::from_secs(5);
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
