//! Header fields on their way in and out: what passes, what is removed, what is written anew.

use crate::support::{Setup, View};

/// The view of a request with these fields.
async fn seen(setup: Setup, fields: &[(&str, &str)]) -> View {
    let server = setup.start().await;
    server.ask("GET", "/view", fields, b"").await.view()
}

#[tokio::test]
async fn ordinary_fields_pass_as_they_are() {
    let fields = [
        ("Host", "LocalHost:8443"),
        ("Accept", "text/html;q=0.8, */*"),
        ("Authorization", "Bearer abc=="),
        ("Cookie", "a=1; b=2"),
        ("User-Agent", "Test/1.0 (a; b)"),
        ("X-Custom", "one"),
        ("X-Empty", ""),
        ("X-Latin", "caf\u{e9}"),
        ("Range", "bytes=0-1"),
        ("If-None-Match", "\"etag\""),
        ("Via", "1.1 somebody"),
    ];
    let seen = seen(Setup::scripted(), &fields).await;
    for (name, value) in fields {
        // The worker reads bytes as Latin-1.
        let value: String = value.bytes().map(char::from).collect();
        assert_eq!(seen.field(&name.to_lowercase()), Some(value.as_str()), "{name}");
    }
}

#[tokio::test]
async fn repeated_fields_stay_apart_and_in_order() {
    let seen = seen(Setup::scripted(), &[("X-Many", "one"), ("x-many", "two"), ("X-MANY", "three")]).await;
    assert_eq!(seen.all("x-many"), ["one", "two", "three"]);
}

#[tokio::test]
async fn what_a_stranger_must_not_say_does_not_reach_the_worker() {
    let seen = seen(
        Setup::scripted(),
        &[
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "evil.example"),
            ("X-Forwarded-Port", "1"),
            ("X-Forwarded-User", "root"),
            ("X-Forwarded-Client-Cert", "x"),
            ("Forwarded", "for=6.6.6.6"),
            ("X-Real-IP", "6.6.6.6"),
            ("X-Request-Start", "t=1"),
            ("X-Request-Id", "chosen-by-the-client"),
            ("X-Client-Cert", "x"),
            ("X-Client-Cert-Subject", "x"),
            ("Rip-Worker-Busy", "1"),
            ("Rip-Anything", "1"),
            ("Proxy", "http://evil.example"),
            ("X_Forwarded_For", "6.6.6.6"),
            ("Some_Name", "x"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authorization", "Basic x"),
            ("TE", "trailers"),
            ("Trailer", "x-a"),
            ("Connection", "keep-alive, X-Hop, TE"),
            ("X-Hop", "1"),
        ],
    )
    .await;
    let mut names: Vec<_> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let written = [
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-request-id",
        "x-request-start",
    ];
    assert_eq!(names, written, "each once, and all of them the server's own");
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_ne!(seen.field("x-request-id"), Some("chosen-by-the-client"));
}

#[tokio::test]
async fn the_worker_is_told_where_a_request_came_from() {
    for (setup, proto) in [(Setup::scripted(), "http"), (Setup::scripted().tls(), "https")] {
        let server = setup.start().await;
        let port = server.port().to_string();
        let reply = server.ask("GET", "/view", &[("Host", "localhost:99")], b"").await;
        let seen = reply.view();
        assert_eq!(seen.field("host"), Some("localhost:99"));
        assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.field("x-forwarded-proto"), Some(proto));
        assert_eq!(seen.field("x-forwarded-host"), Some("localhost:99"));
        assert_eq!(seen.field("x-forwarded-port"), Some(port.as_str()));
        assert_eq!(seen.field("x-request-id"), Some(reply.field("x-request-id")));
        let start =
            seen.field("x-request-start").unwrap().strip_prefix("t=").unwrap().parse::<u64>().unwrap();
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        assert!(start <= now && now - start < 60_000, "{start} is not milliseconds of now, {now}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let fields = [
        ("X-Forwarded-For", "192.0.2.7, 127.0.0.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "shop.example"),
        ("X-Forwarded-Port", "443"),
        ("X-Real-IP", "192.0.2.7"),
        ("X-Request-Id", "from-the-proxy.1_A"),
        ("Rip-Anything", "1"),
        ("X_Forwarded_For", "6.6.6.6"),
    ];
    let server = Setup::scripted().server("trusted_proxies = [\"127.0.0.0/8\"]").start().await;
    let reply = server.ask("GET", "/view", &fields, b"").await;
    let seen = reply.view();
    assert_eq!(seen.field("x-forwarded-for"), Some("192.0.2.7, 127.0.0.9, 127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.field("x-forwarded-host"), Some("shop.example"));
    assert_eq!(seen.field("x-forwarded-port"), Some("443"));
    assert_eq!(seen.field("x-real-ip"), Some("192.0.2.7"));
    assert_eq!(seen.field("x-request-id"), Some("from-the-proxy.1_A"));
    assert_eq!(reply.field("x-request-id"), "from-the-proxy.1_A");
    assert_eq!((seen.field("rip-anything"), seen.field("x_forwarded_for")), (None, None));
    assert_eq!(server.record("/view").await["client"], "192.0.2.7", "the record names the real client");
}

#[tokio::test]
async fn a_request_id_is_taken_over_only_when_it_is_one() {
    let server = Setup::scripted().server("trusted_proxies = [\"127.0.0.1\"]").start().await;
    let (shortest, longest) = ("a".repeat(8), "a".repeat(64));
    let (too_short, too_long) = ("a".repeat(7), "a".repeat(65));
    for (id, taken) in [
        (shortest.as_str(), true),
        (&longest, true),
        (&too_short, false),
        (&too_long, false),
        ("", false),
        ("abcdefg/h", false),
        ("abcd efgh", false),
        ("abcdefgh\u{e9}", false),
    ] {
        let reply = server.ask("GET", "/view", &[("X-Request-Id", id)], b"").await;
        let own = reply.field("x-request-id");
        assert_eq!(own == id, taken, "{id}: {own}");
        assert_eq!(reply.view().field("x-request-id"), Some(own));
        assert!((8..=64).contains(&own.len()), "{own}");
    }
}

#[tokio::test]
async fn an_answer_keeps_its_fields_less_what_is_the_server_s_business() {
    let server = Setup::scripted().start().await;
    let given = [
        "Set-Cookie=a",
        "Set-Cookie=b",
        "X-App=1",
        "Server=app",
        "Cache-Control=private",
        "Date=Mon,01Jan1990",
        "Rip-Reloads=1",
        "Rip-Secret=1",
        "Keep-Alive=5",
        "Proxy-Connection=close",
        "Connection=X-Hop",
        "X-Hop=1",
        "Upgrade=x",
        "Trailer=x",
        "TE=x",
        "X-Request-Id=the-app-s-own-idea",
    ];
    let reply = server.get(&format!("/fields?{}", given.join("&"))).await;
    let cookies: Vec<_> = reply.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a", "b"]);
    assert_eq!(
        (reply.field("x-app"), reply.field("server"), reply.field("cache-control")),
        ("1", "app", "private")
    );
    for name in [
        "rip-reloads",
        "rip-secret",
        "keep-alive",
        "proxy-connection",
        "connection",
        "x-hop",
        "upgrade",
        "trailer",
        "te",
    ] {
        assert_eq!(reply.field(name), "", "{name}");
    }
    assert_ne!(reply.field("date"), "Mon,01Jan1990");
    assert_eq!(
        reply.field("x-request-id"),
        server.record(&format!("/fields?{}", given.join("&"))).await["id"]
    );
    assert_eq!(reply.field("x-rip-reason"), "");
}

#[tokio::test]
async fn hsts_is_sent_over_tls_only_and_as_configured() {
    let value = |setup: Setup| async {
        let server = setup.start().await;
        let of_app = server.get("/").await.field("strict-transport-security").to_owned();
        let of_server = server.ask("GET", "/", &[("Host", "nobody.example")], b"").await;
        assert_eq!(of_server.field("strict-transport-security"), of_app, "on the server's own answers too");
        of_app
    };
    assert_eq!(value(Setup::scripted().tls()).await, "");
    assert_eq!(value(Setup::scripted().words(&["--hsts"])).await, "", "plain HTTP");
    assert_eq!(value(Setup::scripted().tls().words(&["--hsts"])).await, "max-age=31536000");
    let config = "tls.hsts = true\ntls.hsts_max_age = \"1h\"\ntls.hsts_subdomains = true";
    assert_eq!(value(Setup::scripted().tls().server(config)).await, "max-age=3600; includeSubDomains");
}

#[tokio::test]
async fn our_own_errors_say_little_in_the_form_the_client_prefers() {
    let server = Setup::scripted().start().await;
    for (accept, kind) in [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/json", "application/json"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
        ("image/png", "text/plain; charset=utf-8"),
    ] {
        let fields = [("Host", "nobody.example"), ("Accept", accept)];
        let reply = server.ask("GET", "/secret/path?token=1", &fields, b"").await;
        assert_eq!((reply.status, reply.reason(), reply.field("content-type")), (404, "unknown-host", kind));
        assert_eq!(reply.field("cache-control"), "no-store");
        assert_eq!(reply.field("server"), "");
        let id = reply.field("x-request-id");
        assert!(reply.text().contains(id), "{}", reply.text());
        assert!(reply.body.len() < 500, "{}", reply.text());
        for telling in [env!("CARGO_PKG_VERSION"), "secret", "nobody.example", "/"] {
            let text = reply.text().replace("</", "<");
            assert!(!text.contains(telling), "{telling} in {text}");
        }
    }
    let json =
        server.ask("GET", "/", &[("Host", "nobody.example"), ("Accept", "application/json")], b"").await;
    let error: serde_json::Value = json.json();
    assert_eq!((&error["error"]["status"], &error["error"]["reason"]), (&404.into(), &"unknown-host".into()));
}

#[tokio::test]
async fn a_cookie_that_is_named_in_connection_does_not_pass() {
    let server = Setup::scripted().start().await;
    let fields = [("Connection", "close, cookie"), ("Cookie", "a=b"), ("Cookie", "c=d")];
    assert_eq!(server.ask("GET", "/view", &fields, b"").await.view().field("cookie"), None);
}
