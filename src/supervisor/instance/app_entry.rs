//! Owns one app of the set: one that runs, or one that cannot be read and whose hosts are answered 503.
//!
//! Never here: which apps there are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use crate::api::{AppStatus, Rejection, WorkerTally};
use crate::directory::App;
use crate::metrics::Metrics;
use crate::name::{AppName, GenerationId, RouteName};
use crate::pool::{Mode, Pool};

use crate::supervisor::app::app_task::AppHandle;
use crate::supervisor::app::messages::AppCommand;

pub(in crate::supervisor) struct AppEntry {
    pub(in crate::supervisor) app: Arc<App>,
    pub(in crate::supervisor) path: PathBuf,
    pub(in crate::supervisor) lifetime: AppLifetime,
    pub(in crate::supervisor) handle: AppHandle,
    pub(in crate::supervisor) leaving: bool,
}

/// How long an app stays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum AppLifetime {
    Instance,
    /// Until no added host leads to the app any more.
    Added,
}

/// An app that cannot be read: its hosts are answered 503.
pub(in crate::supervisor) struct UnreadableApp {
    pub(in crate::supervisor) app: Arc<App>,
    pub(in crate::supervisor) path: PathBuf,
    pub(in crate::supervisor) lifetime: AppLifetime,
    pub(in crate::supervisor) why: String,
}

// Awaiting an app's task is safe, because that task never waits for this one.
impl AppEntry {
    pub(in crate::supervisor) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> AppCommand,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.handle.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }

    pub(in crate::supervisor) async fn leave(&mut self) {
        self.leaving = true;
        // A send that fails is fine: the task has ended.
        self.handle.commands.send(AppCommand::Leave).await.ok();
    }

    pub(in crate::supervisor) async fn end(&mut self, drain: Option<Duration>) {
        self.leaving = true;
        // A send that fails is fine: the task has ended.
        self.handle.commands.send(AppCommand::Stop(drain)).await.ok();
    }
}

impl UnreadableApp {
    /// An entry for the app that should be at `path`.
    pub(in crate::supervisor) fn new(
        path: &Path,
        lifetime: AppLifetime,
        why: String,
        metrics: &Metrics,
    ) -> Self {
        let (pool, writer) = Pool::new(0);
        writer.set_mode(Mode::Closed);
        let name = nameless(path);
        let metrics = metrics.app(&name);
        let app = Arc::new(App { name, pool, rules: ArcSwap::new(Arc::default()), metrics });
        Self { app, path: path.into(), lifetime, why }
    }

    /// The entry as people see it.
    pub(in crate::supervisor) fn status(&self, hosts: Vec<RouteName>) -> AppStatus {
        AppStatus {
            app: self.app.name.clone(),
            path: self.path.clone(),
            described: "cannot be read".into(),
            recycle: String::new(),
            hosts,
            generation: GenerationId::default(),
            workers: WorkerTally::default(),
            scaling: None,
            resting: false,
            again: None,
            canary: None,
            earlier: None,
            queued: 0,
            in_flight: 0,
            tunnels: 0,
            served: 0,
            concurrency: 1,
            refused: self.app.metrics.refusals(),
            doing: "taking no requests: the app cannot be read".into(),
            warnings: Vec::new(),
            jobs: Vec::new(),
            rejected: Some(self.rejection()),
        }
    }

    pub(in crate::supervisor) fn rejection(&self) -> Rejection {
        let reason = self.why.clone();
        Rejection { generation: GenerationId::default(), reason, output: Vec::new() }
    }
}

/// The name of an app that has none, from its path.
fn nameless(path: &Path) -> AppName {
    let last = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let text: String = last.chars().map(plain).skip_while(|c| !c.is_ascii_alphanumeric()).take(64).collect();
    AppName::parse(&text).unwrap_or_else(|_| AppName::parse("app").expect("a plain word is a name"))
}
