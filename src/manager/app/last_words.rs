//! Owns what is made of the last lines of a worker whose output never passes the server, when it has failed.
//!
//! Never here: lines that workers write while they live, or reading the journal.

use crate::name::{GenerationId, WorkerId};

use super::app_task::AppTask;

impl AppTask {
    /// What a unit wrote is in the journal, but not among what its server says, where people look first. Of a generation
    /// that is tried out, or on probation, it is told once, with the rejection.
    pub(in crate::manager) fn said_last(&mut self, worker: WorkerId, lines: &[String]) {
        let Some(record) = self.crew.get(&worker) else { return };
        let generation = record.generation;
        let on_probation = self.probation.as_ref().map(|probation| &probation.rollout);
        let tried = self.rollout.iter().chain(on_probation).any(|rollout| rollout.id == generation);
        if (tried || self.chorus.is_of(generation)) && self.chorus.hear_all(generation, worker, lines) {
            return;
        }
        if !tried {
            self.quote(generation, lines);
        }
        lines.iter().for_each(|line| self.note_output(generation, line));
    }

    /// The end of what workers wrote, for the journal of a server whose workers are units.
    pub(in crate::manager) fn quote(&self, generation: GenerationId, lines: &[String]) {
        if !self.around.backend.outlives() {
            return;
        }
        for line in &lines[lines.len().saturating_sub(MOST_QUOTED)..] {
            tracing::warn!(target: "app", app = %self.app.name, %generation, "{line}");
        }
    }
}

/// Lines of a worker that failed: an error with where it comes from.
const MOST_QUOTED: usize = 20;
