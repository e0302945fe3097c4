//! Owns what an app's task makes of changed files: whether a change is news, and whether workers load it or a new
//! generation does.
//!
//! Never here: noticing that files change (`file_watch`), or carrying the action out.

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
    /// The state of the files that the latest deploy has read.
    read: Option<Fingerprint>,
    /// A change that came while the app was being read.
    meanwhile: Option<FileChange>,
}

/// The action that a change of files causes.
pub(super) enum FileAction {
    Nothing,
    /// The workers get this signal and load the app anew.
    Reload(ReloadSignal),
    /// A new generation is made, for this reason.
    Deploy(&'static str),
}

/// The activity of an app at the moment when its files change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AppActivity {
    Serving,
    Reading,
    /// The app has a candidate, or no generation serves.
    Starting,
}

impl FileChanges {
    /// Starts without files; changes are sent to `changes`.
    pub(super) fn new(changes: mpsc::Sender<FileChange>, stop: TaskGroup) -> Self {
        Self { changes, stop, watch: None, read: None, meanwhile: None }
    }

    /// Stops watching files.
    pub(super) fn close(&mut self) {
        self.watch = None;
    }

    /// Watches the files of the app as it was read.
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

    /// Notes that a deploy is about to read the app: changes before that are no news after it.
    pub(super) fn begin_reading(&mut self) {
        self.meanwhile = None;
    }

    /// Notes that a deploy has read the app, whose files had the state `seen`.
    pub(super) fn note_read(&mut self, seen: Option<Fingerprint>) {
        self.read = seen;
    }

    /// Takes the change that came while the app was being read: only now can it be judged.
    pub(super) fn take_meanwhile(&mut self) -> Option<FileChange> {
        self.meanwhile.take()
    }

    /// The action for a change.
    pub(super) fn action(&mut self, change: FileChange, spec: &AppSpec, activity: AppActivity) -> FileAction {
        if activity == AppActivity::Reading {
            self.meanwhile = Some(change);
            return FileAction::Nothing;
        }
        if self.watch.as_ref().is_none_or(|watch| *watch.targets() != change.targets) {
            // The deploy that has just read the app watches other files now, and has begun with what it has read.
            return FileAction::Nothing;
        }
        if self.read.as_ref() == Some(&change.found) {
            tracing::debug!(app = %spec.name, "files changed before the last deploy read them: nothing to do");
            return FileAction::Nothing;
        }
        // A worker that watches files itself watches only its entry.
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
