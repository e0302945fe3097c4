//! Command lines and their meaning, and the errors of wrong ones.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap_complete::Shell;

use crate::config::layer::Stack;
use crate::config::words::command::Subcommand;
use crate::config::words::command_line::*;
use crate::name::RouteName;
use crate::spec::settings::table::Id;

/// A machine on which these paths exist.
fn exists(path: &Path) -> bool {
    let there = ["./blog", "blog", "/srv/a", "app.py", "/srv/a@b", "../up", "index.ts", "\u{fffd}/x"];
    there.contains(&&*path.to_string_lossy())
}

fn read(line: &str) -> Result<Tokens, String> {
    let words: Vec<OsString> = line.split(' ').filter(|word| !word.is_empty()).map(Into::into).collect();
    match parse(&words, &exists) {
        Ok(Parsed::Words(tokens)) => Ok(*tokens),
        Ok(other) => panic!("{line}: {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn app(line: &str) -> (String, Vec<String>) {
    let app = read(line).unwrap().app.unwrap();
    (app.path.display().to_string(), app.aliases.iter().map(ToString::to_string).collect())
}

#[test]
fn the_app_is_the_word_that_looks_like_a_path_and_exists() {
    for (line, path, hosts) in [
        ("./blog", "./blog", vec![]),
        ("/srv/a", "/srv/a", vec![]),
        ("../up", "../up", vec![]),
        ("app.py", "app.py", vec![]),
        ("w:4 index.ts http", "index.ts", vec![]),
        ("blog", "blog", vec![]),
        ("./blog@a", "./blog", vec!["a.local"]),
        ("./blog@a,B.example,a", "./blog", vec!["a.local", "b.example"]),
        ("blog@localhost,*.x.example,[::1]", "blog", vec!["localhost", "*.x.example", "[::1]"]),
        ("app.py@www", "app.py", vec!["www.local"]),
        ("/srv/a@b", "/srv/a@b", vec![]),
        ("/srv/a@b@c", "/srv/a@b", vec!["c.local"]),
    ] {
        assert_eq!(app(line), (path.into(), hosts.iter().map(ToString::to_string).collect()), "{line}");
    }
    assert_eq!(read("").unwrap().app, None);
}

#[test]
fn a_path_need_not_be_utf_8() {
    let words =
        [OsStr::from_bytes(b"\xff/x@a").to_owned(), "--cert".into(), OsStr::from_bytes(b"\xfe.pem").into()];
    let Ok(Parsed::Words(tokens)) = parse(&words, &exists) else { panic!("not read") };
    assert_eq!(tokens.app.unwrap().path.as_os_str().as_bytes(), b"\xff/x");
    let cert = Stack::new([&tokens.layer]).told::<PathBuf>(Id::Cert).unwrap();
    assert_eq!(cert.as_os_str().as_bytes(), b"\xfe.pem");
}

#[test]
fn every_value_is_read_as_written_or_refused_with_what_would_be_right() {
    let shown = |line: &str, id| {
        read(line).map(|tokens| tokens.layer.get(id).map(|there| there.value.to_string()).unwrap_or_default())
    };
    for (id, line, value) in [
        (Id::Workers, "w:half", "half"),
        (Id::Workers, "w:auto", "auto"),
        (Id::Workers, "w:3x", "3x"),
        (Id::Workers, "w:1", "1"),
        (Id::Concurrency, "c:8", "8"),
        (Id::Https, "8443", "8443"),
        (Id::Https, "0", "0"),
        (Id::Https, "https:65535", "65535"),
        (Id::Https, "--https-port=443", "443"),
        (Id::Https, "--https-port 443", "443"),
        (Id::Https, "https", "auto"),
        (Id::Http, "http", "auto"),
        (Id::Http, "http:8080", "8080"),
        (Id::RecycleRequests, "r:5,1h", "5"),
        (Id::RecycleAge, "r:5,3600s", "1h"),
        (Id::RecycleReloads, "r:5,3600s", ""),
        (Id::Reload, "--reload=module", "module"),
        (Id::MaxQueue, "--max-queue=0", "0"),
        (Id::QueueTimeout, "--queue-timeout-ms=1500", "1500ms"),
        (Id::ConnectTimeout, "--connect-timeout-ms=1", "1ms"),
        (Id::RequestTimeout, "--read-timeout-ms=60000", "1min"),
        (Id::MaxBody, "--max-request-body=1048576", "1M"),
        (Id::Json, "--json-logging", "true"),
        (Id::Json, "--json", "true"),
        (Id::AccessLog, "--no-access-log", "false"),
        (Id::RedirectHttp, "--no-redirect-http", "false"),
        (Id::Hsts, "--hsts", "true"),
        (Id::AutoTls, "--auto-tls", "true"),
        (Id::SocketPrefix, "--socket-prefix=rip_blog", "rip_blog"),
        (Id::Instance, r"--instance=my\x2dapp", r"my\x2dapp"),
        (Id::Threads, "--threads=2", "2"),
        (Id::Bind, "--bind=127.0.0.1 --bind ::1", "127.0.0.1, ::1"),
        (Id::TrustedProxies, "--trusted-proxy=10.1.2.3/8 --trusted-proxy=::1", "10.0.0.0/8, ::1/128"),
        (Id::Metrics, "--metrics=127.0.0.1:9145", "127.0.0.1:9145"),
        (Id::RuntimeDir, "--runtime-dir run", "run"),
    ] {
        assert_eq!(shown(line, id).as_deref(), Ok(value), "{line}");
    }
    for line in [
        "w:",
        "w:0",
        "w:4097",
        "w:x",
        "c:0",
        "c:",
        "r:",
        "r:soon",
        "r:5,5",
        "65536",
        "99999999999999999999",
        "https:",
        "https:-1",
        "http:65536",
        "--https-port=",
        "--reload=all",
        "--max-queue=-1",
        "--max-queue=1.5",
        "--max-queue=99999999999",
        "--queue-timeout-ms=0",
        "--queue-timeout-ms=10s",
        "--max-request-body=0",
        "--max-request-body=100MB",
        "--socket-prefix=a/b",
        "--instance=a/b",
        "--threads=0",
        "--bind=localhost",
        "--metrics=9145",
        "--trusted-proxy=10.0.0.0/33",
        "--cert=",
    ] {
        let error = read(line).unwrap_err();
        assert!(error.contains("read `") && error.contains("expected "), "{line}: {error}");
    }
}

#[test]
fn errors_say_what_was_read_and_what_would_be_right() {
    for (line, text) in [
        (
            "w:x",
            "`w:x`: read `x`, expected half, auto, 2x, 3x, a number from 1 to 4096, or two of them such as 2..8 for as many as the load asks for; for example w:half",
        ),
        (
            "--queue-timeout-ms=10s",
            "`--queue-timeout-ms=10s`: read `10s`, expected a whole number of milliseconds, at least 1; for example \
             --queue-timeout-ms=10000",
        ),
        (
            "--max-queue",
            "`--max-queue` needs a value: a whole number from 0 to 1000000; for example --max-queue=1024",
        ),
        ("--cert --key=k", "`--cert` needs a value: a path; for example --cert=/etc/ssl/certs/blog.pem"),
        ("--hsts=yes", "`--hsts=yes` takes no value: write `--hsts`"),
        ("--max-quue=5", "unknown word `--max-quue=5`: did you mean `--max-queue`?"),
        ("--frobnicate", "unknown word `--frobnicate`: `rip-server --help` lists the flags"),
        ("htpps", "unknown word `htpps`: did you mean `https`?"),
        (
            "x:4",
            "unknown word `x:4`: the words with a colon are w:COUNT, r:LIMITS, c:N, https:PORT and http:PORT",
        ),
        (
            "nothing",
            "unknown word `nothing`: it is no setting and no command, and no file or directory has that name",
        ),
        (
            "./blog other",
            "unknown word `other`: it is no setting and no command, and the app is named already",
        ),
        (
            "./blog --acme off",
            "unknown word `off`: did you mean `--acme=off`? This flag takes its value by `=` alone",
        ),
        (
            "./blog --acme https://ca.example/dir",
            "unknown word `https://ca.example/dir`: did you mean `--acme=https://ca.example/dir`? This flag takes its \
             value by `=` alone",
        ),
        ("./no@a", "no such file or directory: `./no@a` (the app to run; `./no` is looked for)"),
        ("w:2 w:4", "`w:2` and `w:4` say the same thing twice (workers): keep one of them"),
        ("8443 https", "`8443` and `https` say the same thing twice (listen.https): keep one of them"),
        ("--key=a --key b", "`--key=a` and `--key b` say the same thing twice (tls.key): keep one of them"),
        (
            "--json --json-logging",
            "`--json` and `--json-logging` say the same thing twice (log.json): keep one of them",
        ),
        (
            "./blog /srv/a",
            "`./blog` and `/srv/a` exclude each other: the command line runs one app; name more under [[apps]] in \
             a config file",
        ),
        ("stop list", "`stop` and `list` exclude each other: one command at a time"),
        (
            "stop w:4",
            "`w:4` and `stop` exclude each other: the one says how to run a server, the other only talks to one \
             that runs",
        ),
        ("add", "`add` needs a host name: `rip-server add blog.example`"),
        ("remove ./blog", "`remove` needs a host name: `rip-server remove blog.example`"),
        (
            "add a:80",
            "`add a:80`: read `a:80`, expected a host name, or some of its paths such as example.com/blog (host name `a:80` has a port: write it without `:80`)",
        ),
    ] {
        assert_eq!(read(line).unwrap_err(), text, "{line}");
    }
}

#[test]
fn commands_take_their_host_and_the_app_in_any_order() {
    let host = |text: &str| RouteName::parse(text).unwrap();
    for (line, command, app) in [
        ("stop", Subcommand::Stop, None),
        ("--json list ./blog", Subcommand::List, Some("./blog")),
        ("check /srv/a w:4", Subcommand::Check, Some("/srv/a")),
        ("add x.example", Subcommand::Add(host("x.example")), None),
        ("add ./blog x.example", Subcommand::Add(host("x.example")), Some("./blog")),
        ("/srv/a remove x.py", Subcommand::Remove(host("x.py")), Some("/srv/a")),
        ("add --instance=a X.example", Subcommand::Add(host("x.example")), None),
        ("blog", Subcommand::Run, Some("blog")),
    ] {
        let tokens = read(line).unwrap();
        assert_eq!(tokens.command, command, "{line}");
        assert_eq!(tokens.app.map(|app| app.word).as_deref(), app, "{line}");
    }
}

#[test]
fn pages_and_inner_programs_come_before_everything_else() {
    let parsed = |line: &str| parse(&line.split(' ').map(Into::into).collect::<Vec<_>>(), &exists).unwrap();
    assert_eq!(parsed("w:nonsense --help"), Parsed::GeneratedDoc(GeneratedDoc::Help));
    assert_eq!(parsed("-h"), Parsed::GeneratedDoc(GeneratedDoc::Help));
    assert_eq!(parsed("./blog --version"), Parsed::GeneratedDoc(GeneratedDoc::Version));
    assert_eq!(parsed("man"), Parsed::GeneratedDoc(GeneratedDoc::Manual));
    assert_eq!(parsed("man rip-server.toml"), Parsed::GeneratedDoc(GeneratedDoc::FileManual));
    assert_eq!(parsed("completions zsh"), Parsed::GeneratedDoc(GeneratedDoc::Completions(Shell::Zsh)));
    assert_eq!(
        parsed("worker-exec --help w:x -- node"),
        Parsed::Inner(InnerProgram::Exec, ["--help", "w:x", "--", "node"].map(Into::into).to_vec())
    );
}

#[test]
fn any_order_of_the_words_says_the_same() {
    let seed = 20_261_122;
    let mut random = fastrand::Rng::with_seed(seed);
    let groups = [
        vec!["./blog@a,b.example"],
        vec!["w:2x"],
        vec!["r:10r,500"],
        vec!["c:4"],
        vec!["8443"],
        vec!["--cert", "c.pem"],
        vec!["--key=k.pem"],
        vec!["--hsts"],
        vec!["--no-redirect-http"],
        vec!["--reload=none"],
        vec!["--max-queue", "7"],
        vec!["--json"],
        vec!["check"],
    ];
    let line = |order: &[Vec<&str>]| order.concat().join(" ");
    let expected = read(&line(&groups)).unwrap();
    for round in 0..2000 {
        let mut order = groups.to_vec();
        random.shuffle(&mut order);
        assert_eq!(read(&line(&order)).as_ref(), Ok(&expected), "seed {seed}, round {round}: {order:?}");
    }
}

#[test]
fn random_words_are_read_or_refused_and_never_panic() {
    let seed = 42;
    let mut random = fastrand::Rng::with_seed(seed);
    let pieces = [
        "w:",
        "r:",
        "--",
        "-",
        "=",
        "@",
        ",",
        "1",
        "0",
        "s",
        "x",
        ":",
        "http",
        "add",
        "./blog",
        "é",
        "--max-queue",
        "\\x2d",
    ];
    for _ in 0..5000 {
        let words: Vec<OsString> = (0..random.usize(0..4))
            .map(|_| {
                (0..random.usize(0..4))
                    .map(|_| pieces[random.usize(..pieces.len())])
                    .collect::<String>()
                    .into()
            })
            .collect();
        if let Err(error) = parse(&words, &exists) {
            assert!(!error.to_string().is_empty(), "seed {seed}: {words:?}");
        }
    }
}
