//! Owns the output of a candidate's workers while they start: lines that several of them write alike are passed on
//! once, and then the number of workers that wrote the same.
//!
//! Never here: a line of a worker that serves, or where lines go.

use std::collections::BTreeMap;

use crate::name::{GenerationId, WorkerId};

/// The first worker's lines are passed on as they come; those of the others wait until it is known what becomes of
/// their worker. The lines of a worker that fails with the same lines are dropped and counted, others are passed on.
#[derive(Debug, Default)]
pub(in crate::supervisor::app) struct CandidateOutput {
    generation: GenerationId,
    lead: Option<WorkerId>,
    /// The lines of the first worker, the lead, without the parts that differ from one process to the next.
    said: Vec<String>,
    others: BTreeMap<WorkerId, OtherOutput>,
    /// The number of echoes that was reported last.
    told: usize,
}

/// The output of a worker that is not the lead.
#[derive(Debug)]
enum OtherOutput {
    /// The worker is starting; these lines wait.
    Held(Vec<String>),
    /// The worker failed, and has so far written so many lines just as the lead did.
    Echo(usize),
    /// The worker's lines are passed on.
    Free,
}

impl CandidateOutput {
    /// Takes in a line; returns it, behind the lines that waited before it, when it is to be passed on now.
    pub(in crate::supervisor::app) fn take_line(
        &mut self,
        generation: GenerationId,
        worker: WorkerId,
        line: String,
    ) -> Vec<String> {
        if self.generation != generation {
            *self = Self { generation, ..Self::default() };
        }
        if *self.lead.get_or_insert(worker) == worker {
            if self.said.len() < MOST {
                self.said.push(essence(&line));
            }
            return vec![line];
        }
        let voice = self.others.entry(worker).or_insert(OtherOutput::Held(Vec::new()));
        match voice {
            OtherOutput::Held(lines) if lines.len() < MOST => {
                lines.push(line);
                Vec::new()
            }
            OtherOutput::Held(lines) => {
                let mut lines = std::mem::take(lines);
                lines.push(line);
                *voice = OtherOutput::Free;
                lines
            }
            OtherOutput::Echo(place) if self.said.get(*place).is_none_or(|said| *said == essence(&line)) => {
                *place += 1;
                Vec::new()
            }
            OtherOutput::Echo(_) => {
                *voice = OtherOutput::Free;
                vec![line]
            }
            OtherOutput::Free => vec![line],
        }
    }

    /// Takes in all lines of a worker after its end; returns whether the lead wrote the same.
    pub(in crate::supervisor::app) fn take_all(
        &mut self,
        generation: GenerationId,
        worker: WorkerId,
        lines: &[String],
    ) -> bool {
        for line in lines {
            self.take_line(generation, worker, line.clone());
        }
        let lead = self.lead.is_none_or(|lead| lead == worker);
        self.failed(worker);
        !lead && matches!(self.others.get(&worker), Some(OtherOutput::Echo(_)))
    }

    /// Notes that the worker takes requests; returns its lines that waited.
    pub(in crate::supervisor::app) fn ready(&mut self, worker: WorkerId) -> Vec<String> {
        match self.others.insert(worker, OtherOutput::Free) {
            Some(OtherOutput::Held(lines)) => lines,
            _ => Vec::new(),
        }
    }

    /// Notes that the worker has failed; returns its lines unless the lead wrote the same.
    pub(in crate::supervisor::app) fn failed(&mut self, worker: WorkerId) -> Vec<String> {
        if self.lead.is_none_or(|lead| lead == worker) {
            return Vec::new();
        }
        let voice = self.others.entry(worker).or_insert(OtherOutput::Held(Vec::new()));
        let OtherOutput::Held(lines) = voice else { return Vec::new() };
        let lines = std::mem::take(lines);
        let alike = lines.iter().zip(&self.said).all(|(line, said)| essence(line) == *said)
            && lines.len() <= self.said.len();
        if alike {
            *voice = OtherOutput::Echo(lines.len());
            return Vec::new();
        }
        *voice = OtherOutput::Free;
        lines
    }

    /// Whether this is the output of that generation's workers.
    pub(in crate::supervisor::app) fn is_of(&self, generation: GenerationId) -> bool {
        self.generation == generation
    }

    /// Ends the output, when the candidate serves or is given up: returns the lines that still wait, and at their end
    /// how many workers wrote the same as the lead.
    pub(in crate::supervisor::app) fn end(&mut self) -> Vec<(WorkerId, String)> {
        let workers: Vec<WorkerId> = self.others.keys().copied().collect();
        let mut waiting = Vec::new();
        for worker in workers {
            waiting.extend(self.failed(worker).into_iter().map(|line| (worker, line)));
        }
        let echoes = self.others.iter().filter(|(_, voice)| matches!(voice, OtherOutput::Echo(1..)));
        let echoes: Vec<WorkerId> = echoes.map(|(worker, _)| *worker).collect();
        if let Some(last) = echoes.last().filter(|_| echoes.len() > self.told) {
            self.told = echoes.len();
            let s = if self.told == 1 { "" } else { "s" };
            waiting.push((*last, format!("[the same from {} more worker{s}]", self.told)));
        }
        waiting
    }
}

/// The line without its numbers: process ids, times, addresses, the worker's own number.
fn essence(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        text.push_str(&rest[..at]);
        text.push('0');
        rest = &rest[at..];
        // `0x7f3a` is an address.
        let hexadecimal = rest.starts_with("0x");
        let of_number = |c: char| c.is_ascii_digit() || (hexadecimal && (c.is_ascii_hexdigit() || c == 'x'));
        rest = rest.trim_start_matches(of_number);
    }
    text + rest
}

/// The most lines of one worker that are kept.
const MOST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const TRIAL: GenerationId = GenerationId(2);

    fn take_line(candidate_output: &mut CandidateOutput, worker: u64, lines: &[&str]) -> Vec<String> {
        lines
            .iter()
            .flat_map(|line| candidate_output.take_line(TRIAL, WorkerId(worker), (*line).to_owned()))
            .collect()
    }

    #[test]
    fn the_same_end_of_three_workers_is_told_once_and_counted() {
        let mut candidate_output = CandidateOutput::default();
        assert_eq!(take_line(&mut candidate_output, 1, &["Traceback", "[pid 71] Error at 0x7f01"]).len(), 2);
        assert_eq!(take_line(&mut candidate_output, 2, &["Traceback", "[pid 72] Error at 0x9ab2"]), [""; 0]);
        assert_eq!(candidate_output.failed(WorkerId(1)), [""; 0]);
        assert_eq!(candidate_output.failed(WorkerId(2)), [""; 0]);
        assert_eq!(take_line(&mut candidate_output, 3, &["Traceback"]), [""; 0]);
        assert_eq!(candidate_output.failed(WorkerId(3)), [""; 0]);
        assert_eq!(candidate_output.end(), [(WorkerId(3), "[the same from 2 more workers]".into())]);
        assert_eq!(
            take_line(&mut candidate_output, 3, &["[pid 9] Error at 0x1"]),
            [""; 0],
            "what comes after its exit"
        );
        assert_eq!(candidate_output.end(), [], "told once");
    }

    #[test]
    fn last_words_are_compared_as_a_whole() {
        let mut candidate_output = CandidateOutput::default();
        let mut heard =
            |worker, line: &str| candidate_output.take_all(TRIAL, WorkerId(worker), &[line.to_owned()]);
        assert_eq!([heard(1, "died at 1"), heard(2, "died at 2"), heard(3, "burnt")], [false, true, false]);
        assert_eq!(candidate_output.end(), [(WorkerId(2), "[the same from 1 more worker]".into())]);
    }

    #[test]
    fn what_differs_is_passed_on() {
        let mut candidate_output = CandidateOutput::default();
        take_line(&mut candidate_output, 1, &["Traceback", "KeyError: a"]);
        assert_eq!(take_line(&mut candidate_output, 2, &["Traceback", "KeyError: b"]), [""; 0]);
        assert_eq!(candidate_output.failed(WorkerId(2)), ["Traceback", "KeyError: b"]);
        assert_eq!(take_line(&mut candidate_output, 3, &["Traceback", "KeyError: a", "and more"]), [""; 0]);
        assert_eq!(candidate_output.end().len(), 3);
        assert_eq!(take_line(&mut candidate_output, 3, &["later"]), ["later"]);
    }

    #[test]
    fn a_worker_that_becomes_ready_has_all_its_lines() {
        let mut candidate_output = CandidateOutput::default();
        take_line(&mut candidate_output, 1, &["listening"]);
        assert_eq!(take_line(&mut candidate_output, 2, &["listening"]), [""; 0]);
        assert_eq!(candidate_output.ready(WorkerId(2)), ["listening"]);
        assert_eq!(take_line(&mut candidate_output, 2, &["more"]), ["more"]);
        assert_eq!(candidate_output.end(), []);
    }

    #[test]
    fn a_worker_that_writes_a_lot_is_not_held_for_ever_and_a_new_generation_begins_anew() {
        let mut candidate_output = CandidateOutput::default();
        take_line(&mut candidate_output, 1, &["a"]);
        assert_eq!(take_line(&mut candidate_output, 2, &["x"; MOST]), [""; 0]);
        assert_eq!(take_line(&mut candidate_output, 2, &["x"]).len(), MOST + 1);
        assert_eq!(candidate_output.take_line(GenerationId(3), WorkerId(9), "b".into()), ["b"]);
    }

    #[test]
    fn a_worker_without_a_word_is_not_counted() {
        let mut candidate_output = CandidateOutput::default();
        take_line(&mut candidate_output, 1, &["a"]);
        assert_eq!(candidate_output.failed(WorkerId(2)), [""; 0]);
        assert_eq!(candidate_output.end(), []);
    }
}
