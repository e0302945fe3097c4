//! Owns which files of an app are looked at, and their state at one moment.
//!
//! Never here: noticing that something happens (`watch`), or what follows from a change (`deploy`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::name::AppName;
use crate::spec::{AppSpec, Sources};

use super::source_tree::Tree;
use super::stamp::Stamp;
use crate::supervisor::supervisor_error::ResolveError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::supervisor) enum ChangedPart {
    /// The app's code.
    Entry,
    /// A file that the app's settings want watched.
    Sources,
    /// The app's settings, or the folder that its path leads to.
    Settings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::supervisor) struct WatchTargets {
    pub(in crate::supervisor) app: AppName,
    /// The app's path as given; may be a symbolic link that a deploy swaps.
    pub(in crate::supervisor) path: PathBuf,
    pub(in crate::supervisor) entry: Option<PathBuf>,
    pub(in crate::supervisor) settings: PathBuf,
    pub(in crate::supervisor) sources: Arc<Sources>,
}

impl WatchTargets {
    /// The files of an app to look at.
    pub(in crate::supervisor) fn of(spec: &AppSpec) -> Self {
        let folder = if spec.path.is_file() { spec.path.parent() } else { None };
        let settings = folder.unwrap_or(&spec.path).join("rip.toml");
        let (app, path, entry) = (spec.name.clone(), spec.path.clone(), spec.entry.clone());
        Self { app, path, entry, settings, sources: Arc::clone(&spec.sources) }
    }

    /// The folders to watch. Folders and not files, because editors write a new file and rename it over the old one.
    pub(in crate::supervisor) fn folders(&self) -> BTreeSet<PathBuf> {
        let files = [Some(&self.path), self.entry.as_ref(), Some(&self.settings)].into_iter().flatten();
        let parents = files.filter_map(|file| Some(file.parent()?.to_path_buf()));
        parents
            .chain(links_of(&self.path))
            .map(|folder| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder })
            .collect()
    }
}

/// The folders of the links on the way to what `path` leads to: a deploy may swap each of these links.
fn links_of(path: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut ahead = vec![path.to_path_buf()];
    while let Some(path) = ahead.pop().filter(|_| folders.len() < MOST_LINKS) {
        for place in path.ancestors() {
            let (Ok(to), Some(folder)) = (fs::read_link(place), place.parent()) else { continue };
            folders.push(folder.to_path_buf());
            ahead.push(folder.join(to));
        }
    }
    folders
}

/// The state of the files; equal as long as nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::supervisor) struct Fingerprint {
    pub(in crate::supervisor) real_path: Option<PathBuf>,
    entry: Option<Stamp>,
    settings: Option<Stamp>,
    pub(in crate::supervisor) tree: Tree,
}

/// Two trees are equal when their files are: of the folders themselves nothing matters.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Eq for Tree {}

impl Fingerprint {
    /// The part of the app that has changed between this state and `now`; `None`: nothing that matters has changed.
    pub(in crate::supervisor) fn difference(
        &self,
        now: &Self,
        targets: &WatchTargets,
    ) -> Option<ChangedPart> {
        // A file that is away, for a moment or for good, cannot be loaded.
        let changed = |then: &Option<Stamp>, now: &Option<Stamp>| now.is_some() && then != now;
        let moved = now.real_path.is_some() && self.real_path != now.real_path;
        let settings_gone = self.settings.is_some() && now.settings.is_none() && now.real_path.is_some();
        if moved || settings_gone || changed(&self.settings, &now.settings) {
            return Some(ChangedPart::Settings);
        }
        if now.real_path.is_some() && self.tree != now.tree && self.others(now, targets) {
            return Some(ChangedPart::Sources);
        }
        changed(&self.entry, &now.entry).then_some(ChangedPart::Entry)
    }

    /// Words that stay the same for as long as nothing was changed, over reboots, too.
    pub(in crate::supervisor) fn words(&self) -> Vec<String> {
        let word = |stamp: &Option<Stamp>| stamp.as_ref().map(Stamp::word).unwrap_or_default();
        let path = self.real_path.as_ref().map(|path| path.display().to_string());
        let tree = self.tree.files.iter().map(|(path, stamp)| format!("{} {}", path.display(), word(stamp)));
        [path.unwrap_or_default(), word(&self.entry), word(&self.settings)].into_iter().chain(tree).collect()
    }

    /// Whether sources other than the entry differ.
    fn others(&self, now: &Self, targets: &WatchTargets) -> bool {
        let (then, now) = (&self.tree.files, &now.tree.files);
        let mut differing = then.keys().chain(now.keys()).filter(|path| then.get(*path) != now.get(*path));
        differing.any(|path| Some(targets.sources.root.join(path)) != targets.entry)
    }
}

/// Looks at the files. `None`: the runtime shuts down.
pub(in crate::supervisor) async fn fingerprint(targets: &WatchTargets) -> Option<Fingerprint> {
    let targets = targets.clone();
    let look = move || Fingerprint {
        real_path: fs::canonicalize(&targets.path).ok(),
        entry: targets.entry.as_deref().and_then(Stamp::with_content),
        settings: Stamp::with_content(&targets.settings),
        tree: Tree::look(&targets.sources),
    };
    // The task fails only when the runtime shuts down.
    spawn_blocking(look).await.ok()
}

/// Returns what `reading` reads, and the state of the files before it, so that a later change shows and an earlier one
/// does not. When the app has another entry than `known` says, that entry is looked at after the reading and before any
/// worker loads it.
pub(in crate::supervisor) async fn seen_by(
    known: WatchTargets,
    reading: impl Future<Output = Result<AppSpec, ResolveError>>,
) -> (Result<AppSpec, ResolveError>, Option<Fingerprint>) {
    let before = fingerprint(&known).await;
    let read = reading.await;
    let targets = read.as_ref().ok().map(WatchTargets::of).filter(|targets| *targets != known);
    let seen = match (before, targets) {
        (Some(before), Some(targets)) => {
            let after = fingerprint(&targets).await;
            let sources = targets.sources == known.sources;
            after.map(|after| Fingerprint {
                entry: after.entry,
                tree: if sources { before.tree } else { after.tree },
                ..before
            })
        }
        (before, _) => before,
    };
    (read, seen)
}

/// The most links that are followed: as many as the kernel follows, path_resolution(7).
const MOST_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("shop/releases/1/web")).unwrap();
        symlink("live", root.join("shop/current")).unwrap();
        fs::create_dir(root.join("elsewhere")).unwrap();
        symlink(root.join("elsewhere/live"), root.join("shop/live")).unwrap();
        symlink(root.join("shop/releases/1"), root.join("elsewhere/live")).unwrap();
        let links: BTreeSet<_> = links_of(&root.join("shop/current/web")).into_iter().collect();
        assert_eq!(links, BTreeSet::from([root.join("shop"), root.join("elsewhere")]));

        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert!(links_of(&root.join("a")).len() <= MOST_LINKS + 1, "a circle ends");
    }
}
