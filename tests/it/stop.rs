//! The end: requests in hand are finished, nothing is left behind, not even after SIGKILL.

use std::fs;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::processes::left_behind;
use crate::support::{Server, Setup, until};

#[tokio::test]
async fn a_request_in_hand_is_finished_before_the_server_ends() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Setup::scripted().start().await;
        let mut held = server.connect().await;
        held.send_get("/gate?name=held").await;
        server.meeting.reached("held").await;
        let pids = server.worker_pids().await;
        let port = server.port();
        server.signal(signal);
        until("it takes no new connections", || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err()
        })
        .await;
        server.meeting.open("held");
        let reply = held.reply("GET").await;
        assert_eq!((reply.status, reply.text()), (200, "through held\n"));
        assert_eq!(server.ended().await.code(), Some(0));
        assert!(pids.iter().all(|pid| !alive(*pid)), "{pids:?}");
        assert!(!server.control_socket().exists());
    }
}

#[tokio::test]
async fn a_request_that_waits_for_a_worker_is_served_before_the_end() {
    let mut server = Setup::scripted().start().await;
    let mut held = server.connect().await;
    held.send_get("/gate?name=held").await;
    server.meeting.reached("held").await;
    let mut waiting = server.connect().await;
    waiting.send_get("/version").await;
    until("it waits", || async { server.status().await.apps[0].queued == 1 }).await;
    server.signal(Signal::TERM);
    server.meeting.open("held");
    assert_eq!(held.reply("GET").await.status, 200);
    assert_eq!(waiting.reply("GET").await.status, 200);
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_connection_that_does_nothing_does_not_hold_up_the_end() {
    for tls in [false, true] {
        let setup = if tls { Setup::scripted().tls() } else { Setup::scripted() };
        let mut server = setup.start().await;
        let mut idle = server.connect().await;
        assert_eq!(idle.get("/").await.status, 200);
        let _silent = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
        let started = tokio::time::Instant::now();
        server.signal(Signal::TERM);
        assert_eq!(server.ended().await.code(), Some(0));
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
        assert_eq!(idle.rest().await, b"");
    }
}

#[tokio::test]
async fn asked_twice_it_ends_at_once() {
    let mut server = Setup::scripted().start().await;
    let mut held = server.connect().await;
    held.send_get("/hang").await;
    server.meeting.reached("hang").await;
    server.signal(Signal::TERM);
    until("it has begun to stop", || async { server.output().contains("stopping") }).await;
    server.signal(Signal::TERM);
    server.ended().await;
    server.output().says("asked twice").await;
    let record = server.record("/hang").await;
    assert_eq!((&record["status"], &record["reason"]), (&json!(502), &json!("worker-died")), "{record}");
}

#[tokio::test]
async fn asked_twice_it_does_not_wait_for_clients_that_do_not_read() {
    let mut server = Setup::scripted().start().await;
    let mut lazy = server.connect().await;
    lazy.send_get(MUCH).await;
    assert_eq!(lazy.head().await.status, 200);
    server.signal(Signal::TERM);
    until("it has begun to stop", || async { server.output().contains("stopping") }).await;
    server.signal(Signal::TERM);
    // Long before its time to drain is over.
    server.ended().await;
    assert_was_cut(&server, MUCH).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_in_time_is_cut_and_has_its_record() {
    let mut server = Setup::scripted().rules("timeouts.drain = \"1s\"").start().await;
    let mut lazy = server.connect().await;
    lazy.send_get(MUCH).await;
    assert_eq!(lazy.head().await.status, 200);

    server.signal(Signal::TERM);

    assert_eq!(server.ended().await.code(), Some(0));
    server.output().says("connections are cut").await;
    assert_was_cut(&server, MUCH).await;
}

/// More than a client's socket takes.
const MUCH: &str = "/big?bytes=100000000";

/// The server let go of an answer, and its record says so.
async fn assert_was_cut(server: &Server, path: &str) {
    let record = server.record(path).await;
    let told = (&record["status"], &record["outcome"], &record["reason"]);
    assert_eq!(told, (&json!(200), &json!("truncated"), &json!("server-stopped")), "{record}");
}

#[tokio::test]
async fn a_worker_that_ignores_sigterm_is_killed_at_the_end() {
    let mut server =
        Setup::scripted().worker("TERM_IGNORED", "1").rules("timeouts.kill = \"1s\"").start().await;
    let pids = server.worker_pids().await;
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(pids.iter().all(|pid| !alive(*pid)), "{pids:?}");
}

#[tokio::test]
async fn when_the_server_is_killed_its_workers_go_too_and_the_next_one_starts_in_the_same_place() {
    let mut server = Setup::scripted().words(&["w:3"]).start().await;
    let pids = server.worker_pids().await;
    assert_eq!(pids.len(), 3);
    server.signal(Signal::KILL);
    server.ended().await;
    until("no worker is left", || async { pids.iter().all(|pid| !alive(*pid)) }).await;
    server.ctl(&["status"]).await.expect(7);
    let server = Setup::scripted().words(&["w:3"]).start_in(server.kill()).await;
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn children_of_workers_go_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let script = "#!/bin/sh\nsleep 1000 &\necho $! >child\nexec /usr/bin/env python3 \"$WORKER\"\n";
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let worker = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/worker.py");
    let meet = folder.path().to_str().unwrap();
    let own = format!(
        "listen = \"fd\"\nready_path = \"/ready\"\nreload = \"none\"\nenv = {{ WORKER = {worker:?}, MEET = {meet:?} }}\n"
    );
    fs::write(folder.path().join("rip.toml"), own).unwrap();
    for signal in [Signal::TERM, Signal::KILL] {
        let mut server = Setup::app(folder.path()).words(&["w:1"]).start().await;
        let child: u32 = fs::read_to_string(folder.path().join("child")).unwrap().trim().parse().unwrap();
        assert!(alive(child));
        server.signal(signal);
        server.ended().await;
        until("the worker's child is gone", || async { !alive(child) }).await;
    }
}

fn alive(pid: u32) -> bool {
    // A zombie is one whose parent has not looked yet.
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[tokio::test]
async fn workers_go_with_a_killed_server_whose_output_nobody_reads() {
    let home = tempfile::tempdir().unwrap();
    let mut server = std::process::Command::new(env!("CARGO_BIN_EXE_rip-server"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/hello"))
        .args(["http:0", "--bind=127.0.0.1", "--no-access-log"])
        .arg(format!("--runtime-dir={}", home.path().join("run").display()))
        .arg(format!("--state-dir={}", home.path().join("state").display()))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(server.stderr.take().unwrap()).lines();
    assert!(output.any(|line| line.unwrap().contains("ready:")));
    drop(output);
    server.kill().unwrap();
    server.wait().unwrap();
    until("no worker is left", || async { left_behind(home.path()).is_empty() }).await;
}

#[tokio::test]
async fn the_end_does_not_wait_for_tunnels_and_event_streams() {
    let mut server = Setup::scripted().start().await;
    let mut events = server.connect().await;
    events.send_get("/endless-events?name=over").await;
    assert_eq!(events.head().await.status, 200);
    let mut tunnel = server.connect().await;
    tunnel
        .send("GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    assert_eq!(tunnel.head().await.status, 101);
    until("both have places of their own", || async { server.status().await.apps[0].tunnels == 2 }).await;

    server.signal(Signal::TERM);

    let rest = events.rest().await;
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"), "the stream ends as if the worker had ended it: {rest:?}");
    tunnel.rest().await;
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn the_last_answer_on_a_connection_says_so() {
    let mut server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    assert_eq!(conn.get("/").await.field("connection"), "");
    conn.send_get("/gate?name=last").await;
    server.meeting.reached("last").await;
    server.signal(Signal::TERM);
    until("it is to end", || async { server.output().contains("requests in hand") }).await;
    server.meeting.open("last");
    assert_eq!(conn.reply("GET").await.field("connection"), "close");
    assert!(server.ended().await.success());
}
