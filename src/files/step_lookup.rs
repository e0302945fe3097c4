//! Looks a file up below a folder step by step: where symbolic links are on the way, and where the kernel's own
//! confined look-up is forbidden.
//!
//! systemd's `RestrictSUIDSGID=`, which `DynamicUser=` brings with it, answers openat2(2) with ENOSYS: it cannot see
//! what the call would do. Never here: which files are meant to be seen (`site`).

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::Errno;

/// Judges whether a file may be seen, by its names: one for each folder on the way, and its own.
pub(super) type Seen = fn(&[OsString]) -> bool;

/// Opens what openat2(2) opens with `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS`, and refuses with the same errors.
///
/// Every folder on the way is held open, and `..` goes back to the one before, so that no link and no folder that is
/// moved meanwhile leads out of `root`. Where links were followed, `seen` judges the names that they lead to.
///
/// # Errors
/// `NOENT`: there is nothing, or it may not be seen. `XDEV`: the path or a link in it leads out of `root`, or is
/// absolute; `LOOP`: too many links, or the file became one meanwhile; else those of openat(2).
pub(super) fn open_beneath(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    seen: Seen,
) -> Result<OwnedFd, Errno> {
    let mut todo = steps(path)?;
    let mut folders: Vec<OwnedFd> = Vec::new();
    let mut names: Vec<OsString> = Vec::new();
    let mut links = 0;
    while let Some(step) = todo.pop() {
        let PathStep::Into(name) = step else {
            folders.pop().ok_or(Errno::XDEV)?;
            names.pop();
            continue;
        };
        let here = folders.last().map_or(root, AsFd::as_fd);
        let found = openat(here, &*name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        match FileType::from_raw_mode(fstat(&found)?.st_mode) {
            FileType::Symlink if links == MOST_LINKS => return Err(Errno::LOOP),
            FileType::Symlink => {
                links += 1;
                let target = OsString::from_vec(readlinkat(&found, "", Vec::new())?.into_bytes());
                todo.extend(steps(Path::new(&target))?);
            }
            FileType::Directory if name == "." => {}
            FileType::Directory => {
                folders.push(found);
                names.push(name);
            }
            _ if !todo.is_empty() => return Err(Errno::NOTDIR),
            _ if links > 0 && !seen(&[&names[..], std::slice::from_ref(&name)].concat()) => {
                return Err(Errno::NOENT);
            }
            _ if flags.contains(OFlags::PATH) => return Ok(found),
            // The folder is opened by its name again, because not every sandbox has /proc/self/fd.
            _ => return openat(here, &*name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()),
        }
    }
    if links > 0 && !seen(&names) {
        return Err(Errno::NOENT);
    }
    let folder = folders.last().map_or(root, AsFd::as_fd);
    openat(folder, ".", flags | OFlags::CLOEXEC, Mode::empty())
}

enum PathStep {
    Up,
    Into(OsString),
}

/// The steps of a path, the first one last.
fn steps(path: &Path) -> Result<Vec<PathStep>, Errno> {
    if path.as_os_str().is_empty() {
        return Err(Errno::NOENT);
    }
    let mut steps = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => steps.push(PathStep::Into(name.to_owned())),
            Component::ParentDir => steps.push(PathStep::Up),
            Component::RootDir | Component::Prefix(_) => return Err(Errno::XDEV),
        }
    }
    // `file/` and `file/.` name nothing.
    let text = path.as_os_str().as_bytes();
    if text.ends_with(b"/") || text.ends_with(b"/.") {
        steps.push(PathStep::Into(".".into()));
    }
    steps.reverse();
    Ok(steps)
}

/// The most links that are followed: as many as the kernel follows.
const MOST_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt, symlink};

    use rustix::fs::{CWD, ResolveFlags, openat2};

    use super::*;

    /// The device and inode of the file that a look-up finds.
    fn told(found: Result<OwnedFd, Errno>) -> Result<(u64, u64), Errno> {
        found.map(|found| {
            let meta = File::from(found).metadata().unwrap();
            (meta.dev(), meta.ino())
        })
    }

    #[test]
    fn finds_and_refuses_what_the_kernel_does() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::write(root.join("file"), "file").unwrap();
        fs::write(root.join("a/b/deep"), "deep").unwrap();
        fs::write(home.path().join("secret"), "secret").unwrap();
        for (link, target) in [
            ("to-file", "file"),
            ("to-folder", "a/b"),
            ("a/up", "../file"),
            ("a/b/round", "../../a/./b//c/../deep"),
            ("out", "../secret"),
            ("a/out", "../../secret"),
            ("out-and-in", "../root/file"),
            ("absolute", "/etc/passwd"),
            ("slash", "/"),
            ("self", "self"),
            ("dangling", "nothing"),
            ("chain", "to-folder/round"),
            ("dot", "."),
            ("dots", ".."),
            ("folder-slash", "a/"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let opened = openat(CWD, &root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let paths = ". file a a/ a/.. a/b/c a/b/deep ./a/./b a/b/../b/deep a/../file .. a/../.. ../root/file \
                     a/b/../../../secret /etc/passwd / to-file to-folder to-folder/deep to-folder/. a/up a/b/round \
                     out a/out out-and-in absolute slash self dangling chain dot dots dot/file folder-slash \
                     folder-slash/b nothing nothing/.. file/ file/. file/.. file/x a/nothing to-file/ to-file/x";
        for path in paths.split_whitespace().chain([""]) {
            for flags in [OFlags::PATH, OFlags::RDONLY | OFlags::NONBLOCK] {
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let kernel = openat2(&opened, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
                let ours = open_beneath(opened.as_fd(), Path::new(path), flags, |_| true);
                assert_eq!(told(ours), told(kernel), "{path:?} {flags:?}");
            }
        }
    }

    #[test]
    fn what_links_lead_to_is_judged_by_its_own_names() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        fs::create_dir_all(root.join("secret/deep")).unwrap();
        fs::create_dir_all(root.join("open")).unwrap();
        fs::write(root.join("secret/deep/file"), "file").unwrap();
        fs::write(root.join("open/file"), "file").unwrap();
        for (link, target) in [
            ("a", "secret/deep/file"),
            ("b", "secret"),
            ("open/c", "../secret/deep/../deep/file"),
            ("d", "open/file"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let opened = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let seen: Seen = |names| names.iter().all(|name| name != "secret");
        for (path, expected) in [
            ("a", Err(Errno::NOENT)),
            ("b", Err(Errno::NOENT)),
            ("b/deep/file", Err(Errno::NOENT)),
            ("open/c", Err(Errno::NOENT)),
            ("d", Ok(())),
            ("secret/deep/file", Ok(())),
        ] {
            let found = open_beneath(opened.as_fd(), Path::new(path), OFlags::PATH, seen).map(drop);
            assert_eq!(found, expected, "{path}");
        }
    }
}
