//! The files of the repository that are made from the table of settings, and the check that they are up to date:
//! `packaging/rip-server.toml`, and the tables of SPEC.md.
//!
//! Never here: the rest of these files.

use std::fmt::Write as _;

use super::{default_config, help};
use crate::generated::assert_made;
use crate::spec::settings::form::{Form, Preset, SettingGroup};
use crate::spec::settings::table::{Setting, TABLE};

#[test]
fn the_default_config_is_up_to_date() {
    assert_made("packaging/rip-server.toml", "the default config", |_| default_config::text());
}

#[test]
fn the_settings_in_the_users_contract_are_up_to_date() {
    assert_made("SPEC.md", "the settings", with_tables);
}

/// The text with every table renewed that stands between `<!-- settings: GROUP -->` and its end mark. Each group has
/// one table.
fn with_tables(text: &str) -> String {
    let mut made = String::new();
    let mut rest = text;
    let mut groups = Vec::new();
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->\n").expect("a mark ends with its line");
        let (_, after) = after.split_once(END).expect("a table has an end's mark");
        let group = SettingGroup::ALL.into_iter().find(|group| format!("{group:?}") == name);
        let table = match group {
            Some(group) => settings(group),
            None => words(),
        };
        groups.extend(group);
        let _ = write!(made, "{before}{BEGIN}{name} -->\n{table}{END}");
        rest = after;
    }
    groups.sort_by_key(|group| SettingGroup::ALL.iter().position(|other| other == group));
    assert_eq!(groups, SettingGroup::ALL, "each group has one table");
    made + rest
}

/// The table of the command line's words, by what they are about.
fn words() -> String {
    let mut table = String::from("| words | about |\n|---|---|\n");
    for group in SettingGroup::ALL {
        let words: Vec<_> = of(group).map(forms).filter(|words| !words.is_empty()).collect();
        if !words.is_empty() {
            let _ = writeln!(table, "| {} | {} |", words.join(" "), group.title());
        }
    }
    table
}

fn settings(group: SettingGroup) -> String {
    let mut table = String::from("| key | in | command line | environment | default | meaning |\n");
    table.push_str("|---|---|---|---|---|---|\n");
    for row in of(group).filter(|row| !row.forms.iter().all(|form| matches!(form, Form::Part(_)))) {
        let place = row.places();
        let key = if place.is_empty() { String::new() } else { code(row.key()) };
        let default = match row.preset {
            Preset::Is(text) => code(text),
            Preset::Unset(what, _) => what.into(),
        };
        let env = row.env().map(code).unwrap_or_default();
        let more = if row.more.is_empty() { String::new() } else { format!("; {}", row.more) };
        let _ = writeln!(
            table,
            "| {key} | {place} | {} | {env} | {default} | {}{more} |",
            forms(row),
            row.help.replace('*', "\\*").replace("__", "\\_\\_")
        );
    }
    table
}

fn of(group: SettingGroup) -> impl Iterator<Item = &'static Setting> {
    TABLE.iter().filter(move |row| row.group == group)
}

fn forms(row: &Setting) -> String {
    let words = help::words(row);
    words.split(", ").filter(|word| !word.is_empty()).map(code).collect::<Vec<_>>().join(" ")
}

/// Code within a cell of a table.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

const BEGIN: &str = "<!-- settings: ";
const END: &str = "<!-- end of settings -->";
