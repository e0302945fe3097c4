//! Owns the flags that go with every verb.
//!
//! Never here: the verbs (`verbs`).

use std::path::PathBuf;
use std::time::Duration;

use anstream::ColorChoice;
use clap::{Args, ValueEnum};

use crate::name::InstanceName;

/// The flags that go with every verb.
#[derive(Debug, Args)]
pub(super) struct CommonArgs {
    /// Print JSON: what the server answered, or {"ok":false,"error":{"code","message","hint"}}
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// The instance to talk to, when several run here
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "socket")]
    pub(super) instance: Option<InstanceName>,
    /// The control socket to talk to
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// Give up after so many seconds [default: 10; deploy and logs -f: none; stop: twice the server's drain and 15]
    #[arg(long, global = true, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=MAX_TIMEOUT))]
    timeout: Option<u64>,
    /// Colours; auto: only on a terminal and without NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Colour,
}

impl CommonArgs {
    /// How long the person wants to wait, if they said so.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout.map(Duration::from_secs)
    }

    /// Whether to colour what is shown.
    pub(super) fn color(&self) -> ColorChoice {
        match self.color {
            Colour::Auto => ColorChoice::Auto,
            Colour::Always => ColorChoice::Always,
            Colour::Never => ColorChoice::Never,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

const MAX_TIMEOUT: u64 = 7 * 24 * 60 * 60;
