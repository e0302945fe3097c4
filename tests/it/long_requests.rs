//! Requests that are long by nature: who holds the workers is said, and what is concurrent by nature takes many.

use std::path::Path;

use futures_util::future::join_all;
use rustix::process::Signal;

use crate::support::{Server, Setup, has, soon, until};

/// The warnings about who holds the workers of an app.
fn told(server: &Server) -> Vec<String> {
    let lines = server.output().json().into_iter();
    let messages = lines.filter(|line| line["level"] == "WARN").map(|line| line.to_string());
    messages.filter(|line| line.contains("adds workers")).collect()
}

#[tokio::test]
async fn who_holds_the_only_worker_is_said_when_a_request_waited_in_vain() {
    let server = Setup::scripted().rules("timeouts.queue = \"300ms\"").start().await;
    let mut holder = server.connect().await;
    holder.send_get("/gate?name=g&token=secret").await;
    server.meeting.reached("g").await;
    for _ in 0..3 {
        let reply = server.get("/").await;
        assert_eq!((reply.status, reply.reason()), (503, "queue-timeout"));
    }
    until("it is said", async || !told(&server).is_empty()).await;
    let warnings = told(&server);
    assert_eq!(warnings.len(), 1, "once in a while: {warnings:?}");
    let start = "the only worker of scripted has had GET /gate… for ";
    assert!(warnings[0].contains(start), "{warnings:?}");
    assert!(warnings[0].contains("; c:N lets it take several, w:N adds workers"), "{warnings:?}");
    assert!(!warnings[0].contains("secret"), "{warnings:?}");
    server.meeting.open("g");
    assert_eq!(holder.reply("GET").await.status, 200);
}

#[tokio::test]
async fn of_several_workers_the_one_that_is_held_longest_is_named() {
    let rules = "timeouts.queue = \"300ms\"";
    for (words, expected) in [
        (&["w:2"][..], "all 2 workers of scripted have a request in hand, worker "),
        (
            &["w:1", "c:2"],
            "the only worker of scripted has 2 requests in hand, the longest of them GET /gate… for ",
        ),
    ] {
        let server = Setup::scripted().words(words).worker("CONCURRENCY", "2").rules(rules).start().await;
        let mut holders = Vec::new();
        for name in ["a", "b"] {
            let mut conn = server.connect().await;
            conn.send_get(&format!("/gate?name={name}")).await;
            server.meeting.reached(name).await;
            holders.push(conn);
        }
        assert_eq!(server.get("/").await.reason(), "queue-timeout");
        until("it is said", async || !told(&server).is_empty()).await;
        assert!(told(&server)[0].contains(expected), "{:?}", told(&server));
        server.meeting.open("a");
        server.meeting.open("b");
        for mut conn in holders {
            assert_eq!(conn.reply("GET").await.status, 200);
        }
    }
}

#[tokio::test]
async fn status_counts_what_was_refused_by_reason() {
    let setup = Setup::scripted().words(&["--max-queue=1"]).rules("timeouts.queue = \"500ms\"");
    let server = setup.start().await;
    assert_eq!(server.status().await.apps[0].refused.len(), 0);
    let mut holder = server.connect().await;
    holder.send_get("/gate?name=g").await;
    server.meeting.reached("g").await;
    assert_eq!(server.get("/").await.reason(), "queue-timeout");
    assert_eq!(server.get("/").await.reason(), "queue-timeout");
    let mut waits = server.connect().await;
    waits.send_get("/").await;
    until("one waits", async || server.status().await.apps[0].queued == 1).await;
    assert_eq!(server.get("/").await.reason(), "queue-full");
    assert_eq!(waits.reply("GET").await.reason(), "queue-timeout");
    let refused = server.status().await.apps[0].refused.clone();
    let expected = [("queue-full".to_owned(), 1), ("queue-timeout".to_owned(), 3)];
    assert_eq!(refused, expected.into());
    let page = server.ctl(&["status"]).await.expect(0);
    assert!(page.out.contains("refused since the start: 3 queue-timeout, 1 queue-full"), "{}", page.out);
    let json = server.ctl(&["status", "--json"]).await.expect(0).json();
    assert_eq!(json["apps"][0]["refused"]["queue-timeout"], 3);
    server.meeting.open("g");
    assert_eq!(holder.reply("GET").await.status, 200);
}

/// Holds `GET /poll` until `GET /send`, says hello else; `/spin` stops its event loop for ever, `/never` never answers;
/// after `/freeze` nothing does.
const NODE: &str = "
const http = require('http');
let waiting = [];
let frozen = false;
http.createServer((request, response) => {
  const path = request.url.split('?')[0];
  if (path === '/poll') { waiting.push(response); return; }
  if (path === '/never' || frozen) return;
  if (path === '/freeze') frozen = true;
  if (path === '/slow') { setTimeout(() => response.end('slow'), 1000); return; }
  if (path === '/spin') while (true);
  if (path === '/send') { waiting.forEach((each) => each.end('sent')); waiting = []; }
  response.end('hello');
}).listen(process.env.PORT, '127.0.0.1');
";

const ASGI: &str = "
import asyncio
waiting = []
async def app(scope, receive, send):
    if scope['type'] != 'http':
        return
    body = b'hello'
    if scope['path'] == '/poll':
        waiting.append(asyncio.Event())
        await waiting[-1].wait()
        body = b'sent'
    if scope['path'] == '/send':
        for each in waiting:
            each.set()
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': body})
";

const PACKAGE: &str = r#"{"name": "p", "scripts": {"start": "node web.js"}}"#;

fn app(folder: &Path, files: &[(&str, &str)]) -> Setup {
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    Setup::app(folder).words(&["w:1", "--reload=none"])
}

async fn in_flight(server: &Server) -> usize {
    server.status().await.apps[0].in_flight
}

#[tokio::test]
async fn what_is_concurrent_by_nature_serves_others_beside_long_polls() {
    let kinds = [
        ("node", "nodejs", &[("server.js", NODE)][..]),
        ("bun", "bun, of npm", &[("server.ts", NODE)]),
        ("node", "nodejs", &[("package.json", PACKAGE), ("web.js", NODE)]),
        ("uvicorn", "uvicorn", &[("asgi.py", ASGI)]),
    ];
    for (program, package, files) in kinds {
        if !has(program, package) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut server = app(folder.path(), files).start().await;
        let name = files[0].0;
        let described = server.status().await.apps[0].described.clone();
        assert!(described.ends_with("; each worker takes 64 requests at a time (c:64)"), "{described}");
        let polls = async {
            let replies = join_all((0..20).map(|_| server.get("/poll"))).await;
            assert!(replies.iter().all(|reply| reply.status == 200 && reply.text() == "sent"), "{name}");
        };
        let others = async {
            until("the polls are there", async || in_flight(&server).await == 20).await;
            for _ in 0..5 {
                assert_eq!(soon("hello", server.get("/")).await.text(), "hello", "{name}");
            }
            assert_eq!(server.get("/send").await.status, 200, "{name}");
        };
        tokio::join!(polls, others);
        assert_eq!(server.status().await.apps[0].concurrency, 64);
        server.signal(Signal::TERM);
        assert_eq!(server.ended().await.code(), Some(0), "{name}");
    }
}

#[tokio::test]
async fn handlers_and_what_is_said_to_take_one_take_one() {
    if !has("node", "nodejs") {
        return;
    }
    let server = Setup::demo("node-handler").words(&["w:1", "--reload=none"]).start().await;
    assert_eq!(server.status().await.apps[0].concurrency, 1);
    let folder = tempfile::tempdir().unwrap();
    let server = app(folder.path(), &[("server.js", NODE)]).words(&["c:1"]).start().await;
    let status = server.status().await;
    assert_eq!(status.apps[0].concurrency, 1);
    assert!(!status.apps[0].described.contains("at a time"), "{}", status.apps[0].described);
}

#[tokio::test]
async fn a_request_over_its_time_costs_a_concurrent_worker_its_connection_only() {
    if !has("node", "nodejs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = app(folder.path(), &[("server.js", NODE)]).words(&["--read-timeout-ms=500"]).start().await;
    let before = server.worker_pids().await;
    for _ in 0..3 {
        let reply = server.get("/never").await;
        assert_eq!((reply.status, reply.reason()), (504, "worker-timeout"));
        assert_eq!(server.get("/").await.text(), "hello");
    }
    assert_eq!(server.worker_pids().await, before);
}

#[tokio::test]
async fn an_app_that_answers_nothing_while_its_event_loop_goes_round_is_left_alone() {
    if !has("node", "nodejs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let setup = app(folder.path(), &[("server.js", NODE)]).words(&["--read-timeout-ms=500"]);
    let server = setup.server("log.level = \"debug\"").start().await;
    let before = server.worker_pids().await;
    // As one does whose database does not answer.
    assert_eq!(server.get("/freeze").await.status, 200);
    assert_eq!(server.get("/").await.reason(), "worker-timeout");
    until("the worker was asked whether it answers", async || {
        server.output().contains("worker 1 was slow with a request, and answers others")
    })
    .await;
    assert_eq!(server.worker_pids().await, before);
    assert!(!server.output().contains("answers nothing any more"), "{}", server.output());
}

#[tokio::test]
async fn an_event_loop_that_stands_still_is_replaced() {
    if !has("node", "nodejs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = app(folder.path(), &[("server.js", NODE)]).words(&["--read-timeout-ms=1000"]).start().await;
    let before = server.worker_pids().await;
    let reply = server.get("/spin").await;
    assert_eq!((reply.status, reply.reason()), (504, "worker-timeout"));
    until("another worker is there", async || {
        let now = server.worker_pids().await;
        !now.is_empty() && now != before
    })
    .await;
    until("it serves", async || server.get("/").await.status == 200).await;
    server.output().says("answers nothing any more").await;
}

#[tokio::test]
async fn the_end_waits_for_all_that_a_worker_has_in_hand() {
    if !has("node", "nodejs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut server = app(folder.path(), &[("server.js", NODE)]).start().await;
    let mut conns = Vec::new();
    for _ in 0..10 {
        let mut conn = server.connect().await;
        conn.send_get("/slow").await;
        conns.push(conn);
    }
    until("all are in hand", async || in_flight(&server).await == 10).await;
    server.signal(Signal::TERM);
    for mut conn in conns {
        assert_eq!(conn.reply("GET").await.text(), "slow");
    }
    assert_eq!(server.ended().await.code(), Some(0));
}
