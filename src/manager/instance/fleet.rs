//! Owns all apps of an instance and their hosts: the task that people's wishes reach, one after the other.
//!
//! Never here: the workers of an app; each app has a task for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::api::{AddHost, AppStatus, Changed, DeployEvent, HostEntry, LogLine, Scale, Scaled};
use crate::api::{SetIntent, WorkerStatus};
use crate::backend::Survivor;
use crate::config::settings::compound;
use crate::metrics::Metrics;
use crate::name::{AppName, HostName};
use crate::tasks::TaskHandle;

use super::berth::{Berth, Kind, Missing};
use super::hosts::Hosts;
use crate::manager::app::app_task;
use crate::manager::app::app_task::Facts;
use crate::manager::app::rollout::Listener;
use crate::manager::error::ManagerError;
use crate::manager::surroundings::Surroundings;

/// What people wish.
pub(in crate::manager) enum Wish {
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
    Leave(Reply<()>),
}

/// Where an answer goes.
pub(in crate::manager) type Reply<T> = oneshot::Sender<T>;

/// Whether lines that are yet to come are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::manager) enum Follow {
    Yes,
    No,
}

/// What became of an app that was given at the start.
#[derive(Clone)]
pub(in crate::manager) enum Begun {
    /// It is being started.
    App(PathBuf, AppName, watch::Receiver<Facts>),
    /// It cannot be.
    Unreadable(PathBuf, String),
}

/// All apps.
pub(in crate::manager) struct Fleet {
    pub(in crate::manager) around: Surroundings,
    pub(in crate::manager) metrics: Metrics,
    pub(in crate::manager) hosts: Hosts,
    pub(in crate::manager) router: TaskHandle,
    pub(in crate::manager) apps: Vec<Berth>,
    /// Apps of the registry, or of the start, that cannot be read.
    pub(in crate::manager) missing: Vec<Missing>,
    /// The path of the first app of the start.
    pub(in crate::manager) first: Option<PathBuf>,
    /// Workers of an earlier server whose app has not been read yet.
    pub(in crate::manager) survivors: Vec<Survivor>,
    stopping: bool,
    stop_replies: Vec<Reply<()>>,
}

impl Fleet {
    /// No app yet.
    pub(in crate::manager) fn new(
        around: Surroundings,
        metrics: Metrics,
        hosts: Hosts,
        router: TaskHandle,
    ) -> Self {
        let (apps, missing, stop_replies) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            around,
            metrics,
            hosts,
            router,
            apps,
            missing,
            first: None,
            survivors: Vec::new(),
            stopping: false,
            stop_replies,
        }
    }

    /// Starts the apps given and those of the registry, and then does what it is told until it is stopped.
    pub(in crate::manager) async fn run(mut self, mains: Vec<PathBuf>, mut wishes: mpsc::Receiver<Wish>) {
        self.survivors = self.around.backend.survivors().await;
        for survivor in &self.survivors {
            self.around.pass_over(survivor.worker);
            self.around.post.keep(survivor.worker);
        }
        let begun = self.begin(mains).await;
        self.begin_kept().await;
        self.end_orphans();
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
        self.hosts.close().await;
        for reply in self.stop_replies.drain(..) {
            reply.send(()).ok();
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
            Wish::Leave(reply) => {
                self.stop_replies.push(reply);
                self.leave().await;
            }
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

    async fn leave(&mut self) {
        self.stopping = true;
        self.around.backend.leave();
        for berth in &mut self.apps {
            berth.leave().await;
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
