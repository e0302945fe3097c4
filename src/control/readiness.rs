//! Owns the answer to balancers: whether requests should be sent to this server, and if not, why.
//!
//! Never here: how the answer is asked for (`health`, `agent_check`).

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout};

use crate::api::AppStatus;
use crate::name::AppName;
use crate::spec::ReadyWhen;
use crate::supervisor::Supervisor;
use crate::tasks::ShutdownToken;

use super::balancer_drain::{BalancerDrain, Until};

/// The sources of a server's readiness. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ReadinessParts {
    /// The supervisor, which knows the apps.
    pub(crate) supervisor: Supervisor,
    /// Requested when the server is to end.
    pub(crate) shutdown: ShutdownToken,
    /// The drain that people have asked for.
    pub(crate) drain: BalancerDrain,
    /// How many apps need a worker.
    pub(crate) when: ReadyWhen,
}

/// The answer to a balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    /// A sentence for each reason against it.
    pub(super) why: Vec<String>,
    /// Whether requests should go elsewhere because of a drain or the server's end, and not because something is wrong.
    pub(super) draining: bool,
    pub(super) apps: Vec<AppReadiness>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct AppReadiness {
    app: AppName,
    ready: usize,
    wanted: usize,
}

impl ReadinessParts {
    /// The readiness now. Cancel-safe.
    pub(super) async fn now(&self) -> Readiness {
        let Ok(apps) = timeout(LONGEST, self.supervisor.apps()).await else {
            let why = vec![format!("the supervisor has not answered for {} s", LONGEST.as_secs())];
            return Readiness { ready: false, why, draining: false, apps: Vec::new() };
        };
        let now = Instant::now();
        Readiness::of(&apps, self.when, self.shutdown.is_requested(), self.drain.at(now), now)
    }
}

impl Readiness {
    fn of(apps: &[AppStatus], when: ReadyWhen, stopping: bool, drain: Option<Until>, now: Instant) -> Self {
        let mut why = Vec::new();
        if stopping {
            why.push("the server stops".to_owned());
        }
        if let Some(until) = drain {
            why.push(format!("drained {}", until.shown(now)));
        }
        let without = apps.iter().filter(|app| !app.can_serve());
        let without: Vec<_> = without.map(|app| app.app.as_str()).collect();
        if apps.is_empty() {
            why.push("there is no app yet".to_owned());
        } else if without.len() == apps.len() || when == ReadyWhen::All && !without.is_empty() {
            why.push(format!("no worker is ready of {}", without.join(", ")));
        }
        let draining = stopping || drain.is_some();
        let apps = apps.iter().map(|app| AppReadiness {
            app: app.app.clone(),
            ready: app.workers.ready,
            wanted: app.workers.wanted,
        });
        Self { ready: why.is_empty(), why, draining, apps: apps.collect() }
    }
}

/// The time limit for the supervisor's answer, which it gives without waiting itself.
const LONGEST: Duration = Duration::from_secs(2);
