//! Every word, flag and variable of the command line, as `check --json` says it was understood and where it came from.

use std::path::Path;

use serde_json::Value;

use crate::support::ctl::{SERVER, in_home, run};

#[tokio::test]
async fn every_word_and_flag_is_understood_alone() {
    let home = Home::new();
    for (word, settings) in [
        ("w:half", "workers=half"),
        ("w:auto", "workers=auto"),
        ("w:2x", "workers=2x"),
        ("w:3x", "workers=3x"),
        ("w:1", "workers=1"),
        ("w:17", "workers=17"),
        ("r:off", "recycle.requests=off recycle.age=off recycle.reloads=off"),
        ("r:0,0s,0r", "recycle.requests=off recycle.age=off recycle.reloads=off"),
        ("c:8", "concurrency=8"),
        ("--reload=none", "reload=none"),
        ("--reload=process", "reload=process"),
        ("--reload=module", "reload=module"),
        ("--processes", "processes=true"),
        ("--max-queue=0", "max_queue=0"),
        ("--max-queue=77", "max_queue=77"),
        ("--queue-timeout-ms=1500", "timeouts.queue=1500ms"),
        ("--connect-timeout-ms=250", "timeouts.connect=250ms"),
        ("--read-timeout-ms=7000", "timeouts.request=7s"),
        ("--max-request-body=5000", "max_body=5000"),
        ("--max-request-body=2G", "max_body=2G"),
        ("8443", "listen.https=8443"),
        ("0", "listen.https=0"),
        ("https", "listen.https=auto"),
        ("https:8443", "listen.https=8443"),
        ("--https-port=65535", "listen.https=65535"),
        ("http", "listen.http=auto"),
        ("http:8080", "listen.http=8080"),
        ("--no-redirect-http", "listen.redirect_http=false"),
        ("--redirect-port=8080", "listen.redirect_port=8080"),
        ("--bind=127.0.0.1", "listen.bind=127.0.0.1"),
        ("--trusted-proxy=10.0.0.0/8", "trusted_proxies=10.0.0.0/8"),
        ("--status-for-all", "status_for_all=true"),
        ("--metrics=127.0.0.1:9145", "metrics=127.0.0.1:9145"),
        ("--threads=3", "threads=3"),
        ("--auto-tls", "tls.auto=true"),
        ("--hsts", "tls.hsts=true"),
        ("--json-logging", "log.json=true"),
        ("--no-access-log", "log.access=false"),
        ("--instance=shown", "instance=shown"),
        ("--runtime-dir=/there/run", "runtime_dir=/there/run"),
        ("--state-dir=/there/state", "state_dir=/there/state"),
        ("--socket-prefix=rip_blog", "socket_prefix=rip_blog"),
    ] {
        let seen = home.check(&[word], &[]).await;
        let origin = format!("command line `{word}`");
        for setting in settings.split_whitespace() {
            seen.expect(setting, &origin);
        }
        if let Some((flag, value)) = word.split_once('=') {
            let apart = home.check(&[flag, value], &[]).await;
            let origin = format!("command line `{flag} {value}`");
            settings.split_whitespace().for_each(|setting| apart.expect(setting, &origin));
        }
    }
}

#[tokio::test]
async fn acme_is_a_word_and_takes_a_value_by_equals_alone() {
    let home = Home::new();
    for (word, url) in [
        ("--acme", "https://acme-v02.api.letsencrypt.org/directory"),
        ("--acme=staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
        ("--acme=https://ca.example/dir", "https://ca.example/dir"),
    ] {
        let seen = home.check(&[word], &[]).await;
        seen.expect(&format!("tls.acme=[{url:?}]"), &format!("command line `{word}`"));
    }
}

#[tokio::test]
async fn a_certificate_is_two_flags() {
    let home = Home::new();
    let [cert, key] = ["cert", "key"].map(|part| {
        let file = home.0.path().join(part);
        std::fs::write(&file, "").unwrap();
        format!("--{part}={}", file.display())
    });
    let seen = home.check(&[&key, &cert], &[]).await;
    seen.expect(&format!("tls.{}", &cert[2..]), &format!("command line `{cert}`"));
    seen.expect(&format!("tls.{}", &key[2..]), &format!("command line `{key}`"));
}

#[tokio::test]
async fn recycling_takes_every_subset_of_its_parts_in_every_order() {
    let home = Home::new();
    let parts = [
        ("500", "recycle.requests=500", "recycle.requests=10000"),
        ("90s", "recycle.age=90s", "recycle.age=1h"),
        ("7r", "recycle.reloads=7", "recycle.reloads=10"),
    ];
    for order in orders(parts.len()) {
        let said: Vec<_> = order.iter().map(|at| parts[*at].0).collect();
        let word = format!("r:{}", said.join(","));
        let seen = home.check(&[&word], &[]).await;
        for (at, (_, given, otherwise)) in parts.iter().enumerate() {
            if order.contains(&at) {
                seen.expect(given, &format!("command line `{word}`"));
            } else {
                seen.expect(otherwise, "default");
            }
        }
    }
}

#[tokio::test]
async fn every_variable_is_understood_and_a_flag_beats_it() {
    let home = Home::new();
    for (variable, setting, flag, instead) in [
        ("RIP_WORKERS=3x", "workers=3x", "w:2", "workers=2"),
        ("RIP_RECYCLE=9r,8s", "recycle.age=8s", "r:5,6s,7r", "recycle.age=6s"),
        ("RIP_MAX_REQUESTS=500", "recycle.requests=500", "r:5,6s,7r", "recycle.requests=5"),
        ("RIP_MAX_SECONDS=90", "recycle.age=90s", "r:5,6s,7r", "recycle.age=6s"),
        ("RIP_MAX_RELOADS=3", "recycle.reloads=3", "r:5,6s,7r", "recycle.reloads=7"),
        ("RIP_CONCURRENCY=4", "concurrency=4", "c:5", "concurrency=5"),
        ("RIP_RELOAD=module", "reload=module", "--reload=none", "reload=none"),
        ("RIP_MAX_QUEUE=77", "max_queue=77", "--max-queue=8", "max_queue=8"),
        (
            "RIP_QUEUE_TIMEOUT_MS=1500",
            "timeouts.queue=1500ms",
            "--queue-timeout-ms=10",
            "timeouts.queue=10ms",
        ),
        (
            "RIP_CONNECT_TIMEOUT_MS=250",
            "timeouts.connect=250ms",
            "--connect-timeout-ms=10",
            "timeouts.connect=10ms",
        ),
        ("RIP_READ_TIMEOUT_MS=7000", "timeouts.request=7s", "--read-timeout-ms=10", "timeouts.request=10ms"),
        ("RIP_MAX_REQUEST_BODY=1M", "max_body=1M", "--max-request-body=2M", "max_body=2M"),
        ("RIP_LISTEN_HTTPS=8443", "listen.https=8443", "9443", "listen.https=9443"),
        ("RIP_LISTEN_HTTP=8080", "listen.http=8080", "http:9080", "listen.http=9080"),
        ("RIP_RUNTIME_DIR=/there/run", "runtime_dir=/there/run", "--runtime-dir=/r", "runtime_dir=/r"),
        ("RIP_STATE_DIR=/there/state", "state_dir=/there/state", "--state-dir=/s", "state_dir=/s"),
        ("RIP_LOG_JSON=yes", "log.json=true", "--json-logging", "log.json=true"),
        ("RIP_LOG_ACCESS=off", "log.access=false", "--no-access-log", "log.access=false"),
        ("RIP_SOCKET_PREFIX=a", "socket_prefix=a", "--socket-prefix=b", "socket_prefix=b"),
    ] {
        let (name, _) = variable.split_once('=').unwrap();
        let seen = home.check(&[], &[variable]).await;
        seen.expect(setting, &format!("environment {name}"));
        let seen = home.check(&[flag], &[variable]).await;
        seen.expect(instead, &format!("command line `{flag}`"));
        assert_eq!(seen.0["warnings"], Value::Array(Vec::new()), "{variable}");
    }
}

#[tokio::test]
async fn a_variable_with_a_wrong_value_is_an_error_and_an_unknown_one_a_warning() {
    let home = Home::new();
    for (variable, said) in [
        ("RIP_MAX_REQUESTS=many", "RIP_MAX_REQUESTS"),
        ("RIP_QUEUE_TIMEOUT_MS=2s", "RIP_QUEUE_TIMEOUT_MS"),
        ("RIP_READ_TIMEOUT_MS=-1", "RIP_READ_TIMEOUT_MS"),
        ("RIP_RELOAD=all", "none, process or module"),
        ("RIP_LOG=inof", "RIP_LOG"),
    ] {
        let ran = home.run(&["check"], &[variable]).await.expect(2);
        assert!(ran.err.contains(said), "{ran:?}");
    }
    let seen = home.check(&[], &["RIP_MAX_REQUEST=5"]).await;
    let warnings = seen.0["warnings"].to_string();
    assert!(warnings.contains("did you mean RIP_MAX_REQUESTS?"), "{warnings}");
}

#[tokio::test]
async fn a_limit_of_nothing_is_refused_wherever_it_is_said() {
    let home = Home::new();
    let limits = [
        "handshake",
        "head",
        "body_idle",
        "write_idle",
        "keepalive",
        "max_head",
        "max_fields",
        "max_url",
        "max_connections",
        "h2_streams",
        "body_memory",
        "spool",
        "reply_memory",
        "reply_spool",
    ];
    let timeouts = ["queue", "connect", "request", "body_idle", "start"];
    let keys = limits.map(|limit| format!("limits.{limit}"));
    let keys = keys.into_iter().chain(timeouts.map(|time| format!("app.timeouts.{time}")));
    for key in keys.chain(["threads".into(), "app.workers".into(), "app.max_body".into()]) {
        std::fs::write(home.0.path().join("server.toml"), format!("{key} = 0\n")).unwrap();
        let ran = home.run(&["check", "--config=server.toml"], &[]).await.expect(2);
        let name = key.trim_start_matches("app.");
        let place = format!("server.toml:1:{}: {name}: read `0`, expected ", key.len() + 4);
        assert!(ran.err.contains(&place), "{key}: {ran:?}");
    }
    for limit in limits {
        let variable = format!("RIP_LIMITS_{}", limit.to_uppercase());
        let ran = home.run(&["check"], &[&format!("{variable}=0")]).await.expect(2);
        assert!(ran.err.contains(&variable) && ran.err.contains("read `0`, expected "), "{ran:?}");
    }
    for flag in ["queue-timeout-ms", "connect-timeout-ms", "read-timeout-ms", "max-request-body", "threads"] {
        let word = format!("--{flag}=0");
        let ran = home.run(&["check", &word], &[]).await.expect(2);
        assert!(ran.err.contains(&format!("`{word}`: read `0`, expected ")), "{ran:?}");
    }
}

/// Every ordered choice of some of so many things, each at most once; not the empty one.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = (0..count).map(|first| vec![first]).collect();
    let mut at = 0;
    while at < all.len() {
        let more = (0..count).filter(|next| !all[at].contains(next));
        let longer: Vec<_> = more.map(|next| [all[at].as_slice(), &[next]].concat()).collect();
        all.extend(longer);
        at += 1;
    }
    all
}

/// A home with an app in it, where the words are tried.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("blog")).unwrap();
        std::fs::write(home.path().join("blog/index.html"), "hello").unwrap();
        Self(home)
    }

    async fn check(&self, words: &[&str], variables: &[&str]) -> Seen {
        let says = |all: &[&str]| all.iter().any(|one| one.to_lowercase().contains("json"));
        let json: &[&str] = if says(words) || says(variables) { &[] } else { &["--json"] };
        let words = [&["check"], json, words].concat();
        Seen(self.run(&words, variables).await.expect(0).json())
    }

    async fn run(&self, words: &[&str], variables: &[&str]) -> crate::support::ctl::Ran {
        let home: &Path = self.0.path();
        let variables = variables.iter().map(|variable| variable.split_once('=').unwrap());
        run(in_home(home, SERVER).args(words).arg("./blog").envs(variables)).await
    }
}

/// The output of `check --json`.
struct Seen(Value);

impl Seen {
    /// Fails the test unless `key=value` is in force, and comes from there.
    #[track_caller]
    fn expect(&self, setting: &str, origin: &str) {
        let (key, value) = setting.split_once('=').unwrap();
        let rows = |part: &Value| part.as_array().unwrap().clone();
        let mut all = rows(&self.0["server"]).into_iter().chain(rows(&self.0["apps"][0]["settings"]));
        let row = all.find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key}: {}", self.0));
        let from = match row["origin"]["from"].as_str().unwrap() {
            "flag" => format!("command line `{}`", row["origin"]["word"].as_str().unwrap()),
            "env" => format!("environment {}", row["origin"]["name"].as_str().unwrap()),
            other => other.to_owned(),
        };
        assert_eq!((row["value"].as_str().unwrap(), from.as_str()), (value, origin), "{key}");
    }
}
