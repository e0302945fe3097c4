//! Owns the proof that the server's loops run: each loop beats, and others can ask whether all still do.
//!
//! Never here: what follows when a loop stands still, which the watchdog decides (`boot`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::time::timer::interval;

/// All loops of the server. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heartbeats {
    /// The loops, behind a lock: each loop takes it once a second.
    loops: Arc<Mutex<Vec<Beats>>>,
}

#[derive(Debug)]
struct Beats {
    name: &'static str,
    number: u64,
    last: Instant,
}

/// The heartbeat of one loop. A loop that ends without [`Heartbeat::retire`], by a panic for instance, counts as one
/// that stands still.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    heartbeats: Heartbeats,
    number: u64,
    interval: Interval,
}

impl Heartbeats {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a loop that begins.
    ///
    /// # Panics
    /// Without an event loop that has timers, or a thread that keeps them (`timer`).
    pub(crate) fn join(&self, name: &'static str) -> Heartbeat {
        let mut interval = interval(BEAT);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut loops = self.lock();
        let number = loops.last().map_or(0, |last| last.number + 1);
        loops.push(Beats { name, number, last: Instant::now() });
        Heartbeat { heartbeats: self.clone(), number, interval }
    }

    /// A loop that has not beaten for longer than `limit`, if there is one.
    pub(crate) fn standing_still(&self, limit: Duration) -> Option<&'static str> {
        self.lock().iter().find(|beats| beats.last.elapsed() > limit).map(|beats| beats.name)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Beats>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heartbeat {
    /// Notes that the loop runs, and returns about once a second; for a branch of the loop's `select!`. Cancel-safe.
    pub(crate) async fn beat(&mut self) {
        self.interval.tick().await;
        let mut loops = self.heartbeats.lock();
        if let Some(beats) = loops.iter_mut().find(|beats| beats.number == self.number) {
            beats.last = Instant::now();
        }
    }

    /// Ends the heartbeat of a loop that was asked to end.
    pub(crate) fn retire(self) {
        self.heartbeats.lock().retain(|beats| beats.number != self.number);
    }
}

/// The interval of beats.
const BEAT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_beats_does_not_stand_still() {
        let heartbeats = Heartbeats::new();
        let mut heartbeat = heartbeats.join("accept");
        for _ in 0..20 {
            heartbeat.beat().await;
        }
        assert_eq!(heartbeats.standing_still(LIMIT), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_hangs_is_named() {
        let heartbeats = Heartbeats::new();
        let (mut one, _other) = (heartbeats.join("accept"), heartbeats.join("control"));
        tokio::time::advance(LIMIT * 2).await;
        one.beat().await;
        assert_eq!(heartbeats.standing_still(LIMIT), Some("control"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_was_lost_stands_still_and_one_that_retired_does_not() {
        let heartbeats = Heartbeats::new();
        heartbeats.join("accept").retire();
        drop(heartbeats.join("control"));
        tokio::time::advance(LIMIT * 2).await;
        assert_eq!(heartbeats.standing_still(LIMIT), Some("control"));
    }
}
