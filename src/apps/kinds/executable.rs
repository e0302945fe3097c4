//! Executables: a compiled program, or a script with an interpreter line.
//!
//! Never here: scripts whose suffix names their language.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::client_address;
use crate::apps::app_folder::{AppFolder, listens_by};
use crate::apps::detected_app::{DetectError, DetectedApp};
use crate::apps::kind::AppKind;
use crate::apps::programs::is_executable;
use crate::apps::recogniser::Recogniser;
use crate::apps::source_files::{name_of, text_of};

pub(in crate::apps) static EXECUTABLE: AppKind = AppKind { name: "an executable", ..AppKind::PROGRAM };

pub(super) static BY_PROGRAM: Recogniser = Recogniser {
    looks_for: "an executable named app, server or like the folder",
    kinds: &[&EXECUTABLE],
    readme: &[[
        "an executable `app`, `server` or called like the folder",
        "itself: Go, Rust, any script",
        "",
    ]],
    spec: &[[
        "an executable file called `app`, `server` or like the folder (Go, Rust, any script with an interpreter line)",
        "itself",
        "`fd`; a script: as its text shows",
    ]],
    ..Recogniser::new(in_folder)
};

/// An executable called `app`, `server` or like the folder.
fn in_folder(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
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

pub(in crate::apps) fn found(app: &AppFolder<'_>, path: &Path) -> DetectedApp {
    let name = name_of(path);
    let argv = vec![path.to_string_lossy().into_owned()];
    let mut found = app.found(&EXECUTABLE, format!("Executable: {name}"), argv, Some(path));
    if is_script(path)
        && let Some(listen) = listens_by(&text_of(path))
    {
        found.listen = listen;
    }
    client_address::is_told(app, &mut found);
    found
}

/// Whether a file is a script. Only scripts are read for how they listen, because every word occurs somewhere in a big
/// binary.
fn is_script(path: &Path) -> bool {
    let mut start = [0; 2];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok_and(|()| &start == b"#!")
}
