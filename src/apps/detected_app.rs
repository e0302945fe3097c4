//! The input and the result of detection.
//!
//! Never here: looking at a file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::kind::{AppKind, word};
use crate::spec::Listen;

/// How an app is run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetectedApp {
    pub(crate) kind: &'static AppKind,
    /// A sentence for the person who started the app: `Ruby app: config.ru found, run by puma`.
    pub(crate) why: String,
    /// The program, and the folder that it runs in.
    pub(crate) command: LaunchCommand,
    /// How the app gets its listener.
    pub(crate) listen: Listen,
    /// The file whose modification time means "changed"; `None` where files are read fresh for each request.
    pub(crate) entry: Option<PathBuf>,
    /// The variables that the app needs for this way of running; those that the operator sets win over them.
    pub(crate) env: Vec<(String, String)>,
    /// The folder in which a Python of the command has to look for modules before those of any other `PYTHONPATH`.
    pub(crate) python_path: Option<PathBuf>,
    /// The folder within the app's in which requests reach scripts and files; `None`: the workers see to that.
    pub(crate) scripts: Option<PathBuf>,
    /// The folder that the static worker serves; `None`: another program runs.
    pub(crate) site: Option<PathBuf>,
    /// How many requests a worker takes at the same time by nature.
    pub(crate) concurrency: u32,
}

/// A program with its arguments, and the folder it runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LaunchCommand {
    /// The program, as an absolute path, and its arguments.
    pub(crate) argv: Vec<String>,
    pub(crate) dir: PathBuf,
}

/// The operator's settings of the app, and the machine as far as detection looks at it.
#[derive(Clone, Debug)]
pub(crate) struct Hints<'a> {
    pub(crate) command: Option<Vec<String>>,
    pub(crate) listen: Option<Listen>,
    pub(crate) static_root: Option<StaticHint>,
    /// The folder in which [`worker_scripts::install`](super::worker_scripts::install) puts the worker scripts.
    pub(crate) runtime_dir_for_scripts: &'a Path,
    /// The `PATH` in which runtimes are looked up.
    pub(crate) path_env: OsString,
    /// The `rip-server` program itself, which is the static worker too.
    pub(crate) self_exe: PathBuf,
    /// `concurrency` of the config.
    pub(crate) concurrency: Option<NonZeroU32>,
    /// `php.root` of the config.
    pub(crate) php_root: Option<&'a Path>,
    /// `php.ini` of the config.
    pub(crate) php_ini: &'a BTreeMap<String, String>,
    /// Whether requests may come through trusted proxies, so that the client is not the last address of
    /// `X-Forwarded-For`.
    pub(crate) behind_proxies: bool,
}

/// `static` of the config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StaticHint {
    /// The folder, relative to the app; the app itself when it is not given.
    pub(crate) root: Option<PathBuf>,
    /// The file that stands for a folder; `index.html` when it is not given.
    pub(crate) index: Option<String>,
    /// The file that answers for every unknown page, relative to the root.
    pub(crate) spa: Option<String>,
}

/// Why a path cannot be run as an app.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DetectError {
    /// The path does not exist or may not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The path cannot be handed to a program as text.
    #[error("the path `{}` is not UTF-8: rename the folder", .0.display())]
    NotUtf8(PathBuf),
    /// A directory in which nothing was recognised.
    #[error(
        "`{}` is not an app that can be recognised. {}Looked for, in this order: {looks_for}. \
         Add one of these, or a rip.toml with `command = [\"program\", \"argument\"]`",
        folder.display(),
        said(.seen)
    )]
    Nothing {
        folder: PathBuf,
        /// The things that are in the directory, each with the reason why it was not enough.
        seen: Vec<String>,
        /// The things that would have been recognised.
        looks_for: String,
    },
    /// A directory that has a server for its developer and nothing else.
    #[error(
        "`{}` is not run by its package.json: scripts.start is `{line}`, and {words} is for development: {instead}",
        folder.display()
    )]
    Development {
        folder: PathBuf,
        line: String,
        /// The words that say so, in the line or in a script that it runs.
        words: String,
        instead: String,
    },
    /// A page that no browser can show before it is built.
    #[error(
        "`{}` is the source of a page and not the page: {why}. Run `{build}`; the folder that it writes is then served. \
         To serve it as it is, say in rip.toml: `static.root = \"{root}\"`",
        page.display()
    )]
    Unbuilt {
        page: PathBuf,
        why: String,
        build: String,
        /// The site's folder, as the app's settings would name it.
        root: String,
    },
    /// A file that no known program runs.
    #[error(
        "`{}` is neither executable nor of a kind that can be run: expected a program (chmod +x), or a file that ends \
         in {suffixes}",
        path.display()
    )]
    NotRunnable { path: PathBuf, suffixes: String },
    /// The program that runs this kind of app is not installed.
    #[error("`{runtime}` is needed to run {needed_for}: {install}")]
    MissingRuntime {
        runtime: String,
        needed_for: String,
        /// How to install it, as a command where there is one.
        install: &'static str,
    },
    /// `command` is an empty list.
    #[error("`command` is empty: expected a program and its arguments, as in [\"./server\", \"--quiet\"]")]
    EmptyCommand,
    /// A `package.json` that cannot be read as one.
    #[error("`{}` is not valid: {source}", path.display())]
    PackageJson { path: PathBuf, source: serde_json::Error },
    /// A `Procfile` without a usable `web:` line.
    #[error("`{}` has no `web:` line: expected one like `web: ./server --port $PORT`", .0.display())]
    Procfile(PathBuf),
    /// A static root or file that is not there.
    #[error("the static {what} `{}` does not exist", path.display())]
    Static { what: &'static str, path: PathBuf },
    /// A folder for PHP that is not there, or has no front controller.
    #[error("`php.root` is `{}`, {why}: expected a folder of the app with an index.php in it, such as `public`", path.display())]
    PhpRoot { path: PathBuf, why: &'static str },
    /// `listen` names a way in which this kind of app cannot listen.
    #[error("`listen = \"{}\"` does not fit {kind}, which is run with {}", word(*.asked), words(kind.listens))]
    Listen { asked: Listen, kind: &'static AppKind },
}

fn said(seen: &[String]) -> String {
    seen.iter().map(|what| format!("Seen: {what}. ")).collect()
}

fn words(listens: &[Listen]) -> String {
    listens.iter().map(|listen| format!("`{}`", word(*listen))).collect::<Vec<_>>().join(" or ")
}
