//! The fields by which answers describe their bodies, and the bytes behind a body: over HTTP/1.1, HTTP/2, and from
//! workers of both.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::Full;

use crate::support::client::{Http2, path_of_bytes, whole};
use crate::support::{Reply, Server, Setup, has};

/// Asks over HTTP/2.
async fn over_http2(server: &Server, method: &str, path: &str) -> Reply {
    let mut client = Http2::connect(server.port(), "localhost").await;
    let request = Request::builder().method(method).uri(format!("https://localhost{path}"));
    let answer = client.send(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    whole(answer).await.unwrap()
}

/// Asks in every way there is: the last two are HTTP/1.1 that the server's short way does not take.
async fn in_every_way(server: &Server, method: &str, path: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    if server.is_tls() {
        replies.push(over_http2(server, method, path).await);
    }
    replies.push(server.ask(method, path, &[], b"").await);
    replies.push(server.ask(method, path, &[("TE", "trailers")], b"").await);
    replies.push(server.ask(method, path, &[], b"with a body").await);
    replies
}

/// How curl ends, over HTTP/2 and HTTP/1.1.
fn curl(server: &Server, path: &str, more: &[&str]) -> Vec<Option<i32>> {
    let url = format!("https://localhost:{}{path}", server.port());
    let run = |version: &&str| {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "-o", "/dev/null", "--max-time", "10", version]).args(more).arg(&url);
        curl.status().unwrap().code()
    };
    ["--http2", "--http1.1"].iter().map(run).collect()
}

const BODILESS: [(u16, &str); 9] = [
    (204, "Content-Length: 7\r\n"),
    (204, "Content-Length: 0\r\n"),
    (204, "Transfer-Encoding: chunked\r\n"),
    (204, "Content-Length: 7\r\nContent-Type: text/event-stream\r\n"),
    (204, ""),
    (304, "Content-Length: 7\r\n"),
    (304, "Content-Length: 0\r\nETag: \"1\"\r\n"),
    (304, "Transfer-Encoding: chunked\r\n"),
    (304, "Content-Length: 7\r\nContent-Length: 7\r\n"),
];

#[tokio::test]
async fn answers_without_a_body_say_nothing_of_one() {
    let has_curl = has("curl", "curl");
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = setup.start().await;
        for (status, fields) in BODILESS {
            let path = path_of_bytes(format!("HTTP/1.1 {status} Said\r\n{fields}X-App: 1\r\n\r\n"));
            for method in ["GET", "HEAD", "DELETE"] {
                for reply in in_every_way(&server, method, &path).await {
                    assert_eq!((reply.status, reply.field("x-app")), (status, "1"), "{method} {fields}");
                    for name in ["content-length", "transfer-encoding"] {
                        assert!(!reply.headers.contains_key(name), "{method} {status} {fields}: {reply:?}");
                    }
                }
            }
            if has_curl && server.is_tls() {
                assert_eq!(curl(&server, &path, &[]), [Some(0), Some(0)], "{status} {fields}");
                assert_eq!(curl(&server, &path, &["-I"]), [Some(0), Some(0)], "{status} {fields}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_to_head_says_how_long_the_body_would_be() {
    let server = Setup::scripted().tls().start().await;
    let path = path_of_bytes("HTTP/1.1 200 Said\r\nContent-Length: 1234\r\n\r\n");
    for reply in in_every_way(&server, "HEAD", &path).await {
        assert_eq!((reply.status, reply.field("content-length")), (200, "1234"));
    }
    if has("curl", "curl") {
        assert_eq!(curl(&server, &path, &["-I"]), [Some(0), Some(0)]);
    }
}

#[tokio::test]
async fn the_server_s_own_answers_to_head_have_no_body_either() {
    let server = Setup::scripted().tls().start().await;
    let mut conn = server.connect().await;
    let mut client = Http2::connect(server.port(), "localhost").await;
    for (host, path, status) in
        [("localhost", "/server", 200), ("localhost", "/status", 200), ("nobody.example", "/", 404)]
    {
        let request = Request::head(format!("https://{host}{path}")).body(Full::<Bytes>::default()).unwrap();
        let over_http2 = whole(client.send(request).await.unwrap()).await.unwrap();
        conn.send(format!("HEAD {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        for reply in [over_http2, conn.reply("HEAD").await] {
            assert_eq!((reply.status, reply.body.len()), (status, 0), "{path}");
            assert_ne!(reply.field("content-length"), "0", "{path}");
            assert_ne!(reply.field("content-length"), "", "{path}");
        }
        if has("curl", "curl") {
            let other = format!("Host: {host}");
            assert_eq!(curl(&server, path, &["-I", "-H", &other]), [Some(0), Some(0)], "{path}");
        }
    }
}

#[tokio::test]
async fn a_length_that_is_said_twice_is_passed_on_once() {
    let server = Setup::scripted().tls().start().await;
    let path = path_of_bytes("HTTP/1.1 200 Said\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody");
    for reply in in_every_way(&server, "GET", &path).await {
        assert_eq!((reply.field("content-length"), reply.text()), ("4", "body"));
    }
}

/// Fields behind a body: the first three are known at its end only.
const TRAILERS: &str = "X-Sum: abc\r\ngrpc-status: 0\r\ngrpc-message: fine\r\nContent-Length: 3\r\n\
     Transfer-Encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Head-Hop: 1\r\nKeep-Alive: 1\r\nTE: x\r\n\
     Upgrade: x\r\nTrailer: x\r\nHost: evil\r\nRip-Reloads: 9\r\nRip-Worker-Busy: 1\r\nSet-Cookie: a=b\r\n\
     Content-Type: text/html\r\nContent-Encoding: br\r\nContent-Range: bytes 0-1/2\r\nCache-Control: public\r\n\
     Location: /elsewhere\r\nDate: today\r\nX-Request-Id: forged-1\r\nWWW-Authenticate: Basic\r\n";

fn names(trailers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = trailers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn behind_an_answer_s_body_only_what_is_known_at_its_end_passes() {
    let server = Setup::scripted().tls().start().await;
    let announced: Vec<_> =
        TRAILERS.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    for kind in ["text/plain", "text/event-stream", "application/grpc"] {
        let answer = format!(
            "HTTP/1.1 200 Said\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\nConnection: x-head-hop\r\n\
             Trailer: {}\r\n\r\n4\r\nbody\r\n0\r\n{TRAILERS}\r\n",
            announced.join(", ")
        );
        let path = path_of_bytes(answer);
        let plain = server.ask("GET", &path, &[("TE", "trailers")], b"").await;
        for reply in [over_http2(&server, "GET", &path).await, plain] {
            assert_eq!((reply.status, reply.text()), (200, "body"), "{kind}");
            assert_eq!(names(&reply.trailers), ["grpc-message", "grpc-status", "x-sum"], "{kind}");
        }
        for record in server.records(&path, 2).await {
            assert_eq!((&record["outcome"], &record["length"]), (&"complete".into(), &4.into()), "{kind}");
        }
        if has("curl", "curl") {
            assert_eq!(curl(&server, &path, &[]), [Some(0), Some(0)], "{kind}");
        }
    }
}

#[tokio::test]
async fn trailers_of_which_nothing_is_left_are_none() {
    let server = Setup::scripted().tls().start().await;
    let answer = "HTTP/1.1 200 Said\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n\
                  4\r\nbody\r\n0\r\nContent-Length: 9\r\n\r\n";
    let path = path_of_bytes(answer);
    let plain = server.ask("GET", &path, &[("TE", "trailers")], b"").await;
    for reply in [over_http2(&server, "GET", &path).await, plain] {
        assert_eq!((reply.status, reply.text(), reply.trailers.len()), (200, "body", 0));
    }
    for record in server.records(&path, 2).await {
        assert_eq!(record["outcome"], "complete");
    }
}

/// A worker that writes the frames of HTTP/2 itself: what libraries would not send.
const FRAMES: &str = r#"
import http.server, socket, struct, sys, threading
STATUS = {b"204": b"\x89", b"304": b"\x8b", b"200": b"\x88"}
def literal(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
def exactly(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
def serve(sock):
    try:
        exactly(sock, 24)
        sock.sendall(frame(4, 0, 0))
        while True:
            head = exactly(sock, 9)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:], "big") & 0x7fffffff
            exactly(sock, length)
            if kind == 4 and not flags & 1:
                sock.sendall(frame(4, 1, 0))
            if kind == 6 and not flags & 1:
                sock.sendall(frame(6, 1, 0, b"\0" * 8))
            if kind == 1:
                sock.sendall(answer(stream))
    except (EOFError, OSError):
        pass
def answer(stream):
    status, body, length, trailers = sys.argv[1:5]
    head = STATUS[status.encode()]
    if length:
        head += literal(b"content-length", length.encode())
    data = frame(1, 4, stream, head)
    if body:
        data += frame(0, 0, stream, body.encode())
    if trailers:
        fields = [field.split("=") for field in trailers.split(",")]
        return data + frame(1, 5, stream, b"".join(literal(n.encode(), v.encode()) for n, v in fields))
    return data + frame(0, 1, stream)
listener = socket.socket(fileno=3)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

async fn frames(folder: &Path, arguments: [&str; 4]) -> Server {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("frames.py"), FRAMES).unwrap();
    let arguments: Vec<_> = arguments.iter().map(|argument| format!("{argument:?}")).collect();
    let own = format!(
        "command = [\"python3\", \"frames.py\", {}]\nlisten = \"fd\"\nprotocol = \"h2c\"\nreload = \"none\"\n",
        arguments.join(", ")
    );
    std::fs::write(folder.join("rip.toml"), own).unwrap();
    Setup::app(folder).words(&["w:1"]).tls().start().await
}

#[tokio::test]
async fn an_answer_of_an_http_2_worker_that_has_no_body_has_none_whatever_it_sends() {
    let folder = tempfile::tempdir().unwrap();
    for (status, body, length) in
        [("204", "stray", ""), ("204", "", "7"), ("304", "stray", "5"), ("304", "", "0")]
    {
        let server = frames(folder.path(), [status, body, length, ""]).await;
        for _ in 0..3 {
            for reply in in_every_way(&server, "GET", "/").await {
                assert_eq!((reply.status.to_string().as_str(), reply.text()), (status, ""));
                assert!(!reply.headers.contains_key("content-length"), "{reply:?}");
            }
        }
        if has("curl", "curl") {
            assert_eq!(curl(&server, "/", &[]), [Some(0), Some(0)], "{status} {body} {length}");
        }
        assert_eq!(server.status().await.apps[0].workers.ready, 1);
    }
}

#[tokio::test]
async fn trailers_of_an_http_2_worker_pass_by_the_same_rules() {
    let folder = tempfile::tempdir().unwrap();
    let sent = "grpc-status=0,grpc-message=fine,content-length=3,content-type=x,set-cookie=a,rip-reloads=1,x-sum=1,\
                www-authenticate=x,x-request-id=forged-1";
    let server = frames(folder.path(), ["200", "body", "", sent]).await;
    let reply = over_http2(&server, "GET", "/").await;
    assert_eq!((reply.status, reply.text()), (200, "body"));
    assert_eq!(names(&reply.trailers), ["grpc-message", "grpc-status", "x-sum"]);
    if has("curl", "curl") {
        assert_eq!(curl(&server, "/", &[]), [Some(0), Some(0)]);
    }
}
