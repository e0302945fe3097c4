//! The manual page rip-server(8), in roff, from the table. Never here: anything that the table or the commands do
//! not say.

use std::fmt::Write as _;

use super::command::COMMANDS;
use super::help;
use super::pages::EXAMPLES;
use super::setting::{Form, Group};
use super::table::TABLE;

/// The whole page.
pub(crate) fn text() -> String {
    let mut page = format!(".TH RIP-SERVER 8 \"\" \"rip-server {}\"\n", env!("CARGO_PKG_VERSION"));
    page.push_str(
        ".SH NAME\nrip\\-server \\- serves an app over HTTPS through supervised worker processes\n",
    );
    page.push_str(".SH SYNOPSIS\n.B rip\\-server\n.I APP\\fR[@\\fIHOST\\fR,...] [\\fIWORD\\fR...]\n.br\n");
    page.push_str(".B rip\\-server\n.I COMMAND\n[\\fIAPP\\fR] [\\fB\\-\\-instance\\fR=\\fINAME\\fR]\n");
    page.push_str(".SH DESCRIPTION\n");
    paragraph(
        &mut page,
        "APP is a directory or an entry file; the hosts after @ lead to it, and a bare one gets .local. \
         Words may stand in any order. A word of the command line beats the environment, that beats the \
         server's config file, that beats the app's own rip.toml, that beats the default.",
    );
    page.push_str(".SH COMMANDS\n");
    for (name, help) in COMMANDS {
        entry(&mut page, name, help);
    }
    page.push_str(".SH OPTIONS\n");
    for group in Group::ALL {
        let rows: Vec<_> =
            TABLE.iter().filter(|row| row.group == group && !help::words(row).is_empty()).collect();
        if !rows.is_empty() {
            let _ = writeln!(page, ".SS {}", roff(group.title()));
        }
        for row in rows {
            entry(&mut page, &help::words(row), &help::word_meaning(row));
        }
    }
    page.push_str(".SH CONFIGURATION FILES\n");
    paragraph(
        &mut page,
        "TOML. In the server's file the keys of an app stand under [app], or under [[apps]] for each of \
         several; the app's own rip.toml takes those marked with an asterisk, at its top. Paths start at \
         the file's folder. Unknown keys are errors.",
    );
    for group in Group::ALL {
        let _ = writeln!(page, ".SS {}", roff(group.title()));
        for row in TABLE.iter().filter(|row| row.group == group) {
            let key = row.forms.iter().find_map(|form| match form {
                Form::Server(key) | Form::Admin(key) => Some((*key).to_owned()),
                Form::App(key) => Some(format!("{key} *")),
                _ => None,
            });
            if let Some(key) = key {
                entry(&mut page, &key, &format!("{}; takes {}", help::meaning(row), row.kind.expected()));
            }
        }
    }
    page.push_str(".SH ENVIRONMENT\n");
    for row in TABLE {
        if let Some(env) = row.env() {
            entry(&mut page, env, &format!("{}; takes {}", row.help, row.kind_at(env).expected()));
        }
    }
    page.push_str(".SH FILES\n");
    for (path, what) in FILES {
        entry(&mut page, path, what);
    }
    page.push_str(".SH EXIT STATUS\n0: ok. 1: failed. 2: wrong usage or config.\n.SH EXAMPLES\n");
    for (words, what) in EXAMPLES {
        entry(&mut page, words, what);
    }
    page.push_str(".SH SEE ALSO\n.BR rip\\-serverctl (1),\n.BR systemd.socket (5)\n");
    page
}

fn entry(page: &mut String, term: &str, text: &str) {
    let _ = writeln!(page, ".TP\n.B {}\n{}", roff(term), roff(text));
}

fn paragraph(page: &mut String, text: &str) {
    let _ = writeln!(page, "{}", roff(text));
}

/// Backslashes and dashes as themselves; no line starts a request by accident.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('±', "\\[+-]").replace('…', "...");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

const FILES: &[(&str, &str)] = &[
    ("/etc/rip-server/INSTANCE.toml", "the server's config file"),
    ("rip.toml", "the app's own settings, in its directory"),
    ("/var/lib/rip-server/INSTANCE", "registry, certificates, spool files"),
    ("/run/rip-server/INSTANCE", "sockets of the workers"),
    ("/run/rip-server/INSTANCE.sock", "the control socket"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_variable_has_an_entry() {
        let page = text();
        for row in TABLE {
            for form in row.forms {
                if let Form::Server(name) | Form::Admin(name) | Form::App(name) | Form::Env(name) = form {
                    assert!(page.contains(&format!("\n.B {}", roff(name))), "{name}");
                }
            }
        }
    }

    #[test]
    fn text_cannot_become_a_request() {
        assert_eq!(roff(r".x \n --a"), r"\&.x \en \-\-a");
    }
}
