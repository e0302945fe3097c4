//! The way out: who asks for it, what becomes of the workers, and in which order the parts end.
//!
//! Never here: how a part ends.

use std::time::Duration;

use crate::acceptor::Acceptor;
use crate::control::Settings;
use crate::supervisor::Supervisor;
use crate::system::sd::notify;
use crate::system::signals::{Signal, Signals};
use crate::tasks::{ShutdownToken, TaskGroup};

use super::alive;

/// What becomes of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// They finish what they have in hand, and end.
    Stop,
    /// They go on, for the next server.
    Leave,
    /// They go on, until systemd stops them after this server: the machine goes down, and nobody else is left to do it.
    LeaveToSystemd,
}

/// Who asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A person, by key or over the control socket.
    Person,
    /// SIGTERM: whatever started the server.
    Supervisor,
}

/// Returns when a signal or the control socket asks for the end; a hang-up deploys on the way.
pub(super) async fn asked_to_stop(
    signals: &mut Signals,
    settings: &impl Settings,
    supervisor: &Supervisor,
    shutdown: &ShutdownToken,
) -> Asked {
    loop {
        let signal = tokio::select! {
            () = shutdown.requested() => return Asked::Person,
            signal = signals.next() => signal,
        };
        match signal {
            Signal::Terminate => return Asked::Supervisor,
            Signal::Interrupt => return Asked::Person,
            Signal::Hangup => {
                if let Err(error) = settings.read_anew() {
                    tracing::error!(error, "nothing is deployed, and all goes on as before");
                    continue;
                }
                match supervisor.deploy(None).await {
                    Ok(_) => tracing::info!("deploying: SIGHUP"),
                    Err(error) => tracing::warn!(%error, "cannot deploy"),
                }
            }
            Signal::Ignored(signal) => tracing::warn!("{}", signal.explained()),
        }
    }
}

/// Ends connections, then workers; whoever asks a second time does not want to wait.
pub(super) async fn end(
    ending: Ending,
    drain: Duration,
    mut acceptor: Acceptor,
    supervisor: &Supervisor,
    signals: &mut Signals,
) {
    tracing::info!("stopping: requests in hand have {drain:?}");
    notify::stopping(match ending {
        Ending::Stop => "finishing the requests in hand",
        Ending::Leave => "finishing the requests in hand; the workers stay for the next start",
        Ending::LeaveToSystemd => "finishing the requests in hand; the workers end after that",
    });
    alive::ask_for_time_to_end(drain);
    let finished = async {
        acceptor.drain(drain).await;
        match ending {
            Ending::Stop => supervisor.stop(drain).await,
            Ending::Leave | Ending::LeaveToSystemd => supervisor.leave().await,
        }
    };
    tokio::select! {
        () = finished => {}
        () = hurried(signals) => {
            tracing::warn!("asked twice: stopping at once");
            match ending {
                Ending::Stop => supervisor.stop(Duration::ZERO).await,
                Ending::Leave | Ending::LeaveToSystemd => supervisor.leave().await,
            }
        }
    }
    acceptor.end().await;
}

/// Asks the rest to end and waits for it: what has nothing left to do.
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

/// Returns when somebody asks again.
async fn hurried(signals: &mut Signals) {
    loop {
        match signals.next().await {
            Signal::Terminate | Signal::Interrupt => return,
            Signal::Ignored(signal) => tracing::warn!("{}", signal.explained()),
            Signal::Hangup => {}
        }
    }
}

/// For tasks that have nothing left to do.
const LAST_TASKS: Duration = Duration::from_secs(5);
