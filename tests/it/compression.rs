//! Answers compressed on their way to clients: which, how, and what their heads say.

use std::io::Read;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};

use crate::support::client::Http2;
use crate::support::{Reply, Server, Setup, soon, until};

/// The body without its coding.
fn expanded(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    match coding {
        "zstd" => zstd::Decoder::new(body).unwrap().read_to_end(&mut all).unwrap(),
        "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut all).unwrap(),
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut all).unwrap(),
        "" | "own" => body.to_vec().as_slice().read_to_end(&mut all).unwrap(),
        other => panic!("{other} was not asked for"),
    };
    all
}

/// The same request over HTTP/1.1, by both of its ways, and over HTTP/2: alike.
async fn ask(server: &Server, method: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
    let [plain, other, over_http2] = server.ask_each_way(method, path, fields).await;
    for reply in [&other, &over_http2] {
        assert_eq!(reply.status, plain.status, "{method} {path}");
        for name in ["content-encoding", "vary", "etag", "content-type", "set-cookie"] {
            assert_eq!(reply.field(name), plain.field(name), "{method} {path}: {name}");
        }
        let coding = plain.field("content-encoding");
        if method != "HEAD" {
            assert_eq!(expanded(coding, &reply.body), expanded(coding, &plain.body), "{method} {path}");
        }
    }
    plain
}

/// The answer of `/lines`.
fn lines(bytes: usize) -> Vec<u8> {
    let text: String = (0..=bytes / 12).map(|at| format!("line {at:06}\n")).collect();
    text.into_bytes()[..bytes].to_vec()
}

#[tokio::test]
async fn the_client_says_how_and_every_body_comes_out_as_it_was() {
    let server = Setup::scripted().tls().rules("compress = \"all\"").start().await;
    for bytes in [5_000, 16 << 10, 17 << 10, 700_000] {
        for (accept, coding) in [
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip, br", "br"),
            ("gzip", "gzip"),
            ("gzip;q=0.5, br;q=0.1, *;q=0", "gzip"),
            ("br;q=0, zstd;q=0, *", "gzip"),
            ("identity;q=0", ""),
            ("identity;q=1, gzip;q=0.5", ""),
            ("deflate", ""),
            ("gzip;q=0", ""),
            ("", ""),
        ] {
            let path = format!("/lines?bytes={bytes}&Content-Type=text/html&ETag=%22a%22");
            let reply = ask(&server, "GET", &path, &[("Accept-Encoding", accept)]).await;
            assert_eq!((reply.status, reply.field("content-encoding")), (200, coding), "{accept}: {bytes}");
            assert!(expanded(coding, &reply.body) == lines(bytes), "{accept}: {bytes}");
            assert_eq!(reply.field("vary"), "Accept-Encoding", "{accept}");
            assert_eq!(reply.field("etag"), if coding.is_empty() { "\"a\"" } else { "W/\"a\"" }, "{accept}");
            if !coding.is_empty() {
                assert!(reply.body.len() < bytes / 3, "{accept}: {bytes} to {}", reply.body.len());
            }
            let head = ask(&server, "HEAD", &path, &[("Accept-Encoding", accept)]).await;
            assert_eq!((head.field("content-encoding"), head.body.len()), (coding, 0), "{accept}");
            let length = if coding.is_empty() { bytes.to_string() } else { String::new() };
            assert_eq!(head.field("content-length"), length, "{accept}");
        }
    }
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn safe_leaves_out_what_may_have_a_secret_in_it() {
    let rules = "compress = \"safe\"\n[route.\"/lines/all\"]\ncompress = \"all\"\n[route.\"/lines/off\"]\ncompress = \"off\"\n";
    let server = Setup::scripted().tls().rules(rules).start().await;
    let cookie = ("Cookie", "a=b");
    let basic = ("Authorization", "Basic eDp5");
    for (path, fields, compressed) in [
        ("/lines?Content-Type=text/html", &[][..], true),
        ("/lines?Content-Type=application/json", &[cookie], false),
        ("/lines?Content-Type=text/html", &[basic], false),
        ("/lines?Content-Type=text/html&Set-Cookie=a=b", &[], false),
        ("/lines?Content-Type=text/css", &[cookie, basic], true),
        ("/lines?Content-Type=text/javascript;charset=utf-8&Set-Cookie=a=b", &[], true),
        ("/lines?Content-Type=image/svg%2Bxml", &[], false),
        ("/lines?Content-Type=image/svg+xml", &[cookie], true),
        ("/lines?Content-Type=font/ttf", &[cookie], true),
        ("/lines?Content-Type=application/wasm", &[cookie], true),
        ("/lines?Content-Type=font/woff2", &[], false),
        ("/lines?Content-Type=image/png", &[], false),
        ("/lines?Content-Type=application/octet-stream", &[], false),
        ("/lines?Content-Type=text/css&Content-Encoding=own", &[], false),
        ("/lines?Content-Type=text/css&Cache-Control=public,%20no-transform", &[], false),
        ("/lines?Content-Type=text/css&Cache-Control=public,no-transform", &[], false),
        ("/lines?Content-Type=text/css&status=206", &[], false),
        ("/lines?Content-Type=text/css&status=404", &[], true),
        ("/lines?Content-Type=text/css&bytes=1000", &[], false),
        ("/lines/all?Content-Type=text/html", &[cookie], true),
        ("/lines/off?Content-Type=text/css", &[], false),
    ] {
        let reply = ask(&server, "GET", path, &[fields, &[("Accept-Encoding", "gzip")]].concat()).await;
        assert_eq!(reply.field("content-encoding") == "gzip", compressed, "{path} {fields:?}");
        assert_eq!(!reply.field("vary").is_empty(), compressed, "{path} {fields:?}");
    }
    let varied = ask(
        &server,
        "GET",
        "/lines?Content-Type=text/css&Vary=accept-encoding",
        &[("Accept-Encoding", "gzip")],
    )
    .await;
    assert_eq!(varied.headers.get_all("vary").iter().count(), 1);
    let server = Setup::scripted().tls().start().await;
    let reply = ask(&server, "GET", "/lines?Content-Type=text/css", &[("Accept-Encoding", "gzip")]).await;
    assert_eq!((reply.field("content-encoding"), reply.field("vary")), ("", ""), "off is the default");
}

#[tokio::test]
async fn what_a_worker_has_said_comes_out_before_it_says_more() {
    let server = Setup::scripted().tls().rules("compress = \"all\"").start().await;
    for coding in ["gzip", "br", "zstd"] {
        let name = format!("gate-{coding}");
        let mut http2 = Http2::connect(server.port(), "localhost").await;
        let request = Request::get(format!("https://localhost/chunks?n=3&name={name}"))
            .header("accept-encoding", coding)
            .body(Full::new(Bytes::new()))
            .unwrap();
        let mut reply = http2.send(request).await.unwrap();
        assert_eq!(reply.headers()["content-encoding"], coding);
        let mut body = Vec::new();
        for at in 0..3 {
            let expected: String = (0..=at).map(|at| format!("chunk {at}\n")).collect();
            while so_far(coding, &body) != expected.as_bytes() {
                let frame = soon("the next piece", reply.body_mut().frame()).await.unwrap().unwrap();
                body.extend_from_slice(&frame.into_data().unwrap());
            }
            server.meeting.open(&format!("{name}.{}", at + 1));
        }
        while let Some(frame) = reply.body_mut().frame().await {
            body.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        assert_eq!(expanded(coding, &body), b"chunk 0\nchunk 1\nchunk 2\n");
    }
}

/// As much of a body as can be read of its beginning.
fn so_far(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut reader: Box<dyn Read> = match coding {
        "zstd" => Box::new(zstd::Decoder::new(body).unwrap()),
        "br" => Box::new(brotli::Decompressor::new(body, 4096)),
        _ => Box::new(flate2::read::GzDecoder::new(body)),
    };
    let (mut all, mut byte) = (Vec::new(), [0]);
    while let Ok(1) = reader.read(&mut byte) {
        all.push(byte[0]);
    }
    all
}

#[tokio::test]
async fn a_body_that_breaks_off_does_so_compressed_and_events_pass_as_they_are() {
    let server = Setup::scripted().tls().rules("compress = \"all\"").start().await;
    let mut conn = server.connect().await;
    conn.send("GET /lines?bytes=900000&Content-Type=text/css&cut=1 HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n").await;
    assert!(conn.try_reply("GET").await.is_err(), "the last chunk must not come");
    let mut events = server.connect().await;
    events.send("GET /events?n=1&name=e HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n").await;
    let head = events.head().await;
    assert_eq!((head.field("content-encoding"), head.field("vary")), ("", ""));
}

#[tokio::test]
async fn without_memory_for_it_an_answer_is_sent_as_it_is() {
    let server = Setup::scripted()
        .tls()
        .server("limits.reply_room = \"64K\"")
        .rules("compress = \"all\"")
        .start()
        .await;
    let path = "/lines?bytes=500000&Content-Type=text/css";
    let reply = ask(&server, "GET", path, &[("Accept-Encoding", "br")]).await;
    assert_eq!((reply.field("content-encoding"), reply.field("vary")), ("", "Accept-Encoding"));
    assert!(reply.body == lines(500_000));
}

#[tokio::test]
async fn what_was_compressed_is_counted_by_coding_and_nothing_else() {
    let server = Setup::scripted().rules("compress = \"all\"").start().await;
    let page = "/lines?bytes=200000&Content-Type=text/html";
    let mut sent = 0;
    for (path, accept) in [
        (page, "br"),
        (page, "br"),
        ("/lines?bytes=5000&Content-Type=text/html", "br"),
        ("/lines?bytes=5000&Content-Type=text/html", "gzip"),
        ("/lines?bytes=500&Content-Type=text/html", "br"),
        ("/lines?bytes=5000&Content-Type=image/png", "br"),
        (page, "identity"),
    ] {
        let reply = server.ask("GET", path, &[("Accept-Encoding", accept)], b"").await;
        if reply.field("content-encoding") == "br" {
            sent += reply.body.len();
        }
    }
    assert_eq!(server.ask("HEAD", page, &[("Accept-Encoding", "br")], b"").await.status, 200);
    let counted =
        |metric: &str, coding: &str| format!("{metric}_total{{app=\"scripted\",coding=\"{coding}\"}}");
    let rows = [
        format!("{} 3", counted("rip_compressed_answers", "br")),
        format!("{} 405000", counted("rip_compression_input_bytes", "br")),
        format!("{} {sent}", counted("rip_compression_output_bytes", "br")),
        format!("{} 1", counted("rip_compressed_answers", "gzip")),
        format!("{} 5000", counted("rip_compression_input_bytes", "gzip")),
    ];
    let page = async || server.control("GET", "/metrics", "").await.unwrap().text().to_owned();
    until("all are counted", async || {
        let page = page().await;
        rows.iter().all(|row| page.lines().any(|line| line == row))
    })
    .await;
    assert!(!page().await.contains("coding=\"zstd\""));
}
