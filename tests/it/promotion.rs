//! The signs that a new version has to show before it serves: a first process that lives, and an answer of the app
//! itself.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::{Server, Setup, has, until};

/// Answers every request with its version over descriptor 3, until it is told to end. An orphan begins to answer when
/// whoever started it, and waits for its sign, has just exited.
const SERVE: &str = "\
import socket, sys, time
listener = socket.socket(fileno=3)
body = sys.argv[1].encode()
if body == b'orphan':
    open('up', 'w').close()
    time.sleep(0.1)
status = sys.argv[2] if len(sys.argv) > 2 else '200 OK'
while True:
    conn, _ = listener.accept()
    asked = conn.recv(65536)
    if asked:
        open('asked', 'ab').write(asked.split(b'\\r\\n')[0] + b'\\n')
        conn.sendall(b'HTTP/1.1 %s\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s'
                     % (status.encode(), len(body), body))
    conn.close()
";

/// Says `READY=1`, and is no app yet.
const SAYS_READY: &str = "\
python3 -c 'import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b\"READY=1\", os.environ[\"NOTIFY_SOCKET\"])'
";

/// An app whose releases are shell scripts.
struct App {
    folder: TempDir,
}

impl App {
    fn new(script: &str) -> Self {
        let app = Self { folder: tempfile::Builder::new().prefix("ripapp").tempdir().unwrap() };
        fs::write(app.path().join("serve.py"), SERVE).unwrap();
        app.settings("");
        app.release(script);
        app
    }

    fn path(&self) -> PathBuf {
        self.folder.path().into()
    }

    fn settings(&self, lines: &str) {
        let own = "command = [\"/bin/sh\", \"run\"]\nreload = \"none\"\ntimeouts.start = \"8s\"\n\
                   timeouts.probation = \"1500ms\"\n";
        fs::write(self.path().join("rip.toml"), format!("{own}{lines}\n")).unwrap();
    }

    fn release(&self, script: &str) {
        fs::write(self.path().join("run"), script).unwrap();
    }

    async fn start(&self) -> Server {
        Setup::app(self.path()).words(&["w:1"]).start().await
    }
}

async fn goes_on(server: &Server, pid: u32) {
    for _ in 0..5 {
        let reply = server.get("/").await;
        assert_eq!((reply.status, reply.text()), (200, "v1"));
    }
    until("only the first worker is left", || async { server.worker_pids().await == [pid] }).await;
}

#[tokio::test]
async fn a_release_that_goes_into_the_background_is_rejected_and_nothing_of_it_is_left() {
    let ways = [
        // A daemon with a session of its own, which keeps output and listener.
        "rm -f up; setsid python3 serve.py orphan & while test ! -e up; do sleep 0.01; done\n",
        // A shell that forgets to wait.
        "rm -f up; python3 serve.py orphan & while test ! -e up; do sleep 0.01; done\n",
        // A server that was forked twice, whose leader waits until it serves, is taken back.
        "rm -f up; (setsid python3 serve.py orphan &)\nsleep 0.3\n",
    ];
    let app = App::new("exec python3 serve.py v1\n");
    let server = app.start().await;
    let pid = server.worker_pids().await[0];
    for way in ways {
        app.release(way);
        let ran = server.ctl(&["deploy"]).await.expect(1);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(
            said.contains("a worker went into the background: run it in the foreground"),
            "{way}: {said}"
        );
        until("nothing of it is left", || async { orphans(&app).is_empty() }).await;
        goes_on(&server, pid).await;
    }
    server.output().says("had left its worker's process group").await;
}

/// The processes whose working directory is the app's, and that are no worker of the first release.
fn orphans(app: &App) -> Vec<String> {
    let commands = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let inside = fs::read_link(path.join("cwd")).ok()? == app.path();
        let command = fs::read(path.join("cmdline")).ok()?;
        (inside && memchr::memmem::find(&command, b"orphan").is_some()).then(|| format!("{path:?}"))
    });
    commands.collect()
}

#[tokio::test]
async fn an_orphan_without_an_environment_never_answers_for_the_app() {
    let app = App::new("exec python3 serve.py v1\n");
    let server = app.start().await;
    let pid = server.worker_pids().await[0];
    // The orphan is out of reach, and ends by itself.
    app.release(
        "rm -f up; env -i setsid timeout 6 /usr/bin/python3 serve.py orphan &\n\
         while test ! -e up; do sleep 0.01; done\n",
    );
    server.ctl(&["deploy"]).await.expect(1);
    goes_on(&server, pid).await;
    until("it has ended", || async { orphans(&app).is_empty() }).await;
}

#[tokio::test]
async fn a_worker_that_goes_into_the_background_while_it_serves_is_replaced() {
    let app = App::new(
        "test -e again && exec python3 serve.py again\ntouch again\n(python3 serve.py orphan &)\nwhile test ! -e go; do sleep 0.02; done\nexit 0\n",
    );
    let server = app.start().await;
    assert_eq!(server.get("/").await.text(), "orphan");
    fs::write(app.path().join("go"), "").unwrap();
    until("another serves", || async { server.get("/").await.text() == "again" }).await;
    server.output().says("went into the background").await;
    assert!(orphans(&app).is_empty());
}

#[tokio::test]
async fn processes_that_left_a_workers_group_end_with_it_and_with_the_server() {
    let app = App::new("setsid sleep 1000 &\nexec python3 serve.py v1\n");
    let server = app.start().await;
    // The helper says that it is one of this app by its folder.
    let helpers = || sleepers(&app).len();
    assert_eq!(helpers(), 1);
    server.ctl(&["deploy"]).await.expect(0);
    until("only the new one is left", || async { helpers() == 1 && server.worker_pids().await.len() == 1 })
        .await;
    // A server that is killed leaves that to its guard.
    drop(server.kill());
    until("none is left", || async { helpers() == 0 }).await;
}

fn sleepers(app: &App) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let inside = |path: &PathBuf| {
        fs::read_link(path.join("cwd")).is_ok_and(|folder| folder == app.path())
            && fs::read(path.join("cmdline")).is_ok_and(|command| command.starts_with(b"sleep\x001000"))
    };
    processes.filter(inside).collect()
}

#[tokio::test]
async fn a_program_that_says_ready_before_its_app_answers_is_not_promoted() {
    let app = App::new("exec python3 serve.py v1\n");
    let server = app.start().await;
    let pid = server.worker_pids().await[0];
    // Says it and dies, as gunicorn does with an error in an import; says it and is broken; says it and hangs.
    for (release, reason) in [
        ("sleep 0.3; echo 'ImportError: no app'; exit 3\n", "exited with status 3"),
        ("exec python3 serve.py broken '503 Not Yet'\n", "it said READY=1, but GET / failed: answered 503"),
        ("exec sleep 600\n", "it said READY=1, but GET / failed: no answer yet"),
    ] {
        app.release(&format!("{SAYS_READY}{release}"));
        let ran = server.ctl(&["deploy"]).await.expect(1);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains(reason) && !said.contains("serves,"), "{release}: {said}");
        goes_on(&server, pid).await;
    }
}

#[tokio::test]
async fn with_ready_by_notify_nothing_is_asked_and_ready_alone_counts() {
    let app = App::new(&format!("{SAYS_READY}exec python3 serve.py v1\n"));
    app.settings("ready_by = \"notify\"");
    let server = app.start().await;
    assert!(!app.path().join("asked").exists(), "nobody has asked");
    assert_eq!(server.get("/own").await.text(), "v1");
    app.release("exec python3 serve.py silent\n");
    let ran = server.ctl(&["deploy"]).await.expect(1);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("it did not say READY=1, which `ready_by` waits for"), "{said}");
    assert_eq!(fs::read_to_string(app.path().join("asked")).unwrap(), "GET /own HTTP/1.1\n");
}

#[tokio::test]
async fn gunicorn_started_by_anything_is_tried_by_its_answer() {
    if !has("gunicorn", "gunicorn") {
        return;
    }
    let good =
        "def app(environ, start):\n    start('200 OK', [('Content-Length', '2')])\n    return [b'v1']\n";
    let ways: [(&str, &str); 4] = [
        ("Procfile", "web: gunicorn site_app:app\n"),
        ("Procfile", "web: sh -c 'gunicorn site_app:app; exit 4' 2>&1\n"),
        ("rip.toml", "command = [\"gunicorn\", \"site_app:app\"]\n"),
        ("package.json", "{\"scripts\": {\"start\": \"gunicorn site_app:app\"}}\n"),
    ];
    for (file, text) in ways {
        let folder = tempfile::Builder::new().prefix("ripapp").tempdir().unwrap();
        fs::write(folder.path().join(file), text).unwrap();
        fs::write(folder.path().join("site_app.py"), good).unwrap();
        // gunicorn takes the socket of LISTEN_FDS only from its own process's parent.
        let listen = if text.contains("exit 4") { "port" } else { "fd" };
        let own = fs::read_to_string(folder.path().join("rip.toml")).unwrap_or_default();
        let own = format!("{own}listen = \"{listen}\"\nreload = \"none\"\ntimeouts.probation = \"200ms\"\n");
        fs::write(folder.path().join("rip.toml"), own).unwrap();
        let server = Setup::app(folder.path()).words(&["w:1"]).start().await;
        assert_eq!(server.get("/").await.text(), "v1", "{text}");
        fs::write(folder.path().join("site_app.py"), "import no_such_module\n").unwrap();
        let ran = server.ctl(&["deploy"]).await.expect(1);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains("No module named 'no_such_module'"), "{text}: {said}");
        assert_eq!(server.get("/").await.text(), "v1", "{text}");
    }
}
