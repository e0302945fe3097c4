//! Owns all apps of an instance and their hosts: the task that people's wishes reach, one after the other.
//!
//! Never here: the workers of an app; each app has a task for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use crate::api::{AddHost, AppStatus, Changed, DeployEvent, HostEntry, LogLine, Scale, Scaled};
use crate::api::{SetIntent, WorkerStatus};
use crate::config::compound;
use crate::directory::App;
use crate::metrics::Metrics;
use crate::name::{AppName, HostName};
use crate::pool::Pool;
use crate::spec::AppSpec;
use crate::stop::StopHandle;

use super::app_task::{self, Facts};
use super::berth::{Berth, Kind, Missing};
use super::error::ManagerError;
use super::hosts::Hosts;
use super::rollout::Listener;
use super::surroundings::Surroundings;

/// What people wish.
pub(super) enum Wish {
    AddHost(AddHost, Reply<Result<Changed, ManagerError>>),
    RemoveHost(HostName, Reply<Result<Changed, ManagerError>>),
    SetIntent(HostName, SetIntent, Reply<Result<Changed, ManagerError>>),
    Hosts(Reply<Vec<HostEntry>>),
    Apps(Reply<Vec<AppStatus>>),
    Workers(Reply<Vec<WorkerStatus>>),
    Deploy(Option<AppName>, Reply<Result<mpsc::Receiver<DeployEvent>, ManagerError>>),
    Scale(Scale, Reply<Result<Scaled, ManagerError>>),
    Logs(Option<AppName>, usize, Follow, Reply<Result<mpsc::Receiver<LogLine>, ManagerError>>),
    Begun(Reply<Vec<Begun>>),
    Stop(Duration, Reply<()>),
}

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<T>;

/// Whether lines that are yet to come are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    Yes,
    No,
}

/// What became of an app that was given at the start.
#[derive(Clone)]
pub(super) enum Begun {
    /// It is being started.
    App(PathBuf, AppName, watch::Receiver<Facts>),
    /// It cannot be.
    Unreadable(PathBuf, String),
}

/// All apps.
pub(super) struct Fleet {
    pub(super) around: Surroundings,
    pub(super) metrics: Metrics,
    pub(super) hosts: Hosts,
    pub(super) router: StopHandle,
    apps: Vec<Berth>,
    /// Apps of the registry, or of the start, that cannot be read.
    missing: Vec<Missing>,
    /// The path of the first app of the start.
    first: Option<PathBuf>,
    stopping: bool,
    stop_replies: Vec<Reply<()>>,
}

impl Fleet {
    /// No app yet.
    pub(super) fn new(around: Surroundings, metrics: Metrics, hosts: Hosts, router: StopHandle) -> Self {
        let (apps, missing, stop_replies) = (Vec::new(), Vec::new(), Vec::new());
        Self { around, metrics, hosts, router, apps, missing, first: None, stopping: false, stop_replies }
    }

    /// Starts the apps given and those of the registry, and then does what it is told until it is stopped.
    pub(super) async fn run(mut self, mains: Vec<PathBuf>, mut wishes: mpsc::Receiver<Wish>) {
        let begun = self.begin(mains).await;
        self.begin_kept().await;
        let news = Arc::clone(&self.around.news);
        let mut heard = true;
        while !self.stopping || !self.apps.is_empty() {
            tokio::select! {
                biased;
                () = news.notified() => self.read_facts(),
                wish = wishes.recv(), if heard => match wish {
                    Some(wish) => self.fulfil(wish, &begun).await,
                    // Nobody is left who could wish for anything.
                    None => {
                        heard = false;
                        self.stop(None).await;
                    }
                },
            }
        }
        self.router.abort();
        for reply in self.stop_replies.drain(..) {
            reply.send(()).ok();
        }
    }

    async fn begin(&mut self, mains: Vec<PathBuf>) -> Vec<Begun> {
        let mut begun = Vec::new();
        // The registry keeps paths for a start in another working directory.
        let mains =
            mains.into_iter().map(|path| std::path::absolute(&path).unwrap_or(path)).collect::<Vec<_>>();
        self.first = mains.first().cloned();
        for path in mains {
            begun.push(match self.open(path.clone(), Kind::Main).await {
                Ok(at) => {
                    let berth = &self.apps[at];
                    Begun::App(path, berth.app.name.clone(), berth.handle.facts.clone())
                }
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "app cannot be started");
                    self.miss(&path, Kind::Main, error.to_string());
                    Begun::Unreadable(path, error.to_string())
                }
            });
        }
        begun
    }

    async fn begin_kept(&mut self) {
        for (path, entries) in self.hosts.kept() {
            let known = self.apps.iter().find(|berth| berth.path == path);
            if let Some(app) = known.map(|berth| Arc::clone(&berth.app)) {
                self.hosts.restore(&app, entries);
                continue;
            }
            let app = match self.open(path.clone(), Kind::Added).await {
                Ok(at) => Arc::clone(&self.apps[at].app),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "app of kept hosts cannot be started");
                    self.miss(&path, Kind::Added, error.to_string())
                }
            };
            self.hosts.restore(&app, entries);
        }
    }

    async fn fulfil(&mut self, wish: Wish, begun: &[Begun]) {
        // Who wished may have gone; then nobody needs the answer.
        match wish {
            Wish::AddHost(wanted, reply) => drop(reply.send(self.add_host(wanted).await)),
            Wish::RemoveHost(host, reply) => drop(reply.send(self.remove_host(&host).await)),
            Wish::SetIntent(host, wanted, reply) => {
                drop(reply.send(self.hosts.set_intent(&host, wanted).await));
            }
            Wish::Hosts(reply) => drop(reply.send(self.hosts.entries())),
            Wish::Apps(reply) => drop(reply.send(self.statuses().await)),
            Wish::Workers(reply) => drop(reply.send(self.workers().await)),
            Wish::Deploy(app, reply) => drop(reply.send(self.deploy(app).await)),
            Wish::Scale(wanted, reply) => drop(reply.send(self.scale(wanted).await)),
            Wish::Logs(app, lines, follow, reply) => drop(reply.send(self.logs(app, lines, follow))),
            Wish::Begun(reply) => drop(reply.send(begun.to_vec())),
            Wish::Stop(drain, reply) => {
                self.stop_replies.push(reply);
                self.stop(Some(drain)).await;
            }
        }
    }

    async fn add_host(&mut self, wanted: AddHost) -> Result<Changed, ManagerError> {
        self.check_not_stopping()?;
        let path = wanted.path.or_else(|| self.first.clone()).ok_or(ManagerError::NoApp)?;
        let at = self.open_for(&wanted.host, path).await?;
        let berth = &self.apps[at];
        if berth.leaving {
            return Err(ManagerError::Leaving(berth.app.name.clone()));
        }
        let (app, path) = (Arc::clone(&berth.app), berth.path.clone());
        let added = self.hosts.add(&wanted.host, &app, &path).await;
        if added.is_err() {
            self.let_go(&app.name).await;
        }
        added
    }

    /// The app at `path`, known or new.
    async fn open_for(&mut self, host: &HostName, path: PathBuf) -> Result<usize, ManagerError> {
        if !path.is_absolute() {
            return Err(ManagerError::RelativePath(path));
        }
        if let Some(at) = self.apps.iter().position(|berth| berth.path == path) {
            return Ok(at);
        }
        match self.missing.iter().find(|missing| missing.path == path) {
            Some(missing) => self.hosts.check_free(host, Some(&missing.app.name))?,
            None => self.hosts.check_free(host, None)?,
        }
        self.open(path, Kind::Added).await
    }

    /// Reads the app at `path` and starts it.
    async fn open(&mut self, path: PathBuf, kind: Kind) -> Result<usize, ManagerError> {
        let spec = self.read(path.clone()).await?;
        Ok(self.launch(path, kind, spec, None))
    }

    async fn read(&self, path: PathBuf) -> Result<AppSpec, ManagerError> {
        let read = self.around.read_app(path.clone()).await;
        let spec = read.map_err(|error| ManagerError::Rejected { path: path.clone(), error })?;
        match self.apps.iter().find(|berth| berth.app.name == spec.name) {
            None => Ok(spec),
            Some(known) if known.leaving => Err(ManagerError::Leaving(spec.name)),
            Some(known) => {
                Err(ManagerError::NameTaken { app: spec.name, known: known.path.clone(), new: path })
            }
        }
    }

    fn launch(&mut self, path: PathBuf, kind: Kind, spec: AppSpec, listener: Option<Listener>) -> usize {
        let (pool, writer) = Pool::new(spec.rules.max_queue);
        let app = Arc::new(App {
            name: spec.name.clone(),
            pool,
            rules: ArcSwap::new(Arc::clone(&spec.rules)),
            metrics: self.metrics.app(&spec.name),
        });
        let missed = self.missing.iter().position(|missing| missing.path == path);
        let kind = missed.map_or(kind, |at| self.missing.swap_remove(at).kind);
        self.hosts.revive(&app, &path);
        self.hosts.settle(&app, &path, &spec.hosts);
        let (app_name, described) = (&spec.name, &spec.described);
        tracing::info!(app = %app_name, path = %path.display(), described, "app is being started");
        let handle = app_task::start(Arc::clone(&app), writer, spec, listener, self.around.clone());
        self.apps.push(Berth { app, path, kind, handle, leaving: false });
        self.apps.len() - 1
    }

    /// Keeps a place for an app that cannot be read, so that its hosts are answered.
    fn miss(&mut self, path: &Path, kind: Kind, why: String) -> Arc<App> {
        let missing = Missing::new(path, kind, why, &self.metrics);
        let app = Arc::clone(&missing.app);
        self.missing.push(missing);
        app
    }

    async fn remove_host(&mut self, host: &HostName) -> Result<Changed, ManagerError> {
        let app = self.hosts.remove(host).await?;
        self.let_go(&app).await;
        Ok(Changed { ok: true, changed: true, entry: None })
    }

    /// Ends an app that was added if nobody wants a host of it any more.
    async fn let_go(&mut self, app: &AppName) {
        if self.hosts.any_added(app) {
            return;
        }
        self.missing.retain(|missing| missing.app.name != *app || missing.kind == Kind::Main);
        let added = |berth: &&mut Berth| berth.app.name == *app && berth.kind == Kind::Added;
        if let Some(berth) = self.apps.iter_mut().find(added) {
            berth.end(None).await;
            self.hosts.forget(app);
        }
    }

    async fn statuses(&self) -> Vec<AppStatus> {
        let mut statuses = Vec::new();
        for berth in &self.apps {
            if let Some(mut status) = berth.ask(app_task::Command::Status).await {
                status.hosts = self.hosts.of(&status.app);
                statuses.push(status);
            }
        }
        statuses.extend(self.missing.iter().map(|missing| missing.status(self.hosts.of(&missing.app.name))));
        statuses
    }

    async fn workers(&self) -> Vec<WorkerStatus> {
        let mut workers = Vec::new();
        for berth in &self.apps {
            workers.extend(berth.ask(app_task::Command::Workers).await.unwrap_or_default());
        }
        workers
    }

    async fn deploy(&mut self, app: Option<AppName>) -> Result<mpsc::Receiver<DeployEvent>, ManagerError> {
        self.check_not_stopping()?;
        let meant = |name: &AppName| app.as_ref().is_none_or(|app| app == name);
        let missing: Vec<_> = self.missing.iter().filter(|missing| meant(&missing.app.name)).collect();
        let missing: Vec<_> = missing.iter().map(|missing| (missing.path.clone(), missing.kind)).collect();
        let known: Vec<_> =
            self.apps.iter().filter(|berth| meant(&berth.app.name) && !berth.leaving).collect();
        if known.is_empty() && missing.is_empty() {
            return Err(app.map_or(ManagerError::NoApp, ManagerError::NoSuchApp));
        }
        let (steps, events) = mpsc::channel(STEPS * (known.len() + missing.len()));
        for berth in known {
            // A task that has just ended drops its listener: the end of the events is all there is to tell.
            berth.handle.commands.send(app_task::Command::Deploy(Listener::new(&steps))).await.ok();
        }
        for (path, kind) in missing {
            self.read_missing(path, kind, &steps).await;
        }
        Ok(events)
    }

    /// Tries again to read what could not be read, and starts it.
    async fn read_missing(&mut self, path: PathBuf, kind: Kind, steps: &mpsc::Sender<DeployEvent>) {
        let listener = Listener::new(steps);
        let error = match self.read(path.clone()).await {
            Ok(spec) => {
                self.launch(path, kind, spec, listener);
                return;
            }
            Err(error) => error.to_string(),
        };
        let missing = self.missing.iter_mut().find(|missing| missing.path == path);
        if let (Some(missing), Some(listener)) = (missing, listener) {
            missing.why = error;
            let (app, rejection) = (missing.app.name.clone(), missing.rejection());
            listener.end(DeployEvent::Rejected { app, rejection });
        }
    }

    async fn scale(&self, wanted: Scale) -> Result<Scaled, ManagerError> {
        self.check_not_stopping()?;
        let count = compound::workers(&wanted.workers).ok_or(ManagerError::BadCount(wanted.workers))?;
        let berth = match wanted.app {
            Some(app) => self.find(&app)?,
            None => match self.apps.as_slice() {
                [only] => only,
                [] => return Err(ManagerError::NoApp),
                several => {
                    let names = several.iter().map(|berth| berth.app.name.clone()).collect();
                    return Err(ManagerError::WhichApp(names));
                }
            },
        };
        let scaled = berth.ask(|reply| app_task::Command::Scale(count, reply)).await;
        scaled.ok_or_else(|| ManagerError::Leaving(berth.app.name.clone()))
    }

    fn logs(
        &self,
        app: Option<AppName>,
        lines: usize,
        follow: Follow,
    ) -> Result<mpsc::Receiver<LogLine>, ManagerError> {
        if let Some(app) = &app {
            self.find(app)?;
        }
        let tail = self.around.output.tail(app.as_ref(), lines);
        let (reader, read) = mpsc::channel(STEPS);
        self.around.stop.spawn("log reader", tail.pour(reader, follow == Follow::Yes));
        Ok(read)
    }

    async fn stop(&mut self, drain: Option<Duration>) {
        self.stopping = true;
        for berth in &mut self.apps {
            berth.end(drain).await;
        }
    }

    fn read_facts(&mut self) {
        for berth in &mut self.apps {
            let facts = berth.handle.facts.borrow_and_update().clone();
            if let Some(spec) = facts.serving.filter(|_| !berth.leaving) {
                self.hosts.settle(&berth.app, &berth.path, &spec.hosts);
            }
        }
        let gone = self.apps.extract_if(.., |berth| berth.handle.facts.has_changed().is_err());
        for berth in gone {
            tracing::info!(app = %berth.app.name, "app has ended");
            self.metrics.forget(&berth.app.name);
        }
    }

    fn find(&self, app: &AppName) -> Result<&Berth, ManagerError> {
        let found = self.apps.iter().find(|berth| berth.app.name == *app);
        found.ok_or_else(|| ManagerError::NoSuchApp(app.clone()))
    }

    fn check_not_stopping(&self) -> Result<(), ManagerError> {
        if self.stopping { Err(ManagerError::Stopping) } else { Ok(()) }
    }
}

/// Places for the events of one app's deploy, and for the lines of one reader.
const STEPS: usize = 64;
