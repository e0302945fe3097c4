//! How the words of the command line go together, for people who ask or got them wrong.
//!
//! Never here: the words themselves (`table`, `command`).

/// The lines at the end of an error about the words themselves.
pub(crate) fn usage() -> String {
    format!(
        "Usage: {USAGE}\n\nFor example:\n  rip-server ./blog\n  rip-server ./blog@blog.example w:4 https:8443\n\nMore: rip-server --help"
    )
}

/// How the words go together.
pub(crate) const USAGE: &str = "rip-server APP[@HOST,…] [WORD…]";

/// Commands, and what each does.
pub(crate) const EXAMPLES: &[(&str, &str)] = &[
    ("rip-server ./blog", "serve ./blog as https://blog.local"),
    ("rip-server ./blog@blog.example,www.blog.example w:4 --hsts", "two hosts, four workers, HSTS"),
    ("rip-server ./blog http:8080 --bind=127.0.0.1", "plain HTTP behind another proxy"),
    ("rip-server ./blog r:20000,1h --queue-timeout-ms=5000", "recycle sooner, wait shorter"),
    ("rip-server --instance=labs-api", "serve /srv/rip/labs/api by /etc/rip-server/labs-api.toml"),
    ("rip-server check --config=/etc/rip-server/labs-api.toml", "what would be in force, and from where"),
    ("rip-server add new.blog.example", "one more host, while it runs"),
];
