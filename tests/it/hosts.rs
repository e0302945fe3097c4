//! Host names: which app answers for which, added and removed while the server runs, kept across restarts.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::support::disk::TinyDisk;
use crate::support::{Conn, Reply, Server, Setup, soon, until};

#[tokio::test]
async fn an_unknown_host_is_404_until_it_is_added_and_again_once_removed() {
    let server = Setup::scripted().start().await;
    assert_unknown(&ask(&server, "blog.example").await);
    server.ctl(&["add", "blog.example"]).await.expect(0);
    for host in ["blog.example", "BLOG.example", "blog.example:8443", "blog.example."] {
        assert_eq!(ask(&server, host).await.status, 200, "{host}");
    }
    assert_unknown(&ask(&server, "www.blog.example").await);
    server.ctl(&["remove", "blog.example"]).await.expect(0);
    assert_unknown(&ask(&server, "blog.example").await);
    assert_eq!(ask(&server, "localhost").await.status, 200);
}

#[tokio::test]
async fn a_connection_that_stays_open_sees_hosts_come_go_and_change() {
    let server = Setup::scripted().start().await;
    let shop = site(&server, "shop", "the shop");
    let mut conn = server.connect().await;
    for known in [false, true, true] {
        if known {
            server.ctl(&["add", "shop.example"]).await.expect(0);
        }
        // The second time it may be remembered.
        for _ in 0..2 {
            let reply = ask_over(&mut conn, "shop.example").await;
            if known {
                assert_eq!(reply.text(), "hello from the worker\n");
            } else {
                assert_unknown(&reply);
            }
        }
        if known {
            server.ctl(&["remove", "shop.example"]).await.expect(0);
            assert_unknown(&ask_over(&mut conn, "shop.example").await);
        }
    }
    server.ctl(&["add", "shop.example", "--app", shop.to_str().unwrap()]).await.expect(0);
    until("the shop serves", || async { ask(&server, "shop.example").await.text() == "the shop" }).await;
    for (host, text) in [("shop.example", "the shop"), ("localhost", "hello from the worker\n")].repeat(2) {
        assert_eq!(ask_over(&mut conn, host).await.text(), text, "{host}");
    }
}

#[tokio::test]
async fn a_connection_that_stays_open_sees_an_exact_name_take_a_wildcard_s_place() {
    let server = Setup::scripted().start().await;
    let own = site(&server, "own", "its own app");
    server.ctl(&["add", "*.shop.example"]).await.expect(0);
    let mut conn = server.connect().await;
    assert_eq!(ask_over(&mut conn, "own.shop.example").await.text(), "hello from the worker\n");
    server.ctl(&["add", "own.shop.example", "--app", own.to_str().unwrap()]).await.expect(0);
    until("its own app serves", || async { ask(&server, "own.shop.example").await.text() == "its own app" })
        .await;
    assert_eq!(ask_over(&mut conn, "own.shop.example").await.text(), "its own app");
}

#[tokio::test]
async fn a_host_that_is_no_text_is_refused() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    conn.send(b"GET / HTTP/1.1\r\nHost: local\xffhost\r\n\r\n").await;
    let reply = conn.reply("GET").await;
    assert_eq!((reply.status, reply.reason()), (400, "malformed"));
}

#[tokio::test]
async fn a_wildcard_stands_for_one_label_and_an_exact_name_goes_before_it() {
    let server = Setup::scripted().start().await;
    let other = site(&server, "other", "the other app");
    server.ctl(&["add", "*.blog.example"]).await.expect(0);
    server.ctl(&["add", "own.blog.example", "--app", other.to_str().unwrap()]).await.expect(0);
    until("the other app serves", || async {
        ask(&server, "own.blog.example").await.text() == "the other app"
    })
    .await;
    assert_eq!(ask(&server, "any.blog.example").await.text(), "hello from the worker\n");
    assert_unknown(&ask(&server, "blog.example").await);
    assert_unknown(&ask(&server, "a.b.blog.example").await);
}

#[tokio::test]
async fn a_second_app_is_served_by_its_host_and_goes_with_it() {
    let server = Setup::scripted().start().await;
    let shop = site(&server, "shop", "the shop");
    server.ctl(&["add", "shop.example", "--app", shop.to_str().unwrap()]).await.expect(0);
    until("the shop serves", || async { ask(&server, "shop.example").await.text() == "the shop" }).await;
    assert_eq!(ask(&server, "localhost").await.text(), "hello from the worker\n");
    let pids: Vec<u32> = of_app(&server, "shop").await;
    assert!(!pids.is_empty());

    server.ctl(&["remove", "shop.example"]).await.expect(0);
    assert_unknown(&ask(&server, "shop.example").await);
    until("its workers are gone", || async { pids.iter().all(|pid| !alive(*pid)) }).await;
    until("it is forgotten", || async { server.status().await.apps.len() == 1 }).await;
    assert_eq!(ask(&server, "localhost").await.status, 200);
}

#[tokio::test]
async fn what_people_added_is_kept_across_restarts() {
    let mut server = Setup::scripted().start().await;
    let shop = site(&server, "shop", "the shop");
    server.ctl(&["add", "blog.example"]).await.expect(0);
    server.ctl(&["add", "gone.example"]).await.expect(0);
    server.ctl(&["remove", "gone.example"]).await.expect(0);
    server.ctl(&["add", "shop.example", "--app", shop.to_str().unwrap()]).await.expect(0);
    server.ctl(&["maintenance", "blog.example"]).await.expect(0);

    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
    let server = Setup::scripted().start_in(server.kill()).await;
    assert_eq!(ask(&server, "shop.example").await.text(), "the shop");
    assert_eq!(ask(&server, "blog.example").await.status, 503, "still in maintenance");
    assert_unknown(&ask(&server, "gone.example").await);
    assert_eq!(ask(&server, "localhost").await.status, 200);
}

#[tokio::test]
async fn what_was_answered_is_there_after_the_server_was_killed() {
    let server = Setup::scripted().start().await;
    for words in [&["add", "blog.example"], &["add", "gone.example"], &["remove", "gone.example"]] {
        server.ctl(words).await.expect(0);
    }
    server.ctl(&["maintenance", "blog.example"]).await.expect(0);
    let state = server.root().join("state");
    assert!(state.join("registry.changes").exists() && !state.join("registry.json").exists());

    let mut server = Setup::scripted().start_in(server.kill()).await;
    assert_eq!(ask(&server, "blog.example").await.status, 503, "in maintenance");
    assert_unknown(&ask(&server, "gone.example").await);

    server.ctl(&["add", "more.example"]).await.expect(0);
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
    let text = fs::read_to_string(state.join("registry.json")).unwrap();
    assert!(text.contains("blog.example") && text.contains("more.example"), "{text}");
    assert!(!state.join("registry.changes").exists(), "a server that ends leaves one file");
}

#[tokio::test]
async fn thousands_of_hosts_added_at_once_are_all_there_after_the_server_was_killed() {
    let server = Setup::scripted().start().await;
    let mut clients = JoinSet::new();
    for client in 0..20 {
        let socket = server.control_socket();
        clients.spawn(async move {
            for number in 0..100 {
                // So long that the file of changes is full before all are in it.
                let host = format!("client-{client}.{}.host-{number}.example", "long".repeat(15));
                assert_eq!(add(&socket, &host).await, "HTTP/1.1 200 OK", "{host}");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let state = server.root().join("state");
    assert!(state.join("registry.changes").exists() && state.join("registry.json").exists());

    let server = Setup::scripted().start_in(server.kill()).await;
    let listed = server.ctl(&["list", "--json"]).await.expect(0).json();
    let hosts = listed["hosts"].as_array().unwrap();
    assert_eq!(hosts.iter().filter(|host| host.as_str().unwrap().starts_with("client-")).count(), 2000);
}

#[tokio::test]
async fn a_host_that_finds_no_place_on_the_disk_is_not_added() {
    let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    let Some(disk) = TinyDisk::mount(folder.path().join("state")) else {
        return crate::support::skip("a full disk: mounting a small one needs root");
    };
    let server = Setup::scripted().start_in(folder).await;
    let filler = disk.fill();
    let refused = server.ctl(&["add", "blog.example"]).await.expect(1);
    assert!(refused.err.contains("No space left"), "{refused:?}");
    assert_unknown(&ask(&server, "blog.example").await);

    fs::remove_file(filler).unwrap();
    server.ctl(&["add", "blog.example"]).await.expect(0);
    server.ctl(&["add", "shop.example"]).await.expect(0);
    disk.fill();
    server.ctl(&["add", "more.example"]).await.expect(0);
    let page = server.root().join("page.html");
    fs::write(&page, "large".repeat(100_000)).unwrap();
    let page = page.to_str().unwrap();
    let refused = server.ctl(&["maintenance", "shop.example", "--page", page]).await.expect(1);
    assert!(refused.err.contains("No space left"), "{refused:?}");

    let server = Setup::scripted().start_in(server.kill()).await;
    for host in ["blog.example", "shop.example", "more.example"] {
        assert_eq!(ask(&server, host).await.status, 200, "{host}");
    }
    let folder = server.kill();
    drop(disk);
    folder.close().unwrap();
}

#[tokio::test]
async fn changes_that_are_damaged_are_an_error_that_says_what_to_do() {
    let server = Setup::scripted().start().await;
    server.ctl(&["add", "blog.example"]).await.expect(0);
    server.ctl(&["add", "shop.example"]).await.expect(0);
    let folder = server.kill();
    let path = folder.path().join("state/registry.changes");
    let damaged = fs::read_to_string(&path).unwrap().replace("shop.example", "shop.exemple");
    fs::write(&path, &damaged).unwrap();

    let words = ["./scripted", "http:0", "--bind=127.0.0.1", "--runtime-dir=run", "--state-dir=state"];
    let ran = crate::support::ctl::rip_server(folder.path(), &words).await.expect(1);
    let (_, advice) = ran.err.split_once("`truncate").unwrap();
    let advice = format!("truncate{}", advice.split_once('`').unwrap().0);
    assert_eq!(fs::read_to_string(&path).unwrap(), damaged, "left as it is");

    let done = std::process::Command::new("sh").arg("-c").arg(&advice).current_dir(folder.path()).status();
    assert!(done.unwrap().success(), "{advice}");
    let server = Setup::scripted().start_in(folder).await;
    assert_eq!(ask(&server, "blog.example").await.status, 200);
    assert_unknown(&ask(&server, "shop.example").await);
}

#[tokio::test]
async fn a_registry_that_cannot_be_understood_is_an_error_and_stays_as_it_is() {
    let server = Setup::scripted().start().await;
    server.ctl(&["add", "blog.example"]).await.expect(0);
    let folder = server.kill();
    let path = folder.path().join("state/registry.json");
    for text in ["{", "{\"version\": 99, \"hosts\": []}"] {
        fs::write(&path, text).unwrap();
        let words = ["./scripted", "http:0", "--bind=127.0.0.1", "--runtime-dir=run", "--state-dir=state"];
        let ran = crate::support::ctl::rip_server(folder.path(), &words).await.expect(1);
        assert!(ran.err.contains("registry.json"), "{ran:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[tokio::test]
async fn the_words_for_states_that_were_said_before_are_understood() {
    let mut server = Setup::scripted().start().await;
    server.ctl(&["add", "blog.example"]).await.expect(0);
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
    let path = server.root().join("state/registry.json");
    let text = fs::read_to_string(&path).unwrap();
    let before = text.replace(r#""state":"running""#, r#""intent":"stop""#);
    assert_ne!(before, text);
    fs::write(&path, before).unwrap();

    let server = Setup::scripted().start_in(server.kill()).await;
    assert_eq!(ask(&server, "blog.example").await.status, 503);
    let listed = server.ctl(&["list", "--json"]).await.expect(0).json();
    let entries = listed["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["host"] == "blog.example").unwrap();
    assert_eq!([&entry["state"], &entry["intent"]], ["stopped", "stop"]);
    let said = r#"{"intent":"run"}"#;
    let answer = server.control("POST", "/registry/blog.example/intent", said).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(ask(&server, "blog.example").await.status, 200);
}

#[tokio::test]
async fn requests_of_a_paused_host_wait_until_it_is_resumed() {
    let server = Setup::scripted().start().await;
    server.ctl(&["add", "blog.example"]).await.expect(0);
    server.ctl(&["pause", "blog.example"]).await.expect(0);
    let mut conn = server.connect().await;
    conn.send("GET /view HTTP/1.1\r\nHost: blog.example\r\n\r\n").await;
    until("it waits", || async { server.status().await.apps[0].queued == 1 }).await;
    assert_eq!(ask(&server, "localhost").await.status, 200, "another host of the app is served meanwhile");
    assert!(!server.meeting.targets().contains(&"/view".to_owned()));
    server.ctl(&["resume", "blog.example"]).await.expect(0);
    assert_eq!(conn.reply("GET").await.status, 200);
}

#[tokio::test]
async fn a_host_in_maintenance_answers_503_with_the_operators_page() {
    let server = Setup::scripted().start().await;
    server.ctl(&["add", "blog.example"]).await.expect(0);
    let page = server.root().join("page.html");
    fs::write(&page, "<h1>Back at noon</h1>").unwrap();
    server.ctl(&["maintenance", "blog.example", "--page", page.to_str().unwrap()]).await.expect(0);
    let fields = [("Host", "blog.example"), ("Accept", "text/html")];
    let reply = server.ask("GET", "/", &fields, b"").await;
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("<h1>Back at noon</h1>"), "{}", reply.text());
    assert_eq!(ask(&server, "localhost").await.status, 200);
    server.ctl(&["resume", "blog.example"]).await.expect(0);
    assert_eq!(ask(&server, "blog.example").await.status, 200);
}

#[tokio::test]
async fn aliases_of_the_command_line_stand_in_place_of_the_apps_name() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/hello");
    let server = Setup::app(format!("{demo}@blog,www.blog.example")).start().await;
    for host in ["blog.local", "www.blog.example", "localhost", "127.0.0.1"] {
        assert_eq!(ask(&server, host).await.status, 200, "{host}");
    }
    assert_unknown(&ask(&server, "hello.local").await);
    let server = Setup::app(demo).start().await;
    assert_eq!(ask(&server, "hello.local").await.status, 200);
}

async fn ask(server: &Server, host: &str) -> Reply {
    server.ask("GET", "/", &[("Host", host)], b"").await
}

/// The same over a connection that stays open.
async fn ask_over(conn: &mut Conn, host: &str) -> Reply {
    conn.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    conn.reply("GET").await
}

/// Adds a host as rip-serverctl does, without a process for each; returns the status line.
async fn add(socket: &Path, host: &str) -> String {
    let adding = async {
        let mut conn = UnixStream::connect(socket).await.unwrap();
        let body = format!("{{\"host\":\"{host}\"}}");
        let head = "POST /registry HTTP/1.1\r\nHost: localhost\r\nConnection: close";
        let text = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        conn.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        conn.read_to_string(&mut answer).await.unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    };
    soon("the host is added", adding).await
}

#[track_caller]
fn assert_unknown(reply: &Reply) {
    assert_eq!((reply.status, reply.reason()), (404, "unknown-host"), "{}", reply.text());
}

/// A static app beside the scripted one.
fn site(server: &Server, name: &str, text: &str) -> PathBuf {
    let folder = server.root().join(name);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("index.html"), text).unwrap();
    folder
}

async fn of_app(server: &Server, app: &str) -> Vec<u32> {
    let workers = server.workers().await.workers;
    workers.iter().filter(|worker| worker.app.as_str() == app).filter_map(|worker| worker.pid).collect()
}

fn alive(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap()
}
