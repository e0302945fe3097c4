//! Detection: the order in which an app's folder is looked at.
//!
//! Never here: how one language is recognised or run; each has its own file.

use std::fs;
use std::path::{Path, PathBuf};

use super::found::{DetectError, Found, Hints, Kind, Launch, Listen, ReadyBy};
use super::programs::{Programs, is_executable};
use super::{declared, executable, javascript, python, ruby, site};

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

/// The name of the app at `path` when nobody gave one: the folder's, or the file's where that says more.
///
/// Lower case letters, digits and `-` only; `app` when nothing is left.
pub fn default_name(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let ends_in_dots = absolute.file_name().is_none();
    let path = if ends_in_dots { fs::canonicalize(&absolute).unwrap_or(absolute) } else { absolute };
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let named_by_folder = path.is_file() && ENTRY_STEMS.contains(&stem.as_str());
    let name = match path.parent().and_then(Path::file_name) {
        Some(folder) if named_by_folder => folder.to_string_lossy().into_owned(),
        _ if path.is_file() => stem,
        _ => path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    as_name(&name)
}

/// One app folder under examination.
pub(super) struct App<'a> {
    pub(super) dir: PathBuf,
    pub(super) hints: &'a Hints<'a>,
    pub(super) programs: Programs,
}

impl<'a> App<'a> {
    fn new(dir: PathBuf, hints: &'a Hints<'a>) -> Self {
        Self { dir, hints, programs: Programs::new(&hints.path_env) }
    }

    /// The file of that name, when it is one.
    pub(super) fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.dir.join(name);
        path.is_file().then_some(path)
    }

    /// The program, or the sentence that says what to install.
    pub(super) fn need(
        &self,
        programs: &Programs,
        runtime: &str,
        needed_for: &str,
    ) -> Result<String, DetectError> {
        let path = programs.find(runtime).ok_or_else(|| missing(runtime, needed_for))?;
        path.into_os_string().into_string().map_err(|path| DetectError::NotUtf8(path.into()))
    }

    /// An answer of the usual form; what differs is changed by the caller.
    pub(super) fn found(&self, kind: Kind, why: String, argv: Vec<String>, entry: Option<&Path>) -> Found {
        Found {
            kind,
            why,
            command: Launch { argv, dir: self.dir.clone() },
            listen: kind.listens()[0],
            entry: entry.map(Path::to_owned),
            ready_by: ReadyBy::NotifyOrAnswer,
            env: Vec::new(),
            concurrency: None,
        }
    }
}

/// The error for a program that is not installed.
pub(super) fn missing(runtime: &str, needed_for: &str) -> DetectError {
    let install = INSTALL
        .iter()
        .find(|(name, _)| *name == runtime)
        .map_or("install it, or give its full path in rip.toml `command`", |(_, how)| how);
    DetectError::MissingRuntime { runtime: runtime.into(), needed_for: needed_for.into(), install }
}

/// The file's text, for a light look; what cannot be read counts as empty and fails when it is run.
pub(super) fn text_of(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The file name for a sentence.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// How a server that listens by itself does so, as far as its text shows.
pub(super) fn listens_by(text: &str) -> Option<Listen> {
    if ["LISTEN_FDS", "fd: 3", "fd:3", "fileno=3", "fd://3"].iter().any(|sign| text.contains(sign)) {
        return Some(Listen::Fd);
    }
    if text.contains("RIP_SOCKET") {
        return Some(Listen::Path);
    }
    let names_port = ["env.PORT", "env[\"PORT\"]", "env['PORT']", "$PORT", "${PORT", "\"PORT\"", "'PORT'"];
    names_port.iter().any(|sign| text.contains(sign)).then_some(Listen::Port)
}

fn in_folder(app: &App<'_>) -> Result<Found, DetectError> {
    let ways: [Way; 10] = [
        declared::command,
        site::configured,
        declared::procfile,
        declared::package_json,
        executable::in_folder,
        javascript::handler_in_folder,
        javascript::server_in_folder,
        python::in_folder,
        ruby::in_folder,
        site::in_folder,
    ];
    for way in ways {
        if let Some(found) = way(app)? {
            return Ok(found);
        }
    }
    Err(DetectError::Nothing(app.dir.clone()))
}

/// One way of recognising a folder.
type Way = fn(&App<'_>) -> Result<Option<Found>, DetectError>;

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

fn as_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.ends_with('-') && !name.is_empty() {
            name.push('-');
        }
    }
    name.truncate(MAX_NAME);
    let name = name.trim_end_matches('-');
    if name.is_empty() { "app".into() } else { name.into() }
}

/// A name is also a DNS label (`<name>.local`), RFC 1035 §2.3.4.
const MAX_NAME: usize = 63;

/// Files that are called the same in every app, so that the folder says more.
const ENTRY_STEMS: [&str; 8] = ["index", "server", "app", "main", "wsgi", "asgi", "config", "manage"];

const INSTALL: [(&str, &str); 11] = [
    ("node", "apt install nodejs"),
    ("bun", "npm install -g bun (Debian has no package of it)"),
    ("gunicorn", "apt install gunicorn, or pip install gunicorn into the app's .venv"),
    ("uvicorn", "apt install uvicorn, or pip install uvicorn into the app's .venv"),
    ("python3", "apt install python3"),
    ("puma", "apt install puma"),
    ("bundle", "apt install bundler"),
    ("ruby", "apt install ruby"),
    ("deno", "see its manual (Debian has no package of it)"),
    ("php", "apt install php-cli"),
    ("perl", "apt install perl"),
];

#[cfg(test)]
mod tests;
