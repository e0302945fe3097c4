//! Connections that do nothing, more of them than there are places.

use std::io;
use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use http_body_util::Full;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::others::{Answers, Other, ask_from, conn_from, tcp_from};
use crate::support::{Conn, Server, Setup, soon, tls, until};

/// How a client holds a place without a request in hand.
#[derive(Clone, Copy, Debug)]
enum Held {
    /// The client says nothing.
    Silent,
    /// The client sends a head that has no end.
    Slow,
    /// The client has had an answer.
    Idle,
    /// The client has a TLS session and says nothing.
    Shaken,
    /// The client has begun HTTP/2.
    Begun,
}

/// The connection, to be kept.
#[derive(Debug)]
enum Kept {
    Tcp(#[expect(dead_code, reason = "open until dropped")] TcpStream),
    Conn(#[expect(dead_code, reason = "open until dropped")] Box<Conn>),
    Tls(#[expect(dead_code, reason = "open until dropped")] Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Conn")
    }
}

async fn hold(client: u8, server: &Server, how: Held) -> io::Result<Kept> {
    let (port, over_tls) = (server.port(), server.is_tls());
    match how {
        Held::Silent => Ok(Kept::Tcp(tcp_from(client, port).await?)),
        Held::Slow => {
            let mut stream = tcp_from(client, port).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").await?;
            Ok(Kept::Tcp(stream))
        }
        Held::Idle => {
            let mut conn = conn_from(client, port, over_tls).await?;
            conn.try_send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
            conn.try_reply("GET").await?;
            Ok(Kept::Conn(Box::new(conn)))
        }
        Held::Shaken | Held::Begun => {
            let stream = tcp_from(client, port).await?;
            let mut stream = tls::over(stream, "localhost", &["h2"]).await?;
            if matches!(how, Held::Begun) {
                stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
            }
            Ok(Kept::Tls(Box::new(stream)))
        }
    }
}

/// So many at once, by clients in turn; those that the server has let in.
async fn flood(clients: &[u8], count: usize, server: &Server, how: Held) -> Vec<Kept> {
    let mut kept = Vec::new();
    for some in (0..count).collect::<Vec<_>>().chunks(100) {
        let begun = some.iter().map(|at| hold(clients[at % clients.len()], server, how));
        let limited = begun.map(|one| timeout(Duration::from_secs(3), one));
        kept.extend(join_all(limited).await.into_iter().filter_map(|held| held.ok()?.ok()));
    }
    kept
}

async fn sample(server: &Server, name: &str) -> u64 {
    let page = server.control("GET", "/metrics", "").await.unwrap();
    let line = page.text().lines().find(|line| line.starts_with(name)).map(str::to_owned);
    line.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

/// Newcomers one after the other, each on a connection of its own.
async fn newcomers(server: &Server, count: usize) -> (usize, Duration) {
    let mut slowest = Duration::ZERO;
    let mut served = 0;
    for _ in 0..count {
        let begun = Instant::now();
        let asked = timeout(Duration::from_secs(8), ask_from(9, server.port(), server.is_tls())).await;
        served += usize::from(matches!(asked, Ok(Ok(200))));
        slowest = slowest.max(begun.elapsed());
    }
    (served, slowest)
}

#[tokio::test]
async fn connections_that_rest_make_room_for_newcomers_of_others() {
    make_room(&[Held::Silent, Held::Slow, Held::Idle], false).await;
}

#[tokio::test]
async fn so_do_those_over_tls() {
    make_room(&[Held::Silent, Held::Shaken, Held::Begun, Held::Idle], true).await;
}

async fn make_room(ways: &[Held], tls: bool) {
    for how in ways.iter().copied() {
        let setup = Setup::scripted().words(&["w:2"]).server("limits.max_connections = 100");
        let server = if tls { setup.tls() } else { setup }.start().await;
        let mut small = Vec::new();
        for _ in 0..3 {
            let mut conn = conn_from(3, server.port(), tls).await.unwrap();
            assert_eq!(conn.get("/").await.status, 200);
            small.push(conn);
        }
        let held = flood(&[2], 150, &server, how).await;
        let (served, slowest) = newcomers(&server, 20).await;
        println!(
            "places | {how:?}, TLS {tls} | {} held, {served} of 20 newcomers, slowest {slowest:?}",
            held.len()
        );
        assert_eq!(served, 20, "{how:?}, TLS {tls}");
        for conn in &mut small {
            assert_eq!(conn.get("/").await.status, 200, "a client with few keeps them: {how:?}, TLS {tls}");
        }
        assert!(sample(&server, "rip_connections ").await <= 100);
        assert!(sample(&server, "rip_limits_reached_total{limit=\"connections\"}").await > 0);
        server.output().says("all places for connections are taken").await;
    }
}

#[tokio::test]
async fn many_clients_with_many_connections_keep_nobody_out() {
    let setup = Setup::scripted().words(&["w:2"]).server("limits.max_connections = 100");
    let server = setup.start().await;
    let clients: Vec<u8> = (20..40).collect();
    let held = flood(&clients, 200, &server, Held::Silent).await;
    let (served, slowest) = newcomers(&server, 20).await;
    println!("places | 20 clients | {} held, {served} of 20 newcomers, slowest {slowest:?}", held.len());
    assert_eq!(served, 20);
}

#[tokio::test]
async fn ten_thousand_connections_of_one_client_keep_nobody_out() {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    // The test's own and the server's.
    let count = (limit.saturating_sub(1500) as usize).min(10_050);
    let server = Setup::scripted().words(&["w:2"]);
    let server = if count < 10_050 {
        server.server(&format!("limits.max_connections = {}", count * 9 / 10))
    } else {
        server
    };
    let server = server.start().await;
    let quiet = Other::alone(&server, 9, Duration::from_secs(1)).await;
    let begun = Instant::now();
    let beside = Other::start(&server, 9);
    let held = flood(&[2], count, &server, Held::Silent).await;
    let took = begun.elapsed();
    let (served, slowest) = newcomers(&server, 50).await;
    let during: Answers = beside.end().await;
    println!("places | {} silent connections in {took:?} | quiet: {quiet}", held.len());
    println!("places | beside them | {during}; 50 newcomers: {served} answered, slowest {slowest:?}");
    assert_eq!((served, during.bad.len()), (50, 0), "{:?}", during.bad);
}

#[tokio::test]
async fn one_client_alone_may_have_all_places_and_uses_them_again() {
    let server = Setup::scripted().words(&["w:2"]).server("limits.max_connections = 50").start().await;
    let mut all = Vec::new();
    for _ in 0..50 {
        let mut conn = server.connect().await;
        assert_eq!(conn.get("/").await.status, 200);
        all.push(conn);
    }
    for conn in &mut all {
        assert_eq!(conn.get("/").await.status, 200, "nobody else needs its place");
    }
    for _ in 0..20 {
        assert_eq!(server.get("/").await.status, 200, "the longest idle one makes room");
    }
}

#[tokio::test]
async fn connections_with_a_request_in_hand_are_never_ended_for_others() {
    let setup = Setup::scripted().words(&["w:1", "c:16"]).server("limits.max_connections = 24");
    let server = setup.start().await;
    let mut busy = Vec::new();
    for number in 0..12 {
        let mut conn = conn_from(2, server.port(), false).await.unwrap();
        if number % 2 == 0 {
            conn.send_get("/gate?name=busy").await;
        } else {
            conn.send("POST /view HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhel").await;
        }
        busy.push(conn);
    }
    server.meeting.reached("busy").await;
    let _held = flood(&[2], 40, &server, Held::Silent).await;
    let (served, _) = newcomers(&server, 10).await;
    assert_eq!(served, 10);
    server.meeting.open("busy");
    for (number, conn) in busy.iter_mut().enumerate() {
        if number % 2 == 1 {
            conn.send("lo").await;
        }
        assert_eq!(conn.reply("GET").await.status, 200, "request {number}");
    }
}

#[tokio::test]
async fn a_client_that_has_all_places_in_use_is_refused_and_another_waits_for_one() {
    let setup = Setup::scripted().words(&["w:1", "c:16"]).server("limits.max_connections = 4");
    let server = setup.server("limits.head = \"2s\"").start().await;
    let mut busy = Vec::new();
    for _ in 0..4 {
        let mut conn = conn_from(2, server.port(), false).await.unwrap();
        conn.send_get("/gate?name=busy").await;
        busy.push(conn);
    }
    until("four are busy", || async { sample(&server, "rip_requests_in_flight").await == 4 }).await;
    // A further connection waits, and is told nothing but that it is over.
    assert_eq!(conn_from(2, server.port(), false).await.unwrap().rest().await, b"");
    assert!(sample(&server, "rip_connections_refused_total{reason=\"connections\"}").await > 0);
    let mut other = conn_from(3, server.port(), false).await.unwrap();
    other.send_get("/").await;
    server.meeting.open("busy");
    assert_eq!(other.reply("GET").await.status, 200);
    for conn in &mut busy {
        assert_eq!(conn.reply("GET").await.status, 200);
    }
}

#[tokio::test]
async fn a_trusted_proxy_has_no_share_and_is_the_last_to_make_room() {
    let setup = Setup::scripted().words(&["w:2"]).server("limits.max_connections = 40");
    let trusted = "trusted_proxies = [\"127.0.0.4/32\"]\nlimits.max_connections_per_address = 25";
    let server = setup.server(trusted).start().await;
    let mut proxy = Vec::new();
    for _ in 0..30 {
        let mut conn = conn_from(4, server.port(), false).await.unwrap();
        assert_eq!(conn.get("/").await.status, 200, "the limit of an address is not for proxies");
        proxy.push(conn);
    }
    let _held = flood(&[2], 20, &server, Held::Idle).await;
    let (served, _) = newcomers(&server, 10).await;
    assert_eq!(served, 10);
    for conn in &mut proxy {
        assert_eq!(conn.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn http2_connections_that_make_room_are_told_which_requests_were_taken() {
    let setup = Setup::scripted().words(&["w:2"]).tls().server("limits.max_connections = 10");
    let server = setup.start().await;
    let mut idle = super::Frames::connect(&server).await;
    idle.send(1, super::END_STREAM_AND_HEADERS, 1, super::GET_ROOT).await.unwrap();
    assert!(idle.is_served(1).await);
    let _held = flood(&[1], 9, &server, Held::Begun).await;
    let served = flood(&[9], 4, &server, Held::Idle).await;
    assert_eq!(served.len(), 4);
    let (_held, served) = (flood(&[9], 4, &server, Held::Idle).await, newcomers(&server, 2).await);
    assert_eq!(served.0, 2);
    let rest = idle.rest().await;
    let goaway = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0";
    assert!(rest.ends_with(goaway), "GOAWAY with the last stream and no error: {rest:?}");
}

#[tokio::test]
async fn the_time_before_the_first_request_is_that_for_a_head() {
    for tls in [false, true] {
        let setup = Setup::scripted().server("limits.head = \"1s\"");
        let server = if tls { setup.tls() } else { setup }.start().await;
        let mut kept = server.connect().await;
        assert_eq!(kept.get("/").await.status, 200);
        assert_eq!(server.connect().await.rest().await, b"", "closed, and nothing is said");
        if tls {
            let mut http2 = server.http2().await;
            assert_eq!(http2.get("/").await.status, 200);
            let mut begun = super::Frames::connect(&server).await;
            begun.rest().await;
            let request = Request::get("https://localhost/").body(Full::default()).unwrap();
            assert_eq!(http2.send(request).await.unwrap().status(), 200, "it has limits.keepalive");
        }
        assert_eq!(kept.get("/").await.status, 200, "so has this");
    }
}

/// Where there are places but no descriptors.
#[tokio::test]
async fn a_server_out_of_descriptors_ends_connections_that_rest() {
    let shell = "ulimit -n 256; exec \"$0\" \"$@\"";
    let server = Setup::scripted().words(&["w:1"]).within(&["/bin/sh", "-c", shell]).start().await;
    let held = flood(&[2], 400, &server, Held::Silent).await;
    let (served, slowest) = newcomers(&server, 5).await;
    println!("places | 256 descriptors | {} held, {served} of 5 newcomers, slowest {slowest:?}", held.len());
    assert_eq!(served, 5);
    let mut last = tcp_from(2, server.port()).await.unwrap();
    soon("bytes or the end", async {
        let _ = last.read(&mut [0; 1]).await;
    })
    .await;
}
