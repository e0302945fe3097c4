//! Owns reporting a deploy's progress and end to a caller that waits for it.
//!
//! Never here: deploying.

use tokio::sync::mpsc;

use crate::api::DeployEvent;

/// A caller that waits for the end of one app's deploy; the place for the last event is reserved in the channel.
pub(in crate::supervisor) struct DeployObserver {
    steps: mpsc::Sender<DeployEvent>,
    last: mpsc::OwnedPermit<DeployEvent>,
}

impl DeployObserver {
    /// Reserves the place for the last event; `None` when the channel has none left.
    pub(in crate::supervisor) fn new(steps: &mpsc::Sender<DeployEvent>) -> Option<Self> {
        let last = steps.clone().try_reserve_owned().ok()?;
        Some(Self { steps: steps.clone(), last })
    }

    /// Sends the last event, for which there is a place.
    pub(in crate::supervisor) fn end(self, outcome: DeployEvent) {
        drop(self.last.send(outcome));
    }

    /// Sends an event of progress.
    pub(super) fn tell(&self, progress: DeployEvent) {
        // A caller that reads too slowly misses events of progress, never the last one.
        self.steps.try_send(progress).ok();
    }
}
