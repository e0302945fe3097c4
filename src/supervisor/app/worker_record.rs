//! Owns what is known of each worker of an app beside its state: process, address, wear, and the reason of its state.
//!
//! Never here: deciding, or acting on a process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::WorkerTally;
use crate::backend::{Backend, Signal, Started, WorkerExit};
use crate::name::{GenerationId, WorkerId};
use crate::pool::{Address, WorkerStanding};
use crate::spec::{AppSpec, ReadyBy, Reload};
use crate::tasks::TaskHandle;

use super::plan::WorkerView;
use super::probe::NotReady;
use super::worker_state::WorkerPhase;

pub(super) struct WorkerRecord {
    pub(super) generation: GenerationId,
    /// The spec of the worker's generation: a later deploy does not change it.
    pub(super) spec: Arc<AppSpec>,
    pub(super) state: WorkerPhase,
    pub(super) ordered: Instant,
    pub(super) ready: Option<Instant>,
    /// The worker's process id; `None` before it has a process.
    pub(super) pid: Option<u32>,
    /// The worker's address; `None` before it has a process.
    pub(super) address: Option<Address>,
    /// Whether the worker said `READY=1` before it was known to have a process.
    pub(super) said_ready: bool,
    /// Whether the app changed while the worker was starting.
    pub(super) reload_when_ready: bool,
    /// Why the worker is due for recycling, if it is.
    pub(super) stale: Option<String>,
    /// Since when the worker is due.
    due_since: Option<Instant>,
    /// Whether the worker's open tunnels are waited for; they are not when it is due for its memory.
    tunnels_first: bool,
    /// How many tunnels the worker holds.
    pub(super) tunnels: usize,
    /// How many requests the worker has in hand.
    pub(super) in_hand: usize,
    /// The worker's memory in bytes at the last look, where anybody looks.
    pub(super) memory: Option<u64>,
    /// Whether the worker was let go because it was due.
    pub(super) recycling: bool,
    /// Whether the worker was ordered in the place of one that is due.
    pub(super) replaces: bool,
    /// Whether the data path gave the worker up.
    pub(super) condemned: bool,
    /// How the worker's first process exited, where that was reported before the worker's end.
    pub(super) ending: Option<WorkerExit>,
    /// Whether the worker is being asked whether it still answers.
    pub(super) doubted: bool,
    /// The reason of the worker's state, where a person would not expect that state.
    pub(super) why: Option<String>,
    /// The probe, while the worker is starting.
    pub(super) probing: Option<Probing>,
    /// The worker's age when its record was made: above 0 for a worker of an earlier server.
    age_before: Duration,
    wear: Wear,
}

/// The task that probes a worker, and its last result. Dropping this ends the task.
pub(super) struct Probing {
    pub(super) task: TaskHandle,
    pub(super) last: watch::Receiver<Option<NotReady>>,
    /// Where the worker listens instead of where it should.
    pub(super) elsewhere: watch::Receiver<Option<String>>,
}

impl Drop for Probing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The limits after which a worker is due; each worker has its own, or all would go at once.
struct Wear {
    requests: Option<u64>,
    age: Option<Duration>,
    reloads: Option<u64>,
    memory: Option<u64>,
}

impl WorkerRecord {
    /// The record of a worker that has just been ordered.
    pub(super) fn new(generation: GenerationId, spec: Arc<AppSpec>, now: Instant) -> Self {
        let recycle = spec.recycle;
        let reloads = recycle.reloads.filter(|_| spec.upkeep.reload == Reload::Module);
        let wear = Wear {
            requests: recycle.requests.map(jitter),
            age: recycle.age.map(|age| Duration::from_millis(jitter(millis(age)))),
            reloads: reloads.map(jitter),
            memory: spec.launch.memory.soft.map(jitter),
        };
        Self {
            generation,
            state: WorkerPhase::Starting { give_up: now + spec.rules.timeouts.start },
            spec,
            ordered: now,
            ready: None,
            pid: None,
            address: None,
            said_ready: false,
            reload_when_ready: false,
            stale: None,
            due_since: None,
            tunnels_first: false,
            tunnels: 0,
            in_hand: 0,
            memory: None,
            recycling: false,
            replaces: false,
            condemned: false,
            ending: None,
            doubted: false,
            why: None,
            probing: None,
            age_before: Duration::ZERO,
            wear,
        }
    }

    /// Makes this the record of a worker that was found with that age. The worker may still be busy for an earlier
    /// server's client.
    pub(super) fn adopt(&mut self, started: Started, age: Duration) {
        self.state = WorkerPhase::Starting { give_up: self.ordered + self.spec.rules.timeouts.request };
        self.pid = Some(started.pid);
        self.address = started.address;
        self.age_before = age;
        self.why = Some("left by an earlier server".into());
    }

    /// Whether `READY=1` of this worker means that it is ready.
    pub(super) fn believes(&self) -> bool {
        matches!(self.spec.ready_by, ReadyBy::Either | ReadyBy::Notify)
    }

    /// The worker's age.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.duration_since(self.ordered) + self.age_before
    }

    /// The facts about this worker for the plan.
    pub(super) fn view(&self, worker: WorkerId, now: Instant) -> WorkerView {
        WorkerView {
            worker,
            generation: self.generation,
            state: self.state,
            stale: self.stale.is_some() && !self.waits(now),
            recycling: self.recycling,
            tunnels: self.tunnels,
            in_hand: self.in_hand,
        }
    }

    /// The number of requests after which the pool reports that the worker is due.
    pub(super) fn recycle_after(&self) -> Option<u64> {
        self.wear.requests
    }

    /// Notes that the worker is due, if it has served enough.
    pub(super) fn note_service(&mut self, standing: &WorkerStanding, now: Instant) {
        self.tunnels = standing.tunnels;
        self.in_hand = standing.in_flight;
        if standing.recycle_due {
            self.due(now, || format!("recycled after {} requests", standing.served));
        }
        if self.wear.reloads.is_some_and(|limit| standing.reloads >= limit) {
            self.due(now, || format!("recycled after {} reloads", standing.reloads));
        }
    }

    /// Notes that the worker is due, if it is old enough.
    pub(super) fn note_age(&mut self, now: Instant) {
        if self.stale.is_none() && self.due_at().is_some_and(|due| now >= due) {
            let age = self.age(now).as_secs();
            self.due(now, || format!("recycled after {age} s"));
        }
    }

    /// Notes that the worker is due, if its memory is above the limit; then its tunnels are not waited for.
    pub(super) fn note_memory(&mut self, bytes: u64, now: Instant) {
        self.memory = Some(bytes);
        if self.wear.memory.is_some_and(|limit| bytes >= limit) {
            self.due(now, || format!("recycled at {} MiB of memory", bytes >> 20));
            self.tunnels_first = false;
        }
    }

    /// Notes the worker's memory, and has the worker killed when it is above its hard limit and the kernel does not
    /// enforce that.
    pub(super) fn weigh(&mut self, worker: WorkerId, backend: &dyn Backend, now: Instant) {
        backend.refresh_memory(worker);
        let Some(bytes) = backend.memory(worker) else { return };
        self.note_memory(bytes, now);
        // Where the kernel enforces the limit, it has already done so.
        if self.spec.launch.memory.hard.is_some_and(|limit| bytes > limit) {
            backend.signal(worker, Signal::OutOfMemory);
        }
    }

    /// Whether the worker is due but its tunnels may still end by themselves.
    fn waits(&self, now: Instant) -> bool {
        let waited = self.due_since.is_some_and(|since| now >= since + TUNNEL_WAIT_LIMIT);
        self.tunnels_first && self.tunnels > 0 && !waited
    }

    /// Why the worker is still there although it is due.
    pub(super) fn waits_for_tunnels(&self, now: Instant) -> Option<String> {
        let stale = self.stale.as_ref().filter(|_| self.waits(now))?;
        Some(format!("is to be {stale}, once its tunnels have ended"))
    }

    /// When the worker's age makes it due, or its tunnels are not waited for any longer.
    pub(super) fn due_at(&self) -> Option<Instant> {
        if self.state != WorkerPhase::Ready {
            return None;
        }
        if self.stale.is_some() {
            return self.due_since.filter(|_| self.tunnels_first).map(|since| since + TUNNEL_WAIT_LIMIT);
        }
        Some(self.ready? + self.wear.age?.saturating_sub(self.age_before))
    }

    /// Whether the worker's memory has to be looked at.
    pub(super) fn weighs(&self) -> bool {
        let shared = self.spec.upkeep.memory_total.is_some();
        self.wear.memory.is_some() || self.spec.launch.memory.hard.is_some() || shared
    }

    /// A stable word for the worker's end. An end that nobody asked for is named by itself; a SIGTERM that was asked
    /// for is no signal unless it was ignored.
    pub(super) fn cause_of(&self, exit: WorkerExit) -> &'static str {
        match self.state {
            _ if exit == WorkerExit::OutOfMemory => exit.cause(),
            _ if self.condemned => "condemned",
            _ if matches!(exit, WorkerExit::Timeout | WorkerExit::Watchdog) => exit.cause(),
            _ if self.ending.is_some() => exit.cause(),
            WorkerPhase::Draining { .. } | WorkerPhase::Stopping { .. } => "asked",
            WorkerPhase::Starting { .. } | WorkerPhase::Ready | WorkerPhase::Exited => exit.cause(),
        }
    }

    /// Why the worker was not ready in time.
    pub(super) fn too_late(&self) -> String {
        let limit = self.spec.rules.timeouts.start;
        let last = self.probing.as_ref().and_then(|probing| {
            let last = probing.last.borrow();
            last.as_ref().map(ToString::to_string)
        });
        let elsewhere = self.probing.as_ref().and_then(|probing| probing.elsewhere.borrow().clone());
        let path = &self.spec.upkeep.ready_path;
        let reason = match last {
            _ if self.spec.ready_by == ReadyBy::Notify && !self.said_ready => {
                Some("it did not say READY=1, which `ready_by` waits for".into())
            }
            // The app's settings can say whether the worker's own READY=1 counts.
            last if self.said_ready && !self.believes() => {
                let last = last.unwrap_or_else(|| "no answer yet".into());
                Some(format!(
                    "it said READY=1, but GET {path} failed: {last}; `ready_path` names another path, and with \
                     `ready_by = \"notify\"` it is not asked"
                ))
            }
            last => last,
        };
        let reasons: Vec<_> = reason.into_iter().chain(elsewhere.map(|text| format!("it {text}"))).collect();
        match reasons.as_slice() {
            [] => format!("was not ready within {limit:?}"),
            reasons => format!("was not ready within {limit:?}: {}", reasons.join("; ")),
        }
    }

    fn due(&mut self, now: Instant, why: impl FnOnce() -> String) {
        if self.state == WorkerPhase::Ready && self.stale.is_none() {
            self.stale = Some(why());
            self.due_since = Some(now);
            self.tunnels_first = true;
        }
    }
}

/// How many workers are in which state. Workers of `before` get nothing new, and count as draining.
pub(super) fn tally<'a>(
    records: impl Iterator<Item = &'a WorkerRecord>,
    wanted: usize,
    before: Option<GenerationId>,
) -> WorkerTally {
    let mut tally = WorkerTally { wanted, ..WorkerTally::default() };
    for record in records {
        match record.state {
            WorkerPhase::Starting { .. } => tally.starting += 1,
            WorkerPhase::Ready if Some(record.generation) == before => tally.draining += 1,
            WorkerPhase::Ready => tally.ready += 1,
            WorkerPhase::Draining { .. } => tally.draining += 1,
            WorkerPhase::Stopping { .. } => tally.stopping += 1,
            WorkerPhase::Exited => {}
        }
    }
    tally
}

/// How long a worker that is due is left alone for the sake of its open tunnels.
pub(in crate::supervisor) const TUNNEL_WAIT_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The number, a tenth more or less, at least 1.
fn jitter(nominal: u64) -> u64 {
    let spread = nominal / 10;
    (nominal - spread + fastrand::u64(0..=spread * 2)).max(1)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_a_tenth_at_most_and_never_nothing() {
        let seed = fastrand::get_seed();
        for nominal in [0, 1, 9, 10, 10_000, u64::MAX / 2] {
            for _ in 0..100 {
                let limit = jitter(nominal);
                let (low, high) = (nominal - nominal / 10, nominal + nominal / 10);
                assert!((low.max(1)..=high.max(1)).contains(&limit), "seed {seed}: {limit} of {nominal}");
            }
        }
    }
}
