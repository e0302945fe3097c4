//! The numbers, as their text shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::{AppGauge, Metrics};
use crate::name::{AppName, HostName};

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
    assert_eq!(count("rip_http_request_seconds_count"), r#"rip_http_request_seconds_count{app="blog"} 2"#);
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

    app.set(AppGauge::WorkersReady, 9);
    app.set(AppGauge::WorkersReady, 1);
    app.set(AppGauge::WorkersStarting, 2);
    app.set(AppGauge::WorkersDraining, 3);
    app.set(AppGauge::QueueLength, 4);
    app.set(AppGauge::RequestsInFlight, 5);
    app.set(AppGauge::Tunnels, 6);
    app.set(AppGauge::QueueLengthMax, 7);
    app.set(AppGauge::TunnelsMax, 8);

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
