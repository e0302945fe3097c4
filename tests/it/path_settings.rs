//! Settings for some paths of an app, and who may ask: by the longest prefix, in every spelling, before anything is
//! read.

use std::fs;

use crate::support::client::Http2;
use crate::support::ctl::rip_server;
use crate::support::{Conn, Server, Setup, folder_with};

/// Status and reason, by both ways of HTTP/1 and over HTTP/2 where there is TLS.
async fn answers(server: &Server, path: &str) -> (u16, String) {
    let mut seen = Vec::new();
    for more in ["", "TE: trailers\r\n"] {
        let mut conn = server.connect().await;
        conn.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")).await;
        let reply = conn.reply("GET").await;
        seen.push((reply.status, reply.reason().to_owned()));
    }
    if server.is_tls() {
        let reply = Http2::connect(server.port(), "localhost").await.get(path).await;
        seen.push((reply.status, reply.reason().to_owned()));
    }
    assert!(seen.windows(2).all(|two| two[0] == two[1]), "{path}: {seen:?}");
    seen.remove(0)
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_around_what_is_denied() {
    let rules = "[route.\"/admin\"]\ndeny = true\n[route.\"/admin/open\"]\ndeny = false\n[route.\"/x/y\"]\ndeny = true\n";
    let server = Setup::scripted().tls().rules(rules).start().await;
    for (path, status, reason) in [
        ("/", 200, ""),
        ("/admin", 403, "forbidden"),
        ("/admin/", 403, "forbidden"),
        ("/admin/x?open", 403, "forbidden"),
        ("/admin/opened", 403, "forbidden"),
        ("/%61dmin", 403, "forbidden"),
        ("/%61%64%6D%69%6e/x", 403, "forbidden"),
        ("/admin/open", 404, ""),
        ("/admin/%6fpen/x", 404, ""),
        ("/administrator", 404, ""),
        ("/view", 200, ""),
        ("/view/a%2Fb;c//d", 200, ""),
        ("/ADMIN", 400, "malformed"),
        ("/Admin/x", 400, "malformed"),
        ("/admin/OPEN", 400, "malformed"),
        ("//admin", 400, "malformed"),
        ("/admin%2Fx", 400, "malformed"),
        ("/admin;x", 400, "malformed"),
        ("/%2561dmin", 400, "malformed"),
        ("/view/../admin", 400, "malformed"),
        ("/view/..;/admin", 400, "malformed"),
        ("/view/%2e%2e/admin", 400, "malformed"),
        ("/x//y", 400, "malformed"),
        ("/x/%5Cy", 400, "malformed"),
    ] {
        assert_eq!(answers(&server, path).await, (status, reason.to_owned()), "{path}");
    }
    let line = server.record("/admin/x?open").await;
    assert_eq!((&line["reason"], &line["app"]), (&"forbidden".into(), &"scripted".into()));
    let targets = server.meeting.targets();
    assert!(
        !targets.iter().any(|target| target.starts_with("/admin/x") || target == "/admin"),
        "{targets:?}"
    );
}

#[tokio::test]
async fn networks_are_those_of_the_client_that_a_trusted_proxy_names() {
    let rules = "allow = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\ndeny = [\"10.9.0.0/16\"]\n\
                 [route.\"/open\"]\nallow = []\n[route.\"/office\"]\nallow = [\"192.0.2.7\"]\n";
    let trusted = "trusted_proxies = [\"127.0.0.2\"]";
    let server = Setup::scripted().server(trusted).rules(rules).start().await;
    for (from, named, path, admitted) in [
        ([127, 0, 0, 1], None, "/view", true),
        ([127, 0, 0, 1], Some("192.0.2.1"), "/view", true),
        ([127, 0, 0, 2], Some("192.0.2.1"), "/view", false),
        ([127, 0, 0, 2], Some("10.1.2.3"), "/view", true),
        ([127, 0, 0, 2], Some("10.9.2.3"), "/view", false),
        ([127, 0, 0, 2], Some("192.0.2.1, 10.1.2.3"), "/view", true),
        ([127, 0, 0, 2], Some("10.1.2.3, 192.0.2.1"), "/view", false),
        ([127, 0, 0, 2], Some("2001:db8::1"), "/view", false),
        ([127, 0, 0, 2], Some("2001:db8::1"), "/open", true),
        ([127, 0, 0, 2], Some("10.9.2.3"), "/open", false),
        ([127, 0, 0, 2], Some("192.0.2.7"), "/office", true),
        ([127, 0, 0, 1], None, "/office", false),
    ] {
        let mut conn = Conn::plain_from(from, server.port()).await;
        let field = named.map(|named| format!("X-Forwarded-For: {named}\r\n")).unwrap_or_default();
        conn.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n")).await;
        let reply = conn.reply("GET").await;
        assert_eq!(reply.status != 403, admitted, "{from:?} {named:?} {path}");
    }
}

#[tokio::test]
async fn who_may_not_ask_is_told_before_the_body_and_the_queue() {
    let server = Setup::scripted().rules("[route.\"/no\"]\ndeny = true").start().await;
    server.ctl(&["pause", "localhost"]).await.expect(0);
    let mut conn = server.connect().await;
    let head =
        "POST /no HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n";
    conn.send(head).await;
    let reply = conn.reply("POST").await;
    assert_eq!((reply.status, reply.reason(), reply.field("connection")), (403, "forbidden", "close"));
    server.ctl(&["resume", "localhost"]).await.expect(0);
}

#[tokio::test]
async fn limits_of_a_path_stand_in_place_of_the_app_s_and_the_longest_prefix_wins() {
    let server = Setup::scripted()
        .server("[[apps]]\npath = \"scripted\"\nmax_body = 10\n[apps.route.\"/echo\"]\nmax_body = 100\n[apps.route.\"/echo/more\"]\nmax_body = 1000\n")
        .rules("[route.\"/hang\"]\ntimeouts.request = \"200ms\"\n")
        .start()
        .await;
    for (path, length, status) in [
        ("/digest", 10, 200),
        ("/digest", 11, 413),
        ("/echo", 100, 200),
        ("/echo", 101, 413),
        ("/echo/mor", 101, 413),
        ("/echo/more/x", 1000, 200),
        ("/echo/more", 1001, 413),
        ("/%65cho/more", 1000, 404),
        ("/%65cho/more", 1001, 413),
    ] {
        let reply = server.post(path, &vec![b'x'; length]).await;
        assert_eq!(reply.status, status, "{path} {length}");
    }
    let reply = server.get("/hang").await;
    assert_eq!((reply.status, reply.reason()), (504, "worker-timeout"));
}

#[tokio::test]
async fn a_deploy_takes_tables_in_and_a_table_may_stream() {
    let server = Setup::scripted().rules("timeouts.request = \"60s\"").start().await;
    assert_eq!(server.get("/view").await.status, 200);
    let own = server.root().join("scripted/rip.toml");
    let text = fs::read_to_string(&own).unwrap();
    fs::write(&own, format!("{text}\n[route.\"/view\"]\ndeny = true\n[route.\"/duplex\"]\nstream = true\n"))
        .unwrap();
    server.ctl(&["deploy"]).await.expect(0);
    assert_eq!(server.get("/view").await.reason(), "forbidden");
    let mut conn = server.connect().await;
    conn.send("POST /duplex?name=all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhe").await;
    conn.head().await;
    assert_eq!(conn.chunk().await.as_deref(), Some(&b"begun\n"[..]), "before the body's end");
    conn.send("llo").await;
    server.meeting.reached("all").await;
}

#[tokio::test]
async fn check_shows_tables_and_wrong_ones_are_told_with_their_place() {
    let home = folder_with(&[("app/index.html", "x")]);
    let check = async |own: &str| {
        fs::write(home.path().join("app/rip.toml"), own).unwrap();
        rip_server(home.path(), &["check", "./app", "http"]).await
    };
    let shown = check("deny = ['192.0.2.0/24']\n[route.'/a']\ndeny = true\n[route.'/a/b']\nallow = ['10.1.2.3/8']\ntimeouts.queue = '3s'\n").await.expect(0).out;
    for (key, value) in [
        ("deny", "192.0.2.0/24"),
        ("route.\"/a\".deny", "0.0.0.0/0, ::/0"),
        ("route.\"/a/b\".allow", "10.0.0.0/8"),
        ("route.\"/a/b\".timeouts.queue", "3s"),
    ] {
        let row = |line: &str| line.split_whitespace().next() == Some(key) && line.contains(value);
        assert!(shown.lines().any(row), "{key}: {shown}");
    }
    for (own, told) in [
        (
            "[route.'/a/']\ndeny = true",
            "rip.toml:1:8: route: read `/a/`, expected a path such as [route.\"/admin\"]",
        ),
        ("[route.'/a/../b']\ndeny = true", "`.` and `..` may not be in it"),
        ("[route.'/%61']\ndeny = true", "without `%`"),
        ("[route.admin]\ndeny = true", "it must begin with `/`"),
        ("[route.'/a']\ndeny = 'some'", "expected networks"),
        ("[route.'/a']\ndeny = 1", "expected networks"),
        ("[route.'/a']\ndney = true", "unknown key `dney`: did you mean `deny`?"),
        ("[route.'/a']\nworkers = 2", "unknown key `workers`: it is the whole app's"),
        ("[route.'/a']\nmax_body = '1G'", "only the server's own config may set it"),
        ("[route.'/a']\ndeny = true\n[route.'/A']\ndeny = false", "in more than case"),
        ("route = true", "expected tables such as [route.\"/admin\"]"),
        ("[route]\n'/a' = true", "expected tables such as [route.\"/admin\"]"),
        ("allow = ['10.0.0.0/33']", "expected networks"),
    ] {
        let wrong = check(own).await.expect(2);
        assert!(wrong.err.contains(told), "{own}: {wrong:?}");
    }
}
