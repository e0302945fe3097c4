//! Owns the running apps of an instance: which hosts lead to them, which generation serves, and the life of every
//! worker.
//!
//! Never here: a request. The data path takes workers from a pool; the supervisor fills it and empties it.
//!
//! ```text
//! Supervisor ──→ app_set (one task) ──→ app_task (one for each app) ──→ backend
//!                  │ hosts: registry, directory    │ plan, worker_state, crash_budget: pure
//!                  ↓                               ↓ workers, deploys: carry out what these say
//!              data path ←──────── pool ───────────┘ probe, file_watch: tasks that report one thing
//! ```

mod app;
mod app_context;
mod files;
mod instance;
mod jobs;
mod recent_output;
mod released_content;
mod reload_notices;
mod serving_generations;
mod supervisor_error;

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::api::{
    Aborted, AddHost, AppStatus, Changed, DeployEvent, DeployRequest, HostEntry, LogLine, Scale, Scaled,
    SetState, WorkerStatus,
};
use crate::backend::{self, Backend};
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::name::{AppName, GenerationId, RouteName, WorkerId};
use crate::registry::Registry;
use crate::spec::{AppSpec, LaunchSpec};
use crate::tasks::TaskGroup;
use crate::time::WallClock;

use app::facts::AppFacts;
use app_context::{AppContext, EventRouter};
use instance::app_set::{AppSet, AppSetCommand, Begun, Follow, ReplySender};
use instance::hosts::Hosts;
use recent_output::RecentOutput;
use released_content::ReleasedContent;
use reload_notices::ReloadNotices;
use serving_generations::ServingGenerations;
pub(crate) use supervisor_error::{ResolveError, SupervisorError};

/// The running apps of an instance. Cheap to clone; when the last clone is dropped, everything is stopped.
#[derive(Clone)]
pub(crate) struct Supervisor {
    commands: mpsc::Sender<AppSetCommand>,
}

/// The parts that a supervisor works with.
pub(crate) struct SupervisorParts {
    /// The directory that leads requests to apps; the supervisor fills it.
    pub(crate) directory: Directory,
    pub(crate) backend: Arc<dyn Backend>,
    /// The events of workers: the other end of the channel that the backend was made with.
    pub(crate) events: mpsc::Receiver<backend::WorkerEvent>,
    /// The hosts that people added.
    pub(crate) registry: Registry,
    pub(crate) resolve: Arc<dyn Resolve>,
    pub(crate) metrics: Metrics,
    /// The cores of the machine.
    pub(crate) cores: usize,
    /// The file that says which generations serve, for a server that finds their workers; `None`: no file.
    pub(crate) serving_generations: Option<PathBuf>,
    /// The file that says for which content the release step of each app has run.
    pub(crate) released_content: PathBuf,
    /// The group of all tasks here. The tasks end by [`Supervisor::stop`] and not when the group is asked to end,
    /// because workers finish their requests first.
    pub(crate) stop: TaskGroup,
}

/// Reads apps' directories and settings.
pub(crate) trait Resolve: Send + Sync + 'static {
    /// Reads the app at `path` as it is now. May block.
    ///
    /// # Errors
    /// When it is no app that can run.
    fn resolve(&self, path: &Path) -> Result<AppSpec, ResolveError>;
}

/// An app of the start that does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unserved {
    pub(crate) path: PathBuf,
    /// The app's name; `None` when it could not even be read.
    pub(crate) app: Option<AppName>,
    pub(crate) reason: String,
}

impl Supervisor {
    /// Starts the apps at these paths and those of the registry, in tasks of their own; returns at once.
    pub(crate) fn start(parts: SupervisorParts, apps: Vec<PathBuf>) -> Self {
        let SupervisorParts {
            directory,
            backend,
            events,
            registry,
            resolve,
            metrics,
            cores,
            serving_generations,
            released_content,
            stop,
        } = parts;
        let router = EventRouter::default();
        let routing = stop.spawn("worker events", router.clone().deliver(events));
        let ctx = AppContext {
            backend,
            router,
            output: RecentOutput::new(),
            resolve,
            directory: directory.clone(),
            cores,
            stop: stop.clone(),
            news: Arc::new(Notify::new()),
            clock: WallClock::system(),
            last_worker: Arc::default(),
            serving_generations: ServingGenerations::open(serving_generations),
            reload_notices: ReloadNotices::default(),
            released_content: ReleasedContent::open(released_content),
        };
        let app_set = AppSet::new(ctx, metrics, Hosts::new(directory, registry), routing);
        let (commands, command_receiver) = mpsc::channel(MAILBOX);
        stop.spawn("supervisor", app_set.run(apps, command_receiver));
        Self { commands }
    }

    /// Returns when every app has been read and its hosts are known: a request that came earlier would find no host.
    pub(crate) async fn begun(&self) {
        // A supervisor that is gone knows no hosts either.
        self.ask(AppSetCommand::Begun).await.ok();
    }

    /// Does what [`Supervisor::settle`] does, without telling.
    #[cfg(test)]
    pub(crate) async fn settled(&self) -> Vec<Unserved> {
        self.settle(|_, _| ()).await
    }

    /// Returns when every app of the start serves or was rejected; returns the rejected ones. Calls `tell` for each app
    /// that could be read, when this is known of it, with the reason of a rejection. Cancel-safe.
    pub(crate) async fn settle(&self, mut tell: impl FnMut(&AppName, Option<&str>)) -> Vec<Unserved> {
        let mut unserved = Vec::new();
        let mut waiting = Vec::new();
        for begun in self.ask(AppSetCommand::Begun).await.unwrap_or_default() {
            match begun {
                Begun::Unreadable(path, reason) => unserved.push(Unserved { path, app: None, reason }),
                Begun::App(path, app, facts) => waiting.push((path, app, Box::pin(rejected(facts)))),
            }
        }
        while !waiting.is_empty() {
            let (at, reason) = poll_fn(|context| {
                let mut known = waiting.iter_mut().enumerate().filter_map(|(at, (_, _, rejected))| {
                    match rejected.as_mut().poll(context) {
                        Poll::Ready(reason) => Some((at, reason)),
                        Poll::Pending => None,
                    }
                });
                known.next().map_or(Poll::Pending, Poll::Ready)
            })
            .await;
            let (path, app, _) = waiting.remove(at);
            tell(&app, reason.as_deref());
            unserved.extend(reason.map(|reason| Unserved { path, app: Some(app), reason }));
        }
        unserved
    }

    /// Makes a host lead to an app, which is started when it is new; returns when its workers are being started.
    ///
    /// # Errors
    /// When the host is another app's, the path is no app that can run, or the app's name is taken; then nothing has
    /// changed.
    pub(crate) async fn add_host(&self, wanted: AddHost) -> Result<Changed, SupervisorError> {
        self.ask(|reply| AppSetCommand::AddHost(wanted, reply)).await?
    }

    /// Makes a host lead nowhere. An app that was itself added is stopped, after its drain, when its last added host is
    /// removed.
    ///
    /// # Errors
    /// When there is no such host, or a config names it.
    pub(crate) async fn remove_host(&self, host: &RouteName) -> Result<Changed, SupervisorError> {
        self.ask(|reply| AppSetCommand::RemoveHost(host.clone(), reply)).await?
    }

    /// Changes what a host does with its requests; the change is kept over restarts.
    ///
    /// # Errors
    /// When there is no such host.
    pub(crate) async fn set_state(
        &self,
        host: &RouteName,
        wanted: SetState,
    ) -> Result<Changed, SupervisorError> {
        self.ask(|reply| AppSetCommand::SetState(host.clone(), wanted, reply)).await?
    }

    /// Every host, sorted; none once the supervisor is stopped.
    pub(crate) async fn hosts(&self) -> Vec<HostEntry> {
        self.ask(AppSetCommand::Hosts).await.unwrap_or_default()
    }

    /// Every app; none once the supervisor is stopped.
    pub(crate) async fn apps(&self) -> Vec<AppStatus> {
        self.ask(AppSetCommand::Apps).await.unwrap_or_default()
    }

    /// Every worker, by app and id; none once the supervisor is stopped.
    pub(crate) async fn workers(&self) -> Vec<WorkerStatus> {
        self.ask(AppSetCommand::Workers).await.unwrap_or_default()
    }

    /// Reads one app anew, or all, and replaces the serving generation by a new one when that is ready. The last event
    /// of each app is done or rejected; after a superseded deploy the events of the one that took its place follow.
    /// Then the channel ends. Dropping the receiver stops nothing.
    ///
    /// # Errors
    /// When there is no such app.
    pub(crate) async fn deploy(
        &self,
        app: Option<&AppName>,
    ) -> Result<mpsc::Receiver<DeployEvent>, SupervisorError> {
        self.deploy_as(DeployRequest { app: app.cloned(), ..DeployRequest::default() }).await
    }

    /// The same, of one app where a share of the clients gets the new generation first.
    ///
    /// # Errors
    /// When there is no such app, or no such share.
    pub(crate) async fn deploy_as(
        &self,
        wanted: DeployRequest,
    ) -> Result<mpsc::Receiver<DeployEvent>, SupervisorError> {
        self.ask(|reply| AppSetCommand::Deploy(wanted, reply)).await?
    }

    /// Gives the generation of an app that is held to all clients; without `app` that of the only one. The events are
    /// those of a deploy.
    ///
    /// # Errors
    /// When there is no such app, or it holds none.
    pub(crate) async fn promote(
        &self,
        app: Option<&AppName>,
    ) -> Result<mpsc::Receiver<DeployEvent>, SupervisorError> {
        self.ask(|reply| AppSetCommand::Promote(app.cloned(), reply)).await?
    }

    /// Gives the generation of an app that is held to none; without `app` that of the only one.
    ///
    /// # Errors
    /// When there is no such app, or it holds none.
    pub(crate) async fn abort(&self, app: Option<&AppName>) -> Result<Aborted, SupervisorError> {
        self.ask(|reply| AppSetCommand::Abort(app.cloned(), reply)).await?
    }

    /// Has the generation that served before serve again, unchanged, once it is ready; without `app`, the only app is
    /// meant. The events are those of a deploy.
    ///
    /// # Errors
    /// When there is no such app, or none of its generations has served before.
    pub(crate) async fn roll_back(
        &self,
        app: Option<&AppName>,
    ) -> Result<mpsc::Receiver<DeployEvent>, SupervisorError> {
        self.ask(|reply| AppSetCommand::RollBack(app.cloned(), reply)).await?
    }

    /// The serving generation of an app, and how its workers are started; without `app`, the only app is meant.
    ///
    /// # Errors
    /// When there is no such app, or no generation of it serves.
    pub(crate) async fn serving(
        &self,
        app: Option<&AppName>,
    ) -> Result<(GenerationId, Arc<LaunchSpec>), SupervisorError> {
        self.ask(|reply| AppSetCommand::Serving(app.cloned(), reply)).await?
    }

    /// Starts the command of a timer now; without `app` of the only one. Returns the app and the number of the run.
    ///
    /// # Errors
    /// When there is no such app or timer, or the timer's command runs.
    pub(crate) async fn run_timer(
        &self,
        app: Option<&AppName>,
        timer: String,
    ) -> Result<(AppName, WorkerId), SupervisorError> {
        self.ask(|reply| AppSetCommand::RunTimer(app.cloned(), timer, reply)).await?
    }

    /// Changes how many workers an app has, until the instance ends.
    ///
    /// # Errors
    /// When there is no such app or no such number.
    pub(crate) async fn scale(&self, wanted: Scale) -> Result<Scaled, SupervisorError> {
        self.ask(|reply| AppSetCommand::Scale(wanted, reply)).await?
    }

    /// The last lines that the workers of one app, or of all, wrote; with `follow` also those to come, until the
    /// receiver is dropped or the supervisor is stopped. A reader that falls far behind loses lines.
    ///
    /// # Errors
    /// When there is no such app.
    pub(crate) async fn logs(
        &self,
        app: Option<AppName>,
        lines: usize,
        follow: bool,
    ) -> Result<mpsc::Receiver<LogLine>, SupervisorError> {
        let follow = if follow { Follow::Yes } else { Follow::No };
        self.ask(|reply| AppSetCommand::Logs(app, lines, follow, reply)).await?
    }

    /// Lets every worker finish what it has in hand, within `drain`, and ends it; returns when no worker is left.
    /// Waiting requests are refused, so that the data path has to be stopped before. A second call with less time
    /// shortens the drain.
    pub(crate) async fn stop(&self, drain: Duration) {
        // A supervisor that is gone has no worker left.
        self.ask(|reply| AppSetCommand::Stop(drain, reply)).await.ok();
    }

    /// Ends the supervisor without ending any worker: the next server takes them over. The caller checks
    /// [`Backend::outlives`] first, and has stopped the data path.
    pub(crate) async fn leave(&self) {
        // A supervisor that is gone has nothing to leave.
        self.ask(AppSetCommand::Leave).await.ok();
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(ReplySender<T>) -> AppSetCommand,
    ) -> Result<T, SupervisorError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| SupervisorError::Stopping)?;
        answer.await.map_err(|_| SupervisorError::Stopping)
    }
}

/// Waits until an app of the start serves (`None`), or returns why it does not.
async fn rejected(mut facts: Receiver<AppFacts>) -> Option<String> {
    match facts.wait_for(|facts| facts.settled).await {
        Ok(facts) => facts.rejected.clone(),
        Err(_) => Some("it was stopped before it served".into()),
    }
}

const MAILBOX: usize = 16;
