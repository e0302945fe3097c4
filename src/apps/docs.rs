//! The tables of documents about the kinds of apps, made from the table of kinds: README's table, and both of SPEC §5.
//!
//! Never here: a text about one kind, which is in its row.

use std::fmt::Write;

use super::kind::{AppKind, word};
use super::kinds::RECOGNISERS;

/// README's table: what is in a directory, what runs it, and what has to be installed.
pub(super) fn readme() -> String {
    let mut text = "| in the directory | run by | needs |\n|---|---|---|\n".to_owned();
    for [there, run_by, needs] in RECOGNISERS.iter().flat_map(|row| row.readme) {
        line(&mut text, &[there, run_by, needs]);
    }
    text
}

/// SPEC's table of what is recognised, in its order.
pub(super) fn recognised() -> String {
    let mut text = "| | recognised by | run as | listens by |\n|---|---|---|---|\n".to_owned();
    for (number, row) in (1..).zip(RECOGNISERS) {
        for (at, [by, run_as, listens]) in row.spec.iter().enumerate() {
            let number = if at == 0 { format!("{number}") } else { String::new() };
            line(&mut text, &[&number, by, run_as, listens]);
        }
    }
    text
}

/// SPEC's table of what holds for each kind.
pub(super) fn kinds() -> String {
    let mut text =
        "| run as | `listen` may be | requests at a time | variables |\n|---|---|---|---|\n".to_owned();
    for kind in RECOGNISERS.iter().flat_map(|row| row.kinds) {
        let AppKind { name, listens, concurrency, production, .. } = kind;
        let quoted = |words: &mut dyn Iterator<Item = &str>| {
            words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        };
        let listens = quoted(&mut listens.iter().map(|listen| word(*listen)));
        let variables = quoted(&mut production.iter().map(|(variable, _)| *variable));
        line(&mut text, &[name, &listens, &concurrency.to_string(), &variables]);
    }
    text
}

fn line(text: &mut String, cells: &[&str]) {
    for cell in cells {
        // Writing to a String cannot fail.
        let _ = write!(text, "|{}{cell} ", if cell.is_empty() { "" } else { " " });
    }
    text.push_str("|\n");
}

#[cfg(test)]
mod packaging {
    use super::*;
    use crate::generated::assert_up_to_date;

    #[test]
    fn the_tables_of_readme_and_spec_say_what_the_kinds_do() {
        assert_up_to_date("README.md", "kinds of apps", &readme());
        assert_up_to_date("SPEC.md", "recognised apps", &recognised());
        assert_up_to_date("SPEC.md", "kinds of apps", &kinds());
    }
}
