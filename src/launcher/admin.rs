//! Owns the admin's settings of an instance: its file, if only root can have written it. Never here: what a key means.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::error::ConfigError;
use crate::config::sandbox::{self, Admin};
use crate::name::InstanceName;

/// Why the admin's settings cannot be known.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    #[error("{} or its folder could have been written by others than root", .0.display())]
    NotRoots(PathBuf),
    #[error("cannot look at {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Wrong(#[from] ConfigError),
}

/// Reads the file of an instance in `folder`.
pub(super) fn read(folder: &Path, instance: &InstanceName) -> Result<Admin, AdminError> {
    let path = folder.join(format!("{instance}.toml"));
    for checked in [folder, &path] {
        match fs::metadata(checked) {
            Ok(found) if found.uid() == 0 && found.mode() & OTHERS_WRITE == 0 => {}
            Ok(_) => return Err(AdminError::NotRoots(path.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(AdminError::Unreadable { path: checked.into(), source }),
        }
    }
    Ok(sandbox::read(&path)?)
}

/// The apps that the files of all instances in `folder` name. A file that cannot be read names no app here; its own
/// instance gets the error.
pub(super) fn all_apps(folder: &Path) -> Vec<PathBuf> {
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    let instances = files
        .filter_map(|file| InstanceName::parse(file.ok()?.file_name().to_str()?.strip_suffix(".toml")?).ok());
    instances.filter_map(|instance| read(folder, &instance).ok()).flat_map(|admin| admin.apps).collect()
}

/// Write permission for the group or for others.
const OTHERS_WRITE: u32 = 0o022;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_others_may_write_is_not_the_admins() {
        let folder = tempfile::tempdir().unwrap();
        let blog = InstanceName::parse("blog").unwrap();
        let file = folder.path().join("blog.toml");
        fs::write(&file, "[sandbox]\nuser = \"blog\"\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(read(folder.path(), &blog), Err(AdminError::NotRoots(_))));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let own = fs::metadata(&file).unwrap().uid() == 0;
        assert_eq!(read(folder.path(), &blog).is_ok(), own);
        fs::write(&file, "app = \"/opt/blog\"\n").unwrap();
        fs::write(folder.path().join("broken.toml"), "=").unwrap();
        assert_eq!(all_apps(folder.path()), if own { vec![PathBuf::from("/opt/blog")] } else { vec![] });
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(read(folder.path(), &blog), Err(AdminError::NotRoots(_))));
    }
}
