//! Owns forgetting hosts that no server has wanted for long, and their pairs.
//!
//! Never here: a host that a server wants.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::name::HostName;
use crate::tasks::TaskGroup;
use crate::time::WallClock;

use super::schedule::{DAY, HOUR};
use super::state_files::StateFiles;
use super::store::Store;

/// The task that looks through the remembered hosts once an hour.
pub(super) struct Sweeper {
    pub(super) files: StateFiles,
    pub(super) store: Store,
    pub(super) wanted: watch::Receiver<Arc<[HostName]>>,
    pub(super) clock: WallClock,
}

impl Sweeper {
    /// Sweeps until the group is to end.
    pub(super) fn start(self, stop: &TaskGroup) {
        let watching = stop.clone();
        stop.spawn("acme sweeper", async move {
            tokio::select! {
                () = watching.requested() => {}
                () = self.run() => {}
            }
        });
    }

    async fn run(self) {
        loop {
            sleep(HOUR).await;
            let wanted: HashSet<HostName> = self.wanted.borrow().iter().cloned().collect();
            let (files, store, now) = (self.files.clone(), self.store.clone(), self.clock.now());
            spawn_blocking(move || sweep(&files, &store, &wanted, now)).await.ok();
        }
    }
}

/// Forgets hosts that were removed long ago. A host that no server wants counts as removed from the first look on that
/// finds it so, because it may have gone while the agent did not run.
fn sweep(files: &StateFiles, store: &Store, wanted: &HashSet<HostName>, now: SystemTime) {
    for mut record in files.hosts() {
        match record.removed {
            _ if wanted.contains(&record.host) => {}
            Some(removed) if removed + KEPT <= now => {
                store.remove(&record.host);
                files.forget_host(&record.host);
            }
            Some(_) => {}
            None => {
                record.removed = Some(now);
                if let Err(error) = files.save_host(&record) {
                    tracing::error!(host = %record.host, %error, "the state of a certificate cannot be written down");
                }
            }
        }
    }
}

/// How long the pair of a removed host is kept.
const KEPT: Duration = Duration::from_secs(30 * DAY.as_secs());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::host::HostState;
    use crate::agent::state_files::HostRecord;

    #[test]
    fn hosts_are_forgotten_with_their_pairs_thirty_days_after_nobody_wants_them() {
        let folder = tempfile::tempdir().unwrap();
        let files = StateFiles::open(&folder.path().join("state")).unwrap();
        let store = Store::open(&folder.path().join("pairs"), false).unwrap();
        let [kept, gone]: [HostName; 2] = ["kept.example", "gone.example"].map(|name| name.parse().unwrap());
        for host in [&kept, &gone] {
            let record = HostRecord { host: host.clone(), state: HostState::new(None), removed: None };
            files.save_host(&record).unwrap();
            std::fs::create_dir(store.folder_of(host)).unwrap();
        }
        let wanted = HashSet::from([kept.clone()]);
        let now = SystemTime::now();
        for (days, expected) in [(0, true), (29, true), (30, false)] {
            sweep(&files, &store, &wanted, now + days * DAY);
            assert_eq!(files.host(&gone).is_some(), expected, "after {days} days");
            assert_eq!(store.folder_of(&gone).exists(), expected);
        }
        assert!(files.host(&kept).is_some_and(|record| record.removed.is_none()));
        assert!(store.folder_of(&kept).exists());
    }
}
