//! Owns the apps of an instance: those that run and those that cannot be read, how they come, and which one a path
//! means.
//!
//! Never here: which hosts lead to them (`hosts`), or the life of one (`app`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use crate::api::{AppStatus, DeployEvent, WorkerStatus};
use crate::backend::{Signal, SurvivingWorker};
use crate::directory::App;
use crate::metrics::Metrics;
use crate::name::{AppName, GenerationId, RouteName, WorkerId};
use crate::pool::Pool;
use crate::spec::canary::CanaryWish;
use crate::spec::{AppSpec, LaunchSpec};

use super::app_entry::{AppEntry, AppLifetime, UnreadableApp};
use super::hosts::Hosts;
use super::path_match;
use super::path_match::PathMatch;
use crate::supervisor::app::app_task;
use crate::supervisor::app::deploy_observer::DeployObserver;
use crate::supervisor::app::messages::AppCommand;
use crate::supervisor::app_context::AppContext;
use crate::supervisor::jobs::app_jobs::TimerRefusal;
use crate::supervisor::supervisor_error::SupervisorError;

/// All apps of an instance.
pub(super) struct AppEntries {
    ctx: AppContext,
    metrics: Metrics,
    running: Vec<AppEntry>,
    /// Apps of the registry, or of the start, that cannot be read.
    unreadable: Vec<UnreadableApp>,
    /// Workers of an earlier server whose app has not been read yet.
    surviving: Vec<SurvivingWorker>,
}

impl AppEntries {
    pub(super) fn new(ctx: AppContext, metrics: Metrics) -> Self {
        Self { ctx, metrics, running: Vec::new(), unreadable: Vec::new(), surviving: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Finds the workers that an earlier server has left; each app takes its own when it is launched.
    pub(super) async fn find_surviving(&mut self) {
        self.surviving = self.ctx.backend.survivors().await;
        for surviving in &self.surviving {
            self.ctx.pass_over(surviving.worker);
            self.ctx.router.keep(surviving.worker);
        }
    }

    /// Ends the surviving workers of apps that are not run any more.
    pub(super) fn end_orphans(&mut self) {
        for SurvivingWorker { worker, app, generation, .. } in self.surviving.drain(..) {
            tracing::info!(%app, %worker, %generation, "worker of an app that is not run here is told to end");
            self.ctx.router.forget(worker);
            self.ctx.backend.signal(worker, Signal::Terminate);
        }
    }

    /// The app at `path`, known or new, for a host that is to lead to it.
    pub(super) async fn open_for(
        &mut self,
        host: &RouteName,
        path: PathBuf,
        hosts: &mut Hosts,
    ) -> Result<&AppEntry, SupervisorError> {
        if !path.is_absolute() {
            return Err(SupervisorError::RelativePath(path));
        }
        if let Some(at) = self.position_of(&path, PathMatch::Target).await {
            return Ok(&self.running[at]);
        }
        let unreadable = self.unreadable.iter().map(|app| app.path.clone()).collect();
        let known = self.position_among(unreadable, &path, PathMatch::Entry).await;
        let known = known.map(|at| &self.unreadable[at]);
        hosts.check_free(host, known.map(|known| &known.app.name))?;
        let path = known.map_or(path, |known| known.path.clone());
        self.open(path, AppLifetime::Added, hosts).await
    }

    /// The app that is known by `path`, in whatever spelling.
    pub(super) async fn known(&self, path: &Path) -> Option<&AppEntry> {
        Some(&self.running[self.position_of(path, PathMatch::Entry).await?])
    }

    async fn position_of(&self, path: &Path, meant: PathMatch) -> Option<usize> {
        let known = self.running.iter().map(|entry| entry.path.clone()).collect();
        self.position_among(known, path, meant).await
    }

    async fn position_among(&self, known: Vec<PathBuf>, path: &Path, meant: PathMatch) -> Option<usize> {
        // The disk is not asked for a path that is known as it is.
        if let Some(at) = known.iter().position(|known| known == path) {
            return Some(at);
        }
        let path = path.to_path_buf();
        self.ctx.on_disk(move || path_match::position_of(&path, &known, meant)).await.flatten()
    }

    /// Reads the app at `path` and starts it.
    pub(super) async fn open(
        &mut self,
        path: PathBuf,
        lifetime: AppLifetime,
        hosts: &mut Hosts,
    ) -> Result<&AppEntry, SupervisorError> {
        let spec = self.read(path.clone()).await?;
        Ok(self.launch(path, lifetime, spec, None, hosts))
    }

    async fn read(&self, path: PathBuf) -> Result<AppSpec, SupervisorError> {
        let read = self.ctx.read_app(path.clone()).await;
        let spec = read.map_err(|error| SupervisorError::Rejected { path: path.clone(), error })?;
        match self.running.iter().find(|entry| entry.app.name == spec.name) {
            None => Ok(spec),
            Some(known) if known.leaving => Err(SupervisorError::Leaving(spec.name)),
            Some(known) => {
                Err(SupervisorError::NameTaken { app: spec.name, known: known.path.clone(), new: path })
            }
        }
    }

    fn launch(
        &mut self,
        path: PathBuf,
        lifetime: AppLifetime,
        spec: AppSpec,
        observer: Option<DeployObserver>,
        hosts: &mut Hosts,
    ) -> &AppEntry {
        let (pool, writer) = Pool::new(spec.rules.max_queue);
        let app = Arc::new(App {
            name: spec.name.clone(),
            pool,
            rules: ArcSwap::new(Arc::clone(&spec.rules)),
            metrics: self.metrics.app(&spec.name),
        });
        self.ctx.directory.add_app(&app);
        let known = self.unreadable.iter().position(|unreadable| unreadable.path == path);
        let lifetime = known.map_or(lifetime, |at| self.unreadable.swap_remove(at).lifetime);
        hosts.revive(&app, &path);
        hosts.settle(&app, &path, &spec.hosts);
        let (app_name, described) = (&spec.name, &spec.described);
        tracing::info!(app = %app_name, path = %path.display(), described, "app is being started");
        let left = self.surviving.extract_if(.., |surviving| surviving.app == app.name).collect();
        let handle = app_task::start(Arc::clone(&app), writer, spec, observer, left, self.ctx.clone());
        let at = self.running.len();
        self.running.push(AppEntry { app, path, lifetime, handle, leaving: false });
        &self.running[at]
    }

    /// Keeps a place for an app that cannot be read, so that its hosts are answered.
    pub(super) fn keep_unreadable(&mut self, path: &Path, lifetime: AppLifetime, why: String) -> Arc<App> {
        let unreadable = UnreadableApp::new(path, lifetime, why, &self.metrics);
        let app = Arc::clone(&unreadable.app);
        self.unreadable.push(unreadable);
        app
    }

    /// Ends an app that was added when no host that was added leads to it any more.
    pub(super) async fn let_go(&mut self, app: &AppName, hosts: &mut Hosts) {
        if hosts.any_added(app) {
            return;
        }
        self.unreadable.retain(|known| known.app.name != *app || known.lifetime == AppLifetime::Instance);
        let added = |entry: &&mut AppEntry| entry.app.name == *app && entry.lifetime == AppLifetime::Added;
        if let Some(entry) = self.running.iter_mut().find(added) {
            entry.end(None).await;
            hosts.forget(app);
        }
    }

    pub(super) async fn statuses(&self, hosts: &Hosts) -> Vec<AppStatus> {
        let mut statuses = Vec::new();
        for entry in &self.running {
            if let Some(mut status) = entry.ask(AppCommand::Status).await {
                status.hosts = hosts.of(&status.app);
                status.warnings.extend(self.missing_asked_apps(entry));
                statuses.push(status);
            }
        }
        statuses.extend(self.unreadable.iter().map(|known| known.status(hosts.of(&known.app.name))));
        statuses
    }

    /// A sentence for each app that an app asks about its requests and that does not run.
    fn missing_asked_apps(&self, entry: &AppEntry) -> Vec<String> {
        let asked = entry.app.rules.load().asked_apps().into_iter();
        let missing = asked.filter(|asked| !self.running.iter().any(|other| other.app.name == *asked));
        missing
            .map(|asked| {
                format!("`auth` asks the app {asked}, which is not there: requests get 503 until it is added")
            })
            .collect()
    }

    pub(super) async fn workers(&self) -> Vec<WorkerStatus> {
        let mut workers = Vec::new();
        for entry in &self.running {
            workers.extend(entry.ask(AppCommand::Workers).await.unwrap_or_default());
        }
        workers
    }

    /// Deploys one app, or all, and tries again to read those that could not be read.
    pub(super) async fn deploy(
        &mut self,
        app: Option<AppName>,
        hosts: &mut Hosts,
    ) -> Result<mpsc::Receiver<DeployEvent>, SupervisorError> {
        let meant = |name: &AppName| app.as_ref().is_none_or(|app| app == name);
        let unreadable = self.unreadable.iter().filter(|known| meant(&known.app.name));
        let unreadable: Vec<_> = unreadable.map(|known| (known.path.clone(), known.lifetime)).collect();
        let running = self.running.iter().filter(|entry| meant(&entry.app.name) && !entry.leaving);
        let running: Vec<_> = running.collect();
        if running.is_empty() && unreadable.is_empty() {
            return Err(app.map_or(SupervisorError::NoApp, SupervisorError::NoSuchApp));
        }
        let (steps, events) = mpsc::channel(STEPS * (running.len() + unreadable.len()));
        for entry in running {
            // A task that has just ended drops its observer, and the end of the events is all there is to tell.
            let observer = DeployObserver::new(&steps);
            entry.handle.commands.send(AppCommand::Deploy(observer, None)).await.ok();
        }
        for (path, lifetime) in unreadable {
            self.read_again(path, lifetime, &steps, hosts).await;
        }
        Ok(events)
    }

    /// Deploys one app to a share of its clients.
    pub(super) async fn deploy_to_some(
        &self,
        app: Option<AppName>,
        wish: CanaryWish,
    ) -> Result<mpsc::Receiver<DeployEvent>, SupervisorError> {
        let entry = self.find_or_only(app.as_ref())?;
        let (steps, events) = mpsc::channel(STEPS);
        let observer = DeployObserver::new(&steps);
        let command = AppCommand::Deploy(observer, Some(wish));
        entry.handle.commands.send(command).await.ok();
        Ok(events)
    }

    /// Has an app give the generation that is held to all clients.
    pub(super) async fn promote(
        &self,
        app: Option<AppName>,
    ) -> Result<mpsc::Receiver<DeployEvent>, SupervisorError> {
        let refused = |app, serving| SupervisorError::NoCanary { app, serving };
        self.observed(app, AppCommand::Promote, refused).await
    }

    /// The serving generation of an app, and how its workers are started.
    pub(super) async fn serving(
        &self,
        app: Option<&AppName>,
    ) -> Result<(GenerationId, Arc<LaunchSpec>), SupervisorError> {
        let entry = self.find_or_only(app)?;
        let app = || entry.app.name.clone();
        let asked = entry.ask(AppCommand::Serving).await.ok_or_else(|| SupervisorError::Leaving(app()))?;
        asked.ok_or_else(|| SupervisorError::NotServing(app()))
    }

    /// Starts the command of a timer of an app.
    pub(super) async fn run_timer(
        &self,
        app: Option<&AppName>,
        timer: String,
    ) -> Result<(AppName, WorkerId), SupervisorError> {
        let entry = self.find_or_only(app)?;
        let app = entry.app.name.clone();
        match entry.ask(|reply| AppCommand::RunTimer(timer.clone(), reply)).await {
            Some(Ok(worker)) => Ok((app, worker)),
            Some(Err(TimerRefusal::NotServing)) => Err(SupervisorError::NotServing(app)),
            Some(Err(TimerRefusal::Runs(worker))) => Err(SupervisorError::TimerRuns { app, timer, worker }),
            Some(Err(TimerRefusal::Unknown(known))) => Err(SupervisorError::NoTimer { app, timer, known }),
            None => Err(SupervisorError::Leaving(app)),
        }
    }

    /// Has an app go back to the generation that served before.
    pub(super) async fn roll_back(
        &self,
        app: Option<AppName>,
    ) -> Result<mpsc::Receiver<DeployEvent>, SupervisorError> {
        let refused = |app, serving| SupervisorError::NoEarlier { app, serving };
        self.observed(app, AppCommand::RollBack, refused).await
    }

    /// Gives an app, or the only one, a command whose events are those of a deploy. An app that has no such generation
    /// names the one that serves, of which `refused` makes the error.
    async fn observed(
        &self,
        app: Option<AppName>,
        command: impl FnOnce(Option<DeployObserver>, oneshot::Sender<Result<(), GenerationId>>) -> AppCommand,
        refused: impl FnOnce(AppName, GenerationId) -> SupervisorError,
    ) -> Result<mpsc::Receiver<DeployEvent>, SupervisorError> {
        let entry = self.find_or_only(app.as_ref())?;
        let (steps, events) = mpsc::channel(STEPS);
        let observer = DeployObserver::new(&steps);
        let app = entry.app.name.clone();
        match entry.ask(|reply| command(observer, reply)).await {
            Some(Ok(())) => Ok(events),
            Some(Err(serving)) => Err(refused(app, serving)),
            None => Err(SupervisorError::Leaving(app)),
        }
    }

    /// Tries again to read the apps that could not be read, and starts them.
    async fn read_again(
        &mut self,
        path: PathBuf,
        lifetime: AppLifetime,
        steps: &mpsc::Sender<DeployEvent>,
        hosts: &mut Hosts,
    ) {
        let observer = DeployObserver::new(steps);
        let error = match self.read(path.clone()).await {
            Ok(spec) => {
                self.launch(path, lifetime, spec, observer, hosts);
                return;
            }
            Err(error) => error.to_string(),
        };
        let known = self.unreadable.iter_mut().find(|known| known.path == path);
        if let (Some(known), Some(observer)) = (known, observer) {
            known.why = error;
            let (app, rejection) = (known.app.name.clone(), known.rejection());
            observer.end(DeployEvent::Rejected { app, rejection });
        }
    }

    /// The app of that name.
    pub(super) fn find(&self, app: &AppName) -> Result<&AppEntry, SupervisorError> {
        let found = self.running.iter().find(|entry| entry.app.name == *app);
        found.ok_or_else(|| SupervisorError::NoSuchApp(app.clone()))
    }

    /// The app of that name, or the only one.
    pub(super) fn find_or_only(&self, app: Option<&AppName>) -> Result<&AppEntry, SupervisorError> {
        app.map_or_else(|| self.only(), |app| self.find(app))
    }

    fn only(&self) -> Result<&AppEntry, SupervisorError> {
        match self.running.as_slice() {
            [only] => Ok(only),
            [] => Err(SupervisorError::NoApp),
            several => {
                Err(SupervisorError::WhichApp(several.iter().map(|entry| entry.app.name.clone()).collect()))
            }
        }
    }

    /// Has every app let its workers finish within `drain`, and end.
    pub(super) async fn stop(&mut self, drain: Option<Duration>) {
        for entry in &mut self.running {
            entry.end(drain).await;
        }
    }

    /// Ends every app's task and leaves the workers as they are.
    pub(super) async fn leave(&mut self) {
        for entry in &mut self.running {
            entry.leave().await;
        }
    }

    /// Takes in the facts of the apps: the hosts that their settings name, and whether they have ended.
    pub(super) fn read_facts(&mut self, hosts: &mut Hosts) {
        for entry in &mut self.running {
            let facts = entry.handle.facts.borrow_and_update().clone();
            if let Some(spec) = facts.serving.filter(|_| !entry.leaving) {
                hosts.settle(&entry.app, &entry.path, &spec.hosts);
            }
        }
        for entry in self.running.extract_if(.., |entry| entry.handle.facts.has_changed().is_err()) {
            tracing::info!(app = %entry.app.name, "app has ended");
            self.metrics.forget(&entry.app.name);
        }
    }
}

/// The places for the events of one app's deploy.
const STEPS: usize = 64;
