//! The first seconds of a new version: what crashes in them is taken back, and the old version never went.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Server, Setup, soon, until};

/// Serves its version over descriptor 3, and dies after so many seconds, or never.
const SERVE: &str = "\
import os, socket, sys, threading, time
def die(after):
    time.sleep(after)
    print('Traceback: the cache is gone', flush=True)
    os._exit(3)
if sys.argv[2:]:
    threading.Thread(target=die, args=[float(sys.argv[2])], daemon=True).start()
listener = socket.socket(fileno=3)
body = sys.argv[1].encode()
while True:
    conn, _ = listener.accept()
    if conn.recv(65536):
        conn.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s' % (len(body), body))
    conn.close()
";

/// An app whose version is a line of words for the script.
struct App {
    folder: TempDir,
}

impl App {
    fn new(probation: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("ripapp").tempdir().unwrap();
        fs::write(folder.path().join("serve.py"), SERVE).unwrap();
        fs::write(folder.path().join("run"), "exec python3 serve.py $(cat VERSION)\n").unwrap();
        let own = format!("command = [\"/bin/sh\", \"run\"]\nreload = \"none\"\n{probation}\n");
        fs::write(folder.path().join("rip.toml"), own).unwrap();
        let app = Self { folder };
        app.release("v1");
        app
    }

    fn release(&self, version: &str) {
        fs::write(self.folder.path().join("VERSION"), version).unwrap();
    }

    async fn start(&self, words: &[&str]) -> Server {
        Setup::app(self.folder.path()).words(words).start().await
    }
}

#[tokio::test]
async fn a_version_that_crashes_within_the_default_probation_is_taken_back_and_said_so() {
    let app = App::new("");
    let server = app.start(&["w:2"]).await;
    let before = server.worker_pids().await;
    app.release("v2 1.5");

    let deploy = server.ctl(&["deploy"]);
    let watch = async {
        until("the new version serves", || async { server.get("/").await.text() == "v2" }).await;
        until("the old version serves again", || async { server.get("/").await.text() == "v1" }).await;
    };
    let (ran, ()) = tokio::join!(deploy, watch);

    let said = format!("{}{}", ran.out, ran.err);
    assert_eq!(ran.code, 1, "{said}");
    assert!(
        said.contains(" s after it began to serve: ") && said.contains("generation 1 serves again"),
        "{said}"
    );
    assert!(said.contains("on probation for 5 s") && said.contains("Traceback: the cache is gone"), "{said}");
    until("only the old workers are left", || async { server.worker_pids().await == before }).await;
    let status = server.ctl(&["status"]).await.expect(0);
    assert!(status.out.contains("serves again") && status.out.contains("the cache is gone"), "{status:?}");

    app.release("v3");
    server.ctl(&["deploy"]).await.expect(0);
    assert_eq!(server.get("/").await.text(), "v3");
    assert!(server.status().await.apps[0].rejected.is_none(), "until one succeeds");
}

#[tokio::test]
async fn a_version_that_passes_is_done_only_then_and_the_old_workers_are_kept_until_then() {
    let app = App::new("timeouts.probation = \"1500ms\"");
    let server = app.start(&["w:1"]).await;
    let before = server.worker_pids().await[0];
    app.release("v2");
    let begun = tokio::time::Instant::now();
    let deploy = async {
        let ran = server.ctl(&["deploy", "--json"]).await.expect(0);
        (ran, begun.elapsed())
    };
    let watch = async {
        until("the new version serves", || async { server.get("/").await.text() == "v2" }).await;
        let workers = server.workers().await.workers;
        assert!(workers.iter().any(|worker| worker.pid == Some(before)), "{workers:?}");
    };
    let ((ran, took), ()) = tokio::join!(deploy, watch);
    assert!(took >= Duration::from_millis(1_500), "{took:?}");
    let events: Vec<_> = ran.out.lines().collect();
    assert!(
        events.iter().any(|line| line.contains("\"serving\"") && line.contains("\"probation\":1500")),
        "{ran:?}"
    );
    assert!(events.last().unwrap().contains("\"done\""), "{ran:?}");
    until("the old worker is gone", || async { !server.worker_pids().await.contains(&before) }).await;
}

#[tokio::test]
async fn a_version_all_of_whose_requests_kill_it_costs_no_more_than_those_of_one_moment() {
    let app = App::new("");
    let server = app.start(&["w:1"]).await;
    fs::write(
        app.folder.path().join("serve.py"),
        SERVE.replace(
            "    if conn.recv(65536):\n",
            "    asked = conn.recv(65536)\n    if b'probe' not in asked: os._exit(9)\n    if asked:\n",
        ),
    )
    .unwrap();
    let mut failed = 0;
    let load = async {
        loop {
            failed += u32::from(server.get("/").await.status != 200);
        }
    };
    let ran = tokio::select! {
        ran = server.ctl(&["deploy"]) => ran,
        never = load => never,
    };
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(failed <= 2, "{failed} requests failed");
    for _ in 0..20 {
        assert_eq!(server.get("/").await.text(), "v1");
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_probation() {
    let app = App::new("timeouts.probation = \"10min\"");
    let mut server = app.start(&["w:1"]).await;
    app.release("v2");
    let deploy = server.ctl(&["deploy"]);
    let stop = async {
        until("the new version serves", || async { server.get("/").await.text() == "v2" }).await;
        server.ctl(&["stop"]).await.expect(0);
    };
    let (ran, ()) = soon("both end", async { tokio::join!(deploy, stop) }).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    server.ended().await;
}

#[tokio::test]
async fn a_hang_up_and_a_second_deploy_during_a_probation_end_with_the_last_version() {
    let app = App::new("timeouts.probation = \"2s\"");
    let server = app.start(&["w:1"]).await;
    app.release("v2");
    let first = server.ctl(&["deploy"]);
    let second = async {
        until("the second version serves", || async { server.get("/").await.text() == "v2" }).await;
        app.release("v3");
        server.signal(rustix::process::Signal::HUP);
        until("the third version serves", || async { server.get("/").await.text() == "v3" }).await;
    };
    let (ran, ()) = tokio::join!(first, second);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("generation 3 serves"), "it ends as the version that took its place: {ran:?}");
    assert_eq!(server.get("/").await.text(), "v3");
    until("one worker is left", || async { server.worker_pids().await.len() == 1 }).await;
}
