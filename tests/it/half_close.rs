//! Clients that end their sending side when they have asked: they are answered, and those that have left are not.

use crate::support::{Conn, Server, Setup, until};

/// Over plain HTTP and over TLS, and the same for requests that a general parser takes.
async fn everywhere<F: Future<Output = ()>>(test: impl Fn(Server, &'static str) -> F) {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        test(setup.start().await, "").await;
    }
    // A request that is no plain GET goes another way.
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        test(setup.start().await, "TE: trailers\r\n").await;
    }
}

async fn ask_and_end(server: &Server, path: &str, field: &str) -> Conn {
    let mut conn = server.connect().await;
    conn.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n")).await;
    conn.end().await;
    conn
}

/// Waits until the server has read all that the client has sent, its end included.
async fn end_is_seen(server: &Server, conn: &Conn) {
    // Over TLS the end is the closing message; what the connection itself says then need not be read.
    let most = usize::from(server.is_tls());
    until("the server has read the client's end", || async {
        server.unread(conn).is_some_and(|(closing, bytes)| closing && bytes <= most)
    })
    .await;
}

#[tokio::test]
async fn who_sends_no_more_is_answered_and_then_the_connection_ends() {
    everywhere(|server, field| async move {
        let mut conn = ask_and_end(&server, "/slow?ms=50", field).await;
        assert_eq!(conn.reply("GET").await.text(), "slow\n");
        assert!(conn.rest().await.is_empty());
        let record = server.record("/slow?ms=50").await;
        assert_eq!((&record["status"], &record["outcome"]), (&200.into(), &"complete".into()), "{record}");
    })
    .await;
}

#[tokio::test]
async fn so_is_who_waits_in_the_queue_and_who_ends_while_it_waits() {
    everywhere(|server, field| async move {
        let mut held = server.connect().await;
        held.send_get("/gate?name=a").await;
        server.meeting.reached("a").await;
        let mut before = ask_and_end(&server, "/?before", field).await;
        let mut after = server.connect().await;
        after.send(format!("GET /?after HTTP/1.1\r\nHost: localhost\r\n{field}\r\n")).await;
        until("both wait", || async { server.status().await.apps[0].queued == 2 }).await;
        after.end().await;
        end_is_seen(&server, &after).await;
        server.meeting.open("a");
        for conn in [&mut held, &mut before, &mut after] {
            assert_eq!(conn.reply("GET").await.status, 200);
        }
        assert!(before.rest().await.is_empty());
        assert!(after.rest().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_body_and_requests_in_a_row_are_answered_too() {
    everywhere(|server, field| async move {
        let mut conn = server.connect().await;
        let post = format!("POST /echo HTTP/1.1\r\nHost: localhost\r\n{field}Content-Length: 5\r\n\r\nhello");
        let get = format!("GET /?last HTTP/1.1\r\nHost: localhost\r\n{field}\r\n");
        conn.send(format!("{get}{post}{post}{get}")).await;
        conn.end().await;
        for (method, text) in [("GET", "hello from the worker\n"), ("POST", "hello"), ("POST", "hello")] {
            assert_eq!(conn.reply(method).await.text(), text);
        }
        assert_eq!(conn.reply("GET").await.status, 200);
        assert!(conn.rest().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_long_answer_reaches_who_ended_before_or_in_the_middle_whole() {
    everywhere(|server, field| async move {
        let mut before = ask_and_end(&server, "/big?bytes=3000000&name=big", field).await;
        assert_eq!(before.head().await.status, 200);
        // Far more than all buffers on the way hold: the server has taken it in, and waits for the client.
        server.meeting.reached("big").await;
        assert_eq!(before.exactly(3_000_000).await.unwrap().len(), 3_000_000);
        assert!(before.rest().await.is_empty());
        let mut amid = server.connect().await;
        amid.send(format!("GET /chunks?n=2&name=c HTTP/1.1\r\nHost: localhost\r\n{field}\r\n")).await;
        assert_eq!(amid.head().await.status, 200);
        assert_eq!(amid.chunk().await.unwrap(), b"chunk 0\n");
        amid.end().await;
        end_is_seen(&server, &amid).await;
        server.meeting.open("c.1");
        assert_eq!(amid.chunk().await.unwrap(), b"chunk 1\n");
        assert_eq!(amid.chunk().await, None);
        assert!(amid.rest().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn who_has_sent_no_more_and_then_leaves_is_found_out_by_its_reset() {
    everywhere(|server, field| async move {
        let mut held = server.connect().await;
        held.send_get("/gate?name=a").await;
        server.meeting.reached("a").await;
        // An answer that it does not read makes its end a reset.
        let mut conn = server.connect().await;
        let request = format!("GET /?gone HTTP/1.1\r\nHost: localhost\r\n{field}\r\n");
        conn.send(format!("GET /server HTTP/1.1\r\nHost: localhost\r\n\r\n{request}")).await;
        until("it waits", || async { server.status().await.apps[0].queued == 1 }).await;
        conn.end().await;
        end_is_seen(&server, &conn).await;
        conn.reset();
        assert_eq!(server.record("/?gone").await["reason"], "client-gone");
        server.meeting.open("a");
        assert_eq!(held.reply("GET").await.status, 200);
        assert_eq!(server.get("/").await.status, 200);
        assert_eq!(server.meeting.targets(), ["/gate?name=a", "/"]);
    })
    .await;
}

#[tokio::test]
async fn over_tls_an_end_without_a_closing_message_is_a_client_that_left() {
    let server = Setup::scripted().tls().start().await;
    let mut held = server.connect().await;
    held.send_get("/gate?name=a").await;
    server.meeting.reached("a").await;
    let mut conn = server.connect().await;
    conn.send_get("/?gone").await;
    until("it waits", || async { server.status().await.apps[0].queued == 1 }).await;
    drop(conn);
    assert_eq!(server.record("/?gone").await["reason"], "client-gone");
    server.meeting.open("a");
    assert_eq!(held.reply("GET").await.status, 200);
    assert_eq!(server.meeting.targets(), ["/gate?name=a"]);
}

#[tokio::test]
async fn an_event_stream_begins_for_who_sends_no_more_and_ends_for_who_stops_later() {
    everywhere(|server, field| async move {
        let mut before = ask_and_end(&server, "/events?n=2&name=e", field).await;
        assert_eq!(before.head().await.status, 200);
        assert_eq!(before.chunk().await.unwrap(), b"data: 0\n\n");
        server.meeting.open("e.1");
        assert_eq!(before.chunk().await.unwrap(), b"data: 1\n\n");
        assert_eq!(before.chunk().await, None);
        let mut later = server.connect().await;
        later.send(format!("GET /events?n=2&name=f HTTP/1.1\r\nHost: localhost\r\n{field}\r\n")).await;
        assert_eq!(later.head().await.status, 200);
        assert_eq!(later.chunk().await.unwrap(), b"data: 0\n\n");
        later.end().await;
        let record = server.record("/events?n=2&name=f").await;
        assert_eq!(record["outcome"], "client-gone", "its place is for others: {record}");
        server.meeting.open("f.1");
    })
    .await;
}
