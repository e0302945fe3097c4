//! Errors in words and files that people wrote, with texts by which they can put them right.
//!
//! Never here: printing. Every text shows what was read, where, and what would be right.

use std::io;
use std::path::PathBuf;

use super::value_origin::ValueOrigin;
use crate::name::InstanceName;
use crate::spec::CertFiles;
use crate::spec::asked_apps::AuthCircle;

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A word of the command line that means nothing.
    #[error("unknown word `{word}`{}", with_hint(.hint))]
    UnknownWord { word: String, hint: Option<String> },
    /// A flag that needs a value and has none.
    #[error("`{word}` needs a value: {right}")]
    MissingValue { word: String, right: String },
    /// A flag that takes no value and has one.
    #[error("`{word}` takes no value: write `{right}`")]
    NeedlessValue { word: String, right: String },
    /// The same thing was said twice.
    #[error("`{first}` and `{second}` say the same thing twice ({what}): keep one of them")]
    Twice {
        first: String,
        second: String,
        /// The setting that both set.
        what: String,
    },
    /// Two settings exclude each other.
    #[error("{first} and {second} exclude each other: {why}")]
    Conflict {
        /// The first setting, and where it stands.
        first: String,
        /// The second setting, and where it stands.
        second: String,
        /// Why they exclude each other, and what to do.
        why: String,
    },
    /// Apps would be asked about their own requests.
    #[error("{0}")]
    AuthCircle(AuthCircle),
    /// A setting needs another one.
    #[error("{first} needs {second} too")]
    Incomplete {
        /// The setting that is there, and where it stands.
        first: String,
        second: String,
    },
    /// A value that its setting does not take.
    #[error("{}: read `{read}`, expected {right}", place(.origin, .key))]
    Value { origin: ValueOrigin, key: String, read: String, right: String },
    /// A word that looks like a path to an app and leads nowhere.
    #[error("no such file or directory: `{word}` (the app to run; `{first}` is looked for)")]
    NoSuchPath {
        word: String,
        /// The path that was looked for first.
        first: String,
    },
    #[error("no app given: name its directory or entry file\n\n{usage}")]
    NoApp { usage: String },
    /// A command that needs a host has none.
    #[error("`{command}` needs a host name: `rip-server {command} blog.example`")]
    NoHost { command: String },
    /// No running server could be meant.
    #[error("which server? {found}: name its app's directory, or say --instance=NAME")]
    WhichServer { found: String },
    /// The name of an instance leads out of the folder of apps.
    #[error("instance `{instance}` stands for the path `{path}`, which leaves {root}")]
    Escapes {
        instance: String,
        path: String,
        /// The folder of apps.
        root: PathBuf,
    },
    /// The name of an instance may stand for more than one existing folder.
    #[error(
        "instance `{instance}` may stand for {}, and all of these are there: name the app's path in the config file \
         (`app = \"{}\"`), or call the instance `{dash}`, where each dash is part of a name, as `systemd-escape` writes it",
        paths(.there), .there.last().map(|path| path.display().to_string()).unwrap_or_default()
    )]
    SeveralFolders {
        instance: String,
        there: Vec<PathBuf>,
        /// The name whose dashes stand for dashes.
        dash: String,
    },
    /// A key that no setting has.
    #[error("{origin}: unknown key `{key}`{}", with_hint(.hint))]
    UnknownKey {
        origin: ValueOrigin,
        key: String,
        /// The key that was probably meant, or where this key may stand.
        hint: Option<String>,
    },
    /// The file is not TOML.
    #[error("{origin}: {message}")]
    Syntax { origin: ValueOrigin, message: String },
    /// A file cannot be read.
    #[error("cannot read {what} {}: {source}", .path.display())]
    Unreadable {
        /// The file's purpose.
        what: String,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The server's user may not read the certificate or its key.
    #[error(
        "cannot read {what} {}: the user {user}, which this server runs as, has no right to, or none to pass a folder that \
         leads there. Give its group the right (`chgrp` and `chmod 640`, for folders 750). Or have systemd hand it over, \
         which reads it as root: `systemctl edit rip-server@{instance}.service`, and there\n\n[Service]\n\
         LoadCredential=tls.crt:{}\nLoadCredential=tls.key:{}\n\
         Environment=RIP_TLS_CERT=%d/tls.crt RIP_TLS_KEY=%d/tls.key\n",
        .path.display(), .files.cert.display(), .files.key.display()
    )]
    Forbidden {
        /// The file's purpose.
        what: String,
        /// The file.
        path: PathBuf,
        /// The user that may not read it.
        user: String,
        instance: InstanceName,
        /// Both files of the pair.
        files: Box<CertFiles>,
    },
    /// The path is too long for a Unix socket.
    #[error("{}: a socket's path may have {MAX_SOCKET_PATH} bytes, this one has {length}: choose a shorter --runtime-dir", .path.display())]
    LongSocket {
        path: PathBuf,
        /// The path's length in bytes.
        length: usize,
    },
    /// There is no folder for files of this kind.
    #[error("no place for {what}: {why}")]
    NoFolder {
        what: String,
        /// Why there is none, and what to do.
        why: String,
    },
}

impl ConfigError {
    /// The exit code of the program: 2, bad usage or config.
    pub(crate) fn exit_code(&self) -> u8 {
        2
    }
}

/// The longest path, in bytes, that a Unix socket can be bound to: `sun_path` without its final NUL.
pub(super) const MAX_SOCKET_PATH: usize = 107;

/// A setting with its place, as conflicts show it: `` `--cert=a.pem` `` or `tls.cert (/etc/x.toml:3:1)`.
pub(crate) fn named(key: &str, origin: &ValueOrigin) -> String {
    match origin {
        ValueOrigin::Flag(word) => format!("`{word}`"),
        ValueOrigin::Env(name) => format!("`{name}`"),
        _ => format!("`{key}` ({origin})"),
    }
}

fn place(origin: &ValueOrigin, key: &str) -> String {
    match origin {
        ValueOrigin::Flag(word) => format!("`{word}`"),
        ValueOrigin::Env(name) => format!("environment variable {name}"),
        ValueOrigin::Default => format!("default of {key}"),
        ValueOrigin::File { .. } | ValueOrigin::AppFile { .. } => format!("{origin}: {key}"),
    }
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ")
}

fn with_hint(hint: &Option<String>) -> String {
    hint.as_ref().map(|hint| format!(": {hint}")).unwrap_or_default()
}
