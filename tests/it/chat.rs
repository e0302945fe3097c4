//! A chat by socket.io with four workers, whose people poll or have WebSockets: each keeps the worker that it is
//! connected to, and nothing that is said is lost, also through deploys.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{PATIENCE, Server, Setup, has, skip};

/// Where `tests/setup` puts socket.io and its client.
fn packages() -> Option<PathBuf> {
    let cache = std::env::var("TESTS_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache"));
    let packages = cache.join("socketio/node_modules");
    if !has("node", "nodejs") {
        return None;
    }
    if !packages.join("socket.io-client").exists() {
        skip("socket.io is not there: tests/setup");
        return None;
    }
    Some(packages)
}

/// The chat in a folder of its own, so that it can be deployed.
fn chat(packages: &Path) -> TempDir {
    let folder = tempfile::Builder::new().prefix("chat").tempdir().unwrap();
    for file in ["package.json", "server.js", "VERSION", "rip.toml"] {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/chat").join(file);
        std::fs::copy(sample, folder.path().join(file)).unwrap();
    }
    std::os::unix::fs::symlink(packages, folder.path().join("node_modules")).unwrap();
    folder
}

/// The counts of a chat: answers, connections, versions and processes; and the answers that were wrong.
#[derive(Debug, Default, Deserialize)]
struct Talk {
    answered: usize,
    connects: usize,
    versions: std::collections::BTreeMap<String, usize>,
    pids: Vec<u32>,
    wrong: Vec<String>,
}

/// People who talk.
struct Chatters {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    last: Talk,
}

impl Chatters {
    fn start(server: &Server, packages: &Path, transports: &str, count: usize) -> Self {
        let scheme = if server.is_tls() { "https" } else { "http" };
        let mut child = Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/chatters.js"))
            .args([&format!("{scheme}://localhost:{}", server.port()), transports, &count.to_string()])
            .env("NODE_PATH", packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, last: Talk::default() }
    }

    /// Waits for the next report; `false` after the last one.
    async fn next(&mut self) -> bool {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("they talk").unwrap();
        let Some(line) = line else { return false };
        self.last = serde_json::from_str(&line).unwrap();
        assert!(self.last.wrong.is_empty(), "{:?}", self.last.wrong);
        true
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Talk) -> bool) {
        let waiting = async {
            while !holds(&self.last) {
                assert!(self.next().await, "they stopped before {what}: {:?}", self.last);
            }
        };
        assert!(
            tokio::time::timeout(2 * PATIENCE, waiting).await.is_ok(),
            "not in time: {what}: {:?}",
            self.last
        );
    }

    /// Waits until so many more lines were answered.
    async fn more(&mut self, count: usize) {
        let goal = self.last.answered + count;
        self.until("more answers", |talk| talk.answered >= goal).await;
    }

    /// Has them stop when their last lines are answered.
    async fn finish(mut self) -> Talk {
        drop(self.child.stdin.take());
        while self.next().await {}
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("they end").unwrap();
        assert!(ended.success(), "{:?}", self.last);
        self.last
    }
}

const PEOPLE: usize = 12;

/// The server has answered no request in the app's place. People who leave give up the polls that are left.
fn assert_all_answered_by_workers(server: &Server) {
    for record in server.output().json().into_iter().filter(|line| line["method"].is_string()) {
        assert!(record["reason"].is_null() || record["reason"] == "client-gone", "{record}");
    }
}

async fn talks(transports: &str, tls: bool) {
    let Some(packages) = packages() else { return };
    let folder = chat(&packages);
    std::fs::write(
        folder.path().join("rip.toml"),
        "sticky = \"cookie\"\nreload = \"none\"\ntimeouts = { drain = \"4s\", probation = \"500ms\" }\n",
    )
    .unwrap();
    let setup = Setup::app(folder.path()).words(&["w:4"]);
    let server = if tls { setup.tls() } else { setup }.start().await;
    let mut people = Chatters::start(&server, &packages, transports, PEOPLE);
    people.until("all four workers have people", |talk| talk.pids.len() == 4).await;
    people.more(300).await;
    assert_eq!(people.last.connects, PEOPLE, "nobody loses the worker: {:?}", people.last);
    for version in ["2", "3"] {
        std::fs::write(folder.path().join("VERSION"), version).unwrap();
        server.ctl(&["deploy"]).await.expect(0);
        people.more(100).await;
        let of_new = |talk: &Talk| talk.versions.get(version).copied().unwrap_or_default();
        let goal = of_new(&people.last) + 200;
        people.until("the new version answers", |talk| of_new(talk) >= goal).await;
    }
    // The workers of before are gone with the last who was connected to them.
    crate::support::until("four workers are left", || async { server.worker_pids().await.len() == 4 }).await;
    let before = people.last.connects;
    people.more(200).await;
    assert_eq!(people.last.connects, before, "all have found their workers: {:?}", people.last);
    people.finish().await;
    assert_all_answered_by_workers(&server);
    tokio::time::timeout(Duration::from_secs(20), async { drop(server) }).await.unwrap();
}

#[tokio::test]
async fn people_who_poll_keep_their_workers_and_lose_nothing_through_deploys() {
    talks("polling", false).await;
}

#[tokio::test]
async fn people_who_poll_and_then_upgrade_keep_their_workers_and_lose_nothing_through_deploys() {
    talks("polling,websocket", true).await;
}

/// Without `sticky` a chat does not work: polling people lose their connections again and again.
#[tokio::test]
async fn without_sticky_who_polls_is_not_found_again() {
    let Some(packages) = packages() else { return };
    let folder = chat(&packages);
    std::fs::write(folder.path().join("rip.toml"), "reload = \"none\"\n").unwrap();
    let server = Setup::app(folder.path()).words(&["w:4"]).start().await;
    let people = Chatters::start(&server, &packages, "polling", PEOPLE);
    crate::support::until("the app does not know somebody", || async {
        let refused = |record: &serde_json::Value| {
            let path = record["path"].as_str().unwrap_or_default();
            record["status"] == 400 && path.starts_with("/socket.io/?")
        };
        server.output().json().iter().any(refused)
    })
    .await;
    drop(people);
}
