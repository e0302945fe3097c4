//! Owns the words by which the program is told its task: its commands, the pages that it prints, the inner programs.
//!
//! Never here: doing it, or the settings that stand beside a command (`tokens`).

use std::ffi::OsString;
use std::str::FromStr;

use clap_complete::Shell;

use crate::config::error::ConfigError;
use crate::config::value_origin::ValueOrigin;
use crate::name::RouteName;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GeneratedDoc {
    Help,
    Version,
    Completions(Shell),
    Manual,
    FileManual,
    DefaultConfig,
}

/// An inner program, which the server starts itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InnerProgram {
    /// `worker-exec`: the shim in front of a worker.
    Exec,
    /// `worker-static`: the built-in worker that serves files.
    Static,
    /// `worker-guard`: ends the workers when the server was killed.
    Guard,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subcommand {
    /// Serve.
    Run,
    /// Say what would be run.
    Check,
    /// Ask the running server to stop.
    Stop,
    /// Show the hosts of the running server.
    List,
    /// Add a host to the running server.
    Add(RouteName),
    /// Remove a host from the running server.
    Remove(RouteName),
}

/// The commands, each with its sentence for help.
pub(crate) const COMMANDS: &[(&str, &str)] = &[
    (
        "check",
        "show what would be run and which settings were said where, and run nothing; --all: defaults, too",
    ),
    ("list", "show the hosts of the running server"),
    ("add", "add HOST to the running server"),
    ("remove", "remove HOST from the running server"),
    ("stop", "stop the running server"),
];

/// Verbs of `rip-serverctl` that `rip-server` hands over to it with all their words.
pub(crate) const VERBS: &[(&str, &str)] = &[
    ("status", "show what the running server does, and why"),
    ("workers", "show its workers and the requests that they have in hand"),
    ("logs", "show the lines that the workers wrote"),
    ("deploy", "start a new version beside the old one, and replace it when ready"),
    ("promote", "give the version that is held for some clients to all"),
    ("abort", "give the version that is held for some clients to none"),
    ("rollback", "go back to the version that served before"),
    ("scale", "change how many workers an app has"),
    ("pause", "let the requests of HOST wait"),
    ("resume", "serve HOST again"),
    ("maintenance", "answer the requests of HOST with 503 and a page"),
    ("drain", "have balancers send requests elsewhere"),
    ("undrain", "have balancers send requests here again"),
    ("metrics", "print the metrics as Prometheus reads them"),
    ("passwd", "write a user and a password into a file, for the setting auth"),
];

/// The words that print something for packagers and shells.
pub(crate) const PAGES: &[(&str, &str)] = &[
    ("completions", "print completions for SHELL: bash, elvish, fish, powershell or zsh"),
    ("man", "print the manual page; man rip-server.toml: that of config files"),
    ("default-config", "print a config file with every key, commented out"),
];

/// The page that these words ask for; `--help` and `--version` win over all other words.
///
/// # Errors
/// For completions of an unknown shell.
pub(crate) fn page(words: &[OsString]) -> Result<Option<GeneratedDoc>, ConfigError> {
    if words.iter().any(|word| word == "--help" || word == "-h") {
        return Ok(Some(GeneratedDoc::Help));
    }
    if words.iter().any(|word| word == "--version" || word == "-V") {
        return Ok(Some(GeneratedDoc::Version));
    }
    match words {
        [first, ..] if first == "help" => Ok(Some(GeneratedDoc::Help)),
        [only] if only == "version" => Ok(Some(GeneratedDoc::Version)),
        [only] if only == "man" => Ok(Some(GeneratedDoc::Manual)),
        [man, page] if man == "man" && page == "rip-server.toml" => Ok(Some(GeneratedDoc::FileManual)),
        [only] if only == "default-config" => Ok(Some(GeneratedDoc::DefaultConfig)),
        [first, rest @ ..] if first == "completions" => {
            let read = rest.first().map(|shell| shell.to_string_lossy()).unwrap_or_default();
            let shell = Shell::from_str(&read).map_err(|_| ConfigError::Value {
                origin: ValueOrigin::Flag(format!("completions {read}").trim_end().into()),
                key: "completions".into(),
                read: read.into(),
                right: "bash, elvish, fish, powershell or zsh".into(),
            })?;
            Ok(Some(GeneratedDoc::Completions(shell)))
        }
        _ => Ok(None),
    }
}

/// The first words of the inner programs.
pub(crate) const INNER: &[(&str, InnerProgram)] = &[
    ("worker-exec", InnerProgram::Exec),
    ("worker-static", InnerProgram::Static),
    ("worker-guard", InnerProgram::Guard),
];
