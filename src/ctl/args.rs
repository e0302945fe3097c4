//! Owns the command line of `rip-serverctl`: the verbs with what goes with each, and the text around them.
//!
//! Never here: a verb (`verbs`).

use clap::Parser;

use super::common_args::CommonArgs;
use super::verbs::Verb;

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
pub(super) struct CtlArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

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
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;
    use crate::name::AppName;

    fn parse(words: &str) -> Result<CtlArgs, clap::Error> {
        CtlArgs::try_parse_from(["rip-serverctl"].into_iter().chain(words.split_whitespace()))
    }

    #[test]
    fn the_table_of_words_is_sound() {
        CtlArgs::command().debug_assert();
    }

    #[test]
    fn the_app_may_be_left_out_before_the_count() {
        for (words, expected) in [("scale 2x", (None, "2x")), ("scale api 4", (Some("api"), "4"))] {
            let Verb::Scale(scale) = parse(words).unwrap().verb else { panic!("{words}") };
            assert_eq!((scale.app.as_ref().map(AppName::as_str), scale.count.as_str()), expected, "{words}");
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
        let Verb::Check(check) = parse("check ./app w:2 --hsts").unwrap().verb else { panic!() };
        assert_eq!(check.args, ["./app", "w:2", "--hsts"]);
    }
}
