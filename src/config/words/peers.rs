//! Owns the words of other servers (gunicorn, uvicorn, puma, caddy, nginx, pm2, docker) and which word here does the
//! same, for the message about an unknown word.
//!
//! Never here: accepting such a word, or reading this program's own words (`tokens`).

use super::suggest::nearest;

/// A flag of other programs, and what to write instead.
struct Flag {
    names: &'static [&'static str],
    takes: Takes,
    /// The counterpart here; `{}` is replaced by the value, or by the value's name where it was left out or makes no
    /// sense.
    ours: &'static str,
}

/// The kind of value behind such a flag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Port,
    Count,
    Number,
    /// Seconds, which become milliseconds.
    Seconds,
    /// `ADDRESS`, `ADDRESS:PORT`, `:PORT` or `PORT`, which becomes the words for it.
    Endpoint,
    /// Any value, with this name.
    Text(&'static str),
}

/// The flag's counterpart, as the second half of a sentence: ``say `w:4` ``. `next` is the word behind it.
pub(crate) fn flag(name: &str, value: Option<&str>, next: Option<&str>) -> Option<String> {
    if let Some(flag) = named(name) {
        return Some(flag.say(value.or(next)));
    }
    // The form `-w4`, as getopt(3) takes it.
    let (short, attached) = name.split_at_checked(2)?;
    let flag = named(short).filter(|flag| {
        !short.starts_with("--")
            && flag.takes != Takes::Nothing
            && attached.starts_with(|c: char| c.is_ascii_digit())
    })?;
    Some(flag.say(Some(attached)))
}

/// The counterpart of a word without a dash: `PORT=8080`, `:8080`, `0.0.0.0:80`, `main:app`, `restart`.
pub(crate) fn word(text: &str, exists: impl Fn(&str) -> bool) -> Option<String> {
    if let Some(verb) = verb(text) {
        return Some(match verb {
            PeerVerb::Is(ours) => format!("here it is `rip-server {ours}`"),
            PeerVerb::Start => "`rip-server APP` serves an app, without a command; as a service: `systemctl start rip-server@NAME`".into(),
        });
    }
    if let Some((name, value)) = text.split_once('=') {
        let name = name.trim_start_matches("RIP_").to_ascii_lowercase().replace('_', "-");
        let name = if name.len() == 1 { format!("-{name}") } else { format!("--{name}") };
        return named(&name).map(|flag| flag.say(Some(value)));
    }
    if let Some(words) = endpoint(text.trim_start_matches("tcp://").trim_start_matches("http://")) {
        return Some(if words.is_empty() { EVERYWHERE.into() } else { format!("say `{words}`") });
    }
    let (module, callable) = text.split_once(':')?;
    let is_name =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || "_.".contains(c));
    let file = format!("{}.py", module.replace('.', "/"));
    if module.len() < 2 || !is_name(module) || !is_name(callable) || !exists(&file) {
        return None;
    }
    Some(format!(
        "name the file: `rip-server ./{file}`; for another name than it finds, `command = [\"gunicorn\", \"{text}\"]` in rip.toml"
    ))
}

/// The counterpart here of a verb of other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerVerb {
    /// A verb that does the same.
    Is(&'static str),
    /// There is none: a server is started by naming its app.
    Start,
}

/// The counterpart here of a verb of other programs.
pub(crate) fn verb(word: &str) -> Option<PeerVerb> {
    if START.contains(&word) {
        return Some(PeerVerb::Start);
    }
    VERBS.iter().find(|(names, _)| names.contains(&word)).map(|(_, ours)| PeerVerb::Is(ours))
}

/// The verb that a mistyped one was probably meant to be. A verb that takes something away from clients is never
/// suggested, because following a suggestion without reading it must break nothing.
pub(crate) fn slip<'a>(word: &str, verbs: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest(word, verbs.into_iter().filter(|verb| !TAKES_AWAY.contains(verb)))
}

fn named(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.names.contains(&name))
}

impl Flag {
    fn say(&self, value: Option<&str>) -> String {
        let value = value.filter(|value| !value.is_empty());
        let filled = match (self.takes, value) {
            (Takes::Nothing, _) => String::new(),
            (Takes::Port, Some(port)) if port.parse::<u16>().is_ok() => port.into(),
            (Takes::Port, _) => "PORT".into(),
            (Takes::Count, Some(count)) => workers(count),
            (Takes::Count, None) => "COUNT".into(),
            (Takes::Number, Some(number)) if number.parse::<u64>().is_ok() => number.into(),
            (Takes::Number, _) => "N".into(),
            (Takes::Seconds, Some(seconds)) => {
                let seconds = seconds.trim_end_matches('s').parse::<f64>().ok();
                let seconds = seconds.filter(|seconds| (0.001..1e9).contains(seconds));
                seconds.map_or("N".into(), |seconds| format!("{}", (seconds * 1000.0) as u64))
            }
            (Takes::Seconds, None) => "N".into(),
            (Takes::Endpoint, value) => match value.and_then(endpoint) {
                Some(words) if words.is_empty() => return EVERYWHERE.into(),
                Some(words) => words,
                None => "--bind=ADDRESS https:PORT".into(),
            },
            (Takes::Text(_), Some(text)) if !text.contains('`') && !text.chars().any(char::is_control) => {
                text.into()
            }
            (Takes::Text(called), _) => called.into(),
        };
        self.ours.replace("{}", &filled)
    }
}

/// A number of workers, as other programs write it, in the words of this one.
fn workers(text: &str) -> String {
    match text {
        "max" | "auto" | "0" | "-1" => "auto".into(),
        _ if text.parse::<u32>().is_ok() => text.into(),
        _ => "COUNT".into(),
    }
}

/// The words for listening at an address; empty for every address; `None`: the text is no address.
fn endpoint(text: &str) -> Option<String> {
    let text = text.trim_end_matches('/');
    let (address, port) = match text.rsplit_once(':') {
        Some((address, port)) if port.parse::<u16>().is_ok() => (address, Some(port)),
        _ if text.parse::<u16>().is_ok() => ("", Some(text)),
        _ => (text, None),
    };
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let address = match bare {
        "" | "*" | "0.0.0.0" | "::" => None,
        "localhost" => Some("127.0.0.1"),
        _ if bare.parse::<std::net::IpAddr>().is_ok() => Some(bare),
        _ => return None,
    };
    let words =
        [address.map(|address| format!("--bind={address}")), port.map(|port| format!("https:{port}"))];
    let words = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
    Some(words)
}

const EVERYWHERE: &str = "leave it out: every address is the default";

const FLAGS: &[Flag] = &[
    Flag {
        names: &["-p", "--port", "--http-port", "--server-port"],
        takes: Takes::Port,
        ours: "say `https:{}`, or `http:{}` for HTTP without TLS",
    },
    Flag { names: &["--ssl-port", "--tls-port"], takes: Takes::Port, ours: "say `https:{}`" },
    Flag {
        names: &["-b", "--bind", "--listen", "-l", "--address", "--addr", "-a"],
        takes: Takes::Endpoint,
        ours: "say `{}`",
    },
    Flag {
        names: &["--host", "--ip", "-o", "--binding", "--hostname"],
        takes: Takes::Endpoint,
        ours: "say `{}`; a host name that leads to the app stands behind its path: `./app@blog.example`",
    },
    Flag {
        names: &[
            "-w",
            "--workers",
            "--worker",
            "--processes",
            "-i",
            "--instances",
            "--web-concurrency",
            "--num-workers",
            "--scale",
        ],
        takes: Takes::Count,
        ours: "say `w:{}`",
    },
    Flag {
        names: &["--worker-connections", "--limit-concurrency", "--concurrency"],
        takes: Takes::Number,
        ours: "say `c:{}`: requests that a worker takes at once",
    },
    Flag {
        names: &["-c"],
        takes: Takes::Text("FILE"),
        ours: "say `--config={}` for a config file, `c:N` for requests that a worker takes at once",
    },
    Flag {
        names: &["-t"],
        takes: Takes::Number,
        ours: "say `c:{}` for requests that a worker takes at once, `--read-timeout-ms=N` for how long one may take",
    },
    Flag {
        names: &["--timeout", "--worker-timeout", "--request-timeout"],
        takes: Takes::Seconds,
        ours: "say `--read-timeout-ms={}`",
    },
    Flag {
        names: &["--graceful-timeout", "--timeout-graceful-shutdown", "--kill-timeout"],
        takes: Takes::Seconds,
        ours: "set `RIP_TIMEOUTS_DRAIN={}ms`, or `drain` of `[timeouts]`",
    },
    Flag {
        names: &["--keep-alive", "--timeout-keep-alive"],
        takes: Takes::Seconds,
        ours: "set `RIP_LIMITS_KEEPALIVE={}ms`",
    },
    Flag { names: &["--max-requests", "--limit-max-requests"], takes: Takes::Number, ours: "say `r:{}`" },
    Flag {
        names: &["--max-memory-restart", "--limit-memory"],
        takes: Takes::Text("SIZE"),
        ours: "set `RIP_MEMORY={}`",
    },
    Flag {
        names: &["--backlog"],
        takes: Takes::Number,
        ours: "say `--max-queue={}`: requests that may wait",
    },
    Flag {
        names: &["--limit-request-body", "--client-max-body-size", "--max-body"],
        takes: Takes::Text("SIZE"),
        ours: "say `--max-request-body={}`",
    },
    Flag {
        names: &["--certfile", "--ssl-certfile", "--ssl-cert", "--tls-cert", "--certificate", "-C"],
        takes: Takes::Text("PATH"),
        ours: "say `--cert={}`",
    },
    Flag {
        names: &["--keyfile", "--ssl-keyfile", "--ssl-key", "--tls-key", "--private-key", "-k"],
        takes: Takes::Text("PATH"),
        ours: "say `--key={}`",
    },
    Flag {
        names: &["--ssl", "--tls", "--secure"],
        takes: Takes::Nothing,
        ours: "HTTPS is the default; `https:PORT` names its port",
    },
    Flag {
        names: &[
            "--proxy-headers",
            "--forwarded-allow-ips",
            "--proxy-allow-from",
            "--trusted-proxies",
            "--trust-proxy",
        ],
        takes: Takes::Text("CIDR"),
        ours: "say `--trusted-proxy=CIDR` for each network whose X-Forwarded-* fields are to be believed",
    },
    Flag {
        names: &["--watch", "--hot", "--live-reload", "--use-reloader"],
        takes: Takes::Nothing,
        ours: "say `--reload=process`, which is the default",
    },
    Flag { names: &["--no-reload", "--no-watch"], takes: Takes::Nothing, ours: "say `--reload=none`" },
    Flag {
        names: &["-D", "--daemon", "-d", "--daemonize", "--detach", "--background"],
        takes: Takes::Nothing,
        ours: "it runs in the foreground; as a service: `systemctl enable --now rip-server@NAME`",
    },
    Flag {
        names: &["-u", "--user", "-g", "--group", "--uid", "--gid"],
        takes: Takes::Text("NAME"),
        ours: "who a worker runs as is said by `user` of `[sandbox]`, under systemd",
    },
    Flag {
        names: &["--pid", "--pidfile", "--pid-file"],
        takes: Takes::Text("FILE"),
        ours: "there is no such file: `rip-serverctl status` names the process",
    },
    Flag {
        names: &["-n", "--name", "--proc-name", "--tag"],
        takes: Takes::Text("NAME"),
        ours: "say `--instance={}`",
    },
    Flag {
        names: &["--domain", "--host-name", "--server-name"],
        takes: Takes::Text("HOST"),
        ours: "hosts stand behind the app: `./app@{}`",
    },
    Flag {
        names: &["--root", "-r", "--chdir", "--directory", "--dir", "--cwd", "--app", "--app-dir", "--path"],
        takes: Takes::Text("./app"),
        ours: "name the app without a flag: `rip-server {}`",
    },
    Flag {
        names: &["--config-file", "--conf", "--adapter"],
        takes: Takes::Text("FILE"),
        ours: "say `--config={}`",
    },
    Flag {
        names: &["-e", "--env", "--environment", "--environ"],
        takes: Takes::Text("NAME=VALUE"),
        ours: "variables of the app stand in its rip.toml, under `[env]`",
    },
    Flag {
        names: &["--log-level", "--loglevel", "-v", "--verbose", "--debug"],
        takes: Takes::Text("debug"),
        ours: "set `RIP_LOG={}`; the version is `--version`",
    },
    Flag {
        names: &["--access-logfile", "--access-log", "--error-logfile", "--log-file", "--output", "--error"],
        takes: Takes::Text("FILE"),
        ours: "records go to standard output, all else to standard error or the journal",
    },
    Flag {
        names: &["--worker-class", "--threads-per-worker", "--preload", "--cluster", "--max-conns"],
        takes: Takes::Text("KIND"),
        ours: "workers are processes of the app's own server: `command` in rip.toml says how it is run",
    },
    Flag {
        names: &["--email", "--acme-email"],
        takes: Takes::Text("ADDRESS"),
        ours: "set `RIP_TLS_ACME_EMAIL={}`; `--acme` gets certificates and renews them",
    },
    Flag {
        names: &["--letsencrypt", "--lets-encrypt"],
        takes: Takes::Nothing,
        ours: "`--acme` gets certificates of Let's Encrypt and renews them",
    },
];

const VERBS: &[(&[&str], &str)] = &[
    (&["ps", "top", "htop", "procs", "processes", "worker", "prettylist"], "workers"),
    (
        &["restart", "reload", "redeploy", "update", "upgrade", "phased-restart", "force-reload", "hup"],
        "deploy",
    ),
    (&["log", "tail", "journal"], "logs"),
    (&["ls", "hosts", "sites", "vhosts", "apps"], "list"),
    (&["info", "state", "stat", "st", "health", "ping", "describe", "show", "inspect"], "status"),
    (&["stats", "prometheus"], "metrics"),
    (&["test", "validate", "configtest", "verify", "lint", "config"], "check"),
    (&["resize", "concurrency"], "scale"),
    (&["hold", "suspend"], "pause"),
    (&["unpause", "continue", "unhold"], "resume"),
    (&["quit", "shutdown", "kill", "halt", "down", "terminate"], "stop"),
    (&["rm", "delete", "del", "unserve"], "remove"),
];

const START: &[&str] = &[
    "start",
    "run",
    "serve",
    "server",
    "up",
    "launch",
    "boot",
    "dev",
    "file-server",
    "reverse-proxy",
    "daemon",
    "enable",
];

/// The verbs after which clients are not served as before.
const TAKES_AWAY: [&str; 4] = ["stop", "remove", "pause", "maintenance"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_other_servers_lead_to_words_with_their_value() {
        for (name, value, next, said) in [
            ("--port", Some("8080"), None, "say `https:8080`, or `http:8080` for HTTP without TLS"),
            ("-p", None, Some("8080"), "say `https:8080`, or `http:8080` for HTTP without TLS"),
            ("-p8080", None, None, "say `https:8080`, or `http:8080` for HTTP without TLS"),
            ("--port", Some("http"), None, "say `https:PORT`, or `http:PORT` for HTTP without TLS"),
            ("-w", None, Some("4"), "say `w:4`"),
            ("-w4", None, None, "say `w:4`"),
            ("--workers", Some("3"), None, "say `w:3`"),
            ("-i", None, Some("max"), "say `w:auto`"),
            ("--workers", None, None, "say `w:COUNT`"),
            ("-b", None, Some("0.0.0.0:8000"), "say `https:8000`"),
            ("-b", None, Some("127.0.0.1:8000"), "say `--bind=127.0.0.1 https:8000`"),
            ("--bind", Some("[::1]:8000"), None, "say `--bind=::1 https:8000`"),
            ("-b", None, Some("unix:/run/x.sock"), "say `--bind=ADDRESS https:PORT`"),
            ("--listen", Some(":8080"), None, "say `https:8080`"),
            ("--host", None, Some("0.0.0.0"), EVERYWHERE),
            ("--timeout", None, Some("2.5"), "say `--read-timeout-ms=2500`"),
            ("--timeout", None, Some("-1"), "say `--read-timeout-ms=N`"),
            ("--certfile", Some("/c.pem"), None, "say `--cert=/c.pem`"),
            ("--certfile", Some("`x`"), None, "say `--cert=PATH`"),
        ] {
            assert_eq!(flag(name, value, next).as_deref(), Some(said), "{name} {value:?} {next:?}");
        }
        for name in ["--frobnicate", "-", "--", "-Z", "-daemonic", "-é9", "--w4"] {
            assert_eq!(flag(name, None, None), None, "{name}");
        }
    }

    #[test]
    fn words_of_other_servers_lead_to_ours() {
        let there = |file: &str| file == "app.py" || file == "shop/wsgi.py";
        for (text, said) in [
            (":8080", Some("say `https:8080`")),
            ("0.0.0.0:80", Some("say `https:80`")),
            ("localhost:3000", Some("say `--bind=127.0.0.1 https:3000`")),
            ("tcp://0.0.0.0:9292", Some("say `https:9292`")),
            ("PORT=8080", Some("say `https:8080`, or `http:8080` for HTTP without TLS")),
            ("workers=4", Some("say `w:4`")),
            ("WEB_CONCURRENCY=2", Some("say `w:2`")),
            ("x:4", None),
            ("W:4", None),
            ("main:app", None),
            ("x=4", None),
            ("nothing", None),
        ] {
            assert_eq!(word(text, there).as_deref(), said, "{text}");
        }
        assert!(word("app:app", there).unwrap().starts_with("name the file: `rip-server ./app.py`"));
        assert!(word("shop.wsgi:application", there).unwrap().contains("`rip-server ./shop/wsgi.py`"));
        assert_eq!(word("restart", there).as_deref(), Some("here it is `rip-server deploy`"));
    }

    #[test]
    fn no_slip_leads_to_a_verb_that_takes_something_away() {
        let verbs = ["list", "add", "remove", "stop", "pause", "maintenance", "status", "workers", "deploy"];
        for (slip_of, meant) in [
            ("top", None),
            ("stp", None),
            ("remov", None),
            ("pase", None),
            ("statsu", Some("status")),
            ("lst", Some("list")),
        ] {
            assert_eq!(slip(slip_of, verbs), meant, "{slip_of}");
        }
        for word in ["ps", "restart", "reload", "top", "start"] {
            let Some(PeerVerb::Is(ours)) = verb(word) else { continue };
            assert!(!TAKES_AWAY.contains(&ours), "{word}");
        }
    }

    #[test]
    fn no_word_stands_in_the_tables_twice_for_two_things() {
        let mut flags: Vec<_> = FLAGS.iter().flat_map(|flag| flag.names).collect();
        let mut verbs: Vec<_> = VERBS.iter().flat_map(|(names, _)| *names).chain(START).collect();
        for all in [&mut flags, &mut verbs] {
            let count = all.len();
            all.sort();
            all.dedup();
            assert_eq!(all.len(), count);
        }
    }
}
