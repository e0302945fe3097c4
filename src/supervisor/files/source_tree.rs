//! Owns looking over the source files that an app's `watch` names: their states, and the folders that they are in.
//!
//! Never here: noticing that something happens, or what follows from a change.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::pattern::{NEVER, Pattern};
use crate::spec::Sources;

use super::stamp::Stamp;

/// The files and folders as they are at one moment.
#[derive(Clone, Debug, Default)]
pub(in crate::supervisor) struct Tree {
    /// The files by their paths from the app's folder.
    pub(in crate::supervisor) files: BTreeMap<PathBuf, Option<Stamp>>,
    /// Folders in which files may come, with the inode that tells one from another of its name.
    pub(in crate::supervisor) folders: BTreeMap<PathBuf, u64>,
    /// Whether there are more folders than are looked at.
    pub(in crate::supervisor) cut: bool,
}

impl Tree {
    /// Looks at all sources, or at none where there is no pattern.
    pub(in crate::supervisor) fn look(sources: &Sources) -> Self {
        let mut tree = Self::default();
        if sources.patterns.is_empty() {
            return tree;
        }
        let mut walk = Walk { sources, seen: HashSet::new() };
        let mut ahead = vec![PathBuf::new()];
        while let Some(below) = ahead.pop() {
            if tree.folders.len() == MOST_FOLDERS || tree.files.len() >= MOST_FILES {
                tree.cut = true;
                break;
            }
            walk.folder(&below, &mut tree, &mut ahead);
        }
        tree
    }
}

struct Walk<'a> {
    sources: &'a Sources,
    /// The folders that were looked at: each counts once, also where links lead to it in a circle.
    seen: HashSet<(u64, u64)>,
}

impl Walk<'_> {
    fn folder(&mut self, below: &Path, tree: &mut Tree, ahead: &mut Vec<PathBuf>) {
        let folder = self.sources.root.join(below);
        let Ok(meta) = fs::metadata(&folder) else { return };
        if !self.seen.insert((meta.dev(), meta.ino())) {
            return;
        }
        tree.folders.insert(folder.clone(), meta.ino());
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries {
            self.entry(&entry, below, tree, ahead);
        }
    }

    fn entry(&self, entry: &DirEntry, below: &Path, tree: &mut Tree, ahead: &mut Vec<PathBuf>) {
        let name = entry.file_name();
        // Patterns are texts, so that no other name can be meant.
        let Some(name) = name.to_str().filter(|name| !is_left_over(name)) else { return };
        let path = below.join(name);
        let names: Vec<_> = path.iter().filter_map(|name| name.to_str()).collect();
        let Ok(kind) = entry.file_type() else { return };
        let inside = !kind.is_symlink() || self.leads_inside(&entry.path());
        let folder = if kind.is_symlink() { inside && entry.path().is_dir() } else { kind.is_dir() };
        let any = |test: &dyn Fn(&Pattern) -> bool| self.sources.patterns.iter().any(test);
        if folder {
            if !is_never_entered(name, &entry.path()) && any(&|pattern| pattern.may_be_in(&names)) {
                ahead.push(path);
            }
        } else if any(&|pattern| pattern.matches(&names)) {
            // A link that leads out of the app's folder is looked at itself, and not followed.
            let looks = if inside {
                Stamp::of_file(&entry.path())
            } else {
                entry.metadata().ok().map(|meta| Stamp::of(&meta))
            };
            tree.files.insert(path, looks);
        }
    }

    fn leads_inside(&self, link: &Path) -> bool {
        fs::canonicalize(link).is_ok_and(|real| real.starts_with(&self.sources.root))
    }
}

fn is_never_entered(name: &str, folder: &Path) -> bool {
    name.starts_with('.') || NEVER.contains(&name) || folder.join("pyvenv.cfg").exists()
}

/// Whether the name is that of a file which editors put beside another while they write.
fn is_left_over(name: &str) -> bool {
    name.ends_with('~')
        || (name.starts_with('#') && name.ends_with('#'))
        || name.ends_with(".swp")
        || name == "4913"
}

/// The most folders that are looked at, each with an inotify watch: half of what the kernel allows a user where it has
/// little memory (fs.inotify.max_user_watches was 8192 for long).
pub(in crate::supervisor) const MOST_FOLDERS: usize = 4096;
const MOST_FILES: usize = 50_000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn files(root: &Path, patterns: &[&str]) -> Vec<String> {
        let patterns = patterns.iter().map(|pattern| Pattern::parse(pattern).unwrap()).collect();
        let tree = Tree::look(&Sources { root: root.into(), patterns });
        tree.files.keys().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn what_is_meant_is_found_and_what_is_others_is_not_entered() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("app");
        for name in [
            "a.py",
            "b/c.py",
            "b/c.pyc",
            "b/c.py~",
            "node_modules/x/d.py",
            ".venv/d.py",
            "venv/d.py",
            ".git/d.py",
            "b/__pycache__/d.py",
            "b/.hidden/d.py",
            "other/pyvenv.cfg",
            "other/d.py",
            "templates/x.html",
            "templates/y/z",
        ] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "").unwrap();
        }
        fs::create_dir(root.parent().unwrap().join("shared")).unwrap();
        fs::write(root.parent().unwrap().join("shared/e.py"), "").unwrap();
        symlink("../shared", root.join("out")).unwrap();
        symlink("../shared/e.py", root.join("e.py")).unwrap();
        symlink("b", root.join("again")).unwrap();
        symlink("..", root.join("b/up")).unwrap();

        assert_eq!(files(&root, &["**/*.py"]).len(), 3, "{:?}", files(&root, &["**/*.py"]));
        assert_eq!(
            files(&root, &["*.py", "templates"]),
            ["a.py", "e.py", "templates/x.html", "templates/y/z"]
        );
        assert_eq!(files(&root, &["again"]), ["again/c.py", "again/c.pyc"]);
        assert_eq!(files(&root, &["out"]), ["out"], "the link itself");
        assert_eq!(files(&root, &[]), Vec::<String>::new());
    }

    #[test]
    fn more_folders_than_are_looked_at_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=MOST_FOLDERS {
            fs::create_dir(folder.path().join(number.to_string())).unwrap();
        }
        let patterns = vec![Pattern::parse("**/*.py").unwrap()];
        let tree = Tree::look(&Sources { root: folder.path().into(), patterns });
        assert_eq!((tree.folders.len(), tree.cut), (MOST_FOLDERS, true));
    }
}
