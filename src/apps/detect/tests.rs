//! What directories are, one a test: from the files in them to the command that runs them.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::apps::{Kind, StaticHint};

/// An app folder called `blog` and a machine on which only some programs are installed.
struct Bench {
    home: TempDir,
    scripts: PathBuf,
}

impl Bench {
    fn with(runtimes: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let bench = Self { scripts: home.path().join("scripts"), home };
        fs::create_dir(bench.app()).unwrap();
        fs::create_dir(bench.bin()).unwrap();
        for runtime in runtimes {
            bench.program(&bench.bin().join(runtime), "exit 1");
        }
        bench
    }

    fn app(&self) -> PathBuf {
        self.home.path().join("blog")
    }

    fn bin(&self) -> PathBuf {
        self.home.path().join("bin")
    }

    fn program(&self, path: &Path, script: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn file(&self, name: &str, text: &str) -> &Self {
        let path = self.app().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn hints(&self) -> Hints<'_> {
        Hints {
            command: None,
            listen: None,
            static_root: None,
            runtime_dir_for_scripts: &self.scripts,
            path_env: OsString::from(self.bin()),
            self_exe: "/usr/bin/rip-server".into(),
            behind_proxies: false,
        }
    }

    fn detect(&self) -> Result<Found, DetectError> {
        detect(&self.app(), &self.hints())
    }

    fn found(&self) -> Found {
        self.detect().unwrap()
    }

    fn error(&self) -> String {
        self.detect().unwrap_err().to_string().replace(self.home.path().to_str().unwrap(), "HOME")
    }

    fn words(&self, found: &Found) -> String {
        found.command.argv.join(" ").replace(self.home.path().to_str().unwrap(), "HOME")
    }
}

const HANDLER: &str = "export default () => new Response('x')";

#[test]
fn each_kind_is_found_and_run_in_its_way() {
    let gunicorn = "HOME/bin/gunicorn --worker-class=rip_gunicorn.Worker --pythonpath=HOME/scripts --workers=1 \
                    --threads=1 --timeout=0 --graceful-timeout=30 --keep-alive=75 --forwarded-allow-ips=*";
    let uvicorn = "HOME/bin/uvicorn --fd=3 --no-access-log --proxy-headers --forwarded-allow-ips=* \
                   --timeout-keep-alive=75";
    let puma = "HOME/bin/puma --bind-to-activated-sockets=only --threads 1:1 --workers 0 HOME/blog/config.ru";
    let worker = "HOME/scripts/worker.mjs HOME/blog";
    let flask = "app = Flask(__name__)";
    let table = [
        ("index.ts", HANDLER, Kind::BunHandler, Listen::Path, format!("HOME/bin/bun {worker}/index.ts")),
        ("index.js", HANDLER, Kind::NodeHandler, Listen::Fd, format!("HOME/bin/node {worker}/index.js")),
        ("index.mjs", HANDLER, Kind::NodeHandler, Listen::Fd, format!("HOME/bin/node {worker}/index.mjs")),
        (
            "index.js",
            "app.listen(80)",
            Kind::NodeServer,
            Listen::Port,
            "HOME/bin/node HOME/blog/index.js".into(),
        ),
        (
            "server.js",
            "s.listen(p)",
            Kind::NodeServer,
            Listen::Port,
            "HOME/bin/node HOME/blog/server.js".into(),
        ),
        (
            "server.mjs",
            "s.listen({fd: 3})",
            Kind::NodeServer,
            Listen::Fd,
            "HOME/bin/node HOME/blog/server.mjs".into(),
        ),
        (
            "server.ts",
            "Bun.serve({})",
            Kind::BunServer,
            Listen::Port,
            "HOME/bin/bun HOME/blog/server.ts".into(),
        ),
        ("wsgi.py", "application = x", Kind::PythonWsgi, Listen::Fd, format!("{gunicorn} wsgi:application")),
        ("app.py", flask, Kind::PythonWsgi, Listen::Fd, format!("{gunicorn} app:app")),
        ("asgi.py", "app = x", Kind::PythonAsgi, Listen::Fd, format!("{uvicorn} asgi:app")),
        ("main.py", "api = FastAPI()", Kind::PythonAsgi, Listen::Fd, format!("{uvicorn} main:api")),
        (
            "main.py",
            "os.environ['PORT']",
            Kind::PythonServer,
            Listen::Port,
            "HOME/bin/python3 HOME/blog/main.py".into(),
        ),
        ("config.ru", "run App", Kind::Ruby, Listen::Fd, puma.into()),
        (
            "index.html",
            "<p>",
            Kind::Static,
            Listen::Fd,
            "/usr/bin/rip-server worker-static --root HOME/blog".into(),
        ),
        (
            "dist/index.html",
            "<p>",
            Kind::Static,
            Listen::Fd,
            "/usr/bin/rip-server worker-static --root HOME/blog/dist".into(),
        ),
    ];
    for (name, text, kind, listen, argv) in table {
        let bench = Bench::with(&["node", "bun", "gunicorn", "uvicorn", "puma", "python3"]);
        bench.file(name, text);

        let found = bench.found();

        assert_eq!((found.kind, found.listen, bench.words(&found)), (kind, listen, argv), "{name}: {text}");
        assert_eq!(found.command.dir, bench.app().canonicalize().unwrap());
    }
}

#[test]
fn the_earlier_in_the_order_wins() {
    let bench = Bench::with(&["node", "bun", "gunicorn", "puma"]);
    let kinds = [
        ("index.html", Kind::Static),
        ("config.ru", Kind::Ruby),
        ("wsgi.py", Kind::PythonWsgi),
        ("server.js", Kind::NodeServer),
        ("index.js", Kind::NodeHandler),
        ("index.ts", Kind::BunHandler),
        ("blog", Kind::Executable),
        ("package.json", Kind::PackageJson),
        ("Procfile", Kind::Procfile),
    ];
    for (name, kind) in kinds {
        let text = match name {
            "wsgi.py" => "application = x",
            "index.js" | "index.ts" => HANDLER,
            "package.json" => r#"{"scripts": {"start": "node server.js"}}"#,
            "Procfile" => "release: true\nweb: node server.js",
            _ => "",
        };
        bench.file(name, text);
        if name == "blog" {
            bench.program(&bench.app().join(name), "");
        }
        assert_eq!(bench.found().kind, kind, "after adding {name}");
    }
    let command = Some(vec!["node".into(), "x.js".into()]);
    let found = detect(&bench.app(), &Hints { command, ..bench.hints() }).unwrap();
    assert_eq!((found.kind, bench.words(&found)), (Kind::Command, "HOME/bin/node x.js".into()));
}

#[test]
fn the_sentence_says_what_was_found_and_what_runs_it() {
    let bench = Bench::with(&["puma"]);
    bench.file("config.ru", "run App");
    assert_eq!(bench.found().why, "Ruby app: config.ru found, run by puma");
}

#[test]
fn a_package_without_a_start_script_leaves_the_word_to_the_entry() {
    let bench = Bench::with(&["node"]);
    bench.file("package.json", r#"{"type": "module"}"#).file("index.js", HANDLER);
    assert_eq!(bench.found().kind, Kind::NodeHandler);
}

#[test]
fn a_start_script_runs_without_npm_and_finds_the_apps_own_programs_first() {
    let bench = Bench::with(&["node"]);
    bench.file("package.json", r#"{"scripts": {"start": "next start -p $PORT"}}"#);
    bench.file("node_modules/.bin/next", "");

    let found = bench.found();

    assert_eq!(bench.words(&found), "/bin/sh -c exec next start -p $PORT");
    let path = &found.env.iter().find(|(name, _)| name == "PATH").unwrap().1;
    assert!(
        path.starts_with(bench.app().canonicalize().unwrap().join("node_modules/.bin").to_str().unwrap())
    );
    assert_eq!(found.listen, Listen::Port);
}

#[test]
fn a_virtual_environment_in_the_app_comes_first() {
    let bench = Bench::with(&["gunicorn"]);
    bench.file("wsgi.py", "application = x");
    bench.program(&bench.app().join(".venv/bin/gunicorn"), "echo '  --no-control-socket  Disable it'");

    let found = bench.found();

    let words = bench.words(&found);
    assert!(words.starts_with("HOME/blog/.venv/bin/gunicorn "), "{words}");
    assert!(words.ends_with(" --no-control-socket wsgi:application"), "{words}");
    assert_eq!(found.ready_by, crate::apps::ReadyBy::Answer);
    assert!(found.env.iter().any(|(name, _)| name == "VIRTUAL_ENV"));
}

#[test]
fn typescript_runs_on_a_node_that_can_strip_types_when_there_is_no_bun() {
    let bench = Bench::with(&["node"]);
    bench.file("index.ts", HANDLER);
    let old = "`bun` is needed to run index.ts: npm install -g bun, or a Node of 22.6 or newer that can strip types";
    assert_eq!(bench.error(), old);

    bench.program(&bench.bin().join("node"), r#"test "$1" = --experimental-strip-types"#);
    let found = bench.found();

    assert_eq!(found.kind, Kind::NodeHandler);
    let argv = "HOME/bin/node --experimental-strip-types HOME/scripts/worker.mjs HOME/blog/index.ts";
    assert_eq!(bench.words(&found), argv);
}

#[test]
fn javascript_runs_on_bun_when_there_is_no_node() {
    let bench = Bench::with(&["bun"]);
    bench.file("index.js", HANDLER);
    let found = bench.found();
    assert_eq!((found.kind, found.listen), (Kind::BunHandler, Listen::Path));
}

#[test]
fn a_rip_entry_needs_bun_and_a_loader() {
    let bench = Bench::with(&["bun"]);
    bench.file("index.rip", "export default -> new Response 'x'");
    assert!(bench.error().starts_with("`rip` is needed to run index.rip: add the rip-lang package"));

    bench.file("node_modules/rip-lang/loader.js", "");
    let argv = "HOME/bin/bun --preload=HOME/blog/node_modules/rip-lang/loader.js HOME/scripts/worker.mjs \
                HOME/blog/index.rip";
    assert_eq!(bench.words(&bench.found()), argv);

    bench.file("bunfig.toml", "preload = ['./loader.ts']");
    assert_eq!(bench.words(&bench.found()), "HOME/bin/bun HOME/scripts/worker.mjs HOME/blog/index.rip");
}

#[test]
fn a_missing_runtime_is_named_with_its_package() {
    let table = [
        ("index.js", HANDLER, "`node` is needed to run index.js: apt install nodejs"),
        ("config.ru", "", "`puma` is needed to run config.ru: apt install puma"),
        (
            "wsgi.py",
            "application = x",
            "`gunicorn` is needed to run wsgi.py: apt install gunicorn, or pip install gunicorn into the app's .venv",
        ),
        (
            "asgi.py",
            "app = x",
            "`uvicorn` is needed to run asgi.py: apt install uvicorn, or pip install uvicorn into the app's .venv",
        ),
        ("Procfile", "web: puma -p $PORT", "`puma` is needed to run the Procfile: apt install puma"),
        (
            "package.json",
            r#"{"scripts": {"start": "node x"}}"#,
            "`node` is needed to run scripts.start of package.json: apt install nodejs",
        ),
    ];
    for (name, text, expected) in table {
        let bench = Bench::with(&[]);
        bench.file(name, text);
        assert_eq!(bench.error(), expected);
    }
}

#[test]
fn what_is_wrong_is_shown_with_what_would_be_right() {
    let bench = Bench::with(&[]);
    assert!(
        bench
            .error()
            .starts_with("`HOME/blog` is not an app that can be recognised. Looked for, in this order: ")
    );

    bench.file("package.json", "{");
    assert!(bench.error().starts_with("`HOME/blog/package.json` is not valid: "), "{}", bench.error());
    bench.file("Procfile", "worker: x\nweb:\n");
    assert_eq!(
        bench.error(),
        "`HOME/blog/Procfile` has no `web:` line: expected one like `web: ./server --port $PORT`"
    );

    let empty = Hints { command: Some(Vec::new()), ..bench.hints() };
    assert!(matches!(detect(&bench.app(), &empty), Err(DetectError::EmptyCommand)));
    assert!(matches!(detect(&bench.app().join("no"), &bench.hints()), Err(DetectError::Unreadable { .. })));
    bench.file("notes.txt", "");
    let notes = bench.app().join("notes.txt");
    assert!(matches!(detect(&notes, &bench.hints()), Err(DetectError::NotRunnable(_))));
}

#[test]
fn listen_is_taken_where_it_works_and_refused_where_not() {
    let bench = Bench::with(&["node", "puma"]);
    bench.file("server.js", "");
    let fd = Hints { listen: Some(Listen::Fd), ..bench.hints() };
    assert_eq!(detect(&bench.app(), &fd).unwrap().listen, Listen::Fd);

    let entry = bench.file("config.ru", "").app().join("config.ru");
    let port = Hints { listen: Some(Listen::Port), ..bench.hints() };
    let error = detect(&entry, &port).unwrap_err().to_string();
    assert_eq!(error, "`listen = \"port\"` does not fit a Rack app, which is run with `fd`");
}

#[test]
fn an_executable_script_shows_how_it_listens() {
    let table = [
        ("exec serve", Listen::Fd),
        ("exec serve --port $PORT", Listen::Port),
        ("exec serve --socket $RIP_SOCKET", Listen::Path),
        ("test $LISTEN_FDS = 1 && exec serve $PORT", Listen::Fd),
    ];
    for (script, listen) in table {
        let bench = Bench::with(&[]);
        bench.program(&bench.app().join("server"), script);
        assert_eq!(bench.found().listen, listen, "{script}");
    }
}

#[test]
fn the_static_settings_become_the_workers_words() {
    let bench = Bench::with(&["node"]);
    bench.file("web/app.html", "").file("index.js", HANDLER);
    let of = |spa: &str| Hints {
        static_root: Some(StaticHint {
            root: Some("web".into()),
            index: Some("home.html".into()),
            spa: Some(spa.into()),
        }),
        ..bench.hints()
    };

    let found = detect(&bench.app(), &of("app.html")).unwrap();
    let by_file = detect(&bench.app().join("index.js"), &of("app.html")).unwrap();
    let missing = detect(&bench.app(), &of("none.html")).unwrap_err();

    let argv = "/usr/bin/rip-server worker-static --root HOME/blog/web --index home.html --spa app.html";
    assert_eq!((bench.words(&found), found.entry), (argv.into(), None));
    assert_eq!(bench.words(&by_file), argv);
    assert!(missing.to_string().starts_with("the static spa file `"), "{missing}");
}

#[test]
fn a_build_is_served_before_its_source() {
    let bench = Bench::with(&[]);
    bench.file("index.html", "").file("dist/index.html", "");
    assert!(bench.words(&bench.found()).ends_with("--root HOME/blog"));
    bench.file("package.json", "{}");
    assert!(bench.words(&bench.found()).ends_with("--root HOME/blog/dist"));
}

#[test]
fn django_is_found_by_its_settings() {
    let bench = Bench::with(&["gunicorn"]);
    bench.file("manage.py", "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site_a.settings')");
    bench.file("site_a/wsgi.py", "application = get_wsgi_application()");
    assert!(bench.words(&bench.found()).ends_with(" site_a.wsgi:application"));
}

#[test]
fn a_file_is_run_in_its_folder() {
    let bench = Bench::with(&["node"]);
    bench.file("api.mjs", HANDLER);
    let found = detect(&bench.app().join("api.mjs"), &bench.hints()).unwrap();
    assert_eq!(found.kind, Kind::NodeHandler);
    assert_eq!(found.entry, Some(bench.app().canonicalize().unwrap().join("api.mjs")));
}
