//! Owns how an app and its workers are shown to people: status, gauges, and a sentence about what the app is doing.
//!
//! Never here: changing anything but a gauge.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::api::{AppStatus, RequestInHand, WorkerState, WorkerStatus, WorkerTally};
use crate::directory::App;
use crate::metrics::{AppGauge, GenerationSeries};
use crate::name::{GenerationId, WorkerId};
use crate::pool::{InFlightRequest, PoolReport, PoolWriter, WorkerReport};

use super::generations::deploy::Generation;
use super::generations::generation_set::GenerationSet;
use super::worker_record::WorkerRecord;
use super::worker_state::WorkerPhase;
use super::workers::AppWorkers;
use crate::supervisor::jobs::app_jobs::AppJobs;

/// An app as it is now.
pub(super) struct StatusView<'a> {
    pub(super) app: &'a App,
    pub(super) pool: &'a PoolWriter,
    pub(super) workers: &'a AppWorkers,
    pub(super) generations: &'a GenerationSet,
    pub(super) jobs: &'a AppJobs,
    pub(super) stopping: bool,
}

impl StatusView<'_> {
    /// The status of the app, without its hosts, which the app does not know.
    pub(super) fn status(&self) -> AppStatus {
        let (report, now) = (self.pool.report(), Instant::now());
        // A generation that is tried out, or was rejected, is reported beside the serving one.
        let spec = self.generations.current().map_or(self.generations.spec(), |current| &current.spec);
        let sum = |of: fn(&WorkerReport) -> usize| report.workers.iter().map(of).sum();
        AppStatus {
            app: self.app.name.clone(),
            path: spec.path.clone(),
            described: spec.described.clone(),
            recycle: spec.recycle.to_string(),
            hosts: Vec::new(),
            generation: self.generations.current().map(|current| current.id).unwrap_or_default(),
            workers: self.tally(),
            scaling: self.generations.scaling(now),
            resting: self.is_resting(),
            again: self.generations.current().and_then(|current| current.again),
            canary: self
                .generations
                .held()
                .map(|held| held.status(self.workers.ready_of(held.id()).count(), now)),
            earlier: self.generations.earlier().map(|earlier| earlier.id),
            queued: report.queued,
            in_flight: sum(|report| report.standing.in_flight),
            tunnels: sum(|report| report.standing.tunnels),
            served: report.workers.iter().map(|worker| worker.standing.served).sum(),
            concurrency: self.app.rules.load().concurrency().get(),
            refused: self.app.metrics.refusals(),
            doing: self.doing(now),
            warnings: spec.warnings.clone(),
            jobs: self.jobs.status(self.generations.current().map(|current| &*current.spec), now),
            rejected: self.generations.rejected().cloned(),
        }
    }

    /// The status of each worker, by id.
    pub(super) fn workers(&self) -> Vec<WorkerStatus> {
        let PoolReport { workers, .. } = self.pool.report();
        let reports: BTreeMap<_, _> =
            workers.into_iter().map(|report| (report.standing.worker, report)).collect();
        let show =
            |(worker, record): (&WorkerId, &WorkerRecord)| self.show(*worker, record, reports.get(worker));
        self.workers.records().map(show).collect()
    }

    /// Brings the gauges up to date.
    pub(super) fn show_gauges(&self) {
        let (tally, report) = (self.tally(), self.pool.report());
        let metrics = &self.app.metrics;
        metrics.set(AppGauge::WorkersWanted, tally.wanted);
        metrics.set(AppGauge::WorkersReady, tally.ready);
        metrics.set(AppGauge::WorkersStarting, tally.starting);
        metrics.set(AppGauge::WorkersDraining, tally.draining + tally.stopping);
        metrics.set(AppGauge::QueueLength, report.queued);
        metrics.set(
            AppGauge::RequestsInFlight,
            report.workers.iter().map(|worker| worker.standing.in_flight).sum(),
        );
        metrics.set(AppGauge::QueueLengthMax, report.max_queue);
        metrics.set(AppGauge::Tunnels, report.workers.iter().map(|worker| worker.standing.tunnels).sum());
        metrics.show_generations(self.shares(&report));
        metrics
            .set(AppGauge::TunnelsMax, report.workers.iter().map(|worker| worker.standing.max_tunnels).sum());
    }

    /// The role, the workers and the answers of each generation, while the clients are shared between two.
    fn shares(&self, report: &PoolReport) -> Vec<GenerationSeries> {
        let (Some(held), Some(current)) = (self.generations.held(), self.generations.current()) else {
            return Vec::new();
        };
        let series = |generation: GenerationId, role| {
            let own = report.workers.iter().filter(|worker| worker.standing.generation == generation);
            let served = own.map(|worker| worker.standing.served).sum();
            let workers = self.workers.ready_of(generation).count() as u64;
            GenerationSeries { generation: generation.0, role, workers, served }
        };
        vec![series(current.id, "serving"), series(held.id(), "canary")]
    }

    fn tally(&self) -> WorkerTally {
        let wanted = self.generations.wanted() + self.generations.wanted_of_canary();
        self.workers.tally(wanted, self.generations.before())
    }

    fn show(&self, worker: WorkerId, record: &WorkerRecord, report: Option<&WorkerReport>) -> WorkerStatus {
        let requests =
            report.map(|report| report.in_flight.iter().map(in_hand).collect()).unwrap_or_default();
        let now = Instant::now();
        let kept = record.state == WorkerPhase::Ready && self.generations.before() == Some(record.generation);
        WorkerStatus {
            app: self.app.name.clone(),
            worker,
            generation: record.generation,
            pid: record.pid,
            state: if kept { WorkerState::Draining } else { shown_state(record.state, report) },
            why: (record.why.clone())
                .or_else(|| self.why_kept(kept))
                .or_else(|| record.waits_for_tunnels(now))
                .or_else(|| why_distrusted(report?)),
            age: record.age(now).as_secs(),
            served: report.map_or(0, |report| report.standing.served),
            tunnels: report.map_or(0, |report| report.standing.tunnels),
            memory: self.workers.memory(worker),
            requests,
        }
    }

    fn why_kept(&self, kept: bool) -> Option<String> {
        let probation = self.generations.probation().filter(|_| kept)?;
        Some(format!("kept until generation {} has passed its probation", probation.deploy.id))
    }

    /// Whether the next request has a worker started, as far as is known.
    fn is_resting(&self) -> bool {
        let fails = |current: &Generation| current.budget.failures() > 0;
        self.generations.is_resting() && !self.generations.current().is_some_and(fails)
    }

    fn doing(&self, now: Instant) -> String {
        let tally = self.tally();
        if self.stopping {
            let left = tally.ready + tally.starting + tally.draining + tally.stopping;
            return format!("stopping: {left} workers left");
        }
        if let Some(deploy) = self.generations.deploy() {
            return match &deploy.candidate {
                None => format!("reading the app for generation {}", deploy.id),
                Some(candidate) if !candidate.is_released() => {
                    format!("running the release step of generation {}", deploy.id)
                }
                Some(candidate) => self.doing_candidate(candidate, tally.wanted, now),
            };
        }
        let Some(current) = self.generations.current() else {
            return "taking no requests: its last deploy was rejected".into();
        };
        if tally.wanted == 0 {
            return "resting: the next request starts a worker".into();
        }
        if tally.ready >= tally.wanted {
            return match self.generations.probation() {
                None => match self.generations.held() {
                    None => "serving".into(),
                    Some(held) => format!("serving; {}", held.sentence(&self.app.name)),
                },
                Some(probation) => format!(
                    "serving; generation {} is on probation for {:.1} s more, else generation {} serves again",
                    probation.deploy.id,
                    (probation.until - now).as_secs_f64(),
                    probation.before.id
                ),
            };
        }
        match pause(current, now) {
            Some(pause) => pause,
            None => format!("starting {} of {} workers", tally.wanted - tally.ready, tally.wanted),
        }
    }

    fn doing_candidate(&self, candidate: &Generation, wanted: usize, now: Instant) -> String {
        let ready = self.workers.ready_of(candidate.id).count();
        let progress = format!("starting generation {}: {ready} of {wanted} workers ready", candidate.id);
        match pause(candidate, now) {
            Some(pause) => format!("{progress}; {pause}"),
            None => progress,
        }
    }
}

fn pause(generation: &Generation, now: Instant) -> Option<String> {
    let left = generation.budget.paused_until(now)? - now;
    let failures = generation.budget.failures();
    let times = if failures == 1 { "time" } else { "times" };
    let last = generation.last_failure.iter().map(|why| format!(", the last one {why}")).collect::<String>();
    Some(format!(
        "waiting {:.1} s before starting a worker: it failed {failures} {times}{last}",
        left.as_secs_f64()
    ))
}

fn shown_state(state: WorkerPhase, report: Option<&WorkerReport>) -> WorkerState {
    match state {
        WorkerPhase::Starting { .. } => WorkerState::Starting,
        WorkerPhase::Ready if report.is_some_and(|report| report.standing.in_flight > 0) => WorkerState::Busy,
        WorkerPhase::Ready => WorkerState::Idle,
        WorkerPhase::Draining { .. } => WorkerState::Draining,
        WorkerPhase::Stopping { .. } | WorkerPhase::Exited => WorkerState::Stopping,
    }
}

fn why_distrusted(report: &WorkerReport) -> Option<String> {
    report
        .standing
        .distrusted
        .then(|| "has sent bytes that belong to no answer: none of its connections is kept".into())
}

fn in_hand(request: &InFlightRequest) -> RequestInHand {
    RequestInHand {
        id: request.id.to_string(),
        method: request.method.to_string(),
        path: request.target.path().into(),
        ms: u64::try_from(request.since.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}
