//! The default config: every key that a server's file may have, commented out. Never here: anything that the table
//! does not say; `packaging/rip-server.toml` is this text.

use std::fmt::Write as _;

use super::help::wrapped;
use crate::spec::settings::form::{Form, Preset, SettingGroup};
use crate::spec::settings::table::{Setting, TABLE};

pub(crate) fn text() -> String {
    let mut file = String::from(HEAD);
    let rows = || TABLE.iter().filter_map(|row| Some((row, server_key(row)?)));
    for (row, key) in rows().filter(|(_, key)| !key.contains('.')) {
        setting(&mut file, row, key);
    }
    for table in tables(rows().map(|(_, key)| key)) {
        let _ = write!(file, "\n[{table}]\n");
        for (row, key) in rows() {
            if let Some((_, key)) = key.rsplit_once('.').filter(|(before, _)| *before == table) {
                setting(&mut file, row, key);
            }
        }
    }
    app(&mut file);
    file.push_str(FOOT);
    file
}

fn app(file: &mut String) {
    file.push_str(APP);
    let rows = || {
        let groups = [SettingGroup::App, SettingGroup::Workers, SettingGroup::Times];
        groups.into_iter().flat_map(|group| TABLE.iter().filter(move |row| row.group == group))
    };
    for row in rows() {
        if let Some((key, note)) = app_key(row).filter(|(key, _)| !key.contains('.')) {
            noted(file, row, key, note);
        }
    }
    for table in tables(rows().filter_map(|row| Some(app_key(row)?.0))) {
        let _ = write!(file, "\n[app.{table}]\n");
        for row in rows() {
            if let Some((key, note)) = app_key(row)
                && let Some((_, key)) = key.rsplit_once('.').filter(|(before, _)| *before == table)
            {
                noted(file, row, key, note);
            }
        }
    }
}

/// The tables that these keys stand in, in order: `tls.client.ca` stands in `tls.client`.
fn tables(keys: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut tables = Vec::new();
    for (table, _) in keys.filter_map(|key| key.rsplit_once('.')) {
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    tables
}

fn server_key(row: &Setting) -> Option<&'static str> {
    row.forms.iter().find_map(|form| if let Form::Server(key) = form { Some(*key) } else { None })
}

fn app_key(row: &Setting) -> Option<(&'static str, &'static str)> {
    row.forms.iter().find_map(|form| match form {
        Form::App(key) => Some((*key, "")),
        Form::Admin(key) => Some((*key, " (only here, not in rip.toml)")),
        _ => None,
    })
}

fn setting(file: &mut String, row: &Setting, key: &str) {
    noted(file, row, key, "");
}

fn noted(file: &mut String, row: &Setting, key: &str, note: &str) {
    let (text, unset) = match row.preset {
        Preset::Is(text) => (text, String::new()),
        Preset::Unset(what, example) => (example, format!("; not set: {what}")),
    };
    file.push('\n');
    let (first, rest) = row.help.split_at(1);
    let sentence = format!("{}{rest}{note}{unset}. Takes {}.", first.to_uppercase(), row.kind.expected());
    for line in wrapped(&sentence) {
        let _ = writeln!(file, "# {line}");
    }
    // A key that is also the name of a table cannot stand beside that table.
    let sign = if is_a_table_too(row) { "# " } else { "#" };
    let _ = writeln!(file, "{sign}{key} = {}", row.kind.toml_literal(text));
}

fn is_a_table_too(row: &Setting) -> bool {
    let below = |key: &str| key.strip_prefix(row.key()).is_some_and(|rest| rest.starts_with('.'));
    TABLE.iter().filter_map(app_key).any(|(key, _)| below(key))
}

const HEAD: &str = "\
# The config of one rip-server: /etc/rip-server/INSTANCE.toml, or any file by --config=FILE.
#
# Every key is here, commented out, with its default, or with an example where nothing is the default. Words of the
# command line and RIP_* variables win over this file; this file wins over the app's own rip.toml. Relative paths start
# at this file's folder. An unknown key is an error. What is in force, and where it came from: rip-server check
#
# This file is written by: rip-server default-config
";
const APP: &str = "
# The main app. All of these may also stand in the app's own rip.toml, at its top, but for those marked.
# Short, where only the path is to be said: app = \"/srv/rip/blog\", above the first table.
[app]
";
const FOOT: &str = "
# More apps, each with its path and hosts, and any key of [app]:
#[[apps]]
#path = \"/srv/rip/shop\"
#hosts = [\"shop.example\"]
";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file;

    #[test]
    fn every_key_is_there_and_right_once_the_comment_sign_is_gone() {
        let uncommented: String = text()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let file = file::parse_server(Path::new("/etc/x.toml"), &uncommented).unwrap();
        for row in TABLE {
            let kept = |layer: &crate::config::layer::Layer| layer.get(row.id).is_some();
            let parts = ["recycle", "memory"].contains(&row.key()) || is_a_table_too(row);
            if server_key(row).is_some() {
                assert!(kept(&file.server), "{}", row.key());
            } else if app_key(row).is_some() && !parts {
                assert!(kept(&file.app), "{}", row.key());
            }
        }
        assert_eq!(file.apps.len(), 1);
    }

    #[test]
    fn a_table_in_a_table_is_one_of_its_own() {
        let keys = ["threads", "tls.cert", "tls.client.ca", "tls.key"];
        assert_eq!(tables(keys.into_iter()), ["tls", "tls.client"]);
    }

    #[test]
    fn as_it_is_it_sets_nothing() {
        assert_eq!(
            file::parse_server(Path::new("/etc/x.toml"), &text()).unwrap(),
            file::ServerFile::default()
        );
    }
}
