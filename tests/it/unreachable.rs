//! Workers that cannot be connected to, and those that only take their time once they are.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Conn, Server, Setup, until};

#[tokio::test]
async fn a_worker_that_takes_no_connections_is_passed_over_and_replaced() {
    let server = two_that_close().start().await;
    let [deaf] = unlisten(&server, ["a"]).await;
    let reply = server.post("/view", b"body").await;
    assert_ne!(reply.view().pid, deaf, "the request is another worker's, although it is a POST");
    until("the deaf one is replaced", || async {
        let pids = server.worker_pids().await;
        pids.len() == 2 && !pids.contains(&deaf)
    })
    .await;
    server.await_ready().await;
    assert_eq!(server.get("/").await.status, 200);
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn two_workers_that_take_no_connections_are_502() {
    let server = two_that_close().start().await;
    unlisten(&server, ["a", "b"]).await;
    let reply = server.post("/view", b"body").await;
    assert_eq!((reply.status, reply.reason()), (502, "worker-unreachable"));
    assert!(!server.meeting.targets().contains(&"/view".to_owned()));
    assert_eq!(server.record("/view").await["reason"], "worker-unreachable");
    assert_eq!(server.post("/view", b"body").await.status, 200, "it waits for the ones that replace them");
}

#[tokio::test]
async fn connecting_to_a_worker_has_a_time_limit_and_one_that_was_only_late_goes_on() {
    let server = Setup::scripted()
        .server("app.listen = \"port\"")
        .rules("timeouts.connect = \"19s\"\ntimeouts.queue = \"200ms\"")
        .worker("CLOSE", "1")
        .words(&["--connect-timeout-ms=100"])
        .start()
        .await;
    let before = server.worker_pids().await;
    assert_eq!(server.get("/full?name=a").await.status, 200);
    let asked = Instant::now();
    let reply = server.get("/").await;
    assert_eq!((reply.status, reply.reason()), (502, "worker-unreachable"));
    assert!(asked.elapsed() < Duration::from_secs(15), "the flag beats the app's own file");
    server.meeting.open("a");
    until("it is served again", || async { server.get("/").await.status == 200 }).await;
    assert_eq!(server.worker_pids().await, before);
}

#[tokio::test]
async fn a_worker_slower_than_connecting_may_be_is_waited_for_and_kept() {
    let server = Setup::scripted().words(&["--connect-timeout-ms=50"]).start().await;
    let before = server.worker_pids().await;
    for _ in 0..2 {
        let reply = server.get("/slow?ms=300").await;
        assert_eq!((reply.status, reply.text()), (200, "slow\n"));
    }
    assert_eq!(server.worker_pids().await, before);
    assert_eq!(server.meeting.targets(), ["/slow?ms=300"; 2], "neither was asked of it twice");
}

/// Two workers to which each request needs a new connection.
fn two_that_close() -> Setup {
    Setup::scripted().words(&["w:2"]).worker("CLOSE", "1")
}

/// Makes a worker for each name close its listener, all before the first is free again; their processes.
async fn unlisten<const N: usize>(server: &Server, names: [&str; N]) -> [u32; N] {
    let mut asking: Vec<Conn> = Vec::new();
    for name in names {
        let mut conn = server.connect().await;
        conn.send_get(&format!("/unlisten?name={name}")).await;
        server.meeting.reached(name).await;
        asking.push(conn);
    }
    for (name, conn) in names.iter().zip(&mut asking) {
        server.meeting.open(name);
        assert_eq!(conn.reply("GET").await.status, 200);
    }
    let pids: Vec<u32> = server.meeting.views().iter().map(|view| view.pid).collect();
    pids.try_into().unwrap()
}
