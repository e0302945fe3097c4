//! Owns what an app's task makes of what it is told of its workers: their words, their ends, and what the tasks that it
//! started have found.
//!
//! Never here: what follows for the other workers (`plan`), or for a generation (`deploy`).

use crate::backend::{self, Exit, Started};
use crate::name::WorkerId;
use crate::pool::Address;

use super::app_task::{AppTask, Outcome};
use super::worker::{Event, State};

impl AppTask {
    /// The backend tells of a worker.
    pub(in crate::manager) fn happened(&mut self, event: backend::Event) {
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
        if record.believes() {
            self.take_its_word(worker);
        }
    }

    /// The word of a worker counts at once where nobody else can listen; who has its port is looked at first.
    fn take_its_word(&mut self, worker: WorkerId) {
        let Some(record) = self.crew.get(&worker) else { return };
        match record.address.clone() {
            Some(address @ Address::Tcp(_)) if matches!(record.state, State::Starting { .. }) => {
                self.confirm(worker, address);
            }
            Some(_) => self.ready(worker, "said so"),
            // Without its address nobody could send it anything: that comes with `Started`.
            None => {}
        }
    }

    pub(in crate::manager) fn came(&mut self, outcome: Outcome) {
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
            self.take_its_word(worker);
        } else {
            self.feed(worker, Event::Started, "has a process");
        }
    }
}
