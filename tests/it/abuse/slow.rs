//! `slowhttptest` in its four modes: slow heads, slow bodies, ranges and slow reading.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::others::Other;
use crate::support::{Setup, has};

#[tokio::test]
async fn others_keep_their_answers_beside_slow_heads() {
    beside("slow heads", &["-H", "-i", "5", "-x", "24"]).await;
}

#[tokio::test]
async fn others_keep_their_answers_beside_slow_bodies() {
    beside("slow bodies", &["-B", "-i", "5", "-s", "8192", "-x", "24"]).await;
}

#[tokio::test]
async fn others_keep_their_answers_beside_many_ranges() {
    beside("ranges", &["-R", "-a", "5", "-b", "3000"]).await;
}

#[tokio::test]
async fn others_keep_their_answers_beside_slow_readers() {
    beside("slow readers", &["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"]).await;
}

/// More connections than there are places, from 127.0.0.1.
async fn beside(what: &str, words: &[&str]) {
    if !has("slowhttptest", "slowhttptest") {
        return;
    }
    let setup = Setup::scripted().words(&["w:2"]).server("limits.max_connections = 300");
    let server = setup.start().await;
    let quiet = Other::alone(&server, 9, Duration::from_secs(1)).await;
    let beside = Other::start(&server, 9);
    let url = format!("http://127.0.0.1:{}/big?bytes=20000", server.port());
    let mut command = Command::new("slowhttptest");
    command.args(words).args(["-c", "500", "-r", "500", "-l", "8", "-p", "3", "-u", &url]);
    let ended = command.stdin(Stdio::null()).output().await.unwrap();
    let during = beside.end().await;
    println!("slowhttptest | {what} | quiet: {quiet} | during: {during}");
    assert!(during.good > 0, "{}", String::from_utf8_lossy(&ended.stdout));
    assert_eq!(during.bad, [""; 0]);
}
