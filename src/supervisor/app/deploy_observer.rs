//! Owns telling somebody who waits for a deploy how far it is and how it ended.
//!
//! Never here: deploying.

use tokio::sync::mpsc;

use crate::api::DeployEvent;

/// Somebody who waits for the end of one app's deploy; the place for its last event is taken beforehand.
pub(in crate::supervisor) struct DeployObserver {
    steps: mpsc::Sender<DeployEvent>,
    last: mpsc::OwnedPermit<DeployEvent>,
}

impl DeployObserver {
    /// `None` when the channel has no place left.
    pub(in crate::supervisor) fn new(steps: &mpsc::Sender<DeployEvent>) -> Option<Self> {
        let last = steps.clone().try_reserve_owned().ok()?;
        Some(Self { steps: steps.clone(), last })
    }

    /// Tells the end; there is a place for it.
    pub(in crate::supervisor) fn end(self, outcome: DeployEvent) {
        drop(self.last.send(outcome));
    }

    /// Tells how far the deploy is.
    pub(super) fn tell(&self, progress: DeployEvent) {
        // Who reads too slowly misses steps on the way, never the end.
        self.steps.try_send(progress).ok();
    }
}
