//! Owns files that must survive a crash: files that are replaced as a whole, folders that only their owner can enter,
//! and a lock file.
//!
//! Never here: what the files mean. Every function blocks on the disk, and so may be called before the loops start,
//! from the manager's thread, or from a blocking task, but never on a data-path thread.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

/// Replaces the file at `path` with `bytes` and permissions `mode`: after a crash the file is the old or the new one as
/// a whole, and when this returns it is the new one.
///
/// A symbolic link at `path` is replaced, not followed. The umask does not apply to `mode`. A crash half-way may
/// leave a `.NAME.*.tmp` beside the file.
///
/// # Errors
/// `InvalidInput` when `path` names no file; else what the file system said. The old file is untouched unless the
/// last step, making the rename itself durable, is what failed.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_with_rights(path, bytes, FileRights { mode, owner: None, group: None })
}

/// The permissions and the owner of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileRights {
    /// The permissions.
    pub(crate) mode: u32,
    /// The user that the file belongs to; `None`: the user that writes it.
    pub(crate) owner: Option<u32>,
    /// The group that the file belongs to; `None`: that of the user that writes it.
    pub(crate) group: Option<u32>,
}

/// Replaces a file as [`write_atomic`] does; the new file has its owner and group before it takes its place.
///
/// # Errors
/// Those of [`write_atomic`], and when this user may not give files to the other.
pub(crate) fn write_with_rights(path: &Path, bytes: &[u8], rights: FileRights) -> io::Result<()> {
    let Some(name) = path.file_name() else {
        let text = format!("`{}` does not name a file", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    let dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");

    let mut temp = tempfile::Builder::new().prefix(&prefix).suffix(".tmp").tempfile_in(dir)?;
    temp.write_all(bytes)?;
    if rights.owner.is_some() || rights.group.is_some() {
        fchown(temp.as_file(), rights.owner, rights.group)?;
    }
    temp.as_file().set_permissions(Permissions::from_mode(rights.mode))?;
    temp.as_file().sync_all()?;
    temp.persist(path).map_err(|refused| refused.error)?;
    File::open(dir)?.sync_all()
}

/// Makes sure that `path` is a directory of this user's with permissions `mode`; missing parents are made.
///
/// An existing directory keeps its content and gets `mode`. The umask does not apply to `mode`.
///
/// # Errors
/// When `path` is a symbolic link, is no directory, or belongs to another user, with a text that says so; else what the
/// file system said.
pub(crate) fn private_dir(path: &Path, mode: u32) -> io::Result<()> {
    // The path has no trailing slash, or the kernel would follow a symbolic link in spite of O_NOFOLLOW.
    let path: PathBuf = path.components().collect();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(mode).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }

    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(errno) => return Err(not_a_directory(&path).unwrap_or_else(|| errno.into())),
    };
    let found = rustix::fs::fstat(&dir)?;
    let us = rustix::process::geteuid().as_raw();
    if found.st_uid != us {
        return Err(refused(&path, &format!("belongs to user {}, not to us (user {us})", found.st_uid)));
    }
    if found.st_mode & PERMISSION_BITS != mode {
        rustix::fs::fchmod(&dir, Mode::from_bits_truncate(mode))?;
    }
    Ok(())
}

fn not_a_directory(path: &Path) -> Option<io::Error> {
    let kind = fs::symlink_metadata(path).ok()?.file_type();
    if kind.is_symlink() {
        Some(refused(path, "is a symbolic link, expected a directory of our own"))
    } else if !kind.is_dir() {
        Some(refused(path, "is not a directory"))
    } else {
        None
    }
}

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("`{}` {why}", path.display()))
}

/// A file that only one process holds at a time, with that process's id in it.
///
/// Dropping it, or the end of the process in any way, gives the lock back. The file stays, because unlinking it could
/// let two processes lock two files of one name. Child processes do not inherit the lock across exec.
#[derive(Debug)]
pub(crate) struct LockFile {
    _held: File,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another process holds the lock.
    #[error("`{}` is locked by {}", path.display(), holder(*pid))]
    Held {
        path: PathBuf,
        /// The process that holds the lock, as far as the file says.
        pid: Option<u32>,
    },
    /// The file could not be opened, locked or written.
    #[error("cannot lock `{}`", path.display())]
    Io {
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
}

impl LockFile {
    /// Takes the lock at once or not at all; makes the file (mode 0600) where it is missing.
    ///
    /// # Errors
    /// See [`LockError`]. A symbolic link at `path` is refused.
    pub(crate) fn acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |source: io::Error| LockError::Io { path: path.into(), source };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(rustix::fs::open(path, flags, mode).map_err(|errno| failed(errno.into()))?);

        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LockError::Held { path: path.into(), pid: read_pid(&mut file) });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        write_pid(&mut file).map_err(failed)?;
        Ok(Self { _held: file })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_TEXT_LIMIT).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".into(),
    }
}

const PERMISSION_BITS: u32 = 0o7777;
const PID_TEXT_LIMIT: u64 = 32;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn mode_of(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & PERMISSION_BITS
    }

    fn names_in(dir: &Path) -> Vec<OsString> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_file_is_written_whole_with_its_mode_and_nothing_beside_it() {
        let dir = folder();
        let path = dir.path().join("registry.json");

        write_atomic(&path, b"one", 0o600).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode_of(&path)), (b"one".to_vec(), 0o600));

        write_atomic(&path, b"two, longer", 0o666).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode_of(&path)), (b"two, longer".to_vec(), 0o666));

        assert_eq!(names_in(dir.path()), ["registry.json"]);
    }

    #[test]
    fn a_reader_that_has_the_old_file_open_keeps_the_old_text() {
        let dir = folder();
        let path = dir.path().join("state");
        write_atomic(&path, b"old", 0o600).unwrap();
        let mut open = File::open(&path).unwrap();

        write_atomic(&path, b"new", 0o600).unwrap();

        let mut text = String::new();
        open.read_to_string(&mut text).unwrap();
        assert_eq!(text, "old");
        assert_ne!(open.metadata().unwrap().ino(), fs::metadata(&path).unwrap().ino());
    }

    #[test]
    fn a_write_that_fails_leaves_no_temporary_file() {
        let dir = folder();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();

        assert!(write_atomic(&path, b"x", 0o600).is_err());

        assert_eq!(names_in(dir.path()), ["taken"]);
    }

    #[test]
    fn a_symbolic_link_is_replaced_and_its_target_left_alone() {
        let dir = folder();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &link).unwrap();

        write_atomic(&link, b"ours", 0o600).unwrap();

        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert_eq!(fs::read(&link).unwrap(), b"ours");
    }

    #[test]
    fn a_path_without_a_file_name_is_refused() {
        for path in ["/", "..", ""] {
            let error = write_atomic(Path::new(path), b"", 0o600).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
        }
    }

    #[test]
    fn a_private_folder_is_made_with_its_parents_and_gets_its_mode_back() {
        let dir = folder();
        let path = dir.path().join("state/blog");

        private_dir(&path, 0o700).unwrap();
        assert_eq!(mode_of(&path), 0o700);

        fs::write(path.join("kept"), "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        private_dir(&path, 0o711).unwrap();
        assert_eq!(mode_of(&path), 0o711);
        assert!(path.join("kept").exists());
    }

    #[test]
    fn a_private_folder_is_never_a_symbolic_link() {
        let dir = folder();
        let link = dir.path().join("link");
        symlink(dir.path(), &link).unwrap();

        for spelling in [link.clone(), link.join("")] {
            let error = private_dir(&spelling, 0o700).unwrap_err();
            let expected =
                format!("`{}` is a symbolic link, expected a directory of our own", link.display());
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn a_private_folder_is_never_a_file() {
        let dir = folder();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();

        let error = private_dir(&path, 0o700).unwrap_err();

        assert_eq!(error.to_string(), format!("`{}` is not a directory", path.display()));
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        // Root can give a folder away; other users find one that root owns.
        let dir = folder();
        let root = rustix::process::geteuid().is_root();
        let path = if root { dir.path().join("theirs") } else { PathBuf::from("/proc") };
        if root {
            fs::create_dir(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        }

        let error = private_dir(&path, 0o700).unwrap_err();

        let owner = if root { 12345 } else { 0 };
        let us = rustix::process::geteuid().as_raw();
        let expected = format!("`{}` belongs to user {owner}, not to us (user {us})", path.display());
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_held_lock_is_refused_with_its_holder_and_free_again_after_drop() {
        let dir = folder();
        let path = dir.path().join("lock");
        let lock = LockFile::acquire(&path).unwrap();

        let error = LockFile::acquire(&path).unwrap_err();
        let us = std::process::id();
        assert_eq!(error.to_string(), format!("`{}` is locked by process {us}", path.display()));
        assert!(matches!(error, LockError::Held { pid: Some(pid), .. } if pid == us));

        drop(lock);
        LockFile::acquire(&path).unwrap();
        assert_eq!(mode_of(&path), 0o600);
    }

    #[test]
    fn a_lock_held_by_another_process_is_refused_and_ends_with_it() {
        let dir = folder();
        let path = dir.path().join("lock");
        fs::write(&path, "4711\n").unwrap();
        let mut other = std::process::Command::new("flock")
            .arg(&path)
            .args(["sh", "-c", "echo locked; exec cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 7];
        other.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();

        let refused = LockFile::acquire(&path);
        assert!(matches!(refused, Err(LockError::Held { pid: Some(4711), .. })), "{refused:?}");

        drop(other.stdin.take());
        other.wait().unwrap();
        LockFile::acquire(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_lock_file_that_tells_no_process_is_still_held() {
        let dir = folder();
        let path = dir.path().join("lock");
        let _lock = LockFile::acquire(&path).unwrap();
        fs::write(&path, "what?").unwrap();

        let error = LockFile::acquire(&path).unwrap_err();

        assert_eq!(error.to_string(), format!("`{}` is locked by another process", path.display()));
    }

    #[test]
    fn a_lock_in_a_missing_folder_is_an_error_that_names_the_file() {
        let dir = folder();
        let path = dir.path().join("missing/lock");

        let error = LockFile::acquire(&path).unwrap_err();

        assert_eq!(error.to_string(), format!("cannot lock `{}`", path.display()));
    }
}
