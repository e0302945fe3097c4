//! The effect of changed files of an app: nothing, new workers, or the same workers with the new code.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::{Server, Setup, has, until};

#[tokio::test]
async fn with_process_a_changed_entry_is_deployed() {
    if !has("node", "nodejs") {
        return;
    }
    let app = App::new("one");
    let server = Setup::app(&app.path).words(&["w:1"]).start().await;
    let before = server.worker_pids().await;
    assert_eq!(server.get("/").await.text(), "one");
    app.write("two");
    until("the new code serves", || async { server.get("/").await.text() == "two" }).await;
    until("in another process", || async {
        server.worker_pids().await.iter().all(|pid| !before.contains(pid))
    })
    .await;
}

#[tokio::test]
async fn with_process_a_broken_entry_leaves_the_old_code_serving_and_a_repaired_one_is_taken() {
    if !has("node", "nodejs") {
        return;
    }
    let app = App::new("one");
    let server = Setup::app(&app.path).words(&["w:1"]).start().await;
    fs::write(app.entry(), "this is ( no code").unwrap();
    until("the failure is known", || async { server.status().await.apps[0].rejected.is_some() }).await;
    assert_eq!(server.get("/").await.text(), "one");
    app.write("two");
    until("the repaired code serves", || async { server.get("/").await.text() == "two" }).await;
}

#[tokio::test]
async fn with_none_a_changed_entry_waits_for_a_deploy() {
    if !has("node", "nodejs") {
        return;
    }
    let app = App::new("one");
    let server = Setup::app(&app.path).words(&["w:1", "--reload=none"]).start().await;
    let generation = server.status().await.apps[0].generation;
    app.write("two");
    // Another change of the same kind, of an app that is watched, is seen after the first would have been.
    let witness = App::new("one");
    let watched = Setup::app(&witness.path).words(&["w:1"]).start().await;
    witness.write("two");
    until("a watched app has noticed", || async { watched.get("/").await.text() == "two" }).await;
    assert_eq!(server.get("/").await.text(), "one");
    assert_eq!(server.status().await.apps[0].generation, generation);
    server.ctl(&["deploy"]).await.expect(0);
    assert_eq!(server.get("/").await.text(), "two");
}

#[tokio::test]
async fn with_module_the_same_node_serves_the_new_code() {
    if !has("node", "nodejs") {
        return;
    }
    // A module of either kind: Node caches the two in different places.
    loads_anew("index.js", "module.exports =").await;
    loads_anew("index.mjs", "export default").await;
}

#[tokio::test]
async fn with_module_the_same_bun_serves_the_new_code() {
    if has("bun", "bun, of npm") {
        loads_anew("index.ts", "export default").await;
    }
}

async fn loads_anew(entry: &'static str, export: &'static str) {
    let app = App::of(entry, export, "one");
    let server = Setup::app(&app.path).words(&["w:1", "--reload=module", "r:0,0s,100r"]).start().await;
    let before = server.worker_pids().await;
    for text in ["two", "three", "four"] {
        app.write(text);
        until(&format!("{entry}: the new code serves"), || async { server.get("/").await.text() == text })
            .await;
    }
    assert_eq!(server.worker_pids().await, before);
}

#[tokio::test]
async fn with_module_code_that_does_not_load_leaves_the_old_one_serving() {
    for (program, package, entry) in [("node", "nodejs", "index.mjs"), ("bun", "bun, of npm", "index.ts")] {
        if !has(program, package) {
            continue;
        }
        let app = App::of(entry, "export default", "one");
        let server = Setup::app(&app.path).words(&["w:1", "--reload=module"]).start().await;
        let before = server.worker_pids().await;
        fs::write(app.entry(), "this is ( no code").unwrap();
        until(&format!("{program}: the failure is logged"), || async {
            assert_eq!(server.get("/").await.text(), "one");
            server.output().contains("reload failed")
        })
        .await;
        app.write("two");
        until("the repaired code serves", || async { server.get("/").await.text() == "two" }).await;
        assert_eq!(server.worker_pids().await, before);
    }
}

#[tokio::test]
async fn with_module_a_node_worker_is_replaced_after_so_many_reloads() {
    if has("node", "nodejs") {
        is_replaced_after_reloads(App::new("one")).await;
    }
}

#[tokio::test]
async fn with_module_a_bun_worker_is_replaced_after_so_many_reloads() {
    if has("bun", "bun, of npm") {
        is_replaced_after_reloads(App::of("index.ts", "export default", "one")).await;
    }
}

async fn is_replaced_after_reloads(app: App) {
    let server = Setup::app(&app.path).words(&["w:1", "--reload=module", "r:0,0s,2r"]).start().await;
    let before = server.worker_pids().await;
    for round in 0.. {
        if server.worker_pids().await != before {
            break;
        }
        assert!(round < 20, "twenty reloads and still the same worker");
        let text = format!("round {round}");
        app.write(&text);
        until("the new code serves", || async { server.get("/").await.text() == text }).await;
    }
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn with_module_and_a_signal_other_apps_load_their_code_themselves() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("VERSION"), "one").unwrap();
    fs::write(folder.path().join("server"), SIGNALLED).unwrap();
    let path = folder.path().join("server");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let own = "reload = \"module\"\nreload_signal = \"USR1\"\nready_path = \"/\"\n";
    fs::write(folder.path().join("rip.toml"), own).unwrap();
    let server = Setup::app(folder.path()).words(&["w:1"]).start().await;
    let before = server.worker_pids().await;
    assert_eq!(server.get("/").await.text(), "one");
    fs::write(folder.path().join("VERSION"), "two").unwrap();
    // The entry is what is watched.
    fs::write(&path, format!("{SIGNALLED}# changed\n")).unwrap();
    until("the signal has come", || async { server.get("/").await.text() == "two" }).await;
    assert_eq!(server.worker_pids().await, before);
}

#[tokio::test]
async fn changed_settings_are_deployed() {
    let server = Setup::scripted().words(&["--reload=process"]).start().await;
    let before = server.worker_pids().await;
    let own = server.root().join("scripted/rip.toml");
    let text = fs::read_to_string(&own).unwrap();
    fs::write(&own, text.replace("env = { ", "env = { FRESH = \"yes\", ")).unwrap();
    until("the new settings are in force", || async {
        environment(&server).await.contains("\"FRESH\": \"yes\"")
    })
    .await;
    until("by another worker", || async { server.worker_pids().await != before }).await;
}

async fn environment(server: &Server) -> String {
    server.get("/environment").await.text().to_owned()
}

/// A JavaScript app that answers with one text.
struct App {
    _folder: TempDir,
    path: PathBuf,
    entry: &'static str,
    export: &'static str,
}

impl App {
    fn new(text: &str) -> Self {
        Self::of("index.js", "module.exports =", text)
    }

    fn of(entry: &'static str, export: &'static str, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = Self { path: folder.path().join("blog"), _folder: folder, entry, export };
        fs::create_dir(&app.path).unwrap();
        app.write(text);
        app
    }

    fn entry(&self) -> PathBuf {
        self.path.join(self.entry)
    }

    /// As editors do it: a new file is renamed over the old one.
    fn write(&self, text: &str) {
        let fresh = self.path.join("fresh");
        fs::write(&fresh, format!("{} () => new Response('{text}');\n", self.export)).unwrap();
        fs::rename(&fresh, self.entry()).unwrap();
    }
}

/// Answers with the file VERSION as it was at the start or at the last SIGUSR1.
const SIGNALLED: &str = r#"#!/usr/bin/env python3
import os, signal, socket
from http.server import BaseHTTPRequestHandler, HTTPServer

def load(*_):
    global VERSION
    VERSION = open("VERSION").read().encode()

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = VERSION
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

load()
signal.signal(signal.SIGUSR1, load)
server = HTTPServer(("", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
server.serve_forever(poll_interval=0.1)
"#;
