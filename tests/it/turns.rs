//! Requests of every kind one after the other on the same connection: each gets its own answer, in their order.

use crate::support::client::path_of_bytes;
use crate::support::{Conn, Server, Setup, soon, until};

/// A request's method and the rest of it, with `@` for the query that tells it from the others.
const KINDS: &[(&str, &str)] = &[
    ("GET", "/view?@ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("POST", "/view?@ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"),
    ("GET", "/chunks?n=1&@ HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"),
    ("HEAD", "/view?@ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("GET", "/view?@ HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\r\n"),
    ("GET", "/bare-status?code=204&@ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (
        "PUT",
        "/view?@ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    ("GET", "/big?bytes=70000&@ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("GET", "/view?@ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"),
    ("DELETE", "/view?@ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("GET", "/code?code=404&@ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
];

/// The requests that need no general parser, with every kind of answer.
const PLAIN: &[(&str, &str)] = &[
    ("GET", "/view?@ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("GET", "/bare-status?code=204&@ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("GET", "/chunks?n=3&@ HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"),
    ("GET", "/big?bytes=70000&@ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("GET", "/bare-status?code=304&@ HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: \"1\"\r\n\r\n"),
    ("GET", "/code?code=404&@ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("GET", "/events?n=1&@ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("GET", "/big?bytes=3000&@ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
];

/// All kinds, and all again in the other order: each has neighbours of several kinds.
fn requests(kinds: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let all = kinds.iter().chain(kinds.iter().rev()).enumerate();
    all.map(|(number, (method, rest))| {
        (*method, format!("{method} {}", rest.replace('@', &format!("number={number}."))))
    })
    .collect()
}

async fn answered(server: &Server, conn: &mut Conn, method: &str, request: &str) {
    let target = request.split(' ').nth(1).unwrap();
    let reply = conn.reply(method).await;
    let status = target.split_once("code=").map_or("200", |(_, rest)| &rest[..3]);
    assert_eq!(reply.status.to_string(), status, "{target}");
    if target.starts_with("/view") && method != "HEAD" {
        assert_eq!((reply.view().target.as_str(), reply.view().method.as_str()), (target, method));
    }
    if let Some((_, bytes)) = target.split_once("bytes=") {
        let length: usize = bytes.split('&').next().unwrap().parse().unwrap();
        let expected: Vec<u8> = (0..=255).cycle().take(length).collect();
        assert!(reply.body == expected, "{target}");
    }
    if target.starts_with("/chunks?n=3") {
        assert_eq!(reply.text(), "chunk 0\nchunk 1\nchunk 2\n");
    }
    assert_eq!(reply.field("x-request-id").len(), 20);
    assert!(reply.field("date").ends_with(" GMT"), "{reply:?}");
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn one_at_a_time() {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = setup.start().await;
        for kinds in [PLAIN, KINDS] {
            let mut conn = server.connect().await;
            for (method, request) in requests(kinds) {
                conn.send(&request).await;
                answered(&server, &mut conn, method, &request).await;
            }
        }
    }
}

#[tokio::test]
async fn all_at_once() {
    before_any_is_answered(|requests| vec![requests.concat()]).await;
}

#[tokio::test]
async fn each_sent_before_the_last_is_answered() {
    before_any_is_answered(|requests| requests).await;
}

/// Sends all kinds of requests, in the pieces that `cut` makes of them.
async fn before_any_is_answered(cut: fn(Vec<String>) -> Vec<String>) {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = setup.start().await;
        for kinds in [PLAIN, KINDS] {
            let mut conn = server.connect().await;
            for piece in cut(requests(kinds).into_iter().map(|(_, request)| request).collect()) {
                conn.send(piece).await;
            }
            for (method, request) in requests(kinds) {
                answered(&server, &mut conn, method, &request).await;
            }
        }
    }
}

#[tokio::test]
async fn cut_anywhere() {
    let server = Setup::scripted().tls().start().await;
    for kinds in [PLAIN, KINDS] {
        let all: String = requests(kinds).into_iter().map(|(_, request)| request).collect();
        for size in [1, 7, 60, 300] {
            let mut conn = server.connect().await;
            for piece in all.as_bytes().chunks(size) {
                // Each piece is a record of its own, which is read by itself.
                conn.send(piece).await;
            }
            for (method, request) in requests(kinds) {
                answered(&server, &mut conn, method, &request).await;
            }
        }
    }
}

#[tokio::test]
async fn after_a_rest_it_goes_on() {
    let server = Setup::scripted().tls().variable("RIP_LOG", "debug").start().await;
    let mut conn = server.connect().await;
    for (rests, (method, request)) in requests(KINDS).into_iter().take(4).enumerate() {
        conn.send(&request).await;
        answered(&server, &mut conn, method, &request).await;
        until("it rests", || async { server.output().count("a connection rests") > rests }).await;
    }
}

#[tokio::test]
async fn a_head_that_stops_behind_others_is_ended_and_recorded() {
    let server = Setup::scripted().server("limits.head = \"1s\"").start().await;
    for (number, before) in ["GET", "POST"].into_iter().enumerate() {
        let mut conn = server.connect().await;
        conn.send(format!("{before} /view HTTP/1.1\r\nHost: localhost\r\n\r\nGET /view HTTP/1.1\r\nHo"))
            .await;
        assert_eq!(conn.reply(before).await.status, 200);
        let end = String::from_utf8(soon("the end", conn.rest()).await).unwrap();
        assert!(end.starts_with("HTTP/1.1 408 "), "{end}");
        let records = server.records("/", number + 1).await;
        let seen: Vec<_> = records.iter().map(|record| (&record["status"], &record["reason"])).collect();
        assert_eq!(seen, vec![(&408.into(), &"too-slow".into()); number + 1]);
    }
}

#[tokio::test]
async fn what_stands_behind_a_last_answer_is_no_request_in_the_records() {
    let limits = "limits.head = \"1s\"\nlimits.keepalive = \"2s\"";
    let server = Setup::scripted().server(limits).start().await;
    for (head, status) in [
        ("GET /view HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200),
        (
            "POST /view HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("GET /view HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        ("POST /view HTTP/1.1\r\nHost: other.example\r\nContent-Length: 5\r\n\r\nhello", 404),
    ] {
        let mut conn = server.connect().await;
        conn.send(format!("{head}GET /vi")).await;
        assert_eq!(conn.reply("GET").await.status, status, "{head}");
        assert_eq!(soon("the end", conn.rest()).await, b"", "{head}");
    }
    server.records("/view", 4).await;
    let unread = server.output().json().into_iter().filter(|record| record["method"] == "-").count();
    assert_eq!(unread, 0, "{}", server.output());
}

#[tokio::test]
async fn an_answer_that_is_only_a_head_is_complete() {
    let server = Setup::scripted().start().await;
    for (code, fields) in
        [(204, "content-type: text/event-stream"), (304, "content-type: text/event-stream"), (204, "x: y")]
    {
        let answer = format!("HTTP/1.1 {code} Said\r\n{fields}\r\n\r\n");
        let path = path_of_bytes(answer);
        let reply = server.get(&path).await;
        assert_eq!((reply.status, reply.body.len()), (code, 0));
        let record = server.record(&path).await;
        assert_eq!((&record["status"], &record["outcome"]), (&code.into(), &"complete".into()), "{fields}");
    }
}

#[tokio::test]
async fn events_of_a_known_length_keep_it() {
    let server = Setup::scripted().start().await;
    let answer =
        "HTTP/1.1 200 Said\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\ndata: a\n\n";
    let path = path_of_bytes(answer);
    for field in ["", "TE: trailers\r\n"] {
        let mut conn = server.connect().await;
        conn.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n")).await;
        let reply = conn.reply("GET").await;
        assert_eq!((reply.field("content-length"), reply.text()), ("9", "data: a\n\n"), "{reply:?}");
    }
}

#[tokio::test]
async fn who_leaves_behind_a_plain_request_is_noticed_while_its_worker_works() {
    let server = Setup::scripted().tls().start().await;
    let mut conn = server.connect().await;
    assert_eq!(conn.get("/view").await.status, 200);
    conn.send_get("/gate?name=one").await;
    server.meeting.reached("one").await;
    drop(conn);
    let record = server.record("/gate?name=one").await;
    assert_eq!((&record["status"], &record["reason"]), (&499.into(), &"client-gone".into()));
    server.meeting.open("one");
    assert_eq!(server.get("/view").await.status, 200);
    server.meeting.assert_no_violations();
}
