//! Owns the errors for unknown words of the command line: which word was probably meant, or which does the same.
//!
//! Never here: deciding that a word is unknown (`tokens`), or the words of other programs (`peers`).

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::command::{COMMANDS, PAGES, VERBS};
use super::peers;
use super::suggest::nearest;
use crate::config::error::ConfigError;
use crate::spec::settings::form::Form;
use crate::spec::settings::table::TABLE;

/// The error for a word without a dash; `named`: an app was named already.
pub(super) fn word(word: &OsStr, named: bool, exists: &dyn Fn(&Path) -> bool) -> ConfigError {
    let text = word.to_string_lossy().into_owned();
    let hint = hint(&text, named, exists);
    ConfigError::UnknownWord { word: text, hint: Some(hint) }
}

fn hint(text: &str, named: bool, exists: &dyn Fn(&Path) -> bool) -> String {
    if let Some(said) = peers::word(text, |file| exists(Path::new(file))) {
        return said;
    }
    if VERBS.iter().any(|(verb, _)| *verb == text) {
        return format!(
            "it asks a running server, beside which no setting can stand: `rip-serverctl {text}`"
        );
    }
    let words = TABLE.iter().flat_map(|row| row.forms).filter_map(|form| match form {
        Form::Word(word, _) => Some(*word),
        _ => None,
    });
    let names = words.chain(COMMANDS.iter().chain(VERBS).chain(PAGES).map(|(name, _)| *name));
    match (peers::slip(text, names), text.split_once(':')) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, Some(_)) => {
            "the words with a colon are w:COUNT, r:LIMITS, c:N, https:PORT and http:PORT".into()
        }
        (None, None) if named => "it is no setting and no command, and the app is named already".into(),
        (None, None) => "it is no setting and no command, and no file or directory has that name".into(),
    }
}

/// The error for a flag, with its value or the word behind it.
pub(super) fn flag(word: &OsStr, name: &str, value: Option<&OsStr>, next: Option<&OsString>) -> ConfigError {
    let next = next.and_then(|next| next.to_str()).filter(|next| !next.starts_with('-'));
    let flags = TABLE.iter().flat_map(|row| row.forms).filter_map(|form| match form {
        Form::Flag(flag) | Form::FlagOr(flag, _) | Form::Word(flag, _) => Some(*flag),
        _ => None,
    });
    let hint = peers::flag(name, value.and_then(OsStr::to_str), next).unwrap_or_else(|| {
        match nearest(name, flags.chain(["--help", "--version"])) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`rip-server --help` lists the flags".into(),
        }
    });
    ConfigError::UnknownWord { word: word.to_string_lossy().into_owned(), hint: Some(hint) }
}

/// The addition to the error for a wrong value: other programs have the same flag for another kind of value.
pub(super) fn value(form: Form, value: &OsStr) -> String {
    let Form::Flag(flag) = form else { return String::new() };
    peers::flag(flag, value.to_str(), None).map(|said| format!("; {said}")).unwrap_or_default()
}
