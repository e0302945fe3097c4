//! Owns what becomes of a line that a worker wrote: the log, those who follow, the message of a rejection.
//!
//! Never here: which lines of a generation on trial are the same (`chorus`), or keeping lines (`output`).

use crate::api::LogLine;
use crate::name::{GenerationId, WorkerId};

use super::app_task::AppTask;
use super::rollout::KEPT;
use super::worker::State;

impl AppTask {
    /// Keeps a line for the message of a rejection; one that comes after it is added where there was none.
    pub(in crate::manager) fn note_output(&mut self, generation: GenerationId, line: &str) {
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

    /// A line of a worker's output.
    pub(in crate::manager) fn wrote(&mut self, worker: WorkerId, line: String) {
        let Some(record) = self.crew.get(&worker) else { return };
        let generation = record.generation;
        let tried = self.rollout.as_ref().is_some_and(|rollout| rollout.id == generation);
        let lines = if tried || self.chorus.is_of(generation) {
            self.chorus.hear(generation, worker, line)
        } else {
            vec![line]
        };
        lines.into_iter().for_each(|line| self.pass_on(worker, generation, line));
    }

    fn pass_on(&mut self, worker: WorkerId, generation: GenerationId, line: String) {
        let app = &self.app.name;
        tracing::info!(target: "app", %app, %worker, %generation, "{line}");
        let t = self.around.unix_millis();
        self.note_output(generation, &line);
        self.around.output.push(LogLine { t, app: self.app.name.clone(), worker, generation, line });
    }

    /// A worker has stopped starting: its lines that waited are its own, or another's too.
    pub(in crate::manager) fn started_or_failed(
        &mut self,
        worker: WorkerId,
        generation: GenerationId,
        to: State,
    ) {
        let lines = if to == State::Ready { self.chorus.ready(worker) } else { self.chorus.failed(worker) };
        lines.into_iter().for_each(|line| self.pass_on(worker, generation, line));
    }

    /// The trial of a generation is over: nothing that its workers wrote waits any longer.
    pub(in crate::manager) fn end_of_trial(&mut self, generation: GenerationId) {
        if self.chorus.is_of(generation) {
            self.chorus.end().into_iter().for_each(|(worker, line)| self.pass_on(worker, generation, line));
        }
    }
}
