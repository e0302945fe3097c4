//! Owns what becomes of a worker's line: it goes to the log and to followers, but for lines that several workers of a
//! candidate write alike.
//!
//! Never here: the message of a rejection (`deploys`), or keeping lines (`recent_output`).

use crate::api::LogLine;
use crate::name::{AppName, GenerationId, WorkerId};
use crate::supervisor::app_context::AppContext;

use super::candidate_output::CandidateOutput;

/// The output of an app's workers.
pub(in crate::supervisor::app) struct WorkerOutput {
    app: AppName,
    ctx: AppContext,
    candidate: CandidateOutput,
}

impl WorkerOutput {
    pub(in crate::supervisor::app) fn new(app: AppName, ctx: AppContext) -> Self {
        Self { app, ctx, candidate: CandidateOutput::default() }
    }

    /// Takes in a line of a worker; `tried`: its generation is the candidate. Returns the lines that were passed on
    /// because of it.
    pub(in crate::supervisor::app) fn line(
        &mut self,
        generation: GenerationId,
        worker: WorkerId,
        line: String,
        tried: bool,
    ) -> Vec<String> {
        let lines = if tried || self.candidate.is_of(generation) {
            self.candidate.take_line(generation, worker, line)
        } else {
            vec![line]
        };
        self.pass_on(generation, lines.into_iter().map(|line| (worker, line)))
    }

    /// Takes in that a worker has stopped starting; returns the lines that waited and were its own.
    pub(in crate::supervisor::app) fn start_ended(
        &mut self,
        generation: GenerationId,
        worker: WorkerId,
        is_ready: bool,
    ) -> Vec<String> {
        let lines = if is_ready { self.candidate.ready(worker) } else { self.candidate.failed(worker) };
        self.pass_on(generation, lines.into_iter().map(|line| (worker, line)))
    }

    /// Ends the output of a candidate that serves or is given up; returns the lines that waited.
    pub(in crate::supervisor::app) fn end_candidate(&mut self, generation: GenerationId) -> Vec<String> {
        let waiting = if self.candidate.is_of(generation) { self.candidate.end() } else { Vec::new() };
        self.pass_on(generation, waiting.into_iter())
    }

    /// Notes that a candidate serves: its workers' lines are passed on as they come from now on.
    pub(in crate::supervisor::app) fn forget_candidate(&mut self) {
        self.candidate = CandidateOutput::default();
    }

    /// Takes in the last lines of a failed worker whose output does not pass the server; returns whether no other
    /// worker of the candidate wrote the same. The lines are in the journal, but not among the server's own records,
    /// where people look first. `tried`: the generation is the candidate or on probation; its lines are then logged
    /// once, with the rejection.
    pub(in crate::supervisor::app) fn is_news(
        &mut self,
        generation: GenerationId,
        worker: WorkerId,
        lines: &[String],
        tried: bool,
    ) -> bool {
        let alike =
            (tried || self.candidate.is_of(generation)) && self.candidate.take_all(generation, worker, lines);
        if !alike && !tried {
            self.quote(generation, lines);
        }
        !alike
    }

    /// Logs the last lines of workers, for the journal of a server whose workers are units.
    pub(in crate::supervisor::app) fn quote(&self, generation: GenerationId, lines: &[String]) {
        if !self.ctx.backend.outlives() {
            return;
        }
        for line in &lines[lines.len().saturating_sub(MOST_QUOTED)..] {
            tracing::warn!(target: "app", app = %self.app, %generation, "{line}");
        }
    }

    /// Logs lines and hands them to followers.
    fn pass_on(
        &self,
        generation: GenerationId,
        lines: impl Iterator<Item = (WorkerId, String)>,
    ) -> Vec<String> {
        let passed = lines.map(|(worker, line)| {
            let app = &self.app;
            tracing::info!(target: "app", %app, %worker, %generation, "{line}");
            let t = self.ctx.unix_millis();
            self.ctx.output.push(LogLine { t, app: app.clone(), worker, generation, line: line.clone() });
            line
        });
        passed.collect()
    }
}

/// The most lines of a failed worker that are logged: an error with the place that it comes from.
const MOST_QUOTED: usize = 20;
