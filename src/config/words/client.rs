//! Owns which words `rip-server` hands over to `rip-serverctl`: a verb such as `status`, and the words around it.
//!
//! Never here: doing what the verb says, or reading its words beyond those that name a server.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::command::VERBS;
use super::tokens::{AppWord, CLIENT, Parser, find, is_plainly_path, lossy};
use crate::config::error::ConfigError;
use crate::config::layer::Layer;
use crate::spec::settings::form::Form;
use crate::spec::settings::table::{Id, TABLE};

/// A verb with its words, and the words that name a server.
#[derive(Debug, PartialEq)]
pub(crate) struct CtlCall {
    /// The words for `rip-serverctl`, the verb first.
    pub(crate) words: Vec<OsString>,
    /// The app whose server is meant.
    pub(crate) app: Option<AppWord>,
    /// Folders and the config file of the server that is meant.
    pub(crate) layer: Layer,
    /// A note on how the verb was understood where a file has its name.
    pub(crate) note: Option<String>,
}

/// The place of the verb, if the words are for `rip-serverctl`, and a note for the person where a file or a folder has
/// the verb's name. The file is meant where a word stands beside it that only a server takes.
pub(crate) fn verb(words: &[OsString], exists: &dyn Fn(&Path) -> bool) -> (Option<usize>, Option<String>) {
    let Some(at) = first_verb(words) else { return (None, None) };
    let verb = lossy(&words[at]);
    if verb == COMPLETE || !exists(Path::new(&words[at])) {
        return (Some(at), None);
    }
    let others = words.iter().enumerate().filter(|(place, _)| *place != at).map(|(_, word)| word);
    if others.into_iter().any(|word| is_for_a_server(word, &verb)) {
        let note = format!(
            "`{verb}` is taken for the app of that name here; the command of that name is `rip-serverctl {verb}`"
        );
        return (None, Some(note));
    }
    let note = format!(
        "`{verb}` is taken for the command; the app of that name here is served by `rip-server ./{verb}`"
    );
    (Some(at), Some(note))
}

/// Takes out the words that name the server; the rest is for `rip-serverctl`.
///
/// # Errors
/// A wrong value of a flag that names the server, or two apps.
pub(crate) fn parse(
    words: &[OsString],
    at: usize,
    exists: &dyn Fn(&Path) -> bool,
    note: Option<String>,
) -> Result<CtlCall, ConfigError> {
    let mut parser = Parser::new(exists);
    let mut kept = vec![words[at].clone()];
    let mut rest = words.iter().enumerate().filter(|(place, _)| *place != at).map(|(_, word)| word);
    let mut value_of = false;
    while let Some(word) = rest.next() {
        let text = lossy(word);
        let ours = !value_of && OURS.contains(&text.split('=').next().unwrap_or_default());
        let is_ours = words[at] != COMPLETE && words[at] != FOR_A_FILE;
        let app = !value_of && is_plainly_path(&text) && is_ours;
        value_of = text.starts_with("--") && VALUED.contains(&&*text);
        if ours && words[at] != COMPLETE {
            parser.flag(word, &mut rest)?;
        } else if let Some(app) = app.then(|| parser.app_word(word)).transpose()?.flatten() {
            parser.take_app(app)?;
        } else {
            kept.push(word.clone());
        }
    }
    Ok(CtlCall { words: kept, app: parser.app, layer: parser.layer, note })
}

/// The place of the first word that is neither a flag, nor its value, nor a path, if that word is a verb.
fn first_verb(words: &[OsString]) -> Option<usize> {
    let mut value_of = false;
    for (at, word) in words.iter().enumerate() {
        let text = lossy(word);
        if std::mem::take(&mut value_of) {
            continue;
        }
        if text.starts_with('-') {
            value_of = VALUED.contains(&&*text) || OURS.contains(&&*text);
        } else if !is_plainly_path(&text) {
            let known = VERBS.iter().any(|(verb, _)| *verb == text) || (text == COMPLETE && at == 0);
            return known.then_some(at);
        }
    }
    None
}

/// Whether a word says how a server is to run. A bare number may belong to a verb.
fn is_for_a_server(word: &OsStr, verb: &str) -> bool {
    let text = lossy(word);
    let name = text.split('=').next().unwrap_or_default().to_owned();
    let number = !["scale", FOR_A_FILE].contains(&verb)
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit());
    let found = find(TABLE, |form| match form {
        Form::Token(start) => text.starts_with(start),
        Form::Word(word, _) => *word == text,
        Form::Flag(flag) | Form::FlagOr(flag, _) => *flag == name,
        Form::Number => number,
        _ => false,
    });
    found.is_some_and(|(row, _)| !CLIENT.contains(&row.id) && row.id != Id::Json)
}

/// The verb with which shells ask for the words that may come next.
pub(crate) const COMPLETE: &str = "complete";
/// The verb whose paths are those of files, which needs no server.
const FOR_A_FILE: &str = "passwd";
/// Flags that name a server and that only `rip-server` knows.
const OURS: [&str; 3] = ["--config", "--runtime-dir", "--state-dir"];
/// The flags of `rip-serverctl` whose values may stand apart.
const VALUED: [&str; 7] = ["--instance", "--socket", "--timeout", "--color", "--lines", "--page", "--app"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, there: &[&str]) -> (Option<CtlCall>, Option<String>) {
        let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
        let exists = |path: &Path| there.contains(&&*path.to_string_lossy());
        match verb(&words, &exists) {
            (Some(at), note) => (Some(parse(&words, at, &exists, note).unwrap()), None),
            (None, note) => (None, note),
        }
    }

    #[test]
    fn a_verb_is_handed_over_with_its_words() {
        for (line, words) in [
            ("status", "status"),
            ("logs -f -n 5", "logs -f -n 5"),
            ("--json status", "status --json"),
            ("--instance blog deploy", "deploy --instance blog"),
            ("--instance=blog scale 4", "scale --instance=blog 4"),
            ("logs --help", "logs --help"),
            ("maintenance a.example --page ./p.html", "maintenance a.example --page ./p.html"),
            ("./blog workers", "workers"),
            ("deploy --state-dir=s --runtime-dir r", "deploy"),
            ("passwd ./p.html 8443 --delete", "passwd ./p.html 8443 --delete"),
        ] {
            let client = read(line, &["./blog", "./p.html"]).0.unwrap();
            assert_eq!(client.words, words.split(' ').collect::<Vec<_>>(), "{line}");
        }
        assert_eq!(read("./blog workers", &["./blog"]).0.unwrap().app.unwrap().word, "./blog");
    }

    #[test]
    fn what_is_no_verb_or_stands_behind_another_word_is_not() {
        for line in ["", "./blog", "check logs", "w:4 logs", "add status", "--config status", "blog status"] {
            assert_eq!(read(line, &[]), (None, None), "{line}");
        }
    }

    #[test]
    fn a_folder_of_the_verbs_name_is_meant_where_a_servers_word_stands_beside_it() {
        assert!(read("logs", &["logs"]).0.unwrap().note.unwrap().contains("`rip-server ./logs`"));
        assert!(read("scale 4", &["scale"]).0.is_some());
        for line in ["logs w:4", "logs 8443", "logs http:8080", "--hsts logs", "deploy --max-queue=4"] {
            let (client, note) = read(line, &["logs", "deploy"]);
            assert!(client.is_none() && note.unwrap().contains("is taken for the app"), "{line}");
        }
    }
}
