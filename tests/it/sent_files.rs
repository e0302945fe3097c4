//! Files that the server sends itself: those that workers name, and those of `static` beside a program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use crate::support::ctl::rip_server;
use crate::support::{Reply, Server, Setup, folder_with, until};

const ACCEL: &str =
    "accel = [{ path = \"/protected\", root = \"files\" }, { path = \"/protected/deep\", root = \"more\" }]";

fn tree(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join("scripted").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// The same request over HTTP/1.1, by both of its ways, and over HTTP/2: one answer.
async fn ask(server: &Server, method: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
    let [plain, other, over_http2] = server.ask_each_way(method, path, fields).await;
    for reply in [&other, &over_http2] {
        // An answer of the server itself names the request.
        let same = reply.body == plain.body || !plain.reason().is_empty();
        assert!(reply.status == plain.status && same, "{method} {path}: {reply:?} {plain:?}");
        assert_eq!(told(reply), told(&plain), "{method} {path}");
    }
    plain
}

/// The fields that have to be the same however they come.
fn told(reply: &Reply) -> BTreeMap<String, Vec<String>> {
    let mut told = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in &reply.headers {
        let of_connection = ["date", "connection", "x-request-id", "x-worker-pid"].contains(&name.as_str());
        let of_nothing =
            name == "content-length" && (value == "0" || reply.headers.contains_key("x-rip-reason"));
        if !of_connection && !of_nothing {
            told.entry(name.to_string()).or_default().push(value.to_str().unwrap().to_owned());
        }
    }
    told
}

#[tokio::test]
async fn a_file_that_a_worker_names_is_sent_in_place_of_its_answer() {
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| at as u8).collect();
    let folder = tree(&[("files/a b.bin", &bytes), ("files/.hidden", b"dot"), ("more/x.css", b"p {}")]);
    let server = Setup::scripted().tls().rules(ACCEL).start_in(folder).await;
    let path = "/fields?X-Accel-Redirect=/protected/a%20b.bin?x&Set-Cookie=a=b&Set-Cookie=c=d\
                &Cache-Control=private&Content-Disposition=attachment&ETag=own&Content-Encoding=gzip";
    let reply = ask(&server, "GET", path, &[]).await;
    assert_eq!((reply.status, reply.body.len()), (200, bytes.len()));
    assert_eq!(reply.body, bytes);
    let cookies: Vec<_> = reply.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=b", "c=d"]);
    for (name, value) in [
        ("cache-control", "private"),
        ("content-disposition", "attachment"),
        ("content-length", "300000"),
        ("accept-ranges", "bytes"),
        ("content-encoding", ""),
        ("x-accel-redirect", ""),
    ] {
        assert_eq!(reply.field(name), value, "{name}");
    }
    let (tag, date) = (reply.field("etag").to_owned(), reply.field("last-modified").to_owned());
    assert!(tag.len() > 5 && tag != "own" && date.ends_with("GMT"), "{tag} {date}");
    for (fields, status, body) in [
        (&[("If-None-Match", &*tag)][..], 304, &b""[..]),
        (&[("If-Modified-Since", &*date)], 304, b""),
        (&[("If-None-Match", "\"own\"")], 200, &bytes),
        (&[("Range", "bytes=10-19")], 206, &bytes[10..20]),
        (&[("Range", "bytes=-5")], 206, &bytes[bytes.len() - 5..]),
        (&[("Range", "bytes=10-19"), ("If-Range", &*tag)], 206, &bytes[10..20]),
        (&[("Range", "bytes=10-19"), ("If-Range", "\"own\"")], 200, &bytes),
        (&[("Range", "bytes=999999-")], 416, b""),
    ] {
        let reply = ask(&server, "GET", path, fields).await;
        assert_eq!((reply.status, reply.body == body), (status, true), "{fields:?}: {}", reply.body.len());
        assert_eq!(reply.field("x-accel-redirect"), "");
    }
    let head = ask(&server, "HEAD", path, &[]).await;
    assert_eq!((head.status, head.field("content-length"), head.body.len()), (200, "300000", 0));
    assert_eq!(ask(&server, "POST", path, &[("Range", "bytes=1-2")]).await.body.len(), bytes.len());
    // Without a type of its own, the file's name says it; the longest path holds; a hidden file is a file.
    let bare = |target: &str| {
        let answer =
            format!("HTTP/1.1 200 OK\r\nX-Accel-Redirect: {target}\r\nContent-Length: 5\r\n\r\nother");
        let hex: String = answer.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("/bytes?hex={hex}")
    };
    for (target, kind, body) in [
        ("/protected/deep/x.css", "text/css; charset=utf-8", "p {}"),
        ("/protected//deep/./x.css", "", ""),
        ("/protected/%64eep%2Fx.css", "text/css; charset=utf-8", "p {}"),
        ("/protected/.hidden", "application/octet-stream", "dot"),
    ] {
        let reply = ask(&server, "GET", &bare(target), &[]).await;
        if body.is_empty() {
            assert_eq!(reply.status, 404, "{target}");
        } else {
            assert_eq!(
                (reply.status, reply.field("content-type"), reply.text()),
                (200, kind, body),
                "{target}"
            );
        }
    }
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_file_by_its_absolute_path_is_sent_from_the_folders_of_accel_alone() {
    let folder =
        tree(&[("files/a%20b.txt", b"encoded"), ("files/c d.txt", b"plain"), ("secret.txt", b"secret")]);
    let app = folder.path().join("scripted");
    symlink("scripted", folder.path().join("linked")).unwrap();
    symlink("../secret.txt", app.join("files/out.txt")).unwrap();
    symlink("c d.txt", app.join("files/in.txt")).unwrap();
    let home = folder.path().to_owned();
    let server =
        Setup::scripted().tls().rules("accel = [{ path = \"/p\", root = \"files\" }]").start_in(folder).await;
    for (path, status, body) in [
        ("scripted/files/a%20b.txt", 200, "encoded"),
        ("scripted/files/c%20d.txt", 200, "plain"),
        ("scripted/files/../files/c%20d.txt", 200, "plain"),
        ("linked/files/c%20d.txt", 200, "plain"),
        ("scripted/files/in.txt", 200, "plain"),
        ("scripted/files/none.txt", 404, "file-missing"),
        ("scripted/files/out.txt", 404, "file-missing"),
        ("scripted/files", 404, "file-missing"),
        ("scripted/secret.txt", 502, "file-outside"),
        ("scripted/files/../secret.txt", 502, "file-outside"),
        ("scripted/files%2F..%2Fsecret.txt", 502, "file-outside"),
        ("scripted/filesx/y", 502, "file-outside"),
        ("scripted/files/c%00d.txt", 404, "file-missing"),
    ] {
        let reply = ask(&server, "GET", &format!("/fields?X-Sendfile={}/{path}", home.display()), &[]).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        assert!(
            if status == 200 { reply.text() == body } else { reply.reason() == body },
            "{path}: {reply:?}"
        );
        assert_eq!(reply.field("x-sendfile"), "", "{path}");
    }
    for (target, reason) in [
        ("/p/../secret.txt", "file-outside"),
        ("/p/%2e%2e/secret.txt", "file-outside"),
        ("/p/..%2fsecret.txt", "file-outside"),
        ("/p/x%00.txt", "file-outside"),
        ("/p/%zz", "file-outside"),
        ("/px/c%20d.txt", "file-outside"),
        ("p/c%20d.txt", "file-outside"),
        ("@named", "file-outside"),
        ("/other", "file-outside"),
        ("/p/out.txt", "file-missing"),
        ("/p/none", "file-missing"),
        ("/p/", "file-missing"),
        ("/p", "file-missing"),
    ] {
        let reply = ask(&server, "GET", &format!("/fields?X-Accel-Redirect={target}"), &[]).await;
        let status = if reason == "file-missing" { 404 } else { 502 };
        assert_eq!((reply.status, reply.reason()), (status, reason), "{target}");
        assert!(!reply.text().contains("secret"), "{target}");
    }
    until("the log says what was asked for", || async {
        server.output().contains("/p/none") && server.output().contains("/p from files")
    })
    .await;
    let metrics = server.control("GET", "/metrics", "").await.unwrap();
    let counted = "rip_refused_total{app=\"scripted\",reason=\"file-outside\"}";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[tokio::test]
async fn the_status_of_a_page_is_kept_and_without_accel_nothing_is_changed() {
    let folder = tree(&[("files/sorry.html", b"<p>sorry"), ("more/x", b"")]);
    let server = Setup::scripted().tls().rules(ACCEL).start_in(folder).await;
    let answer = |status: &str, more: &str| {
        let answer = format!("HTTP/1.1 {status}\r\nX-Accel-Redirect: /protected/sorry.html\r\n{more}\r\n");
        format!("/bytes?hex={}", answer.bytes().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    let page =
        ask(&server, "GET", &answer("403 No", "Content-Length: 0\r\n"), &[("Range", "bytes=1-2")]).await;
    assert_eq!((page.status, page.text()), (403, "<p>sorry"));
    let none = ask(&server, "GET", &answer("204 None", ""), &[]).await;
    assert_eq!((none.status, none.text(), none.field("x-accel-redirect")), (204, "", ""));
    let hinted = server
        .ask("GET", "/view", &[("X-Sendfile-Type", "X-Sendfile"), ("X-Accel-Mapping", "a=b")], b"")
        .await;
    assert!(!hinted.text().to_lowercase().contains("sendfile-type"), "{}", hinted.text());
    let environment = server.get("/environment").await;
    let mapping =
        format!("{}/=/protected/", server.root().join("scripted/files").canonicalize().unwrap().display());
    assert!(environment.text().contains(&mapping), "{}", environment.text());

    let server = Setup::scripted().tls().start().await;
    let reply = ask(&server, "GET", "/fields?X-Accel-Redirect=/protected/a&X-Sendfile=/b", &[]).await;
    assert_eq!((reply.field("x-accel-redirect"), reply.field("x-sendfile")), ("/protected/a", "/b"));
    assert_eq!(reply.text(), "fields\n");
}

#[tokio::test]
async fn a_worker_is_free_while_a_slow_client_reads_the_file_that_it_named() {
    let folder = tree(&[("files/big.bin", &vec![b'x'; 32 << 20]), ("more/x", b"")]);
    let server = Setup::scripted().rules(ACCEL).start_in(folder).await;
    let mut slow = server.connect().await;
    slow.send("GET /fields?X-Accel-Redirect=/protected/big.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(slow.head().await.field("content-length"), "33554432");
    assert_eq!(server.get("/view").await.status, 200, "the only worker answers others meanwhile");
    assert_eq!(slow.exactly(32 << 20).await.unwrap().len(), 32 << 20);
}

#[tokio::test]
async fn files_of_static_are_sent_before_a_worker_is_asked() {
    let folder = tree(&[
        ("public/style.css", b"p {}"),
        ("public/style.css.gz", b"zipped"),
        ("public/docs/index.html", b"<p>docs"),
        ("public/.env", b"secret"),
        ("assets/app.js", b"run()"),
        ("assets/404.html", b"<p>none"),
        ("assets/index.html", b"<p>assets"),
        ("secret.txt", b"secret"),
    ]);
    symlink("../secret.txt", folder.path().join("scripted/public/out.txt")).unwrap();
    let closed = folder.path().join("scripted/public/closed.txt");
    fs::write(&closed, "closed").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let rules = "static = [{ path = \"/\", root = \"public\" }, { path = \"/assets\", root = \"assets\", fallback = false }]\n\
                 headers.set = { X-Set = \"yes\" }";
    let server = Setup::scripted().tls().rules(rules).start_in(folder).await;
    let style = ask(&server, "GET", "/style.css", &[]).await;
    assert_eq!((style.status, style.text(), style.field("x-set")), (200, "p {}", "yes"));
    let zipped = ask(&server, "GET", "/style.css", &[("Accept-Encoding", "gzip")]).await;
    assert_eq!((zipped.text(), zipped.field("content-encoding")), ("zipped", "gzip"));
    for (method, path, fields, status, body) in [
        ("GET", "/style.css?v=1", &[("If-None-Match", style.field("etag"))][..], 304, ""),
        ("GET", "/style.css", &[("Range", "bytes=2-")], 206, "{}"),
        ("HEAD", "/style.css", &[], 200, ""),
        ("GET", "/%73tyle.css", &[], 200, "p {}"),
        ("GET", "/docs/", &[], 200, "<p>docs"),
        ("GET", "/assets/app.js", &[], 200, "run()"),
        ("GET", "/assets/", &[], 200, "<p>assets"),
        ("GET", "/assets/none.js", &[], 404, "<p>none"),
        ("GET", "/assets/%2e%2e/secret.txt", &[], 404, "no such route\n"),
        ("POST", "/assets/app.js", &[], 405, "Method not allowed\n"),
    ] {
        let reply = ask(&server, method, path, fields).await;
        assert_eq!((reply.status, reply.text()), (status, body), "{method} {path}");
    }
    for (path, to) in [("/docs?a=b", "/docs/?a=b"), ("/assets?a=b", "/assets/?a=b")] {
        let reply = ask(&server, "GET", path, &[("X-Forwarded-Prefix", "/evil")]).await;
        assert_eq!((reply.status, reply.field("location")), (301, to), "{path}");
    }
    assert_eq!(server.meeting.targets().iter().filter(|target| !target.contains("%2e")).count(), 0);
    for path in [
        "/view",
        "/.env",
        "/out.txt",
        "/none",
        "/style.css/x",
        "/style.css%00",
        "/..%2fsecret.txt",
        "//style.css",
    ] {
        let reply = server.get(path).await;
        assert!(reply.headers.contains_key("x-worker-pid"), "{path}: the app answers with {}", reply.status);
        assert!(!reply.text().contains("secret"), "{path}");
    }
    assert!(server.post("/style.css", b"x").await.headers.contains_key("x-worker-pid"));
    let record = server.record("/docs/").await;
    assert_eq!((&record["worker"], &record["app"]), (&serde_json::Value::Null, &"scripted".into()));
}

#[tokio::test]
async fn a_list_of_folders_that_cannot_be_is_refused_with_what_would_be_right() {
    for (own, told) in [
        ("static = [{ path = \"/a\", root = \"none\" }]", "`static` names"),
        ("static = [{ path = \"/a\", root = \".\" }]", "the app's own program"),
        ("static = [{ path = \"/a/../b\", root = \"x\" }]", "`.` and `..`"),
        ("static = [{ path = \"/a\", root = \"/etc\" }]", "only the server's config may name others"),
        ("static = [{ path = \"/a\", root = \"../x\" }]", "only the server's config may name others"),
        ("static = [{ path = \"/a\", root = \"link\" }]", "outside of the app's folder"),
        ("static = [{ path = \"/a\" }]", "a path and a root"),
        ("static = 5", "a list of folders at paths"),
        ("accel = [{ path = \"/a\", root = \"file.txt\" }]", "cannot be served"),
        ("accel = [{ path = \"/a\", root = \"x\", fallback = true }]", "`fallback` is none"),
        ("accel = { path = \"/a\", root = \"x\" }", "a list of folders at paths"),
        ("[route.\"/a\"]\naccel = []", "cannot be set for some of its paths"),
    ] {
        let folder = folder_with(&[("app", "#!/bin/sh"), ("file.txt", "x"), ("rip.toml", own)]);
        symlink("/etc", folder.path().join("link")).unwrap();
        fs::set_permissions(folder.path().join("app"), fs::Permissions::from_mode(0o755)).unwrap();
        let checked = rip_server(folder.path(), &["check", folder.path().to_str().unwrap()]).await;
        assert!(checked.code > 0 && checked.err.contains(told), "{own}: {}", checked.err);
    }
    let own = "static = [{ path = \"/a\", root = \"pub\" }]\naccel = [{ path = \"/b\", root = \".\" }]";
    let folder = folder_with(&[("app", "#!/bin/sh"), ("pub/x", "x"), ("rip.toml", own)]);
    fs::set_permissions(folder.path().join("app"), fs::Permissions::from_mode(0o755)).unwrap();
    let checked = rip_server(folder.path(), &["check", folder.path().to_str().unwrap()]).await;
    assert!(checked.out.contains("/a from pub") && checked.out.contains("/b from ."), "{}", checked.out);
}
