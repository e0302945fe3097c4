//! The table of answers: what went wrong, and what the client is told.

use futures_util::future::join_all;
use http::Request;
use http_body_util::Full;

use crate::support::client::{Http2, path_of_bytes, whole};
use crate::support::{Conn, Setup, until};

/// The status of an answer; 0: the bytes are no answer.
fn status_of(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn an_unknown_host_is_404() {
    let server = Setup::scripted().start().await;
    for host in ["nobody.example", "LOCALHOST.example", "192.0.2.1", "[2001:db8::1]:80"] {
        let reply = server.ask("GET", "/", &[("Host", host)], b"").await;
        assert_eq!((reply.status, reply.reason()), (404, "unknown-host"), "{host}");
    }
    assert_eq!(server.meeting.targets(), [""; 0]);
    for host in ["localhost", "LOCALHOST", "localhost.", "localhost:1", "127.0.0.1", "scripted.local"] {
        assert_eq!(server.ask("GET", "/", &[("Host", host)], b"").await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_head_that_is_not_complete_in_time_is_408() {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = setup.server("limits.head = \"1s\"").start().await;
        for part in ["G", "GET / HTTP/1.1\r\nHost: loc", "GET / HTTP/1.1\r\nHost: localhost\r\n"] {
            let answer = server.raw(part).await;
            assert_eq!(status_of(&answer), 408, "{part:?}: {answer}");
            assert!(answer.contains("\r\nx-rip-reason: too-slow\r\n"), "{answer}");
        }
        let mut conn = server.connect().await;
        assert_eq!(conn.get("/").await.status, 200);
        conn.send("GET / HT").await;
        assert_eq!(status_of(&String::from_utf8(conn.rest().await).unwrap()), 408, "a later head too");
    }
}

#[tokio::test]
async fn a_head_that_trickles_is_408() {
    let server = Setup::scripted().server("limits.head = \"1s\"").start().await;
    let mut conn = server.connect().await;
    conn.send("GET / HTTP/1.1\r\nHost: localhost\r\n").await;
    // Each piece is another sign of life; only the whole counts.
    let mut pieces = tokio::time::interval(std::time::Duration::from_millis(50));
    let trickle = async {
        while conn.try_send("X-A: b\r\n").await.is_ok() {
            pieces.tick().await;
        }
    };
    assert!(
        tokio::time::timeout(std::time::Duration::from_secs(10), trickle).await.is_ok(),
        "it may go on for ever"
    );
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let server = Setup::scripted().server("limits.max_head = \"8K\"\nlimits.max_fields = 20").start().await;
    let large = format!("X-Large: {}\r\n", "a".repeat(9_000));
    let many: String = (0..21).map(|i| format!("X-{i}: a\r\n")).collect();
    for fields in [large, many] {
        let answer = server.raw(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")).await;
        assert_eq!(status_of(&answer), 431, "{answer}");
        assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    }
    let reply = server.ask("GET", "/view", &[("X-Large", &"a".repeat(7_000))], b"").await;
    assert_eq!(reply.status, 200);
    let fields: Vec<_> = (0..18).map(|i| (format!("X-{i}"), "a")).collect();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(server.ask("GET", "/view", &fields, b"").await.status, 200);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431_over_http_2() {
    let server = Setup::scripted().tls().server("limits.max_head = \"8K\"").start().await;
    let mut http2 = server.http2().await;
    let request = Request::get("https://localhost/").header("x-large", "a".repeat(20_000));
    match http2.send(request.body(Full::default()).unwrap()).await {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => assert!(!error.is_timeout(), "{error}"),
    }
    assert_eq!(http2.get("/").await.status, 200);
}

#[tokio::test]
async fn a_target_that_is_too_long_is_414() {
    let server = Setup::scripted().server("limits.max_url = \"1K\"").start().await;
    let path = |length: usize| format!("/{}", "a".repeat(length - 1));
    assert_eq!(server.get(&path(1024)).await.status, 404, "the app's own");
    let reply = server.get(&path(1025)).await;
    assert_eq!((reply.status, reply.reason(), reply.field("connection")), (414, "target-too-long", "close"));
}

#[tokio::test]
async fn a_target_longer_than_any_buffer_is_414_or_431_and_not_a_hang() {
    let server = Setup::scripted().start().await;
    let answer =
        server.raw(format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(200_000))).await;
    assert!(matches!(status_of(&answer), 414 | 431), "{answer}");
}

#[tokio::test]
async fn over_the_rate_is_429_with_a_time_to_come_back() {
    let server = Setup::scripted().server("limits.rate = \"1/s,5\"").start().await;
    let mut replies = Vec::new();
    for _ in 0..10 {
        replies.push(server.get("/").await);
    }
    let (good, bad): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert!((5..9).contains(&good.len()), "{} were let through", good.len());
    for reply in bad {
        assert_eq!((reply.status, reply.reason()), (429, "over-rate"));
        assert!(reply.field("retry-after").parse::<u64>().unwrap() >= 1);
    }
    assert_eq!(server.get("/server").await.status, 200, "the server's own paths are not counted");
}

#[tokio::test]
async fn a_host_of_another_app_than_the_certificate_s_is_421() {
    let server = Setup::scripted().tls().start().await;
    let other = server.root().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("index.html"), "the other app").unwrap();
    let add = format!("{{\"host\":\"other.example\",\"path\":{:?}}}", other.to_str().unwrap());
    assert_eq!(server.control("POST", "/registry", &add).await.unwrap().status, 200);
    let ask = |name: &'static str, host: &'static str| async move { (name, host) };
    until("the other app serves", || async {
        let mut conn = Conn::tls(server.port(), "other.example").await;
        conn.send("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n").await;
        conn.reply("GET").await.status == 200
    })
    .await;
    for pair in [ask("localhost", "other.example"), ask("other.example", "localhost")] {
        let (name, host) = pair.await;
        let mut conn = Conn::tls(server.port(), name).await;
        conn.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let reply = conn.reply("GET").await;
        assert_eq!((reply.status, reply.reason()), (421, "misdirected"), "{host} over {name}");
        assert!(reply.text().contains("over a new connection to its own host"), "{}", reply.text());

        let mut http2 = Http2::connect(server.port(), name).await;
        let request = Request::get(format!("https://{host}/")).body(Full::default()).unwrap();
        let reply = whole(http2.send(request).await.unwrap()).await.unwrap();
        assert_eq!((reply.status, reply.reason()), (421, "misdirected"), "{host} over {name}");
    }
    let mut conn = Conn::tls(server.port(), "localhost").await;
    conn.send("GET / HTTP/1.1\r\nHost: scripted.local\r\n\r\n").await;
    assert_eq!(conn.reply("GET").await.status, 200, "another host of the same app");
}

#[tokio::test]
async fn a_worker_that_dies_with_a_get_is_replaced_by_another() {
    let server = Setup::scripted().words(&["w:2"]).start().await;
    for (n, how) in ["exit", "signal"].iter().enumerate() {
        server.await_ready().await;
        let reply = server.get(&format!("/die?once={n}&{how}")).await;
        assert_eq!((reply.status, reply.text()), (200, "survived\n"), "{how}");
    }
    assert_eq!(server.meeting.targets().len(), 4, "each was asked of two workers");
}

#[tokio::test]
async fn a_worker_that_dies_with_a_post_is_502_with_the_cause() {
    let server = Setup::scripted().words(&["w:2"]).start().await;
    for (how, cause) in [("exit", "exit"), ("signal", "signal")] {
        server.await_ready().await;
        let reply = server.post(&format!("/die?{how}"), b"body").await;
        assert_eq!((reply.status, reply.reason(), reply.field("x-rip-cause")), (502, "worker-died", cause));
    }
    assert_eq!(server.meeting.targets().len(), 2, "neither was asked of a second worker");
}

#[tokio::test]
async fn a_get_that_kills_every_worker_is_502_after_two() {
    let server = Setup::scripted().words(&["w:3"]).start().await;
    let reply = server.get("/die").await;
    assert_eq!((reply.status, reply.reason(), reply.field("x-rip-cause")), (502, "worker-died", "exit"));
    assert_eq!(server.meeting.targets(), ["/die", "/die"]);
    assert_eq!(server.get("/").await.status, 200, "the third serves on");
}

#[tokio::test]
async fn a_worker_that_closes_without_a_word_is_502_for_a_post_and_another_s_turn_for_a_get() {
    let server = Setup::scripted().words(&["w:2"]).start().await;
    let reply = server.post("/drop", b"body").await;
    assert_eq!((reply.status, reply.reason()), (502, "worker-died"));
    assert_eq!(server.get("/drop").await.status, 502);
    assert_eq!(server.meeting.targets(), ["/drop"; 3]);
    let pids: std::collections::BTreeSet<_> =
        server.meeting.views()[1..].iter().map(|view| view.pid).collect();
    assert_eq!(pids.len(), 2, "never the same worker twice");
}

#[tokio::test]
async fn a_worker_that_closes_without_a_word_serves_others_while_its_end_is_waited_for() {
    let server = Setup::scripted().start().await;
    assert_eq!(server.get("/").await.status, 200, "from now on a connection is kept");
    let (mut dropped, mut next) = (server.connect().await, server.connect().await);
    dropped.send_get("/drop").await;
    until("it was dropped twice", async || server.meeting.targets().len() == 3).await;
    next.send_get("/").await;
    tokio::select! {
        biased;
        first = dropped.reply("GET") => panic!("{} {} came first", first.status, first.reason()),
        reply = next.reply("GET") => assert_eq!(reply.status, 200),
    }
    let reply = dropped.reply("GET").await;
    assert_eq!((reply.status, reply.reason()), (502, "worker-died"));
}

#[tokio::test]
async fn a_worker_that_says_busy_is_passed_over_with_the_body_sent_again() {
    let server = Setup::scripted().words(&["w:2"]).start().await;
    let body: Vec<u8> = (0..300_000_u32).map(|at| at as u8).collect();
    let reply = server.post("/busy?once=a", &body).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body == body);
    assert_eq!(reply.field("rip-worker-busy"), "");
    let reply = server.get("/busy").await;
    assert_eq!((reply.status, reply.reason(), reply.field("rip-worker-busy")), (503, "worker-busy", ""));
    assert_eq!(server.meeting.targets(), ["/busy?once=a", "/busy?once=a", "/busy", "/busy"]);
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_streamed_body_is_never_sent_twice() {
    let server = Setup::scripted().words(&["w:2"]).rules("stream = [\"/busy\"]").start().await;
    let reply = server.post("/busy?once=a", b"body").await;
    assert_eq!((reply.status, reply.reason()), (503, "worker-busy"));
    assert_eq!(server.meeting.targets().len(), 1);
}

#[tokio::test]
async fn a_503_of_the_app_s_own_passes() {
    let server = Setup::scripted().start().await;
    let reply = server.get("/code?code=503").await;
    assert_eq!((reply.status, reply.text(), reply.reason()), (503, "as asked\n", ""));
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_502() {
    let server = Setup::scripted().start().await;
    for bytes in [
        "hello\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nNo Name: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
    ] {
        let reply = server.get(&path_of_bytes(bytes)).await;
        assert_eq!((reply.status, reply.reason()), (502, "bad-answer"), "{bytes:?}");
    }
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_badly_framed_by_the_worker_is_cut() {
    let server = Setup::scripted().start().await;
    for chunks in [
        "5\r\nhello",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "zz\r\n",
        "fffffffffffffffff\r\na",
        "5;\nhello\r\n0\r\n\r\n",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let mut conn = server.connect().await;
        conn.send_get(&path_of_bytes(bytes)).await;
        let error = conn.try_reply("GET").await.map(|reply| (reply.status, reply.body)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{chunks:?}");
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_never_become_the_next_one() {
    let server = Setup::scripted().start().await;
    let bytes =
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let mut conn = server.connect().await;
    assert_eq!(conn.get(&path_of_bytes(bytes)).await.text(), "hello");
    assert_eq!(conn.get("/").await.text(), "hello from the worker\n");
}

#[tokio::test]
async fn a_client_that_leaves_inside_a_head_is_499_in_the_record() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    assert_eq!(conn.get("/first").await.status, 404);
    conn.send("GET /never HTTP/1.1\r\nHost: local").await;
    drop(conn);
    let record = server.record("/").await;
    let seen = (&record["method"], &record["status"], &record["reason"], &record["outcome"]);
    assert_eq!(seen, (&"-".into(), &499.into(), &"client-gone".into(), &"client-gone".into()));
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_is_499_in_the_record() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    conn.send_get("/gate?name=a").await;
    server.meeting.reached("a").await;
    conn.reset();
    let record = server.record("/gate?name=a").await;
    assert_eq!(
        (&record["status"], &record["outcome"], &record["reason"]),
        (&499.into(), &"client-gone".into(), &"client-gone".into())
    );
}

#[tokio::test]
async fn plain_http_leads_to_https() {
    let server = Setup::scripted().redirect().start().await;
    let ask = |head: &'static str| {
        let server = &server;
        async move {
            let mut conn = Conn::plain(server.redirect_port()).await;
            conn.send(head).await;
            conn.reply(head.split(' ').next().unwrap()).await
        }
    };
    let port = server.port();
    for (head, status, location) in [
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 301, format!("https://localhost:{port}/")),
        (
            "GET /a/b?c=d%20e HTTP/1.1\r\nHost: LocalHost:80\r\n\r\n",
            301,
            format!("https://localhost:{port}/a/b?c=d%20e"),
        ),
        ("HEAD /a HTTP/1.1\r\nHost: scripted.local\r\n\r\n", 301, format!("https://scripted.local:{port}/a")),
        (
            "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab",
            308,
            format!("https://localhost:{port}/a"),
        ),
        (
            "GET http://localhost/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
            301,
            format!("https://localhost:{port}/x"),
        ),
        (
            "GET //evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
            301,
            format!("https://localhost:{port}//evil.example/"),
        ),
        ("GET /server HTTP/1.1\r\nHost: localhost\r\n\r\n", 301, format!("https://localhost:{port}/server")),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 308, format!("https://localhost:{port}/")),
    ] {
        let reply = ask(head).await;
        assert_eq!((reply.status, reply.field("location")), (status, location.as_str()), "{head}");
        assert_eq!(reply.field("strict-transport-security"), "");
    }
    let reply = ask("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert_eq!((reply.status, reply.reason(), reply.field("location")), (404, "unknown-host", ""));
    assert_eq!(ask("GET / HTTP/1.1\r\n\r\n").await.status, 400);
    assert_eq!(server.meeting.targets(), [""; 0], "nothing of it reaches a worker");
    assert_eq!(server.get("/").await.status, 200, "over TLS it is served");
}

#[tokio::test]
async fn connections_beyond_the_limit_of_an_address_are_refused() {
    let server = Setup::scripted().server("limits.max_connections_per_address = 3").start().await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut conn = server.connect().await;
        assert_eq!(conn.get("/").await.status, 200);
        held.push(conn);
    }
    assert_eq!(server.connect().await.rest().await, b"");
    held.pop();
    until("there is a place again", || async {
        let mut conn = server.connect().await;
        let sent = conn.try_send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        sent.is_ok() && conn.try_reply("GET").await.is_ok_and(|reply| reply.status == 200)
    })
    .await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_served() {
    let server = Setup::scripted().server("limits.max_connections = 4").start().await;
    let ask = |_| server.get("/");
    let replies = join_all((0..16).map(ask)).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
}

#[tokio::test]
async fn a_failure_leaves_the_connection_open_where_that_is_safe() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    conn.send("GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n").await;
    assert_eq!(conn.reply("GET").await.status, 404);
    assert_eq!(conn.get("/").await.status, 200);
}
