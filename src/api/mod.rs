//! Owns the messages of the control socket, as JSON; `endpoints` is the table of what can be asked.
//!
//! New fields may come; a field never changes its meaning. Never here: how an answer is found or shown.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::name::{AppName, GenerationId, HostName, InstanceName, RouteName, WorkerId};

mod certs;
mod deploy;
pub(crate) mod endpoint;
pub(crate) mod endpoints;
mod host_state;
mod job;
mod run;

pub(crate) use certs::{
    CertList, CertPlan, CheckResult, HostCertificate, ImportCert, PlanCheck, RenewCert, RenewEvent,
};
pub(crate) use deploy::{Aborted, DeployEvent, DeployRequest, WhichApp};
pub use deploy::{CanaryStatus, Rejection};
pub(crate) use host_state::HostState;
pub use job::JobStatus;
pub(crate) use run::{RunPlace, RunRequest, RunTimer, TimerStarted};

/// The hosts of the registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HostList {
    /// Always true: errors are [`ErrorAnswer`].
    pub(crate) ok: bool,
    /// The host names alone, sorted.
    pub(crate) hosts: Vec<RouteName>,
    /// The same hosts with their apps and states.
    pub(crate) entries: Vec<HostEntry>,
}

/// A host of the registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HostEntry {
    /// The host.
    pub(crate) host: RouteName,
    /// The host's app.
    pub(crate) app: AppName,
    /// The way in which the host treats its requests; `intent` has it in the earlier words, for one more version.
    #[serde(flatten, with = "host_state")]
    pub(crate) state: HostState,
    /// Whether the app has a worker ready at this moment.
    pub(crate) live: bool,
    /// Whether the host came with the app's own settings or was added by a person.
    pub(crate) origin: HostOrigin,
    /// Whether a certificate may be got for the host from an authority; only written where it may not.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub(crate) acme: bool,
}

/// The side that asked for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HostOrigin {
    /// The command line, the config or the app's own file; the host stays as long as that names it.
    Config,
    /// `rip-serverctl add`; the registry keeps the host.
    Added,
}

/// A host that is to lead to an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddHost {
    /// The host.
    pub(crate) host: RouteName,
    /// The app's directory or entry file, absolute; `None`: the instance's first app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathBuf>,
    /// Whether a certificate may be got for the host from an authority.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub(crate) acme: bool,
}

/// The new state of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetState {
    /// The way in which the host treats its requests.
    #[serde(alias = "intent")]
    pub(crate) state: HostState,
    /// The page that people read while the host is stopped, in HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) page: Option<String>,
}

/// The result of a change of the registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Changed {
    pub(crate) ok: bool,
    /// False when nothing had to be changed.
    pub(crate) changed: bool,
    /// The host as it is now; `None` when it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entry: Option<HostEntry>,
}

/// The state of the server: what it is doing, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `healthy` when every app has a worker ready, else `degraded`.
    pub status: Health,
    /// The instance's name.
    pub instance: InstanceName,
    /// The program's version.
    pub version: String,
    /// The server's process.
    pub pid: u32,
    /// Seconds since the server's start.
    pub uptime: u64,
    /// The URLs that the server listens on.
    pub urls: Vec<String>,
    /// The path of the control socket.
    pub control: PathBuf,
    /// Whether `drain` has told balancers to send requests elsewhere.
    #[serde(default)]
    pub drained: bool,
    /// The server's work of the moment, in a sentence: "serving", "starting 2 workers of api", "draining".
    pub doing: String,
    /// The apps.
    pub apps: Vec<AppStatus>,
    /// The certificates in use.
    pub certificates: Vec<CertificateStatus>,
    /// How the hosts' certificates of authorities stand; empty when no authority is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acme: Vec<AcmeStatus>,
    /// How systemd runs the server, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceUnit>,
    /// The backend that runs the server's workers; `None` in the answers of older servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendStatus>,
    /// Settings that a deploy has read anew and that take effect at the next start of the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<String>,
}

/// The backend that runs a server's workers, and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Units of systemd, or child processes of the server.
    pub name: BackendName,
    /// The reason, in words: "this server is rip-server@blog.service".
    pub why: String,
}

/// The name of a backend, as in the setting `backend`.
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

/// The unit of a server that is a service of systemd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceUnit {
    /// The name of the service's unit.
    pub unit: String,
    /// Whether the unit belongs to a user's own manager.
    pub user: bool,
    /// The pattern of the workers' units, whose output is then in the journal and not here; `None`: the workers are
    /// child processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<String>,
}

/// Whether the instance can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Every app has a worker ready.
    Healthy,
    /// At least one app has no worker ready.
    Degraded,
}

/// An app in [`Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppStatus {
    /// The app.
    pub app: AppName,
    /// The app's directory or entry file.
    pub path: PathBuf,
    /// A sentence about the kind of the app, and how it is run.
    pub described: String,
    /// When each worker is replaced for what it has served: "after 10000 requests or 1 h", "never".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub recycle: String,
    /// The app's hosts.
    pub hosts: Vec<RouteName>,
    /// The generation that serves; 0 before the first.
    pub generation: GenerationId,
    /// The earlier generation that the serving one brings back, after a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<GenerationId>,
    /// The generation that a share of the clients gets, if one is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStatus>,
    /// The generation that a rollback brings back, if one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<GenerationId>,
    /// Workers wanted, ready, starting, draining or stopping.
    pub workers: WorkerTally,
    /// The bounds of the number of workers and the reason of its last change, where the number follows the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<String>,
    /// Whether the app has no worker because it had no request for long: the next request starts one.
    #[serde(default)]
    pub resting: bool,
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
    /// The app's work of the moment and its reason, in a sentence: "serving", "waiting 2 s before starting a worker: it
    /// crashed 3 times".
    pub doing: String,
    /// Warnings of settings that do not do what they say, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The jobs beside the workers: side processes, timers' commands, and a release step while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobStatus>,
    /// The last deploy that was rejected, and why, until one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejection>,
}

impl AppStatus {
    /// Whether a request finds a worker now, or has one started.
    pub(crate) fn can_serve(&self) -> bool {
        self.workers.ready > 0 || self.resting
    }
}

/// How many workers are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerTally {
    /// How many workers there should be.
    pub wanted: usize,
    /// Workers that take requests.
    pub ready: usize,
    /// Workers that are not ready yet.
    pub starting: usize,
    /// Workers that finish what they have in hand.
    pub draining: usize,
    /// Workers that were told to end.
    pub stopping: usize,
}

/// A certificate in [`Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The names in the certificate.
    pub names: Vec<String>,
    /// The certificate's source, such as `files`, `mkcert` or `self-signed`.
    pub source: String,
    /// Seconds until the certificate expires; negative when it has expired.
    pub expires_in: i64,
    /// Why the certificate could not be renewed, if there is a reason.
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
    /// Seconds until the certificate expires; negative when it has expired; none when there is no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<i64>,
    /// Seconds until the certificate is renewed; none when there is none, or the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_in: Option<u64>,
    /// Whether an order is under way.
    #[serde(default)]
    pub ordering: bool,
    /// Why there is no certificate, or no newer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Seconds until the next attempt; none when none is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in: Option<u64>,
}

impl AcmeStatus {
    /// The status of a host of which nothing is known.
    pub(crate) fn of(host: HostName) -> Self {
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
pub struct WorkerList {
    /// Every worker, by app and id.
    pub workers: Vec<WorkerStatus>,
}

/// A worker in the answer to `GET /workers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// The app.
    pub app: AppName,
    /// The worker.
    pub worker: WorkerId,
    /// The worker's generation.
    pub generation: GenerationId,
    /// The worker's process; `None` before it has one.
    pub pid: Option<u32>,
    /// The worker's activity.
    pub state: WorkerState,
    /// Why the worker is in that state, when a person would not expect it: "recycled after 10,000 requests".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Seconds since the worker's start.
    pub age: u64,
    /// Requests that the worker has answered.
    pub served: u64,
    /// Tunnels that the worker holds.
    pub tunnels: usize,
    /// Resident memory in bytes, of the whole process group where that is known.
    pub memory: Option<u64>,
    /// Requests that the worker has in hand.
    pub requests: Vec<RequestInHand>,
}

/// A request that a worker has in hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestInHand {
    /// The request's id, as in logs.
    pub id: String,
    /// The request's method.
    pub method: String,
    /// The request's path, without the query.
    pub path: String,
    /// Milliseconds since the worker got the request.
    pub ms: u64,
}

/// The activity of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// The worker is not ready yet.
    Starting,
    /// The worker is ready and has nothing in hand.
    Idle,
    /// The worker has at least one request in hand.
    Busy,
    /// The worker finishes what it has in hand and gets nothing new.
    Draining,
    /// The worker was told to end.
    Stopping,
}

/// The request for another number of workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scale {
    /// The app; `None`: the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<AppName>,
    /// `half`, `auto`, `2x`, a number or `2..8`, as after `w:`.
    pub(crate) workers: String,
}

/// The result of a change of the number of workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scaled {
    pub(crate) ok: bool,
    pub(crate) app: AppName,
    pub(crate) before: usize,
    pub(crate) now: usize,
}

/// The order to stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StopServer {}

/// How long the server may take to stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StopAnswer {
    pub(crate) ok: bool,
    /// The most seconds that the drain takes.
    pub(crate) drain: u64,
    /// The seconds, before the drain, in which everything is served as before.
    #[serde(default)]
    pub(crate) lame_duck: u64,
}

/// The request to tell balancers to send requests elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartDrain {
    /// The seconds that the drain lasts; `None`: until `undrain`, or the end of the server.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<NonZeroU32>,
}

/// The request to tell balancers that requests may come again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndDrain {}

/// The result of `drain` or `undrain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DrainAnswer {
    /// Always true.
    pub(crate) ok: bool,
    /// False when balancers were told the same before.
    pub(crate) changed: bool,
    /// Whether there is a listener where balancers can ask.
    pub(crate) asked_by_balancers: bool,
}

/// A line that a worker wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogLine {
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) t: u64,
    pub(crate) app: AppName,
    pub(crate) worker: WorkerId,
    pub(crate) generation: GenerationId,
    pub(crate) line: String,
}

/// An answer with another status than 2xx.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ErrorAnswer {
    pub(crate) ok: bool,
    pub(crate) error: ErrorText,
}

/// The text of an [`ErrorAnswer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ErrorText {
    /// A stable word: `no-such-host`, `no-such-app`, `bad-request`, `conflict`, `busy`, `internal`, …
    pub(crate) code: String,
    /// A sentence that shows what was read.
    pub(crate) message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

pub(crate) fn yes() -> bool {
    true
}

pub(crate) fn is_yes(value: &bool) -> bool {
    *value
}
