//! Heads that are large and have no end, or stand before a body that has none: what they take of the server's memory.

use std::io;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::others::{conn_from, tcp_from};
use super::raw;
use crate::support::{Server, Setup, soon, tls, until};

/// The part of a head that is large.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Large {
    /// A head over HTTP/1 without an end.
    Head,
    /// A head over HTTP/1, before a body without an end.
    Request,
    /// The first message of a TLS handshake, of which the rest does not come.
    Hello,
    /// The fields of a request over HTTP/2, without an end.
    Fields,
    /// The fields of a request over HTTP/2, before a body without an end.
    Upload,
}

/// A connection that has sent it.
async fn begin(client: u8, port: u16, what: Large) -> io::Result<Box<dyn Hold>> {
    let stream = tcp_from(client, port).await?;
    let over_http2 = async |block: u8| {
        let mut stream = tls::over(tcp_from(client, port).await?, "localhost", &["h2"]).await?;
        // A POST with one field of 15,000 bytes, twice, that is never indexed.
        let field = [b"\x10\x01a\x7f\x99\x74".as_slice(), &[b'a'; 15_000]].concat();
        let fields = [b"\x83\x87\x84\x41\x09localhost", &field[..]].concat();
        let frames = [raw(4, 0, 0, &[]), raw(1, 0, 1, &fields), raw(9, block, 1, &field)].concat();
        say(&mut stream, &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frames[..]].concat()).await;
        Ok::<_, io::Error>(Box::new(stream) as Box<dyn Hold>)
    };
    let method = if what == Large::Request { "POST" } else { "GET" };
    let head = format!("{method} /echo HTTP/1.1\r\nHost: localhost\r\nX: {}", "a".repeat(30_000));
    match what {
        Large::Head => hold(stream, head.as_bytes()).await,
        Large::Request => hold(stream, (head + "\r\nContent-Length: 5\r\n\r\nx").as_bytes()).await,
        Large::Hello => {
            let record = [b"\x16\x03\x01\x40\x00".as_slice(), &[0; 0x4000]].concat();
            let mut bytes = record.repeat(2);
            bytes[5..9].copy_from_slice(b"\x01\x00\xff\x00");
            hold(stream, &bytes[..30_000]).await
        }
        Large::Fields => over_http2(0).await,
        Large::Upload => over_http2(4).await,
    }
}

trait Hold {}
impl<T> Hold for T {}

async fn hold(mut stream: TcpStream, bytes: &[u8]) -> io::Result<Box<dyn Hold>> {
    say(&mut stream, bytes).await;
    Ok(Box::new(stream))
}

/// Writes bytes to a connection that the server may have ended meanwhile.
async fn say(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
}

async fn sample(server: &Server, name: &str) -> u64 {
    let page = server.control("GET", "/metrics", "").await.unwrap();
    let value = page.text().lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or(0)
}

const HELD: &str = "rip_limit_held{limit=\"heads\"} ";
const REACHED: &str = "rip_limits_reached_total{limit=\"heads\"} ";

#[tokio::test]
async fn large_heads_of_a_client_have_a_share_of_memory_and_others_a_share_of_their_own() {
    for what in [Large::Head, Large::Request, Large::Hello, Large::Fields, Large::Upload] {
        let setup = Setup::scripted().words(&["w:2"]);
        let over_tls = !matches!(what, Large::Head | Large::Request);
        let server = if over_tls { setup.tls() } else { setup }.start().await;
        let before = server.peak_memory();
        let mut held = Vec::new();
        for _ in 0..24 {
            held.extend(join_all((0..25).map(|_| begin(2, server.port(), what))).await);
        }
        until("some are refused", async || sample(&server, REACHED).await > 0).await;
        let (now, most) = (sample(&server, HELD).await, server.peak_memory() - before);
        println!(
            "heads | {what:?} | {} connections: {} KiB held, {} MiB more memory",
            held.len(),
            now >> 10,
            most >> 20
        );
        assert!(now <= 32 << 20, "{what:?}: {now}");
        // Another client, with a large head of its own.
        let mut conn = conn_from(3, server.port(), over_tls).await.unwrap();
        conn.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "b".repeat(20_000))).await;
        assert_eq!(conn.reply("GET").await.status, 200, "{what:?}");
        drop(held);
        until("all is given back", async || sample(&server, HELD).await == 0).await;
        server.output().says("heads of requests that are large have used up their memory").await;
    }
}

#[tokio::test]
async fn who_finds_no_memory_for_a_large_head_is_told_and_small_ones_need_none() {
    let server = Setup::scripted().words(&["w:2"]).start().await;
    let mut held = Vec::new();
    while sample(&server, REACHED).await == 0 {
        held.push(begin(2, server.port(), Large::Head).await.unwrap());
        assert!(held.len() < 2000, "there is no end to it");
    }
    for (bytes, status) in
        [("GET / HTTP/1.1\r\n", "408"), ("POST /echo HTTP/1.1\r\nContent-Length: 4\r\n", "503")]
    {
        let mut stream = tcp_from(2, server.port()).await.unwrap();
        let end = if status == "503" { "\r\n\r\nbody" } else { "" };
        let head = format!("{bytes}Host: localhost\r\nX: {}{end}", "a".repeat(30_000));
        say(&mut stream, head.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = soon("it is answered", stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let mut conn = conn_from(2, server.port(), false).await.unwrap();
    assert_eq!(conn.get("/").await.status, 200);
}
