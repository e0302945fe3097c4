//! Owns the check that the files and folders exist which the admin has named for a worker's unit. The errors of the
//! check say what to do, while systemd gives only a number for a unit that it cannot set up.
//!
//! Never here: which of them an app may read, or making them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::properties::Scope;
use crate::name::InstanceName;
use crate::spec::Sandbox;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MissingFileError {
    /// The file of variables is missing.
    #[error(
        "the file of variables {} is not there: make it, or change `env_file` under [sandbox] of {config}", .path.display()
    )]
    EnvFile {
        /// The path at which it is looked for.
        path: PathBuf,
        config: String,
    },
    /// A folder to write to is missing.
    #[error(
        "the folder {0} that workers may write to is not there: make it (`mkdir -p {0}`, owned by whom the workers run \
         as), or take it out of `writable` under [sandbox] of {config}", .path.display()
    )]
    Writable {
        /// The path at which it is looked for.
        path: PathBuf,
        config: String,
    },
    /// The file of a secret is missing.
    #[error(
        "the file {} of the credential `{id}` is not there: make it, or change `credentials` under [sandbox] of {config}",
        .path.display()
    )]
    Credential {
        /// The credential's name.
        id: String,
        /// The path at which it is looked for.
        path: PathBuf,
        config: String,
    },
}

/// Looks for the files that a unit cannot be started without. Paths that this process cannot look at are left to
/// systemd.
///
/// # Errors
/// See [`MissingFileError`]: the first missing file.
pub(crate) fn look(sandbox: &Sandbox, instance: &InstanceName, scope: Scope) -> Result<(), MissingFileError> {
    let config = || format!("/etc/rip-server/{instance}.toml");
    if let Some(path) = sandbox.env_file.iter().find(|path| is_missing(path)) {
        return Err(MissingFileError::EnvFile { path: path.clone(), config: config() });
    }
    let credentials = sandbox.credentials.iter().filter_map(|credential| credential.split_once(':'));
    if let Some((id, path)) = credentials.into_iter().find(|(_, path)| is_missing(Path::new(path))) {
        return Err(MissingFileError::Credential { id: id.into(), path: path.into(), config: config() });
    }
    let writable = sandbox.writable.iter().filter(|_| scope == Scope::System);
    if let Some(path) = writable.into_iter().find(|path| is_missing(path)) {
        return Err(MissingFileError::Writable { path: path.clone(), config: config() });
    }
    Ok(())
}

/// The versions of the files that only systemd reads, to compare two starts of a worker. Only root may read the files,
/// but everybody can see when they were written.
pub(super) fn stamps(sandbox: &Sandbox, instance: &InstanceName, scope: Scope) -> Vec<Option<FileVersion>> {
    let usual = (scope == Scope::System).then(|| super::paths::env_file(instance));
    let env_file = sandbox.env_file.clone().or(usual);
    let secrets = sandbox.credentials.iter().filter_map(|credential| credential.split_once(':'));
    let secrets = secrets.map(|(_, path)| PathBuf::from(path));
    env_file.into_iter().chain(secrets).map(|path| FileVersion::of(&path)).collect()
}

/// A version of one file.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct FileVersion {
    inode: u64,
    size: u64,
    /// The time of the last write, in seconds and nanoseconds since 1970.
    written: (i64, i64),
}

impl FileVersion {
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let found = fs::metadata(path).ok()?;
        Some(Self { inode: found.ino(), size: found.size(), written: (found.mtime(), found.mtime_nsec()) })
    }
}

/// Whether a path does not exist. The service has a /tmp and a /dev of its own and does not see other users' homes, so
/// that paths in those are never missing.
fn is_missing(path: &Path) -> bool {
    const OWN: [&str; 3] = ["/tmp", "/var/tmp", "/dev"];
    let is_seen = path.is_absolute() && !OWN.iter().any(|own| path.starts_with(own));
    is_seen && fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox() -> Sandbox {
        crate::config::sandbox::read(Path::new("/nowhere/x.toml")).unwrap().sandbox
    }

    fn instance() -> InstanceName {
        InstanceName::parse("my\\x2dapp").unwrap()
    }

    #[test]
    fn what_is_missing_is_told_with_where_that_is_said() {
        let missing = PathBuf::from("/nowhere/at/all");
        let said = |sandbox: Sandbox| look(&sandbox, &instance(), Scope::System).unwrap_err().to_string();
        for (wrong, key) in [
            (Sandbox { env_file: Some(missing.clone()), ..sandbox() }, "`env_file`"),
            (Sandbox { writable: vec!["/etc".into(), missing.clone()], ..sandbox() }, "`writable`"),
            (Sandbox { credentials: vec!["db:/nowhere/at/all".into()], ..sandbox() }, "`credentials`"),
        ] {
            let said = said(wrong);
            for part in ["/nowhere/at/all", key, r"/etc/rip-server/my\x2dapp.toml"] {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
        let there =
            Sandbox { env_file: Some("/etc/passwd".into()), writable: vec!["/etc".into()], ..sandbox() };
        assert_eq!(look(&there, &instance(), Scope::System), Ok(()));
        assert_eq!(look(&sandbox(), &instance(), Scope::System), Ok(()));
        let hidden = Sandbox { env_file: Some("/tmp/nowhere".into()), ..sandbox() };
        assert_eq!(look(&hidden, &instance(), Scope::System), Ok(()));
    }

    #[test]
    fn another_version_of_a_file_of_variables_has_another_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.env");
        let with = Sandbox { env_file: Some(file.clone()), ..sandbox() };
        let of = || stamps(&with, &instance(), Scope::System);
        let before = of();
        fs::write(&file, "A=1").unwrap();
        let first = of();
        assert!(before != first && first == of());
        fs::write(&file, "A=12").unwrap();
        assert_ne!(of(), first);
    }
}
