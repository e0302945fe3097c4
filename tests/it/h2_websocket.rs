//! WebSockets that clients open over HTTP/2 (RFC 8441): what they carry, what they leave to the requests beside them,
//! how they end, and what is refused.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::client::{Http2, path_of_bytes, whole};
use crate::support::{Reply, Server, Setup, soon, until};

/// A client that has read the server's settings.
async fn client(server: &Server) -> Http2 {
    let mut http2 = server.http2().await;
    assert_eq!(http2.get("/").await.status, 200);
    http2
}

/// An extended CONNECT (RFC 8441 §4).
pub(crate) fn connect(path: &str, protocol: &'static str) -> Request<Full<Bytes>> {
    let request =
        Request::connect(format!("https://localhost{path}")).extension(Protocol::from_static(protocol));
    request.header("origin", "https://localhost").body(Full::default()).unwrap()
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A WebSocket, and its answer's head.
async fn open(http2: &mut Http2, path: &str) -> (Socket, Response<Incoming>) {
    let mut answer = http2.send(connect(path, "websocket")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let upgraded = soon("the tunnel", hyper::upgrade::on(&mut answer)).await.unwrap();
    (WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await, answer)
}

async fn echoes(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.unwrap();
    let back = soon("an echo", socket.next()).await.unwrap().unwrap();
    assert!(back == message, "{} bytes", back.len());
}

async fn refused(http2: &mut Http2, request: Request<Full<Bytes>>) -> Reply {
    whole(http2.send(request).await.unwrap()).await.unwrap()
}

async fn tunnels(server: &Server) -> usize {
    server.status().await.apps[0].tunnels
}

#[tokio::test]
async fn a_websocket_over_http2_is_one_of_http1_to_its_worker() {
    let server = Setup::scripted().tls().start().await;
    let mut http2 = client(&server).await;
    let (mut socket, answer) = open(&mut http2, "/ws?a=b").await;
    for name in ["upgrade", "connection", "sec-websocket-accept", "content-length", "transfer-encoding"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    assert!(answer.headers().contains_key("x-request-id"));
    for message in [Message::text("hello"), Message::binary(vec![7; 200_000]), Message::text("")] {
        echoes(&mut socket, message).await;
    }
    // The worker sends a ping back as it came, and the library answers that.
    socket.send(Message::Ping("ping".into())).await.unwrap();
    assert_eq!(soon("a ping", socket.next()).await.unwrap().unwrap(), Message::Ping("ping".into()));
    assert_eq!(
        soon("its answer's echo", socket.next()).await.unwrap().unwrap(),
        Message::Pong("ping".into())
    );
    assert_eq!(
        (tunnels(&server).await, http2.get("/").await.status),
        (1, 200),
        "the only worker answers others"
    );
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = soon("the end", socket.next()).await {}
    drop(socket);
    until("the tunnel is gone", || async { tunnels(&server).await == 0 }).await;
    let record = server.record("/ws?a=b").await;
    assert_eq!((&record["status"], &record["method"]), (&200.into(), &"GET".into()), "{record}");
    assert_eq!(
        (&record["outcome"], &record["reason"]),
        (&"complete".into(), &serde_json::Value::Null),
        "{record}"
    );
    let views = server.meeting.views();
    let seen = views.iter().find(|view| view.target == "/ws?a=b").unwrap();
    assert_eq!(seen.method, "GET");
    for (name, value) in [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("origin", "https://localhost"),
    ] {
        assert_eq!(seen.all(name), [value], "{name}");
    }
    assert_eq!(seen.field("sec-websocket-key").unwrap().len(), 24);
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn many_websockets_and_requests_share_one_connection() {
    let server = Setup::scripted().words(&["w:2"]).tls().start().await;
    let mut http2 = client(&server).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(open(&mut http2, "/ws").await.0);
    }
    for round in 0..5 {
        for (at, socket) in sockets.iter_mut().enumerate() {
            echoes(socket, Message::text(format!("{round} {at}"))).await;
        }
        assert_eq!(http2.get("/").await.status, 200);
    }
    assert_eq!(tunnels(&server).await, 20);
    // A WebSocket that ends leaves the others alone, whether by a closing message or without one.
    drop(sockets.pop());
    sockets.pop().unwrap().close(None).await.unwrap();
    until("two are gone", || async { tunnels(&server).await == 18 }).await;
    for socket in &mut sockets {
        echoes(socket, Message::text("still there")).await;
    }
    // A client that leaves takes all of its own along.
    drop(sockets);
    drop(http2);
    until("all are gone", || async { tunnels(&server).await == 0 }).await;
}

#[tokio::test]
async fn tunnels_that_nobody_reads_do_not_stall_what_is_beside_them() {
    let server = Setup::scripted().words(&["w:2"]).tls().start().await;
    let mut http2 = client(&server).await;
    let mut stalled = Vec::new();
    for number in 0..8 {
        let (socket, _) = open(&mut http2, &format!("/ws?name=deaf.{number}")).await;
        let mut stream = socket.into_inner();
        // As much as goes: the worker reads nothing of it.
        let piece = vec![1; 64 << 10];
        let sends = async { while stream.write_all(&piece).await.is_ok() {} };
        let goes_on = tokio::time::timeout(Duration::from_millis(300), sends).await;
        assert!(goes_on.is_err(), "the tunnel broke");
        stalled.push(stream);
    }
    let body = Bytes::from(vec![b'x'; 3 << 20]);
    let post = Request::post("https://localhost/echo").body(Full::new(body.clone())).unwrap();
    let echoed = refused(&mut http2, post).await;
    assert!(echoed.status == 200 && echoed.body == body, "{}", echoed.status);
    let (mut socket, _) = open(&mut http2, "/ws").await;
    echoes(&mut socket, Message::binary(vec![3; 100_000])).await;
}

#[tokio::test]
async fn what_is_no_websocket_is_refused_with_its_reason() {
    let server = Setup::scripted().tls().rules("tunnels = 1").start().await;
    let mut http2 = client(&server).await;
    for (request, status, reason) in [
        (connect("/ws", "connect-udp"), 501, "protocol"),
        (connect("/ws", "WebSocket"), 501, "protocol"),
        (Request::connect("localhost:443").body(Full::default()).unwrap(), 405, "method"),
        // A page with status 200 would open a WebSocket.
        (connect("/view", "websocket"), 400, "no-websocket"),
        (connect("/server", "websocket"), 400, "no-websocket"),
        // A change of protocols without the answer to the key.
        (connect("/upgrade", "websocket"), 502, "bad-answer"),
    ] {
        let what = format!("{request:?}");
        let reply = refused(&mut http2, request).await;
        assert_eq!((reply.status, reply.reason()), (status, reason), "{what}");
    }
    let path = path_of_bytes("HTTP/1.1 403 No\r\nContent-Length: 6\r\n\r\nno one");
    let of_app = refused(&mut http2, connect(&path, "websocket")).await;
    assert_eq!(
        (of_app.status, of_app.text()),
        (403, "no one"),
        "any other answer of the app is the client's"
    );
    let (mut held, _) = open(&mut http2, "/ws").await;
    let reply = refused(&mut http2, connect("/ws", "websocket")).await;
    assert_eq!((reply.status, reply.reason()), (503, "no-tunnel"));
    echoes(&mut held, Message::text("still there")).await;
    assert!(!server.meeting.targets().iter().any(|target| target == "/server"));
}

#[tokio::test]
async fn without_the_setting_clients_are_told_of_no_websockets() {
    let server = Setup::scripted().tls().server("listen.h2_websocket = false").start().await;
    let mut http2 = client(&server).await;
    let outcome = http2.send(connect("/ws", "websocket")).await;
    assert!(outcome.is_err(), "{outcome:?}");
    assert_eq!(server.http2().await.get("/").await.status, 200);
}

#[tokio::test]
async fn a_deploy_lets_websockets_be_until_their_worker_has_drained() {
    let server = Setup::scripted().tls().rules("timeouts.drain = \"2s\"").start().await;
    let mut http2 = client(&server).await;
    let (mut socket, _) = open(&mut http2, "/ws").await;
    server.ctl(&["deploy", "scripted"]).await.expect(0);
    let pids = server.worker_pids().await;
    echoes(&mut socket, Message::text("the old worker's")).await;
    let view = http2.get("/view").await.view();
    assert!(pids.contains(&view.pid), "the connection goes on to the new worker");
    // The old worker's drain ends it; the connection stays.
    while let Some(Ok(_)) = soon("the end", socket.next()).await {}
    assert_eq!(http2.get("/").await.status, 200);
    let (mut socket, _) = open(&mut http2, "/ws").await;
    echoes(&mut socket, Message::text("the new worker's")).await;
}

#[tokio::test]
async fn the_end_of_a_server_does_not_wait_for_websockets_over_http2() {
    let mut server = Setup::scripted().tls().start().await;
    let mut http2 = client(&server).await;
    let (mut socket, _) = open(&mut http2, "/ws").await;
    echoes(&mut socket, Message::text("hello")).await;
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
    let mut rest = Vec::new();
    let _ = soon("the end", socket.get_mut().read_to_end(&mut rest)).await;
    assert_eq!(server.record("/ws").await["status"], 200);
}
