//! The answers to balancers: `/ready`, `/live`, HAProxy's agent check, `drain`, `undrain` and the time before a stop.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::balancer::Balancer;
use crate::support::{Conn, Server, Setup, until};

/// A server that balancers can ask, and the ports where they do.
struct Asked {
    server: Server,
    health: u16,
    agent: u16,
}

impl Asked {
    async fn start(setup: Setup) -> Self {
        let [health, agent] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [health, agent] = [health, agent].map(|listener| listener.local_addr().unwrap().port());
        let setup = setup
            .variable("RIP_LISTEN_HEALTH", &format!("127.0.0.1:{health}"))
            .variable("RIP_LISTEN_AGENT", &format!("127.0.0.1:{agent}"));
        Self { server: setup.start().await, health, agent }
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = said(self.health, &format!("GET {path} HTTP/1.1\r\nHost: balancer\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    /// Status and reasons.
    async fn ready(&self) -> (u16, Value) {
        let (status, body) = self.get("/ready").await;
        assert_eq!(body["ready"], json!(status == 200), "{body}");
        (status, body["why"].clone())
    }

    async fn agent(&self) -> String {
        said(self.agent, "").await
    }

    /// The output of `rip-serverctl`.
    async fn ctl(&self, words: &[&str]) -> String {
        let ran = self.server.ctl(words).await.expect(0);
        format!("{}{}", ran.out, ran.err)
    }

    async fn serves(&self) -> bool {
        self.server.connect().await.get("/version").await.status == 200
    }
}

/// An app whose workers end at once.
fn broken_app(folder: &Path) -> PathBuf {
    let app = folder.join("broken");
    std::fs::create_dir(&app).unwrap();
    std::fs::write(app.join("rip.toml"), "command = [\"false\"]\nlisten = \"path\"\n").unwrap();
    app
}

/// All that is answered at a port of this machine.
async fn said(port: u16, words: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(words.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn balancers_are_told_that_a_server_with_workers_is_ready() {
    let asked = Asked::start(Setup::scripted()).await;
    let (status, body) = asked.get("/ready").await;
    assert_eq!(status, 200);
    let apps = json!([{"app": "scripted", "ready": 1, "wanted": 1}]);
    assert_eq!(body, json!({"ready": true, "why": [], "draining": false, "apps": apps}));
    assert_eq!(asked.get("/live").await, (200, json!({"live": true})));
    assert_eq!(asked.agent().await, "ready up\n");
    let (status, body) = asked.get("/metrics").await;
    assert_eq!((status, &body["error"]["hint"]), (404, &json!("GET /ready, GET /live")));
    let posted = said(asked.health, "POST /ready HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    assert!(posted.starts_with("HTTP/1.1 404 "), "{posted}");
    let head = said(asked.health, "HEAD /ready HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn a_server_without_a_worker_is_not_ready_and_says_of_which_app() {
    let folder = tempfile::tempdir().unwrap();
    let broken = broken_app(folder.path());
    let asked = Asked::start(Setup::app(&broken).without_workers()).await;
    assert_eq!(asked.ready().await, (503, json!(["no worker is ready of broken"])));
    assert_eq!(asked.get("/live").await.0, 200);
    assert_eq!(asked.agent().await, "ready down#no worker is ready of broken\n");
}

#[tokio::test]
async fn one_app_with_a_worker_is_enough_where_the_admin_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let broken = broken_app(folder.path());
    let apps = format!("[[apps]]\npath = {broken:?}");
    let setup = || Setup::scripted().without_workers();
    let all = Asked::start(setup().server(&apps)).await;
    until("the scripted app serves", || all.serves()).await;
    assert_eq!(all.ready().await, (503, json!(["no worker is ready of broken"])));
    let any = Asked::start(setup().server("listen.ready = \"any\"").server(&apps)).await;
    until("it is ready", || async { any.ready().await.0 == 200 }).await;
}

#[tokio::test]
async fn a_drained_server_serves_on_while_balancers_are_told_to_go_elsewhere() {
    let asked = Asked::start(Setup::scripted()).await;
    let said = asked.ctl(&["drain"]).await;
    assert_eq!(said, "drained: balancers are told to send requests elsewhere\n");
    assert_eq!(asked.ready().await, (503, json!(["drained until `rip-serverctl undrain`"])));
    assert_eq!(asked.agent().await, "drain\n");
    assert!(asked.serves().await);
    let status = asked.server.status().await;
    assert!(status.drained && status.doing == "serving; drained until `rip-serverctl undrain`", "{status:?}");
    assert!(asked.ctl(&["drain"]).await.ends_with(", as before\n"));
    let said = asked.ctl(&["undrain"]).await;
    assert_eq!(said, "drained no longer: balancers may send requests here\n");
    assert_eq!(asked.ready().await.0, 200);
    assert!(!asked.server.status().await.drained);
}

#[tokio::test]
async fn a_drain_with_a_time_goes_back_by_itself() {
    let asked = Asked::start(Setup::scripted()).await;
    asked.ctl(&["drain", "--for", "1h"]).await;
    let (status, why) = asked.ready().await;
    assert!(status == 503 && why[0].as_str().unwrap().starts_with("drained for "), "{why}");
    asked.ctl(&["drain", "--for", "1s"]).await;
    until("it is over", || async { asked.ready().await.0 == 200 }).await;
}

#[tokio::test]
async fn a_server_that_is_to_stop_serves_on_until_balancers_have_noticed() {
    let mut asked = Asked::start(Setup::scripted().server("listen.lame_duck = \"2s\"")).await;
    asked.server.signal(Signal::TERM);
    until("balancers are told", || async { asked.ready().await.0 == 503 }).await;
    assert_eq!(asked.ready().await.1, json!(["the server stops"]));
    assert_eq!(asked.agent().await, "drain\n");
    assert!(asked.serves().await);
    assert_eq!(asked.server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_balancers() {
    let mut asked = Asked::start(Setup::scripted().server("listen.lame_duck = \"1h\"")).await;
    asked.server.signal(Signal::TERM);
    until("balancers are told", || async { asked.ready().await.0 == 503 }).await;
    asked.server.signal(Signal::TERM);
    assert_eq!(asked.server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn haproxy_sends_requests_elsewhere_while_a_server_is_drained_or_ends() {
    let mut one = Asked::start(Setup::scripted().server("listen.lame_duck = \"2s\"")).await;
    let other = Asked::start(Setup::scripted()).await;
    let checks = |asked: &Asked| {
        let Asked { health, agent, .. } = asked;
        format!(
            "check port {health} inter 100ms fall 1 rise 1 agent-check agent-port {agent} agent-inter 100ms"
        )
    };
    let line = format!("server other 127.0.0.1:{} {}", other.server.port(), checks(&other));
    let more = ["option httpchk GET /ready", "balance roundrobin", &line];
    let Some(front) = Balancer::haproxy(one.server.port(), &checks(&one), &more).await else { return };
    let [first, second] = [&one, &other].map(|asked| asked.server.worker_pids());
    let [first, second] = [first.await[0], second.await[0]];
    // Each on a connection of its own; none may fail.
    let served_by = async || {
        let reply = Conn::plain(front.port).await.get("/view").await;
        assert_eq!(reply.status, 200);
        reply.view().pid
    };
    let all_by = async |pids: &[u32]| {
        let mut seen: Vec<u32> = Vec::new();
        for _ in 0..10 {
            seen.push(served_by().await);
        }
        pids.iter().all(|pid| seen.contains(pid)) && seen.iter().all(|pid| pids.contains(pid))
    };
    let (both, alone) = ([first, second], [second]);
    until("both serve", || all_by(&both)).await;
    one.ctl(&["drain"]).await;
    until("the other one alone serves", || all_by(&alone)).await;
    one.ctl(&["undrain"]).await;
    until("both serve again", || all_by(&both)).await;
    one.server.signal(Signal::TERM);
    until("the other one alone serves", || all_by(&alone)).await;
    assert_eq!(one.server.ended().await.code(), Some(0));
    assert!(all_by(&alone).await);
}

#[tokio::test]
async fn checkers_that_say_nothing_do_not_keep_others_out() {
    let asked = Asked::start(Setup::scripted()).await;
    let mut silent = Vec::new();
    for _ in 0..15 {
        silent.push(TcpStream::connect(("127.0.0.1", asked.health)).await.unwrap());
    }
    assert_eq!(asked.ready().await.0, 200);
    // More than there are places: they are cut after the time for a head.
    for _ in 0..10 {
        silent.push(TcpStream::connect(("127.0.0.1", asked.health)).await.unwrap());
    }
    let answer = tokio::time::timeout(Duration::from_secs(20), asked.ready()).await;
    assert_eq!(answer.unwrap().0, 200);
}

#[tokio::test]
async fn a_port_that_cannot_be_had_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["listen.health", "listen.agent"] {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Setup::scripted().server(&format!("{key} = \"{address}\"")).launch(folder);
        assert_eq!(server.ended().await.code(), Some(1));
        let said = format!("{key}: cannot listen on {address}");
        until("it says so", || async { server.output().contains(&said) }).await;
    }
}
