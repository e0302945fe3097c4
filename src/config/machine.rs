//! What config asks of the machine it runs on, as plain data, so that tests can be another machine.
//!
//! Never here: what the answers mean (`folders`, `merge`).

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// The machine as config sees it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The environment.
    pub variables: Vec<(OsString, OsString)>,
    /// The working directory, where relative paths of words and variables start.
    pub directory: PathBuf,
    /// The effective user.
    pub user: u32,
    /// Where config files of instances are: `/etc/rip-server`.
    pub etc: PathBuf,
    /// Where the apps of instances are: `/srv/rip`.
    pub apps: PathBuf,
    /// `/run`.
    pub run: PathBuf,
    /// `/var/lib`.
    pub lib: PathBuf,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    /// When the working directory is gone or may not be read.
    pub fn this() -> std::io::Result<Self> {
        Ok(Self {
            variables: std::env::vars_os().collect(),
            directory: std::env::current_dir()?,
            user: rustix::process::geteuid().as_raw(),
            etc: "/etc/rip-server".into(),
            apps: "/srv/rip".into(),
            run: "/run".into(),
            lib: "/var/lib".into(),
        })
    }

    /// A variable that is set to something.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        let found = self.variables.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
    }

    /// Whether systemd started this process as a service.
    pub(crate) fn is_service(&self) -> bool {
        self.variable("NOTIFY_SOCKET").is_some() || self.variable("RUNTIME_DIRECTORY").is_some()
    }

    /// Whether systemd started this process as a service of the system's, as a user other than root.
    pub fn is_service_of_the_system(&self) -> bool {
        self.is_service() && !self.is_root() && self.variable("MANAGERPID").is_none()
    }

    /// Whether the user is root.
    pub(crate) fn is_root(&self) -> bool {
        self.user == 0
    }

    /// The path from the root, without `.` and `..`; links stay as they are, but for those that a `..` leaves.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        let whole = self.directory.join(path);
        let mut clean = PathBuf::new();
        for part in whole.components() {
            match part {
                // `..` leaves the folder that a link leads to and not the one the link is in.
                Component::ParentDir => {
                    clean = clean.canonicalize().unwrap_or(clean);
                    clean.pop();
                }
                part => clean.push(part),
            }
        }
        clean
    }
}
