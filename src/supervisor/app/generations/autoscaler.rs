//! Owns how many workers an app is to have where that follows its load, and whether it has any while nobody asks.
//!
//! Time and load come in, a number comes out. Never here: which worker goes (`plan`), or what a load is made of
//! (`pool`).
//!
//! ```text
//!   awake ──nobody asked for `idle`──→ resting: none ──a request waits──→ waking: one
//!     ↑ level: one of least..=most                                          │
//!     └─────────────────────────a worker is ready───────────────────────────┘
//! ```

use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::Instant;

/// How many workers an app has, and why.
#[derive(Clone, Debug)]
pub(in crate::supervisor::app) struct Autoscaler {
    /// How many workers the app has while it is awake, as far as its limits allow.
    level: usize,
    rest: Wakefulness,
    /// Whether requests waited, for each of the last samples that count; the latest one is the lowest bit.
    waited: u16,
    /// The time since which one worker less would have been enough.
    quiet_since: Instant,
    /// The time when the app had something to do last.
    active: Instant,
    /// The number of claims ever made of the app, as of `active`.
    claims: u64,
    /// The memory in bytes of the largest worker so far of the generation that serves.
    largest: u64,
    sampled: Option<Instant>,
    /// Whether requests waited at the last look.
    waiting: bool,
    /// Whether one more worker is wanted and does not fit the app's memory.
    cramped: bool,
    last: Option<Resize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wakefulness {
    Awake,
    Resting,
    Waking,
}

/// The limits that a generation's settings set to the number of its workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::supervisor::app) struct ScalingLimits {
    pub(in crate::supervisor::app) workers: RangeInclusive<usize>,
    /// The time for which one worker less has to have been enough before a worker goes.
    pub(in crate::supervisor::app) quiet: Duration,
    /// The time without a request after which all workers go; `None`: they never go.
    pub(in crate::supervisor::app) idle: Option<Duration>,
    /// The memory in bytes that all workers may have together; `None`: no limit.
    pub(in crate::supervisor::app) memory: Option<u64>,
}

/// The load of the serving generation's workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::supervisor::app) struct Load {
    /// Workers that are ready.
    pub(in crate::supervisor::app) ready: usize,
    /// Ready workers that hold no tunnel.
    pub(in crate::supervisor::app) without_tunnels: usize,
    /// Tunnels that the other ready workers hold.
    pub(in crate::supervisor::app) tunnels: usize,
    /// Requests that one worker takes at a time, at least 1.
    pub(in crate::supervisor::app) seats: usize,
    /// Requests in hand.
    pub(in crate::supervisor::app) in_hand: usize,
    /// Requests that wait for a worker.
    pub(in crate::supervisor::app) waiting: usize,
    /// Requests ever asked of the app.
    pub(in crate::supervisor::app) claims: u64,
    /// The memory in bytes of the largest worker; `None`: not known.
    pub(in crate::supervisor::app) largest: Option<u64>,
}

/// Whether another generation is about to take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor::app) enum Rollout {
    /// A deploy is on its way: the number stays, but for an app that is woken.
    Underway,
    None,
}

/// A change of the number of workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::supervisor::app) struct Resize {
    pub(in crate::supervisor::app) at: Instant,
    pub(in crate::supervisor::app) from: usize,
    pub(in crate::supervisor::app) to: usize,
    /// A stable word for the cause of the change.
    pub(in crate::supervisor::app) cause: &'static str,
    /// A sentence that gives the cause to a person.
    pub(in crate::supervisor::app) why: String,
}

impl ScalingLimits {
    /// Whether the number is always the same.
    pub(in crate::supervisor::app) fn are_fixed(&self) -> bool {
        self.workers.start() == self.workers.end() && self.idle.is_none()
    }

    fn clamp(&self, count: usize) -> usize {
        count.clamp(*self.workers.start(), *self.workers.end())
    }
}

impl Autoscaler {
    /// Begins for an app that is awake and has as few workers as are allowed.
    pub(in crate::supervisor::app) fn new(now: Instant) -> Self {
        Self {
            level: 0,
            rest: Wakefulness::Awake,
            waited: 0,
            quiet_since: now,
            active: now,
            claims: 0,
            largest: 0,
            sampled: None,
            waiting: false,
            cramped: false,
            last: None,
        }
    }

    /// How many workers a generation with these limits is to have.
    pub(in crate::supervisor::app) fn count(&self, limits: &ScalingLimits) -> usize {
        match self.rest {
            Wakefulness::Awake => limits.clamp(self.level),
            Wakefulness::Resting => 0,
            Wakefulness::Waking => 1,
        }
    }

    /// Whether the app has no worker because nobody has asked, or had none until now.
    pub(in crate::supervisor::app) fn is_resting(&self) -> bool {
        self.rest != Wakefulness::Awake
    }

    /// The last change, if any.
    pub(in crate::supervisor::app) fn last(&self) -> Option<&Resize> {
        self.last.as_ref()
    }

    /// Whether more workers would be there if they fitted their memory.
    pub(in crate::supervisor::app) fn is_cramped(&self) -> bool {
        self.cramped
    }

    /// Takes over the number of workers that an earlier server has left.
    pub(in crate::supervisor::app) fn adopt(&mut self, workers: usize) {
        self.level = workers;
    }

    /// Forgets the load so far, because another generation serves or a person has said how many workers there are to
    /// be. An app that rests is awake afterwards. The number of workers stays.
    pub(in crate::supervisor::app) fn begin_anew(&mut self, now: Instant) {
        let Self { level, claims, last, .. } = self;
        let (level, claims, last) = (*level, *claims, last.take());
        *self = Self { level, claims, last, ..Self::new(now) };
    }

    /// Notes the load, and returns a change of the number of workers if the load asks for one.
    pub(in crate::supervisor::app) fn on(
        &mut self,
        load: &Load,
        limits: &ScalingLimits,
        rollout: Rollout,
        now: Instant,
    ) -> Option<Resize> {
        self.note(load, now);
        let change = match self.rest {
            Wakefulness::Resting if limits.idle.is_none() || load.waiting > 0 => {
                Some(self.wake(load, limits))
            }
            Wakefulness::Resting => None,
            Wakefulness::Waking if load.ready > 0 => self.stand_up(limits),
            Wakefulness::Awake | Wakefulness::Waking => self.sample(load, limits, rollout, now),
        };
        let (from, to, cause, why) = change?;
        self.forget(now);
        let resize = Resize { at: now, from, to, cause, why };
        self.last = Some(resize.clone());
        Some(resize)
    }

    /// The time when time alone may ask for a change; `None`: only a request that waits, or a worker that is ready, can
    /// ask for one.
    pub(in crate::supervisor::app) fn wake_at(&self, limits: &ScalingLimits) -> Option<Instant> {
        let pause = self.pause(limits)?;
        Some(self.sampled? + pause)
    }

    fn note(&mut self, load: &Load, now: Instant) {
        if load.claims != self.claims || load.in_hand + load.waiting + load.tunnels > 0 {
            self.active = now;
            self.claims = load.claims;
        }
        self.largest = self.largest.max(load.largest.unwrap_or_default());
        self.waiting = load.waiting > 0;
    }

    fn wake(&mut self, load: &Load, limits: &ScalingLimits) -> Rescaling {
        if limits.idle.is_none() {
            self.rest = Wakefulness::Awake;
            return (0, limits.clamp(self.level), "request", "it rests no longer".into());
        }
        self.rest = Wakefulness::Waking;
        (0, 1, "request", format!("{} after a rest", waits(load.waiting)))
    }

    /// Asks for the least number of workers once the first worker after a rest is ready.
    fn stand_up(&mut self, limits: &ScalingLimits) -> Option<Rescaling> {
        self.rest = Wakefulness::Awake;
        self.level = *limits.workers.start();
        (self.level > 1).then(|| (1, self.level, "request", "the first worker after a rest is ready".into()))
    }

    /// Takes a sample of the load when one is due, and asks for more or fewer workers by it.
    fn sample(
        &mut self,
        load: &Load,
        limits: &ScalingLimits,
        rollout: Rollout,
        now: Instant,
    ) -> Option<Rescaling> {
        let pause = self.pause(limits);
        if self.sampled.is_some_and(|last| pause.is_none_or(|pause| now < last + pause)) {
            return None;
        }
        self.sampled = Some(now);
        if rollout == Rollout::Underway {
            self.forget(now);
            return None;
        }
        if let Some(idle) = limits.idle.filter(|idle| now >= self.active + *idle) {
            let from = self.count(limits);
            self.rest = Wakefulness::Resting;
            return Some((from, 0, "idle", format!("nobody asked for {}", seconds(idle))));
        }
        if self.rest == Wakefulness::Waking {
            return None;
        }
        self.level = limits.clamp(self.level);
        // Workers that are missing come first: the requests may wait for nothing but them.
        if load.ready < self.level {
            self.forget(now);
            return None;
        }
        self.more(load, limits).or_else(|| self.fewer(load, limits, now))
    }

    fn more(&mut self, load: &Load, limits: &ScalingLimits) -> Option<Rescaling> {
        self.waited = (self.waited << 1 | u16::from(load.waiting > 0)) & SAMPLES;
        if self.waited.count_ones() < ENOUGH {
            self.cramped = false;
            return None;
        }
        // The number grows by the workers that the waiting requests would fill, but at most by half: a few more may be
        // all that was needed.
        let filled = load.waiting.div_ceil(load.seats.max(1)).max(1);
        let wanted = limits.clamp(self.level + filled.min((self.level / 2).max(1)));
        let to = wanted.min(self.fitting(limits).max(self.level));
        self.cramped = to < wanted;
        (to > self.level).then(|| self.resize(to, "waiting", waits(load.waiting.max(1))))
    }

    fn fewer(&mut self, load: &Load, limits: &ScalingLimits, now: Instant) -> Option<Rescaling> {
        let least = *limits.workers.start();
        let fitting = self.fitting(limits).max(least);
        if fitting < self.level && limits.memory.is_some() && self.largest > 0 {
            let why =
                format!("one has taken {}, and {fitting} such fit memory_total", mebibytes(self.largest));
            return Some(self.resize(fitting, "memory", why));
        }
        let needed = (load.in_hand + load.waiting).div_ceil(load.seats.max(1));
        if needed >= self.level {
            self.quiet_since = now;
        }
        let quiet = now >= self.quiet_since + limits.quiet;
        // A worker that holds tunnels stays until they end by themselves, as it does before it is recycled.
        let may_go = quiet && self.level > least && load.without_tunnels > 0;
        let why = || format!("{} were enough for {}", self.level - 1, seconds(limits.quiet));
        may_go.then(why).map(|why| self.resize(self.level - 1, "quiet", why))
    }

    fn resize(&mut self, to: usize, cause: &'static str, why: String) -> Rescaling {
        (std::mem::replace(&mut self.level, to), to, cause, why)
    }

    /// How many workers fit the app's memory when each is as large as the largest has been; no more than there are
    /// while that size is not known.
    fn fitting(&self, limits: &ScalingLimits) -> usize {
        let Some(memory) = limits.memory else { return usize::MAX };
        let fitting = memory.checked_div(self.largest);
        fitting.map_or(self.level, |fitting| usize::try_from(fitting).unwrap_or(usize::MAX))
    }

    /// Forgets the samples so far: the load of the old number of workers says nothing about the new one.
    fn forget(&mut self, now: Instant) {
        self.waited = 0;
        self.quiet_since = now;
    }

    /// The time between two samples; `None`: nobody waits, so that no sample is due.
    fn pause(&self, limits: &ScalingLimits) -> Option<Duration> {
        if self.rest == Wakefulness::Resting {
            return None;
        }
        if self.waiting || self.waited != 0 {
            return Some(SHORTEST_LOOK);
        }
        let above = self.level > *limits.workers.start() || limits.memory.is_some();
        let quiet = above.then(|| (limits.quiet / LOOKS).min(LONGEST_LOOK));
        let idle = limits.idle.map(|idle| idle / LOOKS);
        quiet.into_iter().chain(idle).min().map(|pause| pause.max(SHORTEST_LOOK))
    }
}

/// A change of the number: the number before, the number after, a word and a sentence for the cause.
type Rescaling = (usize, usize, &'static str, String);

fn waits(waiting: usize) -> String {
    match waiting {
        1 => "a request waits".into(),
        several => format!("{several} requests wait"),
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// The mask of the last ten samples, which are those that count.
const SAMPLES: u16 = 0x3ff;
/// The number of samples in which requests waited that asks for more workers.
const ENOUGH: u32 = 5;
const SHORTEST_LOOK: Duration = Duration::from_millis(100);
const LONGEST_LOOK: Duration = Duration::from_secs(1);
/// The number of samples within a time that has to pass.
const LOOKS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(least: usize, most: usize) -> ScalingLimits {
        ScalingLimits { workers: least..=most, quiet: Duration::from_secs(60), idle: None, memory: None }
    }

    /// An app whose workers are ready at once, and the history of its number.
    struct App {
        scaler: Autoscaler,
        limits: ScalingLimits,
        now: Instant,
        begun: Instant,
        claims: u64,
        largest: Option<u64>,
        changes: Vec<Resize>,
    }

    impl App {
        fn new(limits: ScalingLimits) -> Self {
            let now = Instant::now();
            let (scaler, changes) = (Autoscaler::new(now), Vec::new());
            Self { scaler, limits, now, begun: now, claims: 0, largest: None, changes }
        }

        fn count(&self) -> usize {
            self.scaler.count(&self.limits)
        }

        /// Has `clients` clients each have a request in hand or waiting for `time`; the load is looked at every 10 ms.
        fn load(&mut self, clients: usize, time: Duration) {
            let until = self.now + time;
            while self.now < until {
                self.step(clients);
            }
        }

        fn step(&mut self, clients: usize) {
            self.now += Duration::from_millis(10);
            let ready = self.count();
            self.claims += clients as u64;
            let in_hand = clients.min(ready);
            let load = Load {
                ready,
                without_tunnels: ready,
                seats: 1,
                in_hand,
                waiting: clients - in_hand,
                claims: self.claims,
                largest: self.largest,
                tunnels: 0,
            };
            let change = self.scaler.on(&load, &self.limits, Rollout::None, self.now);
            if let Some(change) = change {
                assert_eq!((change.from, change.to), (ready, self.count()), "{change:?}");
                self.changes.push(change);
            }
        }

        fn words(&self) -> Vec<(usize, usize, &'static str)> {
            self.changes.iter().map(|change| (change.from, change.to, change.cause)).collect()
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn requests_that_wait_for_half_a_second_bring_workers() {
        let mut app = App::new(limits(2, 8));
        app.load(2, SECOND * 60);
        assert_eq!(app.words(), []);
        app.load(3, Duration::from_millis(300));
        app.load(2, SECOND);
        assert_eq!(app.words(), [], "what waits for a moment brings nobody");
        app.load(20, SECOND * 5);
        assert_eq!(app.words(), [(2, 3, "waiting"), (3, 4, "waiting"), (4, 6, "waiting"), (6, 8, "waiting")]);
        assert_eq!(app.changes[3].why, "14 requests wait");
    }

    #[test]
    fn workers_go_one_by_one_each_after_a_quiet_time() {
        let mut app = App::new(limits(2, 8));
        app.load(4, SECOND * 5);
        assert_eq!(app.count(), 4);
        app.changes.clear();
        app.load(3, SECOND * 60);
        app.load(3, SECOND * 300);
        assert_eq!(app.words(), [(4, 3, "quiet")], "three are needed");
        assert!(app.changes[0].at - app.begun >= SECOND * 60);
        app.load(0, SECOND * 55);
        assert_eq!(app.count(), 3);
        app.load(0, SECOND * 10);
        assert_eq!(app.count(), 2);
        app.load(0, SECOND * 1000);
        assert_eq!(app.count(), 2);
        assert_eq!(app.changes[1].why, "2 were enough for 60 s");
    }

    #[test]
    fn an_app_that_nobody_asks_rests_and_is_woken_by_the_first_request() {
        let idle = Some(SECOND * 600);
        let mut app = App::new(ScalingLimits { idle, ..limits(2, 4) });
        app.load(1, SECOND);
        app.load(0, SECOND * 599);
        assert_eq!((app.count(), app.scaler.is_resting()), (2, false));
        app.load(0, SECOND * 40);
        assert_eq!((app.count(), app.scaler.is_resting()), (0, true));
        assert_eq!(app.scaler.wake_at(&app.limits), None, "a rest needs no timer");
        app.step(10);
        assert_eq!(app.count(), 1);
        app.step(10);
        assert_eq!(app.count(), 2);
        assert_eq!(app.words(), [(2, 0, "idle"), (0, 1, "request"), (1, 2, "request")]);
    }

    #[test]
    fn the_number_stays_while_a_generation_is_tried_out_but_an_app_is_woken() {
        let mut app = App::new(ScalingLimits { idle: Some(SECOND), ..limits(1, 4) });
        let busy = Load { ready: 1, without_tunnels: 1, seats: 1, in_hand: 1, waiting: 5, ..Load::default() };
        for _ in 0..1000 {
            app.now += Duration::from_millis(10);
            assert_eq!(app.scaler.on(&busy, &app.limits, Rollout::Underway, app.now), None);
        }
        app.load(0, SECOND * 5);
        assert_eq!(app.count(), 0);
        let woken =
            app.scaler.on(&Load { waiting: 1, ..Load::default() }, &app.limits, Rollout::Underway, app.now);
        assert_eq!(woken.map(|change| change.to), Some(1));
    }

    #[test]
    fn tunnels_keep_an_app_awake_and_a_worker_there() {
        let mut app = App::new(ScalingLimits { idle: Some(SECOND * 10), ..limits(1, 4) });
        app.load(2, SECOND * 2);
        assert_eq!(app.count(), 2);
        let load = |claims| Load { ready: 2, seats: 1, tunnels: 3, claims, ..Load::default() };
        for _ in 0..20_000 {
            app.now += Duration::from_millis(10);
            assert_eq!(app.scaler.on(&load(app.claims), &app.limits, Rollout::None, app.now), None);
        }
    }

    #[test]
    fn no_more_than_fit_the_memory_and_none_before_it_is_known() {
        let mut app = App::new(ScalingLimits { memory: Some(1000 << 20), ..limits(1, 8) });
        app.load(9, SECOND * 10);
        assert_eq!((app.count(), app.scaler.is_cramped()), (1, true));
        app.largest = Some(300 << 20);
        app.load(9, SECOND * 10);
        assert_eq!((app.count(), app.scaler.is_cramped()), (3, true));
        app.largest = Some(500 << 20);
        app.load(9, SECOND);
        assert_eq!(app.count(), 2);
        assert_eq!(app.changes.last().unwrap().why, "one has taken 500 MiB, and 2 such fit memory_total");
        app.largest = Some(5000 << 20);
        app.load(9, SECOND * 10);
        assert_eq!(app.count(), 1, "what is promised stays");
    }

    /// Under any load the number stays within its bounds and its memory; under a steady load it comes to rest.
    #[test]
    fn any_history_keeps_to_its_bounds_and_a_steady_load_comes_to_rest() {
        let seed = fastrand::get_seed();
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..40 {
            let least = random.usize(1..5);
            let most = least + random.usize(0..8);
            let memory = random.bool().then(|| random.u64(1..20) << 20);
            let mut app =
                App::new(ScalingLimits { memory, quiet: SECOND * random.u32(1..90), ..limits(least, most) });
            app.largest = Some(random.u64(1..4) << 20);
            let within = |app: &App| {
                let fits = memory.map_or(usize::MAX, |total| (total / app.scaler.largest.max(1)) as usize);
                assert!((least..=most).contains(&app.count()), "seed {seed}, round {round}: {}", app.count());
                assert!(app.count() <= fits.max(least), "seed {seed}, round {round}: memory");
            };
            for _ in 0..30 {
                let (clients, time) = (random.usize(0..most * 2), random.u64(10..20_000));
                for _ in 0..time / 10 {
                    // Some requests come and go within a moment.
                    app.step(clients + random.usize(0..2));
                    within(&app);
                }
            }
            // A steady load gets the number of workers that it needs; from then on nothing changes.
            let clients = random.usize(0..most + 3);
            app.load(clients, app.limits.quiet * (most as u32 + 2) + SECOND * 60);
            app.changes.clear();
            app.load(clients, app.limits.quiet * 5);
            assert_eq!(app.words(), [], "seed {seed}, round {round}: {clients} clients, {:?}", app.limits);
            let fits = memory.map_or(usize::MAX, |total| (total / app.scaler.largest) as usize);
            let needed = clients.clamp(least, most.min(fits).max(least));
            assert_eq!(app.count(), needed, "seed {seed}, round {round}");
        }
    }
}
