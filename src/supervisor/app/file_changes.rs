//! Owns what an app's task makes of changed files: whether that is news, and whether workers load them or a new
//! generation does.
//!
//! Never here: noticing that files change (`file_watch`), or carrying that out.

use tokio::sync::mpsc;

use crate::spec::{AppSpec, Reload, ReloadSignal};
use crate::supervisor::files::app_files::{ChangedPart, Fingerprint, WatchTargets};
use crate::supervisor::files::file_watch::{FileChange, FileWatch};
use crate::tasks::TaskGroup;

/// The files of an app.
pub(super) struct FileChanges {
    changes: mpsc::Sender<FileChange>,
    stop: TaskGroup,
    watch: Option<FileWatch>,
    /// The files as the latest deploy has read them.
    read: Option<Fingerprint>,
    /// A change that came while the app was being read.
    meanwhile: Option<FileChange>,
}

/// What a change of files asks for.
pub(super) enum FileAction {
    Nothing,
    /// The workers load the app anew by this signal.
    Reload(ReloadSignal),
    /// A new generation is to be made, for this reason.
    Deploy(&'static str),
}

/// What an app is doing when its files change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AppActivity {
    Serving,
    Reading,
    /// The app has a candidate, or no generation serves.
    Starting,
}

impl FileChanges {
    /// Looks at no files yet; changes are told to `changes`.
    pub(super) fn new(changes: mpsc::Sender<FileChange>, stop: TaskGroup) -> Self {
        Self { changes, stop, watch: None, read: None, meanwhile: None }
    }

    /// Looks at no files any more.
    pub(super) fn close(&mut self) {
        self.watch = None;
    }

    /// Looks at the files of the app as it was read.
    pub(super) fn look_at(&mut self, spec: &AppSpec) {
        if spec.upkeep.reload == Reload::None {
            self.watch = None;
            return;
        }
        let targets = WatchTargets::of(spec);
        if self.watch.as_ref().is_none_or(|watch| *watch.targets() != targets) {
            self.watch = Some(FileWatch::start(targets, self.read.clone(), self.changes.clone(), &self.stop));
        }
    }

    /// A deploy is about to read the app: what has changed before is no news after it.
    pub(super) fn begin_reading(&mut self) {
        self.meanwhile = None;
    }

    /// A deploy has read the app, its files being as they were `seen`.
    pub(super) fn note_read(&mut self, seen: Option<Fingerprint>) {
        self.read = seen;
    }

    /// The change that came while the app was being read: whether it is news can be told only now.
    pub(super) fn take_meanwhile(&mut self) -> Option<FileChange> {
        self.meanwhile.take()
    }

    /// What a change asks for.
    pub(super) fn action(&mut self, change: FileChange, spec: &AppSpec, activity: AppActivity) -> FileAction {
        if activity == AppActivity::Reading {
            self.meanwhile = Some(change);
            return FileAction::Nothing;
        }
        if self.watch.as_ref().is_none_or(|watch| *watch.targets() != change.targets) {
            // The deploy that has just read the app looks at other files now, and has begun with what it has read.
            return FileAction::Nothing;
        }
        if self.read.as_ref() == Some(&change.found) {
            tracing::debug!(app = %spec.name, "files changed before the last deploy read them: nothing to do");
            return FileAction::Nothing;
        }
        // A worker that looks for itself looks at its entry alone.
        let told = match change.what {
            ChangedPart::Entry => true,
            ChangedPart::Sources => spec.upkeep.reload_signal.is_some(),
            ChangedPart::Settings => false,
        };
        match spec.upkeep.reload {
            Reload::None => FileAction::Nothing,
            Reload::Module if told && activity == AppActivity::Serving => {
                spec.upkeep.reload_signal.map_or(FileAction::Nothing, FileAction::Reload)
            }
            Reload::Process | Reload::Module => FileAction::Deploy(match change.what {
                ChangedPart::Entry => "its entry changed",
                ChangedPart::Sources => "a file that `watch` names changed",
                ChangedPart::Settings => "its settings or its folder changed",
            }),
        }
    }
}
