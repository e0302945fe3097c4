//! Worker scripts that ship inside the program, and their place on disk.
//!
//! Never here: choosing the runtime that runs them.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes the worker script into `dir` (made if it is not there) and returns its path.
///
/// The file appears whole or not at all, and stays untouched when it is right already, so workers of another
/// generation may be reading it meanwhile. It is readable for all: workers run as other users.
///
/// # Errors
/// When `dir` cannot be made or written.
pub fn install(dir: &Path) -> io::Result<PathBuf> {
    let path = worker_script(dir);
    if fs::read(&path).is_ok_and(|present| present == WORKER.as_bytes()) {
        return Ok(path);
    }
    fs::create_dir_all(dir)?;
    // Workers read it, whoever they run as.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    let mut file = tempfile::Builder::new().prefix(".worker").tempfile_in(dir)?;
    file.write_all(WORKER.as_bytes())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    fs::File::open(dir)?.sync_all()?;
    Ok(path)
}

/// Where [`install`] puts the script for Node and Bun.
pub fn worker_script(dir: &Path) -> PathBuf {
    dir.join("worker.mjs")
}

const WORKER: &str = include_str!("../../packaging/runtimes/worker.mjs");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_installed_once_and_repaired_when_it_differs() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("scripts");

        let path = install(&dir).unwrap();
        let first = fs::metadata(&path).unwrap();
        install(&dir).unwrap();
        let again = fs::metadata(&path).unwrap();
        fs::write(&path, "broken").unwrap();
        install(&dir).unwrap();

        assert_eq!(first.modified().unwrap(), again.modified().unwrap());
        assert_eq!(first.permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_to_string(&path).unwrap(), WORKER);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }
}
