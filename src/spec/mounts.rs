//! Owns which folders of files an app has at which of its paths: as settings name them, and as they are on the disk.
//!
//! Never here: which file of a folder a request means (`files`), or who may ask for it.

use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::files::sent_folder::SentFolder;
use crate::name::{AmbiguousPath, PathPrefix, RequestPath};

/// Folders of files, each at a path of the app; the longest path comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mounts(Arc<[Mount]>);

/// A folder at a path of the app and at all paths below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The path; `None`: every path.
    pub(crate) prefix: Option<PathPrefix>,
    /// The folder as settings name it; a relative one begins in the app's folder.
    pub(crate) root: PathBuf,
    /// Whether the app answers where the folder has no file.
    pub(crate) fallback: bool,
    /// The folder on the disk, when the app's folder is known.
    pub(crate) folder: Option<Arc<SentFolder>>,
}

impl Mounts {
    /// The mounts, each path once.
    ///
    /// # Errors
    /// The form that would be right, as the end of "expected …".
    pub(crate) fn new(mut each: Vec<Mount>) -> Result<Self, String> {
        each.sort_by_key(|mount| std::cmp::Reverse(mount.path().len()));
        let twin = |mount: &Mount| each.iter().filter(|other| other.path() == mount.path()).count() > 1;
        match each.iter().find(|mount| twin(mount)) {
            Some(mount) => Err(format!("each path once: {} is there twice", mount.path())),
            None => Ok(Self(each.into())),
        }
    }

    /// Whether there are no mounts.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All mounts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }

    /// The first folder whose name leads out of the app's folder.
    pub(crate) fn first_outside(&self) -> Option<&Path> {
        let leads_out = |root: &&Path| {
            root.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir))
        };
        self.iter().map(|mount| &*mount.root).find(leads_out)
    }

    /// The same mounts with their folders as they are now; `app` is the app's folder. A relative folder has to lie in
    /// it, or in one of `follow`, links followed; `has_scripts`: source is never sent.
    ///
    /// # Errors
    /// The folder that cannot be served and why, as the end of a sentence.
    pub(crate) fn found_in(
        &self,
        app: &Path,
        follow: &[PathBuf],
        secrets: &[PathBuf],
        has_scripts: bool,
    ) -> Result<Self, String> {
        let found = self.iter().map(|mount| {
            let said = app.join(&mount.root);
            let wrong = |why: String| format!("names {}, which {why}", said.display());
            let folder = SentFolder::open(&said, follow, has_scripts);
            let folder = folder.map_err(|error| wrong(match error.kind() {
                io::ErrorKind::NotFound => "is not there: make the folder first".into(),
                _ => format!("cannot be served: {error}"),
            }))?;
            let is_of_app = folder.root().starts_with(app) || follow.iter().any(|other| folder.root().starts_with(other));
            if mount.root.is_relative() && !is_of_app {
                return Err(wrong(format!(
                    "leads to {}, outside of the app's folder: name that in the server's own config, here or in \
                     `follow`",
                    folder.root().display()
                )));
            }
            Ok(Mount { folder: Some(Arc::new(folder.without(secrets))), ..mount.clone() })
        });
        found.collect::<Result<_, String>>().map(Self)
    }

    /// The value of rack's `X-Accel-Mapping`: folders of files, and the paths that name them.
    pub(crate) fn mapping(&self) -> String {
        let pair = |mount: &Mount| {
            let root = mount.folder.as_ref().map_or(&*mount.root, |folder| folder.root());
            format!("{}/={}/", root.display(), mount.path().trim_end_matches('/'))
        };
        self.iter().map(pair).collect::<Vec<_>>().join(",")
    }

    /// The mount for a path as it was sent, and the rest of the path: empty, or from its `/` on.
    ///
    /// # Errors
    /// When programs read the path differently in this point.
    pub(crate) fn at_sent<'a>(&self, sent: &'a str) -> Result<Option<(&Mount, &'a str)>, AmbiguousPath> {
        let path = RequestPath::read(sent)?;
        for mount in self.iter() {
            match &mount.prefix {
                Some(prefix) if path.is_below(prefix)? => return Ok(Some((mount, prefix.behind(sent)?))),
                Some(_) => {}
                None => return Ok(Some((mount, sent))),
            }
        }
        Ok(None)
    }

    /// The mount for a decoded path, and the rest of the path, which does not begin with `/`.
    pub(crate) fn at_plain<'a>(&self, path: &'a str) -> Option<(&Mount, &'a str)> {
        self.iter().find_map(|mount| match &mount.prefix {
            Some(prefix) if prefix.covers(path) => {
                Some((mount, path.strip_prefix(prefix.as_str())?.trim_start_matches('/')))
            }
            Some(_) => None,
            None => Some((mount, path.trim_start_matches('/'))),
        })
    }
}

impl Mount {
    /// Whether the other folder is in this one.
    pub(crate) fn holds(&self, other: &Path) -> bool {
        self.folder.as_ref().is_some_and(|folder| other.starts_with(folder.root()))
    }

    /// The mount's path as settings write it.
    pub(crate) fn path(&self) -> &str {
        self.prefix.as_ref().map_or("/", PathPrefix::as_str)
    }
}

/// The text as `check` shows it.
impl fmt::Display for Mounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mount) in self.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let alone = if mount.fallback { "" } else { " (fallback = false)" };
            write!(f, "{comma}{} from {}{alone}", mount.path(), mount.root.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(paths: &[&str]) -> Mounts {
        let each = paths.iter().map(|path| Mount {
            prefix: (*path != "/").then(|| PathPrefix::parse(path).unwrap()),
            root: path.trim_start_matches('/').into(),
            fallback: true,
            folder: None,
        });
        Mounts::new(each.collect()).unwrap()
    }

    #[test]
    fn the_longest_path_holds_on_segment_borders() {
        let mounts = mounts(&["/a", "/", "/a/b"]);
        for (sent, found) in [
            ("/", Some(("/", "/"))),
            ("/x", Some(("/", "/x"))),
            ("/a", Some(("/a", ""))),
            ("/a/", Some(("/a", "/"))),
            ("/ab", Some(("/", "/ab"))),
            ("/%61/b/c%20d", Some(("/a/b", "/c%20d"))),
            ("/a/../b", None),
            ("/a%2Fb", None),
        ] {
            let at = mounts.at_sent(sent).ok().flatten().map(|(mount, rest)| (mount.path(), rest));
            assert_eq!(at, found, "{sent}");
        }
        for (path, found) in [("/a/b/c", ("/a/b", "c")), ("/a//x", ("/a", "x")), ("/ab", ("/", "ab"))] {
            let at = mounts.at_plain(path).map(|(mount, rest)| (mount.path(), rest));
            assert_eq!(at, Some(found), "{path}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_or_leads_out_is_said_so() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let app = home.join("app");
        std::fs::create_dir_all(app.join("in")).unwrap();
        std::fs::create_dir(home.join("shared")).unwrap();
        std::os::unix::fs::symlink("../shared", app.join("out")).unwrap();
        let found =
            |path: &str, follow: &[PathBuf]| mounts(&[path]).found_in(&app, follow, &[], false).map(drop);
        assert_eq!(found("/in", &[]), Ok(()));
        assert!(found("/none", &[]).unwrap_err().contains("is not there"));
        assert!(found("/out", &[]).unwrap_err().contains("outside of the app's folder"));
        assert_eq!(found("/out", &[home.join("shared")]), Ok(()));
    }
}
