//! Requests that are meant to be misread, and clients that mean no good.
//!
//! Behind every request that is refused or accepted stands the same question: does the worker see exactly the requests
//! that the client sent, framed so that nobody can read them otherwise? The worker itself is strict and notes whatever
//! it should never see; see `worker.py`.

mod frames;
mod handshakes;
mod heads;
mod http2;
mod others;
mod places;
mod slow;

use http::{Request, Version};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::whole;
use crate::support::{Conn, Server, Setup, soon, tls};

/// The fate of bytes that look like a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// Refused with this status, and the connection closed.
    Refused(u16),
    /// The worker gets one request, with a body of so many bytes.
    Passed(usize),
}

use Fate::{Passed, Refused};

/// Each case is the request but for its target, which is put in for `@`; `|` stands for CR LF.
const CASES: &[(&str, &str, Fate)] = &[
    // The ordinary ones, so that a server that refuses everything does not pass.
    ("an ordinary GET", "GET @ HTTP/1.1|Host: localhost||", Passed(0)),
    ("an ordinary POST", "POST @ HTTP/1.1|Host: localhost|Content-Length: 5||hello", Passed(5)),
    ("a chunked POST", "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||5|hello|0||", Passed(5)),
    (
        "chunked in capitals",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: Chunked||5|hello|0||",
        Passed(5),
    ),
    (
        "a chunk extension",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||5;a=b|hello|0||",
        Passed(5),
    ),
    (
        "the same length twice",
        "POST @ HTTP/1.1|Host: localhost|Content-Length: 5|Content-Length: 5||hello",
        Passed(5),
    ),
    (
        "a length of many digits",
        "POST @ HTTP/1.1|Host: localhost|Content-Length: 000000000000000000000000000000000000005||hello",
        Refused(400),
    ),
    ("a GET with a body", "GET @ HTTP/1.1|Host: localhost|Content-Length: 5||hello", Passed(5)),
    ("an empty line in front", "|GET @ HTTP/1.1|Host: localhost||", Passed(0)),
    // Two framings.
    (
        "length and encoding",
        "POST @ HTTP/1.1|Host: localhost|Content-Length: 6|Transfer-Encoding: chunked||0||X",
        Refused(400),
    ),
    (
        "encoding and length",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked|Content-Length: 6||0||X",
        Refused(400),
    ),
    (
        "two lengths",
        "POST @ HTTP/1.1|Host: localhost|Content-Length: 5|Content-Length: 6||hello",
        Refused(400),
    ),
    ("a list of lengths", "POST @ HTTP/1.1|Host: localhost|Content-Length: 5, 5||hello", Refused(400)),
    (
        "two encodings",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked|Transfer-Encoding: chunked||0||",
        Refused(400),
    ),
    (
        "chunked, then identity",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked|Transfer-Encoding: identity||0||",
        Refused(400),
    ),
    // Lengths that are not lengths.
    ("a signed length", "POST @ HTTP/1.1|Host: localhost|Content-Length: +5||hello", Refused(400)),
    ("a negative length", "POST @ HTTP/1.1|Host: localhost|Content-Length: -5||hello", Refused(400)),
    ("a length in hex", "POST @ HTTP/1.1|Host: localhost|Content-Length: 0x5||hello", Refused(400)),
    ("an empty length", "POST @ HTTP/1.1|Host: localhost|Content-Length:||hello", Refused(400)),
    (
        "a length with a space in it",
        "POST @ HTTP/1.1|Host: localhost|Content-Length: 5 5||hello",
        Refused(400),
    ),
    (
        "a length beyond 64 bits",
        "POST @ HTTP/1.1|Host: localhost|Content-Length: 18446744073709551621||hello",
        Refused(400),
    ),
    // Encodings that are not ours.
    (
        "gzip, chunked",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: gzip, chunked||5|hello|0||",
        Refused(400),
    ),
    (
        "chunked, identity",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked, identity||5|hello|0||",
        Refused(400),
    ),
    (
        "chunked, chunked",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked, chunked||5|hello|0||",
        Refused(400),
    ),
    ("identity", "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: identity||hello", Refused(400)),
    ("xchunked", "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: xchunked||5|hello|0||", Refused(400)),
    (
        "chunked with a vertical tab",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: \u{b}chunked||5|hello|0||",
        Refused(400),
    ),
    ("an empty encoding", "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding:||hello", Refused(400)),
    (
        "chunked in HTTP/1.0",
        "POST @ HTTP/1.0|Host: localhost|Transfer-Encoding: chunked||5|hello|0||",
        Refused(400),
    ),
    // Fields that are read differently.
    ("a space before the colon", "POST @ HTTP/1.1|Host: localhost|Content-Length : 5||hello", Refused(400)),
    (
        "a tab before the colon",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding\t: chunked||0||",
        Refused(400),
    ),
    ("a folded field", "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding:| chunked||0||", Refused(400)),
    ("a folded first field", "GET @ HTTP/1.1| Host: localhost||", Refused(400)),
    ("a field without a name", "GET @ HTTP/1.1|Host: localhost|: a||", Refused(400)),
    ("a line without a colon", "GET @ HTTP/1.1|Host: localhost|nothing||", Refused(400)),
    ("a bare CR in a value", "GET @ HTTP/1.1|Host: localhost|X-A: b\rContent-Length: 5||", Refused(400)),
    ("a NUL in a value", "GET @ HTTP/1.1|Host: localhost|X-A: b\0c||", Refused(400)),
    ("a NUL in a name", "GET @ HTTP/1.1|Host: localhost|X-\0A: b||", Refused(400)),
    // Line ends.
    ("a bare LF after the first line", "GET @ HTTP/1.1\nHost: localhost||", Refused(400)),
    ("a bare LF after a field", "GET @ HTTP/1.1|Host: localhost\nX-A: b||", Refused(400)),
    ("bare LFs only", "GET @ HTTP/1.1\nHost: localhost\n\n", Refused(400)),
    ("a bare LF at the end", "GET @ HTTP/1.1|Host: localhost|\n", Refused(400)),
    // Chunks.
    (
        "a chunk size with a sign",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||+5|hello|0||",
        Refused(400),
    ),
    (
        "a chunk size in 0x",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||0x5|hello|0||",
        Refused(400),
    ),
    (
        "a chunk size beyond 64 bits",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||10000000000000005|hello|0||",
        Refused(400),
    ),
    (
        "a chunk size that is none",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||five|hello|0||",
        Refused(400),
    ),
    (
        "an empty chunk size",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked|||hello|0||",
        Refused(400),
    ),
    (
        "a chunk longer than its size",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||4|hello|0||",
        Refused(400),
    ),
    (
        "a chunk without its end",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||5|hello0||||",
        Refused(400),
    ),
    (
        "a bare LF after a chunk size",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||5\nhello|0||",
        Refused(400),
    ),
    (
        "a bare LF after a chunk",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||5|hello\n0||",
        Refused(400),
    ),
    // Trailers reach the worker behind a body in chunks.
    ("trailers", "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||5|hello|0|X-A: b||", Passed(0)),
    (
        "bare LFs for the end of trailers",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||0|X-A: b\n\n",
        Refused(400),
    ),
    (
        "a bare LF after a trailer",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||5|hello|0|X-A: b\n|",
        Refused(400),
    ),
    (
        "a bare LF for the end of a body",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||5|hello|0|\n",
        Refused(400),
    ),
    (
        "a bare LF in front of a trailer",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||0|\nX-A: b||",
        Refused(400),
    ),
    (
        "a bare CR in a trailer",
        "POST @ HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||0|X-A: b\rc||",
        Refused(400),
    ),
    // Hosts.
    ("a host beyond ASCII", "GET @ HTTP/1.1|Host: b\u{fc}cher.example||", Refused(400)),
    ("a host and a no-break space", "GET @ HTTP/1.1|Host: localhost\u{a0}||", Refused(400)),
    ("a host and an ideographic space", "GET @ HTTP/1.1|Host: localhost\u{3000}||", Refused(400)),
    ("a host in full-width letters", "GET @ HTTP/1.1|Host: \u{ff4c}ocalhost||", Refused(400)),
    ("a port beyond 65535", "GET @ HTTP/1.1|Host: localhost:65536||", Refused(400)),
    ("no host", "GET @ HTTP/1.1|X-A: b||", Refused(400)),
    ("no host in HTTP/1.0", "GET @ HTTP/1.0||", Refused(400)),
    ("two hosts", "GET @ HTTP/1.1|Host: localhost|Host: localhost||", Refused(400)),
    ("an empty host", "GET @ HTTP/1.1|Host:||", Refused(400)),
    ("a host with a path", "GET @ HTTP/1.1|Host: localhost/a||", Refused(400)),
    ("a host with a user", "GET @ HTTP/1.1|Host: a@localhost||", Refused(400)),
    ("a host with a space", "GET @ HTTP/1.1|Host: local host||", Refused(400)),
    ("a host with a bad port", "GET @ HTTP/1.1|Host: localhost:80a||", Refused(400)),
    ("a list of hosts", "GET @ HTTP/1.1|Host: localhost, other||", Refused(400)),
    ("a target of another host", "GET http://other.example@ HTTP/1.1|Host: localhost||", Refused(400)),
    ("a target of the same host", "GET http://localhost@ HTTP/1.1|Host: localhost||", Passed(0)),
    // First lines.
    ("a method in lower case", "get @ HTTP/1.1|Host: localhost||", Refused(400)),
    ("CONNECT", "CONNECT localhost:1 HTTP/1.1|Host: localhost:1||", Refused(405)),
    ("TRACE", "TRACE @ HTTP/1.1|Host: localhost||", Refused(405)),
    ("HTTP/0.9", "GET @|", Refused(400)),
    ("HTTP/1.2", "GET @ HTTP/1.2|Host: localhost||", Refused(400)),
    ("HTTP/2.0 in text", "GET @ HTTP/2.0|Host: localhost||", Refused(400)),
    ("two spaces", "GET  @ HTTP/1.1|Host: localhost||", Refused(400)),
    ("a tab", "GET\t@ HTTP/1.1|Host: localhost||", Refused(400)),
    ("a space in the target", "GET @ a HTTP/1.1|Host: localhost||", Refused(400)),
    ("a control character in the target", "GET @\u{7f} HTTP/1.1|Host: localhost||", Refused(400)),
    ("a byte beyond ASCII in the target", "GET @\u{e9} HTTP/1.1|Host: localhost||", Refused(400)),
    ("a target without a slash", "GET a HTTP/1.1|Host: localhost||", Refused(400)),
    ("a fragment", "GET @#a HTTP/1.1|Host: localhost||", Refused(400)),
    ("a fragment that hides a path", "GET /#@ HTTP/1.1|Host: localhost||", Refused(400)),
    ("a fragment of a POST", "POST @#a HTTP/1.1|Host: localhost|Content-Length: 5||hello", Refused(400)),
    ("a fragment behind a host", "GET http://localhost#@ HTTP/1.1|Host: localhost||", Refused(400)),
    ("a fragment in HTTP/1.0", "GET @# HTTP/1.0|Host: localhost||", Refused(400)),
    ("an asterisk for GET", "GET * HTTP/1.1|Host: localhost||", Refused(400)),
    ("an asterisk with more", "OPTIONS *@ HTTP/1.1|Host: localhost||", Refused(400)),
    ("a name and a port for a target", "GET localhost:80 HTTP/1.1|Host: localhost:80||", Refused(400)),
    ("a target of another scheme", "GET ftp://localhost@ HTTP/1.1|Host: localhost||", Refused(400)),
];

/// Where on its connection a case stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    First,
    /// Between others that are plain.
    Amid,
}

/// Runs a case; what stands behind it on the connection are requests that must be their own or nothing.
async fn run(server: &Server, number: usize, case: &str, place: Place) -> String {
    let bytes = case.replace('@', &format!("/view?case={number}")).replace('|', "\r\n");
    let get = |name, field| format!("GET /view?{name}={number} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n");
    let close = "Connection: close\r\n";
    let bytes = match place {
        Place::First => bytes + &get("behind", close),
        Place::Amid => get("before", "") + &bytes + &get("behind", "") + &get("last", close),
    };
    server.raw(bytes).await
}

#[tokio::test]
async fn every_request_is_refused_or_seen_by_the_worker_as_it_was_meant() {
    run_all(Place::First).await;
}

#[tokio::test]
async fn so_it_is_between_plain_requests() {
    run_all(Place::Amid).await;
}

async fn run_all(place: Place) {
    // The limits are short, so that the server soon gives up waiting for the rest of a request.
    let limits = "limits.head = \"1s\"\nlimits.body_idle = \"1s\"";
    let server = Setup::scripted().words(&["w:2"]).server(limits).start().await;
    let answers = futures_util::future::join_all(
        CASES.iter().enumerate().map(|(number, (_, case, _))| run(&server, number, case, place)),
    )
    .await;
    let views = server.meeting.views();
    let mut wrong = Vec::new();
    for (number, ((name, _, fate), answer)) in CASES.iter().zip(&answers).enumerate() {
        let of_case: Vec<_> =
            views.iter().filter(|view| view.target.ends_with(&format!("case={number}"))).collect();
        let behind = views.iter().filter(|view| view.target.ends_with(&format!("behind={number}"))).count();
        let mut statuses: Vec<_> =
            answer.split("HTTP/1.").skip(1).filter_map(|rest| rest.get(2..5)?.parse::<u16>().ok()).collect();
        if place == Place::Amid {
            assert_eq!(statuses.remove(0), 200, "{name}: the one before it");
            if matches!(fate, Passed(_)) {
                assert_eq!(statuses.pop(), Some(200), "{name}: the last one");
            }
        }
        let found = match of_case[..] {
            [] => Refused(statuses.first().copied().unwrap_or_default()),
            [view] => Passed(view.field("content-length").map_or(0, |length| length.parse().unwrap())),
            _ => panic!("{name}: {} requests of one", of_case.len()),
        };
        let after = match fate {
            Refused(_) => behind == 0 && statuses.len() == 1,
            Passed(_) => behind == 1 && statuses == [200, 200],
        };
        if found != *fate || !after {
            wrong.push(format!(
                "{name}: {fate:?} expected, {found:?} found; {behind} behind it; {statuses:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let targets = server.meeting.targets();
    let names = ["before", "case", "behind", "last"];
    let known = |target: &&String| names.iter().any(|name| target.starts_with(&format!("/view?{name}=")));
    assert_eq!(targets.iter().find(|target| !known(target)), None, "a request that nobody sent");
    for view in views {
        let first = format!("{} {} HTTP/1.1\r\nhost: localhost\r\n", view.method, view.target);
        assert!(view.raw.starts_with(&first), "written anew, not copied: {:?}", view.raw);
    }
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn what_still_comes_of_a_body_that_was_answered_early_is_no_request() {
    let server = Setup::scripted().rules("stream = [\"/deaf\"]").start().await;
    let mixed = "POST /view?mixed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\
                 Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let cases = [
        ("hello\nyou\n", "GET /view HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nContent-Length: 99999\r\n\r\n", mixed, 400),
        ("GET / HTTP/1.1\nA: b\n\n", "GET /view HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    ];
    for (number, (body, next, status)) in cases.into_iter().enumerate() {
        let mut conn = server.connect().await;
        conn.send(format!(
            "POST /deaf?name={number} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
        ))
        .await;
        assert_eq!(conn.head().await.status, 200);
        server.meeting.open(&number.to_string());
        assert_eq!(conn.chunk().await.unwrap(), b"begun\n");
        assert_eq!(conn.chunk().await.unwrap(), b"over\n");
        assert_eq!(conn.chunk().await, None);
        conn.send(format!("{:x}\r\n{body}\r\n0\r\n\r\n{next}", body.len())).await;
        assert_eq!(conn.reply("GET").await.status, status, "{body:?}");
    }
    assert!(!server.meeting.targets().contains(&"/view?mixed".to_owned()));
}

/// Bodies that contain requests, each framed in every way, on connections that go on.
#[tokio::test]
async fn a_request_within_a_body_is_never_served() {
    let server = Setup::scripted().start().await;
    let inner = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut conn = server.connect().await;
    for path in ["/view", "/refuse-unread"] {
        let length = inner.len();
        conn.send(format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{inner}"
        ))
        .await;
        assert!(conn.reply("POST").await.status >= 200);
        conn.send(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{inner}\r\n0\r\n\r\n")).await;
        assert!(conn.reply("POST").await.status >= 200);
        assert_eq!(conn.get("/").await.status, 200);
    }
    assert!(!server.meeting.targets().iter().any(|target| target.contains("smuggled")));
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn over_http_2_contradictions_are_refused() {
    let server = Setup::scripted().tls().start().await;
    let mut http2 = server.http2().await;
    for (host, status) in [("other.example", 400), ("localhost", 200), ("LOCALHOST", 200)] {
        let request = Request::get("https://localhost/view").header("host", host).version(Version::HTTP_2);
        let reply = whole(http2.send(request.body(Full::default()).unwrap()).await.unwrap()).await.unwrap();
        assert_eq!(reply.status, status, "{host}");
        assert_eq!(reply.field("connection"), "", "no field of a connection in HTTP/2");
    }
    for (name, value) in [("content-length", "5"), ("content-length", "+0")] {
        let request = Request::post("https://localhost/view").header(name, value);
        let outcome = http2.send(request.body(Full::default()).unwrap()).await;
        let refused = outcome.map_or(true, |response| response.status() == 400);
        assert!(refused, "{name}: {value} with an empty body");
    }
    assert_eq!(http2.get("/").await.status, 200);
    server.meeting.assert_no_violations();
    assert_eq!(server.meeting.targets(), ["/view", "/view", "/"]);
}

/// The connection of a hostile HTTP/2 client, which sends frame by frame.
pub(crate) struct Frames(tokio_rustls::client::TlsStream<TcpStream>);

impl Frames {
    pub(crate) async fn connect(server: &Server) -> Self {
        Self::over(TcpStream::connect(("127.0.0.1", server.port())).await.unwrap()).await
    }

    async fn over(stream: TcpStream) -> Self {
        let mut stream = tls::over(stream, "localhost", &["h2"]).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut frames = Self(stream);
        frames.send(4, 0, 0, b"").await.unwrap();
        frames
    }

    pub(crate) async fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> std::io::Result<()> {
        let length = (payload.len() as u32).to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).await?;
        self.0.flush().await
    }

    /// The type, flags, stream and payload of the next frame.
    async fn next(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut head = [0; 9];
        if soon("a frame", self.0.read_exact(&mut head)).await.is_err() {
            // An end without a word counts as a GOAWAY.
            return (7, 0, 0, Vec::new());
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload)
    }

    /// Whether the stream is answered with status 200; all of its answer is read.
    pub(crate) async fn is_served(&mut self, wanted: u32) -> bool {
        let mut status = 0;
        loop {
            let (kind, flags, stream, payload) = self.next().await;
            match kind {
                // `:status: 200` in HPACK is 0x88, but for a changed size of the table in front of it.
                1 if stream == wanted => status = *payload.iter().find(|byte| **byte >> 5 != 1).unwrap(),
                3 if stream == wanted => return false,
                7 => return false,
                _ => {}
            }
            if stream == wanted && matches!(kind, 0 | 1) && flags & 1 != 0 {
                return status == 0x88;
            }
        }
    }

    /// Whether the stream is answered with status 400 or reset.
    async fn is_refused(&mut self, wanted: u32) -> bool {
        loop {
            let (kind, _, stream, payload) = self.next().await;
            match kind {
                // `:status: 400` in HPACK, but for a changed size of the table in front of it.
                1 if stream == wanted => return payload.contains(&0x8c),
                3 if stream == wanted => return true,
                // GOAWAY
                7 => return true,
                _ => {}
            }
        }
    }

    /// Reads until the server closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut seen = Vec::new();
        // A reset is an end, too.
        let _ = soon("the connection's end", self.0.read_to_end(&mut seen)).await;
        seen
    }
}

/// A frame of HTTP/2.
fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `:method: GET`, `:scheme: https`, `:path: /`, `:authority: localhost` in HPACK.
pub(crate) const GET_ROOT: &[u8] = b"\x82\x87\x84\x41\x09localhost";
pub(crate) const END_STREAM_AND_HEADERS: u8 = 5;

/// A request over HTTP/2 whose fields these are, each a whole header block.
#[tokio::test]
async fn targets_that_are_none_are_refused_over_http2_as_well() {
    let server = Setup::scripted().tls().start().await;
    for (what, block) in [
        ("a path that begins with a question mark", &b"\x82\x87\x04\x02?x\x41\x09localhost"[..]),
        ("an asterisk for GET", b"\x82\x87\x04\x01*\x41\x09localhost"),
        ("a path without a slash", b"\x82\x87\x04\x03a/b\x41\x09localhost"),
        ("an empty path", b"\x82\x87\x04\x00\x41\x09localhost"),
        ("an empty scheme", b"\x82\x06\x00\x84\x41\x09localhost"),
        ("another scheme", b"\x82\x06\x03ftp\x84\x41\x09localhost"),
        ("a port beyond 65535", b"\x82\x87\x84\x41\x0flocalhost:99999"),
        ("a user", b"\x82\x87\x84\x41\x0ba@localhost"),
    ] {
        let mut frames = Frames::connect(&server).await;
        frames.send(1, END_STREAM_AND_HEADERS, 1, block).await.unwrap();
        assert!(frames.is_refused(1).await, "{what}");
    }
    assert_eq!(server.meeting.targets(), [""; 0], "nothing of it reaches a worker");
    let mut frames = Frames::connect(&server).await;
    frames.send(1, END_STREAM_AND_HEADERS, 1, GET_ROOT).await.unwrap();
    assert!(frames.is_served(1).await, "an ordinary one is not");
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection_and_not_the_server() {
    let server = Setup::scripted().tls().start().await;
    let mut frames = Frames::connect(&server).await;
    for stream in (1..20_000).step_by(2) {
        let sent = frames.send(1, END_STREAM_AND_HEADERS, stream, GET_ROOT).await;
        if sent.is_err() || frames.send(3, 0, stream, &[0, 0, 0, 8]).await.is_err() {
            break;
        }
    }
    frames.rest().await;
    assert_eq!(server.get("/").await.status, 200);
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection_and_takes_no_memory() {
    let server = Setup::scripted().tls().start().await;
    let before = server.peak_memory();
    let mut frames = Frames::connect(&server).await;
    frames.send(1, 1, 1, GET_ROOT).await.unwrap();
    // A field of 15,000 bytes that is never indexed, again and again.
    let field = [b"\x00\x01a\x7f\x99\x74".as_slice(), &[b'a'; 15_000]].concat();
    for _ in 0..3_000 {
        if frames.send(9, 0, 1, &field).await.is_err() {
            break;
        }
    }
    frames.rest().await;
    assert!(server.peak_memory() - before < 16 << 20);
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn an_http_2_connection_that_says_nothing_is_closed() {
    let server =
        Setup::scripted().tls().server("limits.keepalive = \"1s\"\nlimits.head = \"1s\"").start().await;
    for silent in [false, true] {
        let mut stream = tls::connect(server.port(), "localhost", &["h2"]).await.unwrap();
        if !silent {
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        }
        Frames(stream).rest().await;
    }
    // Half a preface.
    let mut stream = tls::connect(server.port(), "localhost", &["h2"]).await.unwrap();
    stream.write_all(b"PRI * HT").await.unwrap();
    Frames(stream).rest().await;
}

#[tokio::test]
async fn a_tls_handshake_that_stalls_is_ended() {
    let server = Setup::scripted().tls().server("limits.handshake = \"1s\"").start().await;
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let mut conn = Conn::plain(server.port()).await;
        conn.send(bytes).await;
        // An alert at most.
        assert!(conn.rest().await.len() < 20);
    }
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn noise_never_ends_the_server() {
    let limits = "limits.head = \"1s\"\nlimits.body_idle = \"1s\"\nlimits.keepalive = \"1s\"";
    let server = Setup::scripted().words(&["w:2"]).server(limits).start().await;
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let whole = b"POST /view HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let mut noisy = Vec::new();
    for _ in 0..300 {
        let mut bytes = whole.to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = *random.choice(b"\r\n\t :;,0 \x00\xff/GZ").unwrap(),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, *random.choice(b"\r\n\t :;,0 \x00\xff/GZ").unwrap()),
            }
        }
        noisy.push(bytes);
    }
    for some in noisy.chunks(50) {
        let answers =
            futures_util::future::join_all(some.iter().map(|bytes| server.raw(finished(bytes)))).await;
        for (bytes, answer) in some.iter().zip(answers) {
            assert!(!answer.contains("HTTP/1.1 5"), "{:?}: {answer}", String::from_utf8_lossy(bytes));
        }
    }
    assert_eq!(server.get("/").await.status, 200);
    server.meeting.assert_no_violations();
}

/// With a request behind it that closes the connection, so that a whole one does not keep the reader waiting.
fn finished(bytes: &[u8]) -> Vec<u8> {
    [bytes, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"].concat()
}
