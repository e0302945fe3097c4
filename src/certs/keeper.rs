//! Owns the certificates' lives: the one task that obtains, renews and swaps them.
//!
//! Never here: how one is obtained, or which one answers for a name.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::api::CertificateStatus;
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::name::HostName;
use crate::spec::CertSource;
use crate::tasks::TaskGroup;
use crate::time::{Backoff, WallClock};

use super::agent_pairs::AgentPairs;
use super::certificate::Certificate;
use super::entry::{CertAction, CertEntry, CertEvent, LONGEST_PAUSE};
use super::files::{FilePair, Watch};
use super::hosts::HostCertificates;
use super::kept::HostFolder;
use super::local::Made;
use super::mkcert::Mkcert;
use super::origin::{self, Origin, blocking};
use super::{CertError, CertResolver, in_full};

/// What the keeper works with.
pub struct KeeperParts {
    /// Where certificates come from.
    pub source: CertSource,
    /// The instance's state directory; certificates that are made are kept below it, in `certs/`.
    pub state_dir: PathBuf,
    /// The folder where the agent leaves what it gets from authorities, if it runs.
    pub acme: Option<PathBuf>,
    /// The hosts that need certificates.
    pub directory: Directory,
    /// What handshakes ask.
    pub resolver: Arc<CertResolver>,
    /// The date.
    pub clock: WallClock,
    /// Where expiry is shown.
    pub metrics: Metrics,
    /// The group its task belongs to.
    pub stop: TaskGroup,
}

/// The running keeper. Dropping it does not end its task; [`TaskGroup`] does.
#[derive(Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
}

struct Shared {
    source: &'static str,
    clock: WallClock,
    default: ArcSwap<Standing>,
    /// Pairs of authorities, where an agent gets any.
    acme: Option<ArcSwap<AgentPairs>>,
    hosts: Option<Arc<HostCertificates>>,
}

impl Shared {
    fn of_authorities(&self) -> Vec<Certificate> {
        self.acme.as_ref().map_or_else(Vec::new, |acme| acme.load().certificates())
    }
}

/// The default certificate as it is shown to people.
#[derive(Default)]
struct Standing {
    current: Option<Certificate>,
    problem: Option<String>,
}

impl Keeper {
    /// Obtains the first certificate, installs it, and keeps it and all others up to date from then on.
    ///
    /// # Errors
    /// When explicit files cannot be used, or no certificate can be made or kept. mkcert that is missing or fails
    /// is no error: a self-signed certificate takes its place, and the log says so.
    pub async fn start(parts: KeeperParts) -> Result<Self, CertError> {
        Self::start_with(parts, Mkcert::find()).await
    }

    async fn start_with(parts: KeeperParts, mkcert: Option<Mkcert>) -> Result<Self, CertError> {
        let folder = parts.state_dir.join("certs");
        let stop = parts.stop.clone();
        let mut changes = parts.directory.changes();
        changes.mark_unchanged();

        // Looked at before they are read: a change in between must not go unseen.
        let files = Watch::of(&parts.source);
        let registered = parts.directory.hosts();
        let (origin, first) =
            origin::first(&parts.source, mkcert, &folder, registered, parts.clock.now()).await?;
        let (made, mades) = mpsc::channel(MADE_WAITING);
        let (hosts, host_folder) = match origin {
            Origin::SelfSigned { .. } => {
                let (hosts, folder) = hosts(&parts, &folder, made).await?;
                (Some(hosts), Some(folder))
            }
            Origin::Files(_) | Origin::Mkcert { .. } => (None, None),
        };
        let shared = Arc::new(Shared {
            source: origin.name(),
            clock: parts.clock.clone(),
            default: ArcSwap::default(),
            acme: parts.acme.clone().map(|folder| ArcSwap::from_pointee(AgentPairs::new(folder))),
            hosts,
        });

        let mut task = Task {
            files,
            origin,
            entry: CertEntry::Obtaining,
            backoff: Backoff::new(RETRY, LONGEST_PAUSE),
            warned_at: None,
            host_folder,
            shared: Arc::clone(&shared),
            parts,
        };
        task.take_first(first);
        task.look_at_acme().await;
        let watching = stop.clone();
        stop.spawn("certificates", async move {
            // Cut anywhere: mkcert is killed with its future, files are replaced whole or not at all.
            tokio::select! {
                biased;
                () = watching.requested() => {}
                () = task.run(changes, mades) => {}
            }
        });
        Ok(Self { shared })
    }

    /// The certificates in use: the default first, then those of hosts, the next to expire first; at most 100.
    pub fn status(&self) -> Vec<CertificateStatus> {
        let now = self.shared.clock.now();
        let show_of = |certificate: &Certificate, problem, source: &str| CertificateStatus {
            names: certificate.names.iter().map(HostName::to_string).collect(),
            source: source.into(),
            expires_in: certificate.expires_in(now),
            problem,
        };
        let show = |certificate: &Certificate, problem| show_of(certificate, problem, self.shared.source);
        let standing = self.shared.default.load();
        let acme = self.shared.of_authorities();
        let acme = acme.iter().map(|certificate| show_of(certificate, None, "acme"));
        let default = standing.current.iter().map(|current| show(current, standing.problem.clone()));

        let mut others = self.shared.hosts.as_ref().map_or_else(Vec::new, |hosts| hosts.all());
        others.sort_by(|one, two| (one.not_after, &one.names).cmp(&(two.not_after, &two.names)));
        default.chain(acme).chain(others.iter().map(|other| show(other, None))).take(SHOWN).collect()
    }
}

async fn hosts(
    parts: &KeeperParts,
    folder: &Path,
    made: mpsc::Sender<(HostName, Made)>,
) -> Result<(Arc<HostCertificates>, HostFolder), CertError> {
    let (folder, now) = (folder.join("hosts"), parts.clock.now());
    let open = move || HostFolder::open(folder).map(|folder| (folder.load(now), folder));
    let (loaded, folder) = blocking(open).await??;
    for (host, certificate) in &loaded {
        parts.metrics.set_certificate_expiry(host, certificate.not_after);
    }
    let hosts = HostCertificates::new(parts.directory.clone(), parts.clock.clone(), loaded, made);
    let hosts = Arc::new(hosts);
    parts.resolver.make_for_hosts(Arc::clone(&hosts));
    Ok((hosts, folder))
}

fn warn(error: CertError) {
    let error = in_full(&error);
    tracing::warn!(error, "the certificates of hosts were not looked after; those in use stay");
}

struct Task {
    parts: KeeperParts,
    origin: Origin,
    entry: CertEntry,
    backoff: Backoff,
    warned_at: Option<SystemTime>,
    files: Option<(FilePair, Watch)>,
    host_folder: Option<HostFolder>,
    shared: Arc<Shared>,
}

impl Task {
    async fn run(&mut self, mut changes: watch::Receiver<()>, mut mades: mpsc::Receiver<(HostName, Made)>) {
        let mut batch = Vec::new();
        // The directory may have changed while the first certificate was being obtained.
        self.hosts_changed().await;
        let mut look_at = Instant::now() + self.pause();
        loop {
            tokio::select! {
                Ok(()) = changes.changed() => {
                    // Hosts often come in crowds.
                    tokio::time::sleep(CROWD).await;
                    changes.mark_unchanged();
                    self.hosts_changed().await;
                    look_at = look_at.min(Instant::now() + self.pause());
                }
                1.. = mades.recv_many(&mut batch, MADE_AT_ONCE) => self.keep_made(std::mem::take(&mut batch)).await,
                () = tokio::time::sleep_until(look_at) => {
                    self.look().await;
                    look_at = Instant::now() + self.pause();
                }
            }
        }
    }

    /// A wall clock may jump: no pause is longer than an hour, whatever is due when.
    fn pause(&self) -> Duration {
        if self.files.is_some() || self.shared.acme.is_some() {
            return FILES_LOOK;
        }
        let due = self
            .entry
            .due_at()
            .map_or(LONGEST_PAUSE, |due| due.duration_since(self.parts.clock.now()).unwrap_or_default());
        due.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    async fn look(&mut self) {
        if self.files_changed().await {
            self.apply(CertEvent::Wanted).await;
        }
        self.apply(CertEvent::Tick).await;
        self.look_at_acme().await;
        self.warn_of_expiry();
        self.renew_hosts().await;
    }

    /// Takes up what the agent has left.
    async fn look_at_acme(&self) {
        let Some(acme) = &self.shared.acme else { return };
        if AgentPairs::look(acme, &self.parts.metrics).await {
            self.install();
        }
    }

    fn install(&self) {
        if let Some(current) = self.entry.current() {
            self.parts.resolver.install(current, &self.shared.of_authorities());
        }
    }

    async fn files_changed(&mut self) -> bool {
        let Some((pair, watch)) = &mut self.files else { return false };
        let pair = pair.clone();
        blocking(move || pair.mark()).await.is_ok_and(|mark| watch.look(mark))
    }

    async fn hosts_changed(&mut self) {
        let names = self.names();
        if !self.entry.current().is_some_and(|current| current.covers(&names)) {
            self.apply(CertEvent::Wanted).await;
        }
        if let (Some(hosts), Some(folder)) = (&self.shared.hosts, &self.host_folder) {
            let gone = hosts.forget_unregistered();
            for host in &gone {
                self.parts.metrics.forget_host(host);
            }
            let folder = folder.clone();
            blocking(move || gone.iter().for_each(|host| folder.remove(host))).await.unwrap_or_else(warn);
        }
    }

    /// The names that the default certificate has to have now.
    fn names(&self) -> Vec<HostName> {
        self.origin.names(self.parts.directory.hosts_that(|host| self.origin.is_for(host)))
    }

    async fn keep_made(&self, mades: Vec<(HostName, Made)>) {
        for (host, made) in &mades {
            tracing::info!(%host, "made a self-signed certificate");
            self.parts.metrics.set_certificate_expiry(host, made.certificate.not_after);
        }
        let Some(folder) = self.host_folder.clone() else { return };
        let stored = move || mades.iter().try_for_each(|(host, made)| folder.store(host, &made.pem));
        blocking(stored).await.flatten().unwrap_or_else(warn);
    }

    async fn renew_hosts(&self) {
        if let Some(hosts) = self.shared.hosts.clone() {
            let now = self.parts.clock.now();
            blocking(move || hosts.renew(now)).await.unwrap_or_else(warn);
        }
    }

    fn take_first(&mut self, certificate: Certificate) {
        let event = self.obtained(certificate);
        self.step(event);
        self.warn_of_expiry();
    }

    /// Moves the entry on and does what that asks for, to its end.
    async fn apply(&mut self, event: CertEvent) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            if self.step(event) {
                next = Some(self.obtain().await);
            }
        }
    }

    /// One step of the entry; true when a certificate is to be obtained.
    fn step(&mut self, event: CertEvent) -> bool {
        let (from, had) = (self.entry.name(), self.entry.current().cloned());
        let entry = std::mem::replace(&mut self.entry, CertEntry::Missing);
        let (entry, actions) = entry.on(event, self.parts.clock.now());
        self.entry = entry;
        self.log(from);
        if actions.contains(&CertAction::Publish) {
            self.publish(had.as_ref());
        }
        self.show();
        actions.contains(&CertAction::Obtain)
    }

    async fn obtain(&mut self) -> CertEvent {
        let names = self.names();
        match self.origin.obtain(names, self.parts.clock.now()).await {
            Ok(certificate) => self.obtained(certificate),
            Err(error) => CertEvent::Failed { problem: in_full(&error), retry_in: self.backoff.next_delay() },
        }
    }

    fn obtained(&mut self, certificate: Certificate) -> CertEvent {
        if let Some(place) = certificate.disorder {
            tracing::warn!(
                "certificate {place} of the chain did not sign the one before it: some clients refuse that; after each \
                 certificate comes the one that signed it"
            );
        }
        let renew_at = self.origin.renew_at(&certificate);
        CertEvent::Obtained { certificate, renew_at, retry_in: self.backoff.next_delay() }
    }

    fn publish(&mut self, before: Option<&Certificate>) {
        let Some(current) = self.entry.current() else { return };
        self.install();
        self.backoff.reset();
        self.warned_at = None;
        let gone = before.iter().flat_map(|before| before.names.iter());
        for name in gone.filter(|name| current.names.binary_search(name).is_err()) {
            self.parts.metrics.forget_host(name);
        }
        for name in current.names.iter() {
            self.parts.metrics.set_certificate_expiry(name, current.not_after);
        }
    }

    fn show(&self) {
        let current = self.entry.current().cloned();
        let said = self.shared.default.load().problem.clone();
        // While another attempt runs, the reason why one is needed still stands.
        let problem = match &self.entry {
            CertEntry::Obtaining | CertEntry::Renewing { .. } => said,
            other => other.problem().map(str::to_owned),
        };
        self.shared.default.store(Arc::new(Standing { current, problem }));
    }

    fn log(&self, from: &'static str) {
        let (to, source) = (self.entry.name(), self.origin.name());
        match &self.entry {
            _ if from == to => {}
            CertEntry::Failing { problem, .. } => {
                let news = self.shared.default.load().problem.as_deref() != Some(problem.as_str());
                if news {
                    tracing::warn!(source, from, to, problem, "no new certificate; the one in use stays");
                }
            }
            CertEntry::Valid { current, .. } => {
                let days = current.expires_in(self.parts.clock.now()) / DAY;
                tracing::info!(source, from, to, days, "a certificate is in use");
            }
            _ => tracing::debug!(source, from, to, "certificate"),
        }
    }

    /// Once a day, as long as it lasts.
    fn warn_of_expiry(&mut self) {
        let now = self.parts.clock.now();
        let Some(current) = self.entry.current().filter(|current| current.worry_at() <= now) else { return };
        let again = self.warned_at.is_none_or(|at| at > now || at + Duration::from_secs(86_400) <= now);
        if again {
            let seconds = current.expires_in(now);
            let source = self.origin.name();
            let to_do =
                if self.files.is_some() { ": put another into its files, which are looked at" } else { "" };
            if seconds > 0 {
                tracing::warn!(source, days = seconds / DAY, "the certificate expires soon{to_do}");
            } else {
                let days = -seconds / DAY;
                tracing::warn!(source, days, "the certificate has expired, and clients refuse it{to_do}");
            }
            self.warned_at = Some(now);
        }
    }
}

const CROWD: Duration = Duration::from_millis(200);
const FILES_LOOK: Duration = Duration::from_secs(2);
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(60);
const DAY: i64 = 86_400;
const SHOWN: usize = 100;
const MADE_WAITING: usize = 1024;
const MADE_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests;
