//! The directory: which app answers for a host name.
//!
//! Looked up for every request, changed one host at a time. Never here: what an app is or does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::api::HostState;
use crate::metrics::AppMetrics;
use crate::name::{AppName, HostName};
use crate::pool::Pool;
use crate::spec::Rules;

/// An app as the data path sees it.
pub struct App {
    /// Its name.
    pub name: AppName,
    /// Its workers.
    pub pool: Pool,
    /// Its limits; a deploy may change them.
    pub rules: ArcSwap<Rules>,
    /// Its counters.
    pub metrics: AppMetrics,
}

/// What a host stands for.
#[derive(Clone)]
pub struct Route {
    /// The host as it was registered; may be a wildcard.
    pub host: HostName,
    /// The app.
    pub app: Arc<App>,
    /// Whether a certificate may be got for the host of an authority, if its app allows it.
    pub acme: bool,
    /// What the host does with its requests; a request of a paused host waits for it to change. Hosts that run may
    /// share one with others of their app, and another route takes this one's place when the host does anything else.
    pub availability: watch::Receiver<Availability>,
}

/// What a host does with its requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Availability {
    /// Whether they are served, wait, or are refused.
    pub state: HostState,
    /// The operator's page while the host is [`HostState::Stopped`], HTML.
    pub page: Option<Arc<str>>,
}

/// Host names and their routes. Cheap to clone; all clones are the same directory.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<DirectoryState>,
}

struct DirectoryState {
    /// Held to look one host up, to change one, or to list them all. Listing and changing happen on one thread, so a
    /// request never waits longer than one change takes.
    routes: RwLock<HashMap<HostName, Arc<Route>>>,
    changed: watch::Sender<()>,
    /// Counts the changes, for those that ask at every request.
    version: AtomicU64,
}

impl Directory {
    /// An empty directory.
    pub fn new() -> Self {
        let (changed, _) = watch::channel(());
        let shared = DirectoryState { routes: RwLock::default(), changed, version: AtomicU64::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// Finds the route of a host name in canonical form (as [`HostName`] has it): exact, then the wildcard one label up.
    pub fn lookup(&self, host: &str) -> Option<Arc<Route>> {
        if let Some(route) = self.exact(host) {
            return Some(route);
        }
        let (_, parent) = host.split_once('.')?;
        self.exact(&format!("*.{parent}"))
    }

    /// Which state of the directory this is: what was looked up after a version was read holds while it is the same.
    pub fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    /// Adds a host or changes what it stands for.
    pub fn insert(&self, route: Route) {
        self.insert_all([route]);
    }

    /// Does the same for many hosts. Requests find those that are there already.
    pub fn insert_all(&self, routes: impl IntoIterator<Item = Route>) {
        for route in routes {
            self.write().insert(route.host.clone(), Arc::new(route));
        }
        self.has_changed();
    }

    /// Removes a host. Requests already routed are not touched.
    pub fn remove(&self, host: &HostName) {
        self.write().remove(host);
        self.has_changed();
    }

    /// Every host, in no order.
    pub fn hosts(&self) -> Vec<HostName> {
        self.hosts_that(|_| true)
    }

    /// The hosts that are wanted, in no order.
    pub fn hosts_that(&self, wanted: impl Fn(&HostName) -> bool) -> Vec<HostName> {
        self.read().keys().filter(|host| wanted(host)).cloned().collect()
    }

    /// Every route, in no order.
    pub fn routes(&self) -> Vec<Arc<Route>> {
        self.read().values().map(Arc::clone).collect()
    }

    /// Tells when hosts come or go.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.shared.changed.subscribe()
    }

    fn exact(&self, host: &str) -> Option<Arc<Route>> {
        self.read().get(host).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<HostName, Arc<Route>>> {
        self.shared.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<HostName, Arc<Route>>> {
        self.shared.routes.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_changed(&self) {
        self.shared.version.fetch_add(1, Ordering::Release);
        self.shared.changed.send_replace(());
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
impl App {
    /// For tests that are about something else.
    pub(crate) fn of_no_interest(name: &str) -> Arc<Self> {
        let name: AppName = name.parse().unwrap();
        let rules = ArcSwap::from_pointee(Rules::default());
        let metrics = crate::metrics::Metrics::new().app(&name);
        Arc::new(Self { name, pool: Pool::new(1).0, rules, metrics })
    }
}

#[cfg(test)]
impl Route {
    /// For tests: a host that serves.
    pub(crate) fn to(host: &str, app: &Arc<App>) -> Self {
        let (_, availability) = watch::channel(Availability::default());
        Self { host: host.parse().unwrap(), app: Arc::clone(app), acme: true, availability }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_hosts_are_inserted_as_each_alone_would_be() {
        let (old, new) = (App::of_no_interest("old"), App::of_no_interest("new"));
        let directory = Directory::new();
        directory.insert(Route::to("h7.example", &old));
        directory.insert(Route::to("other.example", &old));
        let mut changes = directory.changes();
        changes.mark_unchanged();

        let names: Vec<_> = (0..2000).map(|n| format!("h{n}.example")).collect();
        directory.insert_all(names.iter().map(|name| Route::to(name, &new)));

        assert!(changes.has_changed().unwrap());
        for name in &names {
            let found = directory.lookup(name).unwrap();
            assert_eq!((found.host.as_str(), &found.app.name), (name.as_str(), &new.name));
        }
        assert_eq!(directory.lookup("other.example").unwrap().app.name, old.name);
        assert_eq!(directory.hosts().len(), 2001);
    }
}
