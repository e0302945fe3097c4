//! A deadline that is polled often, and costs a timer only where it comes nearer.
//!
//! Requests move their deadlines away all the time; a timer registered for each would cost more than the work it
//! guards. Never here: what happens when time is up.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::time::{Instant, Sleep};

use crate::time::timer::sleep_until;

/// A timer for many deadlines, one at a time. Dropping it cancels the wait.
#[derive(Debug, Default)]
pub(crate) struct LazyDeadline {
    /// The timer, registered for the earliest deadline since it last fired.
    timer: Option<Pin<Box<Sleep>>>,
    /// The waker of the task; `None` until the task has polled.
    wakes: Option<Waker>,
}

impl LazyDeadline {
    /// A timer without a deadline.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Ready when `deadline` has passed; else the task is woken at the latest then, and perhaps earlier for a
    /// deadline that was given up meanwhile.
    ///
    /// # Panics
    /// Where [`sleep_until`] does: without an event loop that has timers, or a thread that keeps them.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
            self.wakes = None;
        }
        let told = self.wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if told && !timer.is_elapsed() {
            return Poll::Pending;
        }
        if timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() == deadline || Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
            ready!(timer.as_mut().poll(cx));
        }
        match &mut self.wakes {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// The work did not end before its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

impl LazyDeadline {
    /// Waits for `work` until the deadline, as [`tokio::time::timeout_at`] does. Cancel-safe if `work` is.
    ///
    /// `work` is not moved, because it may be large: its owner has pinned it.
    ///
    /// # Errors
    /// [`Elapsed`] when the deadline passed first.
    pub(crate) async fn within<T>(
        &mut self,
        deadline: Instant,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Elapsed> {
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll(cx, deadline).map(|()| Err(Elapsed)),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn ring(timer: &mut LazyDeadline, deadline: Instant) {
        poll_fn(|cx| timer.poll(cx, deadline)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_in_any_order_each_pass_at_their_time() {
        let mut timer = LazyDeadline::new();
        let start = Instant::now();
        for after in [5, 2, 9, 9, 3, 20] {
            let deadline = start.max(Instant::now()) + SECOND * after;
            ring(&mut timer, deadline).await;
            assert_eq!(Instant::now(), deadline);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_away_is_not_passed_when_the_old_one_is() {
        let mut timer = LazyDeadline::new();
        let start = Instant::now();
        let asked = poll_fn(|cx| Poll::Ready(timer.poll(cx, start + SECOND))).await;
        assert!(asked.is_pending());
        ring(&mut timer, start + SECOND * 3).await;
        assert_eq!(Instant::now(), start + SECOND * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asked_last_is_woken() {
        let mut timer = LazyDeadline::new();
        let deadline = Instant::now() + SECOND;
        let askers = [Asker::new(), Asker::new()];
        for asker in [&askers[0], &askers[1], &askers[1]] {
            let waker = Waker::from(Arc::clone(asker));
            assert!(timer.poll(&mut Context::from_waker(&waker), deadline).is_pending());
        }
        tokio::time::advance(SECOND * 2).await;
        tokio::task::yield_now().await;
        assert_eq!(askers.map(|asker| asker.0.load(Ordering::Relaxed)), [false, true]);
    }

    /// Whether it was woken.
    struct Asker(AtomicBool);

    impl Asker {
        fn new() -> Arc<Self> {
            Arc::new(Self(AtomicBool::new(false)))
        }
    }

    impl Wake for Asker {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_over_passes_at_once() {
        let mut timer = LazyDeadline::new();
        let start = Instant::now();
        ring(&mut timer, start).await;
        assert_eq!(Instant::now(), start);
    }

    #[tokio::test(start_paused = true)]
    async fn work_within_its_time_is_done_and_other_work_is_not() {
        let mut timer = LazyDeadline::new();
        let until = Instant::now() + SECOND;
        assert_eq!(timer.within(until, pin!(ready(7))).await, Ok(7));
        assert_eq!(timer.within(until, pin!(pending::<()>())).await, Err(Elapsed));
        assert_eq!(Instant::now(), until);
    }
}
