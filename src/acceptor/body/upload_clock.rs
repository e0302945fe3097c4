//! Owns the side that a request waits for while its body still comes: the worker's time limit runs only while the
//! client has sent all that the worker could take.
//!
//! Never here: moving the body, or ending a worker that takes too long.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::time::{Elapsed, LazyDeadline};

/// The clock of one request, shared by the task that passes the body on and the one that waits for the answer. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub(in crate::acceptor) struct UploadClock(Rc<Cell<WaitingOn>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitingOn {
    /// The client has to send more.
    Client,
    /// The worker has to take what is there, or to answer; since this time.
    Worker(Instant),
}

impl UploadClock {
    pub(in crate::acceptor) fn of_worker(now: Instant) -> Self {
        Self(Rc::new(Cell::new(WaitingOn::Worker(now))))
    }

    /// Notes that the client has to send more.
    pub(in crate::acceptor) fn to_client(&self) {
        self.0.set(WaitingOn::Client);
    }

    /// Notes that the worker has to move, from `now` on.
    pub(in crate::acceptor) fn to_worker(&self, now: Instant) {
        self.0.set(WaitingOn::Worker(now));
    }

    /// Ready when the worker has not moved for `limit`, counted from `since` at the earliest. Else the task is woken
    /// in time to ask again, whoever else changes the clock meanwhile.
    pub(in crate::acceptor) fn poll_overdue(
        &self,
        cx: &mut Context<'_>,
        timer: &mut LazyDeadline,
        since: Instant,
        limit: Duration,
    ) -> Poll<()> {
        loop {
            let (deadline, counts) = match self.0.get() {
                WaitingOn::Worker(at) => (at.max(since) + limit, true),
                WaitingOn::Client => (Instant::now() + limit.max(LOOK_AGAIN), false),
            };
            ready!(timer.poll(cx, deadline));
            if counts {
                return Poll::Ready(());
            }
        }
    }

    /// Runs `work`, unless the worker takes too long. Cancel-safe if `work` is.
    ///
    /// # Errors
    /// [`Elapsed`] as in [`poll_overdue`](Self::poll_overdue), counted from now.
    pub(in crate::acceptor) async fn within<T>(
        &self,
        timer: &mut LazyDeadline,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let mut work = pin!(work);
        let since = Instant::now();
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_overdue(cx, timer, since, limit).map(|()| Err(Elapsed)),
        })
        .await
    }
}

/// The shortest time until the next look while the server waits for the client.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_does_not_move_is_overdue_after_the_limit() {
        let start = Instant::now();
        let upload_clock = UploadClock::of_worker(start);
        assert_eq!(
            upload_clock.within(&mut LazyDeadline::new(), SECOND, pending::<()>()).await,
            Err(Elapsed)
        );
        assert_eq!(Instant::now(), start + SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clients_time_does_not_count_and_each_move_begins_anew() {
        let start = Instant::now();
        let upload_clock = UploadClock::of_worker(start);
        let moves = async {
            upload_clock.to_client();
            tokio::time::sleep(SECOND * 10).await;
            upload_clock.to_worker(Instant::now());
            tokio::time::sleep(SECOND / 2).await;
            upload_clock.to_worker(Instant::now());
            pending::<()>().await;
        };
        let outcome = upload_clock.within(&mut LazyDeadline::new(), SECOND, moves).await;
        assert_eq!(outcome, Err(Elapsed));
        assert_eq!(Instant::now(), start + SECOND * 11 + SECOND / 2);
    }
}
