//! Owns how apps come into the fleet: given at the start, kept in the registry, added by a host; with the workers that
//! an earlier server left of them.
//!
//! Never here: what becomes of them then.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::backend::{Signal, Survivor};
use crate::directory::App;
use crate::name::HostName;
use crate::pool::Pool;
use crate::spec::AppSpec;

use super::berth::{Berth, Kind, Missing};
use super::fleet::{Begun, Fleet};
use super::spelling;
use super::spelling::Meant;
use crate::manager::app::app_task;
use crate::manager::app::rollout::Listener;
use crate::manager::error::ManagerError;

impl Fleet {
    pub(in crate::manager) async fn begin(&mut self, mains: Vec<PathBuf>) -> Vec<Begun> {
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

    pub(in crate::manager) async fn begin_kept(&mut self) {
        for (path, entries) in self.hosts.kept() {
            let known = self.place_of(&path, Meant::Entry).await;
            if let Some(app) = known.map(|at| Arc::clone(&self.apps[at].app)) {
                self.hosts.restore(&app, entries);
                continue;
            }
            let app = match self.open(path.to_path_buf(), Kind::Added).await {
                Ok(at) => Arc::clone(&self.apps[at].app),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "app of kept hosts cannot be started");
                    self.miss(&path, Kind::Added, error.to_string())
                }
            };
            self.hosts.restore(&app, entries);
        }
    }

    /// Workers of apps that are not run any more.
    pub(in crate::manager) fn end_orphans(&mut self) {
        for Survivor { worker, app, generation, .. } in self.survivors.drain(..) {
            tracing::info!(%app, %worker, %generation, "worker of an app that is not run here is told to end");
            self.around.post.forget(worker);
            self.around.backend.signal(worker, Signal::Terminate);
        }
    }

    /// The app at `path`, known or new.
    pub(in crate::manager) async fn open_for(
        &mut self,
        host: &HostName,
        path: PathBuf,
    ) -> Result<usize, ManagerError> {
        if !path.is_absolute() {
            return Err(ManagerError::RelativePath(path));
        }
        if let Some(at) = self.place_of(&path, Meant::Target).await {
            return Ok(at);
        }
        let missing = self.missing.iter().map(|missing| missing.path.clone()).collect();
        let missing = self.place_among(missing, &path, Meant::Entry).await.map(|at| &self.missing[at]);
        self.hosts.check_free(host, missing.map(|missing| &missing.app.name))?;
        let path = missing.map_or(path, |missing| missing.path.clone());
        self.open(path, Kind::Added).await
    }

    /// The app that `path` means, however it is spelled.
    async fn place_of(&self, path: &Path, meant: Meant) -> Option<usize> {
        let known = self.apps.iter().map(|berth| berth.path.clone()).collect();
        self.place_among(known, path, meant).await
    }

    async fn place_among(&self, known: Vec<PathBuf>, path: &Path, meant: Meant) -> Option<usize> {
        // Nothing is asked of the disk for a path that is known as it is.
        if let Some(at) = known.iter().position(|known| known == path) {
            return Some(at);
        }
        let path = path.to_path_buf();
        self.around.on_disk(move || spelling::place(&path, &known, meant)).await.flatten()
    }

    /// Reads the app at `path` and starts it.
    async fn open(&mut self, path: PathBuf, kind: Kind) -> Result<usize, ManagerError> {
        let spec = self.read(path.clone()).await?;
        Ok(self.launch(path, kind, spec, None))
    }

    pub(in crate::manager) async fn read(&self, path: PathBuf) -> Result<AppSpec, ManagerError> {
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

    pub(in crate::manager) fn launch(
        &mut self,
        path: PathBuf,
        kind: Kind,
        spec: AppSpec,
        listener: Option<Listener>,
    ) -> usize {
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
        let left = self.survivors.extract_if(.., |survivor| survivor.app == app.name).collect();
        let handle = app_task::start(Arc::clone(&app), writer, spec, listener, left, self.around.clone());
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
}
