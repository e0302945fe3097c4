//! Workers that have served long enough, grow too large, or die: replaced without a request noticing.

use std::collections::BTreeSet;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Reply, Server, Setup, soon, until};

fn worker_of(reply: &Reply) -> u32 {
    reply.field("x-worker-pid").parse().unwrap()
}

/// Asks again and again, none of it in vain, until so many workers have answered.
async fn ask_until_workers(server: &Server, count: usize) -> usize {
    let mut pids = BTreeSet::new();
    let mut asked = 0;
    let mut conn = server.connect().await;
    while pids.len() < count {
        let reply = conn.get("/").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        pids.insert(worker_of(&reply));
        asked += 1;
    }
    asked
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn workers_are_replaced_after_so_many_requests_and_no_request_is_lost() {
    let server = Setup::scripted().words(&["w:1", "r:20"]).start().await;
    let asked = soon("three workers have answered", ask_until_workers(&server, 3)).await;
    // Two lives of 18 to 22 requests each, and what came while the successors started.
    assert!(asked > 36, "replaced after {asked} requests already");
    server.meeting.assert_no_violations();
    assert!(!server.output().contains("crash"), "it is not a crash:\n{}", server.output());
}

#[tokio::test]
async fn workers_are_replaced_after_some_time_without_any_request() {
    let server = Setup::scripted().words(&["w:2", "r:1s"]).start().await;
    let before: BTreeSet<_> = server.worker_pids().await.into_iter().collect();
    until("both are replaced", || async {
        let now = server.worker_pids().await;
        now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
    })
    .await;
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn a_worker_with_a_request_in_hand_finishes_it_before_it_is_replaced() {
    let server = Setup::scripted().words(&["w:1", "r:1s"]).start().await;
    let mut conn = server.connect().await;
    conn.send_get("/gate?name=a").await;
    server.meeting.reached("a").await;
    until("its successor serves", || async { server.get("/").await.status == 200 }).await;
    server.meeting.open("a");
    assert_eq!(conn.reply("GET").await.status, 200);
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_worker_that_grows_is_replaced_after_its_answer() {
    let server = Setup::scripted().words(&["w:1"]).rules("memory = \"60M\"").start().await;
    let grown = worker_of(&server.get(&format!("/memory?bytes={}", 80 << 20)).await);
    until("another one serves", || async {
        let reply = server.get("/").await;
        assert_eq!(reply.status, 200);
        worker_of(&reply) != grown
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_outgrows_the_hard_limit_is_killed_and_replaced() {
    let server = Setup::scripted().words(&["w:1"]).rules("memory = \",60M\"").start().await;
    let grown = worker_of(&server.get(&format!("/memory?bytes={}", 80 << 20)).await);
    until("another one serves", || async {
        let reply = server.get("/").await;
        reply.status == 200 && worker_of(&reply) != grown
    })
    .await;
    until("the log says why", || async {
        server.output().lines().iter().any(|line| line.contains("oom") || line.contains("memory"))
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_is_killed_is_replaced() {
    let server = Setup::scripted().words(&["w:2"]).start().await;
    let [victim, other] = server.worker_pids().await[..] else { panic!("not two workers") };
    kill(victim);
    until("there are two again", || async {
        let now = server.worker_pids().await;
        now.len() == 2 && now.contains(&other) && !now.contains(&victim)
    })
    .await;
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn while_one_of_two_workers_is_killed_again_and_again_no_get_fails() {
    let server = Setup::scripted().words(&["w:2"]).start().await;
    let mut conn = server.connect().await;
    for round in 0..4 {
        server.await_ready().await;
        let victim = worker_of(&conn.get("/").await);
        kill(victim);
        for i in 0..20 {
            let reply = conn.get("/").await;
            assert_eq!(reply.status, 200, "round {round}, request {i}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn a_worker_idle_when_killed_is_never_asked() {
    let server = Setup::scripted().words(&["w:1"]).start().await;
    let victim = server.worker_pids().await[0];
    kill(victim);
    until("it is gone", || async { !std::path::Path::new(&format!("/proc/{victim}/fd/3")).exists() }).await;
    // A request that may not be repeated: it must reach the next worker, once.
    let reply = server.post("/echo", b"once").await;
    assert_eq!((reply.status, reply.text()), (200, "once"));
}

#[tokio::test]
async fn an_app_that_crashes_again_and_again_leaves_the_other_alone() {
    let server = Setup::scripted().words(&["w:2"]).start().await;
    let other = server.root().join("other");
    std::fs::create_dir(&other).unwrap();
    let own = std::fs::read_to_string(server.root().join("scripted/rip.toml")).unwrap();
    std::fs::write(other.join("rip.toml"), format!("workers = 1\n{own}")).unwrap();
    server.ctl(&["add", "other.example", "--app", other.to_str().unwrap()]).await.expect(0);
    let before = pids_of(&server, "scripted").await;
    for crash in 0..4 {
        let path = format!("/die?{crash}");
        let reply = server.ask("POST", &path, &[("Host", "other.example")], b"").await;
        assert_eq!((reply.status, reply.reason()), (502, "worker-died"), "after the pause it is served");
        assert_eq!(server.get("/").await.status, 200);
    }
    until("it pauses for long", || async { doing(&server, "other").await.contains("failed 4 times") }).await;
    assert_eq!(pids_of(&server, "scripted").await, before);
    assert_eq!(doing(&server, "scripted").await, "serving");

    // The first crash of the other app is its first, whatever this one has spent.
    kill(*before.first().unwrap());
    until("the one that was killed is replaced", || async {
        let said = doing(&server, "scripted").await;
        assert!(!said.contains("times"), "{said}");
        let now = pids_of(&server, "scripted").await;
        said == "serving" && now.len() == 2 && now != before
    })
    .await;
    server.set_version("two");
    server.ctl(&["deploy", "scripted"]).await.expect(0);
    assert_eq!(server.get("/version").await.text(), "two");
}

async fn pids_of(server: &Server, app: &str) -> BTreeSet<u32> {
    let workers = server.workers().await.workers;
    workers.iter().filter(|worker| worker.app.as_str() == app).filter_map(|worker| worker.pid).collect()
}

async fn doing(server: &Server, app: &str) -> String {
    let apps = server.status().await.apps;
    apps.into_iter().find(|status| status.app.as_str() == app).unwrap().doing
}
