//! Owns a generation that a share of the clients gets, until somebody decides whether all get it.
//!
//! Never here: going on or back (`deploys`), which workers it has (`plan`), or which clients (`spec::canary`).

use tokio::time::Instant;

use crate::api::CanaryStatus;
use crate::name::{AppName, GenerationId};
use crate::spec::canary::{CanaryWish, ClientShare};

use super::deploy::{Deploy, Generation};
use super::probation::FailureCount;

/// A generation that is held.
pub(in crate::supervisor::app) struct HeldCanary {
    pub(in crate::supervisor::app) generation: Generation,
    /// The deploy, whose observers know that it is held, with what its workers wrote.
    pub(in crate::supervisor::app) deploy: Deploy,
    pub(in crate::supervisor::app) wish: CanaryWish,
    pub(in crate::supervisor::app) share: ClientShare,
    pub(in crate::supervisor::app) since: Instant,
    pub(in crate::supervisor::app) failures: FailureCount,
}

impl HeldCanary {
    pub(in crate::supervisor::app) fn id(&self) -> GenerationId {
        self.generation.id
    }

    /// The number of workers of the canary, of an app that wants so many.
    pub(in crate::supervisor::app) fn workers(&self, wanted: usize) -> usize {
        self.wish.workers(wanted.max(1))
    }

    /// The sentence that tells people for whom the canary is held, and which commands end that.
    pub(in crate::supervisor::app) fn sentence(&self, app: &AppName) -> String {
        format!(
            "generation {} is held for {} of the clients: `rip-serverctl promote {app}` gives it to all, \
             `rip-serverctl abort {app}` to none",
            self.id(),
            self.share
        )
    }

    /// The canary as `status` shows it, with so many of its workers ready.
    pub(in crate::supervisor::app) fn status(&self, ready: usize, now: Instant) -> CanaryStatus {
        let held = now.saturating_duration_since(self.since).as_secs();
        CanaryStatus { generation: self.id(), share: self.share.to_string(), ready, held }
    }
}
