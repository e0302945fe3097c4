//! The manual page rip-server(8), in roff, from the table. Never here: anything that the table or the commands do not
//! say; the keys of config files (`file_manual`).

use super::help;
use super::roff::Roff;
use super::usage::{EXAMPLES, USAGE};
use crate::config::words::command::{COMMANDS, PAGES, VERBS};
use crate::spec::settings::form::SettingGroup;
use crate::spec::settings::table::TABLE;

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
    page.paragraph("Without a command, the server runs.");
    for (name, help) in COMMANDS.iter().chain(PAGES) {
        page.entry(name, help);
    }
    page.paragraph("Verbs of rip-serverctl(1), handed over to it with their words:");
    for (name, help) in VERBS {
        page.entry(name, help);
    }
    page.heading("Options");
    for group in SettingGroup::ALL {
        let rows: Vec<_> =
            TABLE.iter().filter(|row| row.group == group && !help::words(row).is_empty()).collect();
        if !rows.is_empty() {
            page.subheading(group.title());
        }
        for row in rows {
            page.entry(&help::words(row), &help::word_meaning(row));
        }
    }
    let sections = [
        ("Under systemd", UNDER_SYSTEMD),
        ("As a user", AS_A_USER),
        ("Certificates", CERTIFICATES),
        ("Data of apps", DATA_OF_APPS),
        ("Journal", JOURNAL),
    ];
    for (title, texts) in sections {
        page.heading(title);
        texts.iter().for_each(|text| page.paragraph(text));
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
    let others = [
        ("rip-serverctl", 1),
        ("rip-server.toml", 5),
        ("systemd.socket", 5),
        ("systemd-escape", 1),
        ("journalctl", 1),
    ];
    page.see_also(&others).text()
}

const UNDER_SYSTEMD: &[&str] = &[
    "systemctl enable --now rip-server@labs-api serves the app in /srv/rip/labs/api: the name after the @ is the \
     app's path below /srv/rip, written as systemd-escape --path writes it: a dash of the path as \\x2d \
     (rip-server@my\\x2dapp). rip-server@my-app serves /srv/rip/my/app, or /srv/rip/my-app if that is what is there. The unit brings its sockets \
     rip-server-https@labs-api.socket (port 443), rip-server-http@labs-api.socket (port 80, redirects) and \
     rip-server-control@labs-api.socket. systemctl reload starts a new version beside the old one, and fails when it \
     does not become ready. systemctl restart keeps the sockets: connections wait meanwhile.",
    "The sockets have the ports: for another port, systemctl edit rip-server-https@labs-api.socket and write \
     [Socket], an empty ListenStream=, then ListenStream=8443. A port can be had by one instance only; [listen] of \
     the config file has no effect. systemctl stop rip-server@labs-api closes the sockets too, whoever opened them, and \
     so does systemctl disable --now; systemctl start opens them again. Connections that cannot start the server are \
     refused after a while: systemctl status then says why, and what to do.",
    "systemctl reload reads the server's config file anew, too. Settings of apps and [sandbox] are taken; \
     rip-serverctl status names those that need a restart. A broken file fails the reload, and all goes on as before.",
];

const AS_A_USER: &[&str] = &[
    "systemctl --user enable --now rip-server@blog serves ~/rip/blog on ports 5443 and 5080, by the user's own manager; \
     loginctl enable-linger keeps it after the user has logged out. Its settings are in ~/rip/blog/rip.toml, its variables in \
     ~/.config/rip-server.env, its state in ~/.local/state/rip-server/blog. Workers are units of that manager and run as the \
     user, without the sandbox that needs root.",
];

const CERTIFICATES: &[&str] = &[
    "Each host gets the certificate of the first source that has one for it: the pair of tls.cert and tls.key, the folder of \
     tls.certs, mkcert(1) with tls.auto, where it is installed, and a self-signed one made at the first handshake and kept in \
     the state folder.",
    "tls.certs is a folder of pairs, three levels deep, links followed, such as /etc/ssl/rip or certbot's live folder: which \
     key belongs to which certificate is told from what is in the files, not from their names. A client that asks for a \
     name for which there is neither a certificate nor a host is refused, unless tls.default names the host whose \
     certificate it gets.",
    "tls.cert is a chain in PEM, the server's own certificate first, and tls.key its key: RSA of 2048 bits or more, ECDSA on \
     P-256, P-384 or P-521, or Ed25519, without a pass phrase. Under systemd user rip-server has to be able to read both: \
     chgrp rip-server and chmod 640, or a drop-in with LoadCredential= and Environment=RIP_TLS_CERTS=%d. Files are looked at \
     every 2 s: a pair that certbot or another program renews takes \
     over without a restart, and a bad pair never replaces a good one. rip-serverctl status shows when each ends; the log \
     warns when a renewal is overdue, and daily in the last twentieth of its life.",
];

const DATA_OF_APPS: &[&str] = &[
    "A worker under systemd sees the system read-only. The folders that it may write to last over deploys and restarts: \
     $STATE_DIRECTORY, \
     which is /var/lib/rip-apps/INSTANCE/APP (through /var/lib/private, as the user is a dynamic one), and $CACHE_DIRECTORY, \
     which is /var/cache/rip-apps/INSTANCE/APP. Other folders are named by writable of [sandbox] in \
     /etc/rip-server/INSTANCE.toml, and user of [sandbox] gives the workers a user that owns them. /tmp is each worker's own.",
    "Secrets of an app stand in /etc/rip-server/INSTANCE.env, lines NAME=VALUE, mode 0600, root's: each worker gets them as \
     variables, and neither the server nor systemctl show has them. Other variables stand in [env] of the app's rip.toml, or \
     in [app.env] of the server's config file.",
];

const JOURNAL: &[&str] = &[
    "journalctl -u 'rip-server@*' shows the servers; journalctl RIP_INSTANCE=labs-api one of them with its workers; RIP_APP, \
     RIP_WORKER, RIP_GENERATION and RIP_REQUEST_ID narrow that down. rip-serverctl logs shows the lines that workers \
     wrote, with the caller's rights: root and members of group systemd-journal may read it. RIP_LOG=debug in \
     /etc/default/rip-server makes the servers say more; how much is kept is SystemMaxUse= of journald.conf(5).",
];

const FILES: &[(&str, &str)] = &[
    ("/srv/rip", "apps of the instances of systemd"),
    ("/etc/rip-server/INSTANCE.toml", "the server's config file; user rip-server has to be able to read it"),
    ("/etc/rip-server/INSTANCE.env", "variables of its workers, secrets too: NAME=VALUE lines, mode 0600"),
    ("/etc/default/rip-server", "RIP_* variables of the servers of all instances of systemd"),
    ("~/.config/rip-server.env", "the same for the instances of a user"),
    ("/usr/share/rip-server/rip-server.toml", "a config file with every key, commented out"),
    ("rip.toml", "the app's own settings, in its directory"),
    ("/var/lib/rip-server/INSTANCE", "registry, certificates, spool files"),
    ("/var/lib/rip-apps/INSTANCE/APP", "$STATE_DIRECTORY of workers"),
    ("/var/cache/rip-apps/INSTANCE/APP", "$CACHE_DIRECTORY of workers"),
    ("~/rip", "apps of the instances of a user"),
    ("/run/rip-server/INSTANCE", "sockets of the workers"),
    ("/run/rip-server/INSTANCE.sock", "the control socket, for root and members of group rip-server"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::generated_docs::roff::escaped;
    use crate::spec::settings::form::Form;

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
