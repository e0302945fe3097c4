//! An app folder that is looked at: its files, the programs that it brings along, and the things that were looked for
//! in vain.
//!
//! Never here: what makes a folder an app (`kinds`).

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::detected_app::{DetectError, DetectedApp, Hints, LaunchCommand};
use super::kind::AppKind;
use super::programs::{Program, Programs};
use super::project;
use crate::spec::Listen;

/// An app folder that is looked at.
pub(super) struct AppFolder<'a> {
    pub(super) dir: PathBuf,
    pub(super) hints: &'a Hints<'a>,
    pub(super) programs: Programs,
    /// The folder and those above it, up to its project's, which may have programs that the app brings along.
    pub(super) roots: Vec<PathBuf>,
    seen_files: RefCell<SeenFiles>,
}

/// The things that were looked for in vain.
#[derive(Default)]
struct SeenFiles {
    seen: Vec<String>,
    refusal: Option<DetectError>,
}

impl<'a> AppFolder<'a> {
    pub(super) fn new(dir: PathBuf, hints: &'a Hints<'a>) -> Self {
        let roots = project::roots(&dir);
        Self { dir, hints, programs: Programs::new(&hints.path_env), roots, seen_files: RefCell::default() }
    }

    /// A folder in this one that may hold the app itself.
    pub(super) fn within(&self, folder: PathBuf) -> AppFolder<'a> {
        let roots = [std::slice::from_ref(&folder), &*self.roots].concat();
        let programs = self.programs.clone();
        AppFolder { dir: folder, hints: self.hints, programs, roots, seen_files: RefCell::default() }
    }

    /// Keeps a note of what is there and why it was not enough, for the error that nothing was recognised.
    pub(super) fn saw(&self, what: impl Into<String>) {
        let what = what.into();
        let seen = &mut self.seen_files.borrow_mut().seen;
        if !seen.contains(&what) {
            seen.push(what);
        }
    }

    /// Keeps the error for the case that nothing else makes an app; the first one counts.
    pub(super) fn refuse(&self, error: DetectError) {
        self.seen_files.borrow_mut().refusal.get_or_insert(error);
    }

    /// The notes of what was seen, when nothing was recognised.
    ///
    /// # Errors
    /// The error that was kept.
    pub(super) fn end_looking(&self) -> Result<Vec<String>, DetectError> {
        let SeenFiles { seen, refusal } = self.seen_files.take();
        refusal.map_or(Ok(seen), Err)
    }

    /// Whether an error was kept, so that from now on only what is surely an app may be taken.
    pub(super) fn has_refused(&self) -> bool {
        self.seen_files.borrow().refusal.is_some()
    }

    /// `PATH` with the app's own programs first, the nearest ones before those of the project.
    pub(super) fn local_programs(&self) -> Programs {
        let folders = self.roots.iter().flat_map(|root| LOCAL_PROGRAMS.map(|folder| root.join(folder)));
        let folders: Vec<_> = folders.collect();
        folders.iter().rev().fold(self.programs.clone(), |programs, folder| programs.preferring(folder))
    }

    /// The path of a plain file of that name, if there is one.
    pub(super) fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.dir.join(name);
        path.is_file().then_some(path)
    }

    /// The path of a program.
    ///
    /// # Errors
    /// When it is not installed, with what to install.
    pub(super) fn need(
        &self,
        programs: &Programs,
        program: &Program<'_>,
        needed_for: &str,
    ) -> Result<String, DetectError> {
        let path = programs.find(program.name).ok_or_else(|| program.missing(needed_for))?;
        path.into_os_string().into_string().map_err(|path| DetectError::NotUtf8(path.into()))
    }

    /// An answer of the usual form; the caller changes what differs.
    pub(super) fn found(
        &self,
        kind: &'static AppKind,
        why: String,
        argv: Vec<String>,
        entry: Option<&Path>,
    ) -> DetectedApp {
        DetectedApp {
            kind,
            why,
            command: LaunchCommand { argv, dir: self.dir.clone() },
            listen: kind.listens[0],
            entry: entry.map(Path::to_owned),
            env: Vec::new(),
            python_path: None,
            scripts: None,
            site: None,
            concurrency: kind.concurrency,
        }
    }
}

/// The way in which a server that listens by itself does so, as far as its text shows.
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

/// The folders of programs that an app brings along, in the order in which they are searched.
const LOCAL_PROGRAMS: [&str; 3] = ["node_modules/.bin", ".venv/bin", "venv/bin"];
