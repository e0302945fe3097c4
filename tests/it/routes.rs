//! Several apps under one host, by the path: which app a path leads to in whatever way it is spelled, what workers see
//! of it, and what people can do with one route alone.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rustix::process::Signal;

use crate::support::client::{Http2, whole};
use crate::support::ctl::{rip_server, rip_serverctl};
use crate::support::{Conn, Reply, Server, Setup, folder_with, has, until};

/// The scripted app at `a.example/blog`, a site at `a.example`, another one at `a.example/blog/docs`.
async fn three_apps(setup: Setup) -> Server {
    let server = setup.rules("hosts = [\"a.example/blog\"]").start().await;
    for (route, name) in [("a.example", "site"), ("a.example/blog/docs", "docs")] {
        let app = site(&server, name);
        server.ctl(&["add", route, "--app", app.to_str().unwrap()]).await.expect(0);
    }
    let ready = || async { server.status().await.apps.iter().all(|app| app.workers.ready > 0) };
    until("all apps serve", ready).await;
    server
}

/// A static site that says its name for every path.
fn site(server: &Server, name: &str) -> PathBuf {
    let folder = server.root().join(name);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("index.html"), format!("the {name}")).unwrap();
    fs::write(folder.join("rip.toml"), "static = { spa = true }\n").unwrap();
    folder
}

/// The answers for a path: by the quick way of HTTP/1, by hyper's, and over HTTP/2.
async fn in_every_way(server: &Server, host: &str, path: &str) -> [Reply; 3] {
    let mut replies = Vec::new();
    for more in ["", "TE: trailers\r\n"] {
        let mut conn = Conn::tls(server.port(), host).await;
        conn.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n{more}\r\n")).await;
        replies.push(conn.reply("GET").await);
    }
    let mut conn = Http2::connect(server.port(), host).await;
    let uri = http::Uri::builder().scheme("https").authority(host).path_and_query(path).build().unwrap();
    let request = Request::get(uri).header("accept", "text/html").body(Full::<Bytes>::default()).unwrap();
    replies.push(whole(conn.send(request).await.unwrap()).await.unwrap());
    replies.try_into().unwrap()
}

/// The part that answered, in a word.
fn who(reply: &Reply) -> &str {
    match (reply.status, reply.reason()) {
        (_, "") if reply.headers.contains_key("x-worker-pid") => "blog",
        (200, "") => reply.text().trim_start_matches("the "),
        (400, "malformed") => "refused",
        (404, "unknown-path") => "nobody",
        _ => panic!("{reply:?}"),
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_around_the_longest_prefix() {
    let server = three_apps(Setup::scripted().tls()).await;
    for (path, app) in [
        ("/", "site"),
        ("/x?blog=/blog", "site"),
        ("/blog", "blog"),
        ("/blog/", "blog"),
        ("/blog/view?x=%2F..", "blog"),
        ("/blog?x", "blog"),
        ("/blogger", "site"),
        ("/blo", "site"),
        ("/BLOG", "site"),
        ("/blog/docs", "docs"),
        ("/blog/docs/deep/x", "docs"),
        ("/blog/docsx", "blog"),
        ("/%62log/x", "blog"),
        ("/%62%6C%6f%67", "blog"),
        ("/blog/%64ocs", "docs"),
        ("/blog/a%2Fb", "blog"),
        ("/wiki/a%2Fb", "site"),
        ("/wiki//blog", "site"),
        ("/blog/../admin", "refused"),
        ("/x/../blog", "refused"),
        ("/blog/./x", "refused"),
        ("/blog/%2e%2e/", "refused"),
        ("/blog/.%2E/x", "refused"),
        ("/x/..;/blog", "refused"),
        ("/x%2f..%2fblog", "refused"),
        ("/x%5c..%5cblog", "refused"),
        ("//blog", "refused"),
        ("/blog%2Fx", "refused"),
        ("/blog/docs%2fx", "refused"),
        ("/blog;x", "refused"),
        ("/%2562log", "refused"),
        ("/x/%00", "refused"),
        ("/x/%c0%ae", "refused"),
        ("/x/%zz", "refused"),
    ] {
        for (way, reply) in in_every_way(&server, "a.example", path).await.iter().enumerate() {
            assert_eq!(who(reply), app, "{path} in way {way}");
        }
    }
    server.meeting.assert_no_violations();
    let seen = server.meeting.targets();
    assert!(seen.iter().filter(|target| *target == "/%62log/x").count() == 3, "as it was sent: {seen:?}");
}

#[tokio::test]
async fn a_host_without_a_route_for_the_path_is_404_and_one_without_others_is_as_ever() {
    let server = Setup::scripted().rules("hosts = [\"a.example/view\", \"b.example\"]").start().await;
    let ask = async |host: &str, path: &str| server.ask("GET", path, &[("Host", host)], b"").await;
    assert_eq!(who(&ask("a.example", "/view").await), "blog");
    for path in ["/", "/viewer", "/VIEW", "/server"] {
        assert_eq!(who(&ask("a.example", path).await), "nobody", "{path}");
    }
    assert_eq!(who(&ask("a.example", "/x/../view").await), "refused");
    for path in ["/x/../view", "//view", "/view%2Fx", "/%zz"] {
        assert_eq!(who(&ask("b.example", path).await), "blog", "{path}");
    }
    let mut conn = server.connect().await;
    for (host, path, app) in [
        ("a.example", "/view", "blog"),
        ("a.example", "/", "nobody"),
        ("b.example", "/", "blog"),
        ("a.example", "/", "nobody"),
        ("a.example", "/view", "blog"),
    ] {
        conn.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(who(&conn.reply("GET").await), app, "{host}{path} over a connection that stays open");
    }
    conn.send("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert_eq!(who(&conn.reply("OPTIONS").await), "nobody");
}

#[tokio::test]
async fn with_strip_workers_see_what_is_left_and_are_told_what_is_not() {
    let server = Setup::scripted()
        .tls()
        .rules("hosts = [\"a.example/my/blog\", \"b.example\"]\nstrip = true\nstream = [\"/echo\"]")
        .start()
        .await;
    for (path, target) in [
        ("/my/blog/view", "/view"),
        ("/my/blog/view?a=/my/blog", "/view?a=/my/blog"),
        ("/m%79/blog/view/%78", "/view/%78"),
        ("/my/blog/view//x", "/view//x"),
    ] {
        for reply in in_every_way(&server, "a.example", path).await {
            let view = reply.view();
            assert_eq!((&*view.target, view.all("x-forwarded-prefix")), (target, vec!["/my/blog"]), "{path}");
        }
    }
    for path in ["/my/blog", "/my/blog/", "/my/blog?"] {
        for reply in in_every_way(&server, "a.example", path).await {
            assert_eq!(reply.text(), "hello from the worker\n", "{path}");
        }
    }
    for path in ["/my/blog//evil.example", "/my/blog/%5C", "/my/blog/\\evil.example"] {
        let refused = path != "/my/blog/%5C";
        for reply in in_every_way(&server, "a.example", path).await {
            assert_eq!(reply.reason(), if refused { "malformed" } else { "" }, "{path}");
        }
    }
    let forged = [("Host", "a.example"), ("X-Forwarded-Prefix", "/evil"), ("X-Forwarded-Prefix", "/more")];
    let view = server.ask("GET", "/my/blog/view", &forged, b"").await.view();
    assert_eq!(view.all("x-forwarded-prefix"), ["/my/blog"]);
    let whole = [("Host", "b.example"), ("X-Forwarded-Prefix", "/evil")];
    let view = server.ask("GET", "/view", &whole, b"").await.view();
    assert_eq!((&*view.target, view.all("x-forwarded-prefix")), ("/view", vec![]));
    let sent = server.ask("POST", "/my/blog/echo", &[("Host", "a.example")], b"streamed").await;
    assert_eq!(sent.text(), "streamed");
    let line = server.record("/my/blog/echo").await;
    assert_eq!((&line["host"], &line["status"]), (&"a.example".into(), &200.into()), "as the client asked");
}

#[tokio::test]
async fn what_a_trusted_proxy_has_taken_away_stands_before_what_is_taken_here() {
    let server = Setup::scripted()
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .rules("hosts = [\"a.example/blog\", \"b.example\"]\nstrip = true")
        .start()
        .await;
    for (host, said, told) in [
        ("a.example", "/eu", vec!["/eu/blog"]),
        ("a.example", "//evil.example", vec!["/blog"]),
        ("a.example", "javascript:alert(1)", vec!["/blog"]),
        ("b.example", "/eu", vec!["/eu"]),
        ("b.example", "/eu/../x", vec![]),
    ] {
        let path = if host == "a.example" { "/blog/view" } else { "/view" };
        let fields = [("Host", host), ("X-Forwarded-Prefix", said)];
        let view = server.ask("GET", path, &fields, b"").await.view();
        assert_eq!((&*view.target, view.all("x-forwarded-prefix")), ("/view", told), "{host} {said}");
    }
}

#[tokio::test]
async fn workers_of_h2c_are_told_the_prefix_too() {
    if !has("node", "nodejs") {
        return;
    }
    let server = Setup::scripted().h2c().rules("hosts = [\"a.example/rpc\"]\nstrip = true").start().await;
    let fields = [("Host", "a.example"), ("X-Forwarded-Prefix", "/evil")];
    assert_eq!(server.ask("GET", "/rpc", &fields, b"").await.status, 200);
    let views = server.meeting.views();
    assert_eq!((&*views[0].target, views[0].all("x-forwarded-prefix")), ("/", vec!["/rpc"]));
}

#[tokio::test]
async fn each_route_is_paused_stopped_and_removed_alone_and_kept_across_restarts() {
    let mut server = three_apps(Setup::scripted()).await;
    let fields = [("Host", "a.example"), ("Accept", "text/html")];
    let ask = async |server: &Server, path| server.ask("GET", path, &fields, b"").await;
    let page = server.root().join("page.html");
    fs::write(&page, "<h1>Writing</h1>").unwrap();
    let page = page.to_str().unwrap();
    server.ctl(&["maintenance", "a.example/blog", "--page", page]).await.expect(0);
    let stopped = ask(&server, "/blog/x").await;
    assert_eq!((stopped.status, stopped.text()), (503, "<h1>Writing</h1>"));
    assert_eq!(who(&ask(&server, "/").await), "site");
    assert_eq!(who(&ask(&server, "/blog/docs").await), "docs");
    let list = server.ctl(&["list"]).await.expect(0).out;
    for line in
        ["a.example/blog       scripted  config  stopped", "a.example/blog/docs  docs      added   running"]
    {
        assert!(list.contains(line), "{list}");
    }

    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
    let server = Setup::scripted().rules("hosts = [\"a.example/blog\"]").start_in(server.kill()).await;
    assert_eq!(ask(&server, "/blog").await.status, 503);
    server.ctl(&["resume", "a.example/blog"]).await.expect(0);
    assert_eq!(who(&ask(&server, "/blog").await), "blog");

    server.ctl(&["pause", "a.example/blog/docs"]).await.expect(0);
    let mut waiting = server.connect().await;
    waiting.send("GET /blog/docs HTTP/1.1\r\nHost: a.example\r\nAccept: text/html\r\n\r\n").await;
    let queued = || async {
        server.status().await.apps.iter().any(|app| app.app.as_str() == "docs" && app.queued == 1)
    };
    until("it waits", queued).await;
    assert_eq!(who(&ask(&server, "/blog/x").await), "blog");
    server.ctl(&["resume", "a.example/blog/docs"]).await.expect(0);
    assert_eq!(who(&waiting.reply("GET").await), "docs");

    server.ctl(&["remove", "a.example"]).await.expect(0);
    assert_eq!(who(&ask(&server, "/").await), "nobody");
    server.ctl(&["remove", "a.example/blog/docs"]).await.expect(0);
    assert_eq!(who(&ask(&server, "/blog/docs").await), "blog");
    let taken = server.ctl(&["add", "a.example/blog", "--app", page]).await.expect(5);
    assert!(taken.err.contains("`a.example/blog` belongs to the app `scripted`"), "{taken:?}");
    let of_config = server.ctl(&["remove", "a.example/blog"]).await.expect(5);
    assert!(of_config.err.contains("comes with the settings"), "{of_config:?}");
    server.ctl(&["remove", "a.example/x"]).await.expect(4);
}

#[tokio::test]
async fn an_app_that_cannot_be_read_is_503_at_its_route_alone() {
    let server = three_apps(Setup::scripted()).await;
    let folder = server.kill();
    fs::remove_dir_all(folder.path().join("docs")).unwrap();
    let setup = Setup::scripted().rules("hosts = [\"a.example/blog\"]").without_workers();
    let server = setup.start_in(folder).await;
    let ask = |path| server.ask("GET", path, &[("Host", "a.example"), ("Accept", "text/html")], b"");
    until("the others serve", || async { ask("/").await.status == 200 && ask("/blog/").await.status != 503 })
        .await;
    assert_eq!((ask("/blog/docs/x").await.reason(), who(&ask("/").await)), ("no-worker", "site"));
}

#[tokio::test]
async fn a_wildcard_s_routes_are_for_names_that_are_not_there_themselves() {
    let server = Setup::scripted().rules("hosts = [\"*.example/blog\", \"a.example/x\"]").start().await;
    for (host, path, app) in [
        ("b.example", "/blog", "blog"),
        ("b.example", "/x", "nobody"),
        ("a.example", "/x", "blog"),
        ("a.example", "/blog", "nobody"),
    ] {
        let reply = server.ask("GET", path, &[("Host", host)], b"").await;
        assert_eq!(who(&reply), app, "{host}{path}");
    }
    let warning = "*.example/blog is not for a.example, which has routes of its own";
    server.output().says(warning).await;
}

#[tokio::test]
async fn one_certificate_is_the_host_s_and_another_app_of_it_is_not_misdirected() {
    let server = three_apps(Setup::scripted().tls()).await;
    let only = Conn::tls(server.port(), "localhost").await;
    drop(only);
    let certificates = server.status().await.certificates;
    let of_host = certificates.iter().filter(|cert| cert.names.iter().any(|name| name == "a.example"));
    assert!(of_host.count() <= 1, "{certificates:?}");
    let mut conn = Conn::tls(server.port(), "a.example").await;
    for (path, app) in [("/blog", "blog"), ("/", "site"), ("/blog/docs", "docs")] {
        conn.send(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nAccept: text/html\r\n\r\n")).await;
        assert_eq!(who(&conn.reply("GET").await), app);
    }
    let mut conn = Conn::tls(server.port(), "localhost").await;
    conn.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert_eq!(conn.reply("GET").await.reason(), "misdirected", "the site is not behind localhost");
    let mut conn = Conn::tls(server.port(), "localhost").await;
    conn.send("GET /blog HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert_eq!(who(&conn.reply("GET").await), "blog", "which is behind localhost, too");
}

#[tokio::test]
async fn what_is_no_route_is_one_error_that_says_what_would_be_right() {
    let home = folder_with(&[("app/index.html", "x")]);
    for (prefix, right) in [
        ("/", "leave it out"),
        ("/blog/", "must not end with `/`"),
        ("//blog", "no two `/`"),
        ("/../admin", "`.` and `..` may not be in it"),
        ("/%62log", "without `%`"),
        ("/blog?x", "before the query"),
        ("/blog/*", "leave out `*`"),
        ("/a b", "only letters"),
    ] {
        let route = format!("a.example{prefix}");
        let added = rip_serverctl(home.path(), &["add", &route, "--app", "app"]).await.expect(2);
        let ran = rip_server(home.path(), &["check", &format!("./app@{route}")]).await.expect(2);
        fs::write(home.path().join("app/rip.toml"), format!("hosts = [{route:?}]\n")).unwrap();
        let checked = rip_server(home.path(), &["check", "./app"]).await.expect(2);
        fs::remove_file(home.path().join("app/rip.toml")).unwrap();
        for told in [added, ran, checked] {
            assert!(told.err.contains(right) && told.err.contains(prefix), "{route}: {told:?}");
        }
    }
}

#[tokio::test]
async fn routes_that_are_said_twice_or_hidden_are_told_by_check() {
    let home = folder_with(&[
        ("site/index.html", "site"),
        ("site/rip.toml", "hosts = ['a.example', 'a.example/x', 'a.example/x']"),
        ("shop/index.html", "shop"),
        ("shop/rip.toml", "hosts = ['a.example/x']"),
        ("two.toml", "app = 'site'\n[[apps]]\npath = 'shop'\n"),
    ]);
    let told = rip_server(home.path(), &["check", "--config=two.toml", "http"]).await.expect(0);
    for line in ["hosts of site names a.example/x twice", "hosts of shop: a.example/x leads to site already"]
    {
        assert!(told.out.contains(&format!("warning: {line}\n")), "{told:?}");
    }
}

#[tokio::test]
async fn the_command_line_takes_a_route_where_a_host_can_stand() {
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/hello");
    let server = Setup::app(format!("{}@hello/a,b.example/b", app.display())).start().await;
    for (host, path, reason) in [
        ("hello.local", "/a", ""),
        ("hello.local", "/b", "unknown-path"),
        ("b.example", "/b/c", ""),
        ("b.example", "/", "unknown-path"),
        ("localhost", "/a", ""),
    ] {
        let reply = server.ask("GET", path, &[("Host", host)], b"").await;
        assert_eq!(reply.reason(), reason, "{host}{path}");
    }
    let socket = format!("--runtime-dir={}", server.root().join("run").display());
    rip_server(server.root(), &["add", "c.example/c", &socket]).await.expect(0);
    let reason = async || server.ask("GET", "/c", &[("Host", "c.example")], b"").await.reason().to_owned();
    assert_eq!(reason().await, "");
    rip_server(server.root(), &["remove", "c.example/c", &socket]).await.expect(0);
    assert_eq!(reason().await, "unknown-host");
}

const WSGI: &str = "import json\n\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    \
     return [json.dumps([environ['SCRIPT_NAME'], environ['PATH_INFO']]).encode()]\n";

#[tokio::test]
async fn a_wsgi_application_is_told_its_prefix_as_script_name() {
    if !has("gunicorn", "gunicorn") {
        return;
    }
    for command in ["", "command = [\"gunicorn\", \"app:app\"]\nlisten = \"fd\"\n"] {
        let rules = format!("{command}hosts = [\"a.example/my/blog\", \"b.example\"]\nstrip = true\n");
        let app = folder_with(&[("app.py", WSGI), ("rip.toml", &rules)]);
        let server = Setup::app(app.path()).words(&["w:1"]).start().await;
        for (host, path, told) in [
            ("a.example", "/my/blog/x%20y", ["/my/blog", "/x y"]),
            ("a.example", "/my/blog", ["/my/blog", "/"]),
            ("b.example", "/my/blog", ["", "/my/blog"]),
        ] {
            let fields = [("Host", host), ("X-Forwarded-Prefix", "/evil"), ("Script-Name", "/evil")];
            let reply = server.ask("GET", path, &fields, b"").await;
            assert_eq!(reply.json::<[String; 2]>(), told, "{host}{path} {command}");
        }
    }
}
