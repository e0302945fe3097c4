//! Owns starting, watching and ending worker processes: one trait, and who implements it.
//!
//! Never here: when a worker should start or end (`manager`).

pub mod child;
mod child_workers;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod guard;
mod handover;
mod keeper;
mod killed;
mod listeners;
mod output;
mod procs;
pub mod shim;
mod sockets;
mod strays;
pub mod systemd;
mod worker;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use crate::digest;
use crate::name::{AppName, GenerationId, WorkerId};
use crate::pool::Address;
use crate::spec::{LaunchSpec, ReloadSignal};

/// What starts, watches and ends workers. One for an instance; its [`Event`]s go into the channel it was made with.
pub trait Backend: Send + Sync + 'static {
    /// Starts a worker: its listener exists and can be connected to when this returns.
    ///
    /// # Errors
    /// [`StartError`] when there is no process; then no event follows.
    ///
    /// # Cancel safety
    /// Not safe: await it to its end in a task of its own.
    fn start(&self, order: Order) -> Pin<Box<dyn Future<Output = Result<Started, StartError>> + Send + '_>>;

    /// Whether the process that a worker was started as has not exited, as far as is known at this moment: false before
    /// the event of its end has been delivered. Unknown workers do not live.
    fn lives(&self, worker: WorkerId) -> bool;

    /// Sends a worker, with all its processes, a signal. Unknown workers are fine: late calls are normal.
    fn signal(&self, worker: WorkerId, signal: Signal);

    /// Resident memory of a worker with all its processes, in bytes; `None` when not known.
    fn memory(&self, worker: WorkerId) -> Option<u64>;

    /// Who listens at a worker's address, and where else the worker listens; `None` where that cannot be told. Some
    /// milliseconds of work on another thread. Cancel-safe.
    fn listening(
        &self,
        _worker: WorkerId,
        _address: Address,
    ) -> Pin<Box<dyn Future<Output = Option<Listening>> + Send + '_>> {
        Box::pin(std::future::ready(None))
    }

    /// The workers of this instance that an earlier server left behind; asked once, before the first start. Events
    /// of them follow as of others. None where workers end with their server.
    ///
    /// # Cancel safety
    /// Not safe: await it to its end.
    fn survivors(&self) -> Pin<Box<dyn Future<Output = Vec<Survivor>> + Send + '_>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// A short word for everything that a worker of this spec is started with: two that have the same are the same,
    /// in every version of this program.
    fn fingerprint(&self, launch: &LaunchSpec) -> String {
        digest::of(launch)
    }

    /// Whether workers go on when their server ends without stopping them.
    fn outlives(&self) -> bool {
        false
    }

    /// From now on the workers are another server's to be: what is dropped here leaves them and their sockets as
    /// they are. Without effect where workers end with their server.
    fn leave(&self) {}
}

/// Who listens where a worker should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Who gets connections to its port; `Nobody` for an address that is no port.
    pub holder: Holder,
    /// Its port, where it listens there on all addresses instead of the one it was told.
    pub exposed: Option<SocketAddr>,
    /// Where else it listens, for people: `TCP 127.0.0.1:5000`.
    pub elsewhere: Vec<String>,
}

/// Who gets the connections to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The worker.
    Worker,
    /// Another process, for people.
    Other(String),
    /// Nobody listens.
    Nobody,
}

/// A worker that outlived the server that started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Its id.
    pub worker: WorkerId,
    /// Its app.
    pub app: AppName,
    /// Its generation.
    pub generation: GenerationId,
    /// Its process and its address.
    pub started: Started,
    /// What [`Backend::fingerprint`] said of its spec.
    pub fingerprint: String,
    /// When it was started.
    pub since: SystemTime,
}

/// An order to start one worker.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its id.
    pub worker: WorkerId,
    /// Its generation.
    pub generation: GenerationId,
    /// What to run.
    pub launch: Arc<LaunchSpec>,
}

/// A worker that has a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its process.
    pub pid: u32,
    /// Where it listens, or will listen.
    pub address: Address,
}

/// Signals a worker is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: finish and go.
    Terminate,
    /// SIGKILL, after a [`Signal::Terminate`] that it had time for: its end is then [`Exit::Timeout`].
    Kill,
    /// SIGKILL because it is over its hard memory limit: its end is then [`Exit::OutOfMemory`].
    OutOfMemory,
    /// Load the app anew.
    Reload(ReloadSignal),
}

/// What happened to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It said `READY=1` on its notify socket.
    Ready(WorkerId),
    /// It wrote a line to standard output or standard error.
    Output(WorkerId, String),
    /// It is about to end, or has; these are the last lines it wrote, already logged elsewhere.
    LastWords(WorkerId, Vec<String>),
    /// The process that it was started as has exited, and others of its processes take a moment to end.
    Ending(WorkerId, Exit),
    /// It is gone, with all its processes; nothing follows.
    Exited(WorkerId, Exit),
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By itself with status 0, while processes that it had started went on: as a daemon begins.
    Background,
    /// By this signal.
    Signal(i32),
    /// Killed for its memory: by the kernel, or by [`Signal::OutOfMemory`] where the kernel holds no limit.
    OutOfMemory,
    /// Killed because it took too long, above all to end.
    Timeout,
    /// Killed by its unit's watchdog, where an admin's drop-in gives it one.
    Watchdog,
    /// Unseen: systemd could not be asked at that time.
    Unseen,
}

impl Exit {
    /// A stable word for metrics: `exit`, `signal`, `oom`, `timeout`, `watchdog`, `unseen`.
    pub fn cause(self) -> &'static str {
        match self {
            Self::Status(_) | Self::Background => "exit",
            Self::Signal(_) => "signal",
            Self::OutOfMemory => "oom",
            Self::Timeout => "timeout",
            Self::Watchdog => "watchdog",
            Self::Unseen => "unseen",
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Background => f.write_str("went into the background: run it in the foreground"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::OutOfMemory => f.write_str("ran out of memory"),
            Self::Timeout => f.write_str("was killed for taking too long"),
            Self::Watchdog => f.write_str("was killed by its watchdog"),
            Self::Unseen => f.write_str("ended while systemd could not be asked"),
        }
    }
}

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its listening socket could not be made.
    #[error("cannot make the worker's socket {path}: {source}")]
    Socket {
        /// Where.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Whoever starts units refused, or could not be reached.
    #[error("cannot start the unit {unit}: {reason}")]
    Unit {
        /// Which.
        unit: String,
        /// Why, for people.
        reason: String,
    },
    /// Its program could not be started.
    #[error("cannot start `{program}` in {}: {source}", directory.display())]
    Program {
        /// Which.
        program: String,
        /// Where.
        directory: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The variable that names the file in which a program writes its pid.
const PID_FILE: &str = "PIDFILE";

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::name::InstanceName;
    use crate::spec::{Listen, Memory};

    /// An order for a worker of the app `app` of the instance `test`.
    pub(crate) fn order(worker: u64, command: &[&str]) -> Order {
        let launch = LaunchSpec {
            app: AppName::parse("app").unwrap(),
            instance: InstanceName::parse("test").unwrap(),
            directory: PathBuf::from("/"),
            command: command.iter().map(ToString::to_string).collect(),
            env: BTreeMap::new(),
            notify: true,
            pid_file: false,
            listen: Listen::Fd,
            memory: Memory::default(),
            kill_after: Duration::from_secs(5),
        };
        Order { worker: WorkerId(worker), generation: GenerationId(1), launch: Arc::new(launch) }
    }

    #[test]
    fn a_start_error_names_program_and_directory() {
        let error = StartError::Program {
            program: "gunicorn".into(),
            directory: PathBuf::from("/srv/rip/blog"),
            source: std::io::Error::other("no such program in PATH"),
        };
        assert_eq!(error.to_string(), "cannot start `gunicorn` in /srv/rip/blog: no such program in PATH");
    }

    #[test]
    fn exits_read_as_sentences_and_as_words() {
        for (exit, sentence, word) in [
            (Exit::Status(3), "exited with status 3", "exit"),
            (Exit::Background, "went into the background: run it in the foreground", "exit"),
            (Exit::Signal(9), "was killed by signal 9", "signal"),
            (Exit::OutOfMemory, "ran out of memory", "oom"),
            (Exit::Timeout, "was killed for taking too long", "timeout"),
            (Exit::Watchdog, "was killed by its watchdog", "watchdog"),
        ] {
            assert_eq!((exit.to_string().as_str(), exit.cause()), (sentence, word));
        }
    }
}
