//! Detection: the order in which an app's folder is looked at.
//!
//! Never here: how one language is recognised or run; each has its own file.

use std::fs;
use std::path::Path;

use super::candidate::{App, Way};
use super::found::{DetectError, Found, Hints, Listen};
use super::kinds::{declared, executable, javascript, python, ruby, site};
use super::programs::is_executable;
use super::project;

/// Finds out how to run `path`, an app's directory or its entry file.
///
/// The same files, hints and installed runtimes always give the same answer.
///
/// # Errors
/// When nothing is recognised, when the runtime is not installed, or when `hints` and files contradict; the text
/// says what would be right.
pub fn detect(path: &Path, hints: &Hints<'_>) -> Result<Found, DetectError> {
    let path =
        fs::canonicalize(path).map_err(|source| DetectError::Unreadable { path: path.to_owned(), source })?;
    if path.to_str().is_none() {
        return Err(DetectError::NotUtf8(path));
    }
    let found = if path.is_dir() {
        in_folder(&App::new(path, hints))?
    } else {
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        of_file(&App::new(folder, hints), &path)?
    };
    honour_listen(found, hints.listen)
}

fn in_folder(app: &App<'_>) -> Result<Found, DetectError> {
    for way in WAYS {
        if let Some(found) = way(app)? {
            return Ok(found);
        }
    }
    let mut seen = app.end_looking()?;
    seen.extend(project::hints(&app.dir));
    Err(DetectError::Nothing { folder: app.dir.clone(), seen })
}

/// The ways of recognising a folder, in their order.
const WAYS: [Way; 11] = [
    declared::command,
    site::configured,
    declared::procfile,
    declared::package_json,
    executable::in_folder,
    javascript::handler_in_folder,
    javascript::server_in_folder,
    javascript::named_in_folder,
    python::in_folder,
    ruby::in_folder,
    site::in_folder,
];

fn of_file(app: &App<'_>, path: &Path) -> Result<Found, DetectError> {
    for way in [declared::command, site::configured] {
        if let Some(found) = way(app)? {
            return Ok(found);
        }
    }
    match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("rip" | "ts" | "mts" | "js" | "mjs" | "cjs") => javascript::of_file(app, path),
        Some("py") => python::of_file(app, path),
        Some("ru") => ruby::rack(app, path),
        Some("rb") => ruby::script(app, path),
        Some("html" | "htm") => site::of_file(app, path),
        _ if is_executable(path) => Ok(executable::found(app, path)),
        _ => Err(DetectError::NotRunnable(path.to_owned())),
    }
}

fn honour_listen(found: Found, asked: Option<Listen>) -> Result<Found, DetectError> {
    let Some(asked) = asked else { return Ok(found) };
    let works = found.kind.listens();
    if !works.contains(&asked) {
        return Err(DetectError::Listen { asked, kind: found.kind, works });
    }
    Ok(Found { listen: asked, ..found })
}

#[cfg(test)]
mod tests;
