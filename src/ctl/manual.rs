//! Owns the manual page rip-serverctl(1), in roff, from the words that `args` knows.
//!
//! Never here: anything that `--help` does not say.

use clap::{Arg, Command};

use crate::config::generated_docs::roff::Roff;

pub(super) fn text(program: &Command) -> String {
    let about = program.get_about().map(ToString::to_string).unwrap_or_default();
    let mut page = Roff::new("rip-serverctl", 1, &lower(&about));
    page.heading("Synopsis");
    page.lines(["rip-serverctl [OPTION...] VERB [WORD...]"]);
    page.heading("Verbs");
    for verb in program.get_subcommands() {
        page.entry(&usage(verb), &about_of(verb));
        page.indent();
        for arg in verb.get_arguments() {
            page.entry(&written(arg), &meaning(arg));
        }
        page.outdent();
    }
    page.heading("Options");
    page.paragraph("Before or after the verb:");
    for arg in program.get_arguments() {
        page.entry(&written(arg), &meaning(arg));
    }
    page.entry("--help, -h", "Print help, also of a verb");
    page.entry("--version, -V", "Print the version");
    let more = program.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    for part in more.split("\n\n") {
        section(&mut page, part);
    }
    page.see_also(&[("rip-server", 8), ("rip-server.toml", 5), ("systemctl", 1), ("journalctl", 1)]).text()
}

/// Adds a part of the help: `Title:` with indented lines below it, or a paragraph.
fn section(page: &mut Roff, part: &str) {
    match part.split_once(":\n") {
        Some((title, lines)) => {
            page.heading(title);
            page.lines(lines.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)));
        }
        None => page.paragraph(part),
    }
}

/// A verb with its positional words.
fn usage(verb: &Command) -> String {
    let words = verb.get_positionals().map(|arg| match arg.is_required_set() {
        true => format!(" {}", value(arg)),
        false => format!(" [{}]", value(arg)),
    });
    std::iter::once(verb.get_name().to_owned()).chain(words).collect()
}

fn about_of(verb: &Command) -> String {
    verb.get_about().map(ToString::to_string).unwrap_or_default()
}

/// An argument as it is written: `-n N, --lines N`, or the name of a positional word.
fn written(arg: &Arg) -> String {
    let value = match arg.get_action().takes_values() {
        true => format!(" {}", value(arg)),
        false => String::new(),
    };
    let short = arg.get_short().map(|short| format!("-{short}{value}"));
    let long = arg.get_long().map(|long| format!("--{long}{value}"));
    match [short, long].into_iter().flatten().collect::<Vec<_>>() {
        forms if forms.is_empty() => value.trim().to_owned(),
        forms => forms.join(", "),
    }
}

fn value(arg: &Arg) -> String {
    match arg.get_value_names() {
        Some([name, ..]) => name.to_string(),
        _ => arg.get_id().as_str().to_uppercase(),
    }
}

fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let choices: Vec<_> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if arg.get_action().takes_values() && !choices.is_empty() {
        text.push_str(&format!(" [{}]", choices.join(", ")));
    }
    let defaults: Vec<_> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if arg.get_action().takes_values() && !defaults.is_empty() {
        text.push_str(&format!(" [default: {}]", defaults.join(" ")));
    }
    text
}

fn lower(sentence: &str) -> String {
    let (first, rest) = sentence.split_at(sentence.chars().next().map_or(0, char::len_utf8));
    format!("{}{rest}", first.to_lowercase())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::args::CtlArgs;
    use super::*;

    #[test]
    fn every_verb_and_flag_has_an_entry() {
        let program = CtlArgs::command();
        let page = text(&program);
        for verb in program.get_subcommands() {
            assert!(page.contains(&format!("\n\\fB{}", verb.get_name())), "{}", verb.get_name());
        }
        for arg in program.get_subcommands().flat_map(Command::get_arguments).chain(program.get_arguments()) {
            if let Some(long) = arg.get_long() {
                assert!(page.contains(&format!("\\-\\-{}", long.replace('-', "\\-"))), "{long}");
            }
        }
    }

    #[test]
    fn a_verb_is_shown_with_its_words_choices_and_defaults() {
        let page = text(&CtlArgs::command());
        for shown in [
            "\n\\fBadd HOST\\fR\n",
            "\n\\fBscale [APP] COUNT\\fR\n",
            "\n\\fB\\-n N, \\-\\-lines N\\fR\nHow many of the last lines [default: 100]\n",
            "[auto, always, never] [default: auto]\n",
            "\n.SH EXIT CODES\n.PP\n.nf\n0  ok\n",
        ] {
            assert!(page.contains(shown), "{shown}");
        }
    }
}
