//! Owns the numbers that an operator watches, and their text form for Prometheus.
//!
//! Never here: when to count what, or serving the text.

mod app_metrics;
mod by_cause;
mod histogram;
mod page;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub(crate) use self::app_metrics::{AppGauge, AppMetrics, GenerationSeries};
use self::by_cause::{ByCause, read, write};
use crate::name::{AppName, HostName};

/// The `Content-Type` of what [`Metrics::render`] writes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All numbers of the process. Clones are the same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Access records that were lost because the writer was behind.
    pub(crate) access_records_dropped: Counter,
    /// Bytes of bodies written to spool files.
    pub(crate) spooled_bytes: Counter,
    connections: Gauge,
    connections_accepted: Counter,
    registry: Arc<Registry>,
    series: Arc<Series>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let (connections, connections_accepted) = (Gauge::default(), Counter::default());
        let (access_records_dropped, spooled_bytes) = (Counter::default(), Counter::default());
        let series = Arc::new(Series::default());

        let mut registry = Registry::with_prefix("rip");
        registry.register("connections", "Client connections open now", connections.clone());
        let help = "Client connections accepted and not refused";
        registry.register("connections_accepted", help, connections_accepted.clone());
        let help = "Access records lost because the writer was behind";
        registry.register("access_records_dropped", help, access_records_dropped.clone());
        registry.register("spooled_bytes", "Bytes of bodies written to spool files", spooled_bytes.clone());
        registry.register_collector(Box::new(Arc::clone(&series)));

        let registry = Arc::new(registry);
        Self { access_records_dropped, spooled_bytes, connections, connections_accepted, registry, series }
    }

    /// Counts an accepted connection; it is open until the guard is dropped.
    #[must_use]
    pub(crate) fn connection_opened(&self) -> OpenConnection {
        self.connections_accepted.inc();
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// Counts a connection that was closed without being served.
    pub(crate) fn connection_refused(&self, reason: &'static str) {
        self.series.connections_refused.add(reason);
    }

    /// Counts that a client met a limit.
    pub(crate) fn limit_reached(&self, limit: &'static str) {
        self.series.limits_reached.add(limit);
    }

    /// Shows in the text how much of a limit clients hold, asked at each rendering, and the limit's total.
    pub(crate) fn show_limit(
        &self,
        limit: &'static str,
        total: u64,
        held: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        write(&self.series.held).insert(limit, LimitGauge { total, held: Box::new(held) });
    }

    /// Counts the end of a TLS handshake by its result: `ok`, or why it failed.
    pub(crate) fn tls_handshake(&self, result: &'static str) {
        self.series.tls_handshakes.add(result);
    }

    /// Notes when a host's certificate ends.
    pub(crate) fn set_certificate_expiry(&self, host: &HostName, not_after: SystemTime) {
        write(&self.series.certificates).insert(host.clone(), unix_seconds(not_after));
    }

    /// Removes a host's certificate from the text.
    pub(crate) fn forget_host(&self, host: &HostName) {
        write(&self.series.certificates).remove(host);
    }

    /// Counts an attempt at an authority that failed, by the kind of failure.
    pub(crate) fn acme_failed(&self, kind: &'static str) {
        self.series.acme_failures.add(kind);
    }

    /// Notes how many orders are under way at authorities.
    pub(crate) fn set_acme_orders(&self, orders: usize) {
        self.series.acme_orders.store(i64::try_from(orders).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Notes when a host last got a certificate from an authority, if it did, and when one is asked again.
    pub(crate) fn set_acme(&self, host: &HostName, issued: Option<SystemTime>, next: SystemTime) {
        write(&self.series.acme_hosts).insert(host.clone(), (issued.map(unix_seconds), unix_seconds(next)));
    }

    /// Removes a host from the numbers of authorities.
    pub(crate) fn forget_acme(&self, host: &HostName) {
        write(&self.series.acme_hosts).remove(host);
    }

    /// The numbers of one app, found or begun at zero: to be looked up once and kept.
    pub(crate) fn app(&self, name: &AppName) -> AppMetrics {
        if let Some(app) = read(&self.series.apps).get(name) {
            return app.clone();
        }
        write(&self.series.apps).entry(name.clone()).or_default().clone()
    }

    /// Removes an app's numbers from the text. An [`AppMetrics`] that is still held counts unseen; a new app of that
    /// name begins at zero.
    pub(crate) fn forget(&self, name: &AppName) {
        write(&self.series.apps).remove(name);
    }

    /// All numbers as OpenMetrics text. Each number is read on its own, so that two may be a few events apart.
    pub(crate) fn render(&self) -> String {
        let mut page = String::new();
        match text::encode(&mut page, &self.registry) {
            Ok(()) => page,
            // Writing to a String cannot fail; half a page would look like numbers that are missing.
            Err(fmt::Error) => String::new(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Seconds since 1970; negative before.
fn unix_seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    }
}

/// An open client connection in the gauge `rip_connections`; dropped means closed.
#[derive(Debug)]
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The numbers that the library's own types do not fit: its histogram takes a lock for each observation, its families
/// need a map lookup, and they forget one label set at a time.
#[derive(Debug, Default)]
struct Series {
    apps: RwLock<BTreeMap<AppName, AppMetrics>>,
    certificates: RwLock<BTreeMap<HostName, i64>>,
    connections_refused: ByCause,
    limits_reached: ByCause,
    held: RwLock<BTreeMap<&'static str, LimitGauge>>,
    tls_handshakes: ByCause,
    acme_failures: ByCause,
    acme_orders: AtomicI64,
    /// For each host, when it last got a certificate from an authority, and when one is asked again.
    acme_hosts: RwLock<BTreeMap<HostName, (Option<i64>, i64)>>,
}

/// How much clients hold of something that has a total, and the total.
struct LimitGauge {
    total: u64,
    held: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for LimitGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", (self.held)(), self.total)
    }
}
