//! Clients that send slowly, or much at a time, or never end: what they hold, and what others get meanwhile.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Conn, Server, Setup, has, soon, until};

/// Told clients are clients of their own.
fn setup() -> Setup {
    Setup::scripted().server("trusted_proxies = [\"127.0.0.1\"]")
}

/// The beginning of a request of the client `10.0.0.N`.
fn post(client: u8, path: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 10.0.0.{client}\r\n{fields}\r\n")
}

/// What another client waits for an answer, so many times.
async fn others(server: &Server, count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..count {
        let begun = Instant::now();
        let fields = [("X-Forwarded-For", "10.9.9.9")];
        let reply = server.ask("GET", "/?other", &fields, b"").await;
        assert_eq!(reply.status, 200, "{number}: {}", reply.reason());
        times.push(begun.elapsed());
    }
    times.sort();
    times
}

fn tell(case: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    println!("{case}: others p50 {:?}, p99 {:?}", at(50), at(99));
}

async fn reached(server: &Server, limit: &str) -> u64 {
    let page = server.control("GET", "/metrics", "").await.unwrap();
    let row = format!("rip_limits_reached_total{{limit=\"{limit}\"}} ");
    page.text().lines().find_map(|line| line.strip_prefix(&row)?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn what_a_client_says_its_body_is_makes_it_hold_no_worker() {
    let server = setup().words(&["w:2"]).start().await;
    tell("quiet", others(&server, 30).await);
    let mut held = Vec::new();
    for kind in ["application/grpc", "application/grpc+proto", "application/grpc-web", "Application/GRPC"] {
        for framing in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
            let mut conn = server.connect().await;
            conn.send(post(1, "/echo", &format!("Content-Type: {kind}\r\n{framing}\r\n")) + "1\r\nx\r\n")
                .await;
            held.push(conn);
        }
    }
    tell("8 bodies of gRPC that trickle", others(&server, 30).await);
    assert!(!server.meeting.targets().iter().any(|target| target == "/echo"), "no worker has any of them");
}

/// Sends a byte again and again until it is answered; the answer.
async fn trickle(mut conn: Conn) -> String {
    loop {
        if conn.try_send("1\r\nx\r\n").await.is_err() {
            break;
        }
        if let Ok(byte) = tokio::time::timeout(Duration::from_millis(200), conn.exactly(1)).await {
            let first = byte.unwrap_or_default();
            return String::from_utf8_lossy(&[first, conn.rest().await].concat()).into_owned();
        }
    }
    String::from_utf8_lossy(&conn.rest().await).into_owned()
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[tokio::test]
async fn a_client_that_makes_a_worker_wait_gives_it_up_to_who_waits_for_one() {
    let rules = "stream = [\"/pieces\", \"/duplex\"]";
    let server = setup().words(&["w:2"]).rules(rules).start().await;
    let before = server.worker_pids().await;
    for (round, paths) in [["/pieces", "/duplex"], ["/duplex", "/pieces"]].into_iter().enumerate() {
        let mut slow = Vec::new();
        for (number, path) in paths.into_iter().enumerate() {
            let mut conn = server.connect().await;
            let path = format!("{path}?name={round}");
            conn.send(post(1, &path, CHUNKED)).await;
            until("a worker has it", async || server.meeting.targets().contains(&path)).await;
            until("so many are held", async || server.status().await.apps[0].in_flight == number + 1).await;
            if path.starts_with("/duplex") {
                assert_eq!(conn.head().await.status, 200);
                assert_eq!(conn.chunk().await.unwrap(), b"begun\n");
            }
            slow.push(Box::pin(trickle(conn)));
            // The first has made its worker wait for longer.
            tokio::time::sleep(Duration::from_secs(1 - number as u64)).await;
        }
        let slow = futures_util::future::select_all(slow);
        let ((answer, first, others_left), times) = tokio::join!(slow, others(&server, 20));
        tell("two streams that trickle hold two workers", times);
        assert_eq!(first, 0, "who has held it longest");
        match round {
            0 => assert!(
                answer.starts_with("HTTP/1.1 408 ") && answer.contains("x-rip-reason: too-slow"),
                "{answer}"
            ),
            _ => assert!(!answer.ends_with("0\r\n\r\n"), "what is cut has no end: {answer}"),
        }
        assert_eq!(reached(&server, "slow-stream").await, round as u64 + 1, "one is enough");
        drop(others_left);
        until("the workers are free", async || server.status().await.apps[0].in_flight == 0).await;
    }
    assert_eq!(server.worker_pids().await, before, "they live");
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_slow_stream_goes_on_while_nobody_waits_and_a_fast_one_even_then() {
    let server = setup().rules("stream = [\"/pieces\"]").start().await;
    let mut conn = server.connect().await;
    conn.send(post(1, "/pieces?name=slow", CHUNKED)).await;
    for _ in 0..14 {
        conn.send("1\r\nx\r\n").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    conn.send("0\r\n\r\n").await;
    assert_eq!(conn.reply("POST").await.text(), "14");

    conn.send(post(1, "/pieces?name=fast", CHUNKED)).await;
    until("the worker has it", async || server.meeting.targets().len() == 2).await;
    let uploads = async {
        for _ in 0..28 {
            conn.send(format!("8000\r\n{}\r\n", "x".repeat(32 << 10))).await;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        conn.send("0\r\n\r\n").await;
        conn.reply("POST").await
    };
    let (reply, _) = tokio::join!(uploads, others(&server, 1));
    assert_eq!(reply.text(), (28 * (32 << 10)).to_string());
    assert_eq!(reached(&server, "slow-stream").await, 0);
}

#[tokio::test]
async fn a_silent_stream_of_a_worker_that_speaks_http_2_gives_its_place_up_one_at_a_time() {
    if !has("node", "nodejs") {
        return;
    }
    let server = setup().h2c().words(&["w:1", "c:2"]).start().await;
    let before = server.worker_pids().await;
    let mut streams = Vec::new();
    for client in 1..=2 {
        let mut conn = server.connect().await;
        conn.send(post(client, "/duplex", CHUNKED)).await;
        assert_eq!(conn.head().await.status, 200);
        assert_eq!(conn.chunk().await.unwrap(), b"begun");
        streams.push(conn);
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    for conn in &mut streams {
        // Nobody has waited.
        conn.send("4\r\nmore\r\n").await;
        assert_eq!(conn.chunk().await.unwrap(), b"more");
    }
    tell("two silent streams hold two places", others(&server, 5).await);
    let [first, second] = &mut streams[..] else { unreachable!() };
    let cut = soon("the longest is cut", first.rest()).await;
    assert!(!cut.ends_with(b"0\r\n\r\n"), "{cut:?}");
    second.send("5\r\nstill\r\n").await;
    assert_eq!(second.chunk().await.unwrap(), b"still", "one place was enough");
    assert_eq!(server.worker_pids().await, before);
    assert_eq!(server.record("/duplex").await["reason"], "too-slow");
    assert_eq!(reached(&server, "slow-stream").await, 1);
}

#[tokio::test]
async fn a_client_that_never_sends_its_body_to_such_a_worker_is_told_so() {
    if !has("node", "nodejs") {
        return;
    }
    let server = setup().h2c().words(&["w:1", "c:1"]).start().await;
    let before = server.worker_pids().await;
    let mut conn = server.connect().await;
    conn.send(post(1, "/echo", CHUNKED)).await;
    until("it has its place", async || server.status().await.apps[0].in_flight == 1).await;
    others(&server, 3).await;
    let reply = conn.reply("POST").await;
    assert_eq!((reply.status, reply.reason()), (408, "too-slow"));
    assert_eq!(server.worker_pids().await, before);
}
