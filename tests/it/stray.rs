//! Bytes that a worker sends and that belong to no answer: they never reach anybody, and each request gets its own
//! answer.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::{Conn, Reply, Server, Setup, has, until};

/// Sends the request and checks that what comes back is its answer and no other's.
async fn own_answer(conn: &mut Conn, method: &str, id: &str, query: &str) -> Reply {
    let body = if method == "POST" { "what it asks" } else { "" };
    let length = body.len();
    let path = format!("/stray?id={id}&{query}");
    conn.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
    .await;
    let reply = conn.reply(method).await;
    assert_eq!(reply.field("x-id"), id, "{method} {path}: {reply:?}");
    let bodiless = method == "HEAD" || matches!(reply.status, 204 | 205 | 304);
    let expected = if bodiless { String::new() } else { format!("id {id}") };
    assert_eq!(reply.text(), expected, "{method} {path}: {reply:?}");
    reply
}

/// Requests and statuses whose answers have no body, each with a body behind it all the same.
const UNASKED: [(&str, u16); 4] = [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 205)];
/// How that body comes: in how many milliseconds, `with` the head, or just as the `next` request is written.
const WHEN: [&str; 5] = ["with", "0", "1", "next", "100"];

/// Some requests whose answers have a body that nobody asked for, beside others; each checked by what it says.
async fn load(server: &Server) {
    let client = |number: usize| async move {
        let mut conn = server.connect().await;
        for round in 0..20 {
            let id = format!("{number}-{round}");
            if (round + number).is_multiple_of(2) {
                let method = ["GET", "POST"][round / 2 % 2];
                let framing = ["length", "chunked"][round / 4 % 2];
                own_answer(&mut conn, method, &id, &format!("framing={framing}")).await;
                continue;
            }
            let (method, code) = UNASKED[(round / 2 + number) % 4];
            let when = WHEN[(round / 2 + number) % 5];
            let what = ["answer", "noise"][round / 2 % 2];
            let pieces = ["one", "bytes"][(round / 4 + number) % 2];
            let query = format!("code={code}&as={what}&ms={when}&in={pieces}");
            assert_eq!(own_answer(&mut conn, method, &id, &query).await.status, code);
        }
    };
    join_all((0..6).map(client)).await;
}

#[tokio::test]
async fn a_body_behind_an_answer_that_has_none_reaches_nobody() {
    let listens: [fn(Setup) -> Setup; 3] = [|setup| setup, Setup::path, Setup::port];
    join_all(listens.map(|listen| async move {
        let server = listen(Setup::scripted()).start().await;
        load(&server).await;
        server.meeting.assert_no_violations();
    }))
    .await;
}

#[tokio::test]
async fn so_it_is_with_workers_that_take_several_requests_at_a_time() {
    join_all([false, true].map(|tls| async move {
        // A worker that takes several is not waited for while it still sends what nobody asked for.
        let setup = Setup::scripted().words(&["w:2"]).rules("concurrency = 3").worker("CONCURRENCY", "100");
        let server = if tls { setup.tls() } else { setup.port() }.start().await;
        load(&server).await;
        server.meeting.assert_no_violations();
    }))
    .await;
}

#[tokio::test]
async fn a_worker_gets_nothing_new_while_it_sends_a_body_that_nobody_asked_for() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    for (round, (method, code)) in UNASKED.into_iter().enumerate() {
        let query = format!("code={code}&as=answer&ms=100&name=over.{round}");
        own_answer(&mut conn, method, "one", &query).await;
        own_answer(&mut conn, "POST", "two", "").await;
        assert!(server.meeting.has_reached(&format!("over.{round}")), "{method} {code}");
    }
    server.meeting.assert_no_violations();
    until("it is said", || async { server.output().count("a body behind an answer that has none") > 0 })
        .await;
    assert_eq!(server.output().count("a body behind an answer that has none"), 1, "and once");
    assert_eq!(strays(&server).await, ["rip_worker_strays_total{app=\"scripted\",kind=\"unasked-body\"} 1"]);
    assert_eq!(server.output().count("bytes that belong to no answer"), 0, "its other connections are kept");
}

#[tokio::test]
async fn a_worker_that_keeps_a_connection_without_a_body_open_serves_others_soon() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    let begun = tokio::time::Instant::now();
    own_answer(&mut conn, "HEAD", "one", "as=noise&ms=3000").await;
    own_answer(&mut conn, "GET", "two", "").await;
    assert!(begun.elapsed() < Duration::from_millis(2900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn more_than_an_answer_said_closes_its_connection() {
    let cases = [
        ("length", "answer", "with", "one"),
        ("length", "answer", "0", "bytes"),
        ("length", "noise", "1", "one"),
        ("length", "answer", "100", "one"),
        ("chunked", "answer", "with", "one"),
        ("chunked", "noise", "0", "bytes"),
        ("chunked", "answer", "100", "bytes"),
    ];
    join_all(cases.map(|(framing, what, when, pieces)| async move {
        let setup = if when == "100" { Setup::scripted().port() } else { Setup::scripted() };
        let server = setup.start().await;
        let mut conn = server.connect().await;
        own_answer(&mut conn, "GET", "zero", "").await;
        let query = format!("framing={framing}&as={what}&ms={when}&in={pieces}&name=over");
        own_answer(&mut conn, "GET", "one", &query).await;
        server.meeting.reached("over").await;
        own_answer(&mut conn, "POST", "two", "").await;
        own_answer(&mut conn, "GET", "three", "").await;
        own_answer(&mut conn, "GET", "four", "").await;
        let mut connections: Vec<_> = server.meeting.views().iter().map(|view| view.connection).collect();
        assert_eq!(connections[0], connections[1], "the connection was kept until then");
        connections.remove(0);
        connections.dedup();
        assert_eq!(connections.len(), 4, "{connections:?}: none is used twice any more");
        until("it is said", || async { server.output().contains("bytes that belong to no answer") }).await;
        let lines = server.output().json();
        let said =
            lines.iter().find(|line| line.to_string().contains("bytes that belong to no answer")).unwrap();
        assert_eq!((&said["app"], &said["worker"]), (&"scripted".into(), &"1".into()), "{said}");
        assert_eq!(strays(&server).await, ["rip_worker_strays_total{app=\"scripted\",kind=\"no-answer\"} 1"]);
        let why = server.workers().await.workers.remove(0).why.unwrap_or_default();
        assert!(why.contains("bytes that belong to no answer"), "{why}");
    }))
    .await;
}

/// The counts of workers that send what nobody asked for, as the metrics have them.
async fn strays(server: &Server) -> Vec<String> {
    let page = server.ctl(&["metrics"]).await.expect(0).out;
    page.lines().filter(|line| line.starts_with("rip_worker_strays_total{")).map(str::to_owned).collect()
}

#[tokio::test]
async fn more_than_an_answer_said_costs_no_get_its_own_answer() {
    join_all([("length", 1), ("chunked", 1), ("length", 3)].map(|(framing, concurrency)| async move {
        let places = format!("c:{concurrency}");
        let setup = Setup::scripted().words(&[places.as_str()]).worker("CONCURRENCY", "9");
        let server = setup.start().await;
        let client = |number: usize| {
            let server = &server;
            async move {
                let mut conn = server.connect().await;
                for round in 0..20 {
                    let id = format!("{number}-{round}");
                    // Bytes that look like an answer and come when the next request is written are taken for its
                    // answer.
                    let extra = match (round + number) % 6 {
                        0 => "&as=answer&ms=with".to_owned(),
                        at @ 1..4 => format!("&as=noise&ms={}", ["0", "1", "next"][at - 1]),
                        _ => String::new(),
                    };
                    own_answer(&mut conn, "GET", &id, &format!("framing={framing}{extra}")).await;
                }
            }
        };
        join_all((0..6).map(client)).await;
    }))
    .await;
}

#[tokio::test]
async fn an_answer_taken_for_the_next_one_shifts_those_behind_it_for_a_while_and_not_for_ever() {
    let server = Setup::scripted().start().await;
    let client = |number: usize| {
        let server = &server;
        async move {
            let mut conn = server.connect().await;
            let mut wrong = Vec::new();
            for round in 0..60 {
                let id = format!("{number}-{round}");
                let stray = if id == "0-3" { "&as=answer&ms=next" } else { "" };
                let reply = conn.get(&format!("/stray?work=3&id={id}{stray}")).await;
                if reply.field("x-id") != id {
                    wrong.push(round);
                }
            }
            wrong
        }
    };
    let wrong = join_all((0..4).map(client)).await;
    assert!(wrong.concat().len() <= 40, "{wrong:?}");
    assert!(wrong.concat().iter().all(|round| *round < 30), "{wrong:?}");
    until("it is said", || async { server.output().contains("bytes that belong to no answer") }).await;
}

#[tokio::test]
async fn a_change_of_protocol_that_its_client_did_not_wait_for_is_no_connection_for_others() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    conn.send(
        "GET /upgrade?name=a HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    )
    .await;
    server.meeting.reached("a").await;
    conn.reset();
    assert_eq!(server.record("/upgrade?name=a").await["status"], 499);
    server.meeting.open("a");
    let mut conn = server.connect().await;
    own_answer(&mut conn, "GET", "one", "").await;
    own_answer(&mut conn, "POST", "two", "").await;
    assert_eq!(server.meeting.targets().len(), 3, "each was sent once");
}

#[tokio::test]
async fn noise_that_comes_when_the_next_request_is_written_costs_a_get_nothing_and_a_post_its_answer() {
    for pieces in ["one", "bytes"] {
        let server = Setup::scripted().start().await;
        let mut conn = server.connect().await;
        let query = format!("as=noise&ms=next&in={pieces}");
        own_answer(&mut conn, "GET", "one", &query).await;
        own_answer(&mut conn, "GET", "two", "").await;
        server.meeting.assert_no_violations();

        let server = Setup::scripted().start().await;
        let mut conn = server.connect().await;
        own_answer(&mut conn, "GET", "one", &query).await;
        conn.send("POST /stray?id=two HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
        let reply = conn.reply("POST").await;
        assert_eq!((reply.status, reply.reason()), (502, "bad-answer"));
        own_answer(&mut conn, "GET", "three", "").await;
        let posts = server.meeting.views().iter().filter(|view| view.method == "POST").count();
        assert!(posts <= 1, "it was sent {posts} times");
    }
}

#[tokio::test]
async fn over_http_2_what_comes_behind_a_stream_s_end_reaches_nobody() {
    if !has("node", "nodejs") {
        return;
    }
    let server = Setup::scripted().h2c().rules("concurrency = 4").start().await;
    let client = |number: usize| {
        let server = &server;
        async move {
            let mut conn = server.connect().await;
            for round in 0..20 {
                let id = format!("{number}-{round}");
                let (method, query) = match (round + number) % 4 {
                    0 => ("HEAD", format!("ms={}", round % 3)),
                    1 => ("GET", format!("code=204&ms={}", round % 3)),
                    2 => ("GET", format!("ms={}", round % 3)),
                    _ => ("GET", String::new()),
                };
                conn.send(format!("{method} /stray?id={id}&{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                    .await;
                let reply = conn.reply(method).await;
                // The protocol lets neighbours on the same connection suffer from a worker's fault.
                if reply.status == 502 {
                    continue;
                }
                let body = if query.contains("204") || method == "HEAD" {
                    String::new()
                } else {
                    format!("id {id}")
                };
                assert_eq!(
                    (reply.field("x-id"), reply.text()),
                    (&*id, &*body),
                    "{method} {query}: {reply:?}"
                );
            }
        }
    };
    join_all((0..4).map(client)).await;
}
