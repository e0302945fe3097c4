//! Workers that speak HTTP/2 without TLS: time limits, second tries, long answers.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::h2_websocket::connect;
use crate::support::client::whole;
use crate::support::{Server, Setup, has, soon, until};

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
async fn an_answer_that_its_client_does_not_read_holds_no_place() {
    let Some(server) = start(Setup::scripted()).await else { return };
    let mut deaf = server.connect().await;
    deaf.send_get("/big?bytes=20000000").await;
    let head = deaf.head().await;
    assert_eq!(head.status, 200);
    until("the place is free", async || server.status().await.apps[0].in_flight == 0).await;
    assert_eq!(server.get("/").await.text(), "hello");
    let mut read = 0;
    while let Some(piece) = deaf.chunk().await {
        read += piece.len();
    }
    assert_eq!(read, 20_000_000, "it was put aside");
}

#[tokio::test]
async fn a_place_that_waits_for_its_client_is_given_up_to_who_waits_for_one() {
    let limits = "limits.reply_memory = \"64K\"\nlimits.reply_spool = \"1M\"";
    for words in [["w:1", "c:1"], ["w:1", "c:2"]] {
        let Some(server) = start(Setup::scripted().server(limits).words(&words)).await else { return };
        let before = server.worker_pids().await;
        let mut deaf = Vec::new();
        for _ in 0..if words[1] == "c:1" { 1 } else { 2 } {
            let mut conn = server.connect().await;
            conn.send_get("/big?bytes=30000000").await;
            assert_eq!(conn.head().await.status, 200);
            deaf.push(conn);
        }
        let all_wait = async || server.meeting.has_reached(&format!("big.{}.waits", deaf.len()));
        until("the worker waits for its clients", all_wait).await;
        assert_eq!(server.status().await.apps[0].in_flight, deaf.len());
        assert_eq!(server.get("/").await.text(), "hello", "{words:?}");
        server.output().says("an answer is cut: its client reads too slowly").await;
        assert_eq!(server.worker_pids().await, before, "the worker lives");
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_held_to_its_limits() {
    let much = format!("5000\r\n{}\r\n", "x".repeat(0x5000));
    // Time enough for a client on a busy machine to go on, where it is about something else.
    let cases = [
        ("app.max_body = \"10K\"", much.as_str(), 413, "body-too-large"),
        ("limits.body_idle = \"3s\"", "1\r\nx\r\n", 408, "too-slow"),
    ];
    for (limit, body, status, reason) in cases {
        let Some(server) = start(Setup::scripted().server(limit)).await else { return };
        let before = server.worker_pids().await;
        let mut conn = server.connect().await;
        conn.send(format!("POST /echo?{reason} HTTP/1.1\r\n{HEAD}{body}")).await;
        let reply = conn.reply("POST").await;
        assert_eq!((reply.status, reply.reason()), (status, reason));
        // In the middle of an answer.
        let mut conn = server.connect().await;
        conn.send(format!("POST /duplex?{reason} HTTP/1.1\r\n{HEAD}")).await;
        assert_eq!(conn.head().await.status, 200);
        assert_eq!(conn.chunk().await.unwrap(), b"begun");
        conn.send(body).await;
        let rest = conn.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "an answer that is cut has no end");
        assert_eq!(server.record(&format!("/duplex?{reason}")).await["reason"], reason);
        server.meeting.reached("duplex.broken").await;
        assert_eq!(server.get("/").await.status, 200, "the place is free");
        assert_eq!(server.worker_pids().await, before, "the worker lives");
        let reply = server.post("/echo", &[b'x'; 10 << 10]).await;
        assert_eq!((reply.status, reply.body.len()), (200, 10 << 10), "as much as may be");
    }
}

#[tokio::test]
async fn a_body_that_is_badly_framed_is_its_clients_fault() {
    let Some(server) = start(Setup::scripted()).await else { return };
    let mut conn = server.connect().await;
    conn.send(format!("POST /echo HTTP/1.1\r\n{HEAD}1\r\nx\r\nno chunk\r\n")).await;
    let reply = conn.reply("POST").await;
    assert_eq!((reply.status, reply.reason()), (400, "malformed"));
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn what_a_worker_does_not_take_of_a_body_ends_with_its_answer() {
    let Some(server) = start(Setup::scripted().words(&["w:1", "c:8"])).await else { return };
    for code in [200, 204] {
        let mut conn = server.connect().await;
        conn.send(format!("POST /early?code={code} HTTP/1.1\r\n{HEAD}1\r\nx\r\n")).await;
        assert_eq!(conn.head().await.status, code);
        server.meeting.reached(&format!("early.{code}.closed")).await;
    }
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

/// The request of a WebSocket over HTTP/1.1 with the key of RFC 6455 §1.3.
fn websocket(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: a=b\r\n\r\n"
    )
}

#[tokio::test]
async fn a_websocket_is_an_extended_connect_to_its_worker() {
    let setup = Setup::scripted().tls().rules("timeouts.drain = \"1s\"");
    let Some(server) = start(setup).await else { return };
    for _ in 0..2 {
        let mut conn = server.connect().await;
        conn.send(websocket("/ws?a=b")).await;
        let head = conn.head().await;
        assert_eq!(head.status, 101);
        assert_eq!(head.field("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((head.field("upgrade"), head.field("connection")), ("websocket", "upgrade"));
        assert_eq!(head.field("sec-websocket-protocol"), "echo");
        for message in [&b"hello"[..], &[7; 300_000]] {
            conn.send(message).await;
            assert!(conn.exactly(message.len()).await.unwrap() == message);
        }
        assert_eq!(server.status().await.apps[0].tunnels, 1);
        let seen = server.meeting.views().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("CONNECT", "/ws?a=b"));
        assert_eq!((seen.field("sec-websocket-version"), seen.field("cookie")), (Some("13"), Some("a=b")));
        for name in ["sec-websocket-key", "upgrade", "connection"] {
            assert_eq!(seen.field(name), None);
        }
        conn.reset();
        until("the tunnel has ended", || async { server.status().await.apps[0].tunnels == 0 }).await;
    }
    assert!(server.meeting.has_reached("ws.closed"));

    let mut http2 = server.http2().await;
    assert_eq!(http2.get("/").await.status, 200);
    let mut answer = http2.send(connect("/ws", "websocket")).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["sec-websocket-protocol"].as_bytes()),
        (200, &b"echo"[..])
    );
    let mut tunnel = TokioIo::new(soon("the tunnel", hyper::upgrade::on(&mut answer)).await.unwrap());
    tunnel.write_all(b"over HTTP/2").await.unwrap();
    let mut back = [0; 11];
    soon("an echo", tunnel.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"over HTTP/2");
    // The worker that is replaced ends the tunnel when it has drained.
    server.deploy("2").await;
    assert_eq!(soon("the end", tunnel.read(&mut back)).await.unwrap_or(0), 0);

    let mut conn = server.connect().await;
    conn.send(websocket("/no-ws")).await;
    let refused = conn.reply("GET").await;
    assert_eq!((refused.status, refused.text()), (403, "none for you"));
}

#[tokio::test]
async fn a_worker_that_takes_no_websockets_sees_an_ordinary_request() {
    let Some(server) = start(Setup::scripted().tls().worker("NO_CONNECT", "1")).await else { return };
    let mut conn = server.connect().await;
    conn.send(websocket("/ws")).await;
    let answer = conn.reply("GET").await;
    assert_eq!((answer.status, answer.text()), (426, "not a WebSocket"));
    let mut http2 = server.http2().await;
    assert_eq!(http2.get("/").await.status, 200);
    let answer = whole(http2.send(connect("/ws", "websocket")).await.unwrap()).await.unwrap();
    assert_eq!((answer.status, answer.text()), (426, "not a WebSocket"));
}
