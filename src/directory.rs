//! The directory: which app answers for a host name, or for some of its paths; and which app has a name.
//!
//! Routes are looked up for every request, and changed one at a time. Never here: what an app is or does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::api::HostState;
use crate::metrics::AppMetrics;
use crate::name::{AmbiguousPath, AppName, HostName, RequestPath, RouteName};
use crate::pool::Pool;
use crate::spec::Rules;

/// An app as the data path sees it.
pub(crate) struct App {
    pub(crate) name: AppName,
    pub(crate) pool: Pool,
    /// The app's limits; a deploy may change them.
    pub(crate) rules: ArcSwap<Rules>,
    pub(crate) metrics: AppMetrics,
}

/// A route: the app to which a host leads, or some paths of a host.
#[derive(Clone)]
pub(crate) struct Route {
    /// The route's name as it was registered; the host may be a wildcard.
    pub(crate) name: RouteName,
    /// The app that the route leads to.
    pub(crate) app: Arc<App>,
    /// Whether a certificate may be got for the host of an authority, if its app allows it.
    pub(crate) acme: bool,
    /// The treatment of the route's requests; a request to a paused route waits for a change of this value. Routes that
    /// run may share one value with others of their app. When the treatment of one such route changes, another route
    /// takes its place.
    pub(crate) availability: watch::Receiver<Availability>,
}

/// All routes of a host.
#[derive(Clone)]
pub(crate) enum HostRoutes {
    /// A single route for every path.
    Whole(Arc<Route>),
    /// Several routes, or routes of some paths only. The longest prefixes come first, the route of all other paths
    /// last.
    ByPath(Arc<[Arc<Route>]>),
}

/// The way in which a route treats its requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Availability {
    /// Whether requests are served, wait, or are refused.
    pub(crate) state: HostState,
    /// The operator's page while the host is [`HostState::Stopped`], HTML.
    pub(crate) page: Option<Arc<str>>,
}

/// Host names and their routes. Cheap to clone; all clones are the same directory.
#[derive(Clone)]
pub(crate) struct Directory {
    shared: Arc<DirectoryState>,
}

struct DirectoryState {
    /// The lock is held to look one host up, to change one, or to list them all. Listing and changing happen on one
    /// thread, so a request never waits longer than one change takes.
    routes: RwLock<HashMap<HostName, HostRoutes>>,
    /// The apps by name. An entry does not keep its app alive.
    apps: RwLock<HashMap<AppName, Weak<App>>>,
    changed: watch::Sender<()>,
    /// Counts the changes, for those that ask at every request.
    version: AtomicU64,
}

impl HostRoutes {
    /// The routes that a host has when, of the routes `there`, the one with that name is replaced by `new` or taken
    /// out; `None`: no route is left.
    fn of(there: Option<&Self>, name: &RouteName, new: Option<&Arc<Route>>) -> Option<Self> {
        let kept = there.map(Self::all).unwrap_or_default().iter().filter(|route| route.name != *name);
        let mut routes: Vec<_> = kept.chain(new).cloned().collect();
        let length = |route: &Arc<Route>| route.name.prefix().map_or(0, |prefix| prefix.as_str().len());
        routes.sort_by_key(|route| std::cmp::Reverse(length(route)));
        match routes.as_slice() {
            [] => None,
            [only] if only.name.prefix().is_none() => Some(Self::Whole(Arc::clone(only))),
            _ => Some(Self::ByPath(routes.into())),
        }
    }

    /// All routes of the host.
    pub(crate) fn all(&self) -> &[Arc<Route>] {
        match self {
            Self::Whole(route) => std::slice::from_ref(route),
            Self::ByPath(routes) => routes,
        }
    }

    /// The host as it was registered.
    pub(crate) fn host(&self) -> &HostName {
        match self {
            Self::Whole(route) => route.name.host(),
            Self::ByPath(routes) => routes[0].name.host(),
        }
    }

    /// The route of a request's path as it was sent; `None`: there is none for it.
    ///
    /// # Errors
    /// When the route depends on how a reader takes the path.
    pub(crate) fn at(&self, path: &str) -> Result<Option<&Arc<Route>>, AmbiguousPath> {
        let routes = match self {
            Self::Whole(route) => return Ok(Some(route)),
            Self::ByPath(routes) => routes,
        };
        let path = RequestPath::read(path)?;
        let mut found = None;
        for route in routes.iter() {
            let holds = route.name.prefix().map_or(Ok(true), |prefix| path.is_below(prefix))?;
            if holds && found.is_none() {
                found = Some(route);
            }
        }
        Ok(found)
    }
}

impl Directory {
    pub(crate) fn new() -> Self {
        let (changed, _) = watch::channel(());
        let shared = DirectoryState {
            routes: RwLock::default(),
            apps: RwLock::default(),
            changed,
            version: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Finds the routes of a host name in canonical form (as [`HostName`] has it): exact, then the wildcard one label
    /// up.
    pub(crate) fn lookup(&self, host: &str) -> Option<HostRoutes> {
        if let Some(routes) = self.exact(host) {
            return Some(routes);
        }
        let (_, parent) = host.split_once('.')?;
        self.exact(&format!("*.{parent}"))
    }

    /// The number of the directory's state. A look-up that came after the number was read holds while the number stays
    /// the same.
    pub(crate) fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    /// Makes an app found by its name for as long as anybody holds the app.
    pub(crate) fn add_app(&self, app: &Arc<App>) {
        let mut apps = self.shared.apps.write().unwrap_or_else(PoisonError::into_inner);
        apps.retain(|_, known| known.strong_count() > 0);
        apps.insert(app.name.clone(), Arc::downgrade(app));
    }

    /// The app of that name.
    pub(crate) fn app(&self, name: &AppName) -> Option<Arc<App>> {
        let apps = self.shared.apps.read().unwrap_or_else(PoisonError::into_inner);
        apps.get(name)?.upgrade()
    }

    /// Adds a route or changes where it leads.
    pub(crate) fn insert(&self, route: Route) {
        self.insert_all([route]);
    }

    /// Adds many routes, or changes where they lead. Requests meanwhile find the routes that are there already.
    pub(crate) fn insert_all(&self, routes: impl IntoIterator<Item = Route>) {
        for route in routes {
            let (host, route) = (route.name.host().clone(), Arc::new(route));
            let mut there = self.write();
            let routes = HostRoutes::of(there.get(&host), &route.name, Some(&route));
            there.extend(routes.map(|routes| (host, routes)));
        }
        self.has_changed();
    }

    /// Removes a route. Requests already routed are not touched.
    pub(crate) fn remove(&self, name: &RouteName) {
        let mut there = self.write();
        match HostRoutes::of(there.get(name.host()), name, None) {
            Some(left) => drop(there.insert(name.host().clone(), left)),
            None => drop(there.remove(name.host())),
        }
        drop(there);
        self.has_changed();
    }

    /// Every host, in no order.
    pub(crate) fn hosts(&self) -> Vec<HostName> {
        self.hosts_that(|_| true)
    }

    /// The hosts that are wanted, in no order.
    pub(crate) fn hosts_that(&self, wanted: impl Fn(&HostName) -> bool) -> Vec<HostName> {
        self.read().keys().filter(|host| wanted(host)).cloned().collect()
    }

    /// The routes of every host, in no order.
    pub(crate) fn routes(&self) -> Vec<HostRoutes> {
        self.read().values().cloned().collect()
    }

    /// Tells when hosts come or go.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.shared.changed.subscribe()
    }

    fn exact(&self, host: &str) -> Option<HostRoutes> {
        self.read().get(host).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<HostName, HostRoutes>> {
        self.shared.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<HostName, HostRoutes>> {
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
    /// An app for tests that are about something else.
    pub(crate) fn of_no_interest(name: &str) -> Arc<Self> {
        let name: AppName = name.parse().unwrap();
        let rules = ArcSwap::from_pointee(Rules::default());
        let metrics = crate::metrics::Metrics::new().app(&name);
        Arc::new(Self { name, pool: Pool::new(1).0, rules, metrics })
    }
}

#[cfg(test)]
impl Route {
    /// A route that serves, for tests.
    pub(crate) fn to(name: &str, app: &Arc<App>) -> Self {
        let (_, availability) = watch::channel(Availability::default());
        Self { name: name.parse().unwrap(), app: Arc::clone(app), acme: true, availability }
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
            assert_eq!((found.host().as_str(), &found.all()[0].app.name), (name.as_str(), &new.name));
        }
        assert_eq!(directory.lookup("other.example").unwrap().all()[0].app.name, old.name);
        assert_eq!(directory.hosts().len(), 2001);
    }

    #[test]
    fn an_app_is_found_by_its_name_while_somebody_has_it() {
        let directory = Directory::new();
        let (first, second) = (App::of_no_interest("sso"), App::of_no_interest("sso"));
        directory.add_app(&first);
        directory.add_app(&second);
        drop(first);
        assert!(Arc::ptr_eq(&directory.app(&second.name).unwrap(), &second));
        let name = second.name.clone();
        drop(second);
        assert!(directory.app(&name).is_none());
    }

    #[test]
    fn the_longest_prefix_of_a_host_s_routes_wins_whichever_came_first() {
        let [site, blog, deep] = ["site", "blog", "deep"].map(App::of_no_interest);
        let directory = Directory::new();
        let at = |path: &str| {
            let routes = directory.lookup("a.example").unwrap();
            routes.at(path).unwrap().map(|route| route.app.name.to_string())
        };
        directory.insert(Route::to("a.example/blog", &blog));
        assert_eq!(at("/blog/x").as_deref(), Some("blog"));
        assert_eq!(at("/"), None);
        directory.insert(Route::to("a.example", &site));
        directory.insert(Route::to("a.example/blog/deep", &deep));
        for (path, app) in [
            ("/", "site"),
            ("/blogger", "site"),
            ("/blog", "blog"),
            ("/blog/deeper", "blog"),
            ("/blog/deep/x", "deep"),
            ("*", "site"),
        ] {
            assert_eq!(at(path).as_deref(), Some(app), "{path}");
        }
        assert!(directory.lookup("a.example").unwrap().at("/blog/../x").is_err());
        assert_eq!(directory.hosts().len(), 1);
        for name in ["a.example/blog", "a.example/blog/deep"] {
            directory.remove(&name.parse().unwrap());
        }
        assert!(matches!(directory.lookup("a.example"), Some(HostRoutes::Whole(_))));
        assert_eq!(at("/blog/../x").as_deref(), Some("site"), "nothing depends on it");
        directory.remove(&"a.example".parse().unwrap());
        assert!(directory.lookup("a.example").is_none() && directory.hosts().is_empty());
    }
}
