//! Real apps in real runtimes: the demo apps of `tests/apps`, each asked the same things.

use std::collections::BTreeSet;
use std::process::Command;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::whole;
use crate::support::ctl::SERVER;
use crate::support::{Server, Setup, has, skip, soon, tls, until};

/// An app, with the requests that it gets and the answers that it gives.
#[derive(Clone, Copy)]
struct Demo {
    name: &'static str,
    /// The program it needs, and the package that has it.
    needs: (&'static str, &'static str),
    streams: bool,
}

async fn demo(demo: Demo) {
    let (program, package) = demo.needs;
    if !has(program, package) {
        return;
    }
    let server = Setup::demo(demo.name).words(&["w:2", "--reload=none"]).tls().start().await;
    let hello = server.get("/").await;
    assert_eq!((hello.status, hello.text()), (200, format!("hello from {}\n", demo.name).as_str()));
    echoes(&server, demo.name).await;
    let version = server.get("/version").await;
    assert_eq!(version.text(), std::fs::read_to_string(format!("tests/apps/{}/VERSION", demo.name)).unwrap());
    assert_eq!(server.get("/nothing-here").await.status, 404);
    if demo.streams {
        streams(&server).await;
    }
    survives_a_crash(&server, matches!(demo.name, "wsgi" | "django")).await;
}

/// The app tells in its answer what it was told of a request.
async fn echoes(server: &Server, name: &str) {
    let fields = [("Content-Type", "text/plain"), ("X-Custom", "passed"), ("X-Forwarded-For", "6.6.6.6")];
    let body = "the body, ".repeat(20_000);
    let reply = server.ask("POST", "/echo?a=b%20c", &fields, body.as_bytes()).await;
    let seen: Value = reply.json();
    assert_eq!((&seen["method"], &seen["body"]), (&"POST".into(), &body.into()), "{name}");
    let headers: serde_json::Map<_, _> = seen["headers"].as_object().unwrap().clone();
    let field = |name: &str| {
        let found = headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        // Go has a list of values for each.
        found.and_then(|value| value.as_str().or_else(|| value[0].as_str())).map(str::to_owned)
    };
    assert_eq!(field("x-custom").as_deref(), Some("passed"), "{name}");
    assert_eq!(field("x-forwarded-for").as_deref(), Some("127.0.0.1"), "{name}");
    assert_eq!(field("x-forwarded-proto").as_deref(), Some("https"), "{name}");
}

async fn streams(server: &Server) {
    let mut conn = server.connect().await;
    conn.send_get("/stream?n=3&ms=1").await;
    let reply = conn.reply("GET").await;
    assert_eq!(reply.text(), "chunk 0\nchunk 1\nchunk 2\n");
}

/// A GET that kills its worker is asked of a second one, and kills that too; both are replaced: by the server, or by
/// the app's own supervisor, whose process lives on.
async fn survives_a_crash(server: &Server, supervised: bool) {
    let before: BTreeSet<_> = server.worker_pids().await.into_iter().collect();
    let reply = server.get("/crash").await;
    assert_eq!((reply.status, reply.reason()), (502, "worker-died"));
    assert_eq!(server.get("/").await.status, 200, "it waits for the next worker");
    server.await_ready().await;
    if supervised {
        return;
    }
    until("the dead are gone", || async {
        server.worker_pids().await.iter().filter(|pid| before.contains(pid)).count() == 0
    })
    .await;
}

/// A sample whose kind needs nothing but what all are asked: its folder is its test.
#[tokio::test]
async fn each_sample_without_a_test_of_its_own_is_served() {
    let samples = std::fs::read_dir("tests/apps").unwrap().map(|entry| entry.unwrap());
    let names: Vec<_> = samples.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(names.len() > 15, "{names:?}");
    let tests = [
        include_str!("apps.rs"),
        include_str!("chat.rs"),
        include_str!("programs/rails.rs"),
        include_str!("programs/symfony.rs"),
        include_str!("programs/webdav.rs"),
    ];
    for name in names.iter().filter(|name| !tests.concat().contains(&format!("\"{name}\""))) {
        let checked = Command::new(SERVER).args(["check", &format!("tests/apps/{name}")]).output().unwrap();
        let told = String::from_utf8_lossy(&checked.stderr);
        if told.contains("is needed to run") {
            skip(&told);
            continue;
        }
        let server = Setup::demo(name).words(&["w:2", "--reload=none"]).tls().start().await;
        let hello = server.get("/").await;
        assert_eq!((hello.status, hello.text()), (200, format!("hello from {name}\n").as_str()), "{told}");
        survives_a_crash(&server, true).await;
    }
}

#[tokio::test]
async fn a_node_handler_is_served() {
    demo(Demo { name: "node-handler", needs: ("node", "nodejs"), streams: true }).await;
}

#[tokio::test]
async fn a_node_server_is_served() {
    demo(Demo { name: "node-server", needs: ("node", "nodejs"), streams: true }).await;
}

#[tokio::test]
async fn a_php_app_is_served() {
    demo(Demo { name: "php-plain", needs: ("php-cgi", "php-cgi"), streams: true }).await;
}

#[tokio::test]
async fn a_bun_handler_is_served() {
    demo(Demo { name: "bun-handler", needs: ("bun", "bun, of npm"), streams: true }).await;
}

#[tokio::test]
async fn a_node_handler_with_fetch_is_served() {
    demo(Demo { name: "node-fetch", needs: ("node", "nodejs"), streams: false }).await;
}

#[tokio::test]
async fn the_start_script_of_a_package_json_is_served() {
    demo(Demo { name: "package-json", needs: ("node", "nodejs"), streams: false }).await;
}

#[tokio::test]
async fn a_bun_server_is_served() {
    demo(Demo { name: "bun-server", needs: ("bun", "bun, of npm"), streams: false }).await;
}

#[tokio::test]
async fn a_rip_handler_is_served_by_what_bun_preloads() {
    demo(Demo { name: "rip", needs: ("bun", "bun, of npm"), streams: false }).await;
}

#[tokio::test]
async fn a_python_server_is_served() {
    demo(Demo { name: "python-server", needs: ("python3", "python3"), streams: false }).await;
}

#[tokio::test]
async fn a_django_project_is_served() {
    demo(Demo { name: "django", needs: ("django-admin", "django, of PyPI"), streams: true }).await;
}

#[tokio::test]
async fn a_wsgi_app_is_served() {
    demo(Demo { name: "wsgi", needs: ("gunicorn", "gunicorn"), streams: true }).await;
}

#[tokio::test]
async fn an_asgi_app_is_served() {
    demo(Demo { name: "asgi", needs: ("uvicorn", "uvicorn"), streams: true }).await;
}

#[tokio::test]
async fn a_rack_app_is_served() {
    demo(Demo { name: "ruby", needs: ("puma", "puma"), streams: true }).await;
}

#[tokio::test]
async fn a_go_app_is_served() {
    if std::path::Path::new("tests/apps/go/go").exists() {
        demo(Demo { name: "go", needs: ("sh", "dash"), streams: true }).await;
    } else {
        skip("the Go demo app is not built: tests/setup does it");
    }
}

#[tokio::test]
async fn a_command_of_rip_toml_is_served() {
    demo(Demo { name: "command", needs: ("python3", "python3"), streams: false }).await;
}

#[tokio::test]
async fn an_executable_is_served() {
    demo(Demo { name: "executable", needs: ("python3", "python3"), streams: false }).await;
}

#[tokio::test]
async fn a_procfile_is_served() {
    demo(Demo { name: "procfile", needs: ("python3", "python3"), streams: false }).await;
}

#[tokio::test]
async fn a_static_site_is_served() {
    let server = Setup::demo("hello").tls().start().await;
    let index = std::fs::read("tests/apps/hello/index.html").unwrap();
    let reply = server.get("/").await;
    assert_eq!((reply.status, reply.field("content-type")), (200, "text/html; charset=utf-8"));
    assert!(reply.body == index);
    let again = server.ask("GET", "/", &[("If-None-Match", reply.field("etag"))], b"").await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let part = server.ask("GET", "/style.css", &[("Range", "bytes=2-5")], b"").await;
    let style = std::fs::read("tests/apps/hello/style.css").unwrap();
    assert_eq!((part.status, part.body.as_slice()), (206, &style[2..=5]));
    for path in ["/nothing", "/../VERSION", "/%2e%2e/wsgi/wsgi.py", "/..%2fwsgi/wsgi.py", "/.git/config"] {
        assert!(matches!(server.get(path).await.status, 400 | 403 | 404), "{path}");
    }
}

#[tokio::test]
async fn a_single_page_app_gets_its_index_for_every_page() {
    let server = Setup::demo("spa").start().await;
    let index = std::fs::read("tests/apps/spa/index.html").unwrap();
    let page = server.ask("GET", "/any/page", &[("Accept", "text/html")], b"").await;
    assert!(page.status == 200 && page.body == index, "{page:?}");
    assert_eq!(server.get("/assets/app.js").await.status, 200);
}

#[tokio::test]
async fn a_websocket_of_a_real_app_works_over_tls() {
    for (name, program, package) in [("asgi", "uvicorn", "uvicorn"), ("node-server", "node", "nodejs")] {
        if !has(program, package) {
            continue;
        }
        let server = Setup::demo(name).words(&["w:1", "--reload=none"]).tls().start().await;
        let stream = tls::connect(server.port(), "localhost", &["http/1.1"]).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async("wss://localhost/", stream).await.unwrap();
        for message in [Message::text("hello"), Message::binary(vec![1; 70_000])] {
            socket.send(message.clone()).await.unwrap();
            assert!(soon("an echo", socket.next()).await.unwrap().unwrap() == message, "{name}");
        }
        assert_eq!(server.get("/").await.status, 200, "{name}: the only worker answers beside it");
        socket.close(None).await.unwrap();
    }
}

#[tokio::test]
async fn trailers_of_a_real_app_arrive() {
    if !has("node", "nodejs") {
        return;
    }
    let server = Setup::demo("node-server").words(&["w:1", "--reload=none"]).start().await;
    let reply = server.ask("GET", "/trailers", &[("TE", "trailers")], b"").await;
    assert_eq!(reply.trailers["x-checksum"], "abc123");
}

#[tokio::test]
async fn a_grpc_app_is_asked_over_http2_and_its_trailers_arrive() {
    if !has("node", "nodejs") {
        return;
    }
    let mut server = Setup::demo("h2c").words(&["w:1"]).tls().start().await;
    let mut client = server.http2().await;
    let request = http::Request::post("https://localhost/some.Service/Call")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(http_body_util::Full::from("hello"))
        .unwrap();
    let reply = whole(client.send(request).await.unwrap()).await.unwrap();
    assert_eq!((reply.status, reply.field("content-type")), (200, "application/grpc"));
    assert_eq!(reply.trailers["grpc-status"], "0");
    let seen: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((seen["path"].as_str(), seen["te"].as_str()), (Some("/some.Service/Call"), Some("trailers")));
    assert_eq!(seen["body"], "hello");
    assert_eq!(server.get("/from/http1").await.status, 200);
    drop(client);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(!server.output().contains("did not stop in time"), "{}", server.output());
}
