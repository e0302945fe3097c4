//! Owns what every app of an instance uses and none owns: the backend, the numbers of workers, the delivery of workers'
//! events, the way to read an app anew.
//!
//! Never here: anything about one app.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::backend::{Backend, WorkerEvent};
use crate::directory::Directory;
use crate::name::WorkerId;
use crate::spec::AppSpec;
use crate::spec::asked_apps::AuthCircle;
use crate::tasks::TaskGroup;
use crate::time::WallClock;

use super::Resolve;
use super::recent_output::RecentOutput;
use super::released_content::ReleasedContent;
use super::reload_notices::ReloadNotices;
use super::serving_generations::ServingGenerations;
use super::supervisor_error::ResolveError;

/// The parts that every app of an instance uses; all clones share them.
#[derive(Clone)]
pub(super) struct AppContext {
    pub(super) backend: Arc<dyn Backend>,
    /// Delivers workers' events to the tasks of their apps.
    pub(super) router: EventRouter,
    pub(super) output: RecentOutput,
    pub(super) resolve: Arc<dyn Resolve>,
    /// The apps by name, as requests find them.
    pub(super) directory: Directory,
    /// The number of cores of the machine.
    pub(super) cores: usize,
    /// The group that every task belongs to.
    pub(super) stop: TaskGroup,
    /// Wakes the supervisor when the facts of an app have changed.
    pub(super) news: Arc<Notify>,
    /// The clock for the times of output lines.
    pub(super) clock: WallClock,
    /// The number of the last worker; an instance never uses a number twice.
    pub(super) last_worker: Arc<AtomicU64>,
    pub(super) serving_generations: ServingGenerations,
    /// The deploys that are on their way.
    pub(super) reload_notices: ReloadNotices,
    pub(super) released_content: ReleasedContent,
}

impl AppContext {
    /// A number that no worker has had.
    pub(super) fn next_worker(&self) -> WorkerId {
        WorkerId(self.last_worker.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Makes sure that no number up to this one is given again.
    pub(super) fn pass_over(&self, worker: WorkerId) {
        self.last_worker.fetch_max(worker.0, Ordering::Relaxed);
    }

    /// Reads the app at `path`, off this thread.
    ///
    /// # Errors
    /// The reader's error, that the app would be asked about its own requests, or that reading took too long; it then
    /// goes on until its end, and its result is dropped.
    pub(super) fn read_app(
        &self,
        path: PathBuf,
    ) -> impl Future<Output = Result<AppSpec, ResolveError>> + Send + use<> {
        let (resolve, directory) = (Arc::clone(&self.resolve), self.directory.clone());
        async move {
            let shown = path.clone();
            let reading = spawn_blocking(move || resolve.resolve(&path));
            match timeout(READ_LIMIT, reading).await {
                Ok(Ok(read)) => read.and_then(|spec| check_asked_apps(spec, &directory)),
                Ok(Err(panic)) => Err(ResolveError::because(unreadable(&shown, "the reader failed"), panic)),
                Err(late) => Err(ResolveError::because(unreadable(&shown, "it takes too long"), late)),
            }
        }
    }

    /// Looks at files off this thread; `None`: the look took too long; it then goes on until its end, and its result is
    /// dropped.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        timeout(READ_LIMIT, spawn_blocking(look)).await.ok()?.ok()
    }

    /// Milliseconds since 1970.
    pub(super) fn unix_millis(&self) -> u64 {
        let since = self.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The router that delivers each worker's events to the task of its app. Clones share one router.
#[derive(Clone, Default)]
pub(super) struct EventRouter {
    /// The mailbox of each worker; the lock is held for one look-up. The mailboxes have a lock and not a task, because
    /// an app enrols a worker and starts it in one go, and the worker's first event must find the entry.
    boxes: Arc<Mutex<HashMap<WorkerId, Mailbox>>>,
}

enum Mailbox {
    Open(mpsc::Sender<WorkerEvent>),
    /// The events of a worker that was found before its app was.
    Kept(Vec<WorkerEvent>),
}

impl EventRouter {
    /// Keeps a worker's events until a task enrols the worker.
    pub(super) fn keep(&self, worker: WorkerId) {
        self.lock().insert(worker, Mailbox::Kept(Vec::new()));
    }

    /// Delivers a worker's events to this mailbox from now on. Returns the events that came before, oldest first.
    #[must_use]
    pub(super) fn enrol(&self, worker: WorkerId, mailbox: mpsc::Sender<WorkerEvent>) -> Vec<WorkerEvent> {
        match self.lock().insert(worker, Mailbox::Open(mailbox)) {
            Some(Mailbox::Kept(events)) => events,
            Some(Mailbox::Open(_)) | None => Vec::new(),
        }
    }

    /// Stops delivering the worker's events.
    pub(super) fn forget(&self, worker: WorkerId) {
        self.lock().remove(&worker);
    }

    /// Delivers events until no more can come.
    pub(super) async fn deliver(self, mut events: mpsc::Receiver<WorkerEvent>) {
        while let Some(event) = events.recv().await {
            let (WorkerEvent::Ready(worker)
            | WorkerEvent::Output(worker, _)
            | WorkerEvent::LastLines(worker, _)
            | WorkerEvent::Ending(worker, _)
            | WorkerEvent::Exited(worker, _)) = &event;
            let mailbox = match self.lock().get_mut(worker) {
                None => continue,
                Some(Mailbox::Open(mailbox)) => mailbox.clone(),
                Some(Mailbox::Kept(events)) => {
                    events.push(event);
                    continue;
                }
            };
            // An app that has ended has no worker left to hear of.
            mailbox.send(event).await.ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkerId, Mailbox>> {
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks that no app is asked about its own requests, directly or by way of other apps, as the apps that run now
/// stand.
fn check_asked_apps(spec: AppSpec, directory: &Directory) -> Result<AppSpec, ResolveError> {
    let circle = AuthCircle::through(&spec.name, |app| match *app == spec.name {
        true => spec.rules.asked_apps(),
        false => directory.app(app).map(|app| app.rules.load().asked_apps()).unwrap_or_default(),
    });
    circle.map_or(Ok(spec), |circle| Err(ResolveError::new(circle.to_string())))
}

fn unreadable(path: &Path, why: &str) -> String {
    format!("cannot read the app at {}: {why}", path.display())
}

/// The time limit for reading an app: a folder that does not answer must not make the supervisor look as if it hung.
const READ_LIMIT: Duration = Duration::from_secs(5);
