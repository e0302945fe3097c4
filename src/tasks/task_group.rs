//! Tasks that end together: started by a name, tracked until they have ended, panics logged and counted.
//!
//! Never here: in which order the parts of the server stop (`boot`).

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use super::ShutdownToken;

/// Tasks that are asked to stop together and waited for together.
///
/// Clones are the same group. The group's [`ShutdownToken`] is what its tasks watch; they end by themselves.
#[derive(Clone, Debug, Default)]
pub struct TaskGroup {
    token: ShutdownToken,
    tasks: TaskTracker,
}

impl TaskGroup {
    /// A new group, not asked to stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// A group that is asked to stop when this one is, but can be asked alone. The child's tasks are its own: waiting
    /// for this group does not wait for them.
    pub(crate) fn child(&self) -> Self {
        Self { token: self.token.child(), tasks: TaskTracker::new() }
    }

    /// Starts a task of this group on the current runtime; also after the stop was requested.
    ///
    /// A panic in it ends only that task: it is logged at error with `name` and counted in [`panics`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        fut: impl Future<Output = ()> + Send + 'static,
    ) -> TaskHandle {
        TaskHandle(self.tasks.spawn(caught(name, Box::pin(fut))).abort_handle())
    }

    /// Starts a task as [`spawn`](Self::spawn) does, for futures that stay on this thread. Costs one allocation more
    /// than a bare task.
    ///
    /// # Panics
    /// Outside a `LocalSet` or a local runtime.
    pub(crate) fn spawn_local(
        &self,
        name: &'static str,
        fut: impl Future<Output = ()> + 'static,
    ) -> TaskHandle {
        TaskHandle(self.tasks.spawn_local(caught(name, Box::pin(fut))).abort_handle())
    }

    /// Asks this group and its children to stop; a second request changes nothing.
    pub fn request(&self) {
        self.token.request();
    }

    /// Whether the stop was requested. Cheap.
    pub(crate) fn is_requested(&self) -> bool {
        self.token.is_requested()
    }

    /// Returns when the stop is requested. Cancel-safe.
    pub(crate) async fn requested(&self) {
        self.token.requested().await;
    }

    /// Waits until every task of this group has ended; requests nothing. Cancel-safe.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Waits as [`finished`](Self::finished) does, but for at most `limit`; returns how many tasks still run.
    /// Cancel-safe.
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled: not for the threads of the data path (`timer`).
    pub(crate) async fn finished_within(&self, limit: Duration) -> usize {
        match tokio::time::timeout(limit, self.finished()).await {
            Ok(()) => 0,
            Err(_) => self.tasks.len(),
        }
    }
}

/// A started task. Dropping the handle leaves the task running.
#[derive(Clone, Debug)]
pub struct TaskHandle(AbortHandle);

impl TaskHandle {
    /// Drops the task's future at its next await; nothing happens when it has ended already.
    pub(crate) fn abort(&self) {
        self.0.abort();
    }
}

/// How many tasks of this process have panicked.
pub(crate) fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Runs a future and catches its panic. The future is boxed, because an async block would hold it twice: as what it
/// captured and as what it awaits.
async fn caught<F: Future<Output = ()> + ?Sized>(name: &'static str, mut fut: Pin<Box<F>>) {
    // The future is not used after a panic: it is dropped with this frame.
    let poll =
        |cx: &mut std::task::Context<'_>| match catch_unwind(AssertUnwindSafe(|| fut.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(payload)),
        };
    if let Err(payload) = poll_fn(poll).await {
        PANICS.fetch_add(1, Ordering::Relaxed);
        tracing::error!(task = name, panic = message(&*payload), "a task panicked");
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "no text"
    }
}

static PANICS: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tokio::sync::oneshot;

    use super::*;

    /// The counter is that of the process, so that tests that panic on purpose take turns.
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    /// A log that tests can read.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn watch(&self) -> tracing::subscriber::DefaultGuard {
            let log = self.clone();
            let lines = tracing_subscriber::fmt()
                .without_time()
                .with_target(false)
                .with_ansi(false)
                .with_writer(move || log.clone())
                .finish();
            tracing::subscriber::set_default(lines)
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[tokio::test]
    async fn a_request_reaches_clones_and_children_but_not_parents() {
        let stop = TaskGroup::new();
        let (child, sibling) = (stop.child(), stop.child());

        child.clone().request();
        assert!(child.is_requested());
        assert!(!stop.is_requested() && !sibling.is_requested());

        stop.request();
        sibling.requested().await;
        assert!(stop.is_requested());
    }

    #[tokio::test]
    async fn finished_waits_for_every_task_of_its_own_group() {
        let stop = TaskGroup::new();
        let ended = Arc::new(AtomicU64::new(0));
        for _ in 0..3 {
            let (watch, ended) = (stop.clone(), Arc::clone(&ended));
            stop.spawn("worker", async move {
                watch.requested().await;
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        stop.child().spawn("of the child", std::future::pending());

        stop.request();
        stop.finished().await;

        assert_eq!(ended.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_outlive_the_limit_are_counted() {
        let stop = TaskGroup::new();
        stop.spawn("quick", tokio::time::sleep(Duration::from_secs(1)));
        let stuck = stop.spawn("stuck", std::future::pending());

        assert_eq!(stop.finished_within(Duration::from_secs(5)).await, 1);

        stuck.abort();
        assert_eq!(stop.finished_within(Duration::from_secs(5)).await, 0);
    }

    #[tokio::test]
    async fn a_dropped_handle_does_not_end_the_task() {
        let stop = TaskGroup::new();
        let (go, gone) = oneshot::channel::<()>();
        let (told, tell) = oneshot::channel();
        drop(stop.spawn("kept", async move {
            gone.await.unwrap();
            told.send("still here").unwrap();
        }));

        go.send(()).unwrap();

        assert_eq!(tell.await.unwrap(), "still here");
    }

    #[tokio::test]
    async fn a_panic_in_a_task_is_logged_by_name_and_counted() {
        let _turn = TURN.lock().await;
        let (log, before) = (Log::default(), panics());
        let _watching = log.watch();
        let stop = TaskGroup::new();

        stop.spawn("doomed", async { panic!("plain") });
        stop.finished().await;
        stop.spawn("doomed too", async { panic!("with {}", "details") });
        stop.finished().await;

        assert_eq!(panics() - before, 2);
        let expected = "ERROR a task panicked task=\"doomed\" panic=\"plain\"\n\
                        ERROR a task panicked task=\"doomed too\" panic=\"with details\"\n";
        assert_eq!(log.text(), expected);
    }

    #[tokio::test]
    async fn a_panic_in_a_local_task_harms_no_other() {
        let _turn = TURN.lock().await;
        let before = panics();
        let stop = TaskGroup::new();
        let of_this_thread = std::rc::Rc::new(std::cell::Cell::new(0));

        tokio::task::LocalSet::new()
            .run_until(async {
                stop.spawn_local("doomed", async {
                    tokio::task::yield_now().await;
                    panic!("on purpose");
                });
                let count = std::rc::Rc::clone(&of_this_thread);
                stop.spawn_local("fine", async move {
                    for _ in 0..5 {
                        tokio::task::yield_now().await;
                        count.set(count.get() + 1);
                    }
                });
                stop.finished().await;
            })
            .await;

        assert_eq!(of_this_thread.get(), 5);
        assert_eq!(panics() - before, 1);
    }

    #[tokio::test]
    async fn an_aborted_task_drops_what_it_held_and_is_no_panic() {
        let _turn = TURN.lock().await;
        let before = panics();
        let stop = TaskGroup::new();
        let (held, dropped) = oneshot::channel::<()>();
        let handle = stop.spawn("aborted", async move {
            let _held = held;
            std::future::pending().await
        });

        handle.abort();
        stop.finished().await;

        assert!(dropped.await.is_err());
        assert_eq!(panics(), before);
    }
}
