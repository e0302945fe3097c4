//! The manual page rip-server.toml(5), in roff, from the table. Never here: anything that the table does not say.

use super::help;
use super::roff::Roff;
use crate::spec::settings::form::{Preset, SettingGroup};
use crate::spec::settings::table::{Setting, TABLE};

pub(crate) fn text() -> String {
    let mut page = Roff::new("rip-server.toml", 5, "settings of rip-server and of the apps it serves");
    page.heading("Synopsis");
    page.lines(["/etc/rip-server/INSTANCE.toml", "rip.toml, in the directory of an app"]);
    page.heading("Description");
    for text in DESCRIPTION {
        page.paragraph(text);
    }
    page.heading("Keys");
    for group in SettingGroup::ALL {
        let in_files = |row: &&Setting| row.group == group && !row.places().is_empty();
        let rows: Vec<_> = TABLE.iter().filter(in_files).collect();
        if !rows.is_empty() {
            page.subheading(group.title());
        }
        for row in rows {
            page.entry(&key_line(row, row.key()), &format!("{}: {}", row.places(), meaning(row)));
        }
    }
    page.heading("Examples");
    page.lines(EXAMPLE.lines());
    page.see_also(&[("rip-server", 8), ("rip-serverctl", 1)]).text()
}

fn key_line(row: &Setting, key: &str) -> String {
    let (Preset::Is(text) | Preset::Unset(_, text)) = row.preset;
    format!("{key} = {}", row.kind.toml_literal(text))
}

fn meaning(row: &Setting) -> String {
    let unset = match row.preset {
        Preset::Is(_) => String::new(),
        Preset::Unset(what, _) => format!(" Not set: {what}."),
    };
    let elsewhere = [Some(help::words(row)).filter(|words| !words.is_empty()), row.env().map(str::to_owned)];
    let elsewhere: Vec<_> = elsewhere.into_iter().flatten().collect();
    let elsewhere = match elsewhere.is_empty() {
        true => String::new(),
        false => format!(" Also {}.", elsewhere.join(", ")),
    };
    let more = if row.more.is_empty() { String::new() } else { format!("; {}", plain(row.more)) };
    format!("{}{more}. Takes {}.{unset}{elsewhere}", row.help, row.kind.expected())
}

/// Markdown as plain text; of a link its text stays.
fn plain(markdown: &str) -> String {
    let mut parts = markdown.split("](#");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if let Some(at) = text.rfind('[') {
            text.remove(at);
        }
        text.push_str(part.split_once(')').map_or("", |(_, after)| after));
    }
    text.replace('`', "")
}

const DESCRIPTION: &[&str] = &[
    "Both files are TOML. The server's file is the one that --config or RIP_CONFIG names, else \
     /etc/rip-server/INSTANCE.toml. It has the settings of the server, those of its app in the table [app], and each \
     further app in a table [[apps]]. The app's own rip.toml has, at its top, the settings that the app may make itself.",
    "The word before each key's meaning says where the key may stand. server: in the server's file, at the top; \
     listen.bind is bind in the table [listen]. admin: in [app] or [[apps]] of the server's file. app: there, and at \
     the top of rip.toml. route: also in tables such as [route.\"/admin\"] there, for the paths below /admin.",
    "A word of the command line beats a variable of the environment, that beats the server's file, that beats \
     rip.toml, that beats the default. Paths start at the file's folder. Unknown keys and wrong values are errors. \
     rip-server check shows what is in force and where it came from; rip-server default-config prints a file with \
     every key, commented out.",
    "Each key is shown with its default, or with an example where nothing is the default. Numbers such as 9.4 are \
     sections of SPEC.md.",
];

const EXAMPLE: &str = "\
# /etc/rip-server/labs-api.toml
trusted_proxies = [\"10.0.0.0/8\"]

[tls]
hsts = true

[app]
path = \"/srv/rip/labs/api\"
hosts = [\"api.example\", \"*.api.example\"]
workers = 8

[app.timeouts]
request = \"10s\"

[[apps]]
path = \"/srv/rip/blog\"
hosts = [\"blog.example\"]";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file;
    use crate::config::generated_docs::roff::escaped;
    use crate::spec::settings::form::Form;

    #[test]
    fn every_key_has_an_entry() {
        let page = text();
        for row in TABLE {
            for form in row.forms {
                if let Form::Server(name) | Form::Admin(name) | Form::App(name) = form {
                    assert!(page.contains(&format!("\n\\fB{} = ", escaped(name))), "{name}");
                }
            }
        }
    }

    #[test]
    fn links_become_their_texts() {
        assert_eq!(plain("see [9.4](#94-changed-files), or `a`"), "see 9.4, or a");
        assert_eq!(plain("as `[\"x\"]`"), "as [\"x\"]");
    }

    #[test]
    fn the_example_can_be_read() {
        let file = file::parse_server(Path::new("/etc/x.toml"), EXAMPLE).unwrap();
        assert_eq!(file.apps.len(), 1);
    }
}
