//! Detection: from a path to what is to be run, by the table of recognisers.
//!
//! Never here: how one kind is recognised or run; each has its own file (`kinds`).

use std::fs;
use std::path::Path;

use super::app_folder::AppFolder;
use super::detected_app::{DetectError, DetectedApp, Hints};
use super::kinds::{RECOGNISERS, executable};
use super::programs::is_executable;
use super::project;
use crate::spec::Listen;

/// Finds out how to run `path`, an app's directory or its entry file.
///
/// The same files, hints and installed runtimes always give the same answer.
///
/// # Errors
/// When nothing is recognised, when the runtime is not installed, or when `hints` and files contradict; the text
/// says what would be right.
pub(crate) fn detect(path: &Path, hints: &Hints<'_>) -> Result<DetectedApp, DetectError> {
    let path =
        fs::canonicalize(path).map_err(|source| DetectError::Unreadable { path: path.to_owned(), source })?;
    if path.to_str().is_none() {
        return Err(DetectError::NotUtf8(path));
    }
    let found = if path.is_dir() {
        in_folder(&AppFolder::new(path, hints))?
    } else {
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        of_file(&AppFolder::new(folder, hints), &path)?
    };
    honour_listen(found, hints.listen)
}

fn in_folder(app: &AppFolder<'_>) -> Result<DetectedApp, DetectError> {
    for row in RECOGNISERS {
        if let Some(found) = (row.in_folder)(app)? {
            return Ok(found);
        }
    }
    let mut seen = app.end_looking()?;
    seen.extend(project::hints(&app.dir));
    let looks_for = RECOGNISERS.map(|row| row.looks_for);
    let looks_for: Vec<_> = looks_for.into_iter().filter(|text| !text.is_empty()).collect();
    Err(DetectError::Nothing { folder: app.dir.clone(), seen, looks_for: looks_for.join("; ") })
}

fn of_file(app: &AppFolder<'_>, path: &Path) -> Result<DetectedApp, DetectError> {
    for row in RECOGNISERS.iter().filter(|row| row.by_settings) {
        if let Some(found) = (row.in_folder)(app)? {
            return Ok(found);
        }
    }
    let files = RECOGNISERS.iter().flat_map(|row| row.files);
    match files.clone().find(|(suffix, _)| path.extension().is_some_and(|own| own == *suffix)) {
        Some((_, take)) => take(app, path),
        None if is_executable(path) => Ok(executable::found(app, path)),
        None => {
            let suffixes: Vec<_> = files.map(|(suffix, _)| format!(".{suffix}")).collect();
            Err(DetectError::NotRunnable { path: path.to_owned(), suffixes: suffixes.join(", ") })
        }
    }
}

fn honour_listen(found: DetectedApp, asked: Option<Listen>) -> Result<DetectedApp, DetectError> {
    let Some(asked) = asked else { return Ok(found) };
    if !found.kind.listens.contains(&asked) {
        return Err(DetectError::Listen { asked, kind: found.kind });
    }
    Ok(DetectedApp { listen: asked, ..found })
}

#[cfg(test)]
mod tests;
