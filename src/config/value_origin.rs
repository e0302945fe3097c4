//! Where a value came from. Never here: what it means, or which of two wins (`layer`).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value came from, in falling order of precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ValueOrigin {
    /// A word of the command line.
    Flag(String),
    /// A variable of the environment.
    Env(String),
    /// The server's config file.
    File {
        path: Arc<Path>,
        /// The line, counted from 1.
        line: usize,
        /// The column in characters, counted from 1.
        column: usize,
    },
    /// The app's own `rip.toml`.
    AppFile {
        path: Arc<Path>,
        /// The line, counted from 1.
        line: usize,
        /// The column in characters, counted from 1.
        column: usize,
    },
    Default,
}

impl ValueOrigin {
    /// A stable word for machines: `flag`, `env`, `file`, `app-file` or `default`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Flag(_) => "flag",
            Self::Env(_) => "env",
            Self::File { .. } => "file",
            Self::AppFile { .. } => "app-file",
            Self::Default => "default",
        }
    }
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(word) => write!(f, "command line `{word}`"),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::File { path, line, column } | Self::AppFile { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    pub(crate) value: T,
    pub(crate) origin: ValueOrigin,
}

/// A setting in force, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effective {
    /// The setting's key as config files write it: `limits.head`, `workers`.
    pub(crate) key: String,
    /// The setting's value as config files write it; the values of an app's variables are hidden.
    pub(crate) value: String,
    pub(crate) origin: ValueOrigin,
}
