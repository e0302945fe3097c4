//! The choice of a worker, the requests that wait and for how long, and clients that leave while they wait.

use futures_util::future::join_all;
use rustix::process::Pid;

use crate::support::{Conn, Reply, Server, Setup, soon, until};

impl Server {
    /// Waits until so many requests wait for a worker.
    pub(crate) async fn queued(&self, count: usize) {
        let what = format!("{count} requests wait");
        until(&what, || async { self.status().await.apps[0].queued == count }).await;
    }

    /// Sends a request that its worker answers when the gate is opened; returns when the worker has it.
    pub(crate) async fn occupy(&self, gate: &str) -> Conn {
        let mut conn = self.connect().await;
        conn.send_get(&format!("/gate?name={gate}")).await;
        self.meeting.reached(gate).await;
        conn
    }

    /// Sends a request and returns when so many wait.
    async fn wait_behind(&self, path: &str, count: usize) -> Conn {
        let mut conn = self.connect().await;
        conn.send_get(path).await;
        self.queued(count).await;
        conn
    }
}

fn worker_of(reply: &Reply) -> u32 {
    reply.field("x-worker-pid").parse().unwrap()
}

fn lives(pid: u32) -> bool {
    rustix::process::test_kill_process(Pid::from_raw(pid as i32).unwrap()).is_ok()
}

#[tokio::test]
async fn the_worker_that_was_busy_last_is_taken_first() {
    let server = Setup::scripted().words(&["w:3"]).start().await;
    let mut first = server.occupy("a").await;
    let mut second = server.occupy("b").await;
    server.meeting.open("a");
    let warm = worker_of(&first.reply("GET").await);
    for _ in 0..5 {
        assert_eq!(worker_of(&server.get("/").await), warm);
    }
    server.meeting.open("b");
    let warmer = worker_of(&second.reply("GET").await);
    assert_ne!(warmer, warm);
    for _ in 0..5 {
        assert_eq!(worker_of(&server.get("/").await), warmer);
    }
}

#[tokio::test]
async fn those_who_wait_are_served_in_the_order_they_came() {
    let server = Setup::scripted().start().await;
    let mut held = server.occupy("a").await;
    let mut waiting = Vec::new();
    for i in 0..5 {
        waiting.push(server.wait_behind(&format!("/?i={i}"), i + 1).await);
    }
    server.meeting.open("a");
    assert_eq!(held.reply("GET").await.status, 200);
    for conn in &mut waiting {
        assert_eq!(conn.reply("GET").await.status, 200);
    }
    assert_eq!(server.meeting.targets()[1..], ["/?i=0", "/?i=1", "/?i=2", "/?i=3", "/?i=4"]);
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let server = Setup::scripted().words(&["--max-queue=2"]).start().await;
    let _held = server.occupy("a").await;
    let mut one = server.wait_behind("/?one", 1).await;
    let _two = server.wait_behind("/?two", 2).await;
    let reply = server.get("/?three").await;
    assert_eq!((reply.status, reply.reason(), reply.field("retry-after")), (503, "queue-full", "1"));
    server.meeting.open("a");
    assert_eq!(one.reply("GET").await.status, 200);
}

#[tokio::test]
async fn the_deadline_in_the_queue_fires_while_all_workers_are_stuck() {
    let server = Setup::scripted().words(&["w:2", "--queue-timeout-ms=300"]).start().await;
    let _stuck = [server.occupy("a").await, server.occupy("b").await];
    let replies = join_all((0..3).map(|_| server.get("/?late"))).await;
    for reply in replies {
        assert_eq!((reply.status, reply.reason(), reply.field("retry-after")), (503, "queue-timeout", "1"));
    }
    let record = server.record("/?late").await;
    assert!(record["queueSeconds"].as_f64().unwrap() >= 0.3, "{record}");
    assert_eq!(record["worker"], serde_json::Value::Null);
    assert_eq!(server.meeting.targets().len(), 2, "nothing was sent to a worker");
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_is_never_sent() {
    let server = Setup::scripted().start().await;
    let mut held = server.occupy("a").await;
    let leaver = server.wait_behind("/?leaver", 1).await;
    let mut stayer = server.wait_behind("/?stayer", 2).await;
    leaver.reset();
    server.queued(1).await;
    server.meeting.open("a");
    assert_eq!(held.reply("GET").await.status, 200);
    assert_eq!(stayer.reply("GET").await.status, 200);
    assert_eq!(server.meeting.targets(), ["/gate?name=a", "/?stayer"]);
    let record = server.record("/?leaver").await;
    assert_eq!((&record["status"], &record["reason"]), (&499.into(), &"client-gone".into()), "{record}");
}

#[tokio::test]
async fn a_worker_whose_client_left_gets_nothing_before_it_has_finished() {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = setup.start().await;
        server.occupy("a").await.reset();
        assert_eq!(server.record("/gate?name=a").await["status"], 499);
        let mut next = server.wait_behind("/", 1).await;
        server.meeting.open("a");
        assert_eq!(next.reply("GET").await.status, 200);
        server.meeting.assert_no_violations();
        let connections: Vec<_> = server.meeting.views().iter().map(|view| view.connection).collect();
        assert_eq!(connections[0], connections[1], "it had the whole request: its connection is kept");
    }
}

#[tokio::test]
async fn clients_that_leave_at_any_moment_never_give_a_worker_two_requests() {
    let server = Setup::scripted().words(&["w:2"]).start().await;
    let impatient = |i: usize| {
        let server = &server;
        async move {
            for j in 0..10 {
                let mut conn = server.connect().await;
                conn.send_get(["/chunks?n=3", "/slow?ms=5", "/big?bytes=200000", "/"][(i + j) % 4]).await;
                match j % 3 {
                    0 => {}
                    1 => drop(conn.head().await),
                    _ => drop(conn.reply("GET").await),
                }
            }
        }
    };
    join_all((0..10).map(impatient)).await;
    assert_eq!(server.get("/").await.status, 200);
    server.meeting.assert_no_violations();
    until("nothing is in hand", || async { server.status().await.apps[0].in_flight == 0 }).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_answer_leaves_no_busy_worker_behind() {
    for setup in [Setup::scripted(), Setup::scripted().port()] {
        let server = setup.rules("timeouts.request = \"2s\"").start().await;
        let before = server.worker_pids().await;
        for (name, opened) in [("a", true), ("b", false)] {
            let path = format!("/chunks?n=2&name={name}");
            let mut conn = server.connect().await;
            conn.send_get(&path).await;
            assert_eq!(conn.head().await.status, 200);
            server.meeting.reached(&format!("{name}.1")).await;
            conn.reset();
            assert_eq!(server.record(&path).await["outcome"], "client-gone");
            let mut next = server.wait_behind("/", 1).await;
            if opened {
                server.meeting.open(&format!("{name}.1"));
            }
            assert_eq!(next.reply("GET").await.status, 200);
            assert_eq!(server.worker_pids().await == before, opened, "one that does not end is replaced");
        }
        server.meeting.assert_no_violations();
    }
}

#[tokio::test]
async fn a_worker_that_does_not_answer_in_time_is_killed_and_replaced() {
    let server = Setup::scripted()
        .rules("timeouts.request = \"500ms\"\ntimeouts.kill = \"500ms\"")
        .worker("TERM_IGNORED", "1")
        .start()
        .await;
    let stuck = server.worker_pids().await[0];
    let reply = server.get("/hang").await;
    assert_eq!((reply.status, reply.reason()), (504, "worker-timeout"));
    let fresh = worker_of(&server.get("/").await);
    assert_ne!(fresh, stuck);
    until("the stuck one is gone", || async { !lives(stuck) }).await;
}

#[tokio::test]
async fn a_post_that_hangs_is_504_and_not_sent_again() {
    let server = Setup::scripted().words(&["w:2"]).rules("timeouts.request = \"500ms\"").start().await;
    assert_eq!(server.post("/hang", b"x").await.status, 504);
    assert_eq!(server.get("/hang").await.status, 504, "nor is a GET: it had its time");
    assert_eq!(server.meeting.targets(), ["/hang", "/hang"]);
}

#[tokio::test]
async fn a_worker_with_places_for_three_has_three_requests_and_no_more() {
    let server = Setup::scripted().words(&["w:1", "c:3"]).worker("CONCURRENCY", "3").start().await;
    let _held = [server.occupy("a").await, server.occupy("b").await, server.occupy("c").await];
    let mut fourth = server.wait_behind("/", 1).await;
    server.meeting.open("b");
    assert_eq!(fourth.reply("GET").await.status, 200);
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_late_answer_of_a_worker_with_others_in_hand_costs_only_its_own_request() {
    let server = Setup::scripted()
        .words(&["w:1", "c:3"])
        .worker("CONCURRENCY", "4")
        .rules("timeouts.request = \"1s\"")
        .start()
        .await;
    let before = server.worker_pids().await;
    let mut stream = server.connect().await;
    stream.send_get("/chunks?n=2&name=c").await;
    stream.head().await;
    assert_eq!(server.get("/hang").await.status, 504);
    server.meeting.open("c.1");
    assert_eq!(stream.chunk().await.unwrap(), b"chunk 0\n");
    assert_eq!(stream.chunk().await.unwrap(), b"chunk 1\n");
    assert_eq!(server.worker_pids().await, before);
}

#[tokio::test]
async fn an_app_that_never_becomes_ready_is_503_and_the_server_says_why() {
    let server = Setup::scripted()
        .worker("START", "exit")
        .words(&["--queue-timeout-ms=200"])
        .without_workers()
        .start()
        .await;
    let reply = soon("an answer", server.get("/")).await;
    assert_eq!((reply.status, reply.reason(), reply.field("retry-after")), (503, "no-worker", "1"));
    until("the log has the worker's last words", || async {
        server.output().contains("cannot start: told to exit")
    })
    .await;
    let status: serde_json::Value = server.get("/status").await.json();
    assert_eq!(status["status"], "degraded");
    let doing = &server.status().await.apps[0].doing;
    assert_ne!(doing, "serving", "the status says what is going on");
}

#[tokio::test]
async fn an_app_that_never_answers_its_probe_is_503() {
    let server = Setup::scripted()
        .worker("START", "mute")
        .words(&["--queue-timeout-ms=200"])
        .rules("timeouts.start = \"1s\"\ntimeouts.kill = \"500ms\"")
        .without_workers()
        .start()
        .await;
    let reply = server.get("/").await;
    assert_eq!((reply.status, reply.reason()), (503, "no-worker"));
}

#[tokio::test]
async fn requests_that_come_before_the_first_worker_wait_for_it() {
    let server = Setup::scripted().without_workers().start().await;
    assert_eq!(server.get("/").await.status, 200);
}
