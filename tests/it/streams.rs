//! Answers that take their time: streams, events, upgrades; how they end, and what they leave to others.

use futures_util::{SinkExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::whole;
use crate::support::{Conn, Server, Setup, soon, tls, until};

#[tokio::test]
async fn chunks_arrive_one_by_one() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    conn.send_get("/chunks?n=3&name=c").await;
    assert_eq!(conn.head().await.field("transfer-encoding"), "chunked");
    assert_eq!(conn.chunk().await.unwrap(), b"chunk 0\n");
    server.meeting.open("c.1");
    assert_eq!(conn.chunk().await.unwrap(), b"chunk 1\n");
    server.meeting.open("c.2");
    assert_eq!(conn.chunk().await.unwrap(), b"chunk 2\n");
    assert_eq!(conn.chunk().await, None);
    assert_eq!(conn.get("/").await.status, 200);
}

#[tokio::test]
async fn a_worker_is_not_free_before_its_answer_s_last_byte() {
    let server = Setup::scripted().start().await;
    let mut first = server.connect().await;
    first.send_get("/chunks?n=2&name=c").await;
    assert_eq!(first.head().await.status, 200);
    let mut second = server.connect().await;
    second.send_get("/").await;
    until("the second request waits", || async { server.status().await.apps[0].queued == 1 }).await;
    assert_eq!(server.meeting.targets().len(), 1);
    server.meeting.open("c.1");
    assert_eq!(second.reply("GET").await.status, 200);
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    conn.send_get("/events?n=3&name=e").await;
    assert_eq!(conn.head().await.field("content-type"), "text/event-stream");
    for i in 0..3 {
        assert_eq!(conn.chunk().await.unwrap(), format!("data: {i}\n\n").as_bytes());
        server.meeting.open(&format!("e.{}", i + 1));
    }
    assert_eq!(conn.chunk().await, None);
}

async fn next(body: &mut Incoming) -> Vec<u8> {
    let frame = soon("a piece", body.frame()).await.unwrap().unwrap();
    frame.into_data().unwrap().to_vec()
}

#[tokio::test]
async fn over_http_2_chunks_and_events_arrive_one_by_one() {
    let server = Setup::scripted().tls().start().await;
    let mut http2 = server.http2().await;
    for (path, name, text) in [
        ("/chunks", "c", "chunk 0\nchunk 1\nchunk 2\n"),
        ("/events", "e", "data: 0\n\ndata: 1\n\ndata: 2\n\n"),
    ] {
        let request = Request::get(format!("https://localhost{path}?n=3&name={name}"));
        let mut body = http2.send(request.body(Full::default()).unwrap()).await.unwrap().into_body();
        let mut seen = Vec::new();
        for i in 0..3 {
            seen.extend(next(&mut body).await);
            server.meeting.open(&format!("{name}.{}", i + 1));
        }
        assert_eq!(String::from_utf8(seen).unwrap(), text);
        assert!(soon("the end", body.collect()).await.unwrap().to_bytes().is_empty());
    }
}

#[tokio::test]
async fn an_event_stream_leaves_its_worker_to_others() {
    let server = Setup::scripted().start().await;
    let mut events = server.connect().await;
    events.send_get("/events?n=2&name=e").await;
    events.head().await;
    assert_eq!(server.get("/").await.status, 200, "the only worker answers");
    assert_eq!(server.status().await.apps[0].tunnels, 1);
    server.meeting.open("e.1");
    while events.chunk().await.is_some() {}
    until("the tunnel is gone", || async { server.status().await.apps[0].tunnels == 0 }).await;
}

#[tokio::test]
async fn a_worker_hears_of_it_when_the_client_of_its_events_leaves() {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = setup.start().await;
        let mut events = server.connect().await;
        events.send_get("/endless-events?name=left").await;
        assert_eq!(events.chunk_after_head().await, b"data: tick\n\n");
        drop(events);
        server.meeting.reached("left").await;
        let record = server.record("/endless-events?name=left").await;
        assert_eq!((&record["status"], &record["outcome"]), (&200.into(), &"client-gone".into()), "{record}");
    }
}

impl Conn {
    async fn chunk_after_head(&mut self) -> Vec<u8> {
        assert_eq!(self.head().await.status, 200);
        self.chunk().await.unwrap()
    }
}

#[tokio::test]
async fn a_worker_hears_of_it_when_the_client_of_an_endless_answer_leaves() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    conn.send_get("/endless?name=left").await;
    conn.chunk_after_head().await;
    drop(conn);
    server.meeting.reached("left").await;
    assert_eq!(server.get("/").await.status, 200);
    server.meeting.assert_no_violations();
    assert_eq!(server.record("/endless?name=left").await["outcome"], "client-gone");
}

#[tokio::test]
async fn a_websocket_works_over_tls_beside_other_requests_of_its_worker() {
    let server = Setup::scripted().tls().start().await;
    let stream = tls::connect(server.port(), "localhost", &["http/1.1"]).await.unwrap();
    let (mut socket, answer) = tokio_tungstenite::client_async("wss://localhost/ws", stream).await.unwrap();
    assert_eq!(answer.status(), 101);
    for message in [Message::text("hello"), Message::binary(vec![7; 200_000])] {
        socket.send(message.clone()).await.unwrap();
        assert!(soon("an echo", socket.next()).await.unwrap().unwrap() == message);
    }
    assert_eq!(server.get("/").await.status, 200, "the only worker answers");
    assert_eq!(server.status().await.apps[0].tunnels, 1);
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = soon("the end", socket.next()).await {}
    let record = server.record("/ws").await;
    assert_eq!((&record["status"], &record["outcome"]), (&101.into(), &"complete".into()), "{record}");
    until("the tunnel is gone", || async { server.status().await.apps[0].tunnels == 0 }).await;
}

const UPGRADE: &str = "Host: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n";

async fn upgraded(server: &Server) -> Conn {
    let mut conn = server.connect().await;
    // The client's first bytes may come along with its head.
    conn.send(format!("GET /upgrade HTTP/1.1\r\n{UPGRADE}early")).await;
    let head = conn.head().await;
    assert_eq!((head.status, head.field("upgrade"), head.field("connection")), (101, "echo", "upgrade"));
    assert_eq!(conn.exactly(5).await.unwrap(), b"early");
    conn
}

#[tokio::test]
async fn after_an_upgrade_bytes_pass_both_ways_untouched() {
    let server = Setup::scripted().start().await;
    let mut conn = upgraded(&server).await;
    let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at * 7) as u8).chain(*b"\n\r\n\n").collect();
    conn.send(&bytes).await;
    assert!(conn.exactly(bytes.len()).await.unwrap() == bytes);
    conn.send("bye").await;
    assert_eq!(conn.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_leaves_its_tunnel_frees_the_place() {
    let server = Setup::scripted().rules("tunnels = 1").start().await;
    for _ in 0..3 {
        drop(upgraded(&server).await);
        until("the tunnel is gone", || async { server.status().await.apps[0].tunnels == 0 }).await;
    }
}

#[tokio::test]
async fn tunnels_beyond_the_budget_are_refused_and_requests_are_not() {
    let server = Setup::scripted().rules("tunnels = 1").start().await;
    let _held = upgraded(&server).await;
    for path in ["/upgrade", "/events?n=1"] {
        let mut conn = server.connect().await;
        conn.send(format!("GET {path} HTTP/1.1\r\n{UPGRADE}")).await;
        let reply = conn.reply("GET").await;
        assert_eq!(
            (reply.status, reply.reason(), reply.field("retry-after")),
            (503, "no-tunnel", "1"),
            "{path}"
        );
    }
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn a_worker_may_answer_an_upgrade_as_an_ordinary_request() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    conn.send(format!("GET /view HTTP/1.1\r\n{UPGRADE}")).await;
    let seen = conn.reply("GET").await.view();
    assert_eq!((seen.field("upgrade"), seen.field("connection")), (Some("echo"), Some("upgrade")));
    assert_eq!(conn.get("/").await.status, 200, "the connection is HTTP still");
}

#[tokio::test]
async fn a_wish_for_h2c_is_not_passed_on() {
    let server = Setup::scripted().start().await;
    let fields =
        [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")];
    let seen = server.ask("GET", "/view", &fields, b"").await.view();
    for name in ["upgrade", "http2-settings", "connection"] {
        assert_eq!(seen.field(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_change_of_protocol_that_nobody_asked_for_is_502() {
    let server = Setup::scripted().start().await;
    let reply = server.get("/upgrade").await;
    assert_eq!((reply.status, reply.reason()), (502, "bad-answer"));
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn trailers_of_answers_reach_the_client() {
    let server = Setup::scripted().tls().start().await;
    let mut http2 = server.http2().await;
    for reply in
        [server.ask("GET", "/trailers", &[("TE", "trailers")], b"").await, http2.get("/trailers").await]
    {
        assert_eq!(reply.text(), "body before the trailers\n");
        assert_eq!(reply.trailers["x-checksum"], "abc123");
    }
}

#[tokio::test]
async fn an_answer_cut_by_its_worker_never_looks_whole() {
    let server = Setup::scripted().tls().start().await;
    for (number, query) in
        ["framing=length", "framing=chunked", "framing=length&exit", "framing=chunked&exit"]
            .iter()
            .enumerate()
    {
        server.await_ready().await;
        let path = format!("/cut?n={number}&{query}");
        let mut conn = server.connect().await;
        conn.send_get(&path).await;
        let failed = soon("the end", conn.try_reply("GET")).await;
        assert_eq!(failed.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof, "{query}");
        let record = server.record(&path).await;
        assert_eq!((&record["status"], &record["outcome"]), (&200.into(), &"truncated".into()), "{record}");
        assert_eq!(record["reason"], "worker-died", "{record}");
    }
}

#[tokio::test]
async fn over_http_2_a_cut_answer_is_a_reset_stream_on_a_living_connection() {
    let server = Setup::scripted().tls().start().await;
    let mut http2 = server.http2().await;
    for framing in ["length", "chunked"] {
        let request = Request::get(format!("https://localhost/cut?framing={framing}&name={framing}"));
        let mut response = http2.send(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(next(response.body_mut()).await, b"half of it");
        server.meeting.open(framing);
        let error = whole(response).await.unwrap_err();
        let reset = std::error::Error::source(&error).unwrap().to_string();
        assert!(reset.contains("stream error"), "{framing}: {reset}");
        assert_eq!(http2.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn a_worker_that_stalls_in_its_answer_is_cut_and_replaced() {
    let server =
        Setup::scripted().rules("timeouts.body_idle = \"500ms\"\ntimeouts.kill = \"1s\"").start().await;
    let stuck = server.worker_pids().await;
    let mut conn = server.connect().await;
    conn.send_get("/chunks?n=2&name=never").await;
    assert_eq!(conn.chunk_after_head().await, b"chunk 0\n");
    assert_eq!(conn.rest().await, b"");
    let record = server.record("/chunks?n=2&name=never").await;
    assert_eq!((&record["outcome"], &record["reason"]), (&"truncated".into(), &"worker-stalled".into()));
    assert_eq!(server.get("/").await.status, 200);
    assert_ne!(server.worker_pids().await, stuck);
}

/// Whether the kernel asks after the clients of each of the server's connections: the timer in `/proc/net/tcp` is 2
/// then.
fn watched(server: &Server) -> Vec<bool> {
    let own = format!(":{:04X}", server.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row[1].ends_with(&own) && row[3] == "01");
    ours.map(|row| row[5].starts_with("02:")).collect()
}

#[tokio::test]
async fn a_client_that_may_be_silent_for_hours_is_asked_after() {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = setup.start().await;
        let mut conn = server.connect().await;
        assert_eq!(conn.get("/").await.status, 200);
        assert_eq!(watched(&server), [false], "a request has time limits instead");
        conn.send_get("/events?n=2&name=e").await;
        assert_eq!(conn.head().await.status, 200);
        assert_eq!(conn.chunk().await.unwrap(), b"data: 0\n\n");
        until("it is asked after", || async { watched(&server) == [true] }).await;
        drop(conn);
        let mut conn = server.connect().await;
        conn.send(format!("GET /upgrade HTTP/1.1\r\n{UPGRADE}")).await;
        assert_eq!(conn.head().await.status, 101);
        until("a tunnel is, too", || async { watched(&server) == [true] }).await;
    }
}
