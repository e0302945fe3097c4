//! Owns which host, or which of its paths, leads to which app. The registry is written before the directory changes.
//!
//! Never here: what an app is, or starting and stopping one.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::api::{Changed, HostEntry, HostOrigin, HostState, SetState};
use crate::directory::{App, Availability, Directory, Route};
use crate::name::{AppName, RouteName};
use crate::registry::{Registry, RegistryEntry, RegistryError};

use crate::supervisor::supervisor_error::SupervisorError;

/// The hosts of an instance.
pub(in crate::supervisor) struct Hosts {
    directory: Directory,
    /// The registry. The lock only lets a thread that may block have the registry; there is one writer, which waits.
    registry: Arc<Mutex<Registry>>,
    rows: BTreeMap<RouteName, HostRow>,
    /// The state that an app's hosts share as long as they were never paused or stopped: a channel for each host would
    /// be most of the host's memory.
    usual: HashMap<AppName, watch::Sender<Availability>>,
    /// The hosts that an app's settings named last; compared whenever an app has new facts, because the rows are many.
    named: HashMap<AppName, Vec<RouteName>>,
}

struct HostRow {
    app: Arc<App>,
    path: Arc<Path>,
    origin: HostOrigin,
    /// Whether a certificate may be got for the host from an authority.
    acme: bool,
    /// The state of the host; `None`: its requests are served, and it was never paused or stopped.
    availability: Option<watch::Sender<Availability>>,
}

impl HostRow {
    fn new(app: &Arc<App>, path: Arc<Path>, origin: HostOrigin, wishes: HostWishes) -> Self {
        let HostWishes { availability, acme } = wishes;
        let availability = (availability != Availability::default()).then(|| watch::channel(availability).0);
        Self { app: Arc::clone(app), path, origin, acme, availability }
    }

    fn availability(&self) -> Availability {
        self.availability.as_ref().map(|own| own.borrow().clone()).unwrap_or_default()
    }
}

/// The wishes for a host beside its app.
#[derive(PartialEq)]
struct HostWishes {
    availability: Availability,
    acme: bool,
}

impl Default for HostWishes {
    fn default() -> Self {
        Self { availability: Availability::default(), acme: true }
    }
}

impl HostWishes {
    fn of(entry: &RegistryEntry) -> Self {
        let availability = Availability { state: entry.state, page: entry.page.as_deref().map(Arc::from) };
        Self { availability, acme: entry.acme }
    }
}

impl Hosts {
    /// Starts with hosts that lead nowhere, whatever the registry says.
    pub(in crate::supervisor) fn new(directory: Directory, registry: Registry) -> Self {
        Self {
            directory,
            registry: Arc::new(Mutex::new(registry)),
            rows: BTreeMap::new(),
            usual: HashMap::new(),
            named: HashMap::new(),
        }
    }

    /// The hosts that the registry has kept, by their apps' paths.
    pub(in crate::supervisor) fn kept(&self) -> BTreeMap<Arc<Path>, Vec<RegistryEntry>> {
        let mut kept = BTreeMap::<_, Vec<_>>::new();
        for entry in self.registry().entries() {
            kept.entry(Arc::clone(&entry.path)).or_default().push(entry.clone());
        }
        kept
    }

    /// Makes the hosts that an app's settings name lead to it, and no others of its settings.
    pub(in crate::supervisor) fn settle(&mut self, app: &Arc<App>, path: &Path, named: &[RouteName]) {
        for host in named {
            match self.rows.get_mut(host) {
                Some(row) if row.app.name == app.name => row.origin = HostOrigin::Config,
                Some(row) => {
                    let (app, owner) = (&app.name, &row.app.name);
                    tracing::warn!(%app, %host, %owner, "host is another app's already");
                }
                None => {
                    let wishes = self.kept_wishes(host, path);
                    self.insert(host.clone(), app, path.into(), HostOrigin::Config, wishes);
                }
            }
        }
        let before = self.named.insert(app.name.clone(), named.to_vec()).unwrap_or_default();
        for host in before.iter().filter(|host| !named.contains(host)) {
            self.unname(host, &app.name);
        }
    }

    /// Makes kept hosts lead to an app again.
    pub(in crate::supervisor) fn restore(&mut self, app: &Arc<App>, entries: Vec<RegistryEntry>) {
        let mut routes = Vec::with_capacity(entries.len());
        for entry in entries {
            match self.rows.get(&entry.host) {
                None => {
                    let wishes = HostWishes::of(&entry);
                    let row = HostRow::new(app, entry.path, HostOrigin::Added, wishes);
                    routes.push(route(&entry.host, &row, &mut self.usual));
                    self.rows.insert(entry.host, row);
                }
                Some(row) if row.app.name == app.name => {}
                Some(row) => {
                    let (host, app, owner) = (&entry.host, &app.name, &row.app.name);
                    tracing::warn!(%app, %host, %owner, "host was kept for one app and is named by another");
                }
            }
        }
        self.directory.insert_all(routes);
    }

    /// Makes the hosts of `path` lead to this app, which could not be read before.
    pub(in crate::supervisor) fn revive(&mut self, app: &Arc<App>, path: &Path) {
        let mine = self.rows.iter_mut().filter(|(_, row)| &*row.path == path);
        self.directory.insert_all(mine.map(|(host, row)| {
            row.app = Arc::clone(app);
            route(host, row, &mut self.usual)
        }));
    }

    /// Whether a host may be given to an app.
    ///
    /// # Errors
    /// [`SupervisorError::HostTaken`].
    pub(in crate::supervisor) fn check_free(
        &self,
        host: &RouteName,
        app: Option<&AppName>,
    ) -> Result<(), SupervisorError> {
        match self.rows.get(host) {
            Some(row) if Some(&row.app.name) != app => {
                Err(SupervisorError::HostTaken { host: host.clone(), app: row.app.name.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Makes a host lead to an app, for good, and notes whether a certificate may be got for it from an authority.
    ///
    /// # Errors
    /// When the host is another app's, or cannot be written down; then nothing has changed.
    pub(in crate::supervisor) async fn add(
        &mut self,
        host: &RouteName,
        app: &Arc<App>,
        path: &Path,
        acme: bool,
    ) -> Result<Changed, SupervisorError> {
        self.check_free(host, Some(&app.name))?;
        let row = self.rows.get(host);
        if row.is_some_and(|row| row.acme == acme) {
            return Ok(Changed { ok: true, changed: false, entry: self.entry(host) });
        }
        let path = row.map_or_else(|| path.into(), |row| Arc::clone(&row.path));
        let origin = row.map_or(HostOrigin::Added, |row| row.origin);
        let wishes = HostWishes { availability: row.map(HostRow::availability).unwrap_or_default(), acme };
        self.note(host, &path, origin, &wishes).await?;
        self.insert(host.clone(), app, path, origin, wishes);
        tracing::info!(app = %app.name, %host, acme, "host added");
        Ok(Changed { ok: true, changed: true, entry: self.entry(host) })
    }

    /// Makes an added host lead nowhere; returns the app that it led to.
    ///
    /// # Errors
    /// When there is no such host, a config names it, or the change cannot be written down; then nothing has changed.
    pub(in crate::supervisor) async fn remove(
        &mut self,
        host: &RouteName,
    ) -> Result<AppName, SupervisorError> {
        let row = self.row(host)?;
        let app = row.app.name.clone();
        if row.origin == HostOrigin::Config {
            return Err(SupervisorError::HostOfConfig { host: host.clone(), app });
        }
        let removed = host.clone();
        self.write(move |registry| registry.remove(&removed)).await?;
        self.drop_row(host);
        tracing::info!(%app, %host, "host removed");
        Ok(app)
    }

    /// Changes a host's state.
    ///
    /// # Errors
    /// When there is no such host, or the change cannot be written down; then nothing has changed.
    pub(in crate::supervisor) async fn set_state(
        &mut self,
        host: &RouteName,
        wanted: SetState,
    ) -> Result<Changed, SupervisorError> {
        let row = self.row(host)?;
        let availability = Availability { state: wanted.state, page: wanted.page.as_deref().map(Arc::from) };
        let wishes = HostWishes { availability, acme: row.acme };
        let app = row.app.name.clone();
        self.note(host, &row.path, row.origin, &wishes).await?;
        let changed = self.stand(host, wishes.availability);
        if changed {
            tracing::info!(%app, %host, state = %wanted.state, "host changed its state");
        }
        Ok(Changed { ok: true, changed, entry: self.entry(host) })
    }

    pub(in crate::supervisor) fn entries(&self) -> Vec<HostEntry> {
        self.rows.iter().map(|(host, row)| shown(host, row)).collect()
    }

    /// The hosts of an app, sorted.
    pub(in crate::supervisor) fn of(&self, app: &AppName) -> Vec<RouteName> {
        self.rows.iter().filter(|(_, row)| row.app.name == *app).map(|(host, _)| host.clone()).collect()
    }

    /// Whether an app has a host that was added.
    pub(in crate::supervisor) fn any_added(&self, app: &AppName) -> bool {
        self.rows.values().any(|row| row.app.name == *app && row.origin == HostOrigin::Added)
    }

    /// Makes no host lead to an app any more; the registry stays as it is.
    pub(in crate::supervisor) fn forget(&mut self, app: &AppName) {
        for host in self.of(app) {
            self.drop_row(&host);
        }
        self.usual.remove(app);
        self.named.remove(app);
    }

    /// Writes all changes into the one file that people read. A failure loses nothing.
    pub(in crate::supervisor) async fn close(&self) {
        let registry = Arc::clone(&self.registry);
        let settled = spawn_blocking(move || lock(&registry).settle()).await;
        if let Ok(Err(error)) = settled {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%error, source, "the registry's changes stay in a file of their own");
        }
    }

    /// Handles a host that an app's settings no longer name: it stays only if it was added too.
    fn unname(&mut self, host: &RouteName, app: &AppName) {
        let of_settings = |row: &HostRow| row.origin == HostOrigin::Config && row.app.name == *app;
        if !self.rows.get(host).is_some_and(of_settings) {
            return;
        }
        let added = self.registry().get(host).is_some();
        match self.rows.get_mut(host) {
            Some(row) if added => row.origin = HostOrigin::Added,
            _ => self.drop_row(host),
        }
    }

    fn kept_wishes(&self, host: &RouteName, path: &Path) -> HostWishes {
        let registry = self.registry();
        registry.get(host).filter(|entry| &*entry.path == path).map(HostWishes::of).unwrap_or_default()
    }

    /// Writes down the wishes for a host. A host of a config needs a note only while its state is not `running`.
    async fn note(
        &self,
        host: &RouteName,
        path: &Arc<Path>,
        origin: HostOrigin,
        wishes: &HostWishes,
    ) -> Result<(), SupervisorError> {
        let host = host.clone();
        if origin == HostOrigin::Config && *wishes == HostWishes::default() {
            self.write(move |registry| registry.remove(&host)).await?;
        } else {
            let Availability { state, page } = wishes.availability.clone();
            let page = page.as_deref().map(str::to_owned);
            let entry = RegistryEntry { host, path: Arc::clone(path), state, page, acme: wishes.acme };
            self.write(move |registry| registry.set(entry)).await?;
        }
        Ok(())
    }

    fn insert(
        &mut self,
        host: RouteName,
        app: &Arc<App>,
        path: Arc<Path>,
        origin: HostOrigin,
        wishes: HostWishes,
    ) {
        let row = HostRow::new(app, path, origin, wishes);
        self.directory.insert(route(&host, &row, &mut self.usual));
        self.rows.insert(host, row);
    }

    /// Changes the state of a known host; false when it has that state already.
    fn stand(&mut self, host: &RouteName, availability: Availability) -> bool {
        let Some(row) = self.rows.get_mut(host) else { return false };
        match &row.availability {
            Some(own) => own.send_if_modified(|now| {
                let changed = *now != availability;
                *now = availability;
                changed
            }),
            None if availability == Availability::default() => false,
            None => {
                row.availability = Some(watch::channel(availability).0);
                self.directory.insert(route(host, row, &mut self.usual));
                true
            }
        }
    }

    fn drop_row(&mut self, host: &RouteName) {
        self.directory.remove(host);
        self.rows.remove(host);
    }

    fn row(&self, host: &RouteName) -> Result<&HostRow, SupervisorError> {
        self.rows.get(host).ok_or_else(|| SupervisorError::NoSuchHost(host.clone()))
    }

    fn entry(&self, host: &RouteName) -> Option<HostEntry> {
        self.rows.get(host).map(|row| shown(host, row))
    }

    async fn write(
        &self,
        change: impl FnOnce(&mut Registry) -> Result<bool, RegistryError> + Send + 'static,
    ) -> Result<bool, SupervisorError> {
        let registry = Arc::clone(&self.registry);
        let written = spawn_blocking(move || change(&mut lock(&registry))).await;
        // The task is not aborted, and a panic is a mistake in the registry that has been shown already.
        written.map_err(|_| SupervisorError::Stopping)?.map_err(SupervisorError::from)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }
}

fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

fn route(
    host: &RouteName,
    row: &HostRow,
    usual: &mut HashMap<AppName, watch::Sender<Availability>>,
) -> Route {
    let availability = match &row.availability {
        Some(own) => own.subscribe(),
        None => usual.entry(row.app.name.clone()).or_default().subscribe(),
    };
    Route { name: host.clone(), app: Arc::clone(&row.app), acme: row.acme, availability }
}

fn shown(host: &RouteName, row: &HostRow) -> HostEntry {
    HostEntry {
        host: host.clone(),
        app: row.app.name.clone(),
        state: row.availability.as_ref().map_or_else(HostState::default, |own| own.borrow().state),
        live: row.app.pool.any_worker(),
        origin: row.origin,
        acme: row.acme,
    }
}
