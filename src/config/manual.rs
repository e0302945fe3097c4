//! The manual page rip-server(8), in roff, from the table. Never here: anything that the table or the commands do not
//! say; the keys of config files (`file_manual`).

use super::command::{COMMANDS, PAGES};
use super::help;
use super::pages::{EXAMPLES, USAGE};
use super::roff::Roff;
use super::setting::Group;
use super::table::TABLE;

/// The whole page.
pub(crate) fn text() -> String {
    let mut page = Roff::new("rip-server", 8, "serves an app over HTTPS through supervised worker processes");
    page.heading("Synopsis");
    page.lines([USAGE, "rip-server COMMAND [APP] [--instance=NAME]"]);
    page.heading("Description");
    page.paragraph(
        "APP is a directory or an entry file; the hosts after @ lead to it, and a bare one gets .local. \
         Words may stand in any order. A word of the command line beats the environment, that beats the \
         server's config file, that beats the app's own rip.toml, that beats the default.",
    );
    page.heading("Commands");
    page.paragraph("Without one, the server runs.");
    for (name, help) in COMMANDS.iter().chain(PAGES) {
        page.entry(name, help);
    }
    page.heading("Options");
    for group in Group::ALL {
        let rows: Vec<_> =
            TABLE.iter().filter(|row| row.group == group && !help::words(row).is_empty()).collect();
        if !rows.is_empty() {
            page.subheading(group.title());
        }
        for row in rows {
            page.entry(&help::words(row), &help::word_meaning(row));
        }
    }
    page.heading("Under systemd");
    for text in UNDER_SYSTEMD {
        page.paragraph(text);
    }
    page.heading("Environment");
    for row in TABLE {
        if let Some(env) = row.env() {
            page.entry(env, &format!("{}; takes {}", row.help, row.kind_at(env).expected()));
        }
    }
    page.heading("Files");
    for (path, what) in FILES {
        page.entry(path, what);
    }
    page.heading("Exit status");
    page.paragraph("0: ok. 1: failed. 2: wrong usage or config.");
    page.heading("Examples");
    for (words, what) in EXAMPLES {
        page.entry(words, what);
    }
    let others = [("rip-serverctl", 1), ("rip-server.toml", 5), ("systemd.socket", 5), ("systemd-escape", 1)];
    page.see_also(&others).text()
}

const UNDER_SYSTEMD: &[&str] = &[
    "systemctl enable --now rip-server@labs-api serves the app in /srv/rip/labs/api: the name after the @ is the \
     app's path below /srv/rip, written as systemd-escape --path writes it. The unit brings its sockets \
     rip-server-https@labs-api.socket (port 443), rip-server-http@labs-api.socket (port 80, redirects) and \
     rip-server-control@labs-api.socket. systemctl reload starts a new version beside the old one, and fails when it \
     does not become ready. systemctl restart keeps the sockets: connections wait meanwhile.",
    "Ports are the sockets' affair: for another one, systemctl edit rip-server-https@labs-api.socket and write \
     [Socket], an empty ListenStream=, then ListenStream=8443. A port can be had by one instance only; [listen] of \
     the config file has no effect. systemctl stop rip-server@labs-api closes the sockets too, whoever opened them, and \
     so does systemctl disable --now; systemctl start opens them again. Connections that cannot start the server are \
     refused after a while: systemctl status then says why, and what to do.",
    "systemctl reload reads the server's config file anew, too. Settings of apps and [sandbox] are taken; what needs a \
     restart is told by rip-serverctl status. A broken file fails the reload, and all goes on as before.",
];

const FILES: &[(&str, &str)] = &[
    ("/srv/rip", "apps of the instances of systemd"),
    ("/etc/rip-server/INSTANCE.toml", "the server's config file; user rip-server has to be able to read it"),
    ("/etc/default/rip-server", "variables for all instances of systemd"),
    ("/usr/share/rip-server/rip-server.toml", "a config file with every key, commented out"),
    ("rip.toml", "the app's own settings, in its directory"),
    ("/var/lib/rip-server/INSTANCE", "registry, certificates, spool files"),
    ("/run/rip-server/INSTANCE", "sockets of the workers"),
    ("/run/rip-server/INSTANCE.sock", "the control socket, for root and members of group rip-server"),
];

#[cfg(test)]
mod tests {
    use super::super::roff::escaped;
    use super::super::setting::Form;
    use super::*;

    #[test]
    fn every_word_and_variable_has_an_entry() {
        let page = text();
        for row in TABLE {
            if !help::words(row).is_empty() {
                assert!(
                    page.contains(&format!("\n\\fB{}\\fR\n", escaped(&help::words(row)))),
                    "{}",
                    row.key()
                );
            }
            for form in row.forms {
                if let Form::Env(name) = form {
                    assert!(page.contains(&format!("\n\\fB{}\\fR\n", escaped(name))), "{name}");
                }
            }
        }
    }
}
