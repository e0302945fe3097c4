//! Owns names, help and labels of the numbers of [`Series`], as the registry writes them.
//!
//! Never here: counting.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Series;
use super::app_metrics::{AppGauge, AppMetrics, AppSeries, GenerationSeries, StatusClass};
use super::by_cause::{ByCause, read};
use super::histogram::Histogram;
use crate::logging;
use crate::name::AppName;
use crate::tasks;

impl Collector for Series {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = MetricsPage(encoder);
        self.encode_server(&mut page)?;
        let apps = read(&self.apps).clone();
        if apps.is_empty() {
            return Ok(());
        }
        encode_requests(&mut page, &apps)?;
        encode_workers(&mut page, &apps)
    }
}

impl Series {
    fn encode_server(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let help = "Tasks of the server that panicked";
        page.counter("task_panics", help, |family| family.unlabelled(tasks::panics()))?;
        let help = "Log records that were dropped: whatever takes them was too slow, or gone";
        page.counter("log_records_dropped", help, |family| family.unlabelled(logging::records_dropped()))?;
        page.counter("connections_refused", "Connections closed without being served", |family| {
            self.connections_refused.each(|reason, count| family.count(&[("reason", reason)], count))
        })?;
        page.counter(
            "limits_reached",
            "Times a client met a limit of what it may make the server hold",
            |family| self.limits_reached.each(|limit, count| family.count(&[("limit", limit)], count)),
        )?;
        let limits = read(&self.held);
        let level = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let help = "What clients hold now of what the limit is for: bytes, or how many";
        page.gauge("limit_held", help, |family| {
            limits
                .iter()
                .try_for_each(|(limit, held)| family.level(&[("limit", limit)], level((held.held)())))
        })?;
        page.gauge("limit_max", "What clients may hold in all of what the limit is for", |family| {
            limits.iter().try_for_each(|(limit, held)| family.level(&[("limit", limit)], level(held.total)))
        })?;
        page.counter("tls_handshakes", "TLS handshakes that ended", |family| {
            self.tls_handshakes.each(|result, count| family.count(&[("result", result)], count))
        })?;
        let help = "Unix time at which the certificate of a host ends";
        page.gauge("certificate_expiry_seconds", help, |family| {
            let certificates = read(&self.certificates);
            certificates.iter().try_for_each(|(host, end)| family.level(&[("host", host.as_str())], *end))
        })?;
        self.encode_acme(page)
    }

    fn encode_acme(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        page.counter(
            "acme_failures",
            "Attempts to get a certificate of an authority that failed",
            |family| self.acme_failures.each(|kind, count| family.count(&[("kind", kind)], count)),
        )?;
        page.gauge("acme_orders", "Orders for certificates that are under way", |family| {
            family.0.encode_gauge(&self.acme_orders.load(Ordering::Relaxed))
        })?;
        let hosts = read(&self.acme_hosts).clone();
        let help = "Unix time at which a host last got a certificate of an authority";
        page.gauge("acme_last_success_seconds", help, |family| {
            let issued = hosts.iter().filter_map(|(host, (issued, _))| Some((host, (*issued)?)));
            issued.into_iter().try_for_each(|(host, at)| family.level(&[("host", host.as_str())], at))
        })?;
        let help = "Unix time at which an authority is asked for a host's certificate next";
        page.gauge("acme_next_try_seconds", help, |family| {
            hosts.iter().try_for_each(|(host, (_, next))| family.level(&[("host", host.as_str())], *next))
        })
    }
}

type AppTable = BTreeMap<AppName, AppMetrics>;

fn encode_requests(page: &mut MetricsPage<'_>, apps: &AppTable) -> fmt::Result {
    page.counter("http_requests", "Requests answered; 499: the client left first", |family| {
        each(apps, |app, series| {
            StatusClass::NAMES.iter().zip(&series.requests).try_for_each(|(class, count)| {
                family.count(&[("app", app), ("status", class)], count.load(Ordering::Relaxed))
            })
        })
    })?;
    let help = "Time from a request's first byte to the last byte handed to the client";
    page.histogram("http_request_seconds", help, |family| {
        each(apps, |app, series| family.spread(&[("app", app)], &series.request_seconds))
    })?;
    page.histogram("worker_seconds", "Time a request held its worker", |family| {
        each(apps, |app, series| family.spread(&[("app", app)], &series.worker_seconds))
    })?;
    page.histogram("queue_wait_seconds", "Time a request waited for a worker", |family| {
        each(apps, |app, series| family.spread(&[("app", app)], &series.queue_wait_seconds))
    })?;
    page.counter(
        "refused",
        "Requests the server answered in the app's place, and those handed to a second worker",
        |family| {
            each(apps, |app, series| {
                series.refused.each(|reason, count| family.count(&[("app", app), ("reason", reason)], count))
            })
        },
    )?;
    encode_compression(page, apps)
}

fn encode_compression(page: &mut MetricsPage<'_>, apps: &AppTable) -> fmt::Result {
    let each_coding = |family: &mut Family<'_>, of: fn(&AppSeries) -> &ByCause| {
        each(apps, |app, series| {
            of(series).each(|coding, count| family.count(&[("app", app), ("coding", coding)], count))
        })
    };
    page.counter("compressed_answers", "Answers compressed on their way to the client", |family| {
        each_coding(family, |series| &series.compressed_answers)
    })?;
    page.counter("compression_input_bytes", "Bytes of bodies before they were compressed", |family| {
        each_coding(family, |series| &series.compressed_before)
    })?;
    page.counter("compression_output_bytes", "Bytes of bodies after they were compressed", |family| {
        each_coding(family, |series| &series.compressed_after)
    })
}

fn each_generation(
    apps: &AppTable,
    family: &mut Family<'_>,
    level: fn(&GenerationSeries) -> u64,
) -> fmt::Result {
    each(apps, |app, series| {
        let generations = series.generations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        generations.iter().try_for_each(|shown| {
            let labels = [("app", app), ("generation", &shown.generation.to_string()), ("role", shown.role)];
            family.level(&labels, i64::try_from(level(shown)).unwrap_or(i64::MAX))
        })
    })
}

fn encode_workers(page: &mut MetricsPage<'_>, apps: &AppTable) -> fmt::Result {
    page.counter("worker_adoptions", "Worker processes taken over from an earlier server", |family| {
        each(apps, |app, series| {
            family.count(&[("app", app)], series.worker_adoptions.load(Ordering::Relaxed))
        })
    })?;
    page.counter("worker_starts", "Worker processes started", |family| {
        each(apps, |app, series| family.count(&[("app", app)], series.worker_starts.load(Ordering::Relaxed)))
    })?;
    page.counter("worker_exits", "Worker processes that ended", |family| {
        each(apps, |app, series| {
            series.worker_exits.each(|cause, count| family.count(&[("app", app), ("cause", cause)], count))
        })
    })?;
    let help =
        "Workers found to send bytes that belong to no answer, or a body behind an answer that has none";
    page.counter("worker_strays", help, |family| {
        each(apps, |app, series| {
            series.worker_strays.each(|kind, count| family.count(&[("app", app), ("kind", kind)], count))
        })
    })?;
    page.counter("worker_scalings", "Changes of the number of workers that the load asked for", |family| {
        each(apps, |app, series| {
            series.scalings.each(|cause, count| family.count(&[("app", app), ("cause", cause)], count))
        })
    })?;
    let help = "Clients that keep a worker from then on: new ones, and those whose worker is gone";
    page.counter("sticky_clients", help, |family| {
        each(apps, |app, series| {
            series.sticky_clients.each(|cause, count| family.count(&[("app", app), ("cause", cause)], count))
        })
    })?;
    page.counter("deploys", "Deploys that came to an end", |family| {
        each(apps, |app, series| {
            series.deploys.each(|outcome, count| family.count(&[("app", app), ("outcome", outcome)], count))
        })
    })?;
    page.counter("rollbacks", "Rollbacks that came to an end", |family| {
        each(apps, |app, series| {
            series.rollbacks.each(|outcome, count| family.count(&[("app", app), ("outcome", outcome)], count))
        })
    })?;
    let help = "Ready workers of each generation, while a share of the clients has one of its own";
    page.gauge("generation_workers", help, |family| each_generation(apps, family, |shown| shown.workers))?;
    let help = "Requests that the workers of each generation have answered, while a share of the clients has one of its own";
    page.gauge("generation_served", help, |family| each_generation(apps, family, |shown| shown.served))?;
    for (index, (name, help)) in AppGauge::ALL.iter().enumerate() {
        page.gauge(name, help, |family| {
            each(apps, |app, series| {
                family.level(&[("app", app)], series.gauges[index].load(Ordering::Relaxed))
            })
        })?;
    }
    Ok(())
}

fn each(apps: &AppTable, mut visit: impl FnMut(&str, &AppSeries) -> fmt::Result) -> fmt::Result {
    apps.iter().try_for_each(|(name, app)| visit(name.as_str(), &app.0))
}

/// The text while it is being written, one family after the other.
struct MetricsPage<'a>(DescriptorEncoder<'a>);

impl MetricsPage<'_> {
    fn counter(
        &mut self,
        name: &str,
        help: &str,
        fill: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        fill(&mut Family(self.0.encode_descriptor(name, help, None, MetricType::Counter)?))
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        fill: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        fill(&mut Family(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?))
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        fill: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        fill(&mut Family(self.0.encode_descriptor(name, help, None, MetricType::Histogram)?))
    }
}

/// A family of metrics in the text.
struct Family<'a>(MetricEncoder<'a>);

type Labels<'a> = [(&'a str, &'a str)];

impl Family<'_> {
    fn unlabelled(&mut self, count: u64) -> fmt::Result {
        self.0.encode_counter::<NoLabelSet, _, f64>(&count, None)
    }

    fn count(&mut self, labels: &Labels<'_>, count: u64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&count, None)
    }

    fn level(&mut self, labels: &Labels<'_>, level: i64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_gauge(&level)
    }

    fn spread(&mut self, labels: &Labels<'_>, histogram: &Histogram) -> fmt::Result {
        histogram.encode(self.0.encode_family(&labels)?)
    }
}
