//! Owns what an app's task makes of what it is told of its workers: their words, their ends, and what the tasks that it
//! started have found.
//!
//! Never here: what follows for the other workers (`plan`), or for a generation (`deploy`).

use crate::api::LogLine;
use crate::backend::{self, Exit, Started};
use crate::name::{GenerationId, WorkerId};

use super::app_task::{AppTask, Outcome};
use super::rollout::KEPT;
use super::worker::{Event, State};

impl AppTask {
    /// The backend tells of a worker.
    pub(super) fn happened(&mut self, event: backend::Event) {
        match event {
            backend::Event::Ready(worker) => self.said_ready(worker),
            backend::Event::Output(worker, line) => self.wrote(worker, line),
            backend::Event::LastWords(worker, lines) => self.said_last(worker, &lines),
            backend::Event::Ending(worker, exit) => self.ending(worker, exit),
            backend::Event::Exited(worker, exit) => {
                if let Some(record) = self.crew.get(&worker) {
                    self.app.metrics.worker_exited(record.cause_of(exit));
                }
                self.pool.note_end(worker, exit.cause());
                self.feed(worker, Event::Gone, &exit.to_string());
            }
        }
    }

    /// What a unit wrote is in the journal, but not among what its server says, where people look first. Of a generation
    /// that is tried out, or on probation, it is told once, with the rejection.
    fn said_last(&mut self, worker: WorkerId, lines: &[String]) {
        let Some(record) = self.crew.get(&worker) else { return };
        let generation = record.generation;
        lines.iter().for_each(|line| self.note_output(generation, line));
        let tried = self.probation.as_ref().map(|probation| &probation.rollout);
        if !self.rollout.iter().chain(tried).any(|rollout| rollout.id == generation) {
            self.quote(generation, lines);
        }
    }

    /// The end of what workers wrote, for the journal of a server whose workers are units.
    pub(super) fn quote(&self, generation: GenerationId, lines: &[String]) {
        if !self.around.backend.outlives() {
            return;
        }
        for line in &lines[lines.len().saturating_sub(MOST_QUOTED)..] {
            tracing::warn!(target: "app", app = %self.app.name, %generation, "{line}");
        }
    }

    /// Keeps a line for the message of a rejection; one that comes after it is added where there was none.
    fn note_output(&mut self, generation: GenerationId, line: &str) {
        let tried = self.probation.as_mut().map(|probation| &mut probation.rollout);
        let mut deploys = self.rollout.as_mut().into_iter().chain(tried);
        if let Some(rollout) = deploys.find(|rollout| rollout.id == generation) {
            rollout.note_output(line);
        } else if let Some(rejected) = &mut self.rejected
            && rejected.generation == generation
            && rejected.output.len() < KEPT
        {
            rejected.output.push(line.to_owned());
        }
    }

    /// What is left of it must not answer: not for an app that is being tried out, and not for one that serves.
    fn ending(&mut self, worker: WorkerId, exit: Exit) {
        let Some(record) = self.crew.get_mut(&worker) else { return };
        if matches!(record.state, State::Starting { .. } | State::Ready) {
            record.ending = Some(exit);
        }
        self.pool.note_end(worker, exit.cause());
        self.feed(worker, Event::Ending, &exit.to_string());
    }

    /// An answer, or a word, of a worker whose first process has exited is not its own; its end is about to be told.
    fn ready(&mut self, worker: WorkerId, why: &str) {
        if self.around.backend.lives(worker) {
            self.feed(worker, Event::Ready, why);
        }
    }

    fn said_ready(&mut self, worker: WorkerId) {
        let Some(record) = self.crew.get_mut(&worker) else { return };
        record.said_ready = true;
        // Without its address nobody could send it anything: that comes with `Started`.
        if record.address.is_some() && record.believes() {
            self.ready(worker, "said so");
        }
    }

    fn wrote(&mut self, worker: WorkerId, line: String) {
        let Some(record) = self.crew.get(&worker) else { return };
        let (app, generation) = (self.app.name.clone(), record.generation);
        tracing::info!(target: "app", %app, %worker, %generation, "{line}");
        self.note_output(generation, &line);
        let t = self.around.unix_millis();
        self.around.output.push(LogLine { t, app, worker, generation, line });
    }

    pub(super) fn came(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Started(worker, Ok(started)) => self.started(worker, started),
            Outcome::Started(worker, Err(error)) => {
                self.feed(worker, Event::Gone, &format!("could not be started: {error}"));
            }
            Outcome::Answered(worker) => self.ready(worker, "answered"),
            Outcome::Resolved(generation, read, seen) => {
                self.resolved(generation, read, seen.map(|seen| *seen))
            }
            Outcome::Doubted { worker, silent } => self.settle_doubt(worker, silent),
        }
    }

    fn started(&mut self, worker: WorkerId, started: Started) {
        let Some(record) = self.crew.get_mut(&worker) else { return };
        record.pid = Some(started.pid);
        record.address = Some(started.address);
        let ready = record.said_ready && record.believes() && matches!(record.state, State::Starting { .. });
        if ready {
            self.ready(worker, "said so");
        } else {
            self.feed(worker, Event::Started, "has a process");
        }
    }
}

/// Lines of a worker that failed: an error with where it comes from.
const MOST_QUOTED: usize = 20;
