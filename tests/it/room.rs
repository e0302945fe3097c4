//! Workers with the smallest send buffer there is, that ask for room before they write (poll(2)): what of their answers
//! is still in the kernel must not keep them from the next one.

use crate::support::{Conn, Server, Setup, until};

/// A server, a client, and a connection to a worker on which the last answer is still in the kernel. (The first of a
/// connection is taken at once, and so is all when another thread takes it over.)
async fn with_little_room(setup: Setup) -> (Server, Conn) {
    let server = setup.worker("LITTLE_ROOM", "").variable("RIP_LOG", "debug").start().await;
    let mut conn = server.connect().await;
    for _ in 0..3 {
        assert_eq!(conn.get("/code?code=200").await.text(), "as asked\n");
    }
    (server, conn)
}

#[tokio::test]
async fn they_answer_all_the_same() {
    let (_server, mut conn) = with_little_room(Setup::scripted()).await;
    for _ in 0..3 {
        for target in ["/code?code=404", "/chunks?n=3", "/bare-status?code=304", "/view", "/code?code=200"] {
            let status = target.split_once("code=").map_or(200, |(_, code)| code.parse().unwrap());
            assert_eq!(conn.get(target).await.status, status, "{target}");
        }
    }
}

#[tokio::test]
async fn within_a_limit_shorter_than_what_is_waited_for_them() {
    let (_server, mut conn) = with_little_room(Setup::scripted().rules("timeouts.request = \"900ms\"")).await;
    assert_eq!(conn.get("/code?code=200").await.status, 200);
}

#[tokio::test]
async fn after_their_client_has_left() {
    let (server, mut conn) = with_little_room(Setup::scripted()).await;
    conn.send("GET /gate?name=a HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    until("the worker has it", || async { server.meeting.has_reached("a") }).await;
    conn.reset();
    until("the client's end is noticed", || async { server.output().contains("client-gone") }).await;
    server.meeting.open("a");
    assert_eq!(server.connect().await.get("/code?code=200").await.status, 200);
    let pids = server.meeting.views().iter().map(|view| view.pid).collect::<Vec<_>>();
    assert!(pids.iter().all(|pid| *pid == pids[0]), "the worker was ended: {pids:?}");
}

#[tokio::test]
async fn before_the_body_has_come() {
    let (_server, mut conn) = with_little_room(Setup::scripted().rules("stream = [\"/early\"]")).await;
    conn.send("POST /early HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!(conn.head().await.status, 200);
    assert_eq!(conn.chunk().await.unwrap(), b"begun\n");
}
