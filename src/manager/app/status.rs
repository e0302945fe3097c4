//! Owns how an app and its workers are shown to people: status, gauges, and what it is doing in a sentence.
//!
//! Never here: changing anything but a gauge.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::api::{AppStatus, RequestInHand, WorkerState, WorkerStatus, WorkerTally};
use crate::name::WorkerId;
use crate::pool::{Doing, Report, SlotReport};

use super::app_task::AppTask;
use super::crew::{Record, tally};
use super::rollout::Generation;
use super::worker::State;

impl AppTask {
    /// How the app is; without its hosts, which the app does not know.
    pub(in crate::manager) fn status(&self) -> AppStatus {
        let report = self.pool.report();
        // What is tried out, or was rejected, is told beside it.
        let spec = self.current.as_ref().map_or(&self.spec, |current| &current.spec);
        let sum = |of: fn(&SlotReport) -> usize| report.slots.iter().map(of).sum();
        AppStatus {
            app: self.app.name.clone(),
            path: spec.path.clone(),
            described: spec.described.clone(),
            recycle: spec.recycle.to_string(),
            hosts: Vec::new(),
            generation: self.current.as_ref().map(|current| current.id).unwrap_or_default(),
            workers: self.tally(),
            queued: report.queued,
            in_flight: sum(|slot| slot.standing.in_flight),
            tunnels: sum(|slot| slot.standing.tunnels),
            served: report.slots.iter().map(|slot| slot.standing.served).sum(),
            concurrency: self.app.rules.load().concurrency.get(),
            refused: self.app.metrics.refusals(),
            doing: self.doing(Instant::now()),
            rejected: self.rejected.clone(),
        }
    }

    /// How each worker is, by id.
    pub(in crate::manager) fn worker_statuses(&self) -> Vec<WorkerStatus> {
        let Report { slots, .. } = self.pool.report();
        let slots: BTreeMap<_, _> = slots.into_iter().map(|slot| (slot.standing.worker, slot)).collect();
        let show = |(worker, record): (&WorkerId, &Record)| self.show(*worker, record, slots.get(worker));
        self.crew.iter().map(show).collect()
    }

    /// Brings the gauges up to date.
    pub(in crate::manager) fn show_gauges(&self) {
        let (tally, report) = (self.tally(), self.pool.report());
        let metrics = &self.app.metrics;
        metrics.set_workers_ready(tally.ready);
        metrics.set_workers_starting(tally.starting);
        metrics.set_workers_draining(tally.draining + tally.stopping);
        metrics.set_queue_length(report.queued);
        metrics.set_requests_in_flight(report.slots.iter().map(|slot| slot.standing.in_flight).sum());
        metrics.set_tunnels(report.slots.iter().map(|slot| slot.standing.tunnels).sum());
    }

    fn tally(&self) -> WorkerTally {
        tally(self.crew.values(), self.wanted(), self.before())
    }

    fn show(&self, worker: WorkerId, record: &Record, slot: Option<&SlotReport>) -> WorkerStatus {
        let requests = slot.map(|slot| slot.doing.iter().map(in_hand).collect()).unwrap_or_default();
        let now = Instant::now();
        let kept = record.state == State::Ready && self.before() == Some(record.generation);
        WorkerStatus {
            app: self.app.name.clone(),
            worker,
            generation: record.generation,
            pid: record.pid,
            state: if kept { WorkerState::Draining } else { shown_state(record.state, slot) },
            why: (record.why.clone())
                .or_else(|| self.why_kept(kept))
                .or_else(|| record.waits_for_tunnels(now))
                .or_else(|| why_distrusted(slot?)),
            age: record.age(now).as_secs(),
            served: slot.map_or(0, |slot| slot.standing.served),
            tunnels: slot.map_or(0, |slot| slot.standing.tunnels),
            memory: self.around.backend.memory(worker),
            requests,
        }
    }

    fn why_kept(&self, kept: bool) -> Option<String> {
        let probation = self.probation.as_ref().filter(|_| kept)?;
        Some(format!("kept until generation {} has passed its probation", probation.rollout.id))
    }

    fn doing(&self, now: Instant) -> String {
        let tally = self.tally();
        if self.stopping {
            let left = tally.ready + tally.starting + tally.draining + tally.stopping;
            return format!("stopping: {left} workers left");
        }
        if let Some(rollout) = &self.rollout {
            return match &rollout.trial {
                None => format!("reading the app for generation {}", rollout.id),
                Some(trial) => self.doing_trial(trial, tally.wanted, now),
            };
        }
        let Some(current) = &self.current else {
            return "taking no requests: its last deploy was rejected".into();
        };
        if tally.ready >= tally.wanted {
            return match &self.probation {
                None => "serving".into(),
                Some(probation) => format!(
                    "serving; generation {} is on probation for {:.1} s more, else generation {} serves again",
                    probation.rollout.id,
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

    fn doing_trial(&self, trial: &Generation, wanted: usize, now: Instant) -> String {
        let mine = self.crew.values().filter(|record| record.generation == trial.id);
        let ready = mine.filter(|record| record.state == State::Ready).count();
        let progress = format!("starting generation {}: {ready} of {wanted} workers ready", trial.id);
        match pause(trial, now) {
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

fn shown_state(state: State, slot: Option<&SlotReport>) -> WorkerState {
    match state {
        State::Starting { .. } => WorkerState::Starting,
        State::Ready if slot.is_some_and(|slot| slot.standing.in_flight > 0) => WorkerState::Busy,
        State::Ready => WorkerState::Idle,
        State::Draining { .. } => WorkerState::Draining,
        State::Stopping { .. } | State::Exited => WorkerState::Stopping,
    }
}

fn why_distrusted(slot: &SlotReport) -> Option<String> {
    slot.standing
        .distrusted
        .then(|| "has sent bytes that belong to no answer: none of its connections is kept".into())
}

fn in_hand(doing: &Doing) -> RequestInHand {
    RequestInHand {
        id: doing.id.to_string(),
        method: doing.method.to_string(),
        path: doing.target.path().into(),
        ms: u64::try_from(doing.since.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}
