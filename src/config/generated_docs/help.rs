//! `--help`: the table as a page of text. Never here: anything that the table or the commands do not say.

use std::fmt::Write as _;

use super::usage::{EXAMPLES, USAGE};
use crate::config::words::command::{COMMANDS, PAGES, VERBS};
use crate::spec::settings::form::{Form, Preset, SettingGroup};
use crate::spec::settings::table::{Setting, TABLE};

pub(crate) fn text() -> String {
    let mut page = String::new();
    page.push_str("rip-server: serves an app over HTTPS through supervised worker processes\n\n");
    let _ = writeln!(page, "Usage: {USAGE}");
    page.push_str("       rip-server COMMAND [APP] [--instance=NAME]\n\n");
    page.push_str(
        "APP is a directory or an entry file; HOSTs after @ lead to it (a bare one gets .local).\n",
    );
    page.push_str(
        "Words may stand in any order. A word beats the environment, that beats the config file,\n",
    );
    page.push_str("that beats the app's own rip.toml, that beats the default.\n");
    page.push_str("\nCommands:\n");
    for (name, help) in COMMANDS {
        let host = if matches!(*name, "add" | "remove") { " HOST" } else { "" };
        entry(&mut page, &format!("{name}{host}"), help);
    }
    let verbs: Vec<&str> = VERBS.iter().map(|(name, _)| *name).collect();
    entry(&mut page, "VERB …", &format!("a verb of rip-serverctl: {}", verbs.join(", ")));
    for group in SettingGroup::ALL {
        let rows: Vec<_> = TABLE.iter().filter(|row| row.group == group && !words(row).is_empty()).collect();
        if !rows.is_empty() {
            let _ = write!(page, "\n{}:\n", group.title());
        }
        for row in rows {
            entry(&mut page, &words(row), &word_meaning(row));
        }
    }
    page.push_str("\nMore:\n");
    entry(&mut page, "--help, -h", "this page");
    entry(&mut page, "--version, -V", "the version");
    for (name, help) in PAGES {
        let shell = if *name == "completions" { " SHELL" } else { "" };
        entry(&mut page, &format!("{name}{shell}"), help);
    }
    page.push_str(
        "\nOnly in the environment or in config files (rip-server default-config shows all keys):\n",
    );
    let others = TABLE.iter().filter(|row| words(row).is_empty());
    for row in others.filter(|row| row.env().is_some()) {
        entry(&mut page, row.env().unwrap_or_default(), &meaning(row));
    }
    page.push_str("\nExamples:\n");
    for (words, what) in EXAMPLES {
        let _ = writeln!(page, "  {words}\n      {what}");
    }
    page.push_str("\nExit codes: 0 ok, 1 failed, 2 wrong usage or config\n");
    page
}

/// The row as it is written on the command line; empty: it is no word.
pub(crate) fn words(row: &Setting) -> String {
    let words = row.forms.iter().filter_map(|form| match form {
        Form::Token(start) => Some(format!("{start}{}", row.metavar)),
        Form::Word(word, _) => Some((*word).into()),
        Form::Number => Some(row.metavar.into()),
        Form::Flag(flag) => Some(format!("{flag}={}", row.metavar)),
        Form::FlagOr(flag, _) => Some(format!("{flag}[={}]", row.metavar)),
        Form::Env(_)
        | Form::Server(_)
        | Form::Admin(_)
        | Form::App(_)
        | Form::Route(_)
        | Form::AdminRoute(_)
        | Form::Part(_) => None,
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The help sentence, the default, and the variable.
pub(crate) fn meaning(row: &Setting) -> String {
    let (Preset::Is(preset) | Preset::Unset(preset, _)) = row.preset;
    let variable =
        row.env().filter(|_| !words(row).is_empty()).map(|env| format!(" [{env}]")).unwrap_or_default();
    format!("{} (default: {preset}){variable}", row.help)
}

/// The meaning for the words of the command line: a word that switches something off says so.
pub(crate) fn word_meaning(row: &Setting) -> String {
    let variable = row.env().map(|env| format!(" [{env}]")).unwrap_or_default();
    match row.forms.iter().find(|form| matches!(form, Form::Word(..))) {
        Some(Form::Word(_, "false")) => format!("do not {}{variable}", row.help),
        Some(Form::Word(_, "true")) => format!("{}{variable}", row.help),
        _ => meaning(row),
    }
}

fn entry(page: &mut String, left: &str, right: &str) {
    let mut lines = wrapped(right).into_iter();
    let first = lines.next().unwrap_or_default();
    if left.chars().count() + 2 < INDENT - 2 {
        let _ = writeln!(page, "  {left:<width$}{first}", width = INDENT - 2);
    } else {
        let _ = writeln!(page, "  {left}\n{:INDENT$}{first}", "");
    }
    for line in lines {
        let _ = writeln!(page, "{:INDENT$}{line}", "");
    }
}

/// Lines that fit beside the left column.
pub(crate) fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a first line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH - INDENT {
            lines.push(word.into());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

const INDENT: usize = 30;
const WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_shows_every_word_and_every_variable() {
        let page = text();
        for form in TABLE.iter().flat_map(|row| row.forms) {
            if let Form::Token(word)
            | Form::Word(word, _)
            | Form::Flag(word)
            | Form::FlagOr(word, _)
            | Form::Env(word) = form
            {
                assert!(page.contains(word), "{word}");
            }
        }
        for (name, _) in COMMANDS.iter().chain(VERBS).chain(PAGES) {
            assert!(page.contains(name), "{name}");
        }
    }

    #[test]
    fn help_fits_a_terminal() {
        for line in text().lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}
