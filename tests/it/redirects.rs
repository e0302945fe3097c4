//! Where an app's settings lead clients instead of to a worker, and the header fields that they change on the way there
//! and back.

use std::fs;

use crate::support::client::Http2;
use crate::support::ctl::rip_server;
use crate::support::{Conn, Server, Setup, folder_with};

const REDIRECTS: &str = "hosts = [\"a.example/app\", \"b.example\"]\nstrip = true\n[redirect]\n\
     \"www.example.com\" = \"https://example.com\"\n\"/old\" = \"/new\"\n\"/old/deep\" = \"https://c.example/x\"\n\"/\" = \"/start/\"\n";

async fn location(server: &Server, method: &str, host: &str, path: &str) -> (u16, String) {
    let reply = server.ask(method, path, &[("Host", host)], b"").await;
    assert_eq!(reply.reason(), "", "{reply:?}");
    (reply.status, reply.field("location").to_owned())
}

#[tokio::test]
async fn hosts_and_paths_are_led_elsewhere_with_the_rest_of_the_path_and_the_query() {
    let server = Setup::scripted().rules(REDIRECTS).start().await;
    for (method, host, path, status, to) in [
        ("GET", "www.example.com", "/", 301, "https://example.com/"),
        ("GET", "www.example.com", "/a%20b/../c?d=e", 301, "https://example.com/a%20b/../c?d=e"),
        ("HEAD", "www.example.com", "//x", 301, "https://example.com//x"),
        ("POST", "www.example.com", "/old", 308, "https://example.com/old"),
        ("GET", "b.example", "/old", 301, "/new"),
        ("GET", "b.example", "/old?a=b", 301, "/new?a=b"),
        ("PUT", "b.example", "/old/x%2Fy?a", 308, "/new/x%2Fy?a"),
        ("GET", "b.example", "/%6fld/x", 301, "/new/x"),
        ("GET", "b.example", "/old/deep/y", 301, "https://c.example/x/y"),
        ("GET", "b.example", "/older", 404, ""),
        ("GET", "b.example", "/", 301, "/start/"),
        ("GET", "b.example", "/view", 200, ""),
        ("GET", "a.example", "/app/old/x", 301, "/app/new/x"),
        ("GET", "a.example", "/app", 301, "/app/start/"),
        ("GET", "a.example", "/app/old/deep", 301, "https://c.example/x"),
    ] {
        assert_eq!(
            location(&server, method, host, path).await,
            (status, to.to_owned()),
            "{method} {host}{path}"
        );
    }
    for path in ["/old//evil.example", "//old", "/x/../old", "/old%2Fx"] {
        let reply = server.ask("GET", path, &[("Host", "b.example")], b"").await;
        assert_eq!((reply.status, reply.reason()), (400, "malformed"), "{path}");
    }
    assert_eq!(server.meeting.targets(), ["/older", "/view"], "no other request came to a worker");
    let hosts = server.ctl(&["list"]).await.expect(0).out;
    assert!(hosts.contains("www.example.com"), "{hosts}");
}

#[tokio::test]
async fn a_redirected_host_has_a_certificate_and_leads_over_http2_too() {
    let server = Setup::scripted().tls().rules(REDIRECTS).start().await;
    let mut conn = Http2::connect(server.port(), "www.example.com").await;
    let uri = "https://www.example.com/x?y";
    let request = http::Request::get(uri).body(http_body_util::Full::default()).unwrap();
    let reply = conn.send(request).await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), &reply.headers()["location"]),
        (301, &"https://example.com/x?y".parse().unwrap())
    );
    let status = server.status().await;
    let names: Vec<_> = status.certificates.iter().flat_map(|certificate| &certificate.names).collect();
    assert!(names.iter().any(|name| *name == "www.example.com"), "{names:?}");
}

#[tokio::test]
async fn who_may_not_ask_is_not_led_anywhere_and_a_body_is_not_waited_for() {
    let rules = "redirect = { \"/old\" = \"/new\" }\n[route.\"/old/secret\"]\ndeny = true\n";
    let server = Setup::scripted().rules(rules).start().await;
    assert_eq!(server.get("/old/secret").await.reason(), "forbidden");
    let mut conn = server.connect().await;
    conn.send("POST /old HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n").await;
    let reply = conn.reply("POST").await;
    assert_eq!((reply.status, reply.field("location")), (308, "/new"));
}

const HEADERS: &str = "[headers]\nset = { X-Frame-Options = \"DENY\", X-Worker-Pid = \"hidden\" }\nadd = { Vary = \"Accept\" }\n\
     remove = [\"Content-Type\"]\n\
     [headers.request]\nset = { X-Site = \"main\", Authorization = \"Bearer s3cret\" }\nadd = { Via = \"1.1 edge\" }\nremove = [\"Cookie\"]\n\
     [route.\"/view/deep\".headers]\nset = { X-Deep = \"1\", Content-Type = \"text/deep\" }\nremove = [\"X-Frame-Options\"]\n\
     [route.\"/view/deep\".headers.request]\nset = { Cookie = \"own\" }\nremove = [\"X-Site\"]\n";

#[tokio::test]
async fn header_fields_are_set_added_and_removed_on_both_ways() {
    let server = Setup::scripted().tls().rules(HEADERS).start().await;
    let fields = [
        ("Cookie", "a=b"),
        ("X-Site", "forged"),
        ("Via", "1.0 client"),
        ("Connection", "X-Site, Via, X-Gone"),
        ("X-Gone", "1"),
    ];
    let reply = server.ask("GET", "/view", &fields, b"").await;
    let view = reply.view();
    assert_eq!(view.all("x-site"), ["main"]);
    assert_eq!(view.all("authorization"), ["Bearer s3cret"]);
    assert_eq!((view.all("cookie"), view.all("x-gone")), (vec![], vec![]));
    assert_eq!(view.all("via"), ["1.1 edge"], "the client's own was of its connection");
    assert_eq!((reply.field("x-frame-options"), reply.field("x-worker-pid")), ("DENY", "hidden"));
    assert_eq!((reply.field("vary"), reply.field("content-type")), ("Accept", ""));

    let passed = server.ask("GET", "/view", &[("Via", "1.0 client")], b"").await.view();
    assert_eq!(passed.all("via"), ["1.0 client", "1.1 edge"]);

    let mut conn = Http2::connect(server.port(), "localhost").await;
    let reply = conn.get("/view/deep/x").await;
    let view = reply.view();
    assert_eq!((view.all("cookie"), view.all("x-site")), (vec!["own"], vec![]));
    assert_eq!(view.all("authorization"), ["Bearer s3cret"], "what is said for all paths");
    assert_eq!((reply.field("x-deep"), reply.field("content-type")), ("1", "text/deep"));
    assert_eq!((reply.field("x-frame-options"), reply.field("vary")), ("", "Accept"));

    server.ctl(&["maintenance", "localhost"]).await.expect(0);
    let own = server.get("/view").await;
    assert_eq!((own.status, own.field("x-frame-options")), (503, ""), "the server's own answer");
    assert!(own.headers.contains_key("content-type"));
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn wrong_redirects_and_fields_are_told_with_their_place_and_values_are_not_shown() {
    let home = folder_with(&[("app/index.html", "x")]);
    let check = async |own: &str| {
        fs::write(home.path().join("app/rip.toml"), own).unwrap();
        rip_server(home.path(), &["check", "./app", "http"]).await
    };
    let shown = check(HEADERS).await.expect(0).out;
    assert!(shown.contains("headers.request.set") && shown.contains("authorization, x-site"), "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
    let shown = check(REDIRECTS).await.expect(0).out;
    assert!(
        shown.contains("www.example.com to https://example.com, /old/deep to https://c.example/x"),
        "{shown}"
    );
    for (own, told) in [
        ("redirect = { '/a' = '/a/b' }", "rip.toml:1:12: redirect: read"),
        ("redirect = { '/a' = '/b', '/b' = '/a' }", "led in a circle"),
        ("redirect = { 'www.a.example' = '/x' }", "https://example.com"),
        ("redirect = { '/a/' = '/b' }", "must not end with `/`"),
        ("redirect = { '/a' = '//evil.example' }", "no two `/`"),
        ("redirect = { '/a' = 1 }", "expected a table such as"),
        ("redirect = 'https://x.example'", "expected a table such as"),
        (
            "headers.set = { Connection = 'close' }",
            "expected other fields: Connection is of one connection only",
        ),
        ("headers.set = { Content-Length = '1' }", "Content-Length says where a body ends"),
        ("headers.remove = ['Transfer-Encoding']", "is of one connection only"),
        ("headers.request.set = { X-Forwarded-For = '1.2.3.4' }", "X-Forwarded-For is the server's own"),
        ("headers.request.remove = ['Host']", "Host is the server's own"),
        ("headers.set = { 'a b' = 'x' }", "names of header fields"),
        ("headers.set = { X-A = \"a\\nb\" }", "without line ends"),
        ("headers.set = { X-A = 1 }", "X-A as a text"),
        ("headers.sett = { X-A = '1' }", "did you mean `headers.set`?"),
    ] {
        let wrong = check(own).await.expect(2);
        assert!(wrong.err.contains(told), "{own}: {wrong:?}");
    }
}

#[tokio::test]
async fn workers_of_h2c_get_changed_fields_too() {
    if !crate::support::has("node", "nodejs") {
        return;
    }
    let rules = "headers.request.set = { X-Site = \"main\" }\nheaders.set = { X-Frame-Options = \"DENY\" }\n";
    let server = Setup::scripted().h2c().rules(rules).start().await;
    let mut conn = Conn::plain(server.port()).await;
    conn.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Site: forged\r\n\r\n").await;
    let reply = conn.reply("GET").await;
    assert_eq!((reply.status, reply.field("x-frame-options")), (200, "DENY"));
    assert_eq!(server.meeting.views()[0].all("x-site"), ["main"]);
}
