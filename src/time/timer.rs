//! Timers that another thread keeps, for event loops that have none of their own.
//!
//! An event loop sleeps until something happens. A loop with timers has the kernel set up a timer each time it goes to
//! sleep, and reads the clock each time it wakes. The timers of requests are registered and fire once a second for each
//! connection at most, so that waking a task from another thread costs nothing that can be measured. Never here: which
//! deadlines there are.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use hyper::rt::{Sleep as HyperSleep, Timer};
use hyper_util::rt::TokioTimer;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, Interval, Sleep, Timeout};

/// The thread that keeps the timers of others. The thread lives as long as one of the clones; timers must not be polled
/// after its end, which each thread's own clone prevents.
#[derive(Clone, Debug)]
pub(crate) struct TimerThread {
    handle: Handle,
    /// The thread ends when all clones of this are dropped.
    _wanted: Sender<Infallible>,
}

impl TimerThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread or its event loop cannot be made.
    pub(crate) fn start() -> io::Result<Self> {
        let (wanted, mut unwanted): (_, Receiver<Infallible>) = channel(1);
        let (ready, made) = std::sync::mpsc::sync_channel(1);
        // The event loop is made on the new thread: it could not be dropped here if the thread failed.
        std::thread::Builder::new().name(NAME.to_owned()).spawn(move || {
            let runtime = match Builder::new_current_thread().enable_time().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            if ready.send(Ok(runtime.handle().clone())).is_ok() {
                runtime.block_on(unwanted.recv());
            }
        })?;
        let handle = made.recv().map_err(io::Error::other)??;
        Ok(Self { handle, _wanted: wanted })
    }

    /// Keeps the timers that the calling thread makes through this module from now on. Without this call the thread's
    /// event loop keeps them itself.
    pub(crate) fn serve_this_thread(self) {
        KEPT_BY.set(Some(self));
    }
}

/// The thread's name in `ps -T`.
const NAME: &str = "timers";

thread_local! {
    static KEPT_BY: RefCell<Option<TimerThread>> = const { RefCell::new(None) };
}

/// Makes something that has a timer, on the runtime that keeps timers.
fn kept<T>(make: impl FnOnce() -> T) -> T {
    KEPT_BY.with_borrow(|thread| {
        let _entered = thread.as_ref().map(|thread| thread.handle.enter());
        make()
    })
}

/// Does what [`tokio::time::sleep`] does.
pub(crate) fn sleep(duration: Duration) -> Sleep {
    kept(|| tokio::time::sleep(duration))
}

/// Does what [`tokio::time::sleep_until`] does.
pub(crate) fn sleep_until(deadline: Instant) -> Sleep {
    kept(|| tokio::time::sleep_until(deadline))
}

/// Does what [`tokio::time::timeout`] does.
pub(crate) fn timeout<F: IntoFuture>(limit: Duration, work: F) -> Timeout<F::IntoFuture> {
    kept(|| tokio::time::timeout(limit, work))
}

/// Does what [`tokio::time::timeout_at`] does.
pub(crate) fn timeout_at<F: IntoFuture>(deadline: Instant, work: F) -> Timeout<F::IntoFuture> {
    kept(|| tokio::time::timeout_at(deadline, work))
}

/// Does what [`tokio::time::interval`] does.
pub(crate) fn interval(period: Duration) -> Interval {
    kept(|| tokio::time::interval(period))
}

/// The timers of this module for hyper.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HyperTimer;

impl Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn HyperSleep>> {
        kept(|| TokioTimer::new().sleep(duration))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn HyperSleep>> {
        kept(|| TokioTimer::new().sleep_until(deadline))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn HyperSleep>>, deadline: std::time::Instant) {
        TokioTimer::new().reset(sleep, deadline);
    }

    fn now(&self) -> std::time::Instant {
        TokioTimer::new().now()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::mpsc::RecvTimeoutError;

    use super::*;

    const SOON: Duration = Duration::from_millis(2);

    /// Runs `work` on a thread whose event loop has no timers.
    fn with_timers_of_another<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
        let timers = TimerThread::start().unwrap();
        let run = || {
            timers.serve_this_thread();
            Builder::new_current_thread().build().unwrap().block_on(work())
        };
        std::thread::scope(|scope| scope.spawn(run).join().unwrap())
    }

    #[test]
    fn every_kind_of_timer_fires_where_the_event_loop_has_none() {
        with_timers_of_another(async || {
            let start = Instant::now();
            sleep(SOON).await;
            sleep_until(Instant::now() + SOON).await;
            timeout(SOON, pending::<()>()).await.unwrap_err();
            timeout_at(Instant::now() + SOON, pending::<()>()).await.unwrap_err();
            let mut interval = interval(SOON);
            interval.tick().await;
            interval.tick().await;
            HyperTimer.sleep(SOON).await;
            HyperTimer.sleep_until(HyperTimer.now() + SOON).await;
            let mut moved = HyperTimer.sleep(Duration::from_secs(3600));
            HyperTimer.reset(&mut moved, HyperTimer.now() + SOON);
            moved.await;
            assert!(start.elapsed() >= SOON * 8);
        });
    }

    #[test]
    fn the_thread_ends_when_nobody_wants_it_any_more() {
        let timers = TimerThread::start().unwrap();
        let (held, dropped) = std::sync::mpsc::channel::<()>();
        timers.handle.spawn(async move {
            let _held = held;
            pending::<()>().await;
        });
        let other = timers.clone();
        drop(timers);
        assert_eq!(dropped.recv_timeout(SOON), Err(RecvTimeoutError::Timeout));
        drop(other);
        // Everything that the thread's event loop still had goes with it.
        assert_eq!(dropped.recv_timeout(SOON * 5000), Err(RecvTimeoutError::Disconnected));
    }
}
