//! Every layer in its turn, on machines that the tests make up: which layer wins, and the errors of wrong words.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use super::super::app::app_settings;
use super::*;
use crate::spec::{AccessFormat, CertFiles, CertSources, PortChoice, Scheme, WorkerCount};

/// A machine of its own below a temporary folder, with an app in `blog`.
struct Stage {
    folder: tempfile::TempDir,
    machine: ProcessContext,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["blog", "shop", "etc", "srv/labs/api", "srv/my-app", "run", "lib", "home"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        let machine = ProcessContext {
            variables: vec![("HOME".into(), root.join("home").into())],
            directory: root.clone(),
            user: 1000,
            etc: root.join("etc"),
            apps: root.join("srv"),
            run: root.join("run"),
            lib: root.join("lib"),
        };
        Self { folder, machine }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.machine.variables.push((name.into(), value.into()));
    }

    fn try_read(&self, line: &str) -> Result<Config, String> {
        let words: Vec<OsString> = line.split(' ').filter(|word| !word.is_empty()).map(Into::into).collect();
        match read(&words, &self.machine) {
            Ok(Invocation::Config(config)) => Ok(*config),
            Ok(other) => panic!("{line}: {other:?}"),
            Err(error) => {
                assert_eq!(error.exit_code(), 2);
                Err(error.to_string().replace(self.path("").to_str().unwrap(), "/"))
            }
        }
    }

    fn read(&self, line: &str) -> Config {
        self.try_read(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }
}

#[test]
fn an_earlier_layer_beats_a_later_one() {
    let mut stage = Stage::new();
    let count = |stage: &Stage, line: &str| {
        let settings = app_settings(&stage.read(line).apps[0]).unwrap();
        let row = settings.report.iter().find(|row| row.key == "workers").unwrap();
        (settings.upkeep.workers.to_string(), row.origin.kind())
    };
    assert_eq!(count(&stage, "./blog"), ("half".into(), "default"));
    stage.write("blog/rip.toml", "workers = 2");
    assert_eq!(count(&stage, "./blog"), ("2".into(), "app-file"));
    stage.write("x.toml", "[app]\nworkers = 3");
    assert_eq!(count(&stage, "./blog --config x.toml"), ("3".into(), "file"));
    stage.set("RIP_WORKERS", "4");
    assert_eq!(count(&stage, "./blog --config x.toml"), ("4".into(), "env"));
    assert_eq!(count(&stage, "./blog --config x.toml w:5"), ("5".into(), "flag"));
}

#[test]
fn parts_of_recycling_are_inherited_one_by_one() {
    let mut stage = Stage::new();
    stage.set("RIP_MAX_SECONDS", "60");
    stage.set("RIP_RECYCLE", "7,7s");
    let recycle = app_settings(&stage.read("./blog r:50r").apps[0]).unwrap().recycle;
    assert_eq!(recycle.requests, Some(7));
    assert_eq!(recycle.age, Some(Duration::from_secs(60)));
    assert_eq!(recycle.reloads, Some(50));
    let recycle = app_settings(&stage.read("./blog r:off").apps[0]).unwrap().recycle;
    assert_eq!((recycle.requests, recycle.age, recycle.reloads), (None, None, None));
}

#[test]
fn an_app_s_own_file_is_read_anew_for_every_deploy() {
    let stage = Stage::new();
    let config = stage.read("./blog");
    assert_eq!(app_settings(&config.apps[0]).unwrap().upkeep.workers, WorkerCount::Half.into());
    stage.write("blog/rip.toml", "workers = \"auto\"");
    assert_eq!(app_settings(&config.apps[0]).unwrap().upkeep.workers, WorkerCount::Auto.into());
    stage.write("blog/rip.toml", "workres = 1");
    let error = app_settings(&config.apps[0]).unwrap_err().to_string();
    assert!(error.ends_with("blog/rip.toml:1:1: unknown key `workres`: did you mean `workers`?"), "{error}");
}

#[test]
fn spool_files_have_room_for_what_the_largest_body_needs_unless_the_admin_says_otherwise() {
    let stage = Stage::new();
    let spool = |words: &str| stage.read(words).server.limits.spool();
    assert_eq!(spool("./blog --max-request-body=2G"), 8 << 30);
    assert_eq!(spool("./blog --max-request-body=1M"), 4 << 30);
    stage.write("s.toml", "limits.spool = \"1G\"\n[[apps]]\npath = \"/srv/x\"\nmax_body = \"9G\"\n");
    assert_eq!(spool("./blog --config=s.toml"), 1 << 30);
}

#[test]
fn defaults_are_those_written_down() {
    let stage = Stage::new();
    let config = stage.read("./blog");
    let app = app_settings(&config.apps[0]).unwrap();
    let seconds = Duration::from_secs;
    assert_eq!(app.hosts, [crate::name::RouteName::parse("blog.local").unwrap()]);
    assert_eq!((app.rules.max_queue, app.rules.max_body, app.rules.tunnels), (1024, 100 << 20, 100));
    let times = app.rules.timeouts;
    assert_eq!((times.queue, times.connect, times.request), (seconds(10), seconds(1), seconds(30)));
    assert_eq!((times.body_idle, times.start, times.drain), (seconds(60), seconds(60), seconds(30)));
    assert_eq!(times.kill, seconds(5));
    assert_eq!(app.recycle.requests, Some(10_000));
    assert_eq!((app.memory.soft, app.memory.hard), (None, None));
    let limits = config.server.limits;
    assert_eq!((limits.max_head, limits.max_fields, limits.max_url), (32 << 10, 100, 8 << 10));
    assert_eq!(limits.spool(), 4 << 30);
    assert_eq!((limits.body_memory, limits.reply_memory, limits.reply_spool), (64 << 10, 1 << 20, 64 << 20));
    assert_eq!((limits.reply_room, limits.spool()), (128 << 20, 4 << 30));
    assert_eq!(
        (limits.max_connections, limits.max_connections_per_address, limits.rate),
        (10_000, None, None)
    );
    assert_eq!(config.server.scheme, Scheme::Https { port: PortChoice::Probe, redirect: Some(80) });
    let acme_store = config.server.certs.acme_store.clone();
    assert_eq!(config.server.certs, CertSources { acme_store, ..CertSources::default() });
    assert_eq!(config.server.log.access_log(), AccessFormat::Human);
    assert_eq!(
        (config.server.tls.hsts(), config.server.listening.threads, config.warnings.len()),
        (None, None, 0)
    );
}

#[test]
fn what_excludes_each_other_is_refused_and_both_are_named() {
    let mut stage = Stage::new();
    stage.write("c.pem", "");
    stage.write("both.toml", "[listen]\nhttp = 80\nhttps = 443");
    stage.write("blog/rip.toml", "command = ['a']\nstatic.root = 'b'");
    for (line, error) in [
        (
            "./blog http 8443",
            "`http` and `8443` exclude each other: the main listener speaks HTTPS (and redirects from port 80) or plain HTTP",
        ),
        (
            "./blog --config both.toml",
            "`listen.http` (/both.toml:2:8) and `listen.https` (/both.toml:3:9) exclude each other: the main listener \
             speaks HTTPS (and redirects from port 80) or plain HTTP",
        ),
        ("./blog --cert=c.pem", "`--cert=c.pem` needs `--key=PATH` too"),
        ("./blog --key=c.pem", "`--key=c.pem` needs `--cert=PATH` too"),
        (
            "./blog --key=c.pem --cert=c.pem --auto-tls",
            "`--cert=c.pem` and `--auto-tls` exclude each other: the certificate is given or made by mkcert",
        ),
        (
            "./blog --key=c.pem --cert=no.pem",
            "cannot read the certificate /no.pem: No such file or directory (os error 2)",
        ),
        ("./blog --key=etc --cert=c.pem", "cannot read the certificate's key /etc: is a directory"),
        (
            "./blog --config=no.toml",
            "cannot read the config file /no.toml: No such file or directory (os error 2)",
        ),
    ] {
        assert_eq!(stage.try_read(line).unwrap_err(), error, "{line}");
    }
    let error = app_settings(&stage.read("./blog").apps[0]).unwrap_err().to_string();
    assert!(error.contains("an app is a program or a folder of files"), "{error}");
    stage.set("RIP_MAX_QUEUE", "many");
    assert_eq!(
        stage.try_read("./blog").unwrap_err(),
        "environment variable RIP_MAX_QUEUE: read `many`, expected a whole number from 0 to 1000000"
    );
}

#[test]
fn a_later_layer_does_not_conflict_with_an_earlier_one() {
    let mut stage = Stage::new();
    stage.write("x.toml", "[listen]\nhttps = 443\n[tls]\ncert = 'c.pem'\nkey = 'c.pem'");
    stage.write("c.pem", "");
    stage.set("RIP_LISTEN_HTTP", "8080");
    assert_eq!(
        stage.read("./blog --config=x.toml").server.scheme,
        Scheme::Http { port: PortChoice::Given(8080) }
    );
    let https = stage.read("./blog 8443 --config=x.toml").server;
    assert_eq!(https.scheme, Scheme::Https { port: PortChoice::Given(8443), redirect: Some(80) });
    let path = stage.path("c.pem");
    assert_eq!(https.certs.files, Some(CertFiles { cert: path.clone(), key: path }));
    let by_mkcert = stage.read("./blog 1 --auto-tls --config=x.toml").server.certs;
    assert!(by_mkcert.mkcert && by_mkcert.files.is_none(), "{by_mkcert:?}");
}

#[test]
fn without_an_app_there_is_a_short_usage() {
    let error = Stage::new().try_read("w:4").unwrap_err();
    assert!(
        error.starts_with("no app given: name its directory or entry file\n\nUsage: rip-server APP"),
        "{error}"
    );
}

#[test]
fn an_instance_alone_finds_its_file_and_its_app() {
    let stage = Stage::new();
    assert_eq!(stage.read("--instance labs-api").apps[0].path, stage.path("srv/labs/api"));
    assert_eq!(stage.read(r"--instance my\x2dapp").apps[0].path, stage.path("srv/my-app"));
    assert_eq!(stage.read("--instance my-app").apps[0].path, stage.path("srv/my-app"));
    std::fs::create_dir_all(stage.path("srv/my/app")).unwrap();
    let error = stage.try_read("--instance=my-app").unwrap_err();
    assert!(error.contains("/srv/my/app and /srv/my-app") && error.contains(r"`my\x2dapp`"), "{error}");
    std::fs::remove_dir_all(stage.path("srv/my")).unwrap();
    for (name, below) in [("a-..-..-etc", "a/../../etc"), (r"a-\x2e\x2e-b", "a/../b")] {
        let error = stage.try_read(&format!("--instance={name}")).unwrap_err();
        assert_eq!(error, format!("instance `{name}` stands for the path `{below}`, which leaves /srv"));
    }
    stage.write("etc/labs-api.toml", "app = '../blog'\nthreads = 3");
    let config = stage.read("--instance labs-api");
    assert_eq!(config.apps[0].path, stage.path("blog"));
    assert_eq!(config.server.instance.as_str(), "labs-api");
    assert_eq!(config.server.listening.threads.map(u32::from as fn(_) -> u32), Some(3));
}

#[test]
fn the_file_of_an_app_s_name_is_read_by_services_only() {
    let mut stage = Stage::new();
    stage.write("etc/blog.toml", "threads = 3");
    assert_eq!(stage.read("./blog").file, None);
    stage.set("NOTIFY_SOCKET", "@x");
    assert_eq!(stage.read("./blog").file, Some(stage.path("etc/blog.toml")));
}

#[test]
fn tokens_speak_of_the_main_app_and_flags_of_all() {
    let stage = Stage::new();
    stage.write("x.toml", "[[apps]]\npath = 'shop'\nworkers = 9\nmax_queue = 9");
    let config = stage.read("./blog@a w:5 --max-queue=5 --config=x.toml");
    let shop = app_settings(&config.apps[1]).unwrap();
    assert_eq!((shop.upkeep.workers.to_string().as_str(), shop.rules.max_queue), ("9", 5));
    assert_eq!(app_settings(&config.apps[0]).unwrap().upkeep.workers.to_string(), "5");

    let added = config.app_at(&stage.path("home"));
    let added = app_settings(&added).unwrap();
    assert_eq!(
        (added.upkeep.workers, added.rules.max_queue, added.hosts.len()),
        (WorkerCount::Half.into(), 5, 0)
    );
    assert_eq!(config.app_at(&stage.path("shop")), config.apps[1]);
}

#[test]
fn the_table_of_the_app_on_the_command_line_is_its_own() {
    let stage = Stage::new();
    stage.write("x.toml", "[[apps]]\npath = 'shop'\n[[apps]]\npath = 'blog'\nworkers = 7");
    let config = stage.read("./blog --config=x.toml");
    assert_eq!(config.apps.len(), 2);
    assert_eq!(app_settings(&config.apps[0]).unwrap().upkeep.workers.to_string(), "7");
    stage.write("x.toml", "[app]\nworkers = 7\n[[apps]]\npath = 'shop'");
    let error = stage.try_read("--config=x.toml").unwrap_err();
    assert_eq!(error, "[app] (/x.toml:2:11) needs `path = …`, or an app on the command line, too");
}

#[test]
fn two_apps_of_one_name_are_refused() {
    let stage = Stage::new();
    stage.write("x.toml", "app = 'blog'\n[[apps]]\npath = 'shop'\nname = 'blog'");
    assert_eq!(
        stage.try_read("--config=x.toml").unwrap_err(),
        "app `blog` (/x.toml:1:7) and app `blog` (/x.toml:3:8) exclude each other: each app has a path and a name \
         of its own; set `name` under [[apps]]"
    );
}

#[test]
fn what_has_no_effect_is_warned_of() {
    let mut stage = Stage::new();
    stage.set("RIP_MAX_QUEU", "5");
    stage.set("RIP_LOG", "debug");
    assert_eq!(
        stage.read("./blog http --hsts").warnings,
        [
            "environment variable RIP_MAX_QUEU means nothing to rip-server: did you mean RIP_MAX_QUEUE?",
            "`--hsts` has no effect: plain HTTP is served",
        ]
    );
    stage.write("blog/rip.toml", "reload_signal = 'HUP'");
    let warnings = app_settings(&stage.read("./blog").apps[0]).unwrap().warnings;
    assert!(
        warnings[0].ends_with("rip.toml:1:17) has no effect on blog: reload is not module"),
        "{warnings:?}"
    );
}

#[test]
fn a_client_means_the_server_it_names_or_the_only_one() {
    let stage = Stage::new();
    let control = |line: &str| stage.try_read(line).map(|config| config.server.control_socket);
    let home = |name: &str| Ok(stage.path(&format!("home/.local/state/rip-server/{name}/run.sock")));
    assert_eq!(control("list ./blog"), home("blog"));
    assert_eq!(control("stop --instance=x"), home("x"));
    assert_eq!(control("stop --runtime-dir=run/y"), Ok(stage.path("run/y.sock")));
    assert_eq!(
        control("list"),
        Err("which server? no control socket is where they usually are: name its app's directory, or say \
             --instance=NAME"
            .into())
    );
    std::fs::create_dir_all(stage.path("run/rip-server")).unwrap();
    stage.write("run/rip-server/dead.sock", "");
    let _shop = UnixListener::bind(stage.path("run/rip-server/shop.sock")).unwrap();
    assert_eq!(control("list"), Ok(stage.path("run/rip-server/shop.sock")));
    std::fs::create_dir_all(stage.path("home/.local/state/rip-server/blog")).unwrap();
    let _blog = UnixListener::bind(stage.path("home/.local/state/rip-server/blog/run.sock")).unwrap();
    assert!(control("list").unwrap_err().starts_with("which server? these run: blog, shop"));
}

#[test]
fn the_report_names_every_origin() {
    let mut stage = Stage::new();
    stage.set("RIP_THREADS", "2");
    stage.write("blog/rip.toml", "[env]\nSECRET = 'hunter2'");
    let config = stage.read("check --all ./blog@a 8443");
    let apps = [app_settings(&config.apps[0]).unwrap()];
    let text = super::super::report::report_text(&config, &apps, &[]);
    let line = |key: &str| text.lines().find(|line| line.trim_start().starts_with(key)).unwrap_or_default();
    assert!(line("listen.https").ends_with("command line `8443`"), "{text}");
    assert!(line("threads").ends_with("environment RIP_THREADS"), "{text}");
    assert!(
        line("hosts").contains("a.local") && line("hosts").ends_with("command line `./blog@a`"),
        "{text}"
    );
    assert!(line("env.SECRET").contains("(set)") && !text.contains("hunter2"), "{text}");
    assert!(line("limits.head").ends_with("default"), "{text}");
    let json = super::super::report::report_json(&config, &apps, &[]);
    assert_eq!(json["instance"], "blog");
    assert_eq!(json["apps"][0]["app"], "blog");
    let row = json["server"].as_array().unwrap().iter().find(|row| row["key"] == "threads").unwrap().clone();
    assert_eq!(
        row,
        serde_json::json!({"key": "threads", "value": "2", "origin": {"from": "env", "name": "RIP_THREADS"}})
    );
}

#[test]
fn patterns_come_from_the_environment_with_their_braces_whole() {
    let mut stage = Stage::new();
    stage.set("RIP_WATCH", "src/*.{js,ts}, templates");
    stage.set("RIP_RELOAD_SIGNAL", "HUP");
    stage.set("RIP_RELOAD", "module");
    let config = stage.read("./blog");
    let settings = app_settings(&config.apps[0]).unwrap();
    let patterns: Vec<String> = settings.watch.iter().map(ToString::to_string).collect();
    assert_eq!(patterns, ["src/*.{js,ts}", "templates"]);
    assert!(settings.upkeep.reload_signal.is_some());
    let mut stage = Stage::new();
    stage.set("RIP_WATCH", "src/*.{js,ts");
    let error = stage.try_read("./blog").unwrap_err();
    assert!(error.contains("RIP_WATCH") && error.contains("a { is not closed"), "{error}");
}
