//! Owns noticing that an app's files have changed: its entry, its `rip.toml`, the files that its settings want watched,
//! or where its path leads.
//!
//! Never here: what follows from a change.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::name::AppName;
use crate::tasks::{TaskGroup, TaskHandle};

use super::app_files::{ChangedPart, Fingerprint, WatchTargets, fingerprint};
use super::source_tree::{MOST_FOLDERS, Tree};

/// A change that was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::supervisor) struct FileChange {
    pub(in crate::supervisor) what: ChangedPart,
    pub(in crate::supervisor) targets: WatchTargets,
    /// The state of the files now.
    pub(in crate::supervisor) found: Fingerprint,
}

/// The watch of an app's files; dropping it ends it.
pub(in crate::supervisor) struct FileWatch {
    targets: WatchTargets,
    task: TaskHandle,
}

impl FileWatch {
    /// Begins to watch. Each change is sent once, some 150 ms after the files have come to rest.
    pub(in crate::supervisor) fn start(
        targets: WatchTargets,
        read: Option<Fingerprint>,
        tell: mpsc::Sender<FileChange>,
        stop: &TaskGroup,
    ) -> Self {
        let task = stop.spawn("file watch", look(targets.clone(), read, tell));
        Self { targets, task }
    }

    pub(in crate::supervisor) fn targets(&self) -> &WatchTargets {
        &self.targets
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(targets: WatchTargets, read: Option<Fingerprint>, tell: mpsc::Sender<FileChange>) {
    let first = match read {
        Some(read) => Some(read),
        None => fingerprint(&targets).await,
    };
    let Some(mut seen) = first else { return };
    let (wake, mut woken) = mpsc::channel(1);
    let mut eyes = Eyes::open(&targets, wake.clone());
    let Some(opened) = eyes.follow(&seen.tree).await else { return };
    eyes = opened;
    let mut pause = LULL;
    // A look finds what changed before inotify was listened to.
    let mut at_once = true;
    loop {
        // Looks are needed also with inotify, which does not report other machines' writes to a network file system.
        let every = if eyes.watcher.is_some() { SAFETY_POLL } else { POLL };
        if !std::mem::take(&mut at_once) && timeout(every, woken.recv()).await.is_ok() {
            // An app that writes beside its code all day is looked at 20 times a second, no more.
            sleep(pause).await;
        }
        let begun = Instant::now();
        let Some(found) = at_rest(&targets, &seen).await else { return };
        let what = seen.difference(&found, &targets);
        if what.is_some() && seen.real_path != found.real_path {
            // The watched folders stand for other folders now.
            eyes = Eyes::open(&targets, wake.clone());
        }
        let Some(opened) = eyes.follow(&found.tree).await else { return };
        eyes = opened;
        let Some(what) = what else {
            // Looking over a large tree may not take more than a part of the time.
            pause = LULL + begun.elapsed() * 4;
            continue;
        };
        pause = LULL;
        seen = found.clone();
        if tell.send(FileChange { what, targets: targets.clone(), found }).await.is_err() {
            return;
        }
    }
}

/// The sources of wake-ups for the watch: inotify on the folders of the targets and on those of their sources.
struct Eyes {
    app: AppName,
    watcher: Option<RecommendedWatcher>,
    /// The folders of the sources that are watched, or could not be.
    followed: BTreeMap<PathBuf, u64>,
    wake: mpsc::Sender<()>,
    warned: bool,
}

impl Eyes {
    fn open(targets: &WatchTargets, wake: mpsc::Sender<()>) -> Self {
        let watcher = inotify(targets, &wake);
        Self { app: targets.app.clone(), watcher, followed: BTreeMap::new(), wake, warned: false }
    }

    /// Watches the folders that have come, and stops watching those that have gone. `None`: the runtime shuts down.
    async fn follow(mut self, tree: &Tree) -> Option<Self> {
        if tree.folders == self.followed {
            return Some(self);
        }
        let (folders, cut) = (tree.folders.clone(), tree.cut);
        // Each watch takes a moment, and there may be thousands.
        let follow = move || {
            self.change_to(folders, cut);
            self
        };
        spawn_blocking(follow).await.ok()
    }

    fn change_to(&mut self, folders: BTreeMap<PathBuf, u64>, cut: bool) {
        let app = self.app.as_str();
        if cut && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                app,
                "`watch` means more than {MOST_FOLDERS} folders: changes in the others are not noticed; narrow it"
            );
        }
        let Some(watcher) = &mut self.watcher else { return };
        let same =
            |map: &BTreeMap<PathBuf, u64>, (path, inode): (&PathBuf, &u64)| map.get(path) == Some(inode);
        for (gone, _) in self.followed.iter().filter(|folder| !same(&folders, *folder)) {
            // The kernel has forgotten a folder that was removed.
            watcher.unwatch(gone).ok();
        }
        let new = folders.iter().filter(|folder| !same(&self.followed, *folder));
        let failed =
            new.filter_map(|(folder, _)| watcher.watch(folder, RecursiveMode::NonRecursive).err()).last();
        if let Some(error) = failed.filter(|_| !std::mem::replace(&mut self.warned, true)) {
            tracing::warn!(app, %error, "cannot use inotify for all of `watch`: looking there every 10 s");
        }
        self.followed = folders;
        // Files may have come before their folder was watched.
        self.wake.try_send(()).ok();
    }
}

/// The state of the files when two looks in a row agree, or that of the first look if nothing has changed.
async fn at_rest(targets: &WatchTargets, seen: &Fingerprint) -> Option<Fingerprint> {
    let mut found = fingerprint(targets).await?;
    if found == *seen {
        return Some(found);
    }
    for _ in 0..MOST_LOOKS {
        sleep(REST).await;
        let again = fingerprint(targets).await?;
        if again == found {
            break;
        }
        found = again;
    }
    Some(found)
}

fn inotify(targets: &WatchTargets, wake: &mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let wake = wake.clone();
    let told = move |event: notify::Result<notify::Event>| {
        // Reading a file is no change; an error may have lost one.
        if !matches!(event, Ok(notify::Event { kind: EventKind::Access(_), .. })) {
            // A wake-up that waits to be read is enough.
            wake.try_send(()).ok();
        }
    };
    let watched = notify::recommended_watcher(told).and_then(|mut watcher| {
        for folder in targets.folders() {
            watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    watched
        .inspect_err(|error| {
            let app = targets.app.as_str();
            tracing::warn!(app, %error, "cannot use inotify: looking for changed files once a second");
        })
        .ok()
}

/// The time between two looks that must agree.
const REST: Duration = Duration::from_millis(150);
/// The number of looks after which a file that is written to all the time is taken as it is.
const MOST_LOOKS: usize = 20;
const LULL: Duration = Duration::from_millis(50);
const POLL: Duration = Duration::from_secs(1);
const SAFETY_POLL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    use super::*;

    struct Files {
        folder: tempfile::TempDir,
        changes: mpsc::Receiver<FileChange>,
        _watch: FileWatch,
    }

    impl Files {
        /// Two releases with an entry each; `current` leads to the first.
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for release in ["1", "2"] {
                fs::create_dir(folder.path().join(release)).unwrap();
                fs::write(folder.path().join(release).join("index.js"), "1").unwrap();
            }
            let current = folder.path().join("current");
            symlink("1", &current).unwrap();
            let targets = WatchTargets {
                app: AppName::parse("app").unwrap(),
                entry: Some(current.join("index.js")),
                settings: current.join("rip.toml"),
                path: current,
                sources: Arc::default(),
            };
            let (tell, mut changes) = mpsc::channel(1);
            let watch = FileWatch::start(targets, None, tell, &TaskGroup::new());
            // The first look is over when the watch has begun, which only its silence shows.
            timeout(REST * 2, changes.recv()).await.unwrap_err();
            Self { folder, changes, _watch: watch }
        }

        fn write(&self, name: &str, text: &str) {
            let staged = self.folder.path().join("staged");
            fs::write(&staged, text).unwrap();
            fs::rename(staged, self.folder.path().join("current").join(name)).unwrap();
        }

        async fn change(&mut self) -> Option<ChangedPart> {
            let change = timeout(Duration::from_secs(5), self.changes.recv()).await.unwrap();
            change.map(|change| change.what)
        }
    }

    #[tokio::test]
    async fn an_entry_that_is_renamed_over_is_told_once() {
        let mut files = Files::new().await;
        files.write("index.js", "two");
        files.write("index.js", "three");
        assert_eq!(files.change().await, Some(ChangedPart::Entry));
        timeout(REST * 3, files.changes.recv()).await.unwrap_err();
    }

    #[tokio::test]
    async fn settings_that_come_change_and_go_are_told() {
        let mut files = Files::new().await;
        files.write("rip.toml", "workers = 1");
        assert_eq!(files.change().await, Some(ChangedPart::Settings));
        files.write("rip.toml", "workers = 22");
        assert_eq!(files.change().await, Some(ChangedPart::Settings));
        fs::remove_file(files.folder.path().join("current/rip.toml")).unwrap();
        assert_eq!(files.change().await, Some(ChangedPart::Settings));
    }

    #[tokio::test]
    async fn a_link_that_is_swapped_is_told_and_the_new_folder_is_looked_at() {
        let mut files = Files::new().await;
        let staged = files.folder.path().join("staged");
        symlink("2", &staged).unwrap();
        fs::rename(&staged, files.folder.path().join("current")).unwrap();
        assert_eq!(files.change().await, Some(ChangedPart::Settings));

        files.write("index.js", "newer");
        assert_eq!(files.change().await, Some(ChangedPart::Entry));
    }

    #[tokio::test]
    async fn other_files_and_a_missing_entry_are_no_change() {
        let mut files = Files::new().await;
        files.write("other.txt", "x");
        fs::remove_file(files.folder.path().join("current/index.js")).unwrap();
        timeout(REST * 4, files.changes.recv()).await.unwrap_err();
    }

    #[tokio::test]
    async fn without_inotify_a_change_is_found_by_looking() {
        let folder = tempfile::tempdir().unwrap();
        let later = folder.path().join("later");
        let targets = WatchTargets {
            app: AppName::parse("app").unwrap(),
            path: folder.path().into(),
            entry: Some(later.join("index.js")),
            settings: folder.path().join("rip.toml"),
            sources: Arc::default(),
        };
        let (tell, mut changes) = mpsc::channel(1);
        let (wake, _woken) = mpsc::channel(1);
        assert!(inotify(&targets, &wake).is_none(), "a folder that is missing cannot be watched");
        let _watch = FileWatch::start(targets, None, tell, &TaskGroup::new());
        timeout(REST * 2, changes.recv()).await.unwrap_err();

        fs::create_dir(&later).unwrap();
        fs::write(later.join("index.js"), "1").unwrap();

        let change = timeout(POLL * 5, changes.recv()).await.unwrap();
        assert_eq!(change.map(|change| change.what), Some(ChangedPart::Entry));
    }

    #[tokio::test]
    async fn what_changed_between_the_reading_and_the_first_look_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let entry = folder.path().join("index.js");
        fs::write(&entry, "1").unwrap();
        let targets = WatchTargets {
            app: AppName::parse("app").unwrap(),
            path: folder.path().into(),
            entry: Some(entry.clone()),
            settings: folder.path().join("rip.toml"),
            sources: Arc::default(),
        };
        let read = fingerprint(&targets).await;
        // The write is in place, of the same length, and perhaps within the same tick of the clock for files.
        fs::write(&entry, "2").unwrap();
        let (tell, mut changes) = mpsc::channel(1);
        let _watch = FileWatch::start(targets.clone(), read, tell, &TaskGroup::new());

        let change = timeout(Duration::from_secs(5), changes.recv()).await.unwrap().unwrap();

        let found = fingerprint(&targets).await.unwrap();
        assert_eq!(change, FileChange { what: ChangedPart::Entry, targets, found });
    }
}
