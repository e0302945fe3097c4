//! Owns what the lines that workers write mean for a deploy: which are passed on, and which explain a rejection.
//!
//! Never here: passing them on (`worker_output`).

use super::Deploys;
use crate::name::{GenerationId, WorkerId};

impl Deploys {
    /// Takes in a line of a worker or a job.
    pub(in crate::supervisor::app) fn wrote(
        &mut self,
        generation: Option<GenerationId>,
        worker: WorkerId,
        line: String,
    ) {
        let Some(generation) = generation else { return };
        let tried = self.set.is_tried(generation);
        let lines = self.output.line(generation, worker, line, tried);
        self.set.note_output(generation, &lines);
    }

    /// Takes in that a worker has stopped starting: its lines that waited are passed on, unless another worker wrote
    /// the same.
    pub(in crate::supervisor::app) fn start_ended(
        &mut self,
        generation: GenerationId,
        worker: WorkerId,
        is_ready: bool,
    ) {
        let lines = self.output.start_ended(generation, worker, is_ready);
        self.set.note_output(generation, &lines);
    }

    /// The last lines of a worker or a job that has failed and whose output does not pass the server.
    pub(in crate::supervisor::app) fn last_lines(
        &mut self,
        generation: Option<GenerationId>,
        worker: WorkerId,
        lines: &[String],
    ) {
        let Some(generation) = generation else { return };
        let on_probation = self.set.probation.as_ref().map(|probation| &probation.deploy);
        let tried = self.set.deploy.iter().chain(on_probation).any(|deploy| deploy.id == generation);
        if self.output.is_news(generation, worker, lines, tried) {
            self.set.note_output(generation, lines);
        }
    }

    /// Passes on the lines that wait, when a candidate serves or is given up.
    pub(super) fn end_candidate_output(&mut self, generation: GenerationId) {
        let lines = self.output.end_candidate(generation);
        self.set.note_output(generation, &lines);
    }
}
