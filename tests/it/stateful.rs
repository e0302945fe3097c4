//! Workers are not ended for their age while something lives in them: which apps' workers are replaced unasked, and
//! what is waited for.

use std::fs;
use std::time::Duration;

use crate::support::{Setup, until};

/// `check`'s rows of `recycle`, as `key value origin`.
async fn rows(server: &crate::support::Server, path: &std::path::Path, words: &[&str]) -> Vec<String> {
    let mut all = vec!["check", "--all", path.to_str().unwrap()];
    all.extend(words);
    let out = server.ctl(&all).await.expect(0).out;
    let rows = out.lines().filter(|line| line.trim_start().starts_with("recycle."));
    rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn only_apps_that_are_stateless_by_nature_are_recycled_unasked() {
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("index.html"), "hello").unwrap();
    let server = Setup::app(site.path()).words(&["w:1"]).lines().start().await;
    assert_eq!(server.status().await.apps[0].recycle, "after 10000 requests or 1 h");
    until("the start says so", || async {
        server.output().contains("each is replaced after 10000 requests or 1 h")
    })
    .await;
    let told = ["recycle.requests 10000 default", "recycle.age 1h default", "recycle.reloads 10 default"];
    assert_eq!(rows(&server, site.path(), &[]).await, told);

    let off = ["recycle.requests off default", "recycle.age off default", "recycle.reloads off default"];
    for (file, text) in [
        ("rip.toml", "command = [\"sleep\", \"1000\"]"),
        ("Procfile", "web: sleep 1000"),
        ("package.json", "{\"scripts\": {\"start\": \"sleep 1000\"}}"),
    ] {
        let app = tempfile::tempdir().unwrap();
        fs::write(app.path().join(file), text).unwrap();
        assert_eq!(rows(&server, app.path(), &[]).await, off, "{file}");
        let told = rows(&server, app.path(), &["r:500"]).await;
        assert_eq!(told[0], "recycle.requests 500 command line `r:500`", "{file}");
        assert_eq!(told[1..], off[1..], "{file}");
    }

    let scripted = Setup::scripted().lines().start().await;
    assert_eq!(scripted.status().await.apps[0].recycle, "never");
    until("the start has been told", || async { scripted.output().contains("control ") }).await;
    assert!(!scripted.output().contains("each is replaced"), "{}", scripted.output());
}

#[tokio::test]
async fn a_worker_with_an_open_event_stream_is_not_recycled_until_it_ends() {
    let server = Setup::scripted().words(&["w:1", "r:1s"]).start().await;
    let mut stream = server.connect().await;
    stream.send_get("/endless-events?name=a").await;
    assert_eq!(stream.head().await.status, 200);
    let pid = server.worker_pids().await;
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        stream.chunk().await.expect("it goes on");
    }
    assert_eq!(server.worker_pids().await, pid);
    let why = server.workers().await.workers.remove(0).why.unwrap_or_default();
    assert!(why.contains("once its tunnels have ended"), "{why}");
    drop(stream);
    until("it is replaced", || async { !server.worker_pids().await.contains(&pid[0]) }).await;
}
