//! Owns the files with passwords, of whichever app, that lie where an app's files are served: that they are not sent,
//! and that people are told.
//!
//! Never here: sending files (`files`).

use std::path::PathBuf;

use crate::apps::DetectedApp;
use crate::files::beneath::reachable;
use crate::spec::mounts::Mounts;

/// The files of users of the apps of an instance, and the folders that one of the apps serves.
pub(super) struct ServedSecrets<'a> {
    pub(super) users: &'a [PathBuf],
    pub(super) found: &'a DetectedApp,
    /// Folders elsewhere that links lead to.
    pub(super) follow: &'a [PathBuf],
    /// The folders that `static` and `accel` name.
    pub(super) mounts: [&'a Mounts; 2],
}

impl ServedSecrets<'_> {
    /// The words for the static worker that keep these files from being sent.
    pub(super) fn words(&self) -> Vec<String> {
        let Some(site) = self.found.site.as_ref().and_then(|site| site.canonicalize().ok()) else {
            return Vec::new();
        };
        let files = reachable(self.users, std::iter::once(&*site)).into_iter();
        let real = files.filter_map(|file| file.canonicalize().ok());
        let each = real.filter_map(|file| Some(["--secret".to_owned(), file.to_str()?.to_owned()]));
        each.flatten().collect()
    }

    /// A sentence for each of these files that lies in a folder that is served.
    pub(super) fn warnings(&self) -> Vec<String> {
        let folders = self.folders();
        let of = |file: &PathBuf| {
            let real = file.canonicalize().ok()?;
            let folder = folders.iter().find(|folder| real.starts_with(folder))?;
            Some(format!(
                "the file of users {}, which `auth` names, lies in {}, whose files the app serves: it is not sent, but keep \
                 it elsewhere, as in /etc/rip-server",
                file.display(),
                folder.display()
            ))
        };
        self.users.iter().filter_map(of).collect()
    }

    /// Folders whose files may be asked for, links followed.
    fn folders(&self) -> Vec<PathBuf> {
        let DetectedApp { site, scripts, command, .. } = self.found;
        let scripts = scripts.as_ref().map(|within| command.dir.join(within));
        let followed = self.follow.iter().filter(|_| scripts.is_some()).cloned();
        let named = site.iter().cloned().chain(scripts.clone()).chain(followed);
        let mounted = self
            .mounts
            .iter()
            .flat_map(|mounts| mounts.iter())
            .filter_map(|mount| mount.folder.as_ref().map(|folder| folder.root().to_owned()));
        named.chain(mounted).filter_map(|folder| folder.canonicalize().ok()).collect()
    }
}
