//! Owns the task that all commands to an instance's apps and hosts reach, one after the other.
//!
//! Never here: the workers of an app; each app has a task for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::api::{
    Aborted, AddHost, AppStatus, Changed, DeployEvent, DeployRequest, HostEntry, LogLine, Scale, Scaled,
    SetState, WorkerStatus,
};
use crate::directory::App;
use crate::metrics::Metrics;
use crate::name::{AppName, GenerationId, RouteName, WorkerId};
use crate::spec::LaunchSpec;
use crate::spec::canary::CanaryWish;
use crate::spec::settings::compound;
use crate::tasks::TaskHandle;

use super::app_entries::AppEntries;
use super::app_entry::AppLifetime;
use super::hosts::Hosts;
use crate::supervisor::app::facts::AppFacts;
use crate::supervisor::app::messages::AppCommand;
use crate::supervisor::app_context::AppContext;
use crate::supervisor::supervisor_error::SupervisorError;

/// A command of the supervisor's handle to the task.
pub(in crate::supervisor) enum AppSetCommand {
    AddHost(AddHost, ReplySender<Result<Changed, SupervisorError>>),
    RemoveHost(RouteName, ReplySender<Result<Changed, SupervisorError>>),
    SetState(RouteName, SetState, ReplySender<Result<Changed, SupervisorError>>),
    Hosts(ReplySender<Vec<HostEntry>>),
    Apps(ReplySender<Vec<AppStatus>>),
    Workers(ReplySender<Vec<WorkerStatus>>),
    Deploy(DeployRequest, ReplySender<Result<mpsc::Receiver<DeployEvent>, SupervisorError>>),
    Promote(Option<AppName>, ReplySender<Result<mpsc::Receiver<DeployEvent>, SupervisorError>>),
    Abort(Option<AppName>, ReplySender<Result<Aborted, SupervisorError>>),
    RollBack(Option<AppName>, ReplySender<Result<mpsc::Receiver<DeployEvent>, SupervisorError>>),
    Serving(Option<AppName>, ReplySender<Result<(GenerationId, Arc<LaunchSpec>), SupervisorError>>),
    RunTimer(Option<AppName>, String, ReplySender<Result<(AppName, WorkerId), SupervisorError>>),
    Scale(Scale, ReplySender<Result<Scaled, SupervisorError>>),
    Logs(Option<AppName>, usize, Follow, ReplySender<Result<mpsc::Receiver<LogLine>, SupervisorError>>),
    Begun(ReplySender<Vec<Begun>>),
    Stop(Duration, ReplySender<()>),
    Leave(ReplySender<()>),
}

pub(in crate::supervisor) type ReplySender<T> = oneshot::Sender<T>;

/// Whether lines that are yet to come are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Follow {
    Yes,
    No,
}

/// The result of starting an app that was given at the start.
#[derive(Clone)]
pub(in crate::supervisor) enum Begun {
    /// The app is being started.
    App(PathBuf, AppName, watch::Receiver<AppFacts>),
    /// The app cannot be started.
    Unreadable(PathBuf, String),
}

/// The task, and all that it owns.
pub(in crate::supervisor) struct AppSet {
    ctx: AppContext,
    apps: AppEntries,
    hosts: Hosts,
    router: TaskHandle,
    /// The path of the first app of the start.
    first: Option<PathBuf>,
    stopping: bool,
    stop_replies: Vec<ReplySender<()>>,
}

impl AppSet {
    pub(in crate::supervisor) fn new(
        ctx: AppContext,
        metrics: Metrics,
        hosts: Hosts,
        router: TaskHandle,
    ) -> Self {
        let apps = AppEntries::new(ctx.clone(), metrics);
        Self { ctx, apps, hosts, router, first: None, stopping: false, stop_replies: Vec::new() }
    }

    /// Starts the apps given and those of the registry, and then does what it is told until it is stopped.
    pub(in crate::supervisor) async fn run(
        mut self,
        given: Vec<PathBuf>,
        mut commands: mpsc::Receiver<AppSetCommand>,
    ) {
        self.apps.find_surviving().await;
        let begun = self.begin(given).await;
        self.begin_kept().await;
        self.apps.end_orphans();
        let news = Arc::clone(&self.ctx.news);
        let mut open = true;
        while !self.stopping || !self.apps.is_empty() {
            tokio::select! {
                biased;
                () = news.notified() => self.apps.read_facts(&mut self.hosts),
                command = commands.recv(), if open => match command {
                    Some(command) => self.handle(command, &begun).await,
                    // No handle is left that could ask for anything.
                    None => {
                        open = false;
                        self.stop(None).await;
                    }
                },
            }
        }
        self.router.abort();
        self.hosts.close().await;
        for reply in self.stop_replies.drain(..) {
            reply.send(()).ok();
        }
    }

    /// Starts the apps that were given at the start.
    async fn begin(&mut self, given: Vec<PathBuf>) -> Vec<Begun> {
        let mut begun = Vec::new();
        // The registry keeps absolute paths, for a start in another working directory.
        let given =
            given.into_iter().map(|path| std::path::absolute(&path).unwrap_or(path)).collect::<Vec<_>>();
        self.first = given.first().cloned();
        for path in given {
            begun.push(match self.apps.open(path.clone(), AppLifetime::Instance, &mut self.hosts).await {
                Ok(entry) => Begun::App(path, entry.app.name.clone(), entry.handle.facts.clone()),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "app cannot be started");
                    self.apps.keep_unreadable(&path, AppLifetime::Instance, error.to_string());
                    Begun::Unreadable(path, error.to_string())
                }
            });
        }
        begun
    }

    /// Starts the apps of the hosts that the registry has kept.
    async fn begin_kept(&mut self) {
        for (path, entries) in self.hosts.kept() {
            let known = self.apps.known(&path).await.map(|entry| Arc::clone(&entry.app));
            let app = match known {
                Some(app) => app,
                None => self.open_kept(&path).await,
            };
            self.hosts.restore(&app, entries);
        }
    }

    async fn open_kept(&mut self, path: &Path) -> Arc<App> {
        match self.apps.open(path.to_path_buf(), AppLifetime::Added, &mut self.hosts).await {
            Ok(entry) => Arc::clone(&entry.app),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "app of kept hosts cannot be started");
                self.apps.keep_unreadable(path, AppLifetime::Added, error.to_string())
            }
        }
    }

    async fn handle(&mut self, command: AppSetCommand, begun: &[Begun]) {
        // The asker may have gone; then nobody needs the answer.
        match command {
            AppSetCommand::AddHost(wanted, reply) => drop(reply.send(self.add_host(wanted).await)),
            AppSetCommand::RemoveHost(host, reply) => drop(reply.send(self.remove_host(&host).await)),
            AppSetCommand::SetState(host, wanted, reply) => {
                drop(reply.send(self.hosts.set_state(&host, wanted).await));
            }
            AppSetCommand::Hosts(reply) => drop(reply.send(self.hosts.entries())),
            AppSetCommand::Apps(reply) => drop(reply.send(self.apps.statuses(&self.hosts).await)),
            AppSetCommand::Workers(reply) => drop(reply.send(self.apps.workers().await)),
            AppSetCommand::Deploy(wanted, reply) => drop(reply.send(self.deploy(wanted).await)),
            AppSetCommand::Promote(app, reply) => drop(reply.send(self.promote(app).await)),
            AppSetCommand::Abort(app, reply) => drop(reply.send(self.abort(app).await)),
            AppSetCommand::RollBack(app, reply) => drop(reply.send(self.roll_back(app).await)),
            AppSetCommand::Serving(app, reply) => drop(reply.send(self.apps.serving(app.as_ref()).await)),
            AppSetCommand::RunTimer(app, timer, reply) => {
                drop(reply.send(self.apps.run_timer(app.as_ref(), timer).await));
            }
            AppSetCommand::Scale(wanted, reply) => drop(reply.send(self.scale(wanted).await)),
            AppSetCommand::Logs(app, lines, follow, reply) => drop(reply.send(self.logs(app, lines, follow))),
            AppSetCommand::Begun(reply) => drop(reply.send(begun.to_vec())),
            AppSetCommand::Leave(reply) => {
                self.stop_replies.push(reply);
                self.leave().await;
            }
            AppSetCommand::Stop(drain, reply) => {
                self.stop_replies.push(reply);
                self.stop(Some(drain)).await;
            }
        }
    }

    async fn add_host(&mut self, wanted: AddHost) -> Result<Changed, SupervisorError> {
        self.check_not_stopping()?;
        let path = wanted.path.or_else(|| self.first.clone()).ok_or(SupervisorError::NoApp)?;
        let entry = self.apps.open_for(&wanted.host, path, &mut self.hosts).await?;
        if entry.leaving {
            return Err(SupervisorError::Leaving(entry.app.name.clone()));
        }
        let (app, path) = (Arc::clone(&entry.app), entry.path.clone());
        let added = self.hosts.add(&wanted.host, &app, &path, wanted.acme).await;
        if added.is_err() {
            self.apps.let_go(&app.name, &mut self.hosts).await;
        }
        added
    }

    async fn remove_host(&mut self, host: &RouteName) -> Result<Changed, SupervisorError> {
        let app = self.hosts.remove(host).await?;
        self.apps.let_go(&app, &mut self.hosts).await;
        Ok(Changed { ok: true, changed: true, entry: None })
    }

    async fn deploy(
        &mut self,
        wanted: DeployRequest,
    ) -> Result<mpsc::Receiver<DeployEvent>, SupervisorError> {
        self.check_not_stopping()?;
        let wish = match (wanted.canary, wanted.first) {
            (None, None) => return self.apps.deploy(wanted.app, &mut self.hosts).await,
            (Some(percent @ 1..=99), None) => CanaryWish::Percent(percent),
            (None, Some(workers)) if workers > 0 => CanaryWish::First(workers),
            _ => return Err(SupervisorError::BadShare),
        };
        self.apps.deploy_to_some(wanted.app, wish).await
    }

    async fn promote(&self, app: Option<AppName>) -> Result<mpsc::Receiver<DeployEvent>, SupervisorError> {
        self.check_not_stopping()?;
        self.apps.promote(app).await
    }

    async fn abort(&self, app: Option<AppName>) -> Result<Aborted, SupervisorError> {
        self.check_not_stopping()?;
        let entry = self.apps.find_or_only(app.as_ref())?;
        let app = || entry.app.name.clone();
        let aborted = entry.ask(AppCommand::Abort).await.ok_or_else(|| SupervisorError::Leaving(app()))?;
        aborted.map_err(|serving| SupervisorError::NoCanary { app: app(), serving })
    }

    async fn roll_back(&self, app: Option<AppName>) -> Result<mpsc::Receiver<DeployEvent>, SupervisorError> {
        self.check_not_stopping()?;
        self.apps.roll_back(app).await
    }

    async fn scale(&self, wanted: Scale) -> Result<Scaled, SupervisorError> {
        self.check_not_stopping()?;
        let count = compound::workers(&wanted.workers)
            .map_err(|right| SupervisorError::BadCount { read: wanted.workers, right: right.0 })?;
        let entry = self.apps.find_or_only(wanted.app.as_ref())?;
        let scaled = entry.ask(|reply| AppCommand::Scale(count, reply)).await;
        scaled.ok_or_else(|| SupervisorError::Leaving(entry.app.name.clone()))
    }

    fn logs(
        &self,
        app: Option<AppName>,
        lines: usize,
        follow: Follow,
    ) -> Result<mpsc::Receiver<LogLine>, SupervisorError> {
        if let Some(app) = &app {
            self.apps.find(app)?;
        }
        let tail = self.ctx.output.tail(app.as_ref(), lines);
        let (reader, read) = mpsc::channel(LINES);
        self.ctx.stop.spawn("log reader", tail.pour(reader, follow == Follow::Yes));
        Ok(read)
    }

    async fn stop(&mut self, drain: Option<Duration>) {
        self.stopping = true;
        self.apps.stop(drain).await;
    }

    async fn leave(&mut self) {
        self.stopping = true;
        self.ctx.backend.leave();
        self.apps.leave().await;
    }

    fn check_not_stopping(&self) -> Result<(), SupervisorError> {
        if self.stopping { Err(SupervisorError::Stopping) } else { Ok(()) }
    }
}

/// The places for the lines of one reader.
const LINES: usize = 64;
