//! Owns the numbers an operator watches, and their text form for Prometheus.
//!
//! Never here: when to count what, or serving the text.

mod page;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::name::{AppName, HostName};

/// What [`Metrics::render`] writes, as a `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All numbers of the process. Clones are the same numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Access records that were lost because the writer was behind.
    pub access_records_dropped: Counter,
    /// Bytes of bodies written to spool files.
    pub spooled_bytes: Counter,
    connections: Gauge,
    connections_accepted: Counter,
    registry: Arc<Registry>,
    series: Arc<Series>,
}

impl Metrics {
    /// All zero, no apps.
    pub fn new() -> Self {
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
    pub fn connection_opened(&self) -> OpenConnection {
        self.connections_accepted.inc();
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// Counts a connection that was closed without being served.
    pub fn connection_refused(&self, reason: &'static str) {
        self.series.connections_refused.add(reason);
    }

    /// Counts that a client met a limit of what it may make the server hold.
    pub fn limit_reached(&self, limit: &'static str) {
        self.series.limits_reached.add(limit);
    }

    /// Has the text show how much clients hold of what the limit is for, asked each time, and how much they may in all.
    pub fn show_limit(
        &self,
        limit: &'static str,
        total: u64,
        held: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        write(&self.series.held).insert(limit, Held { total, held: Box::new(held) });
    }

    /// Counts the end of a TLS handshake: `ok`, or why not.
    pub fn tls_handshake(&self, result: &'static str) {
        self.series.tls_handshakes.add(result);
    }

    /// Notes when the certificate that a host is served with ends.
    pub fn set_certificate_expiry(&self, host: &HostName, not_after: SystemTime) {
        write(&self.series.certificates).insert(host.clone(), unix_seconds(not_after));
    }

    /// Removes a host's certificate from the text.
    pub fn forget_host(&self, host: &HostName) {
        write(&self.series.certificates).remove(host);
    }

    /// Counts an attempt to get a certificate of an authority that failed, by what failed.
    pub fn acme_failed(&self, kind: &'static str) {
        self.series.acme_failures.add(kind);
    }

    /// Notes how many orders are under way at authorities.
    pub fn set_acme_orders(&self, orders: usize) {
        self.series.acme_orders.store(i64::try_from(orders).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Notes when a host last got a certificate of an authority, if it did, and when one is asked again.
    pub fn set_acme(&self, host: &HostName, issued: Option<SystemTime>, next: SystemTime) {
        write(&self.series.acme_hosts).insert(host.clone(), (issued.map(unix_seconds), unix_seconds(next)));
    }

    /// Removes a host from the numbers of authorities.
    pub fn forget_acme(&self, host: &HostName) {
        write(&self.series.acme_hosts).remove(host);
    }

    /// The numbers of one app, found or begun at zero: look them up once and keep them.
    pub fn app(&self, name: &AppName) -> AppMetrics {
        if let Some(app) = read(&self.series.apps).get(name) {
            return app.clone();
        }
        write(&self.series.apps).entry(name.clone()).or_default().clone()
    }

    /// Removes an app's numbers from the text. Whoever still holds its [`AppMetrics`] counts unseen; an app of that
    /// name begins at zero.
    pub fn forget(&self, name: &AppName) {
        write(&self.series.apps).remove(name);
    }

    /// Everything as OpenMetrics text; each number is read on its own, so two may be a few events apart.
    pub fn render(&self) -> String {
        let mut page = String::new();
        match text::encode(&mut page, &self.registry) {
            Ok(()) => page,
            // Writing to a String cannot fail; a half page would read as numbers that went missing.
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

/// One open client connection in the gauge `rip_connections`; dropped means closed.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The numbers of one app. Clones are the same numbers; counting is a few relaxed atomic adds and takes no lock
/// except where a method says so.
#[derive(Clone, Debug, Default)]
pub struct AppMetrics(Arc<AppSeries>);

impl AppMetrics {
    /// Counts an answered request: `total` up to the last byte handed to the client, `worker` the part a worker was
    /// held, if one was. Status 499 means that the client left before the answer was complete.
    pub fn request_done(&self, status: u16, total: Duration, worker: Option<Duration>) {
        self.0.requests[StatusClass::of(status) as usize].fetch_add(1, Ordering::Relaxed);
        self.0.request_seconds.observe(total);
        if let Some(held) = worker {
            self.0.worker_seconds.observe(held);
        }
    }

    /// Records how long a request waited for a worker, however that ended.
    pub fn queue_waited(&self, waited: Duration) {
        self.0.queue_wait_seconds.observe(waited);
    }

    /// Counts a request that was answered without a worker having seen it. Takes a shared lock.
    pub fn refused(&self, reason: &'static str) {
        self.0.refused.add(reason);
    }

    /// How often a request was answered without a worker, by reason; second tries are not among them. Takes a shared lock.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        let mut refusals = BTreeMap::new();
        // Collecting cannot fail.
        let _ = self.0.refused.each(|reason, count| {
            if reason != RETRIED {
                refusals.insert(reason.to_owned(), count);
            }
            Ok(())
        });
        refusals
    }

    /// Counts a request that was handed to a second worker. Takes a shared lock.
    pub fn retried(&self) {
        self.0.refused.add(RETRIED);
    }

    /// Counts a worker process that was started.
    pub fn worker_started(&self) {
        self.0.worker_starts.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a worker process that an earlier server has started.
    pub fn worker_adopted(&self) {
        self.0.worker_adoptions.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a worker process that ended. Takes a shared lock.
    pub fn worker_exited(&self, cause: &'static str) {
        self.0.worker_exits.add(cause);
    }

    /// Counts a worker that was found to send what belongs to no answer. Takes a shared lock.
    pub fn worker_strayed(&self, kind: &'static str) {
        self.0.worker_strays.add(kind);
    }

    /// Counts a deploy that came to an end. Takes a shared lock.
    pub fn deploy(&self, outcome: &'static str) {
        self.0.deploys.add(outcome);
    }

    /// Workers that take requests now.
    pub fn set_workers_ready(&self, count: usize) {
        self.0.set(AppGauge::WorkersReady, count);
    }

    /// Workers that are not ready yet.
    pub fn set_workers_starting(&self, count: usize) {
        self.0.set(AppGauge::WorkersStarting, count);
    }

    /// Workers that finish what they have and take nothing new.
    pub fn set_workers_draining(&self, count: usize) {
        self.0.set(AppGauge::WorkersDraining, count);
    }

    /// Requests that wait for a worker now.
    pub fn set_queue_length(&self, count: usize) {
        self.0.set(AppGauge::QueueLength, count);
    }

    /// Requests that may wait for a worker.
    pub fn set_queue_length_max(&self, count: usize) {
        self.0.set(AppGauge::QueueLengthMax, count);
    }

    /// Requests that hold a worker now.
    pub fn set_requests_in_flight(&self, count: usize) {
        self.0.set(AppGauge::RequestsInFlight, count);
    }

    /// WebSockets and event streams open now.
    pub fn set_tunnels(&self, count: usize) {
        self.0.set(AppGauge::Tunnels, count);
    }

    /// WebSockets and event streams that workers may hold.
    pub fn set_tunnels_max(&self, count: usize) {
        self.0.set(AppGauge::TunnelsMax, count);
    }
}

/// What the registry cannot hold in its own types: its histogram takes a lock for each observation and its families
/// a map lookup, and they forget one label set at a time.
#[derive(Debug, Default)]
struct Series {
    apps: RwLock<BTreeMap<AppName, AppMetrics>>,
    certificates: RwLock<BTreeMap<HostName, i64>>,
    connections_refused: ByCause,
    limits_reached: ByCause,
    held: RwLock<BTreeMap<&'static str, Held>>,
    tls_handshakes: ByCause,
    acme_failures: ByCause,
    acme_orders: AtomicI64,
    /// When each host last got a certificate of an authority, and when one is asked again.
    acme_hosts: RwLock<BTreeMap<HostName, (Option<i64>, i64)>>,
}

/// What clients hold of something that has a total.
struct Held {
    total: u64,
    held: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", (self.held)(), self.total)
    }
}

#[derive(Debug, Default)]
struct AppSeries {
    requests: [AtomicU64; StatusClass::NAMES.len()],
    request_seconds: Histogram,
    worker_seconds: Histogram,
    queue_wait_seconds: Histogram,
    worker_starts: AtomicU64,
    worker_adoptions: AtomicU64,
    gauges: [AtomicI64; AppGauge::ALL.len()],
    refused: ByCause,
    worker_exits: ByCause,
    worker_strays: ByCause,
    deploys: ByCause,
}

impl AppSeries {
    fn set(&self, gauge: AppGauge, count: usize) {
        self.gauges[gauge as usize].store(i64::try_from(count).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

#[derive(Clone, Copy)]
enum StatusClass {
    Informational,
    Success,
    Redirect,
    ClientError,
    ClientLeft,
    ServerError,
}

impl StatusClass {
    /// In the order of the variants.
    const NAMES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "499", "5xx"];

    /// A status outside 100 to 599 is a server's fault whatever it meant.
    fn of(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirect,
            499 => Self::ClientLeft,
            400..=498 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

#[derive(Clone, Copy)]
enum AppGauge {
    WorkersReady,
    WorkersStarting,
    WorkersDraining,
    QueueLength,
    QueueLengthMax,
    RequestsInFlight,
    Tunnels,
    TunnelsMax,
}

impl AppGauge {
    /// In the order of the variants: name and help.
    const ALL: [(&str, &str); 8] = [
        ("workers_ready", "Workers that take requests now"),
        ("workers_starting", "Workers that are not ready yet"),
        ("workers_draining", "Workers that finish what they have and take nothing new"),
        ("queue_length", "Requests that wait for a worker now"),
        ("queue_length_max", "Requests that may wait for a worker"),
        ("requests_in_flight", "Requests that hold a worker now"),
        ("tunnels", "WebSockets and event streams open now"),
        ("tunnels_max", "WebSockets and event streams that workers may hold"),
    ];
}

/// Durations counted in fixed buckets without a lock.
#[derive(Debug, Default)]
struct Histogram {
    /// Not cumulative; the last one is everything above the last bound.
    buckets: [AtomicU64; BUCKET_NANOS.len() + 1],
    /// Nanoseconds; wraps after 584 years of observed time.
    sum: AtomicU64,
}

impl Histogram {
    fn observe(&self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BUCKET_NANOS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// Counters by a word from the source, made when the word is first used.
#[derive(Debug, Default)]
struct ByCause(RwLock<BTreeMap<&'static str, AtomicU64>>);

impl ByCause {
    fn add(&self, cause: &'static str) {
        if let Some(count) = read(&self.0).get(cause) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        write(&self.0).entry(cause).or_default().fetch_add(1, Ordering::Relaxed);
    }

    fn each(&self, mut visit: impl FnMut(&'static str, u64) -> fmt::Result) -> fmt::Result {
        read(&self.0).iter().try_for_each(|(cause, count)| visit(cause, count.load(Ordering::Relaxed)))
    }
}

/// Nothing panics while one of these locks is held, and a count that is one short is better than none.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// A second try, beside the reasons of refusals.
const RETRIED: &str = "retried";

/// Upper bounds, inclusive: from a cached answer to the default request limit.
const BUCKET_NANOS: [u64; 12] = [
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    30_000_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn blog() -> AppName {
        AppName::parse("blog").unwrap()
    }

    /// The lines of one family, without its help.
    fn samples(metrics: &Metrics, family: &str) -> Vec<String> {
        let page = metrics.render();
        let of_family = |line: &&str| line.starts_with(family) && !line.starts_with('#');
        page.lines().filter(of_family).map(String::from).collect()
    }

    #[test]
    fn an_empty_page_has_the_servers_own_numbers() {
        let page = Metrics::new().render();
        for line in [
            "# TYPE rip_connections gauge",
            "rip_connections 0",
            "rip_connections_accepted_total 0",
            "rip_access_records_dropped_total 0",
            "rip_spooled_bytes_total 0",
            "# TYPE rip_certificate_expiry_seconds gauge",
            "# EOF",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing:\n{page}");
        }
        assert!(!page.contains("app="), "{page}");
    }

    #[test]
    fn requests_are_counted_by_class_with_499_apart() {
        let metrics = Metrics::new();
        let app = metrics.app(&blog());

        for status in [101, 200, 204, 301, 400, 498, 499, 500, 599, 600, 0] {
            app.request_done(status, Duration::from_millis(1), None);
        }

        let expected = [
            r#"rip_http_requests_total{app="blog",status="1xx"} 1"#,
            r#"rip_http_requests_total{app="blog",status="2xx"} 2"#,
            r#"rip_http_requests_total{app="blog",status="3xx"} 1"#,
            r#"rip_http_requests_total{app="blog",status="4xx"} 2"#,
            r#"rip_http_requests_total{app="blog",status="499"} 1"#,
            r#"rip_http_requests_total{app="blog",status="5xx"} 4"#,
        ];
        assert_eq!(samples(&metrics, "rip_http_requests"), expected);
    }

    #[test]
    fn durations_fall_into_cumulative_buckets() {
        let metrics = Metrics::new();
        let app = metrics.app(&blog());

        for millis in [0, 1, 2, 400, 60_000] {
            app.queue_waited(Duration::from_millis(millis));
        }

        let expected = [
            r#"rip_queue_wait_seconds_sum{app="blog"} 60.403"#,
            r#"rip_queue_wait_seconds_count{app="blog"} 5"#,
            r#"rip_queue_wait_seconds_bucket{le="0.001",app="blog"} 2"#,
            r#"rip_queue_wait_seconds_bucket{le="0.0025",app="blog"} 3"#,
            r#"rip_queue_wait_seconds_bucket{le="0.005",app="blog"} 3"#,
            r#"rip_queue_wait_seconds_bucket{le="0.01",app="blog"} 3"#,
            r#"rip_queue_wait_seconds_bucket{le="0.025",app="blog"} 3"#,
            r#"rip_queue_wait_seconds_bucket{le="0.05",app="blog"} 3"#,
            r#"rip_queue_wait_seconds_bucket{le="0.1",app="blog"} 3"#,
            r#"rip_queue_wait_seconds_bucket{le="0.25",app="blog"} 3"#,
            r#"rip_queue_wait_seconds_bucket{le="0.5",app="blog"} 4"#,
            r#"rip_queue_wait_seconds_bucket{le="1.0",app="blog"} 4"#,
            r#"rip_queue_wait_seconds_bucket{le="5.0",app="blog"} 4"#,
            r#"rip_queue_wait_seconds_bucket{le="30.0",app="blog"} 4"#,
            r#"rip_queue_wait_seconds_bucket{le="+Inf",app="blog"} 5"#,
        ];
        assert_eq!(samples(&metrics, "rip_queue_wait_seconds"), expected);
    }

    #[test]
    fn the_time_of_a_worker_counts_only_where_there_was_one() {
        let metrics = Metrics::new();
        let app = metrics.app(&blog());

        app.request_done(200, Duration::from_millis(20), Some(Duration::from_millis(5)));
        app.request_done(503, Duration::from_millis(20), None);

        let count = |family| samples(&metrics, family)[0].clone();
        assert_eq!(
            count("rip_http_request_seconds_count"),
            r#"rip_http_request_seconds_count{app="blog"} 2"#
        );
        assert_eq!(count("rip_worker_seconds_count"), r#"rip_worker_seconds_count{app="blog"} 1"#);
    }

    #[test]
    fn causes_are_labels() {
        let metrics = Metrics::new();
        let app = metrics.app(&blog());

        app.refused("queue_full");
        app.refused("queue_full");
        app.worker_started();
        app.worker_exited("oom-kill");
        app.deploy("rejected");
        metrics.connection_refused("limit");
        metrics.tls_handshake("ok");

        let page = metrics.render();
        for line in [
            r#"rip_refused_total{app="blog",reason="queue_full"} 2"#,
            r#"rip_worker_starts_total{app="blog"} 1"#,
            r#"rip_worker_exits_total{app="blog",cause="oom-kill"} 1"#,
            r#"rip_deploys_total{app="blog",outcome="rejected"} 1"#,
            r#"rip_connections_refused_total{reason="limit"} 1"#,
            r#"rip_tls_handshakes_total{result="ok"} 1"#,
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing:\n{page}");
        }
    }

    #[test]
    fn gauges_show_the_last_value() {
        let metrics = Metrics::new();
        let app = metrics.app(&blog());

        app.set_workers_ready(9);
        app.set_workers_ready(1);
        app.set_workers_starting(2);
        app.set_workers_draining(3);
        app.set_queue_length(4);
        app.set_requests_in_flight(5);
        app.set_tunnels(6);
        app.set_queue_length_max(7);
        app.set_tunnels_max(8);

        let page = metrics.render();
        for (name, value) in [
            ("workers_ready", 1),
            ("workers_starting", 2),
            ("workers_draining", 3),
            ("queue_length", 4),
            ("requests_in_flight", 5),
            ("tunnels", 6),
            ("queue_length_max", 7),
            ("tunnels_max", 8),
        ] {
            let line = format!("rip_{name}{{app=\"blog\"}} {value}");
            assert!(page.lines().any(|found| found == line), "{line} is missing:\n{page}");
        }
    }

    #[test]
    fn what_is_held_of_a_limit_is_asked_each_time() {
        let metrics = Metrics::new();
        let held = Arc::new(AtomicU64::new(3));
        let counted = Arc::clone(&held);
        metrics.show_limit("spool", 10, move || counted.load(Ordering::Relaxed));
        assert_eq!(samples(&metrics, "rip_limit_held"), [r#"rip_limit_held{limit="spool"} 3"#]);
        assert_eq!(samples(&metrics, "rip_limit_max"), [r#"rip_limit_max{limit="spool"} 10"#]);
        held.store(0, Ordering::Relaxed);
        assert_eq!(samples(&metrics, "rip_limit_held"), [r#"rip_limit_held{limit="spool"} 0"#]);
    }

    #[test]
    fn a_connection_is_open_as_long_as_its_guard_lives() {
        let metrics = Metrics::new();
        let (one, two) = (metrics.connection_opened(), metrics.clone().connection_opened());
        drop(one);
        assert_eq!(samples(&metrics, "rip_connections "), ["rip_connections 1"]);
        drop(two);
        assert_eq!(samples(&metrics, "rip_connections "), ["rip_connections 0"]);
        assert_eq!(samples(&metrics, "rip_connections_accepted"), ["rip_connections_accepted_total 2"]);
    }

    #[test]
    fn a_certificate_is_shown_with_the_unix_time_of_its_end() {
        let metrics = Metrics::new();
        let host = HostName::parse("*.example.com").unwrap();

        metrics.set_certificate_expiry(&host, UNIX_EPOCH + Duration::from_secs(1_900_000_000));
        let expected = [r#"rip_certificate_expiry_seconds{host="*.example.com"} 1900000000"#];
        assert_eq!(samples(&metrics, "rip_certificate"), expected);

        metrics.forget_host(&host);
        assert!(samples(&metrics, "rip_certificate").is_empty());
    }

    #[test]
    fn the_same_app_is_the_same_numbers() {
        let metrics = Metrics::new();
        metrics.app(&blog()).worker_started();
        metrics.clone().app(&blog()).worker_started();
        assert_eq!(samples(&metrics, "rip_worker_starts"), [r#"rip_worker_starts_total{app="blog"} 2"#]);
    }

    #[test]
    fn a_forgotten_app_is_gone_even_if_somebody_still_counts() {
        let metrics = Metrics::new();
        let app = metrics.app(&blog());
        app.refused("held");

        metrics.forget(&blog());
        app.refused("held");
        app.worker_exited("signal");

        assert!(!metrics.render().contains("blog"));
        metrics.app(&blog());
        assert_eq!(samples(&metrics, "rip_worker_starts"), [r#"rip_worker_starts_total{app="blog"} 0"#]);
    }

    #[test]
    fn no_observation_is_lost_between_threads() {
        let metrics = Metrics::new();
        let app = metrics.app(&blog());

        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        app.request_done(200, Duration::from_millis(2), None);
                        app.refused("busy");
                    }
                });
            }
        });

        let sum = samples(&metrics, "rip_http_request_seconds_sum");
        assert_eq!(sum, [r#"rip_http_request_seconds_sum{app="blog"} 8.0"#]);
        assert_eq!(samples(&metrics, "rip_refused"), [r#"rip_refused_total{app="blog",reason="busy"} 4000"#]);
    }
}
