//! One app folder that is looked at: what is in it, what it brings along, and what was seen in vain.
//!
//! Never here: what makes a folder an app (`kinds`).

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::detected_app::{DetectError, DetectedApp, Hints, LaunchCommand};
use super::kind::AppKind;
use super::programs::{Program, Programs};
use super::project;
use crate::spec::Listen;

/// One app folder that is looked at.
pub(super) struct AppFolder<'a> {
    pub(super) dir: PathBuf,
    pub(super) hints: &'a Hints<'a>,
    pub(super) programs: Programs,
    /// The folder and those above it up to its project's, in which what it brings along may be.
    pub(super) roots: Vec<PathBuf>,
    seen_files: RefCell<SeenFiles>,
}

/// What was looked at in vain.
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

    /// Keeps what is there and why it was not enough, for the person who is told that nothing was recognised.
    pub(super) fn saw(&self, what: impl Into<String>) {
        let what = what.into();
        let seen = &mut self.seen_files.borrow_mut().seen;
        if !seen.contains(&what) {
            seen.push(what);
        }
    }

    /// Keeps the error that is told when nothing else makes an app either; the first counts.
    pub(super) fn refuse(&self, error: DetectError) {
        self.seen_files.borrow_mut().refusal.get_or_insert(error);
    }

    /// What was seen, when nothing was recognised.
    ///
    /// # Errors
    /// What was refused.
    pub(super) fn end_looking(&self) -> Result<Vec<String>, DetectError> {
        let SeenFiles { seen, refusal } = self.seen_files.take();
        refusal.map_or(Ok(seen), Err)
    }

    /// Whether something was refused, so that only what is surely an app may be taken now.
    pub(super) fn has_refused(&self) -> bool {
        self.seen_files.borrow().refusal.is_some()
    }

    /// `PATH` with the app's own programs first, those nearest to it before those of its project.
    pub(super) fn local_programs(&self) -> Programs {
        let folders = self.roots.iter().flat_map(|root| LOCAL_PROGRAMS.map(|folder| root.join(folder)));
        let folders: Vec<_> = folders.collect();
        folders.iter().rev().fold(self.programs.clone(), |programs, folder| programs.preferring(folder))
    }

    /// The file of that name, when it is one.
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

    /// An answer of the usual form; what differs is changed by the caller.
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

/// Folders of programs that an app brings along, in the order in which they are searched.
const LOCAL_PROGRAMS: [&str; 3] = ["node_modules/.bin", ".venv/bin", "venv/bin"];
