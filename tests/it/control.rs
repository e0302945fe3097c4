//! The control socket and `rip-serverctl`: every verb, its JSON, its exit code.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use serde_json::Value;

use crate::support::ctl::{rip_server, rip_serverctl};
use crate::support::{Server, Setup, until};

#[tokio::test]
async fn the_control_socket_is_for_its_owner_and_group() {
    let server = Setup::scripted().start().await;
    let socket = fs::metadata(server.control_socket()).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o7777, 0o660);
}

#[tokio::test]
async fn a_second_server_does_not_take_the_socket_of_the_first() {
    let server = Setup::scripted().start().await;
    let (root, before) = (server.root(), fs::metadata(server.control_socket()).unwrap().ino());
    let words = ["./scripted", "http:0", "--bind=127.0.0.1", "--runtime-dir=run", "--state-dir=other"];
    let ran = rip_server(root, &words).await.expect(1);
    assert!(ran.err.contains("run.sock") && ran.err.contains("stop it with"), "{ran:?}");
    assert_eq!(fs::metadata(server.control_socket()).unwrap().ino(), before);
    assert_eq!(server.get("/").await.status, 200);
    server.ctl(&["status"]).await.expect(0);
}

#[tokio::test]
async fn a_socket_that_a_killed_server_left_is_replaced() {
    let folder = Setup::scripted().start().await.kill();
    assert!(folder.path().join("run.sock").exists(), "a killed server cannot tidy up");
    let server = Setup::scripted().start_in(folder).await;
    server.ctl(&["status"]).await.expect(0);
}

#[tokio::test]
async fn what_is_no_socket_is_not_removed() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("r.sock"), "precious").unwrap();
    let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/hello");
    let ran = rip_server(home.path(), &[app, "http:0", "--runtime-dir=r", "--state-dir=s"]).await.expect(1);
    assert!(ran.err.contains("not a socket"), "{ran:?}");
    assert_eq!(fs::read_to_string(home.path().join("r.sock")).unwrap(), "precious");
}

#[tokio::test]
async fn status_says_what_runs() {
    let server = Setup::scripted().words(&["w:2"]).start().await;
    let shown = server.ctl(&["status"]).await.expect(0);
    assert!(shown.out.contains("scripted") && shown.err.is_empty(), "{shown:?}");
    let status = server.ctl(&["status", "--json"]).await.expect(0).json();
    assert_eq!(status["status"], "healthy");
    assert_eq!(status["pid"], server.pid());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["apps"][0]["workers"]["ready"], 2);
    assert_eq!(status["apps"][0]["app"], "scripted");
    assert!(status["urls"][0].as_str().unwrap().starts_with("http://127.0.0.1:"), "{status}");
}

#[tokio::test]
async fn status_exits_3_while_an_app_has_no_worker() {
    let server = Setup::scripted().worker("START", "exit").without_workers().start().await;
    until("the failure is known", || async { server.status().await.apps[0].rejected.is_some() }).await;
    let status = server.ctl(&["status", "--json"]).await.expect(3).json();
    assert_eq!(status["status"], "degraded");
    let rejected = &status["apps"][0]["rejected"];
    assert!(rejected["output"].to_string().contains("cannot start: told to exit"), "{status}");
    let shown = server.ctl(&["status"]).await.expect(3);
    assert!(shown.out.contains("told to exit"), "{shown:?}");
    assert_eq!(server.get("/").await.status, 503);
}

#[tokio::test]
async fn workers_shows_the_requests_in_hand() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    conn.send_get("/gate?name=held").await;
    server.meeting.reached("held").await;
    let workers = server.ctl(&["workers", "--json"]).await.expect(0).json();
    let worker = &workers["workers"][0];
    assert_eq!(
        (&worker["state"], &worker["requests"][0]["path"]),
        (&"busy".into(), &"/gate".into()),
        "{workers}"
    );
    assert_eq!(worker["requests"][0]["method"], "GET");
    let shown = server.ctl(&["workers"]).await.expect(0);
    assert!(shown.out.contains("/gate") && shown.out.contains(&worker["pid"].to_string()), "{shown:?}");
    server.meeting.open("held");
    assert_eq!(conn.reply("GET").await.status, 200);
}

#[tokio::test]
async fn hosts_are_listed_added_and_removed_through_both_programs() {
    let server = Setup::scripted().start().await;
    assert!(hosts(&server).await.contains(&"localhost".to_owned()));
    let added = server.ctl(&["add", "Blog.Example", "--json"]).await.expect(0).json();
    assert_eq!((&added["changed"], &added["entry"]["host"]), (&true.into(), &"blog.example".into()));
    let again = server.ctl(&["add", "blog.example"]).await.expect(0);
    assert!(again.err.contains("as before") || again.out.contains("as before"), "{again:?}");
    assert!(hosts(&server).await.contains(&"blog.example".to_owned()));
    server.ctl(&["remove", "blog.example"]).await.expect(0);
    let gone = server.ctl(&["remove", "blog.example", "--json"]).await.expect(4).json();
    assert_eq!((&gone["ok"], &gone["error"]["code"]), (&false.into(), &"no-such-host".into()));

    let own = |verb: &str| -> Vec<String> {
        let words = format!("{verb} ./scripted --runtime-dir=run --state-dir=state");
        words.split_whitespace().map(str::to_owned).collect()
    };
    rip_server(server.root(), &own("add shop.example")).await.expect(0);
    let listed = rip_server(server.root(), &own("list")).await.expect(0);
    assert!(listed.out.contains("shop.example"), "{listed:?}");
    rip_server(server.root(), &own("remove shop.example")).await.expect(0);
    assert!(!hosts(&server).await.contains(&"shop.example".to_owned()));
}

#[tokio::test]
async fn the_paths_of_the_original_are_answered() {
    let server = Setup::scripted().start().await;
    let registry: Value = server.control("GET", "/registry", "").await.unwrap().json();
    assert_eq!(registry["ok"], true);
    let added = server.control("POST", "/registry", r#"{"host":"old.example"}"#).await.unwrap();
    assert_eq!(added.status, 200, "{:?}", added.text());
    let registry: Value = server.control("GET", "/registry", "").await.unwrap().json();
    assert!(registry["hosts"].as_array().unwrap().contains(&"old.example".into()), "{registry}");
    assert_eq!(server.control("DELETE", "/registry/old.example", "").await.unwrap().status, 200);
    assert_eq!(server.control("DELETE", "/registry/old.example", "").await.unwrap().status, 404);
}

#[tokio::test]
async fn bad_calls_are_refused_and_say_why() {
    let server = Setup::scripted().start().await;
    for (method, path, body, status) in [
        ("GET", "/nothing", "", 404),
        ("PUT", "/registry", "", 405),
        ("POST", "/status", "", 405),
        ("POST", "/registry", "", 400),
        ("POST", "/registry", "{", 400),
        ("POST", "/registry", r#"{"host":"a:80"}"#, 400),
        ("POST", "/registry", r#"{"host":"a.example","pth":"/x"}"#, 400),
        ("POST", "/workers/scale", r#"{"workers":"many"}"#, 400),
        ("POST", "/workers/scale", r#"{"app":"other","workers":"2"}"#, 404),
        ("POST", "/deploy", r#"{"app":"other"}"#, 404),
        ("GET", "/logs?lines=many", "", 400),
        ("POST", "/worker", r#"{"op":"join"}"#, 410),
    ] {
        let reply = server.control(method, path, body).await.unwrap();
        assert_eq!(reply.status, status, "{method} {path} {body}: {}", reply.text());
        let failure: Value = reply.json();
        assert_eq!(failure["ok"], false);
        assert!(!failure["error"]["message"].as_str().unwrap().is_empty(), "{failure}");
    }
    server.ctl(&["status"]).await.expect(0);
}

#[tokio::test]
async fn what_cannot_be_done_has_its_own_exit_code() {
    let server = Setup::scripted().start().await;
    let missing = server.root().join("missing");
    for (words, code) in [
        (&["frobnicate"][..], 2),
        (&["add", "a:80"], 2),
        (&["scale", "many"], 2),
        (&["remove", "never.example"], 4),
        (&["pause", "never.example"], 4),
        (&["deploy", "other"], 4),
        (&["scale", "other", "2"], 4),
        (&["logs", "other"], 4),
        (&["add", "x.example", "--app", missing.to_str().unwrap()], 2),
        (&["check", "w:nonsense"], 6),
    ] {
        let ran = server.ctl(words).await.expect(code);
        assert!(!ran.err.is_empty(), "{words:?}");
    }
    let nobody = ["--socket", "/nowhere/at/all.sock", "status"];
    let ran = rip_serverctl(server.root(), &nobody).await.expect(7);
    assert!(ran.err.contains("/nowhere/at/all.sock"), "{ran:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("mute.sock");
    let _mute = UnixListener::bind(&socket).unwrap();
    let words = ["--socket", socket.to_str().unwrap(), "--timeout", "1", "status", "--json"];
    let ran = rip_serverctl(home.path(), &words).await.expect(8);
    assert_eq!(ran.json()["error"]["code"], "timed-out");
}

#[tokio::test]
async fn scale_changes_how_many_workers_there_are() {
    let server = Setup::scripted().start().await;
    let scaled = server.ctl(&["scale", "3", "--json"]).await.expect(0).json();
    assert_eq!((&scaled["before"], &scaled["now"]), (&1.into(), &3.into()), "{scaled}");
    until("there are three", || async { server.worker_pids().await.len() == 3 }).await;
    server.ctl(&["scale", "scripted", "1"]).await.expect(0);
    until("there is one", || async { server.worker_pids().await.len() == 1 }).await;
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn metrics_are_what_prometheus_reads() {
    let server = Setup::scripted().start().await;
    assert_eq!(server.get("/").await.status, 200);
    let text = server.ctl(&["metrics"]).await.expect(0).out;
    assert!(
        text.lines().any(|line| line.starts_with("# TYPE ")) && text.trim_end().ends_with("# EOF"),
        "{text}"
    );
    let counted = text.lines().find(|line| line.contains("requests_total") && line.contains("scripted"));
    assert!(counted.is_some(), "{text}");
    let json = server.ctl(&["metrics", "--json"]).await.expect(0).json();
    assert!(json["metrics"].as_str().unwrap().contains("# TYPE"), "{json}");
}

#[tokio::test]
async fn logs_are_what_the_workers_wrote() {
    let server = Setup::scripted().worker("START", "exit").without_workers().start().await;
    until("the worker has written", || async {
        server.ctl(&["logs"]).await.out.contains("cannot start: told to exit")
    })
    .await;
    let ran = server.ctl(&["logs", "-n", "1", "--json"]).await.expect(0);
    let line = ran.json();
    assert_eq!((&line["app"], &line["line"]), (&"scripted".into(), &"cannot start: told to exit".into()));
}

#[tokio::test]
async fn versions_completions_and_check_need_no_server() {
    let home = tempfile::tempdir().unwrap();
    let ran = rip_serverctl(home.path(), &["version"]).await.expect(0);
    assert!(ran.out.contains(env!("CARGO_PKG_VERSION")), "{ran:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = rip_serverctl(home.path(), &["completions", shell]).await.expect(0);
        assert!(ran.out.contains("rip-serverctl") && ran.out.contains("deploy"), "{shell}");
    }
    let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/hello");
    let ran = rip_serverctl(home.path(), &["check", app, "w:3"]).await.expect(0);
    assert!(ran.out.contains("w:3"), "{ran:?}");
    assert!(rip_serverctl(home.path(), &["--json", "check", app]).await.expect(0).json().is_object());
    let ran = rip_serverctl(home.path(), &["--help"]).await.expect(0);
    assert!(ran.out.contains("Exit codes:"), "{ran:?}");
    rip_serverctl(home.path(), &[] as &[&str]).await.expect(2);
}

#[tokio::test]
async fn an_instance_is_found_by_its_name() {
    let server = Setup::scripted().start().await;
    let folder = server.root().join("rip-server");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(server.control_socket(), folder.join("named.sock")).unwrap();
    let ran = rip_serverctl(server.root(), &["--instance", "named", "status"]).await.expect(0);
    assert!(ran.out.contains("scripted"), "{ran:?}");
    rip_serverctl(server.root(), &["--instance", "other", "status"]).await.expect(7);
}

#[tokio::test]
async fn stop_returns_when_the_server_has_gone() {
    let mut server = Setup::scripted().start().await;
    let stopped = server.ctl(&["stop", "--json"]).await.expect(0).json();
    assert_eq!(stopped["stopped"], true);
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(!server.control_socket().exists());
    server.ctl(&["status"]).await.expect(7);
}

async fn hosts(server: &Server) -> Vec<String> {
    let listed = server.ctl(&["list", "--json"]).await.expect(0).json();
    listed["hosts"].as_array().unwrap().iter().map(|host| host.as_str().unwrap().to_owned()).collect()
}
