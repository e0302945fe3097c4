//! Owns the numbers of one app.
//!
//! Never here: their names and help in the text (`page`), but for those of gauges.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::by_cause::ByCause;
use super::histogram::Histogram;

/// The numbers of one app. Clones are the same numbers; counting is a few relaxed atomic adds and takes no lock
/// except where a method says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct AppMetrics(pub(super) Arc<AppSeries>);

impl AppMetrics {
    /// Counts an answered request: `total` up to the last byte handed to the client, `worker` the part a worker was
    /// held, if one was. Status 499 means that the client left before the answer was complete.
    pub(crate) fn request_done(&self, status: u16, total: Duration, worker: Option<Duration>) {
        self.0.requests[StatusClass::of(status) as usize].fetch_add(1, Ordering::Relaxed);
        self.0.request_seconds.observe(total);
        if let Some(held) = worker {
            self.0.worker_seconds.observe(held);
        }
    }

    /// Records how long a request waited for a worker, however that ended.
    pub(crate) fn queue_waited(&self, waited: Duration) {
        self.0.queue_wait_seconds.observe(waited);
    }

    /// Counts a request that was answered without a worker. Takes a shared lock.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.0.refused.add(reason);
    }

    /// How often a request was answered without a worker, by reason; second tries are not among them. Takes a shared
    /// lock.
    pub(crate) fn refusals(&self) -> BTreeMap<String, u64> {
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
    pub(crate) fn retried(&self) {
        self.0.refused.add(RETRIED);
    }

    /// Counts an answer that was compressed: the bytes of its body before and after. Takes a shared lock.
    pub(crate) fn compressed(&self, coding: &'static str, before: u64, after: u64) {
        self.0.compressed_answers.add(coding);
        self.0.compressed_before.add_many(coding, before);
        self.0.compressed_after.add_many(coding, after);
    }

    /// Counts a worker process that was started.
    pub(crate) fn worker_started(&self) {
        self.0.worker_starts.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a worker process of an earlier server that was taken over.
    pub(crate) fn worker_adopted(&self) {
        self.0.worker_adoptions.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a worker process that ended. Takes a shared lock.
    pub(crate) fn worker_exited(&self, cause: &'static str) {
        self.0.worker_exits.add(cause);
    }

    /// Counts a worker that was found to send bytes that belong to no answer. Takes a shared lock.
    pub(crate) fn worker_strayed(&self, kind: &'static str) {
        self.0.worker_strays.add(kind);
    }

    /// Counts a change of the number of workers that the load asked for. Takes a shared lock.
    pub(crate) fn scaled(&self, cause: &'static str) {
        self.0.scalings.add(cause);
    }

    /// Counts a client that keeps a worker from now on: `new`, or `moved` from one that is gone. Takes a shared lock.
    pub(crate) fn client_given_worker(&self, cause: &'static str) {
        self.0.sticky_clients.add(cause);
    }

    /// Counts a deploy that has ended. Takes a shared lock.
    pub(crate) fn deploy(&self, outcome: &'static str) {
        self.0.deploys.add(outcome);
    }

    /// Counts a rollback that has ended. Takes a shared lock.
    pub(crate) fn rollback(&self, outcome: &'static str) {
        self.0.rollbacks.add(outcome);
    }

    /// Shows what each generation has, while the clients are shared between two; none: they are not. Takes a lock.
    pub(crate) fn show_generations(&self, generations: Vec<GenerationSeries>) {
        *self.0.generations.lock().unwrap_or_else(PoisonError::into_inner) = generations;
    }

    /// Sets a gauge.
    pub(crate) fn set(&self, gauge: AppGauge, count: usize) {
        self.0.gauges[gauge as usize].store(i64::try_from(count).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
pub(super) struct AppSeries {
    pub(super) requests: [AtomicU64; StatusClass::NAMES.len()],
    pub(super) request_seconds: Histogram,
    pub(super) worker_seconds: Histogram,
    pub(super) queue_wait_seconds: Histogram,
    pub(super) worker_starts: AtomicU64,
    pub(super) worker_adoptions: AtomicU64,
    pub(super) gauges: [AtomicI64; AppGauge::ALL.len()],
    pub(super) refused: ByCause,
    pub(super) compressed_answers: ByCause,
    pub(super) compressed_before: ByCause,
    pub(super) compressed_after: ByCause,
    pub(super) worker_exits: ByCause,
    pub(super) worker_strays: ByCause,
    pub(super) scalings: ByCause,
    pub(super) sticky_clients: ByCause,
    pub(super) deploys: ByCause,
    pub(super) rollbacks: ByCause,
    pub(super) generations: Mutex<Vec<GenerationSeries>>,
}

/// The role, the workers and the answers of a generation, while the clients of its app are shared between two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GenerationSeries {
    pub(crate) generation: u64,
    /// `serving` or `canary`.
    pub(crate) role: &'static str,
    /// Workers that are ready.
    pub(crate) workers: u64,
    /// Requests that its workers have answered.
    pub(crate) served: u64,
}

#[derive(Clone, Copy)]
pub(super) enum StatusClass {
    Informational,
    Success,
    Redirect,
    ClientError,
    ClientLeft,
    ServerError,
}

impl StatusClass {
    /// The names in the order of the variants.
    pub(super) const NAMES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "499", "5xx"];

    /// The class of a status. A status outside 100 to 599 counts as a server error.
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

/// A gauge of an app; [`AppGauge::ALL`] says what each one counts.
#[derive(Clone, Copy)]
pub(crate) enum AppGauge {
    WorkersWanted,
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
    /// The gauges in the order of the variants: name and help.
    pub(super) const ALL: [(&str, &str); 9] = [
        ("workers_wanted", "Workers that there are to be now"),
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

/// The label of second tries, beside the reasons of refusals.
const RETRIED: &str = "retried";
