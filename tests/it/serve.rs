//! The ordinary way of a request, over HTTP/1.1 and HTTP/2.

use std::collections::BTreeSet;
use std::process::Command;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request};
use http_body_util::Full;

use crate::support::client::whole;
use crate::support::{Conn, Server, Setup, has, tls};

#[tokio::test]
async fn a_request_is_answered_by_the_worker() {
    let server = Setup::scripted().start().await;
    let reply = server.get("/").await;
    assert_eq!((reply.status, reply.text()), (200, "hello from the worker\n"));
    assert_eq!(reply.field("content-type"), "text/plain");
    assert_eq!(reply.field("content-length"), "22");
}

#[tokio::test]
async fn a_connection_carries_many_requests() {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = setup.start().await;
        let mut conn = server.connect().await;
        for i in 0..5 {
            let seen = conn.get(&format!("/view?i={i}")).await.view();
            assert_eq!(seen.target, format!("/view?i={i}"));
        }
    }
}

#[tokio::test]
async fn a_client_that_says_close_gets_its_answer_and_the_end() {
    let server = Setup::scripted().start().await;
    let answer = server.raw("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello from the worker\n"), "{answer}");
}

#[tokio::test]
async fn http_1_0_gets_an_answer_without_chunks_and_the_end() {
    let server = Setup::scripted().start().await;
    let answer = server.raw("GET /chunks?n=2 HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    assert!(!answer.contains("transfer-encoding"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nchunk 0\nchunk 1\n"), "{answer}");
}

#[tokio::test]
async fn head_has_the_head_of_get_and_no_body() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    for path in ["/", "/server"] {
        conn.send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let reply = conn.reply("HEAD").await;
        assert_eq!(reply.status, 200, "{path}");
        assert_ne!(reply.field("content-length"), "0", "{path}");
    }
    assert_eq!(conn.get("/").await.status, 200, "nothing of a body is left on the connection");
}

#[tokio::test]
async fn statuses_without_a_body_have_none() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    for code in [204, 304] {
        let reply = conn.get(&format!("/bare-status?code={code}")).await;
        assert_eq!((reply.status, reply.body.len()), (code, 0));
    }
    assert_eq!(conn.get("/").await.status, 200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Setup::scripted().words(&["w:2"]).start().await;
    let mut conn = server.connect().await;
    let requests: String =
        (0..10).map(|i| format!("GET /view?i={i} HTTP/1.1\r\nHost: localhost\r\n\r\n")).collect();
    conn.send(requests).await;
    for i in 0..10 {
        assert_eq!(conn.reply("GET").await.view().target, format!("/view?i={i}"));
    }
}

#[tokio::test]
async fn interim_answers_of_a_worker_are_passed_over_and_their_links_kept() {
    let server = Setup::scripted().start().await;
    let reply = server.get("/interim").await;
    assert_eq!((reply.status, reply.text()), (200, "after the interim one\n"));
    assert_eq!(reply.field("link"), "</a>; rel=preload");
    let answer = |status: &str| {
        let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Hint: a\r\n\r\n";
        let other = "HTTP/1.1 102 Processing\r\nLink: </other>\r\n\r\nHTTP/1.1 103 Hints\r\nLink: </b>\r\nLink: </c>\r\n\r\n";
        let last = format!("HTTP/1.1 {status}\r\nLink: </b>\r\nContent-Length: 2\r\n\r\nok");
        format!("{hint}{other}{last}").bytes().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    for (status, links) in [("200 OK", &["</b>", "</a>", "</c>"][..]), ("404 No", &["</b>"])] {
        let reply = server.get(&format!("/bytes?hex={}", answer(status))).await;
        let seen: Vec<_> = reply.headers.get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
        assert_eq!((seen, reply.text(), reply.field("x-hint")), (links.to_vec(), "ok", ""), "{status}");
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_worker_s_connection_is_whole() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    for _ in 0..3 {
        assert_eq!(conn.get("/until-close").await.text(), "all there is\n");
    }
}

#[tokio::test]
async fn alpn_chooses_between_http_2_and_http_1() {
    let server = Setup::scripted().tls().start().await;
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&["http/1.1", "h2"], Some("h2")),
        (&[], None),
    ] {
        let stream = tls::connect(server.port(), "localhost", offered).await.unwrap();
        let protocol =
            stream.get_ref().1.alpn_protocol().map(|protocol| std::str::from_utf8(protocol).unwrap());
        assert_eq!(protocol, chosen, "offered: {offered:?}");
    }
}

#[tokio::test]
async fn http_2_serves_many_streams_at_once() {
    let server = Setup::scripted().words(&["w:2"]).tls().start().await;
    let http2 = server.http2().await;
    let asked = (0..50).map(|i| {
        let mut sender = http2.sender.clone();
        async move {
            let request =
                Request::get(format!("https://localhost/view?i={i}")).body(Full::default()).unwrap();
            whole(sender.send_request(request).await.unwrap()).await.unwrap()
        }
    });
    for (i, reply) in join_all(asked).await.into_iter().enumerate() {
        let seen = reply.view();
        assert_eq!(seen.target, format!("/view?i={i}"));
        assert_eq!(seen.field("host"), Some("localhost"));
        assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
    }
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn http_2_has_head_and_bodies_both_ways() {
    let server = Setup::scripted().tls().start().await;
    let mut http2 = server.http2().await;
    let request = |method: Method, path: &str, body: &[u8]| {
        let url = format!("https://localhost{path}");
        Request::builder().method(method).uri(url).body(Full::new(Bytes::copy_from_slice(body))).unwrap()
    };
    let head = whole(http2.send(request(Method::HEAD, "/", b"")).await.unwrap()).await.unwrap();
    assert_eq!((head.status, head.field("content-length"), head.body.len()), (200, "22", 0));
    let body = vec![7; 300_000];
    let echo = whole(http2.send(request(Method::POST, "/echo", &body)).await.unwrap()).await.unwrap();
    assert!(echo.body == body);
    let cookies = Request::get("https://localhost/view").header("cookie", "a=1").header("cookie", "b=2");
    let seen = whole(http2.send(cookies.body(Full::default()).unwrap()).await.unwrap()).await.unwrap().view();
    assert_eq!(seen.field("cookie"), Some("a=1; b=2"), "RFC 9113 §8.2.3");
}

#[tokio::test]
async fn a_worker_that_closes_after_each_answer_serves_on() {
    let server = Setup::scripted().worker("CLOSE", "1").start().await;
    let mut conn = server.connect().await;
    for _ in 0..30 {
        assert_eq!(conn.get("/").await.status, 200);
    }
}

/// The worker's idle limit is so short that connections are closed while requests are on their way to them.
#[tokio::test]
async fn a_worker_that_drops_idle_connections_costs_no_request() {
    let server = Setup::scripted().worker("DROP_IDLE_MS", "1").start().await;
    let mut conn = server.connect().await;
    for i in 0..300 {
        let path = format!("/?i={i}");
        let reply = if i % 2 == 0 { conn.get(&path).await } else { server.get(&path).await };
        assert_eq!(reply.status, 200, "request {i}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_post_is_not_lost_to_a_connection_that_the_worker_has_closed() {
    for rules in ["", "stream = [\"/echo\"]"] {
        let server = Setup::scripted().worker("DROP_IDLE_MS", "1").rules(rules).start().await;
        // At once, so that both threads of the server have some of them.
        let mut conns = join_all((0..32).map(|_| server.connect())).await;
        for i in 1..=64 {
            let conn = &mut conns[i % 32];
            conn.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody").await;
            let reply = conn.reply("POST").await;
            assert_eq!((reply.status, reply.text()), (200, "body"), "request {i}");
            server.meeting.reached(&format!("dropped.{i}")).await;
        }
        server.meeting.assert_no_violations();
    }
}

#[tokio::test]
async fn many_clients_at_once_are_all_answered_and_no_worker_has_two_requests() {
    let server = Setup::scripted().words(&["w:3"]).start().await;
    let client = |i: usize| {
        let server = &server;
        async move {
            let mut conn = server.connect().await;
            for j in 0..10 {
                let path = format!("/view?client={i}&request={j}");
                assert_eq!(conn.get(&path).await.view().target, path);
            }
        }
    };
    join_all((0..40).map(client)).await;
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn the_server_itself_answers_server_and_status_for_loopback_clients() {
    let server = Setup::scripted().start().await;
    assert_eq!(server.get("/server").await.text(), "ok");
    let reply = server.ask("GET", "/status", &[("Host", "my.localhost:8443")], b"").await;
    assert_eq!((reply.status, reply.field("content-type")), (200, "application/json"));
    let status: serde_json::Value = reply.json();
    assert_eq!(status["status"], "healthy");
    assert_eq!((status["app"].as_str(), status["workers"].as_u64()), (Some("scripted"), Some(1)));
    assert_eq!(status["ports"]["http"], server.port());
    assert!(status["hosts"].as_array().unwrap().iter().any(|host| host == "localhost"), "{status}");
    assert_eq!(server.meeting.targets(), [""; 0], "no worker was asked");
    assert_eq!(server.ask("HEAD", "/server", &[("X-A", "b")], b"").await.field("content-length"), "2");
    for record in server.records("/server", 2).await {
        assert_eq!(record["outcome"], "complete", "{record}");
    }
    assert_eq!(server.post("/server", b"x").await.status, 404, "only GET and HEAD are ours");
}

#[tokio::test]
async fn server_and_status_of_others_are_the_app_s() {
    let server = Setup::scripted().server("trusted_proxies = [\"127.0.0.1\"]").start().await;
    for path in ["/server", "/status"] {
        server.ask("GET", path, &[("X-Forwarded-For", "192.0.2.1")], b"").await;
    }
    assert_eq!(server.meeting.targets(), ["/server", "/status"]);
    for chain in
        ["127.0.0.1", "127.0.0.1, unknown", "127.0.0.1, fe80::1%eth0", "\u{e9}, 6.6.6.6", "", "127.0.0.1"]
    {
        let reply = server.ask("GET", "/status", &[("X-Forwarded-For", chain)], b"").await;
        assert_eq!(reply.status, 404, "a proxy's client is nobody of this machine: {chain:?}");
    }
    let elsewhere = Setup::scripted().start().await;
    // As proxies on this machine ask that say nothing of whom they ask for: they pass the public name on, or speak the
    // oldest HTTP.
    let reply = elsewhere.ask("GET", "/status", &[("Host", "scripted.local")], b"").await;
    assert_eq!(reply.status, 404, "a public name is the app's");
    let old = elsewhere.raw("GET /status HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 404") || old.starts_with("HTTP/1.1 404"), "{old}");
    let reply = elsewhere.ask("GET", "/server", &[("Forwarded", "for=192.0.2.1")], b"").await;
    assert_eq!(reply.status, 404, "nor is that of one that is not trusted");

    let open = ["--status-for-all"];
    let server = Setup::scripted().words(&open).server("trusted_proxies = [\"127.0.0.1\"]").start().await;
    let reply = server.ask("GET", "/server", &[("X-Forwarded-For", "192.0.2.1")], b"").await;
    assert_eq!(reply.text(), "ok");
}

#[tokio::test]
async fn curl_is_served_over_every_protocol() {
    if !has("curl", "curl") {
        return;
    }
    let plain = Setup::scripted().start().await;
    let secure = Setup::scripted().tls().start().await;
    let body = vec![b'x'; 2 << 20];
    let file = plain.root().join("upload");
    std::fs::write(&file, &body).unwrap();
    for (server, option) in
        [(&plain, "--http1.1"), (&plain, "--http1.0"), (&secure, "--http1.1"), (&secure, "--http2")]
    {
        let scheme = if server.is_tls() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}/echo", server.port());
        let data = format!("@{}", file.display());
        // HTTP/1.0 knows no interim answers: nobody may wait for one (RFC 9110 §10.1.1).
        let expect: &[_] = match option {
            // Nor does the server send any over HTTP/2, where a client has flow control instead.
            "--http1.0" | "--http2" => &["-H", "Expect:"],
            _ => &["-H", "Expect: 100-continue", "--expect100-timeout", "15"],
        };
        let args = [&["-sSfk", option, "--data-binary", &data, &url], expect].concat();
        assert!(curl(&args).await == body, "{scheme} {option}");
    }
}

async fn curl(args: &[&str]) -> Vec<u8> {
    let mut command = Command::new("curl");
    command.args(args);
    let out = tokio::process::Command::from(command).output().await.unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

#[tokio::test]
async fn h2load_finds_no_failure() {
    if !has("h2load", "nghttp2-client") {
        return;
    }
    let server = Setup::scripted().words(&["w:2"]).tls().start().await;
    for protocol in [&[][..], &["--h1"]] {
        let url = format!("https://127.0.0.1:{}/", server.port());
        let mut command = tokio::process::Command::new("h2load");
        command.args(["-n", "1000", "-c", "8", "-m", "10"]).args(protocol).arg(url);
        let out = String::from_utf8(command.output().await.unwrap().stdout).unwrap();
        assert!(out.contains("1000 succeeded, 0 failed, 0 errored, 0 timeout"), "{protocol:?}: {out}");
        assert!(out.contains("status codes: 1000 2xx"), "{protocol:?}: {out}");
    }
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_connection_that_rests_too_long_is_closed() {
    // The connection rests after a second, and is to be closed while it does.
    let server = Setup::scripted().server("limits.keepalive = \"2s\"").start().await;
    let mut conn = server.connect().await;
    assert_eq!(conn.get("/").await.status, 200);
    assert_eq!(conn.rest().await, b"", "nothing is said");
    assert_eq!(server.connect().await.rest().await, b"", "nor to one that never asked");
}

#[tokio::test]
async fn an_access_record_says_how_a_request_went() {
    let server = Setup::scripted().tls().start().await;
    let reply = server.ask("GET", "/chunks?n=2", &[("Host", "LOCALHOST:1")], b"").await;
    let record = server.record("/chunks?n=2").await;
    let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (text("method"), text("version"), text("app")),
        ("GET".into(), "1.1".into(), "scripted".into())
    );
    assert_eq!((text("host"), text("client")), ("localhost".into(), "127.0.0.1".into()));
    assert_eq!((text("outcome"), text("type")), ("complete".into(), "text/plain".into()));
    assert_eq!((record["status"].as_u64(), record["length"].as_u64()), (Some(200), Some(16)));
    assert_eq!(text("id"), reply.field("x-request-id"));
    for name in ["totalSeconds", "workerSeconds", "queueSeconds"] {
        assert!(record[name].as_f64().unwrap() > 0.0, "{name}: {record}");
    }
    assert!(record["worker"].is_u64() && record["generation"].is_u64(), "{record}");
    assert_eq!(record["reason"], serde_json::Value::Null);
}

#[tokio::test]
async fn without_an_access_log_nothing_is_recorded() {
    let server: Server = Setup::scripted().words(&["--no-access-log"]).start().await;
    server.get("/?quiet").await;
    // Over the control socket nothing is recorded either; the output is complete once the server has ended.
    let mut server = server;
    server.signal(rustix::process::Signal::TERM);
    server.ended().await;
    assert!(!server.output().contains("/?quiet"), "{}", server.output());
}

#[tokio::test]
async fn a_half_open_request_of_one_client_does_not_stop_another() {
    let server = Setup::scripted().start().await;
    let mut half: Conn = server.connect().await;
    half.send("GET / HTTP/1.1\r\nHost: loc").await;
    assert_eq!(server.get("/").await.status, 200);
    half.send("alhost\r\n\r\n").await;
    assert_eq!(half.reply("GET").await.status, 200);
}

#[tokio::test]
async fn a_redirect_of_the_app_is_the_clients_to_follow() {
    let server = Setup::scripted().start().await;
    let mut asked = Vec::new();
    for code in [300, 301, 302, 303, 305, 307, 308] {
        for location in ["/view", "http://localhost/view", "//evil.example/"] {
            let target = format!("/code?code={code}&location={location}");
            let reply = server.post(&target, b"body").await;
            assert_eq!((reply.status, reply.field("location")), (code, location));
            assert_eq!(reply.text(), "as asked\n");
            asked.push(target);
        }
    }
    assert_eq!(server.meeting.targets(), asked, "nothing was asked but what clients asked");
}

#[tokio::test]
async fn connections_to_workers_are_used_again_unless_the_app_wants_each_to_be_new() {
    for (keepalive, close) in [(true, None), (false, Some("close"))] {
        let server = Setup::scripted().rules(&format!("keepalive = {keepalive}")).start().await;
        let mut conn = server.connect().await;
        for _ in 0..10 {
            assert_eq!(conn.get("/").await.status, 200);
        }
        let views = server.meeting.views();
        let connections: BTreeSet<_> = views.iter().map(|view| view.connection).collect();
        assert_eq!(connections.len() == 10, !keepalive, "{connections:?}");
        assert!(views.iter().all(|view| view.field("connection") == close), "{views:?}");
    }
}
