//! Owns a generation on its way: from asked for, over tried out, to how it ended; and tells those who wait for it.
//!
//! Never here: starting its workers, or deciding when it may take over (`plan`).

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api::DeployEvent;
use crate::name::GenerationId;
use crate::spec::AppSpec;

use super::budget::Budget;
use crate::manager::reloading::Reloading;

/// A version of an app with all that its workers run pinned.
pub(in crate::manager) struct Generation {
    /// Which.
    pub(in crate::manager) id: GenerationId,
    /// What it is made of.
    pub(in crate::manager) spec: Arc<AppSpec>,
    /// What may still go wrong with it.
    pub(in crate::manager) budget: Budget,
    /// What became of the worker that failed last.
    pub(in crate::manager) last_failure: Option<String>,
}

impl Generation {
    /// A generation none of whose workers has been started.
    pub(in crate::manager) fn new(id: GenerationId, spec: Arc<AppSpec>) -> Self {
        Self { id, spec, budget: Budget::new(), last_failure: None }
    }
}

/// A generation that is to take over.
///
/// ```text
///   asked for ──→ on trial ──→ promoted ──→ done, or on probation (`probation`)
///       │            ├───────→ rejected
///       ├────────────│───────→ rejected: the app cannot be read
///       └────────────┴───────→ superseded by a later one
/// ```
pub(in crate::manager) struct Rollout {
    /// Which generation it will be.
    pub(in crate::manager) id: GenerationId,
    /// When it was asked for.
    pub(in crate::manager) begun: Instant,
    /// `None` until the app's directory and settings have been read.
    pub(in crate::manager) trial: Option<Generation>,
    /// While it takes the place of another.
    pub(in crate::manager) reloading: Option<Reloading>,
    /// Whoever waits for its end; those of a deploy that it superseded, too.
    listeners: Vec<Listener>,
    written: VecDeque<String>,
}

impl Rollout {
    /// A generation that was asked for.
    pub(in crate::manager) fn new(id: GenerationId, listeners: Vec<Listener>, now: Instant) -> Self {
        Self { id, begun: now, trial: None, reloading: None, listeners, written: VecDeque::new() }
    }

    /// Tells that a later deploy has taken its place; those who waited for this one wait for that one.
    pub(in crate::manager) fn supersede(self, told: DeployEvent) -> Vec<Listener> {
        self.tell(told);
        self.listeners
    }

    /// Those who wait for its end wait for this one's, too.
    pub(in crate::manager) fn follow(&mut self, others: Vec<Listener>) {
        self.listeners.extend(others);
    }

    /// Keeps what one of its workers wrote, for the message of a rejection.
    pub(in crate::manager) fn note_output(&mut self, line: &str) {
        if self.written.len() == KEPT {
            self.written.pop_front();
        }
        self.written.push_back(line.into());
    }

    /// The last lines its workers wrote.
    pub(in crate::manager) fn output(&self) -> Vec<String> {
        self.written.iter().cloned().collect()
    }

    /// Tells how far it is.
    pub(in crate::manager) fn tell(&self, progress: DeployEvent) {
        for listener in &self.listeners {
            // Who reads too slowly misses steps on the way, never the end.
            listener.steps.try_send(progress.clone()).ok();
        }
    }

    /// Tells how it ended.
    pub(in crate::manager) fn end(self, outcome: DeployEvent) {
        for listener in self.listeners {
            listener.end(outcome.clone());
        }
    }
}

/// Somebody who waits for the end of one app's deploy; the place for its last event is taken beforehand.
pub(in crate::manager) struct Listener {
    steps: mpsc::Sender<DeployEvent>,
    last: mpsc::OwnedPermit<DeployEvent>,
}

impl Listener {
    /// `None` when the channel has no place left.
    pub(in crate::manager) fn new(steps: &mpsc::Sender<DeployEvent>) -> Option<Self> {
        let last = steps.clone().try_reserve_owned().ok()?;
        Some(Self { steps: steps.clone(), last })
    }

    /// Tells the end; there is a place for it.
    pub(in crate::manager) fn end(self, outcome: DeployEvent) {
        drop(self.last.send(outcome));
    }
}

/// Lines of output kept for a rejection.
pub(in crate::manager) const KEPT: usize = 100;
