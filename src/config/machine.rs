//! Owns the facts about the machine that config needs, as plain data, so that tests can make up another machine.
//!
//! Never here: what the answers mean (`folders`, `merge`).

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The machine as config sees it.
#[derive(Clone, Debug)]
pub(crate) struct ProcessContext {
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// The working directory, where relative paths of words and variables start.
    pub(crate) directory: PathBuf,
    pub(crate) user: u32,
    /// The folder of instances' config files: `/etc/rip-server`.
    pub(crate) etc: PathBuf,
    /// The folder of instances' apps: `/srv/rip`.
    pub(crate) apps: PathBuf,
    /// The folder `/run`.
    pub(crate) run: PathBuf,
    /// The folder `/var/lib`.
    pub(crate) lib: PathBuf,
}

impl ProcessContext {
    /// The context of this process.
    ///
    /// # Errors
    /// When the working directory may not be read.
    pub(crate) fn this() -> std::io::Result<Self> {
        Ok(Self {
            variables: std::env::vars_os().collect(),
            directory: working_directory(std::env::var_os("PWD"))?,
            user: rustix::process::geteuid().as_raw(),
            etc: "/etc/rip-server".into(),
            apps: "/srv/rip".into(),
            run: "/run".into(),
            lib: "/var/lib".into(),
        })
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        let found = self.variables.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
    }

    /// Whether systemd started this process as a service.
    pub(crate) fn is_service(&self) -> bool {
        self.variable("NOTIFY_SOCKET").is_some() || self.variable("RUNTIME_DIRECTORY").is_some()
    }

    /// Whether systemd started this process as a service of the system, as a user other than root.
    pub(crate) fn is_service_of_the_system(&self) -> bool {
        self.is_service() && !self.is_root() && self.variable("MANAGERPID").is_none()
    }

    /// Whether the user is root.
    pub(crate) fn is_root(&self) -> bool {
        self.user == 0
    }

    /// The path from the root, without `.` and `..`; links stay as they are, but for those that a `..` leaves.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        from_root(&self.directory.join(path))
    }

    /// The path from the root for the server's own files, which stay where they are when a link that led to the working
    /// directory is changed.
    pub(crate) fn anchored(&self, path: &Path) -> PathBuf {
        let directory = self.directory.canonicalize();
        from_root(&directory.as_ref().unwrap_or(&self.directory).join(path))
    }
}

/// The path from the root as a person at this process's shell means it: links stay as they are.
///
/// # Errors
/// As [`ProcessContext::this`].
pub(crate) fn absolute_here(path: &Path) -> std::io::Result<PathBuf> {
    if path.is_absolute() {
        return Ok(from_root(path));
    }
    Ok(from_root(&working_directory(std::env::var_os("PWD"))?.join(path)))
}

/// Whether both paths name one entry of one folder, whatever links lead to that folder. A link and its target are two
/// entries.
pub(crate) fn is_one_entry(one: &Path, other: &Path) -> bool {
    one == other
        || (one.file_name() == other.file_name() && one.file_name().is_some() && {
            let folder = |path: &Path| path.parent().and_then(|folder| folder.canonicalize().ok());
            folder(one).is_some_and(|found| folder(other) == Some(found))
        })
}

/// The working directory by the shell's name for it, because getcwd(3) knows only the folder and not the link, such as
/// `current`, through which a person went there.
fn working_directory(pwd: Option<OsString>) -> std::io::Result<PathBuf> {
    let named = pwd.map(PathBuf::from).filter(|pwd| {
        let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
        pwd.is_absolute() && pwd.components().all(plain) && is_same(pwd, Path::new("."))
    });
    named.map_or_else(folder_of_process, Ok)
}

/// The working directory as the kernel names it. A removed folder is called `/gone (deleted)`: commands that do not
/// need it work, and the errors of others name that folder.
fn folder_of_process() -> std::io::Result<PathBuf> {
    std::env::current_dir().or_else(|error| std::fs::read_link("/proc/self/cwd").map_err(|_| error))
}

/// Whether both paths lead to one folder.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
    id(one).is_some_and(|found| id(other) == Some(found))
}

fn from_root(whole: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                // A `..` behind a link leaves the folder that the link leads to, and not the one that the link is in.
                // Behind any other folder it leaves the folder that is written before it.
                if clean.is_symlink() {
                    clean = clean.canonicalize().unwrap_or(clean);
                }
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_working_directory_has_the_shells_name_where_that_leads_there() {
        let here = std::env::current_dir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("current");
        symlink(&here, &link).unwrap();
        let name = |pwd: PathBuf| working_directory(Some(pwd.into_os_string())).unwrap();

        assert_eq!(name(link.clone()), link);
        assert_eq!(name(link.join("../current")), here, "a shell has no `..` in it");
        assert_eq!(name(folder.path().into()), here, "another folder");
        assert_eq!(name("/no/such/folder".into()), here);
        assert_eq!(name(".".into()), here);
        assert_eq!(working_directory(None).unwrap(), here);
    }

    #[test]
    fn one_entry_may_be_reached_through_links_and_is_not_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("srv/blog/1")).unwrap();
        symlink("srv", root.join("www")).unwrap();
        symlink("1", root.join("srv/blog/current")).unwrap();
        symlink("1", root.join("srv/blog/next")).unwrap();
        let table = [
            ("srv/blog", "www/blog", true),
            ("srv/blog/current", "www/blog/current", true),
            ("srv/blog/current", "srv/blog/1", false),
            ("srv/blog/current", "srv/blog/next", false),
            ("none/blog", "none/blog", true),
            ("none/blog", "nil/blog", false),
        ];
        for (one, other, expected) in table {
            assert_eq!(is_one_entry(&root.join(one), &root.join(other)), expected, "{one} {other}");
        }
    }

    #[test]
    fn two_dots_leave_the_last_folder_and_keep_the_links_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("releases/1/web")).unwrap();
        symlink("releases/1", root.join("current")).unwrap();
        let table = [
            ("current", "current"),
            ("current/./web/", "current/web"),
            ("current/web/..", "current"),
            ("current/web/../web", "current/web"),
            ("current/..", "releases"),
            ("missing/../current", "current"),
        ];
        for (given, expected) in table {
            assert_eq!(from_root(&root.join(given)), root.join(expected), "{given}");
        }
        assert_eq!(from_root(Path::new("/../..")), Path::new("/"));
    }
}
