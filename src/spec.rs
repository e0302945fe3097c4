//! What is to run and within which limits: the finished words that config produces and everything else reads.
//!
//! Never here: where a value came from (`config`), or acting on it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::name::{AppName, HostName, InstanceName};
use crate::pattern::Pattern;

/// How many workers an app gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerCount {
    /// Half of the cores, at least one: `w:half`.
    Half,
    /// As many as there are cores: `w:auto`.
    Auto,
    /// A multiple of the cores: `w:2x`, `w:3x`.
    Times(NonZeroU32),
    /// A number: `w:4`.
    Exactly(NonZeroU32),
}

impl WorkerCount {
    /// The number of workers on a machine with that many cores; at least 1.
    pub fn resolve(self, cores: usize) -> usize {
        match self {
            Self::Half => (cores / 2).max(1),
            Self::Auto => cores.max(1),
            Self::Times(factor) => cores.max(1).saturating_mul(factor.get() as usize),
            Self::Exactly(count) => count.get() as usize,
        }
    }
}

impl fmt::Display for WorkerCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Half => f.write_str("half"),
            Self::Auto => f.write_str("auto"),
            Self::Times(factor) => write!(f, "{factor}x"),
            Self::Exactly(count) => count.fmt(f),
        }
    }
}

/// When a worker has served long enough and is replaced; each limit gets ±10 % jitter per worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recycle {
    /// After that many requests; `None`: never.
    pub requests: Option<u64>,
    /// After that much time alive; `None`: never.
    pub age: Option<Duration>,
    /// After that many re-imports inside the worker, with [`Reload::Module`] only; `None`: never.
    pub reloads: Option<u64>,
}

impl Recycle {
    /// No worker is ever replaced for what it has served.
    pub const OFF: Self = Self { requests: None, age: None, reloads: None };
}

/// As a sentence goes on after "each worker is replaced": `after 10000 requests or 1h`, `never`.
impl fmt::Display for Recycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = self.requests.map(|requests| format!("{requests} requests"));
        let age = self.age.map(|age| span(age.as_secs()));
        let reasons: Vec<_> = requests.into_iter().chain(age).collect();
        if reasons.is_empty() { f.write_str("never") } else { write!(f, "after {}", reasons.join(" or ")) }
    }
}

/// In the largest unit that leaves no rest.
fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds > 0 && seconds.is_multiple_of(*length));
    unit.map_or_else(|| format!("{seconds} s"), |(length, unit)| format!("{} {unit}", seconds / length))
}

/// What shows that a worker is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyBy {
    /// `READY=1` or an answer, whichever comes first: of programs that are known to say it once the app is loaded.
    Either,
    /// An answer; `READY=1` may have been said by something in front of the app.
    Answer,
    /// `READY=1`; the worker is never asked.
    Notify,
}

/// Memory limits of one worker, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Above it the worker is recycled after its answer.
    pub soft: Option<u64>,
    /// Above it the worker is killed.
    pub hard: Option<u64>,
}

/// How a worker gets at its listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Listen {
    /// File descriptor 3 with `LISTEN_FDS=1`, as sd_listen_fds(3) describes.
    Fd,
    /// The app binds the Unix socket named in `$RIP_SOCKET`.
    Path,
    /// The app binds the loopback TCP port named in `$PORT`.
    Port,
}

/// What a worker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS and with prior knowledge (RFC 9113 §3.3), for gRPC.
    H2c,
}

/// What a change of the app's files does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reload {
    /// Nothing.
    None,
    /// A rolling replacement of the workers.
    Process,
    /// The worker loads the app anew by itself, or is sent a signal.
    Module,
}

/// A signal an app may ask for instead of a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ReloadSignal {
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
}

/// How one worker of a generation is started: fixed when the generation is made, so that a respawn runs the same thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaunchSpec {
    /// The app.
    pub app: AppName,
    /// The instance.
    pub instance: InstanceName,
    /// The working directory, symbolic links followed.
    pub directory: PathBuf,
    /// Program and arguments; the program is a path or is looked up in `PATH` of `env`, else of the server.
    pub command: Vec<String>,
    /// What the worker's environment has beside the worker contract's own names.
    pub env: BTreeMap<String, String>,
    /// How the listening socket is handed over.
    pub listen: Listen,
    /// Whether the worker is offered `NOTIFY_SOCKET`; not those that say `READY=1` before the app is loaded.
    pub notify: bool,
    /// Whether the worker is given a `PIDFILE` of its own, unless `env` names one.
    pub pid_file: bool,
    /// Limits that the backend enforces.
    pub memory: Memory,
    /// From SIGTERM to SIGKILL when a worker is killed or does not stop.
    pub kill_after: Duration,
}

/// The time limits of one app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// In the queue.
    pub queue: Duration,
    /// Connecting to a worker.
    pub connect: Duration,
    /// From the request handed to a worker to the head of its answer.
    pub request: Duration,
    /// Between two chunks of a worker's answer.
    pub body_idle: Duration,
    /// From start to ready.
    pub start: Duration,
    /// For the requests in hand when a worker is to go.
    pub drain: Duration,
    /// From SIGTERM to SIGKILL.
    pub kill: Duration,
    /// From when a new generation serves until the one before it is let go; zero: at once.
    pub probation: Duration,
}

/// What the data path has to know of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Time limits.
    pub timeouts: Timeouts,
    /// How many requests may wait.
    pub max_queue: usize,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// Requests a worker takes at the same time.
    pub concurrency: NonZeroU32,
    /// Upgraded connections and event streams a worker may hold beside its requests.
    pub tunnels: u32,
    /// Whether connections to workers are used again.
    pub keepalive: bool,
    /// What workers speak.
    pub protocol: Protocol,
    /// Paths whose request bodies are passed on as they arrive: each matches itself and everything below it.
    pub stream: Vec<String>,
}

#[cfg(test)]
impl Rules {
    /// For tests that are about something else.
    pub(crate) fn of_no_interest() -> Self {
        let second = Duration::from_secs(1);
        let timeouts = Timeouts {
            queue: second,
            connect: second,
            request: second,
            body_idle: second,
            start: second,
            drain: second,
            kill: second,
            probation: Duration::ZERO,
        };
        Self {
            timeouts,
            max_queue: 1,
            max_body: 1,
            concurrency: NonZeroU32::MIN,
            tunnels: 1,
            keepalive: true,
            protocol: Protocol::Http1,
            stream: vec![],
        }
    }
}

/// An app as it is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct AppSpec {
    /// Its name.
    pub name: AppName,
    /// Where it is, as given: a directory or an entry file.
    pub path: PathBuf,
    /// What it was found to be and how it is run, in one sentence for people.
    pub described: String,
    /// The file whose modification time tells that the app changed.
    pub entry: Option<PathBuf>,
    /// Hosts the app names for itself.
    pub hosts: Vec<HostName>,
    /// How a worker of the next generation is started.
    pub launch: Arc<LaunchSpec>,
    /// How many workers.
    pub workers: WorkerCount,
    /// When workers are replaced.
    pub recycle: Recycle,
    /// What shows that a worker is ready.
    pub ready_by: ReadyBy,
    /// Asked for by `GET` until the first answer below 500.
    pub ready_path: String,
    /// What a change of files does.
    pub reload: Reload,
    /// The signal that makes a worker load the app anew with [`Reload::Module`]; `None`: the worker looks itself.
    pub reload_signal: Option<ReloadSignal>,
    /// Files whose change counts beside that of the entry and the settings.
    pub sources: Arc<Sources>,
    /// What the data path has to know.
    pub rules: Arc<Rules>,
}

/// Source files of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The app's folder, links followed.
    pub root: PathBuf,
    /// Which of its files.
    pub patterns: Vec<Pattern>,
}

/// Which port the main listener gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortChoice {
    /// This one, or an error.
    Given(u16),
    /// The scheme's own port; on EACCES or EADDRINUSE the first free one from 5000 up.
    Probe,
}

/// What the main listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTPS, with a second listener that redirects.
    Https {
        /// The port.
        port: PortChoice,
        /// The port on which plain HTTP is redirected; `None`: none.
        redirect: Option<u16>,
    },
    /// Plain HTTP only.
    Http {
        /// The port.
        port: PortChoice,
    },
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertSource {
    /// These files, PEM.
    Files {
        /// The chain.
        cert: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// mkcert, when it is installed; else self-signed.
    Mkcert,
    /// Self-signed.
    SelfSigned,
}

/// The `Strict-Transport-Security` field (RFC 6797) of HTTPS answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// How long a browser remembers.
    pub max_age: Duration,
    /// Whether sub-domains are meant too.
    pub subdomains: bool,
}

/// A token bucket per client address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests per second in the long run.
    pub per_second: NonZeroU32,
    /// Requests at once.
    pub burst: NonZeroU32,
}

/// Limits that hold before an app is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For a request's head once its first byte is there.
    pub head: Duration,
    /// Between two pieces of a request's body.
    pub body_idle: Duration,
    /// Bytes per second that a request's body must reach on average after 10 s.
    pub body_rate: u32,
    /// Without a byte written to a client that is to read.
    pub write_idle: Duration,
    /// For the next request on a kept connection.
    pub keepalive: Duration,
    /// The largest request head, in bytes.
    pub max_head: usize,
    /// The most header fields of a request.
    pub max_fields: usize,
    /// The longest request target, in bytes.
    pub max_url: usize,
    /// Connections in all.
    pub max_connections: usize,
    /// Connections of one address; `None`: no limit.
    pub max_connections_per_address: Option<usize>,
    /// Requests of one address; `None`: no limit.
    pub rate: Option<Rate>,
    /// Concurrent streams of an HTTP/2 connection.
    pub h2_streams: u32,
    /// Bytes of a request body kept in memory before the spool file.
    pub body_memory: usize,
    /// Bytes that larger request bodies share in memory before they need spool files.
    pub body_room: usize,
    /// Bytes that all spool files together may hold, of request bodies and answers.
    pub spool: u64,
    /// Bytes of an answer kept in memory before the spool file.
    pub reply_memory: usize,
    /// Bytes of an answer kept in the spool file before the worker has to wait.
    pub reply_spool: u64,
    /// Bytes of memory that answers share which wait for their clients.
    pub reply_room: u64,
}

impl Limits {
    /// Spool files take space of `spool` in steps of so many bytes: there are at most [`SPOOL_FILES`] of them.
    pub fn spool_step(&self) -> u64 {
        (self.spool / SPOOL_FILES).max(LEAST_SPOOL_STEP)
    }
}

/// The most spool files that there may be at a time: each takes a descriptor.
pub const SPOOL_FILES: u64 = 8192;
const LEAST_SPOOL_STEP: u64 = 512 << 10;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What runs the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendChoice {
    /// systemd where the server is a service of it, else child processes.
    Auto,
    /// Child processes.
    Child,
    /// A transient unit for each worker.
    Systemd,
}

/// What the transient unit of a worker may do: the admin's word alone, read from the server's file by whoever makes
/// the unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sandbox {
    /// The user it runs as; `None`: a dynamic user of the instance and app.
    pub user: Option<String>,
    /// Where apps may lie. The others' folders below these are hidden from an app.
    pub roots: Vec<PathBuf>,
    /// Folders it may write to beside its own.
    pub writable: Vec<PathBuf>,
    /// Whether it has the network; without, only its own loopback.
    pub network: bool,
    /// Addresses it may speak with although they are denied.
    #[serde(serialize_with = "as_texts")]
    pub ip_allow: Vec<ipnet::IpNet>,
    /// Addresses it may not speak with.
    #[serde(serialize_with = "as_texts")]
    pub ip_deny: Vec<ipnet::IpNet>,
    /// Processes and threads.
    pub tasks_max: u64,
    /// Memory in bytes, whatever the app says; `None`: no limit but the app's.
    pub memory_max: Option<u64>,
    /// Memory in bytes above which the kernel slows the worker and takes pages from it; `None`: nowhere.
    pub memory_high: Option<u64>,
    /// Share of the processors beside other units, 1 to 10000; systemd.resource-control(5).
    pub cpu_weight: u32,
    /// Percent of one processor; `None`: no limit.
    pub cpu_quota: Option<u32>,
    /// Whether memory may be made executable after it was written, as just-in-time compilers do.
    pub write_execute: bool,
    /// Variables for all workers, systemd.exec(5) `EnvironmentFile=`; `None`: `/etc/rip-server/INSTANCE.env` if there.
    pub env_file: Option<PathBuf>,
    /// Secrets as `ID:PATH`, systemd.exec(5) `LoadCredential=`.
    pub credentials: Vec<String>,
}

fn as_texts<S: Serializer>(networks: &[ipnet::IpNet], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(networks.iter().map(ToString::to_string))
}

/// The server itself, whatever apps it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSpec {
    /// Its name.
    pub instance: InstanceName,
    /// What it listens for.
    pub scheme: Scheme,
    /// Addresses to bind beside the ports; empty: all of them.
    pub bind: Vec<std::net::IpAddr>,
    /// Where certificates come from.
    pub certs: CertSource,
    /// HSTS; `None`: off.
    pub hsts: Option<Hsts>,
    /// Peers whose forwarding fields are believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Whether `/server` and `/status` are answered to others than loopback peers.
    pub status_for_all: bool,
    /// Serves metrics there too.
    pub metrics: Option<SocketAddr>,
    /// Limits before routing.
    pub limits: Limits,
    /// Access records.
    pub access_log: AccessLog,
    /// Threads of the data path; `None`: one per core.
    pub threads: Option<NonZeroU32>,
    /// Sockets and other run-time files.
    pub runtime_dir: PathBuf,
    /// Registry, certificates, spool files.
    pub state_dir: PathBuf,
    /// The control socket.
    pub control_socket: PathBuf,
    /// Prefix of the names of workers' sockets.
    pub socket_prefix: Option<String>,
    /// What runs the workers.
    pub backend: BackendChoice,
    /// What the units of workers may do.
    pub sandbox: Sandbox,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_counts_follow_the_cores_and_are_never_zero() {
        let three = NonZeroU32::new(3).unwrap();
        for (count, cores, workers) in [
            (WorkerCount::Half, 1, 1),
            (WorkerCount::Half, 8, 4),
            (WorkerCount::Auto, 8, 8),
            (WorkerCount::Times(three), 2, 6),
            (WorkerCount::Exactly(three), 64, 3),
        ] {
            assert_eq!(count.resolve(cores), workers, "{count} on {cores} cores");
        }
    }
}
