//! Requests of every kind one after the other on the same connection: each gets its own answer, in their order.

use crate::support::{Conn, Server, Setup, soon};

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

/// All kinds twice: each stands behind each kind of neighbour there is in the list.
fn requests() -> Vec<(&'static str, String)> {
    let all = KINDS.iter().chain(KINDS.iter().rev()).enumerate();
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
    if target.starts_with("/big") {
        assert_eq!(reply.body.len(), 70_000);
    }
    assert_eq!(reply.field("x-request-id").len(), 20);
    assert!(reply.field("date").ends_with(" GMT"), "{reply:?}");
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn one_at_a_time() {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = setup.start().await;
        let mut conn = server.connect().await;
        for (method, request) in requests() {
            conn.send(&request).await;
            answered(&server, &mut conn, method, &request).await;
        }
    }
}

#[tokio::test]
async fn all_at_once() {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = setup.start().await;
        let mut conn = server.connect().await;
        conn.send(requests().into_iter().map(|(_, request)| request).collect::<String>()).await;
        for (method, request) in requests() {
            answered(&server, &mut conn, method, &request).await;
        }
    }
}

#[tokio::test]
async fn cut_anywhere() {
    let server = Setup::scripted().tls().start().await;
    let all: String = requests().into_iter().map(|(_, request)| request).collect();
    for size in [1, 7, 60, 300] {
        let mut conn = server.connect().await;
        for piece in all.as_bytes().chunks(size) {
            // Each piece is a record of its own, which is read by itself.
            conn.send(piece).await;
        }
        for (method, request) in requests() {
            answered(&server, &mut conn, method, &request).await;
        }
    }
}

#[tokio::test]
async fn after_a_rest_it_goes_on() {
    let server = Setup::scripted().tls().start().await;
    let mut conn = server.connect().await;
    for (method, request) in requests().into_iter().take(4) {
        conn.send(&request).await;
        answered(&server, &mut conn, method, &request).await;
        // Nothing can be waited for: what is tested is that time goes by.
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    }
}

#[tokio::test]
async fn a_head_that_stops_behind_others_is_ended_and_recorded() {
    let server = Setup::scripted().server("limits.head = \"1s\"").lines().start().await;
    for before in ["GET", "POST"] {
        let mut conn = server.connect().await;
        conn.send(format!("{before} /view HTTP/1.1\r\nHost: localhost\r\n\r\nGET /view HTTP/1.1\r\nHo"))
            .await;
        assert_eq!(conn.reply(before).await.status, 200);
        let end = String::from_utf8(soon("the end", conn.rest()).await).unwrap();
        assert!(end.starts_with("HTTP/1.1 408 "), "{end}");
    }
}

#[tokio::test]
async fn who_leaves_behind_a_plain_request_leaves_its_worker_to_others() {
    let server = Setup::scripted().tls().start().await;
    for name in ["one", "two"] {
        let mut conn = server.connect().await;
        assert_eq!(conn.get("/view").await.status, 200);
        conn.send_get(&format!("/gate?name={name}")).await;
        server.meeting.reached(name).await;
        drop(conn);
        server.meeting.open(name);
        assert_eq!(server.get("/view").await.status, 200);
    }
    let record = server.record("/gate?name=one").await;
    assert_eq!((&record["status"], &record["reason"]), (&499.into(), &"client-gone".into()));
    server.meeting.assert_no_violations();
}
