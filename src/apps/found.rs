//! What detection is told and what it answers.
//!
//! Never here: looking at a file.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// How an app is run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What sort of app this is.
    pub kind: Kind,
    /// One sentence for the person who started it: `Ruby app: config.ru found, run by puma`.
    pub why: String,
    /// The program and where it runs.
    pub command: Launch,
    /// How the app gets its listener.
    pub listen: Listen,
    /// The file whose modification time means "changed"; `None` where files are read fresh for each request.
    pub entry: Option<PathBuf>,
    /// Which sign of readiness may be believed.
    pub ready_by: ReadyBy,
    /// Environment the app needs for this way of running; what the operator sets wins over it.
    pub env: Vec<(String, String)>,
    /// The folder that a Python in the command has to look for modules in before those of any other `PYTHONPATH`.
    pub python_path: Option<PathBuf>,
    /// Requests at once that this kind takes by nature, where that is more than one.
    pub concurrency: Option<u32>,
}

/// The sort of app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `command` of `rip.toml` or of the server's config.
    Command,
    /// The `web:` line of a `Procfile`.
    Procfile,
    /// `scripts.start` of a `package.json`.
    PackageJson,
    /// A program or a script with an interpreter line.
    Executable,
    /// A module for Node that exports a function of a `Request`.
    NodeHandler,
    /// The same for Bun.
    BunHandler,
    /// A script for Node that listens by itself.
    NodeServer,
    /// The same for Bun.
    BunServer,
    /// A Python WSGI application, run by gunicorn.
    PythonWsgi,
    /// A Python ASGI application, run by uvicorn.
    PythonAsgi,
    /// A Python script that listens by itself.
    PythonServer,
    /// A Rack application, run by puma.
    Ruby,
    /// Files, served by the built-in static worker.
    Static,
}

/// A program with its arguments, and the folder it runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The program, as an absolute path, and its arguments.
    pub argv: Vec<String>,
    /// Working directory.
    pub dir: PathBuf,
}

/// How an app gets its listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    /// A listening Unix socket as file descriptor 3, with `LISTEN_FDS=1`.
    Fd,
    /// The app binds `$RIP_SOCKET`.
    Path,
    /// The app binds 127.0.0.1 on `$PORT`.
    Port,
}

/// Which sign of readiness may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadyBy {
    /// `READY=1` or the first good answer, whichever comes first: the program says `READY=1` once the app is loaded.
    NotifyOrAnswer,
    /// Only an answer: a server in between may say `READY=1` before the app behind it is loaded, as gunicorn does.
    Answer,
}

/// What the operator said about the app, and the machine as far as detection looks at it.
#[derive(Clone, Debug)]
pub struct Hints<'a> {
    /// `command` of the config.
    pub command: Option<Vec<String>>,
    /// `listen` of the config.
    pub listen: Option<Listen>,
    /// `static` of the config.
    pub static_root: Option<StaticHint>,
    /// Where [`runtimes::install`](super::runtimes::install) puts the worker scripts.
    pub runtime_dir_for_scripts: &'a Path,
    /// The `PATH` in which runtimes are looked up.
    pub path_env: OsString,
    /// The `rip-server` program itself, which is the static worker too.
    pub self_exe: PathBuf,
    /// Whether requests may come through proxies whose word is taken, so that the client is not the last address of
    /// `X-Forwarded-For`.
    pub behind_proxies: bool,
}

/// `static` of the config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticHint {
    /// The folder, relative to the app; the app itself when not given.
    pub root: Option<PathBuf>,
    /// The file that stands for a folder; `index.html` when not given.
    pub index: Option<String>,
    /// The file that answers for every unknown page, relative to the root.
    pub spa: Option<String>,
}

/// Why a path cannot be run as an app.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The path does not exist or may not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path cannot be handed to a program as text.
    #[error("the path `{}` is not UTF-8: rename the folder", .0.display())]
    NotUtf8(PathBuf),
    /// A directory in which nothing was recognised.
    #[error(
        "`{}` is not an app that can be recognised. {}Looked for, in this order: {LOOKED_FOR}. \
         Add one of these, or a rip.toml with `command = [\"program\", \"argument\"]`",
        folder.display(),
        said(.seen)
    )]
    Nothing {
        /// The directory.
        folder: PathBuf,
        /// What is there, and why it was not enough.
        seen: Vec<String>,
    },
    /// A directory that has a server for its developer and nothing else.
    #[error(
        "`{}` is not run by its package.json: scripts.start is `{line}`, and {words} is for development: {instead}",
        folder.display()
    )]
    Development {
        /// The directory.
        folder: PathBuf,
        /// The line of its start script.
        line: String,
        /// The words of it, or of what it runs, that say so.
        words: String,
        /// What to do instead.
        instead: String,
    },
    /// A page that no browser can show before it is built.
    #[error(
        "`{}` is the source of a page and not the page: {why}. Run `{build}`; the folder that it writes is then served. \
         To serve it as it is, say in rip.toml: `static.root = \"{root}\"`",
        page.display()
    )]
    Unbuilt {
        /// The page.
        page: PathBuf,
        /// What in it says so.
        why: String,
        /// What builds it.
        build: String,
        /// Its folder, as the app's settings would name it.
        root: String,
    },
    /// A file that nothing is known to run.
    #[error(
        "`{}` is neither executable nor of a kind that can be run: expected a program (chmod +x), \
         .rip, .ts, .js, .mjs, .cjs, .py, .rb, .ru or .html",
        .0.display()
    )]
    NotRunnable(PathBuf),
    /// The program that runs this kind of app is not installed.
    #[error("`{runtime}` is needed to run {needed_for}: {install}")]
    MissingRuntime {
        /// The program.
        runtime: String,
        /// What needs it.
        needed_for: String,
        /// How to get it, as a command where there is one.
        install: &'static str,
    },
    /// `command` is an empty list.
    #[error("`command` is empty: expected a program and its arguments, as in [\"./server\", \"--quiet\"]")]
    EmptyCommand,
    /// A `package.json` that cannot be read as one.
    #[error("`{}` is not valid: {source}", path.display())]
    PackageJson {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: serde_json::Error,
    },
    /// A `Procfile` without a usable `web:` line.
    #[error("`{}` has no `web:` line: expected one like `web: ./server --port $PORT`", .0.display())]
    Procfile(PathBuf),
    /// A static root or file that is not there.
    #[error("the static {what} `{}` does not exist", path.display())]
    Static {
        /// Which setting it comes from.
        what: &'static str,
        /// The path it led to.
        path: PathBuf,
    },
    /// `listen` says what this kind of app cannot do.
    #[error("`listen = \"{asked}\"` does not fit {kind}, which is run with {}", words(works))]
    Listen {
        /// What was asked.
        asked: Listen,
        /// The kind found.
        kind: Kind,
        /// What works.
        works: &'static [Listen],
    },
}

/// Requests at once for programs that are concurrent by nature: event loops that go on to the next request while one
/// waits. More than about 32 gains them nothing where requests only compute; where they wait for something else (long
/// polls, streams, other services) each place serves one more client, and costs a few ten KiB.
pub(super) const CONCURRENT: u32 = 64;

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fd => "fd",
            Self::Path => "path",
            Self::Port => "port",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "a command",
            Self::Procfile => "a Procfile",
            Self::PackageJson => "a package.json start script",
            Self::Executable => "an executable",
            Self::NodeHandler => "a Node handler",
            Self::BunHandler => "a Bun handler",
            Self::NodeServer => "a Node server",
            Self::BunServer => "a Bun server",
            Self::PythonWsgi => "a WSGI app",
            Self::PythonAsgi => "an ASGI app",
            Self::PythonServer => "a Python server",
            Self::Ruby => "a Rack app",
            Self::Static => "a static site",
        })
    }
}

impl Kind {
    /// Whether nothing that lives in a process of this kind is missed when the process is replaced: what it runs is
    /// made to be run by several processes that come and go.
    pub fn is_stateless(self) -> bool {
        match self {
            Self::NodeHandler
            | Self::BunHandler
            | Self::PythonWsgi
            | Self::PythonAsgi
            | Self::Ruby
            | Self::Static => true,
            Self::Command
            | Self::Procfile
            | Self::PackageJson
            | Self::Executable
            | Self::NodeServer
            | Self::BunServer
            | Self::PythonServer => false,
        }
    }

    /// Which sign of readiness may be believed: `READY=1` of the worker scripts and the static worker that ship with
    /// the server. Of anything else nobody knows who says it, and when.
    pub(super) fn ready_by(self) -> ReadyBy {
        match self {
            Self::NodeHandler | Self::BunHandler | Self::Static => ReadyBy::NotifyOrAnswer,
            Self::Command
            | Self::Procfile
            | Self::PackageJson
            | Self::Executable
            | Self::NodeServer
            | Self::BunServer
            | Self::PythonServer
            | Self::PythonWsgi
            | Self::PythonAsgi
            | Self::Ruby => ReadyBy::Answer,
        }
    }

    /// The ways of listening that this kind can be run with, the usual one first.
    pub fn listens(self) -> &'static [Listen] {
        match self {
            Self::Procfile | Self::PackageJson | Self::NodeServer | Self::BunServer => {
                &[Listen::Port, Listen::Fd, Listen::Path]
            }
            Self::Command | Self::Executable | Self::NodeHandler | Self::PythonServer => {
                &[Listen::Fd, Listen::Path, Listen::Port]
            }
            Self::BunHandler => &[Listen::Path, Listen::Port],
            Self::PythonWsgi | Self::PythonAsgi | Self::Ruby | Self::Static => &[Listen::Fd],
        }
    }
}

fn said(seen: &[String]) -> String {
    seen.iter().map(|what| format!("Seen: {what}. ")).collect()
}

fn words(listens: &[Listen]) -> String {
    listens.iter().map(|listen| format!("`{listen}`")).collect::<Vec<_>>().join(" or ")
}

const LOOKED_FOR: &str = "a Procfile with a `web:` line; package.json with scripts.start; an executable named \
     app, server or like the folder; index.rip, index.ts, index.js, index.mjs, index.cjs; server.js, server.mjs, \
     server.cjs, server.ts; `main` of package.json; asgi.py, wsgi.py, app.py, main.py, manage.py, a package with \
     create_app; config.ru, app.rb; index.html here or in public, dist, build, out, _site, site";
