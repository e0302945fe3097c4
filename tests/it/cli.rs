//! The command line of `rip-server`: every kind of word, what it refuses, what it prints, where it listens.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::ctl::{Ran, SERVER, in_home, rip_server, run};
use crate::support::soon;

#[tokio::test]
async fn wrong_words_exit_2_and_say_what_was_read_and_what_would_be_right() {
    let home = tempfile::tempdir().unwrap();
    for (line, said) in [
        ("", "no app given"),
        ("w:2", "no app given"),
        ("/nowhere/at/all", "/nowhere/at/all"),
        (
            "APP w:0",
            "`w:0`: read `0`, expected a number of at least 1; for no worker while nobody asks, say idle",
        ),
        ("APP w:8..2", "`w:8..2`: read `8..2`, expected the smaller number first, such as 2..8"),
        ("APP w:x", "`w:x`: read `x`"),
        ("APP w:2 w:3", "`w:2` and `w:3` say the same thing twice"),
        ("APP r:soon", "`soon` is none of them"),
        ("APP r:5,5", "`5` repeats one of them"),
        ("APP 65536", "`65536`"),
        ("APP https:none", "`https:none`: read `none`"),
        ("APP http:-1", "`http:-1`: read `-1`"),
        ("APP 8443 https:9443", "`8443` and `https:9443`"),
        ("APP 8443 --https-port=8443", "say the same thing twice"),
        ("APP http 8443", "exclude each other"),
        ("APP http:8080 https:8443", "exclude each other"),
        ("APP --reload=all", "`--reload=all`: read `all`"),
        ("APP --max-queue=-1", "read `-1`"),
        ("APP --queue-timeout-ms=10s", "expected a whole number of milliseconds"),
        ("APP --connect-timeout-ms=0", "read `0`"),
        ("APP --read-timeout-ms", "`--read-timeout-ms` needs a value"),
        ("APP --max-request-body=1.5", "read `1.5`"),
        ("APP --hsts=yes", "`--hsts=yes` takes no value"),
        ("APP --max-quue=5", "did you mean `--max-queue`?"),
        ("APP --socket-prefix=a/b", "`--socket-prefix=a/b`"),
        ("APP --cert=c.pem", "--key"),
        ("APP --key=k.pem", "--cert"),
        ("APP --cert=c.pem --key=k.pem --auto-tls", "--auto-tls"),
        ("APP other", "unknown word `other`"),
        ("APP@a:80", "a:80"),
        ("add", "`add` needs a host name"),
        ("add a:80", "has a port"),
        ("stop list", "exclude each other"),
        ("stop w:4", "exclude each other"),
        ("completions tcsh", "tcsh"),
        ("APP --config=missing.toml", "missing.toml"),
    ] {
        let ran = words(home.path(), line).await.expect(2);
        assert!(ran.err.starts_with("rip-server: ") && ran.err.contains(said), "{line}: {ran:?}");
        assert_eq!(ran.out, "", "{line}");
    }
}

#[tokio::test]
async fn words_may_stand_in_any_order() {
    let home = tempfile::tempdir().unwrap();
    let said = ["w:3", "r:7,9s,2r", "APP@a,b.example", "--hsts", "--max-queue=9", "8443", "--reload=none"];
    let first = words(home.path(), &format!("check {}", said.join(" "))).await.expect(0);
    let mut turned = said.to_vec();
    for _ in 0..said.len() {
        turned.rotate_left(1);
        let other = words(home.path(), &format!("{} check", turned.join(" "))).await.expect(0);
        assert_eq!(other.out, first.out, "{turned:?}");
    }
}

#[tokio::test]
async fn check_shows_each_setting_and_where_it_comes_from_and_runs_nothing() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("server.toml"), "threads = 3\nlimits.head = \"4s\"\n").unwrap();
    let mut command = in_home(home.path(), SERVER);
    command
        .args(["check", HELLO, "w:5", "--config=server.toml"])
        .env("RIP_MAX_QUEUE", "77")
        .env("RIP_WORKERS", "9");
    let ran = run(&mut command).await.expect(0);
    for (setting, value, from) in [
        ("workers", "5", "w:5"),
        ("threads", "3", "server.toml:1"),
        ("head", "4s", "server.toml:2"),
        ("max_queue", "77", "RIP_MAX_QUEUE"),
    ] {
        let line = ran.out.lines().find(|line| line.contains(setting) && line.contains(from));
        assert!(line.is_some_and(|line| line.contains(value)), "{setting}: {}", ran.out);
    }
    assert!(!ran.out.contains("RIP_WORKERS"), "a word beats the environment: {}", ran.out);
    command.arg("--json");
    assert!(run(&mut command).await.expect(0).json().is_object());
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["server.toml"]);
}

#[tokio::test]
async fn typos_in_files_are_named_with_their_line() {
    let home = tempfile::tempdir().unwrap();
    let app = home.path().join("app");
    fs::create_dir(&app).unwrap();
    fs::write(app.join("index.html"), "hi").unwrap();
    for (server, own, said) in [
        ("\nthraeds = 2\n", "", "server.toml:2:1: unknown key `thraeds`: did you mean `threads`?"),
        ("threads = \"many\"\n", "", "server.toml:1:11: threads: read `\"many\"`"),
        ("threads = = 2\n", "", "server.toml:1:"),
        ("[limits]\nhead = \"soon\"\n", "", "server.toml:2:8"),
        ("[log]\nlevel = \"inof\"\n", "", "server.toml:2:9: log.level: read `\"inof\"`"),
        ("", "workers = 2\nlisten = \"shout\"\n", "app/rip.toml:2:10: listen: read `\"shout\"`"),
        ("", "max_body = \"1G\"\n", "app/rip.toml:1:1: unknown key `max_body`"),
        ("", "comand = [\"x\"]\n", "did you mean `command`?"),
    ] {
        fs::write(home.path().join("server.toml"), server).unwrap();
        fs::write(app.join("rip.toml"), own).unwrap();
        for verb in ["", "check"] {
            let ran = words(home.path(), &format!("{verb} ./app --config=server.toml")).await.expect(2);
            assert!(ran.err.contains(said), "{server}{own}: {ran:?}");
        }
    }
}

#[tokio::test]
async fn help_version_and_pages_are_printed_and_end_well() {
    let home = tempfile::tempdir().unwrap();
    for line in ["--help", "-h", "w:nonsense --help"] {
        let ran = words(home.path(), line).await.expect(0);
        for word in ["w:COUNT", "https:PORT", "--cert", "RIP_MAX_REQUESTS", "check"] {
            assert!(ran.out.contains(word), "{line}: {word}");
        }
        assert_eq!(ran.err, "");
    }
    for line in ["--version", "-V", "./no/app --version"] {
        let ran = words(home.path(), line).await.expect(0);
        assert_eq!(ran.out, concat!("rip-server ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    assert!(words(home.path(), "man").await.expect(0).out.contains(".TH"));
    for shell in ["bash", "zsh", "fish"] {
        let ran = words(home.path(), &format!("completions {shell}")).await.expect(0);
        assert!(ran.out.contains("rip-server") && ran.out.contains("max-queue"), "{shell}");
    }
    let ran = words(home.path(), "default-config").await.expect(0);
    let packaged = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/rip-server.toml");
    assert_eq!(ran.out, fs::read_to_string(packaged).unwrap());
}

#[tokio::test]
async fn what_cannot_be_run_is_told_at_once() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("empty")).unwrap();
    let ran = words(home.path(), "./empty http:0 --state-dir=s --runtime-dir=r").await;
    assert!(ran.code != 0 && ran.err.contains("empty"), "{ran:?}");
}

#[tokio::test]
async fn a_runtime_that_is_missing_is_named_with_its_package_in_one_sentence() {
    let home = tempfile::tempdir().unwrap();
    for (app, said) in [
        ("node-handler", "`node` is needed to run index.js: apt install nodejs"),
        ("node-server", "`node` is needed to run server.js: apt install nodejs"),
        ("package-json", "`node` is needed to run scripts.start of package.json: apt install nodejs"),
        ("bun-handler", "`bun` is needed to run index.ts: npm install -g bun"),
        ("rip", "`bun` is needed to run index.rip: npm install -g bun"),
        ("wsgi", "`gunicorn` is needed to run wsgi.py: apt install gunicorn"),
        ("django", "`gunicorn` is needed to run wsgi.py: apt install gunicorn"),
        ("asgi", "`uvicorn` is needed to run asgi.py: apt install uvicorn"),
        ("python-server", "`python3` is needed to run main.py: apt install python3"),
        ("command", "`python3` is needed to run `command`: apt install python3"),
        ("ruby", "`puma` is needed to run config.ru: apt install puma"),
    ] {
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps").join(app);
        let mut command = in_home(home.path(), SERVER);
        command.arg(&app).args(["http:0", "--bind=127.0.0.1", "--state-dir=s", "--runtime-dir=r"]);
        let ran = run(command.env("PATH", home.path())).await.expect(1);
        assert!(ran.err.starts_with(&format!("rip-server: {said}")), "{ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    }
}

#[tokio::test]
async fn a_given_port_that_is_taken_is_an_error_that_names_it() {
    let home = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for word in
        [format!("{port}"), format!("https:{port}"), format!("--https-port={port}"), format!("http:{port}")]
    {
        let line = format!("APP {word} --bind=127.0.0.1 --state-dir=s --runtime-dir=r");
        let ran = words(home.path(), &line).await.expect(1);
        assert!(
            ran.err.contains(&format!("127.0.0.1:{port}")) && ran.err.contains("another program"),
            "{ran:?}"
        );
    }
}

#[tokio::test]
async fn a_port_that_was_not_given_is_the_first_free_one_from_5000() {
    // An address that only this test uses. Where the own port is not allowed, it cannot be taken and need not be.
    let bind = |port| TcpListener::bind(("127.83.0.1", port));
    for (word, own) in [("https", 443), ("http", 80)] {
        let _own = bind(own);
        let _first = bind(5000).unwrap();
        let home = tempfile::tempdir().unwrap();
        let line = format!("APP {word} --bind=127.83.0.1 --no-redirect-http");
        let line = if word == "http" { line.replace(" --no-redirect-http", "") } else { line };
        let mut running = Running::start(home.path(), &line);
        let banner = running.banner().await;
        assert!(banner.iter().any(|line| line.contains(&format!("{word}://127.83.0.1:5001/"))), "{banner:?}");
        running.child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn the_banner_says_where_what_how_and_where_to_steer_it() {
    let home = tempfile::tempdir().unwrap();
    let mut running =
        Running::start(home.path(), "APP@hello.example http:0 --bind=127.0.0.1 w:2 --instance=shown");
    let banner = running.banner().await.join("\n");
    for said in ["(shown)", "http://127.0.0.1:", "hello", HELLO, "workers     2", "hello.example", "/r.sock"]
    {
        assert!(banner.contains(said), "{said}: {banner}");
    }
}

#[tokio::test]
async fn relative_paths_and_entry_files_are_apps_too() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("site")).unwrap();
    fs::write(home.path().join("site/index.html"), "the site").unwrap();
    for app in ["./site", "site", "site/", "site/../site"] {
        let mut running = Running::start(home.path(), &format!("{app} http:0 --bind=127.0.0.1"));
        let banner = running.banner().await.join("\n");
        assert!(banner.contains("site from"), "{app}: {banner}");
        running.child.kill().await.unwrap();
    }
}

/// Runs the words of the line; `APP` stands for a demo app.
async fn words(home: &Path, line: &str) -> Ran {
    rip_server(home, &split(line)).await
}

fn split(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| word.replace("APP", HELLO)).collect()
}

/// A server that was started by words alone; killed when dropped.
struct Running {
    child: Child,
}

impl Running {
    fn start(home: &Path, line: &str) -> Self {
        let mut command: Command = in_home(home, SERVER);
        command.args(split(line)).args(["--state-dir=s", "--runtime-dir=r"]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        Self { child }
    }

    /// The lines that are printed at the start, up to the last one.
    async fn banner(&mut self) -> Vec<String> {
        let mut lines = BufReader::new(self.child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        while let Some(line) = soon("the banner", lines.next_line()).await.unwrap() {
            let last = line.trim_start().starts_with("control ");
            seen.push(line);
            if last {
                return seen;
            }
        }
        panic!("the server ended: {seen:#?}");
    }
}

const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/hello");
