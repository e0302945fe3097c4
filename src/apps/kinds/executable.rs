//! Executables: a compiled program, or a script with an interpreter line.
//!
//! Never here: scripts whose suffix names their language.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::client_address;
use crate::apps::candidate::{App, listens_by};
use crate::apps::files::{name_of, text_of};
use crate::apps::found::{DetectError, Found, Kind};
use crate::apps::programs::is_executable;

/// `app`, `server`, or a program called like the folder.
pub(in crate::apps) fn in_folder(app: &App<'_>) -> Result<Option<Found>, DetectError> {
    let folder = name_of(&app.dir);
    for path in ["app", "server", &folder].map(|name| app.dir.join(name)) {
        if is_executable(&path) {
            return Ok(Some(found(app, &path)));
        }
        if path.is_file() {
            let name = name_of(&path);
            app.saw(format!("{name} is not executable: `chmod +x {name}`"));
        }
    }
    Ok(None)
}

/// The program itself.
pub(in crate::apps) fn found(app: &App<'_>, path: &Path) -> Found {
    let name = name_of(path);
    let argv = vec![path.to_string_lossy().into_owned()];
    let mut found = app.found(Kind::Executable, format!("Executable: {name}"), argv, Some(path));
    if is_script(path)
        && let Some(listen) = listens_by(&text_of(path))
    {
        found.listen = listen;
    }
    client_address::is_told(app, &mut found);
    found
}

/// Only a script is read for how it listens: every word occurs somewhere in a big binary.
fn is_script(path: &Path) -> bool {
    let mut start = [0; 2];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok_and(|()| &start == b"#!")
}
