//! The end of the server: who asks for it, what becomes of the workers, and in which order the parts end.
//!
//! Never here: how a part ends.

use std::time::Duration;

use tokio::time::sleep;

use crate::acceptor::Acceptor;
use crate::control::ServerSettings;
use crate::supervisor::Supervisor;
use crate::system::notify;
use crate::system::signals::{ServerSignal, Signals};
use crate::tasks::{ShutdownToken, TaskGroup};

use super::systemd_status;

/// The fate of the workers at the end of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtShutdown {
    /// Workers finish what they have in hand, and end.
    StopWorkers,
    /// Workers go on, for the next server.
    LeaveWorkers,
    /// Workers go on until systemd stops them after this server: the machine goes down, and no next server comes.
    LeaveToSystemd,
}

/// The side that asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestedBy {
    /// A person, by a key or over the control socket.
    Person,
    /// The program that started the server, by SIGTERM.
    Supervisor,
}

/// How long the end takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndTimes {
    /// The time for balancers to notice the end, before anything is closed.
    pub(super) lame_duck: Duration,
    /// The time for requests in hand.
    pub(super) drain: Duration,
}

/// Returns when a signal or the control socket asks for the end. A SIGHUP that comes earlier deploys all apps.
pub(super) async fn asked_to_stop(
    signals: &mut Signals,
    settings: &impl ServerSettings,
    supervisor: &Supervisor,
    shutdown: &ShutdownToken,
) -> RequestedBy {
    loop {
        let signal = tokio::select! {
            () = shutdown.requested() => return RequestedBy::Person,
            signal = signals.next() => signal,
        };
        match signal {
            ServerSignal::Terminate => return RequestedBy::Supervisor,
            ServerSignal::Interrupt => return RequestedBy::Person,
            ServerSignal::Hangup => {
                if let Err(error) = settings.read_anew() {
                    tracing::error!(error, "nothing is deployed, and all goes on as before");
                    continue;
                }
                match supervisor.deploy(None).await {
                    Ok(_) => tracing::info!("deploying: SIGHUP"),
                    Err(error) => tracing::warn!(%error, "cannot deploy"),
                }
            }
            ServerSignal::Ignored(signal) => tracing::warn!("{}", signal.explained()),
        }
    }
}

/// Lets balancers notice the end, then ends connections, then workers. A second request for the end skips the waits.
pub(super) async fn end(
    workers: AtShutdown,
    EndTimes { lame_duck, drain }: EndTimes,
    mut acceptor: Acceptor,
    supervisor: &Supervisor,
    signals: &mut Signals,
) {
    if lame_duck.is_zero() {
        tracing::info!("stopping: requests in hand have {drain:?}");
    } else {
        tracing::info!(
            "stopping: serving for {lame_duck:?} more, after which requests in hand have {drain:?}"
        );
    }
    notify::stopping(match workers {
        AtShutdown::StopWorkers => "finishing the requests in hand",
        AtShutdown::LeaveWorkers => "finishing the requests in hand; the workers stay for the next start",
        AtShutdown::LeaveToSystemd => "finishing the requests in hand; the workers end after that",
    });
    // The data path drains, and then the workers do.
    systemd_status::ask_for_time_to_end(lame_duck + drain * 2);
    let finished = async {
        sleep(lame_duck).await;
        acceptor.drain(drain).await;
        match workers {
            AtShutdown::StopWorkers => supervisor.stop(drain).await,
            AtShutdown::LeaveWorkers | AtShutdown::LeaveToSystemd => supervisor.leave().await,
        }
    };
    tokio::select! {
        () = finished => {}
        () = hurried(signals) => {
            tracing::warn!("asked twice: stopping at once");
            match workers {
                AtShutdown::StopWorkers => supervisor.stop(Duration::ZERO).await,
                AtShutdown::LeaveWorkers | AtShutdown::LeaveToSystemd => supervisor.leave().await,
            }
        }
    }
    acceptor.end().await;
}

/// Asks the other tasks, which have nothing left to do, to end, and waits for them.
pub(super) async fn end_tasks(parts: &[(&TaskGroup, &str)]) {
    for (stop, _) in parts {
        stop.request();
    }
    for (stop, name) in parts {
        if stop.finished_within(LAST_TASKS).await > 0 {
            tracing::warn!("{name}: a task did not end in time");
        }
    }
}

/// Returns when the end is asked for a second time.
async fn hurried(signals: &mut Signals) {
    loop {
        match signals.next().await {
            ServerSignal::Terminate | ServerSignal::Interrupt => return,
            ServerSignal::Ignored(signal) => tracing::warn!("{}", signal.explained()),
            ServerSignal::Hangup => {}
        }
    }
}

/// The time for tasks that have nothing left to do.
const LAST_TASKS: Duration = Duration::from_secs(5);
