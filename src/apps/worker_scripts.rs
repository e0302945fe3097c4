//! Worker scripts that ship inside the program, and their place on disk.
//!
//! Never here: choosing the runtime that runs them.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes the worker scripts into `dir`, which is made if it is not there.
///
/// Each file appears as a whole or not at all, and stays untouched when it is right already, because workers of another
/// generation may be reading it. Everybody may read the files, because workers run as other users.
///
/// # Errors
/// When `dir` cannot be made or written.
pub(crate) fn install(dir: &Path) -> io::Result<()> {
    for (name, text) in SCRIPTS {
        let path = dir.join(name);
        if !fs::read(&path).is_ok_and(|present| present == text.as_bytes()) {
            write(dir, &path, text)?;
        }
    }
    Ok(())
}

/// The path where [`install`] puts the script for Node and Bun.
pub(crate) fn worker_script(dir: &Path) -> PathBuf {
    dir.join("worker.mjs")
}

fn write(dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // Workers of all users read the scripts.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    let mut file = tempfile::Builder::new().prefix(".worker").tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(dir)?.sync_all()
}

/// The class of gunicorn's workers, in a module of [`install`]'s folder.
pub(super) const GUNICORN_WORKER: &str = "rip_gunicorn.Worker";
/// The application that uvicorn runs behind trusted proxies, in a module of [`install`]'s folder.
pub(super) const ASGI_WRAPPER: &str = "rip_asgi:application";

/// The Rack file of [`install`]'s folder that runs a Sinatra app of one file.
pub(super) fn sinatra(dir: &Path) -> PathBuf {
    dir.join("rip_sinatra.ru")
}

const SCRIPTS: [(&str, &str); 8] = [
    ("rip_sinatra.ru", include_str!("../../packaging/runtimes/rip_sinatra.ru")),
    ("worker.mjs", include_str!("../../packaging/runtimes/worker.mjs")),
    ("rip_client.py", include_str!("../../packaging/runtimes/rip_client.py")),
    ("rip_gunicorn.py", include_str!("../../packaging/runtimes/rip_gunicorn.py")),
    ("rip_wsgi.py", include_str!("../../packaging/runtimes/rip_wsgi.py")),
    ("rip_scope.py", include_str!("../../packaging/runtimes/rip_scope.py")),
    ("sitecustomize.py", include_str!("../../packaging/runtimes/sitecustomize.py")),
    ("rip_asgi.py", include_str!("../../packaging/runtimes/rip_asgi.py")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_are_installed_once_and_repaired_when_they_differ() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("scripts");

        install(&dir).unwrap();
        let path = worker_script(&dir);
        let first = fs::metadata(&path).unwrap();
        install(&dir).unwrap();
        let again = fs::metadata(&path).unwrap();
        fs::write(&path, "broken").unwrap();
        install(&dir).unwrap();

        assert_eq!(first.modified().unwrap(), again.modified().unwrap());
        assert_eq!(first.permissions().mode() & 0o777, 0o644);
        for (name, text) in SCRIPTS {
            assert_eq!(fs::read_to_string(dir.join(name)).unwrap(), text, "{name}");
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), SCRIPTS.len());
    }
}
