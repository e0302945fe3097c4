//! Owns the suggestions for a verb that does not exist.
//!
//! Never here: the verbs themselves (`args`), or what other programs call them (`config::peers`).

use clap::CommandFactory;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, Error};

use crate::config::words::peers;
use crate::config::words::peers::PeerVerb;

use super::args::CtlArgs;

/// The parser's error with the suggestions of this module. The parser knows neither what other programs call a verb nor
/// which verbs do harm: it suggests `stop` for `top`.
pub(super) fn without_harm(mut error: Error) -> Error {
    error.remove(ContextKind::SuggestedSubcommand);
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand).cloned() else {
        return error;
    };
    error.remove(ContextKind::Suggested);
    let tip = |text: String| ContextValue::StyledStrs(vec![StyledStr::from(text)]);
    match peers::verb(&word) {
        Some(PeerVerb::Is(ours)) => {
            error.insert(ContextKind::Suggested, tip(format!("here it is '{ours}'")));
        }
        Some(PeerVerb::Start) => {
            let text = "a server is started by 'rip-server APP', or 'systemctl start rip-server@NAME'";
            error.insert(ContextKind::Suggested, tip(text.into()));
        }
        None => {
            let program = CtlArgs::command();
            let verbs: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).collect();
            if let Some(near) = peers::slip(&word, verbs) {
                let near = ContextValue::Strings(vec![near.into()]);
                error.insert(ContextKind::SuggestedSubcommand, near);
            }
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn suggestion(words: &[&str]) -> String {
        let args = ["rip-serverctl"].iter().chain(words);
        without_harm(CtlArgs::try_parse_from(args).unwrap_err()).to_string()
    }

    #[test]
    fn what_other_programs_call_a_verb_leads_to_ours() {
        for (word, ours) in [
            ("ps", "workers"),
            ("top", "workers"),
            ("restart", "deploy"),
            ("reload", "deploy"),
            ("ls", "list"),
            ("tail", "logs"),
            ("kill", "stop"),
        ] {
            assert!(
                suggestion(&[word]).contains(&format!("here it is '{ours}'")),
                "{word}: {}",
                suggestion(&[word])
            );
        }
        assert!(suggestion(&["start"]).contains("'rip-server APP'"));
    }

    #[test]
    fn no_slip_of_the_keyboard_is_answered_with_a_verb_that_does_harm() {
        for words in [
            &["top"][..],
            &["stp"],
            &["sto"],
            &["remov"],
            &["paus"],
            &["maintenence"],
            &["--no-wait"],
            &["--no-wai"],
        ] {
            let suggestion = suggestion(words);
            for harm in ["'stop", "'remove", "'pause", "'maintenance", "stop --no-wait"] {
                assert!(!suggestion.contains(harm), "{words:?}: {suggestion}");
            }
        }
        assert!(suggestion(&["statsu"]).contains("'status'"), "{}", suggestion(&["statsu"]));
    }
}
