//! A kind of app: the properties that every app of the kind has, whatever it was recognised by.
//!
//! Never here: a kind itself; each is a static in the file of its runtime (`kinds`).

use std::fmt;
use std::path::Path;

use super::production::{self, NODE, RACK, RAILS, Variable};
use crate::spec::{Listen, Protocol, ReadyBy, WorkerCount};

/// The properties that all apps of a kind have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AppKind {
    /// The kind within a sentence, with its article: `a Rack app`.
    pub(crate) name: &'static str,
    /// The ways of listening that apps of this kind can be run with, the usual one first.
    pub(crate) listens: &'static [Listen],
    /// The sign of readiness that counts when the operator names none.
    pub(crate) ready_by: ReadyBy,
    /// Whether `NOTIFY_SOCKET` is set although an answer decides. Off for servers that say `READY=1` before the app is
    /// loaded (gunicorn), or complain about the wish at each start (puma 5).
    pub(crate) asked_to_notify: bool,
    /// Whether nothing is lost when a process of this kind is replaced: its programs are made to be run by several
    /// processes that come and go.
    pub(crate) stateless: bool,
    /// How many requests a worker takes at the same time by nature.
    pub(crate) concurrency: u32,
    /// How many workers there are unless a setting says; `None`: as for most apps.
    pub(crate) workers: Option<WorkerCount>,
    /// The protocol of the kind's workers, whatever the settings say; `None`: that of the settings.
    pub(crate) protocol: Option<Protocol>,
    /// The variables that tell a runtime of this kind that it serves the public.
    pub(crate) production: &'static [Variable],
    /// Whether the server's own worker script runs the app and goes by `RIP_CONCURRENCY` and `RIP_RELOAD`.
    pub(crate) by_worker_script: bool,
    /// Whether the program that runs the app finds the client by `RIP_TRUSTED_PROXIES`.
    pub(crate) finds_client: bool,
}

impl AppKind {
    /// A program of which nothing is known; kinds say how they differ.
    pub(super) const PROGRAM: Self = Self {
        name: "a program",
        listens: &[Listen::Fd, Listen::Path, Listen::Port],
        ready_by: ReadyBy::Answer,
        asked_to_notify: true,
        stateless: false,
        concurrency: 1,
        workers: None,
        protocol: None,
        production: &[NODE, RACK, RAILS],
        by_worker_script: false,
        finds_client: false,
    };

    /// The variables that an app of this kind and in this folder gets, unless the operator gives others.
    pub(crate) fn production(&self, folder: &Path) -> Vec<Variable> {
        production::variables(self.production, folder)
    }

    /// Whether the app writes its pid to a file, in `PIDFILE` or else in its own folder. The `puma.rb` of `rails new`
    /// before 7.1 has puma do so, which ends where the folder cannot be written; `rails server` always does so, and
    /// ends where it finds the file of another worker.
    pub(crate) fn writes_pid_file(&self, folder: &Path) -> bool {
        self.production.contains(&RAILS) && production::is_rails(folder)
    }
}

impl fmt::Display for AppKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// How many requests at once programs take that are concurrent by nature: event loops that go on to the next request
/// while one waits. More than about 32 gains them nothing where requests only compute. Where requests wait for
/// something else (long polls, streams, other services), each place serves one more client, and costs a few ten KiB.
pub(super) const CONCURRENT: u32 = 64;

/// The word of the setting `listen`.
pub(super) fn word(listen: Listen) -> &'static str {
    match listen {
        Listen::Fd => "fd",
        Listen::Path => "path",
        Listen::Port => "port",
    }
}
