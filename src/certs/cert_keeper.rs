//! Owns the certificates' lives: one task asks the issuers, and installs what they have for handshakes.
//!
//! Never here: how a certificate is obtained, or which one answers for a name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::api::CertificateStatus;
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::name::HostName;
use crate::spec::CertSources;
use crate::tasks::TaskGroup;
use crate::time::WallClock;

use super::cert_table::CertLayer;
use super::certificate::Certificate;
use super::expiry::ExpiryWarnings;
use super::host_cert_store::HostFolder;
use super::host_certs::HostCertificates;
use super::issuer::{CertIssuer, CertIssuers, CertNeed, Issued, IssuedBy, Mkcert, blocking, layer_of};
use super::resolver::InstalledCerts;
use super::self_made::Made;
use super::{CertError, CertResolver, in_full};

mod served;

pub(crate) use served::ServedCert;

/// The parts that the keeper works with.
pub(crate) struct CertKeeperParts {
    /// Where certificates come from.
    pub(crate) sources: CertSources,
    /// The instance's state directory; made certificates are kept in `certs/` below it.
    pub(crate) state_dir: PathBuf,
    /// The hosts that need certificates.
    pub(crate) directory: Directory,
    /// The resolver that handshakes ask.
    pub(crate) resolver: Arc<CertResolver>,
    pub(crate) clock: WallClock,
    /// The metrics that show when certificates end.
    pub(crate) metrics: Metrics,
    /// The group of the keeper's task.
    pub(crate) stop: TaskGroup,
}

/// The running keeper. Dropping it does not end its task; [`TaskGroup`] does.
#[derive(Clone)]
pub(crate) struct CertKeeper {
    shown: Arc<ShownCerts>,
}

struct ShownCerts {
    clock: WallClock,
    /// The certificates of each issuer, in the issuers' order; the lock is held to copy or to replace the list.
    issued: Mutex<Vec<IssuedBy>>,
    hosts: Option<Arc<HostCertificates>>,
    changed: watch::Sender<()>,
}

impl CertKeeper {
    /// Opens every issuer, installs their certificates, and keeps them up to date from then on.
    ///
    /// # Errors
    /// When explicit files or the folder cannot be used, or no certificate can be made or kept. mkcert that is missing
    /// or fails is no error: a self-signed certificate takes its place, and the log says so.
    pub(crate) async fn start(parts: CertKeeperParts) -> Result<Self, CertError> {
        Self::start_with(parts, Mkcert::find()).await
    }

    async fn start_with(parts: CertKeeperParts, mkcert: Option<Mkcert>) -> Result<Self, CertError> {
        let folder = parts.state_dir.join("certs");
        let stop = parts.stop.clone();
        let mut changes = parts.directory.changes();
        changes.mark_unchanged();
        let now = parts.clock.now();
        let issuers = CertIssuers::open(&parts.sources, mkcert, &folder, &parts.directory, now).await?;
        let (made, mades) = mpsc::channel(MADE_WAITING);
        let mut host_folder = None;
        let mut hosts = None;
        if issuers.made_for_hosts {
            let opened = HostFolder::new(folder.join("hosts"));
            let reading = opened.clone();
            let loaded = blocking(move || reading.load(now)).await?;
            for (host, certificate) in &loaded {
                parts.metrics.set_certificate_expiry(host, certificate.not_after);
            }
            let own = HostCertificates::new(parts.directory.clone(), parts.clock.clone(), loaded, made);
            let own = Arc::new(own);
            parts.resolver.make_for_hosts(Arc::clone(&own));
            (hosts, host_folder) = (Some(own), Some(opened));
        }
        let shown = ShownCerts {
            clock: parts.clock.clone(),
            issued: Mutex::default(),
            hosts,
            changed: watch::Sender::new(()),
        };
        let shown = Arc::new(shown);
        let layers = issuers.in_order.iter().map(|issuer| layer_of(issuer.as_ref())).collect();
        let mut task = KeeperTask {
            issuers: issuers.in_order,
            layers,
            warnings: ExpiryWarnings::default(),
            ends: BTreeMap::new(),
            host_folder,
            shown: Arc::clone(&shown),
            has_changed: false,
            parts,
        };
        task.publish();
        task.show();
        let watching = stop.clone();
        stop.spawn("certificates", async move {
            // The select may be cut anywhere: mkcert is killed with its future, and files are replaced whole or not at
            // all.
            tokio::select! {
                biased;
                () = watching.requested() => {}
                () = task.run(changes, mades) => {}
            }
        });
        Ok(Self { shown })
    }

    /// The certificates in use: the default first, then all others, the next to expire first; at most 100.
    pub(crate) fn status(&self) -> Vec<CertificateStatus> {
        let now = self.shown.clock.now();
        let show = |source: &str, certificate: Option<&Certificate>, problem| CertificateStatus {
            names: certificate.iter().flat_map(|own| own.names.iter()).map(HostName::to_string).collect(),
            source: source.into(),
            expires_in: certificate.map_or(0, |certificate| certificate.expires_in(now)),
            problem,
        };
        let issued = self.shown.issued.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all: Vec<(&str, Issued)> = issued
            .iter()
            .flat_map(|(source, issued)| issued.iter().map(|issued| (*source, issued.clone())))
            .collect();
        let hosts = self.shown.hosts.as_ref().map_or_else(Vec::new, |hosts| hosts.all());
        all.extend(
            hosts
                .into_iter()
                .map(|own| ("self-signed", Issued { certificate: Some(own), ..Issued::default() })),
        );
        let mut places: Vec<usize> = (0..all.len()).collect();
        // Certificates with a problem come first, because nobody reads to the end of a hundred.
        places.get_mut(1..).unwrap_or_default().sort_by_key(|at| {
            let issued = &all[*at].1;
            let certificate = issued.certificate.as_ref();
            (issued.problem.is_none(), certificate.map(|own| (own.not_after, Arc::clone(&own.names))))
        });
        let rows = places.into_iter().take(SHOWN).map(|at| {
            let (source, issued) = &all[at];
            show(source, issued.certificate.as_ref(), issued.problem.clone())
        });
        rows.collect()
    }
}

fn warn(error: CertError) {
    let error = in_full(&error);
    tracing::warn!(error, "the certificates of hosts were not looked after; those in use stay");
}

struct KeeperTask {
    parts: CertKeeperParts,
    issuers: Vec<Box<dyn CertIssuer>>,
    /// The certificates of each issuer, as handshakes look them up.
    layers: Vec<Arc<CertLayer>>,
    warnings: ExpiryWarnings,
    /// When each host's certificate ends, as the metrics show it.
    ends: BTreeMap<HostName, SystemTime>,
    host_folder: Option<HostFolder>,
    shown: Arc<ShownCerts>,
    /// Whether certificates have changed since the watchers were last told.
    has_changed: bool,
}

impl KeeperTask {
    async fn run(&mut self, mut changes: watch::Receiver<()>, mut mades: mpsc::Receiver<(HostName, Made)>) {
        let mut batch = Vec::new();
        // The directory may have changed while the first certificates were being obtained.
        self.refresh(true).await;
        self.forget_hosts().await;
        let mut look_at = Instant::now() + self.pause();
        loop {
            tokio::select! {
                Ok(()) = changes.changed() => {
                    // Hosts often come in crowds: the keeper waits for the rest of them.
                    tokio::time::sleep(CROWD).await;
                    changes.mark_unchanged();
                    self.refresh(true).await;
                    self.forget_hosts().await;
                    look_at = look_at.min(Instant::now() + self.pause());
                }
                1.. = mades.recv_many(&mut batch, MADE_AT_ONCE) => self.keep_made(std::mem::take(&mut batch)).await,
                () = tokio::time::sleep_until(look_at) => {
                    self.refresh(false).await;
                    self.renew_hosts().await;
                    look_at = Instant::now() + self.pause();
                }
            }
        }
    }

    /// The time until an issuer has to be asked again. A wall clock may jump, so that this is never more than an hour.
    fn pause(&self) -> Duration {
        let now = self.parts.clock.now();
        self.issuers
            .iter()
            .map(|issuer| issuer.pause(now))
            .min()
            .unwrap_or(SHORTEST_PAUSE)
            .max(SHORTEST_PAUSE)
    }

    /// Asks each issuer in its turn, and installs what is new.
    async fn refresh(&mut self, hosts_changed: bool) {
        let mut has_changed = false;
        for place in 0..self.issuers.len() {
            let (earlier, _) = self.layers.split_at(place);
            let need = CertNeed {
                now: self.parts.clock.now(),
                // When an issuer has lost a host's certificate, the next issuer has to look after that host.
                hosts_changed: hosts_changed || has_changed,
                directory: &self.parts.directory,
                earlier,
            };
            if self.issuers[place].refresh(&need).await {
                self.layers[place] = layer_of(self.issuers[place].as_ref());
                has_changed = true;
            }
        }
        if has_changed {
            self.publish();
        }
        self.show();
    }

    fn publish(&mut self) {
        self.has_changed = true;
        let default = self.parts.sources.default.clone();
        self.parts.resolver.install(InstalledCerts { layers: self.layers.clone(), default });
        let now = self.parts.clock.now();
        let mut ends = BTreeMap::new();
        for layer in &self.layers {
            for (name, end) in layer.ends(now) {
                ends.entry(name.clone()).or_insert(end);
            }
        }
        for (name, end) in &ends {
            self.parts.metrics.set_certificate_expiry(name, *end);
        }
        let made: BTreeSet<HostName> = self.shown.hosts.iter().flat_map(|hosts| hosts.names()).collect();
        for name in self.ends.keys().filter(|name| !ends.contains_key(*name) && !made.contains(*name)) {
            self.parts.metrics.forget_host(name);
        }
        self.ends = ends;
    }

    /// Shows what the issuers have in status and metrics, and warns of certificates that end soon.
    fn show(&mut self) {
        let issued: Vec<_> = self.issuers.iter().map(|issuer| (issuer.name(), issuer.issued())).collect();
        self.warnings.tell(&issued, self.parts.clock.now());
        *self.shown.issued.lock().unwrap_or_else(PoisonError::into_inner) = issued;
        if std::mem::take(&mut self.has_changed) {
            self.shown.changed.send_replace(());
        }
    }

    async fn forget_hosts(&self) {
        let (Some(hosts), Some(folder)) = (&self.shown.hosts, self.host_folder.clone()) else { return };
        let gone = hosts.forget_unregistered();
        for host in &gone {
            self.parts.metrics.forget_host(host);
        }
        blocking(move || gone.iter().for_each(|host| folder.remove(host))).await.unwrap_or_else(warn);
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
        if let Some(hosts) = self.shown.hosts.clone() {
            let now = self.parts.clock.now();
            blocking(move || hosts.renew(now)).await.unwrap_or_else(warn);
        }
    }
}

const CROWD: Duration = Duration::from_millis(200);
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const SHOWN: usize = 100;
const MADE_WAITING: usize = 1024;
const MADE_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests;
