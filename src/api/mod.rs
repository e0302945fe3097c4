//! Owns what goes over the control socket, as JSON; `endpoints` is the table of what can be asked.
//!
//! New fields may come; a field never changes its meaning. Never here: how an answer is found or shown.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::name::{AppName, GenerationId, HostName, InstanceName, RouteName, WorkerId};

mod certs;
pub(crate) mod endpoint;
pub(crate) mod endpoints;
mod host_state;

pub use certs::{
    CertList, CertPlan, CheckResult, HostCertificate, ImportCert, PlanCheck, RenewCert, RenewEvent,
};
pub use host_state::HostState;

/// The hosts of the registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostList {
    /// Always true: errors are [`Failure`].
    pub ok: bool,
    /// The host names alone, sorted.
    pub hosts: Vec<RouteName>,
    /// The same hosts with what they stand for.
    pub entries: Vec<HostEntry>,
}

/// One host of the registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostEntry {
    /// The host.
    pub host: RouteName,
    /// Its app.
    pub app: AppName,
    /// What it does with its requests; `intent` says it in the words of before, for one more version.
    #[serde(flatten, with = "host_state")]
    pub state: HostState,
    /// Whether the app has a worker ready: a fact of this moment.
    pub live: bool,
    /// Whether the host came with the app's own settings or was added by a person.
    pub origin: HostOrigin,
    /// Whether a certificate may be got for it of an authority, as far as the host goes; only said where it may not.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub acme: bool,
}

/// Who asked for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostOrigin {
    /// The command line, the config or the app's own file; stays as long as that says so.
    Config,
    /// `rip-serverctl add`; kept in the registry.
    Added,
}

/// A host that is to lead to an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddHost {
    /// The host.
    pub host: RouteName,
    /// An app's directory or entry file, absolute; `None`: the instance's first app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Whether a certificate may be got for it of an authority.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub acme: bool,
}

/// What a host is to do from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetState {
    /// What it does with its requests.
    #[serde(alias = "intent")]
    pub state: HostState,
    /// What people read while the host is stopped: the text of an HTML page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// What a change of the registry came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// Always true.
    pub ok: bool,
    /// False when everything was so before.
    pub changed: bool,
    /// The host as it is now; `None` when removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<HostEntry>,
}

/// What the server is doing, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `healthy` when every app has a worker ready, else `degraded`.
    pub status: Health,
    /// The instance.
    pub instance: InstanceName,
    /// The program's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since its start.
    pub uptime: u64,
    /// What it listens on, as URLs.
    pub urls: Vec<String>,
    /// The control socket.
    pub control: PathBuf,
    /// Whether `drain` has balancers told that requests are to go elsewhere.
    #[serde(default)]
    pub drained: bool,
    /// What it is busy with, in a sentence: "serving", "starting 2 workers of api", "draining".
    pub doing: String,
    /// The apps.
    pub apps: Vec<AppStatus>,
    /// The certificates in use.
    pub certificates: Vec<CertificateStatus>,
    /// How the hosts' certificates of authorities stand; empty when no authority is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acme: Vec<AcmeStatus>,
    /// How systemd runs it, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceUnit>,
    /// What runs its workers. A server older than this program does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendStatus>,
    /// Settings that a deploy has read anew and that count from the next start of the server on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<String>,
}

/// What runs a server's workers, and why that and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Units of systemd's, or child processes of the server.
    pub name: BackendName,
    /// Why, in words: "this server is rip-server@blog.service".
    pub why: String,
}

/// As the setting `backend` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendName {
    /// Child processes.
    Child,
    /// Units.
    Systemd,
}

impl std::fmt::Display for BackendStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.name {
            BackendName::Child => "child processes",
            BackendName::Systemd => "units of systemd",
        };
        write!(f, "{what}: {}", self.why)
    }
}

/// A server that is a service of systemd's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceUnit {
    /// Its unit.
    pub unit: String,
    /// Whether it is of a user's own manager.
    pub user: bool,
    /// Which units its workers are, as a pattern; then what they write is in the journal and not here. Without: they
    /// are its child processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<String>,
}

/// Whether the instance can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Every app has a worker ready.
    Healthy,
    /// At least one app has none.
    Degraded,
}

/// One app in [`Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppStatus {
    /// The app.
    pub app: AppName,
    /// Where it is.
    pub path: PathBuf,
    /// What it is and how it is run.
    pub described: String,
    /// When each of its workers is replaced for what it has served: "after 10000 requests or 1 h", "never".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub recycle: String,
    /// Its hosts.
    pub hosts: Vec<RouteName>,
    /// The generation that serves; 0 before the first.
    pub generation: GenerationId,
    /// Workers wanted, ready, starting, draining or stopping.
    pub workers: WorkerTally,
    /// Requests waiting for a worker.
    pub queued: usize,
    /// Requests in workers' hands.
    pub in_flight: usize,
    /// Upgraded connections and event streams.
    pub tunnels: usize,
    /// Requests answered by the workers that are alive.
    pub served: u64,
    /// Requests that a worker takes at the same time.
    #[serde(default)]
    pub concurrency: u32,
    /// Requests that the server answered in the app's place since its start, by `X-Rip-Reason`.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
    /// What it is doing and why, in a sentence: "serving", "waiting 2 s before starting a worker: it crashed 3 times".
    pub doing: String,
    /// The last deploy that was rejected, and why, until one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejection>,
}

/// Why a generation was not taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejection {
    /// Which.
    pub generation: GenerationId,
    /// Why, in a sentence.
    pub reason: String,
    /// The last lines its workers wrote.
    pub output: Vec<String>,
}

/// How many workers are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerTally {
    /// As many as there should be.
    pub wanted: usize,
    /// Able to take requests.
    pub ready: usize,
    /// Not yet ready.
    pub starting: usize,
    /// Finishing what they have in hand.
    pub draining: usize,
    /// Told to go.
    pub stopping: usize,
}

/// A certificate in [`Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The names in it.
    pub names: Vec<String>,
    /// `files`, `mkcert` or `self-signed`.
    pub source: String,
    /// Seconds until it expires; negative when it has.
    pub expires_in: i64,
    /// Why it could not be renewed, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How a host's certificate of an authority stands, in [`Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AcmeStatus {
    /// The host.
    pub host: HostName,
    /// The directory URL of the authority that the certificate is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Seconds until the certificate expires; negative when it has; none when there is no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<i64>,
    /// Seconds until it is renewed; none when there is no certificate, or the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_in: Option<u64>,
    /// Whether an order is under way.
    #[serde(default)]
    pub ordering: bool,
    /// Why there is no certificate, or no newer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Seconds until it is tried again; none when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in: Option<u64>,
}

impl AcmeStatus {
    /// Of a host of which nothing is known.
    pub fn of(host: HostName) -> Self {
        Self {
            host,
            authority: None,
            expires_in: None,
            renew_in: None,
            ordering: false,
            problem: None,
            retry_in: None,
        }
    }
}

/// The workers of all apps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workers {
    /// Every worker, by app and id.
    pub workers: Vec<WorkerStatus>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// The app.
    pub app: AppName,
    /// The worker.
    pub worker: WorkerId,
    /// Its generation.
    pub generation: GenerationId,
    /// Its process; `None` before it has one.
    pub pid: Option<u32>,
    /// Its state.
    pub state: WorkerState,
    /// Why it is in that state when nobody would expect it: "recycled after 10,000 requests".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Seconds since its start.
    pub age: u64,
    /// Requests answered.
    pub served: u64,
    /// Tunnels held.
    pub tunnels: usize,
    /// Resident memory in bytes, of the whole process group where known.
    pub memory: Option<u64>,
    /// Requests in hand.
    pub requests: Vec<RequestInHand>,
}

/// A request a worker has in hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestInHand {
    /// Its id.
    pub id: String,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// Milliseconds since the worker got it.
    pub ms: u64,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Not yet ready.
    Starting,
    /// Ready, nothing in hand.
    Idle,
    /// At least one request in hand.
    Busy,
    /// Finishing what it has; gets nothing new.
    Draining,
    /// Told to go.
    Stopping,
}

/// Which apps are to be deployed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// Which app; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
}

/// Progress of a deploy; the last line is one of `done` and `rejected` for each app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum DeployEvent {
    /// Workers of the new generation are being started.
    Starting {
        /// The app.
        app: AppName,
        /// The new generation.
        generation: GenerationId,
        /// How many.
        workers: usize,
    },
    /// One more is ready.
    Ready {
        /// The app.
        app: AppName,
        /// The new generation.
        generation: GenerationId,
        /// Ready so far.
        ready: usize,
        /// Of how many.
        workers: usize,
    },
    /// The new generation serves, and is taken back when its workers crash within its probation.
    Serving {
        /// The app.
        app: AppName,
        /// The new generation.
        generation: GenerationId,
        /// Milliseconds from the start until it served.
        ms: u64,
        /// Milliseconds that its probation lasts.
        probation: u64,
    },
    /// The new generation serves for good.
    Done {
        /// The app.
        app: AppName,
        /// The new generation.
        generation: GenerationId,
        /// Milliseconds from the start until it served.
        ms: u64,
    },
    /// The old generation goes on serving, or serves again.
    Rejected {
        /// The app.
        app: AppName,
        /// Why.
        rejection: Rejection,
    },
    /// A later deploy took over; its events follow.
    Superseded {
        /// The app.
        app: AppName,
        /// The generation given up.
        generation: GenerationId,
    },
}

/// How many workers an app is to have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Which app; `None`: the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// `half`, `auto`, `2x` or a number, as after `w:`.
    pub workers: String,
}

/// What a change of the number of workers came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaled {
    /// Always true.
    pub ok: bool,
    /// The app.
    pub app: AppName,
    /// Workers wanted before.
    pub before: usize,
    /// Workers wanted now.
    pub now: usize,
}

/// That the server is to stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopServer {}

/// How long the server may take to stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopAnswer {
    /// Always true.
    pub ok: bool,
    /// Seconds the drain may take.
    pub drain: u64,
    /// Seconds for which all is served as before, ahead of the drain.
    #[serde(default)]
    pub lame_duck: u64,
}

/// That balancers are to be told that requests are to go elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartDrain {
    /// For how many seconds; `None`: until `undrain`, or the end of the server.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub seconds: Option<NonZeroU32>,
}

/// That balancers are to be told that requests may come again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndDrain {}

/// What `drain` or `undrain` came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainAnswer {
    /// Always true.
    pub ok: bool,
    /// False when balancers were told the same before.
    pub changed: bool,
    /// Whether there is a listener where balancers can ask.
    pub asked_by_balancers: bool,
}

/// A line that a worker wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Milliseconds since 1970-01-01 UTC.
    pub t: u64,
    /// The app.
    pub app: AppName,
    /// Which worker wrote it.
    pub worker: WorkerId,
    /// Its generation.
    pub generation: GenerationId,
    /// What it wrote.
    pub line: String,
}

/// Every answer that is not 2xx.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Always false.
    pub ok: bool,
    /// What went wrong.
    pub error: FailureText,
}

/// The text of a [`Failure`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureText {
    /// A stable word: `no-such-host`, `no-such-app`, `bad-request`, `conflict`, `busy`, `internal`, …
    pub code: String,
    /// A sentence that shows what was read.
    pub message: String,
    /// What would be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

pub(crate) fn yes() -> bool {
    true
}

pub(crate) fn is_yes(value: &bool) -> bool {
    *value
}
