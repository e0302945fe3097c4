//! Owns the one decision about an app's side processes: which to start and which to end, given the wanted and the
//! existing ones. Pure.
//!
//! Never here: time, or a process.

use crate::name::{GenerationId, WorkerId};

/// A side process that the serving generation wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedProcess<'a> {
    pub(super) name: &'a str,
    pub(super) count: usize,
    /// Whether one may be started now, after those that failed.
    pub(super) may_start: bool,
}

/// A side process that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessView<'a> {
    pub(super) worker: WorkerId,
    pub(super) name: &'a str,
    pub(super) generation: GenerationId,
    /// Whether it was told to end.
    pub(super) ending: bool,
}

/// A step that a side process needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProcessStep {
    /// Start one of that name, of the serving generation.
    Start(String),
    End(WorkerId),
}

/// The steps to take now, while `generation` serves. There are never more processes of one name than wanted: one of an
/// earlier generation is gone before its successor starts.
pub(super) fn plan(
    generation: GenerationId,
    wanted: &[WantedProcess<'_>],
    there: &[ProcessView<'_>],
) -> Vec<ProcessStep> {
    let mut steps = Vec::new();
    for view in there.iter().filter(|view| !view.ending) {
        let mine = wanted.iter().find(|wanted| wanted.name == view.name && view.generation == generation);
        let older = there.iter().filter(|other| {
            other.name == view.name
                && other.generation == generation
                && !other.ending
                && other.worker < view.worker
        });
        if mine.is_none_or(|wanted| older.count() >= wanted.count) {
            steps.push(ProcessStep::End(view.worker));
        }
    }
    for wanted in wanted.iter().filter(|wanted| wanted.may_start) {
        let there = there.iter().filter(|view| view.name == wanted.name).count();
        let missing = wanted.count.saturating_sub(there);
        steps.extend((0..missing).map(|_| ProcessStep::Start(wanted.name.to_owned())));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["a", "b", "c"];

    /// Deploys, ends and slow ends in any order: never more of a name than the largest number wanted of it, and all
    /// wanted ones of the last generation once nothing changes any more.
    #[test]
    fn a_history_never_has_two_of_one_and_comes_to_rest() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut there: Vec<(WorkerId, usize, GenerationId, bool)> = Vec::new();
            let (mut generation, mut counts, mut next) = (GenerationId(1), [1_usize, 2, 0], 0);
            for round in 0..120 {
                let calm = round >= 80;
                match random.u8(0..6) {
                    0 if !calm => {
                        generation = generation.next();
                        counts = [random.usize(0..4), random.usize(0..3), random.usize(0..2)];
                    }
                    1 if !calm && !there.is_empty() => drop(there.swap_remove(random.usize(0..there.len()))),
                    _ => there.retain(|(_, _, _, ending)| !ending || (!calm && random.bool())),
                }
                let wanted: Vec<_> = (0..3)
                    .map(|at| WantedProcess {
                        name: NAMES[at],
                        count: counts[at],
                        may_start: calm || random.bool(),
                    })
                    .collect();
                let views: Vec<_> = there
                    .iter()
                    .map(|(worker, at, generation, ending)| ProcessView {
                        worker: *worker,
                        name: NAMES[*at],
                        generation: *generation,
                        ending: *ending,
                    })
                    .collect();
                for step in plan(generation, &wanted, &views) {
                    match step {
                        ProcessStep::Start(name) => {
                            next += 1;
                            let at = NAMES.iter().position(|known| *known == name).unwrap();
                            there.push((WorkerId(next), at, generation, false));
                            let of_name = there.iter().filter(|(_, of, ..)| *of == at).count();
                            assert!(of_name <= counts[at], "seed {seed}, round {round}: {of_name} of {name}");
                        }
                        ProcessStep::End(worker) => {
                            there.iter_mut().find(|(known, ..)| *known == worker).unwrap().3 = true;
                        }
                    }
                }
            }
            for (at, count) in counts.iter().enumerate() {
                let running =
                    there.iter().filter(|(_, of, by, ending)| *of == at && *by == generation && !ending);
                assert_eq!(running.count(), *count, "seed {seed}: {there:?}");
            }
            assert_eq!(there.len(), counts.iter().sum::<usize>(), "seed {seed}");
        }
    }
}
