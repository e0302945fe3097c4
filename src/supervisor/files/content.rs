//! Owns what is known of an app's files at a deploy: the state of those that are looked at, and which commit is checked
//! out.
//!
//! Never here: noticing a change (`file_watch`), or what follows from one.

use std::fs;
use std::path::{Path, PathBuf};

use super::app_files::Fingerprint;
use crate::digest;

/// An app's files at a deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::supervisor) struct Content {
    pub(in crate::supervisor) seen: Fingerprint,
    /// The commit that was checked out, where the folder is in a git repository.
    pub(in crate::supervisor) commit: Option<String>,
}

impl Content {
    /// A word for the files, the commit and a command; the same over reboots for as long as nothing was changed.
    pub(in crate::supervisor) fn word(&self, command: &[String]) -> String {
        digest::of(&(self.seen.words(), &self.commit, command))
    }
}

/// The commit that is checked out in the git repository that a folder is in; `None`: there is no repository, or its
/// files cannot be read. The call blocks while it reads a few small files (gitrepository-layout(5)).
pub(in crate::supervisor) fn commit_of(folder: &Path) -> Option<String> {
    let read = |file: PathBuf| fs::read_to_string(file).ok();
    let found = folder.ancestors().map(|above| above.join(".git")).find(|git| git.exists())?;
    // In a worktree `.git` is a file that names the repository's folder.
    let named = read(found.clone())
        .and_then(|text| Some(found.parent()?.join(text.strip_prefix("gitdir: ")?.trim())));
    let git = named.unwrap_or(found);
    let head = read(git.join("HEAD"))?;
    let commit = match head.trim().strip_prefix("ref: ") {
        None => head.trim().to_owned(),
        Some(name) => {
            let common =
                read(git.join("commondir")).map_or_else(|| git.clone(), |common| git.join(common.trim()));
            let packed = || {
                let lines = read(common.join("packed-refs"))?;
                lines.lines().find_map(|line| Some(line.strip_suffix(name)?.strip_suffix(' ')?.to_owned()))
            };
            read(common.join(name)).map(|text| text.trim().to_owned()).or_else(packed)?
        }
    };
    let is_hash = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then_some(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_commit_is_found_wherever_git_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(commit_of(&root.join("none")), None);
        let app = root.join("shop/web");
        fs::create_dir_all(&app).unwrap();
        let git = root.join("shop/.git");
        write(git.join("HEAD"), "ref: refs/heads/main\n");
        assert_eq!(commit_of(&app), None, "no commit yet");
        write(git.join("packed-refs"), "# pack-refs\n0a1b refs/heads/main\nffff refs/heads/xmain\n");
        assert_eq!(commit_of(&app).as_deref(), Some("0a1b"));
        write(git.join("refs/heads/main"), "2c3d\n");
        assert_eq!(commit_of(&app).as_deref(), Some("2c3d"));
        write(git.join("HEAD"), "4e5f\n");
        assert_eq!(commit_of(&app).as_deref(), Some("4e5f"));
        write(git.join("HEAD"), "\u{1b}[31m\n");
        assert_eq!(commit_of(&app), None);

        write(root.join("tree/.git"), &format!("gitdir: {}\n", git.join("worktrees/tree").display()));
        write(git.join("worktrees/tree/HEAD"), "ref: refs/heads/main\n");
        write(git.join("worktrees/tree/commondir"), "../..\n");
        assert_eq!(commit_of(&root.join("tree")).as_deref(), Some("2c3d"));
    }
}
