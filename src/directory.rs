//! The directory: which app answers for a host name.
//!
//! Read for every request without a lock; changed one host at a time. Never here: what an app is or does.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::api::Intent;
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
    /// What the host is to do; a held request waits for it to change.
    pub standing: watch::Receiver<Standing>,
}

/// What a host is to do with its requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// The intent.
    pub intent: Intent,
    /// The operator's page while the intent is [`Intent::Stop`], HTML.
    pub page: Option<Arc<str>>,
}

/// Host names and their routes. Cheap to clone; all clones are the same directory.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
}

type Bucket = HashMap<HostName, Arc<Route>>;

struct Shared {
    hasher: RandomState,
    /// A change copies one bucket, not all hosts.
    buckets: Vec<ArcSwap<Bucket>>,
    /// Serializes writers; readers never take it.
    writing: Mutex<()>,
    changed: watch::Sender<u64>,
}

impl Directory {
    /// An empty directory.
    pub fn new() -> Self {
        let buckets = (0..BUCKETS).map(|_| ArcSwap::from_pointee(Bucket::new())).collect();
        let (changed, _) = watch::channel(0);
        Self {
            shared: Arc::new(Shared {
                hasher: RandomState::new(),
                buckets,
                writing: Mutex::new(()),
                changed,
            }),
        }
    }

    /// Finds the route of a host name in canonical form (as [`HostName`] has it): exact, then the wildcard one label up.
    pub fn lookup(&self, host: &str) -> Option<Arc<Route>> {
        if let Some(route) = self.exact(host) {
            return Some(route);
        }
        let (_, parent) = host.split_once('.')?;
        self.exact(&format!("*.{parent}"))
    }

    /// Adds a host or changes what it stands for.
    pub fn insert(&self, route: Route) {
        let host = route.host.clone();
        self.change(&host.clone(), |bucket| {
            bucket.insert(host, Arc::new(route));
        });
    }

    /// Removes a host. Requests already routed are not touched.
    pub fn remove(&self, host: &HostName) {
        self.change(host, |bucket| {
            bucket.remove(host);
        });
    }

    /// Every host, in no order.
    pub fn hosts(&self) -> Vec<HostName> {
        self.shared
            .buckets
            .iter()
            .flat_map(|bucket| bucket.load().keys().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Tells when hosts come or go; the value counts the changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    fn exact(&self, host: &str) -> Option<Arc<Route>> {
        self.bucket(host).load().get(host).cloned()
    }

    fn bucket(&self, host: &str) -> &ArcSwap<Bucket> {
        let hash = self.shared.hasher.hash_one(host) as usize;
        &self.shared.buckets[hash % BUCKETS]
    }

    fn change(&self, host: &HostName, edit: impl FnOnce(&mut Bucket)) {
        let _writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = self.bucket(host.as_str());
        let mut copy = Bucket::clone(&bucket.load());
        edit(&mut copy);
        bucket.store(Arc::new(copy));
        self.shared.changed.send_modify(|count| *count += 1);
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

const BUCKETS: usize = 256;
