//! Owns the one decision about an app's workers: which to start and which to let go, given the wanted and the existing
//! ones.
//!
//! Never here: time, processes, or a procedure that remembers how far it got. Rollout, recycling, replacing a crashed
//! worker and resizing are all this one function, which is called again after every event.

use crate::name::{GenerationId, WorkerId};

use super::worker_state::WorkerPhase;

/// The workers that an app should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Desired {
    /// The generation that serves; `None` before the first has been ready.
    pub(super) current: Option<GenerationTarget>,
    /// The generation that is to take over once as many of its workers as it wants are ready.
    pub(super) candidate: Option<GenerationTarget>,
    /// The generation that a share of the clients gets until somebody decides: it is kept as the current one is.
    pub(super) canary: Option<GenerationTarget>,
    /// The generation that would serve again if the current one were taken back: it keeps the workers it has.
    pub(super) before: Option<GenerationId>,
}

/// A generation that workers may be started of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GenerationTarget {
    pub(super) generation: GenerationId,
    /// How many workers the generation wants; what a new version wants does not change the one that serves.
    pub(super) count: usize,
    /// Whether the generation's crash budget allows a start now.
    pub(super) may_start: bool,
}

/// The facts about a worker that the plan needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WorkerView {
    pub(super) worker: WorkerId,
    pub(super) generation: GenerationId,
    pub(super) state: WorkerPhase,
    /// Whether the worker has served long enough and is due for recycling.
    pub(super) stale: bool,
    /// Whether the worker was let go by [`RetireReason::Recycled`].
    pub(super) recycling: bool,
    /// Tunnels that it holds.
    pub(super) tunnels: usize,
    /// Requests that it has in hand.
    pub(super) in_hand: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Start one worker of this generation.
    Start(GenerationId),
    /// Let this generation serve, in one step.
    Promote(GenerationId),
    /// Let this worker finish and go; one that is not ready yet goes at once.
    Retire(WorkerId, RetireReason),
}

/// Why a worker is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetireReason {
    /// The worker's generation neither serves nor is going to.
    Superseded,
    /// The worker was due, and its replacement is ready.
    Recycled,
    /// There are more workers than wanted.
    Surplus,
}

/// The steps to take now; none when all is as desired. The steps never take the ready workers of the serving generation
/// below min(wanted, as many as there are).
pub(super) fn plan(desired: &Desired, workers: &[WorkerView]) -> Vec<Step> {
    let Desired { current, candidate, canary, before } = *desired;
    if let Some(target) = candidate
        && WorkerSet::of(target.generation, workers).ready.len() >= target.count
    {
        // Further steps depend on the result of the promotion, after which the plan is made again.
        return vec![Step::Promote(target.generation)];
    }
    let mut steps = Vec::new();
    let id = |target: Option<GenerationTarget>| target.map(|target| target.generation);
    let wanted = [id(current), id(candidate), id(canary), before];
    retire_others(&wanted, workers, &mut steps);
    if let Some(target) = candidate {
        raise(target, workers, &mut steps);
    }
    if let Some(target) = current {
        let deploying = if candidate.is_some() { Deploying::Yes } else { Deploying::No };
        keep(target, deploying, workers, &mut steps);
    }
    if let Some(target) = canary {
        keep(target, Deploying::No, workers, &mut steps);
    }
    steps
}

/// Whether another generation is about to take over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deploying {
    Yes,
    No,
}

/// The workers of one generation that count.
struct WorkerSet {
    /// The workers, the oldest first.
    ready: Vec<WorkerView>,
    /// The workers, the oldest first.
    starting: Vec<WorkerView>,
    /// Whether a recycled worker, of any generation, is still there.
    recycling: bool,
}

impl WorkerSet {
    fn of(generation: GenerationId, workers: &[WorkerView]) -> Self {
        let mut mine: Vec<_> = workers.iter().filter(|view| view.generation == generation).copied().collect();
        mine.sort_unstable_by_key(|view| view.worker);
        let recycling = workers.iter().any(|view| view.recycling && view.state != WorkerPhase::Exited);
        let (ready, rest): (Vec<_>, Vec<_>) =
            mine.into_iter().partition(|view| view.state == WorkerPhase::Ready);
        let starting =
            rest.into_iter().filter(|view| matches!(view.state, WorkerPhase::Starting { .. })).collect();
        Self { ready, starting, recycling }
    }

    fn on_hand(&self) -> usize {
        self.ready.len() + self.starting.len()
    }

    fn any_stale(&self) -> bool {
        self.ready.iter().any(|view| view.stale)
    }
}

fn retire_others(wanted: &[Option<GenerationId>], workers: &[WorkerView], steps: &mut Vec<Step>) {
    let others = workers.iter().filter(|view| !wanted.contains(&Some(view.generation)));
    for view in others.filter(|view| matches!(view.state, WorkerPhase::Ready | WorkerPhase::Starting { .. }))
    {
        steps.push(Step::Retire(view.worker, RetireReason::Superseded));
    }
}

/// Brings a candidate up to its wanted number; surplus ready workers take over with the others and go then.
fn raise(target: GenerationTarget, workers: &[WorkerView], steps: &mut Vec<Step>) {
    let set = WorkerSet::of(target.generation, workers);
    start_up_to(target.count, target, &set, steps);
    cancel_down_to(target.count, &set, steps);
}

/// Keeps the serving generation at its wanted number, and replaces one due worker at a time.
fn keep(target: GenerationTarget, deploying: Deploying, workers: &[WorkerView], steps: &mut Vec<Step>) {
    let set = WorkerSet::of(target.generation, workers);
    // A worker more than wanted may run for as long as one is due, because the replacement comes first.
    let spare = usize::from(set.any_stale() && !set.recycling);
    // A deploy replaces all workers anyway; a replacement that is on its way may still come.
    let started = if deploying == Deploying::Yes { 0 } else { spare };
    start_up_to(target.count + started, target, &set, steps);
    cancel_down_to(target.count + spare, &set, steps);
    release_surplus(target.count, &set, steps);
}

fn start_up_to(count: usize, target: GenerationTarget, set: &WorkerSet, steps: &mut Vec<Step>) {
    if target.may_start {
        let unreadable = count.saturating_sub(set.on_hand());
        steps.extend((0..unreadable).map(|_| Step::Start(target.generation)));
    }
}

fn cancel_down_to(count: usize, set: &WorkerSet, steps: &mut Vec<Step>) {
    let surplus = set.on_hand().saturating_sub(count);
    let newest_first = set.starting.iter().rev();
    steps.extend(newest_first.take(surplus).map(|view| Step::Retire(view.worker, RetireReason::Surplus)));
}

/// Lets the workers go that are due, one of them as the recycled one; then those that hold the fewest tunnels, of these
/// those with the least in hand, of these the newest.
fn release_surplus(count: usize, set: &WorkerSet, steps: &mut Vec<Step>) {
    let surplus = set.ready.len().saturating_sub(count);
    let due = set.ready.iter().filter(|view| view.stale);
    let mut fresh: Vec<_> = set.ready.iter().rev().filter(|view| !view.stale).collect();
    fresh.sort_by_key(|view| (view.tunnels, view.in_hand));
    let mut recycling = set.recycling;
    for view in due.chain(fresh).take(surplus) {
        let first_due = view.stale && !std::mem::replace(&mut recycling, true);
        let reason = if first_due { RetireReason::Recycled } else { RetireReason::Surplus };
        steps.push(Step::Retire(view.worker, reason));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    fn target(generation: u64, count: usize) -> Option<GenerationTarget> {
        Some(GenerationTarget { generation: GenerationId(generation), count, may_start: true })
    }

    fn view(worker: u64, generation: u64, state: WorkerPhase) -> WorkerView {
        let (worker, generation) = (WorkerId(worker), GenerationId(generation));
        WorkerView { worker, generation, state, stale: false, recycling: false, tunnels: 0, in_hand: 0 }
    }

    fn starting() -> WorkerPhase {
        WorkerPhase::Starting { give_up: Instant::now() }
    }

    fn start(generation: u64) -> Step {
        Step::Start(GenerationId(generation))
    }

    #[test]
    fn the_first_generation_starts_in_parallel_and_serves_once_all_are_ready() {
        let desired = Desired { current: None, candidate: target(1, 2), canary: None, before: None };
        assert_eq!(plan(&desired, &[]), [start(1), start(1)]);

        let half = [view(1, 1, WorkerPhase::Ready), view(2, 1, starting())];
        assert_eq!(plan(&desired, &half), []);

        let all = [view(1, 1, WorkerPhase::Ready), view(2, 1, WorkerPhase::Ready)];
        assert_eq!(plan(&desired, &all), [Step::Promote(GenerationId(1))]);
    }

    #[test]
    fn a_rollout_promotes_in_one_step_and_then_retires_the_old() {
        let desired = Desired { current: target(1, 1), candidate: target(2, 1), canary: None, before: None };
        let workers = [view(1, 1, WorkerPhase::Ready), view(2, 2, WorkerPhase::Ready)];
        assert_eq!(plan(&desired, &workers), [Step::Promote(GenerationId(2))]);

        let promoted = Desired { current: target(2, 1), candidate: None, canary: None, before: None };
        assert_eq!(plan(&promoted, &workers), [Step::Retire(WorkerId(1), RetireReason::Superseded)]);
    }

    #[test]
    fn the_generation_before_keeps_what_it_has_and_is_not_started_during_a_probation() {
        let before = Some(GenerationId(1));
        let desired = Desired { current: target(2, 1), candidate: None, canary: None, before };
        let workers = [view(1, 1, WorkerPhase::Ready), view(2, 2, WorkerPhase::Ready)];
        assert_eq!(plan(&desired, &workers), []);
        assert_eq!(plan(&desired, &workers[1..]), [], "what it loses is not replaced");

        let due = [WorkerView { stale: true, ..workers[0] }, workers[1]];
        assert_eq!(plan(&desired, &due), [], "nor is what is due");

        let third = Desired { candidate: target(3, 1), ..desired };
        assert_eq!(plan(&third, &workers), [start(3)]);
    }

    #[test]
    fn a_canary_is_kept_beside_what_serves_until_it_is_a_candidate_or_nothing() {
        let desired = Desired { current: target(1, 2), candidate: None, canary: target(2, 1), before: None };
        let workers =
            [view(1, 1, WorkerPhase::Ready), view(2, 1, WorkerPhase::Ready), view(3, 2, WorkerPhase::Ready)];
        assert_eq!(plan(&desired, &workers), [], "it does not take over by itself");
        assert_eq!(plan(&desired, &workers[..2]), [start(2)], "what it loses is replaced");
        assert_eq!(plan(&desired, &workers[1..]), [start(1)]);
        let promoted = Desired { candidate: target(2, 2), canary: None, ..desired };
        assert_eq!(plan(&promoted, &workers), [start(2)]);
        let aborted = Desired { canary: None, ..desired };
        assert_eq!(plan(&aborted, &workers), [Step::Retire(WorkerId(3), RetireReason::Superseded)]);
    }

    #[test]
    fn a_crash_during_a_rollout_is_replaced_in_the_old_generation_too() {
        let desired = Desired { current: target(1, 1), candidate: target(2, 1), canary: None, before: None };
        assert_eq!(plan(&desired, &[view(2, 2, starting())]), [start(1)]);
    }

    #[test]
    fn a_worker_that_is_due_goes_when_its_replacement_is_ready() {
        let desired = Desired { current: target(1, 2), candidate: None, canary: None, before: None };
        let mut workers = vec![view(1, 1, WorkerPhase::Ready), view(2, 1, WorkerPhase::Ready)];
        workers[0].stale = true;
        workers[1].stale = true;
        assert_eq!(plan(&desired, &workers), [start(1)]);

        workers.push(view(3, 1, starting()));
        assert_eq!(plan(&desired, &workers), []);

        workers[2].state = WorkerPhase::Ready;
        assert_eq!(plan(&desired, &workers), [Step::Retire(WorkerId(1), RetireReason::Recycled)]);

        workers[0].state = WorkerPhase::Draining { give_up: Instant::now() };
        workers[0].recycling = true;
        assert_eq!(plan(&desired, &workers), [], "the second waits until the first is gone");
    }

    #[test]
    fn a_smaller_count_takes_starting_workers_before_ready_ones() {
        let desired = Desired { current: target(1, 1), candidate: None, canary: None, before: None };
        let workers =
            [view(1, 1, WorkerPhase::Ready), view(2, 1, WorkerPhase::Ready), view(3, 1, starting())];
        let expected = [3, 2].map(|worker| Step::Retire(WorkerId(worker), RetireReason::Surplus));
        assert_eq!(plan(&desired, &workers), expected);
    }

    #[test]
    fn a_spent_budget_starts_nothing() {
        let current = target(1, 4).map(|target| GenerationTarget { may_start: false, ..target });
        assert_eq!(plan(&Desired { current, candidate: None, canary: None, before: None }, &[]), []);
    }

    /// An app with its workers, which events move on by chance; checks after every event.
    struct Simulation {
        seed: u64,
        random: fastrand::Rng,
        desired: Desired,
        /// How many workers the generation before wants when it serves again.
        count_before: usize,
        workers: Vec<WorkerView>,
        latest: u64,
        next_worker: u64,
        given_up: HashSet<GenerationId>,
    }

    impl Simulation {
        fn new(seed: u64) -> Self {
            let mut random = fastrand::Rng::with_seed(seed);
            let desired = Desired {
                current: None,
                candidate: target(1, random.usize(1..5)),
                canary: None,
                before: None,
            };
            let (given_up, workers) = (HashSet::new(), Vec::new());
            Self { seed, random, desired, count_before: 0, workers, latest: 1, next_worker: 0, given_up }
        }

        /// Has one of the things happen that can happen to an app.
        fn disturb(&mut self) {
            match self.random.u32(0..12) {
                0 => {
                    let wanted = self.random.usize(1..6);
                    let resized = |target: Option<GenerationTarget>| {
                        target.map(|t| GenerationTarget { count: wanted, ..t })
                    };
                    self.desired.current = resized(self.desired.current);
                    self.desired.candidate = resized(self.desired.candidate);
                }
                1 => self.deploy(),
                2 => self.reject(),
                3 => {
                    let allowed = self.random.bool();
                    for target in [&mut self.desired.current, &mut self.desired.candidate] {
                        *target = target.map(|target| GenerationTarget { may_start: allowed, ..target });
                    }
                }
                4 => self.touch(|view| view.stale = true),
                5 => self.touch(|view| view.state = WorkerPhase::Exited),
                6 if self.random.bool() => self.decide(),
                6 => self.pass(),
                7 => self.take_back(),
                _ => self.touch(advance),
            }
        }

        fn deploy(&mut self) {
            self.given_up.extend(self.desired.candidate.map(|target| target.generation));
            self.latest += 1;
            self.desired.candidate = target(self.latest, self.random.usize(1..6));
        }

        /// Holds the candidate as a canary, has a held one take over, or gives it up.
        fn decide(&mut self) {
            match (self.desired.candidate, self.desired.canary) {
                (candidate, None) if self.desired.current.is_some() => {
                    self.desired.candidate = None;
                    let count = self.random.usize(1..3);
                    self.desired.canary = candidate.map(|target| GenerationTarget { count, ..target });
                }
                (None, Some(held)) if self.random.bool() => {
                    self.desired.canary = None;
                    let count = self.random.usize(1..6);
                    self.desired.candidate = Some(GenerationTarget { count, ..held });
                }
                (_, held) => {
                    self.given_up.extend(held.map(|target| target.generation));
                    self.desired.canary = None;
                }
            }
        }

        /// Ends the probation successfully.
        fn pass(&mut self) {
            self.given_up.extend(self.desired.before.take());
        }

        fn take_back(&mut self) {
            let Some(before) = self.desired.before.take() else { return };
            self.given_up.extend(self.desired.current.map(|target| target.generation));
            self.desired.current = target(before.0, self.count_before);
        }

        fn reject(&mut self) {
            self.given_up.extend(self.desired.candidate.take().map(|target| target.generation));
        }

        fn touch(&mut self, change: impl FnOnce(&mut WorkerView)) {
            if let Some(at) = self.random.choice(0..self.workers.len()) {
                change(&mut self.workers[at]);
            }
        }

        /// Carries the plan out; returns whether there was anything to do.
        fn act(&mut self) -> bool {
            let before = self.ready();
            let steps = plan(&self.desired, &self.workers);
            for step in &steps {
                match *step {
                    Step::Start(generation) => self.start(generation),
                    Step::Promote(generation) => self.promote(generation),
                    Step::Retire(worker, reason) => self.retire(worker, reason),
                }
                let wanted = self.desired.current.map_or(0, |target| target.count);
                assert!(self.ready() >= wanted.min(before), "seed {}: {steps:?} in {self:?}", self.seed);
            }
            let recycling =
                self.workers.iter().filter(|v| v.recycling && v.state != WorkerPhase::Exited).count();
            assert!(recycling <= 1, "seed {}: {recycling} recycled at a time", self.seed);
            self.workers.retain(|view| view.state != WorkerPhase::Exited || self.random.bool());
            !steps.is_empty()
        }

        fn start(&mut self, generation: GenerationId) {
            let targets = [self.desired.current, self.desired.candidate, self.desired.canary];
            let target = targets.into_iter().flatten().find(|target| target.generation == generation);
            assert!(target.is_some_and(|target| target.may_start), "seed {}: {generation}", self.seed);
            assert!(!self.given_up.contains(&generation), "seed {}: {generation} was given up", self.seed);
            self.next_worker += 1;
            self.workers.push(view(self.next_worker, generation.0, starting()));
        }

        fn promote(&mut self, generation: GenerationId) {
            let candidate = self.desired.candidate.take().expect("only a candidate is promoted");
            assert_eq!(candidate.generation, generation, "seed {}", self.seed);
            let served = self.desired.current.replace(candidate);
            match (self.desired.before, served) {
                // The generation had not passed its probation: the one that it would have been taken back to stays.
                (Some(_), served) => self.given_up.extend(served.map(|target| target.generation)),
                (None, Some(served)) if self.random.bool() => {
                    self.desired.before = Some(served.generation);
                    self.count_before = served.count;
                }
                (None, served) => self.given_up.extend(served.map(|target| target.generation)),
            }
        }

        fn retire(&mut self, worker: WorkerId, reason: RetireReason) {
            let view = self.workers.iter_mut().find(|view| view.worker == worker).expect("a known worker");
            assert_ne!(Some(view.generation), self.desired.before, "seed {}: {worker} is kept", self.seed);
            view.recycling = reason == RetireReason::Recycled;
            view.state = match view.state {
                WorkerPhase::Starting { .. } => WorkerPhase::Stopping { kill_at: Instant::now() },
                WorkerPhase::Ready => WorkerPhase::Draining { give_up: Instant::now() },
                gone => panic!("seed {}: {gone:?} was retired", self.seed),
            };
        }

        fn ready(&self) -> usize {
            let current = self.desired.current.map(|target| target.generation);
            self.workers
                .iter()
                .filter(|v| v.state == WorkerPhase::Ready && Some(v.generation) == current)
                .count()
        }

        /// Lets nothing fail any more: every worker moves on until there is nothing to do.
        fn settle(&mut self) {
            self.given_up.extend(self.desired.canary.take().map(|target| target.generation));
            for target in [&mut self.desired.current, &mut self.desired.candidate] {
                *target = target.map(|target| GenerationTarget { may_start: true, ..target });
            }
            for _ in 0..200 {
                // A generation that was promoted a moment ago passes a moment later.
                self.pass();
                let busy = self.act();
                let moving = self.workers.iter().any(|view| view.state != WorkerPhase::Ready);
                self.workers.iter_mut().for_each(advance);
                self.workers.retain(|view| view.state != WorkerPhase::Exited);
                if !busy && !moving {
                    return;
                }
            }
            panic!("seed {}: does not converge: {self:?}", self.seed);
        }
    }

    impl std::fmt::Debug for Simulation {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:?}", self.desired)?;
            self.workers.iter().try_for_each(|view| write!(f, "\n  {view:?}"))
        }
    }

    fn advance(view: &mut WorkerView) {
        view.state = match view.state {
            WorkerPhase::Starting { .. } => WorkerPhase::Ready,
            WorkerPhase::Ready => WorkerPhase::Ready,
            WorkerPhase::Draining { .. } => {
                WorkerPhase::Stopping { kill_at: Instant::now() + Duration::from_secs(1) }
            }
            WorkerPhase::Stopping { .. } | WorkerPhase::Exited => WorkerPhase::Exited,
        };
    }

    #[test]
    fn every_history_keeps_what_serves_and_converges() {
        let first = fastrand::u64(..1 << 48);
        for seed in first..first + 5_000 {
            let mut simulation = Simulation::new(seed);
            for _ in 0..simulation.random.usize(1..120) {
                simulation.disturb();
                simulation.act();
            }
            simulation.settle();
            let Some(current) = simulation.desired.current else {
                assert!(simulation.workers.is_empty(), "seed {seed}: {simulation:?}");
                continue;
            };
            let exact = simulation.workers.iter().all(|view| {
                view.generation == current.generation && view.state == WorkerPhase::Ready && !view.stale
            });
            assert!(exact && simulation.workers.len() == current.count, "seed {seed}: {simulation:?}");
            assert!(simulation.desired.candidate.is_none(), "seed {seed}: {simulation:?}");
        }
    }
}
