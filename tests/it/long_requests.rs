//! Requests that are long by nature: who holds the workers is said, and what is concurrent by nature takes many.

use crate::support::{Server, Setup, until};

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
