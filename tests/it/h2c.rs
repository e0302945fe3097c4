//! Workers that speak HTTP/2 without TLS: time limits, second tries, long answers.

use std::time::Duration;

use crate::support::{Server, Setup, has, until};

/// `None` where node is missing.
async fn start(setup: Setup) -> Option<Server> {
    if !has("node", "nodejs") {
        return None;
    }
    Some(setup.h2c().start().await)
}

const HEAD: &str = "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_request_whose_body_is_gone_is_never_sent_again_without_it() {
    let Some(server) = start(Setup::scripted().words(&["w:2"])).await else { return };
    for method in ["PUT", "DELETE"] {
        let path = format!("/drop?{method}");
        let reply = server.ask(method, &path, &[], b"precious").await;
        assert_eq!((reply.status, reply.reason()), (502, "worker-died"));
        assert_eq!(server.meeting.targets().iter().filter(|target| **target == path).count(), 1);
    }
    let without = server.ask("GET", "/drop?without", &[], b"").await;
    assert_eq!(without.status, 502);
    let tries = server.meeting.targets().iter().filter(|target| *target == "/drop?without").count();
    assert_eq!(tries, 2, "one without a body is");
}

#[tokio::test]
async fn a_slow_upload_has_its_time_and_a_worker_that_hangs_has_not() {
    let setup = Setup::scripted().rules("timeouts.request = \"1s\"");
    let Some(server) = start(setup).await else { return };
    let before = server.worker_pids().await;
    let mut conn = server.connect().await;
    conn.send(format!("POST /echo HTTP/1.1\r\n{HEAD}")).await;
    for _ in 0..30 {
        conn.send("1\r\nx\r\n").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    conn.send("0\r\n\r\n").await;
    let reply = conn.reply("POST").await;
    assert_eq!((reply.status, reply.text()), (200, "x".repeat(30).as_str()));
    assert_eq!(server.worker_pids().await, before);

    for body in [&b""[..], b"small", &[0; 3 << 20]] {
        let stuck = server.worker_pids().await;
        let reply = server.post("/hang", body).await;
        assert_eq!((reply.status, reply.reason()), (504, "worker-timeout"));
        assert_eq!(server.get("/").await.status, 200);
        assert_ne!(server.worker_pids().await, stuck);
    }
}

#[tokio::test]
async fn an_answer_that_stops_coming_is_cut_and_one_that_waits_for_its_client_is_not() {
    let setup = Setup::scripted().rules("timeouts.body_idle = \"1s\"");
    let Some(server) = start(setup).await else { return };
    let mut conn = server.connect().await;
    conn.send(format!("POST /duplex HTTP/1.1\r\n{HEAD}")).await;
    assert_eq!(conn.head().await.status, 200);
    assert_eq!(conn.chunk().await.unwrap(), b"begun");
    // Nobody but the client can go on.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    conn.send("3\r\none\r\n0\r\n\r\n").await;
    assert_eq!(conn.chunk().await.unwrap(), b"one");
    assert_eq!(conn.chunk().await, None);

    let mut conn = server.connect().await;
    conn.send_get("/stall").await;
    let rest = conn.rest().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "an answer that is cut has no end");
    assert_eq!(server.record("/stall").await["reason"], "worker-stalled");
    assert_eq!(server.get("/").await.status, 200, "its worker was replaced");
}

#[tokio::test]
async fn an_event_stream_takes_no_requests_place() {
    let setup = Setup::scripted().rules("timeouts.body_idle = \"500ms\"");
    let Some(server) = start(setup).await else { return };
    let mut events = server.connect().await;
    events.send_get("/events").await;
    assert_eq!(events.head().await.status, 200);
    assert_eq!(events.chunk().await.unwrap(), b"data: 0\n\n");
    assert_eq!(server.get("/").await.status, 200, "the only worker is free");
    assert_eq!(server.status().await.apps[0].tunnels, 1);
    drop(events);
    server.meeting.reached("events.closed").await;
    until("the tunnel ends", || async { server.status().await.apps[0].tunnels == 0 }).await;
}

#[tokio::test]
async fn a_worker_that_is_busy_says_so_and_another_one_is_asked() {
    let Some(server) = start(Setup::scripted().words(&["w:2"])).await else { return };
    let reply = server.ask("POST", "/busy?once=a", &[], b"").await;
    assert_eq!((reply.status, reply.text()), (200, "taken"));
    let reply = server.post("/busy", b"gone").await;
    assert_eq!((reply.status, reply.reason()), (503, "worker-busy"), "its body cannot be sent again");
}

#[tokio::test]
async fn a_worker_that_says_goodbye_to_a_connection_costs_no_request() {
    let Some(server) = start(Setup::scripted().words(&["c:8"])).await else { return };
    for i in 0..10 {
        // The connection lives on for this one.
        let name = format!("held.{i}");
        let mut held = server.connect().await;
        held.send_get(&format!("/gate?name={name}")).await;
        server.meeting.reached(&name).await;
        assert_eq!(server.get("/goodbye").await.text(), "bye");
        let reply = server.ask("POST", "/echo", &[], b"").await;
        assert_eq!((reply.status, reply.text()), (200, ""), "round {i}");
        let reply = server.post("/echo", b"body").await;
        assert_eq!((reply.status, reply.text()), (200, "body"), "round {i}");
        server.meeting.open(&name);
        assert_eq!(held.reply("GET").await.text(), "through");
    }
}
