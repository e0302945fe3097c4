//! Owns a generation on its way, from the request over its trial to the end, and reports to the callers that wait for
//! it.
//!
//! Never here: starting its workers, or deciding when it may take over (`plan`).

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use crate::api::{DeployEvent, Rejection};
use crate::directory::App;
use crate::name::GenerationId;
use crate::spec::AppSpec;
use crate::spec::canary::CanaryWish;

use super::crash_budget::{CrashBudget, TrialVerdict};
use crate::supervisor::app::deploy_observer::DeployObserver;
use crate::supervisor::app::worker_state::WorkerFailure;
use crate::supervisor::files::content::Content;
use crate::supervisor::released_content::ReleasedContent;
use crate::supervisor::reload_notices::ReloadNotice;

/// A version of an app: its spec stays as it is, so that every worker of the generation runs the same.
pub(in crate::supervisor::app) struct Generation {
    pub(in crate::supervisor::app) id: GenerationId,
    /// The spec that the generation is made of.
    pub(in crate::supervisor::app) spec: Arc<AppSpec>,
    /// How many failures the generation may still have.
    pub(in crate::supervisor::app) budget: CrashBudget,
    /// The end of the worker that failed last.
    pub(in crate::supervisor::app) last_failure: Option<String>,
    /// The app's files as it was read, once they are known.
    pub(in crate::supervisor::app) content: Option<Content>,
    /// The earlier generation that this one brings back, if it was made by a rollback.
    pub(in crate::supervisor::app) again: Option<GenerationId>,
    /// Whether its release step has to run before its workers start.
    pub(in crate::supervisor::app) release: ReleaseStep,
}

/// Whether the release step of a generation has to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor::app) enum ReleaseStep {
    /// The step has run, or there is none.
    Done,
    /// The step runs, or is about to.
    Wanted,
    /// Whether the step has to run depends on the app's files, which are being looked at.
    Undecided,
}

/// A generation that has served and could serve again.
#[derive(Clone)]
pub(in crate::supervisor::app) struct EarlierGeneration {
    pub(in crate::supervisor::app) id: GenerationId,
    pub(in crate::supervisor::app) spec: Arc<AppSpec>,
    content: Option<Content>,
}

impl EarlierGeneration {
    /// A new generation, numbered `id`, with this one's spec and content.
    pub(in crate::supervisor::app) fn again(self, id: GenerationId) -> Generation {
        // The release step has run before the generation served for the first time.
        Generation { content: self.content, again: Some(self.id), ..Generation::adopted(id, self.spec) }
    }

    /// The sentence that tells a person, before this generation serves in the place of `serving`, what a rollback does
    /// not bring back.
    pub(in crate::supervisor::app) fn caveat(&self, serving: &Generation) -> String {
        let (folder, now) = (&self.spec.launch.directory, &serving.spec.launch.directory);
        let path = self.spec.path.display();
        if folder != now {
            return format!(
                "in {}; the next deploy or start of the server reads {path} anew",
                folder.display()
            );
        }
        let mut text = format!(
            "in the same folder as generation {}, {}: command, environment and settings are those of then, and files \
             that were edited in place stay as they are now",
            serving.id,
            folder.display()
        );
        let commit = |content: &Option<Content>| content.as_ref().and_then(|content| content.commit.clone());
        if let (Some(then), Some(now)) = (commit(&self.content), commit(&serving.content))
            && then != now
        {
            text += &format!(
                "; it was a git checkout of {then} then and is of {now} now: `git -C {} checkout {then}`, and deploy",
                folder.display()
            );
        }
        text
    }
}

impl Generation {
    /// A generation none of whose workers has been started.
    pub(in crate::supervisor::app) fn new(id: GenerationId, spec: Arc<AppSpec>) -> Self {
        let release = if spec.jobs.release.is_empty() { ReleaseStep::Done } else { ReleaseStep::Wanted };
        Self { id, spec, budget: CrashBudget::new(), last_failure: None, content: None, again: None, release }
    }

    /// The first generation of an app after the server's start: its files are yet to be looked at.
    pub(in crate::supervisor::app) fn first(id: GenerationId, spec: Arc<AppSpec>) -> Self {
        let new = Self::new(id, spec);
        let release = if new.is_released() { ReleaseStep::Done } else { ReleaseStep::Undecided };
        Self { release, ..new }
    }

    /// A generation of an earlier server, which has released it.
    pub(in crate::supervisor::app) fn adopted(id: GenerationId, spec: Arc<AppSpec>) -> Self {
        Self { release: ReleaseStep::Done, ..Self::new(id, spec) }
    }

    /// Decides whether the release step has to run, which is not so for content that it has succeeded for last.
    pub(in crate::supervisor::app) fn decide_release(&mut self, released: &ReleasedContent) {
        let is_known = self.released_word().is_some_and(|word| released.is_of(&self.spec.name, &word));
        self.release = if is_known || self.is_released() { ReleaseStep::Done } else { ReleaseStep::Wanted };
    }

    /// Whether its workers may start, as far as its release step is concerned.
    pub(in crate::supervisor::app) fn is_released(&self) -> bool {
        self.release == ReleaseStep::Done
    }

    /// The word by which the server knows that the release step has run for what the generation is made of.
    pub(in crate::supervisor::app) fn released_word(&self) -> Option<String> {
        self.content.as_ref().map(|content| content.word(&self.spec.jobs.release))
    }

    /// The part of the generation that is kept for a rollback once another one serves.
    pub(in crate::supervisor::app) fn earlier(&self) -> EarlierGeneration {
        EarlierGeneration { id: self.id, spec: Arc::clone(&self.spec), content: self.content.clone() }
    }

    /// Whether the two generations have the same spec and the same files, as far as files are looked at.
    fn is_same_as(&self, other: &Self) -> bool {
        let there = self.content.as_ref().is_some_and(|content| content.seen.real_path.is_some());
        there && self.content == other.content && self.spec == other.spec
    }

    /// The sentence that a deploy of this generation changes nothing; `None` where it changes something.
    pub(in crate::supervisor::app) fn sameness(&self, serving: Option<&Self>) -> Option<String> {
        let serving = serving.filter(|serving| self.is_same_as(serving))?;
        let commit = self.content.as_ref().and_then(|content| content.commit.as_deref());
        let commit = commit.map(|commit| format!(", commit {commit}")).unwrap_or_default();
        Some(format!(
            "nothing that the server looks at has changed since generation {}: {}{commit}, its entry, `watch`, rip.toml and \
             settings are the same",
            serving.id,
            self.spec.launch.directory.display()
        ))
    }

    /// Counts a worker of the generation that has failed.
    pub(in crate::supervisor::app) fn failed(&mut self, failure: WorkerFailure, why: &str) -> TrialVerdict {
        self.last_failure = Some(why.to_owned());
        self.budget.failed(failure, Instant::now())
    }
}

/// A generation that is to take over.
///
/// ```text
///   asked for ──→ candidate ──→ promoted ──→ done, or on probation (`probation`)
///       │            ├───────→ held for a share of the clients (`canary`) ──→ candidate, or aborted
///       │            ├───────→ rejected
///       ├────────────│───────→ rejected: the app cannot be read
///       └────────────┴───────→ superseded by a later one
/// ```
pub(in crate::supervisor::app) struct Deploy {
    /// The number of the generation.
    pub(in crate::supervisor::app) id: GenerationId,
    /// When the deploy was requested.
    pub(in crate::supervisor::app) begun: Instant,
    /// `None` until the app's directory and settings have been read.
    pub(in crate::supervisor::app) candidate: Option<Generation>,
    /// How far the deploy is to go before somebody decides about the rest; `None`: all the way.
    pub(in crate::supervisor::app) wish: Option<CanaryWish>,
    /// Whether the deploy brings back a generation that served before.
    pub(in crate::supervisor::app) is_rollback: bool,
    /// Tells systemd of a reload while the generation replaces another.
    pub(in crate::supervisor::app) reloading: Option<ReloadNotice>,
    /// The observers that wait for the end, also those of a deploy that this one superseded.
    observers: Vec<DeployObserver>,
    written: VecDeque<String>,
}

impl Deploy {
    /// A deploy that was requested.
    pub(in crate::supervisor::app) fn new(
        id: GenerationId,
        observers: Vec<DeployObserver>,
        now: Instant,
    ) -> Self {
        Self {
            id,
            begun: now,
            candidate: None,
            wish: None,
            is_rollback: false,
            reloading: None,
            observers,
            written: VecDeque::new(),
        }
    }

    /// Ends the deploy in favour of a later one; returns the observers, which wait for that one.
    pub(in crate::supervisor::app) fn superseded(self, app: &App) -> Vec<DeployObserver> {
        let generation = self.id;
        tracing::info!(app = %app.name, %generation, "generation superseded by a later deploy");
        self.count(app, "superseded");
        self.tell(DeployEvent::Superseded { app: app.name.clone(), generation });
        self.observers
    }

    /// Ends the deploy: the generation serves for good, `ms` milliseconds after the request.
    pub(in crate::supervisor::app) fn done(self, app: &App, ms: u64) {
        self.count(app, "done");
        let generation = self.id;
        self.end(DeployEvent::Done { app: app.name.clone(), generation, ms });
    }

    /// Counts the deploy's end.
    pub(in crate::supervisor::app) fn count(&self, app: &App, outcome: &'static str) {
        app.metrics.deploy(outcome);
        if self.is_rollback {
            app.metrics.rollback(outcome);
        }
    }

    /// Tells the observers the end of their deploy, while its workers may go on writing.
    pub(in crate::supervisor::app) fn end_observers(&mut self, outcome: &DeployEvent) {
        self.reloading = None;
        self.observers.drain(..).for_each(|observer| observer.end(outcome.clone()));
    }

    /// Ends the deploy because the app ends; nobody is to blame.
    pub(in crate::supervisor::app) fn given_up(self, app: &App, reason: &str) {
        let generation = self.id;
        tracing::info!(app = %app.name, %generation, reason, "deploy given up");
        let rejection = Rejection { generation, reason: reason.into(), output: self.output() };
        self.end(DeployEvent::Rejected { app: app.name.clone(), rejection });
    }

    /// Whether somebody asked for the deploy, and no changed file alone.
    pub(in crate::supervisor::app) fn is_asked_for(&self) -> bool {
        !self.observers.is_empty()
    }

    /// Has the observers of another deploy wait for this one's end, too.
    pub(in crate::supervisor::app) fn follow(&mut self, others: Vec<DeployObserver>) {
        self.observers.extend(others);
    }

    /// Keeps a line of one of the workers, for the message of a rejection.
    pub(in crate::supervisor::app) fn note_output(&mut self, line: &str) {
        if self.written.len() == KEPT {
            self.written.pop_front();
        }
        self.written.push_back(line.into());
    }

    /// The last lines of the generation's workers.
    pub(in crate::supervisor::app) fn output(&self) -> Vec<String> {
        self.written.iter().cloned().collect()
    }

    /// Sends an event of progress to the observers.
    pub(in crate::supervisor::app) fn tell(&self, progress: DeployEvent) {
        self.observers.iter().for_each(|observer| observer.tell(progress.clone()));
    }

    pub(in crate::supervisor::app) fn end(self, outcome: DeployEvent) {
        for observer in self.observers {
            observer.end(outcome.clone());
        }
    }
}

/// The most lines of output that are kept for a rejection.
pub(in crate::supervisor::app) const KEPT: usize = 100;
