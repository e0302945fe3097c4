//! Owns the words of `rip-serverctl`: its verbs, their arguments, their help.
//!
//! Never here: what a verb does.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anstream::ColorChoice;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::name::{AppName, HostName, InstanceName};

/// Everything a person typed.
#[derive(Debug, Parser)]
#[command(
    name = "rip-serverctl",
    version,
    about = "Looks at a running rip-server and changes what it does",
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 degraded, 4 no such host or app, 5 refused,\n\
                  6 config invalid, 7 server not running or reachable, 8 timed out. More: --help",
    after_long_help = LONG_HELP,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(super) struct Words {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// What goes with every verb.
#[derive(Debug, Args)]
pub(super) struct Common {
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
    color: Color,
}

impl Common {
    /// How long the person wants to wait, if they said so.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout.map(Duration::from_secs)
    }

    /// Whether to colour what is shown.
    pub(super) fn color(&self) -> ColorChoice {
        match self.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show the hosts, the app of each and what it does with requests
    List,
    /// Serve a host
    Add {
        /// The host name, or *.example.com for all names one label below
        host: HostName,
        /// The directory or entry file of its app [default: the instance's first app]
        #[arg(long, value_name = "DIR")]
        app: Option<PathBuf>,
    },
    /// Serve a host no longer; the last host of an app takes the app's workers with it
    Remove {
        /// The host name
        host: HostName,
    },
    /// Let a host's requests wait in the queue
    Pause {
        /// The host name
        host: HostName,
    },
    /// Serve a host's requests again
    Resume {
        /// The host name
        host: HostName,
    },
    /// Answer a host's requests with 503 and a page
    Maintenance {
        /// The host name
        host: HostName,
        /// A file of HTML that people are shown
        #[arg(long, value_name = "FILE")]
        page: Option<PathBuf>,
    },
    /// Show what the server is doing, and why; exits 3 when an app has no worker ready
    Status,
    /// Show the workers and the requests they have in hand
    Workers,
    /// Start a new version beside the old one, and replace it when ready; exits 0 only when the new one serves
    Deploy {
        /// The app [default: all]
        app: Option<AppName>,
    },
    /// Change how many workers an app has
    #[command(allow_missing_positional = true)]
    Scale {
        /// The app [default: the only one]
        app: Option<AppName>,
        /// half (of the cores), auto (one a core), 2x, 3x, or a number
        count: String,
    },
    /// Show what the workers wrote
    Logs {
        /// The app [default: all]
        app: Option<AppName>,
        /// How many of the last lines
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        lines: usize,
        /// Go on with new lines until interrupted
        #[arg(short, long)]
        follow: bool,
    },
    /// Stop the server: it finishes the requests in hand first
    Stop {
        /// Return as soon as the server has been told
        #[arg(long)]
        no_wait: bool,
    },
    /// Print the metrics as Prometheus reads them
    Metrics,
    /// Check a config file or an app, with no server running; prints the effective settings
    Check {
        /// What `rip-server` would be given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FILE or APP")]
        args: Vec<OsString>,
    },
    /// Print a completion script
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
    /// Print the versions of this program and of the server
    Version,
}

const MAX_TIMEOUT: u64 = 7 * 24 * 60 * 60;

const LONG_HELP: &str = "\
Finding the server:
  --socket PATH is taken as it is. --instance NAME is looked for as NAME.sock in
  /run/rip-server, $XDG_RUNTIME_DIR/rip-server and /run/user/UID/rip-server, as
  NAME/run.sock in $XDG_STATE_HOME/rip-server (~/.local/state/rip-server), as
  $RIP_RUNTIME_DIR.sock and as $RIP_STATE_DIR/run.sock. Without either, the one
  server that answers in these places is taken; when there are several, say
  which by --instance.

Exit codes:
  0  ok
  1  failed
  2  usage: the words make no sense
  3  degraded: an app has no worker ready (status only)
  4  no such host or app
  5  refused: no permission, or in conflict with what the server is doing
  6  config invalid (check and deploy)
  7  server not running, or not reachable
  8  timed out

Data goes to standard output, all else to standard error.

Examples:
  rip-serverctl status
  rip-serverctl --instance labs-api deploy
  rip-serverctl add blog.example --app /srv/rip/blog
  rip-serverctl workers --json | jq '.workers[] | select(.state == \"busy\")'";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &str) -> Result<Words, clap::Error> {
        Words::try_parse_from(["rip-serverctl"].into_iter().chain(words.split_whitespace()))
    }

    #[test]
    fn the_table_of_words_is_sound() {
        Words::command().debug_assert();
    }

    #[test]
    fn the_app_may_be_left_out_before_the_count() {
        for (words, expected) in [("scale 2x", (None, "2x")), ("scale api 4", (Some("api"), "4"))] {
            let Verb::Scale { app, count } = parse(words).unwrap().verb else { panic!("{words}") };
            assert_eq!((app.as_ref().map(AppName::as_str), count.as_str()), expected, "{words}");
        }
    }

    #[test]
    fn common_flags_stand_before_or_after_the_verb() {
        for words in ["--json --timeout 3 status", "status --json --timeout=3", "--json status --timeout 3"] {
            let common = parse(words).unwrap().common;
            assert_eq!((common.json, common.timeout()), (true, Some(Duration::from_secs(3))), "{words}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error_that_shows_it() {
        for (words, shown) in [
            ("", "Usage:"),
            ("lst", "'lst'"),
            ("add", "<HOST>"),
            ("add example.com:8443", "host name `example.com:8443` has a port"),
            ("add a b", "'b'"),
            ("status --timeout 0", "'0'"),
            ("status --instance a/b", "`a/b` is not a name"),
            ("status --instance a --socket b", "--socket"),
            ("scale", "<COUNT>"),
            ("logs -n many", "'many'"),
            ("completions tcsh", "'tcsh'"),
        ] {
            let error = parse(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words}");
            assert!(error.to_string().contains(shown), "{words}: {error}");
        }
    }

    #[test]
    fn what_follows_check_is_handed_on() {
        let Verb::Check { args } = parse("check ./app w:2 --hsts").unwrap().verb else { panic!() };
        assert_eq!(args, ["./app", "w:2", "--hsts"]);
    }
}
