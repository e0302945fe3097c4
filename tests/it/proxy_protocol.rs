//! PROXY headers (`listen.proxy`): whose a connection is that a balancer passes on, and what else may come there.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::balancer::Balancer;
use crate::support::client::Http2;
use crate::support::ctl::rip_server;
use crate::support::{Conn, Server, Setup, View, soon, tls, until};

/// A server whose main listener takes PROXY headers from 127.0.0.1.
fn behind_a_balancer() -> Setup {
    Setup::scripted().server("listen.proxy = [\"https\", \"http\"]\ntrusted_proxies = [\"127.0.0.1\"]")
}

/// A header of version 2.
fn binary(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, family][..], &length, payload].concat()
}

/// Addresses as version 2 writes them: 192.0.2.7 from port 4711 to 198.51.100.1 port 443.
const IPV4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 187];

fn ipv6() -> Vec<u8> {
    let address = |last: u8| [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[last]].concat();
    [address(7), address(1), vec![0x12, 0x67, 1, 187]].concat()
}

/// A header of version 1 for this client.
fn line(client: &str) -> String {
    format!("PROXY TCP4 {client} 198.51.100.1 4711 443\r\n")
}

/// A connection that begins with these bytes.
async fn connect(server: &Server, bytes: impl AsRef<[u8]>) -> Conn {
    let mut conn = Conn::plain(server.port()).await;
    conn.send(bytes).await;
    conn
}

/// The number of connections that the metrics count as refused for this reason.
async fn refused(server: &Server, reason: &str) -> u64 {
    let page = server.control("GET", "/metrics", "").await.unwrap();
    let name = format!("rip_connections_refused_total{{reason=\"{reason}\"}} ");
    page.text().lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn the_client_is_whom_the_header_names_however_it_arrives() {
    let server = behind_a_balancer().start().await;
    let tlvs = [&[4, 0, 2, 0, 0, 3, 0, 4, 1, 2, 3, 4, 0x20, 0, 5, 1, 0, 0, 0, 0][..], &[0xee; 2000]].concat();
    let unix = [b'/'; 216];
    let longest = format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
    let own = server.port().to_string();
    let of_client = |address, port| (address, port, false);
    let of_proxy = ("6.6.6.6, 127.0.0.1", own.as_str(), true);
    for (at, (header, (forwarded, port, trusted))) in [
        (line("192.0.2.7").into_bytes(), of_client("192.0.2.7", "443")),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 8443\r\n".to_vec(), of_client("2001:db8::7", "8443")),
        (b"PROXY TCP6 ::ffff:192.0.2.8 ::1 4711 443\r\n".to_vec(), of_client("192.0.2.8", "443")),
        (b"PROXY UNKNOWN\r\n".to_vec(), of_proxy),
        (longest.into_bytes(), of_proxy),
        (binary(1, 0x11, &IPV4), of_client("192.0.2.7", "443")),
        (binary(1, 0x11, &[&IPV4[..], &tlvs].concat()), of_client("192.0.2.7", "443")),
        (binary(1, 0x21, &ipv6()), of_client("2001:db8::7", "443")),
        (binary(0, 0, b""), of_proxy),
        (binary(0, 0x11, &IPV4), of_proxy),
        (binary(1, 0, b""), of_proxy),
        (binary(1, 0x31, &unix), of_proxy),
    ]
    .into_iter()
    .enumerate()
    {
        let request = |path: &str| {
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
        };
        let path = format!("/view?{at}");
        let mut conn = connect(&server, [&header[..], request(&path).as_bytes()].concat()).await;
        let seen: View = conn.reply("GET").await.view();
        assert_eq!(seen.all("x-forwarded-for"), [forwarded], "{}", header.escape_ascii());
        assert_eq!(seen.all("x-forwarded-port"), [port], "{}", header.escape_ascii());
        // The same connection speaks HTTP from there on, as any other.
        assert_eq!(conn.get("/view").await.view().all("x-forwarded-for").len(), 1);

        let mut pieces = Conn::plain(server.port()).await;
        let all = [&header[..], request("/view").as_bytes()].concat();
        for byte in &all[..header.len().min(300)] {
            pieces.send([*byte]).await;
        }
        pieces.send(&all[header.len().min(300)..]).await;
        assert_eq!(pieces.reply("GET").await.view().all("x-forwarded-for"), [forwarded]);

        let client = if trusted { "6.6.6.6" } else { forwarded };
        assert_eq!(server.record(&path).await["client"], client);
    }
    assert_eq!((refused(&server, "proxy-header").await, refused(&server, "proxy-peer").await), (0, 0));
}

#[tokio::test]
async fn what_follows_the_header_belongs_to_tls() {
    let server = behind_a_balancer().tls().start().await;
    for header in [line("192.0.2.7").into_bytes(), binary(1, 0x11, &[&IPV4[..], &[0; 400]].concat())] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
        stream.write_all(&header).await.unwrap();
        let stream = tls::over(stream, "localhost", &["h2"]).await.unwrap();
        let seen = Http2::over_tls(stream).await.get("/view").await.view();
        assert_eq!(seen.all("x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(seen.all("x-forwarded-proto"), ["https"]);

        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
        stream.write_all(&header).await.unwrap();
        let stream = tls::over(stream, "localhost", &["http/1.1"]).await.unwrap();
        assert_eq!(Conn::over_tls(stream).get("/view").await.view().all("x-forwarded-for"), ["192.0.2.7"]);
    }
    // Without a header a handshake is refused at its first byte.
    assert!(tls::connect(server.port(), "localhost", &["h2"]).await.is_err());
    assert_eq!(refused(&server, "proxy-header").await, 1);
}

#[tokio::test]
async fn what_is_no_header_is_closed_unanswered_and_told() {
    let server = behind_a_balancer().start().await;
    let too_long = [&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat();
    let cases = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n".to_vec(),
        too_long,
        b"\r\n\r\nGET / HTTP/1.1\r\n".to_vec(),
        binary(2, 0x11, &IPV4),
        binary(1, 0x11, &IPV4[..11]),
        binary(1, 0x71, &[0; 300]),
        [&binary(1, 0x11, &[])[..14], &[0xff, 0xff]].concat(),
    ];
    for (at, bytes) in cases.iter().enumerate() {
        let mut conn = connect(&server, bytes).await;
        // A reset is an end, too: not all of it was read.
        let rest = soon("the end", conn.rest()).await;
        assert_eq!(rest, b"", "{}", bytes.escape_ascii());
        until("it is counted", || async { refused(&server, "proxy-header").await == at as u64 + 1 }).await;
    }
    let said = server.output().json();
    let told: Vec<_> = said
        .iter()
        .filter(|line| line.to_string().contains("listen.proxy requires a PROXY header"))
        .collect();
    assert!(told.len() == 1 && told[0]["peer"] == "127.0.0.1", "once a minute: {told:?}");
    // A client that leaves without a word has only looked whether the port is open.
    connect(&server, b"").await.end().await;
    let mut conn = connect(&server, line("192.0.2.7")).await;
    assert_eq!(conn.get("/view").await.status, 200);
    assert_eq!(refused(&server, "proxy-header").await, cases.len() as u64);
    assert_eq!(server.meeting.violations(), "");
}

#[tokio::test]
async fn a_header_that_does_not_come_in_time_ends_the_connection() {
    let server = behind_a_balancer().server("limits.handshake = \"1s\"").start().await;
    for begun in ["", "PROXY TCP4 192.0.2.7"] {
        let mut conn = connect(&server, begun).await;
        assert_eq!(soon("the end", conn.rest()).await, b"");
    }
    assert_eq!(refused(&server, "proxy-header").await, 2);
    assert!(server.output().contains("did not come in time"));
}

#[tokio::test]
async fn headers_are_believed_of_trusted_proxies_alone() {
    let server = Setup::scripted()
        .server("listen.proxy = [\"http\"]\ntrusted_proxies = [\"127.0.0.2\"]")
        .start()
        .await;
    for bytes in [line("127.0.0.2"), line("192.0.2.7"), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".into()] {
        let mut conn = Conn::plain(server.port()).await;
        let _ = conn.try_send(bytes).await;
        assert_eq!(soon("the end", conn.rest()).await, b"");
    }
    until("they are counted", || async { refused(&server, "proxy-peer").await == 3 }).await;
    assert!(server.output().contains("takes PROXY headers from trusted_proxies alone"));
    let mut conn = Conn::plain_from([127, 0, 0, 2], server.port()).await;
    conn.send(line("192.0.2.7")).await;
    assert_eq!(conn.get("/view").await.view().all("x-forwarded-for"), ["192.0.2.7"]);
}

#[tokio::test]
async fn clients_that_a_balancer_names_are_strangers_with_limits_of_their_own() {
    let server = behind_a_balancer()
        .server("limits.max_connections_per_address = 2\nlimits.rate = \"1/s,3\"")
        .rules("deny = [\"203.0.113.0/24\"]")
        .start()
        .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut conn = connect(&server, line("192.0.2.7")).await;
        assert_eq!(conn.get("/view").await.status, 200);
        held.push(conn);
    }
    let mut third = connect(&server, line("192.0.2.7")).await;
    assert_eq!(soon("the end", third.rest()).await, b"", "the address has two connections");
    assert_eq!(refused(&server, "address-limit").await, 1);
    // Many more of the balancer's own, and of others.
    for last in 1..6 {
        held.push(connect(&server, binary(0, 0, b"")).await);
        let mut conn = connect(&server, line(&format!("192.0.2.1{last}"))).await;
        assert_eq!(conn.get("/view").await.status, 200);
        held.push(conn);
    }
    held[0].get("/view").await;
    assert_eq!(held[0].get("/view").await.status, 429, "the rate is the client's");
    let mut denied = connect(&server, line("203.0.113.9")).await;
    assert_eq!(denied.get("/view").await.reason(), "forbidden");
    // Strangers do not become local either, whoever passes them on.
    let mut stranger = connect(&server, line("198.51.100.9")).await;
    assert_ne!(stranger.get("/server").await.text(), "ok");
    let mut local = connect(&server, line("127.0.0.1")).await;
    assert_eq!(local.get("/server").await.text(), "ok");
}

#[tokio::test]
async fn listeners_that_are_not_named_take_no_header() {
    let server = Setup::scripted()
        .redirect()
        .server("listen.proxy = [\"https\"]\ntrusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    let mut plain = Conn::plain(server.redirect_port()).await;
    assert_eq!(plain.get("/").await.status, 301);
    let mut plain = Conn::plain(server.redirect_port()).await;
    plain.send([line("192.0.2.7").as_bytes(), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat()).await;
    assert_eq!(plain.reply("GET").await.status, 400);
    assert!(tls::connect(server.port(), "localhost", &["h2"]).await.is_err());

    let server = Setup::scripted()
        .redirect()
        .server("listen.proxy = \"http\"\ntrusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    assert_eq!(server.http2().await.get("/view").await.status, 200);
    let mut plain = Conn::plain(server.redirect_port()).await;
    plain.send(line("192.0.2.7")).await;
    assert_eq!(plain.get("/").await.status, 301);
}

#[tokio::test]
async fn a_connection_without_its_header_does_not_keep_a_server_from_ending() {
    let mut server = behind_a_balancer().start().await;
    let mut conns = Vec::new();
    for begun in ["", "PROXY TCP4 "] {
        conns.push(connect(&server, begun).await);
    }
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn headers_without_anybody_to_send_them_are_an_error_in_settings() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    for (lines, code, said) in [
        ("listen.proxy = [\"https\"]", 2, "needs `trusted_proxies = [\"CIDR\"]` too"),
        (
            "listen.proxy = [\"both\"]\ntrusted_proxies = [\"::1\"]",
            2,
            "read `[\"both\"]`, expected a list of some of https, http",
        ),
        ("listen.proxy = []", 0, ""),
        (
            "listen.proxy = [\"http\"]\ntrusted_proxies = [\"::1\"]\nlisten.redirect_http = false",
            0,
            "no effect",
        ),
    ] {
        std::fs::write(&config, lines).unwrap();
        let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/spa");
        let ran = rip_server(folder.path(), &["check", app, "--config", config.to_str().unwrap()])
            .await
            .expect(code);
        assert!(format!("{}{}", ran.out, ran.err).contains(said), "{lines}: {ran:?}");
    }
}

#[tokio::test]
async fn haproxy_in_front_tells_whose_a_connection_is() {
    let server = behind_a_balancer().tls().start().await;
    for how in ["send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c", "send-proxy"] {
        let how = format!("{how} check check-send-proxy inter 200ms");
        let Some(front) = Balancer::haproxy(server.port(), &how, &[]).await else { return };
        seen_through(&front).await;
    }
    assert_eq!(refused(&server, "proxy-header").await, 0, "health checks send one too");
}

#[tokio::test]
async fn nginx_in_front_tells_whose_a_connection_is() {
    let server = behind_a_balancer().tls().start().await;
    let Some(front) = Balancer::nginx(server.port()).await else { return };
    seen_through(&front).await;
    assert_eq!(refused(&server, "proxy-header").await, 0);
}

/// A client at an address of its own is seen through the balancer, over each protocol.
async fn seen_through(front: &Balancer) {
    for protocol in ["h2", "http/1.1"] {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 9], 0).into()).unwrap();
        let stream = socket.connect(([127, 0, 0, 1], front.port).into()).await.unwrap();
        let stream = tls::over(stream, "localhost", &[protocol]).await.unwrap();
        let seen = match protocol {
            "h2" => Http2::over_tls(stream).await.get("/view").await.view(),
            _ => Conn::over_tls(stream).get("/view").await.view(),
        };
        assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.9"], "{protocol}");
        assert_eq!(seen.all("x-forwarded-port"), [front.port.to_string()], "{protocol}");
    }
}
