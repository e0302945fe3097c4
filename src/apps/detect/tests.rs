//! The recognition of directories, one a test: from the files in a directory to the command that runs it.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::apps::StaticHint;
use crate::apps::kinds::{declared, deno, java, javascript, perl, python, ruby, static_site};

/// An app folder called `blog` and a machine on which only some programs are installed.
struct TestMachine {
    home: TempDir,
    scripts: PathBuf,
}

impl TestMachine {
    fn with(runtimes: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let machine = Self { scripts: home.path().join("scripts"), home };
        fs::create_dir(machine.app()).unwrap();
        fs::create_dir(machine.bin()).unwrap();
        for runtime in runtimes {
            machine.program(&machine.bin().join(runtime), "exit 1");
        }
        machine
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
            concurrency: None,
            php_root: None,
            php_ini: &NO_INI,
            behind_proxies: false,
        }
    }

    fn detect(&self) -> Result<DetectedApp, DetectError> {
        detect(&self.app(), &self.hints())
    }

    fn found(&self) -> DetectedApp {
        self.detect().unwrap()
    }

    fn error(&self) -> String {
        self.detect().unwrap_err().to_string().replace(self.home.path().to_str().unwrap(), "HOME")
    }

    fn words(&self, found: &DetectedApp) -> String {
        found.command.argv.join(" ").replace(self.home.path().to_str().unwrap(), "HOME")
    }
}

const HANDLER: &str = "export default () => new Response('x')";

static NO_INI: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();

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
        (
            "index.ts",
            HANDLER,
            &javascript::BUN_HANDLER,
            Listen::Path,
            format!("HOME/bin/bun {worker}/index.ts"),
        ),
        (
            "index.js",
            HANDLER,
            &javascript::NODE_HANDLER,
            Listen::Fd,
            format!("HOME/bin/node {worker}/index.js"),
        ),
        (
            "index.mjs",
            HANDLER,
            &javascript::NODE_HANDLER,
            Listen::Fd,
            format!("HOME/bin/node {worker}/index.mjs"),
        ),
        (
            "index.js",
            "app.listen(80)",
            &javascript::NODE_SERVER,
            Listen::Port,
            "HOME/bin/node HOME/blog/index.js".into(),
        ),
        (
            "server.js",
            "s.listen(p)",
            &javascript::NODE_SERVER,
            Listen::Port,
            "HOME/bin/node HOME/blog/server.js".into(),
        ),
        (
            "server.mjs",
            "s.listen({fd: 3})",
            &javascript::NODE_SERVER,
            Listen::Fd,
            "HOME/bin/node HOME/blog/server.mjs".into(),
        ),
        (
            "server.ts",
            "Bun.serve({})",
            &javascript::BUN_SERVER,
            Listen::Port,
            "HOME/bin/bun HOME/blog/server.ts".into(),
        ),
        ("wsgi.py", "application = x", &python::WSGI, Listen::Fd, format!("{gunicorn} wsgi:application")),
        ("app.py", flask, &python::WSGI, Listen::Fd, format!("{gunicorn} app:app")),
        ("asgi.py", "app = x", &python::ASGI, Listen::Fd, format!("{uvicorn} asgi:app")),
        ("main.py", "api = FastAPI()", &python::ASGI, Listen::Fd, format!("{uvicorn} main:api")),
        (
            "main.py",
            "os.environ['PORT']",
            &python::PYTHON_SERVER,
            Listen::Port,
            "HOME/bin/python3 HOME/blog/main.py".into(),
        ),
        (
            "app.psgi",
            "sub {}",
            &perl::PSGI_APP,
            Listen::Path,
            "/bin/sh -c exec \"$0\" --listen \"$RIP_SOCKET\" \"$@\" HOME/bin/starman --workers 1 --disable-keepalive \
             --max-requests 1000000000 HOME/blog/app.psgi"
                .into(),
        ),
        ("config.ru", "run App", &ruby::RACK_APP, Listen::Fd, puma.into()),
        (
            "index.html",
            "<p>",
            &static_site::STATIC_SITE,
            Listen::Fd,
            "/usr/bin/rip-server worker-static --root HOME/blog".into(),
        ),
        (
            "dist/index.html",
            "<p>",
            &static_site::STATIC_SITE,
            Listen::Fd,
            "/usr/bin/rip-server worker-static --root HOME/blog/dist".into(),
        ),
    ];
    for (name, text, kind, listen, argv) in table {
        let machine =
            TestMachine::with(&["node", "bun", "gunicorn", "uvicorn", "puma", "python3", "starman"]);
        machine.file(name, text);

        let found = machine.found();

        assert_eq!((found.kind, found.listen, machine.words(&found)), (kind, listen, argv), "{name}: {text}");
        assert_eq!(found.command.dir, machine.app().canonicalize().unwrap());
    }
}

#[test]
fn a_module_beside_deno_json_is_denos_and_listens_where_deno_is_told() {
    for (text, verb, listen) in [
        ("Deno.serve(() => new Response())", "run", Listen::Path),
        ("Deno.serve({ port: Number(Deno.env.get(\"PORT\")) }, f)", "run", Listen::Port),
        ("await new Application().listen({ port: 8000 })", "run", Listen::Path),
        ("export default { fetch() {} }", "serve", Listen::Path),
    ] {
        let machine = TestMachine::with(&["deno", "bun"]);
        machine.file("deno.json", "{}").file("main.ts", text);
        let found = machine.found();
        assert_eq!((found.kind, found.listen), (&deno::DENO_SERVER, listen), "{text}");
        let words = machine.words(&found);
        assert!(words.ends_with(&format!("HOME/bin/deno {verb} --allow-all HOME/blog/main.ts")), "{words}");
    }
    let machine = TestMachine::with(&["deno"]);
    machine.file("deno.json", "{}").file("main.ts", "console.log(1)");
    assert!(machine.error().contains("main.ts is beside deno.json"), "{}", machine.error());
}

#[test]
fn the_only_archive_that_is_a_program_is_run_by_java() {
    let machine = TestMachine::with(&["java"]);
    for name in ["shop.jar", "shop-plain.jar", "original-shop.jar", "shop-sources.jar"] {
        machine.file(&format!("build/libs/{name}"), "");
    }
    let found = machine.found();
    assert_eq!((found.kind, found.listen), (&java::JAVA_PROGRAM, Listen::Port));
    let words = machine.words(&found);
    assert!(words.ends_with("-jar \"$@\" HOME/bin/java HOME/blog/build/libs/shop.jar"), "{words}");
    machine.file("build/libs/other.jar", "");
    assert!(
        machine.error().contains("other.jar, shop.jar: name the one that is meant"),
        "{}",
        machine.error()
    );
}

#[test]
fn the_earlier_in_the_order_wins() {
    let machine = TestMachine::with(&["node", "bun", "gunicorn", "puma"]);
    let kinds = [
        ("index.html", &static_site::STATIC_SITE),
        ("config.ru", &ruby::RACK_APP),
        ("wsgi.py", &python::WSGI),
        ("server.js", &javascript::NODE_SERVER),
        ("index.js", &javascript::NODE_HANDLER),
        ("index.ts", &javascript::BUN_HANDLER),
        ("blog", &executable::EXECUTABLE),
        ("package.json", &declared::PACKAGE_JSON),
        ("Procfile", &declared::PROCFILE),
    ];
    for (name, kind) in kinds {
        let text = match name {
            "wsgi.py" => "application = x",
            "index.js" | "index.ts" => HANDLER,
            "package.json" => r#"{"scripts": {"start": "node server.js"}}"#,
            "Procfile" => "release: true\nweb: node server.js",
            _ => "",
        };
        machine.file(name, text);
        if name == "blog" {
            machine.program(&machine.app().join(name), "");
        }
        assert_eq!(machine.found().kind, kind, "after adding {name}");
    }
    let command = Some(vec!["node".into(), "x.js".into()]);
    let found = detect(&machine.app(), &Hints { command, ..machine.hints() }).unwrap();
    assert_eq!((found.kind, machine.words(&found)), (&declared::COMMAND, "HOME/bin/node x.js".into()));
}

#[test]
fn the_sentence_says_what_was_found_and_what_runs_it() {
    let machine = TestMachine::with(&["puma"]);
    machine.file("config.ru", "run App");
    assert_eq!(machine.found().why, "Ruby app: config.ru found, run by puma");
}

#[test]
fn a_package_without_a_start_script_leaves_the_word_to_the_entry() {
    let machine = TestMachine::with(&["node"]);
    machine.file("package.json", r#"{"type": "module"}"#).file("index.js", HANDLER);
    assert_eq!(machine.found().kind, &javascript::NODE_HANDLER);
}

#[test]
fn a_start_script_runs_without_npm_and_finds_the_apps_own_programs_first() {
    let machine = TestMachine::with(&["node"]);
    machine.file("package.json", r#"{"scripts": {"start": "next start -p $PORT"}}"#);
    machine.file("node_modules/.bin/next", "");

    let found = machine.found();

    assert_eq!(machine.words(&found), "/bin/sh -c exec next start -p $PORT");
    let path = &found.env.iter().find(|(name, _)| name == "PATH").unwrap().1;
    assert!(
        path.starts_with(machine.app().canonicalize().unwrap().join("node_modules/.bin").to_str().unwrap())
    );
    assert_eq!(found.listen, Listen::Port);
}

#[test]
fn a_virtual_environment_in_the_app_comes_first() {
    let machine = TestMachine::with(&["gunicorn"]);
    machine.file("wsgi.py", "application = x");
    machine.program(&machine.app().join(".venv/bin/gunicorn"), "echo '  --no-control-socket  Disable it'");

    let found = machine.found();

    let words = machine.words(&found);
    assert!(words.starts_with("HOME/blog/.venv/bin/gunicorn "), "{words}");
    assert!(words.ends_with(" --no-control-socket wsgi:application"), "{words}");
    assert_eq!(found.kind.ready_by, crate::spec::ReadyBy::Answer);
    assert!(found.env.iter().any(|(name, _)| name == "VIRTUAL_ENV"));
}

#[test]
fn typescript_runs_on_a_node_that_can_strip_types_when_there_is_no_bun() {
    let machine = TestMachine::with(&["node"]);
    machine.file("index.ts", HANDLER);
    let old = "`bun` is needed to run index.ts: npm install -g bun, or a Node of 22.6 or newer that can strip types";
    assert_eq!(machine.error(), old);

    machine.program(&machine.bin().join("node"), r#"test "$1" = --experimental-strip-types"#);
    let found = machine.found();

    assert_eq!(found.kind, &javascript::NODE_HANDLER);
    let argv = "HOME/bin/node --experimental-strip-types HOME/scripts/worker.mjs HOME/blog/index.ts";
    assert_eq!(machine.words(&found), argv);
}

#[test]
fn javascript_runs_on_bun_when_there_is_no_node() {
    let machine = TestMachine::with(&["bun"]);
    machine.file("index.js", HANDLER);
    let found = machine.found();
    assert_eq!((found.kind, found.listen), (&javascript::BUN_HANDLER, Listen::Path));
}

#[test]
fn a_rip_entry_needs_bun_and_a_loader() {
    let machine = TestMachine::with(&["bun"]);
    machine.file("index.rip", "export default -> new Response 'x'");
    assert!(machine.error().starts_with("`rip` is needed to run index.rip: add the rip-lang package"));

    machine.file("node_modules/rip-lang/loader.js", "");
    let argv = "HOME/bin/bun --preload=HOME/blog/node_modules/rip-lang/loader.js HOME/scripts/worker.mjs \
                HOME/blog/index.rip";
    assert_eq!(machine.words(&machine.found()), argv);

    machine.file("bunfig.toml", "preload = ['./loader.ts']");
    assert_eq!(machine.words(&machine.found()), "HOME/bin/bun HOME/scripts/worker.mjs HOME/blog/index.rip");
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
        let machine = TestMachine::with(&[]);
        machine.file(name, text);
        assert_eq!(machine.error(), expected);
    }
}

#[test]
fn what_is_wrong_is_shown_with_what_would_be_right() {
    let machine = TestMachine::with(&[]);
    assert!(
        machine
            .error()
            .starts_with("`HOME/blog` is not an app that can be recognised. Looked for, in this order: ")
    );

    machine.file("package.json", "{");
    assert!(machine.error().starts_with("`HOME/blog/package.json` is not valid: "), "{}", machine.error());
    machine.file("Procfile", "worker: x\nweb:\n");
    assert_eq!(
        machine.error(),
        "`HOME/blog/Procfile` has no `web:` line: expected one like `web: ./server --port $PORT`"
    );

    let empty = Hints { command: Some(Vec::new()), ..machine.hints() };
    assert!(matches!(detect(&machine.app(), &empty), Err(DetectError::EmptyCommand)));
    assert!(matches!(
        detect(&machine.app().join("no"), &machine.hints()),
        Err(DetectError::Unreadable { .. })
    ));
    machine.file("notes.txt", "");
    let notes = machine.app().join("notes.txt");
    assert!(matches!(detect(&notes, &machine.hints()), Err(DetectError::NotRunnable { .. })));
}

#[test]
fn listen_is_taken_where_it_works_and_refused_where_not() {
    let machine = TestMachine::with(&["node", "puma"]);
    machine.file("server.js", "");
    let fd = Hints { listen: Some(Listen::Fd), ..machine.hints() };
    assert_eq!(detect(&machine.app(), &fd).unwrap().listen, Listen::Fd);

    let entry = machine.file("config.ru", "").app().join("config.ru");
    let port = Hints { listen: Some(Listen::Port), ..machine.hints() };
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
        let machine = TestMachine::with(&[]);
        machine.program(&machine.app().join("server"), script);
        assert_eq!(machine.found().listen, listen, "{script}");
    }
}

#[test]
fn the_static_settings_become_the_workers_words() {
    let machine = TestMachine::with(&["node"]);
    machine.file("web/app.html", "").file("index.js", HANDLER);
    let of = |spa: &str| Hints {
        static_root: Some(StaticHint {
            root: Some("web".into()),
            index: Some("home.html".into()),
            spa: Some(spa.into()),
        }),
        ..machine.hints()
    };

    let found = detect(&machine.app(), &of("app.html")).unwrap();
    let by_file = detect(&machine.app().join("index.js"), &of("app.html")).unwrap();
    let missing = detect(&machine.app(), &of("none.html")).unwrap_err();

    let argv = "/usr/bin/rip-server worker-static --root HOME/blog/web --index home.html --spa app.html";
    assert_eq!((machine.words(&found), found.entry), (argv.into(), None));
    assert_eq!(machine.words(&by_file), argv);
    assert!(missing.to_string().starts_with("the static spa file `"), "{missing}");
}

#[test]
fn a_build_is_served_before_its_source() {
    let machine = TestMachine::with(&[]);
    machine.file("index.html", "").file("dist/index.html", "");
    assert!(machine.words(&machine.found()).ends_with("--root HOME/blog"));
    machine.file("package.json", "{}");
    assert!(machine.words(&machine.found()).ends_with("--root HOME/blog/dist"));
}

#[test]
fn django_is_found_by_its_settings() {
    let machine = TestMachine::with(&["gunicorn"]);
    machine.file("manage.py", "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site_a.settings')");
    machine.file("site_a/wsgi.py", "application = get_wsgi_application()");
    assert!(machine.words(&machine.found()).ends_with(" site_a.wsgi:application"));
}

#[test]
fn a_file_is_run_in_its_folder() {
    let machine = TestMachine::with(&["node"]);
    machine.file("api.mjs", HANDLER);
    let found = detect(&machine.app().join("api.mjs"), &machine.hints()).unwrap();
    assert_eq!(found.kind, &javascript::NODE_HANDLER);
    assert_eq!(found.entry, Some(machine.app().canonicalize().unwrap().join("api.mjs")));
}
