//! The settings of workers' units in the admin's file, for the program that makes the units. Never here: words,
//! variables, or an app's own file, which may not set any of them.

use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::file;
use super::layer::Stack;
use crate::spec::Sandbox;
use crate::spec::settings::table::Id;

/// The part of an instance's file that its units are made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admin {
    pub(crate) sandbox: Sandbox,
    /// The folders of apps that the file itself names; they may lie anywhere.
    pub(crate) apps: Vec<PathBuf>,
}

/// Reads an instance's file; a missing file has no settings.
///
/// # Errors
/// When the file cannot be read, is not TOML, or has a key that no setting has; with line and column.
pub(crate) fn read(path: &Path) -> Result<Admin, ConfigError> {
    let there = path.try_exists().map_err(|source| ConfigError::Unreadable {
        what: "the config file".into(),
        path: path.into(),
        source,
    })?;
    let file = if there { file::read_server(path)? } else { file::ServerFile::default() };
    let named = [&file.app].into_iter().chain(&file.apps);
    let apps = named.filter_map(|layer| Stack::new([layer]).told::<PathBuf>(Id::AppPath));
    Ok(Admin {
        apps: apps.filter(|path| path.is_absolute()).collect(),
        sandbox: Sandbox::read(&Stack::new([&file.server])),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Admin, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blog.toml");
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_that_is_not_there_means_the_defaults() {
        let admin = read(Path::new("/nowhere/blog.toml")).unwrap();
        assert_eq!(admin.apps, Vec::<PathBuf>::new());
        assert_eq!(admin.sandbox.roots, [PathBuf::from("/srv/rip")]);
        assert!(admin.sandbox.user.is_none() && admin.sandbox.network && admin.sandbox.write_execute);
        assert_eq!((admin.sandbox.tasks_max, admin.sandbox.memory_max), (512, None));
    }

    #[test]
    fn what_the_file_says_holds() {
        let admin = read_text(
            "[sandbox]\nuser = \"blog\"\nroots = [\"/apps\", \"/opt/apps\"]\nnetwork = false\nmemory_max = \"1G\"\n\
             memory_high = \"800M\"\ncpu_quota = 150\nip_deny = [\"0.0.0.0/0\"]\ncredentials = [\"db:/etc/db.key\"]\n\
             [app]\npath = \"/opt/blog\"\n[[apps]]\npath = \"/opt/shop\"\n",
        )
        .unwrap();
        assert_eq!(admin.apps, [PathBuf::from("/opt/blog"), "/opt/shop".into()]);
        assert_eq!(admin.sandbox.user.as_deref(), Some("blog"));
        assert_eq!(admin.sandbox.roots, [PathBuf::from("/apps"), "/opt/apps".into()]);
        assert_eq!((admin.sandbox.network, admin.sandbox.memory_max), (false, Some(1 << 30)));
        assert_eq!(admin.sandbox.memory_high, Some(800 << 20));
        assert_eq!((admin.sandbox.cpu_quota, admin.sandbox.ip_deny.len()), (Some(150), 1));
        assert_eq!(admin.sandbox.credentials, ["db:/etc/db.key"]);
    }

    #[test]
    fn what_a_unit_would_misread_is_refused() {
        for wrong in [
            "user = \"Root!\"",
            "roots = [\"srv\"]",
            "roots = [\"/a/../b\"]",
            "writable = [\"/a%i\"]",
            "credentials = [\"/x\"]",
        ] {
            let text = read_text(&format!("[sandbox]\n{wrong}\n")).unwrap_err();
            assert!(text.contains("expected"), "{wrong}: {text}");
        }
    }
}
