//! Both directions at once, and what comes behind a request's body.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;

use crate::support::client::whole;
use crate::support::{Server, Setup, soon, tls, until};

fn streaming() -> Setup {
    Setup::scripted()
        .rules("stream = [\"/duplex\", \"/early\", \"/deaf\", \"/streamed\", \"/view/streamed\"]")
}

const HEAD: &str = "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_worker_answers_while_the_body_still_comes() {
    for setup in [streaming(), streaming().tls()] {
        let server = setup.start().await;
        let mut conn = server.connect().await;
        conn.send(format!("POST /duplex?name=a HTTP/1.1\r\n{HEAD}")).await;
        assert_eq!(conn.head().await.status, 200);
        assert_eq!(conn.chunk().await.unwrap(), b"begun\n");
        for piece in ["one", "two", "three"] {
            // The next piece is sent only when this one has come back.
            conn.send(chunk(piece)).await;
            assert_eq!(conn.chunk().await.unwrap(), piece.as_bytes());
        }
        conn.send("0\r\n\r\n").await;
        assert_eq!(conn.chunk().await, None);
        assert_eq!(conn.get("/").await.status, 200, "the connection is kept");
        let pids: Vec<_> = server.meeting.views().iter().map(|view| view.pid).collect();
        assert_eq!(pids[0], pids[1]);
        server.meeting.assert_no_violations();
    }
}

#[tokio::test]
async fn over_http2_too() {
    let server = streaming().tls().start().await;
    let mut client = Client::connect(&server).await;
    let (feed, body) = fed();
    let mut answer = client.post("/duplex?name=a", body).await;
    assert_eq!(data(&mut answer).await, "begun\n");
    for piece in ["one", "two", "three"] {
        feed.send(Ok(Frame::data(Bytes::from(piece)))).await.unwrap();
        assert_eq!(data(&mut answer).await, piece);
    }
    drop(feed);
    assert_eq!(whole(answer).await.unwrap().text(), "");
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn what_comes_after_an_early_answer_reaches_the_worker() {
    let server = streaming().start().await;
    for (query, begun) in [("", "begun\n"), ("interim", "")] {
        let mut conn = server.connect().await;
        conn.send(format!("POST /early?{query} HTTP/1.1\r\n{HEAD}")).await;
        let mut said = String::new();
        if !begun.is_empty() {
            assert_eq!(conn.head().await.status, 200);
            said = String::from_utf8(conn.chunk().await.unwrap()).unwrap();
        }
        for _ in 0..300 {
            conn.send(chunk(&"x".repeat(1000))).await;
        }
        conn.send("0\r\n\r\n").await;
        let rest = if begun.is_empty() {
            conn.reply("POST").await.text().to_owned()
        } else {
            String::from_utf8(conn.chunk().await.unwrap()).unwrap()
        };
        assert_eq!((said + &rest, server.meeting.violations()), (format!("{begun}300000"), String::new()));
    }
}

#[tokio::test]
async fn a_worker_that_takes_no_body_still_answers() {
    let server = streaming().start().await;
    let mut conn = server.connect().await;
    conn.send(format!("POST /deaf?name=d HTTP/1.1\r\n{HEAD}")).await;
    assert_eq!(conn.head().await.status, 200);
    assert_eq!(conn.chunk().await.unwrap(), b"begun\n");
    // More than all buffers on the way hold: nobody takes it.
    let flood = async { while conn.try_send(chunk(&"x".repeat(60_000))).await.is_ok() {} };
    assert!(tokio::time::timeout(std::time::Duration::from_secs(2), flood).await.is_err());
    server.meeting.open("d");
    let rest = conn.rest().await;
    assert!(String::from_utf8_lossy(&rest).contains("over\n"), "{rest:?}");
    assert_eq!(server.get("/").await.status, 200, "its worker is free again");
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn what_still_comes_of_a_body_after_its_answer_is_no_request() {
    let server = streaming().start().await;
    let mut conn = server.connect().await;
    conn.send("POST /deaf?name=d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n").await;
    assert_eq!(conn.head().await.status, 200);
    server.meeting.open("d");
    while conn.chunk().await.is_some() {}
    // Longer than a connection without a request goes on before it is put to rest.
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(600), conn.exactly(1)).await;
    assert!(!matches!(quiet, Ok(Ok(_))), "nothing is to come");
    // The server may have closed by now; what it takes it must take for what it is.
    conn.try_send("GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n").await.ok();
    let answer = tokio::time::timeout(std::time::Duration::from_millis(300), conn.exactly(1)).await;
    assert!(!matches!(answer, Ok(Ok(_))), "nor is it answered");
    assert_eq!(server.get("/").await.status, 200);
    assert_eq!(server.meeting.targets(), ["/deaf?name=d", "/"]);
}

#[tokio::test]
async fn a_connection_at_rest_takes_its_next_request() {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = setup.start().await;
        let mut conn = server.connect().await;
        for _ in 0..3 {
            assert_eq!(conn.get("/").await.status, 200);
            let quiet = tokio::time::timeout(std::time::Duration::from_millis(400), conn.exactly(1)).await;
            assert!(quiet.is_err(), "the connection is kept");
        }
        // Also when it comes in pieces.
        conn.send("GET / HTTP/1.1\r\nHo").await;
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(400), conn.exactly(1)).await;
        assert!(quiet.is_err(), "the rest of the head is waited for");
        conn.send("st: localhost\r\n\r\n").await;
        assert_eq!(conn.reply("GET").await.status, 200);
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_is_no_end_of_its_body() {
    let server = streaming().start().await;
    let mut conn = server.connect().await;
    conn.send(format!("POST /duplex?name=gone HTTP/1.1\r\n{HEAD}{}", chunk("one"))).await;
    assert_eq!(conn.head().await.status, 200);
    assert_eq!(conn.chunk().await.unwrap(), b"begun\n");
    assert_eq!(conn.chunk().await.unwrap(), b"one");
    drop(conn);
    server.meeting.reached("gone.broken").await;
    assert!(!server.meeting.has_reached("gone"));
    assert_eq!(server.get("/").await.status, 200, "its worker is free again");
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_worker_gets_nothing_new_before_it_has_done_with_a_request_that_broke_off() {
    let server = streaming().start().await;
    let mut conn = server.connect().await;
    conn.send(format!("POST /duplex?name=gone&stays HTTP/1.1\r\n{HEAD}{}", chunk("one"))).await;
    assert_eq!(conn.head().await.status, 200);
    assert_eq!(conn.chunk().await.unwrap(), b"begun\n");
    drop(conn);
    server.meeting.reached("gone.leaves").await;
    let mut other = server.connect().await;
    other.send_get("/").await;
    until("it waits", || async { server.status().await.apps[0].queued == 1 }).await;
    // The server has seen the client leave, and has answered others since.
    assert_eq!(server.record("/duplex?name=gone&stays").await["reason"], "client-gone");
    for _ in 0..20 {
        assert_eq!(server.get("/server").await.status, 200);
    }
    assert_eq!(server.status().await.apps[0].queued, 1, "it still does");
    server.meeting.open("gone.leaves");
    assert_eq!(other.reply("GET").await.status, 200);
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_client_that_breaks_off_a_long_upload_leaves_its_worker_time_to_notice() {
    let rules = "timeouts.request = \"2s\"";
    let server = streaming().rules(rules).start().await;
    let before = server.worker_pids().await;
    let mut conn = server.connect().await;
    conn.send(format!("POST /early?interim HTTP/1.1\r\n{HEAD}")).await;
    let begun = tokio::time::Instant::now();
    let limit = std::time::Duration::from_millis(2500);
    while begun.elapsed() < limit {
        // An upload that takes longer than the worker may.
        conn.send(chunk("x")).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    drop(conn);
    assert_eq!(server.get("/").await.status, 200, "its worker is free again");
    assert_eq!(server.worker_pids().await, before);
}

#[tokio::test]
async fn a_worker_that_waits_for_the_rest_of_a_request_is_not_silent() {
    let server = streaming().rules("timeouts.body_idle = \"1s\"").start().await;
    let before = server.worker_pids().await;
    let mut conn = server.connect().await;
    conn.send(format!("POST /duplex?name=patient HTTP/1.1\r\n{HEAD}")).await;
    assert_eq!(conn.head().await.status, 200);
    assert_eq!(conn.chunk().await.unwrap(), b"begun\n");
    for _ in 0..2 {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        conn.send(chunk("more")).await;
        assert_eq!(conn.chunk().await.unwrap(), b"more");
    }
    conn.send("0\r\n\r\n").await;
    assert_eq!(conn.chunk().await, None);
    assert_eq!(server.worker_pids().await, before);

    // A worker that has the whole body and says no more is given up.
    conn.send("POST /deaf?name=stuck HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody").await;
    assert_eq!(conn.head().await.status, 200);
    conn.rest().await;
    assert_eq!(server.record("/deaf?name=stuck").await["reason"], "worker-stalled");
}

#[tokio::test]
async fn a_body_that_stops_coming_ends_the_exchange() {
    let server = streaming().server("limits.body_idle = \"1s\"").start().await;
    let mut conn = server.connect().await;
    conn.send(format!("POST /duplex?name=slow HTTP/1.1\r\n{HEAD}{}", chunk("one"))).await;
    assert_eq!(conn.head().await.status, 200);
    server.meeting.reached("slow.broken").await;
    let rest = conn.rest().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "an answer that is cut has no end: {rest:?}");
    assert_eq!(server.record("/duplex?name=slow").await["reason"], "too-slow");
    assert_eq!(server.get("/").await.status, 200, "its worker is free again");
}

#[tokio::test]
async fn a_body_that_is_too_large_ends_the_exchange() {
    let server = streaming().server("app.max_body = \"10K\"").start().await;
    let mut conn = server.connect().await;
    conn.send(format!("POST /duplex?name=large HTTP/1.1\r\n{HEAD}")).await;
    assert_eq!(conn.head().await.status, 200);
    assert_eq!(conn.chunk().await.unwrap(), b"begun\n");
    let _ = conn.try_send(chunk(&"x".repeat(20_000))).await;
    server.meeting.reached("large.broken").await;
    assert_eq!(server.record("/duplex?name=large").await["reason"], "body-too-large");
    assert_eq!(server.get("/").await.status, 200, "its worker is free again");
}

#[tokio::test]
async fn much_both_ways_takes_little_memory() {
    let server = streaming().start().await;
    let before = server.peak_memory();
    let mut conn = server.connect().await;
    conn.send(format!("POST /duplex?name=much HTTP/1.1\r\n{HEAD}")).await;
    assert_eq!(conn.head().await.status, 200);
    assert_eq!(conn.chunk().await.unwrap(), b"begun\n");
    let (pieces, piece) = (640, "x".repeat(100_000));
    for _ in 0..pieces {
        conn.send(chunk(&piece)).await;
        let mut back = 0;
        while back < piece.len() {
            back += conn.chunk().await.unwrap().len();
        }
    }
    conn.send("0\r\n\r\n").await;
    assert_eq!(conn.chunk().await, None);
    let grown = server.peak_memory() - before;
    assert!(grown < 16 << 20, "{grown} bytes more for 64 MB each way");
}

#[tokio::test]
async fn trailers_reach_the_worker() {
    let server = streaming().server("limits.body_memory = \"4K\"").start().await;
    for (path, size) in [("/view", 5), ("/view", 0), ("/view", 20_000), ("/view/streamed", 5)] {
        let mut conn = server.connect().await;
        conn.send(format!("POST {path} HTTP/1.1\r\nTrailer: x-checksum\r\n{HEAD}")).await;
        if size > 0 {
            conn.send(chunk(&"x".repeat(size))).await;
        }
        conn.send("0\r\nX-Checksum: abc\r\nX-Forwarded-For: 9.9.9.9\r\nContent-Length: 3\r\nAuthorization: me\r\n\r\n").await;
        let view = conn.reply("POST").await.view();
        assert_eq!(view.length, size, "{path}");
        assert_eq!(view.trailers, [("x-checksum".to_owned(), "abc".to_owned())], "{path} {size}");
        assert_eq!(view.field("transfer-encoding"), Some("chunked"));
        assert_eq!(conn.get("/").await.status, 200);
    }
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn trailers_of_http2_reach_the_worker() {
    let server = streaming().tls().start().await;
    for path in ["/view", "/view/streamed"] {
        let mut client = Client::connect(&server).await;
        let (feed, body) = fed();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", HeaderValue::from_static("abc"));
        trailers.insert("cookie", HeaderValue::from_static("a=b"));
        feed.send(Ok(Frame::data(Bytes::from("hello")))).await.unwrap();
        feed.send(Ok(Frame::trailers(trailers))).await.unwrap();
        drop(feed);
        let view = whole(client.post(path, body).await).await.unwrap().view();
        assert_eq!(view.trailers, [("x-checksum".to_owned(), "abc".to_owned())], "{path}");
        assert_eq!(view.length, 5);
    }
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_reset_stream_is_no_end_of_its_body() {
    let server = streaming().tls().start().await;
    let mut client = Client::connect(&server).await;
    let (feed, body) = fed();
    let mut answer = client.post("/duplex?name=reset", body).await;
    assert_eq!(data(&mut answer).await, "begun\n");
    feed.send(Err(std::io::ErrorKind::Interrupted.into())).await.unwrap();
    server.meeting.reached("reset.broken").await;
    assert!(!server.meeting.has_reached("reset"));
    until("its worker is free again", || async { server.status().await.apps[0].in_flight == 0 }).await;
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

async fn data(answer: &mut Response<Incoming>) -> String {
    let frame = soon("a piece of the answer", answer.frame()).await.unwrap().unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

/// A body made of what a test sends.
struct Fed(mpsc::Receiver<std::io::Result<Frame<Bytes>>>);

fn fed() -> (mpsc::Sender<std::io::Result<Frame<Bytes>>>, Fed) {
    let (feed, body) = mpsc::channel(8);
    (feed, Fed(body))
}

impl Body for Fed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx)
    }
}

struct Client {
    sender: SendRequest<Fed>,
    task: tokio::task::JoinHandle<hyper::Result<()>>,
}

impl Client {
    async fn connect(server: &Server) -> Self {
        let stream = tls::connect(server.port(), "localhost", &["h2"]).await.unwrap();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "aborted when the client is dropped")]
        let task = tokio::spawn(connection);
        Self { sender, task }
    }

    async fn post(&mut self, path: &str, body: Fed) -> Response<Incoming> {
        let request =
            Request::post(format!("https://localhost{path}")).header("te", "trailers").body(body).unwrap();
        soon("an answer's head", self.sender.send_request(request)).await.unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}
