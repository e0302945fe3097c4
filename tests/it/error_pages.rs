//! An app's own pages for what the server answers in its place: for whom, for what, and when they are read.

use std::fs;

use crate::support::client::{Http2, Reply};
use crate::support::ctl::rip_server;
use crate::support::{Server, Setup, folder_with};

const PAGES: &[(&str, &str)] = &[
    ("scripted/errors/403.html", "<h1>not for you</h1>"),
    ("scripted/errors/5xx.html", "<h1>broken</h1>{request_id}<a href='?{request_id}'>"),
    ("scripted/errors/logo.svg", "<svg/>"),
];
const RULES: &str =
    "errors = \"errors\"\n[route.\"/no\"]\ndeny = true\n[route.\"/hang\"]\ntimeouts.request = \"200ms\"\n";

async fn ask(server: &Server, method: &str, path: &str, accept: &str) -> Reply {
    server.ask(method, path, &[("Accept", accept), ("X-Request-Id", "from-a-stranger")], b"").await
}

#[tokio::test]
async fn people_get_the_page_of_the_app_with_the_id_of_their_request() {
    let server = Setup::scripted().rules(RULES).start_in(folder_with(PAGES)).await;
    let html = "text/html,application/xhtml+xml,*/*;q=0.8";
    let denied = ask(&server, "GET", "/no", html).await;
    assert_eq!((denied.status, denied.text(), denied.reason()), (403, "<h1>not for you</h1>", "forbidden"));
    assert_eq!(denied.field("content-type"), "text/html; charset=utf-8");
    assert_eq!(denied.field("cache-control"), "no-store");

    let late = ask(&server, "GET", "/hang", html).await;
    let id = late.field("x-request-id");
    assert_eq!(late.text(), format!("<h1>broken</h1>{id}<a href='?{id}'>"));
    assert_eq!((late.status, late.reason(), id.is_empty()), (504, "worker-timeout", false));

    for accept in ["application/json", "*/*", "text/plain, text/html"] {
        let reply = ask(&server, "GET", "/no", accept).await;
        assert!(reply.status == 403 && !reply.text().contains("not for you"), "{accept}: {reply:?}");
        assert!(reply.text().contains("forbidden"), "{accept}: {reply:?}");
    }
    let head = ask(&server, "HEAD", "/no", html).await;
    assert_eq!((head.status, head.text(), head.field("content-length")), (403, "", "20"));
    let missing = ask(&server, "GET", "/nothing", html).await;
    assert!(missing.status == 404 && missing.reason().is_empty(), "the app's own answer: {missing:?}");
    let fields = [("Host", "elsewhere.example"), ("Accept", html)];
    let unknown = server.ask("GET", "/no", &fields, b"").await;
    assert!(unknown.reason() == "unknown-host" && !unknown.text().contains("not for you"));
}

#[tokio::test]
async fn over_http2_too_and_a_stopped_host_has_the_operators_page_first() {
    let server = Setup::scripted().tls().rules(RULES).start_in(folder_with(PAGES)).await;
    let mut conn = Http2::connect(server.port(), "localhost").await;
    let request = http::Request::get("https://localhost/no").header("accept", "text/html");
    let reply = conn.send(request.body(http_body_util::Full::default()).unwrap()).await.unwrap();
    let reply = crate::support::client::whole(reply).await.unwrap();
    assert_eq!((reply.status, reply.text()), (403, "<h1>not for you</h1>"));

    server.ctl(&["maintenance", "localhost"]).await.expect(0);
    let stopped = ask(&server, "GET", "/view", "text/html").await;
    assert!(stopped.status == 503 && stopped.text().starts_with("<h1>broken</h1>"), "{stopped:?}");
}

#[tokio::test]
async fn pages_are_read_at_a_deploy_and_a_wrong_folder_is_one_clear_error() {
    let server = Setup::scripted().rules(RULES).start_in(folder_with(PAGES)).await;
    let page = server.root().join("scripted/errors/403.html");
    fs::write(&page, "<h1>another</h1>").unwrap();
    assert_eq!(ask(&server, "GET", "/no", "text/html").await.text(), "<h1>not for you</h1>");
    server.ctl(&["deploy"]).await.expect(0);
    assert_eq!(ask(&server, "GET", "/no", "text/html").await.text(), "<h1>another</h1>");
    fs::rename(&page, page.with_file_name("40x.html")).unwrap();
    let deploy = server.ctl(&["deploy"]).await;
    assert!(deploy.code != 0 && deploy.err.contains("40x.html is for no answer"), "{deploy:?}");
    assert_eq!(ask(&server, "GET", "/no", "text/html").await.text(), "<h1>another</h1>", "as it was");

    for (value, files, error) in [
        ("none", &[][..], "`errors` names none, which cannot be read: No such file"),
        ("../x", &[], "must be a folder in the app"),
        ("/etc", &[], "must be a folder in the app"),
        ("e", &[("app/e/x.html", "")], "has no page: pages are called 404.html"),
        ("index.html", &[], "cannot be read: Not a directory"),
        ("e", &[("app/e/500.html/x", "")], "500.html cannot be read"),
    ] {
        let own = format!("errors = {value:?}\n");
        let files = [&[("app/rip.toml", &*own), ("app/index.html", "hello")], files].concat();
        let folder = folder_with(&files);
        let ran = rip_server(folder.path(), &["check", "app"]).await;
        assert!(ran.code != 0 && ran.err.contains(error), "{value}: {ran:?}");
        assert_eq!(ran.err.trim_end().lines().count(), 1, "{ran:?}");
    }
    let folder = folder_with(&[("app/rip.toml", "errors = 1\n"), ("app/index.html", "hello")]);
    let ran = rip_server(folder.path(), &["check", "app"]).await;
    assert!(ran.err.contains("rip.toml:1:10: errors: read `1`, expected a path"), "{ran:?}");
}
