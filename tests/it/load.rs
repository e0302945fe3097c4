//! No request is lost: real load while things change, every request counted by how it ended.
//!
//! Each case says beside its name what may be lost; all else is zero. The counts are printed as `load | case | …`.

use rustix::process::{Pid, Signal, kill_process};

use crate::certs::Pair;
use crate::support::load::{Load, TASKS};
use crate::support::{Server, Setup, tls, until};

#[tokio::test]
async fn rolling_deploys_lose_nothing() {
    for door in DOORS {
        let server = start(door, two_workers()).await;
        let load = load(&server, &["v1", "v2", "v3", "v4"]);
        for version in 1..4 {
            load.more(200).await;
            server.deploy(&format!("v{}", version + 1)).await;
            load.at_least_version(version);
        }
        load.more(200).await;
        load.finish(&format!("rolling deploy, {door:?}")).await.assert_nothing_lost();
        server.meeting.assert_no_violations();
    }
}

#[tokio::test]
async fn broken_deploys_lose_nothing() {
    for door in DOORS {
        let server = start(door, two_workers()).await;
        // Versions that are to serve may take longer.
        server.add_rule("timeouts.start = \"1s\"");
        let load = load(&server, &["v1"]);
        for broken in ["exit", "mute", "exit"] {
            load.more(100).await;
            server.set_version(broken);
            server.ctl(&["deploy"]).await.expect(1);
        }
        load.more(200).await;
        load.finish(&format!("broken deploy, {door:?}")).await.assert_nothing_lost();
    }
}

#[tokio::test]
async fn recycling_by_requests_loses_nothing() {
    for door in DOORS {
        let server = start(door, two_workers().words(&["r:40,1h"])).await;
        let load = load(&server, &["v1"]);
        load.seen_workers(8).await;
        load.finish(&format!("recycle by requests, {door:?}")).await.assert_nothing_lost();
        server.meeting.assert_no_violations();
    }
}

#[tokio::test]
async fn recycling_by_age_loses_nothing() {
    let server = start(Door::Tls, two_workers().words(&["r:1s,0"])).await;
    let load = load(&server, &["v1"]);
    load.seen_workers(6).await;
    load.finish("recycle by seconds").await.assert_nothing_lost();
    server.meeting.assert_no_violations();
}

/// A POST that the killed worker had in hand may be lost, one for each kill, because it cannot be sent again.
#[tokio::test]
async fn killed_workers_lose_at_most_the_posts_they_had_in_hand() {
    for door in DOORS {
        let server = start(door, two_workers()).await;
        let load = load(&server, &["v1"]);
        for _ in 0..KILLS {
            load.more(100).await;
            let pid = server.worker_pids().await[0];
            kill(pid, Signal::KILL);
            until("another worker is in its place", || async {
                let pids = server.worker_pids().await;
                pids.len() == 2 && !pids.contains(&pid)
            })
            .await;
            server.await_ready().await;
        }
        load.more(100).await;
        let tally = load.finish(&format!("worker kill -9, {door:?}")).await;
        let lost = tally.count("POST 502 worker-died");
        assert!(lost <= KILLS, "{tally}");
        tally.without("POST 502 worker-died").assert_nothing_lost();
    }
}

/// May be lost: the request that is stuck, by 504.
#[tokio::test]
async fn a_stuck_worker_loses_only_its_own_request() {
    let server = start(Door::Tls, two_workers().rules("timeouts.request = \"1500ms\"")).await;
    let load = load(&server, &["v1"]);
    load.more(100).await;
    let before = server.worker_pids().await;
    let stuck = server.get("/hang").await;
    assert_eq!((stuck.status, stuck.reason()), (504, "worker-timeout"));
    until("the stuck worker is replaced", || async {
        let now = server.worker_pids().await;
        now.len() == 2 && before.iter().any(|pid| !now.contains(pid))
    })
    .await;
    load.more(200).await;
    load.finish("stuck worker").await.assert_nothing_lost();
}

#[tokio::test]
async fn hosts_that_come_and_go_cost_the_others_nothing() {
    let server = start(Door::Tls, two_workers()).await;
    let load = load(&server, &["v1"]);
    for round in 0..10 {
        load.more(30).await;
        let host = format!("h{round}.example");
        server.ctl(&["add", &host]).await.expect(0);
        let reply = server.ask("GET", "/version", &[("Host", &host)], b"").await;
        assert_eq!((reply.status, reply.text()), (200, "v1"));
        server.ctl(&["remove", &host]).await.expect(0);
        assert_eq!(server.ask("GET", "/version", &[("Host", &host)], b"").await.reason(), "unknown-host");
    }
    load.finish("host add and remove").await.assert_nothing_lost();
}

#[tokio::test]
async fn scaling_loses_nothing() {
    for door in DOORS {
        let server = start(door, Setup::scripted().words(&["w:4"])).await;
        let load = load(&server, &["v1"]);
        for count in ["1", "3", "2", "4", "1"] {
            load.more(100).await;
            server.ctl(&["scale", count]).await.expect(0);
            let wanted: usize = count.parse().unwrap();
            until("it is so", || async { server.worker_pids().await.len() == wanted }).await;
        }
        load.more(100).await;
        load.finish(&format!("scale up and down, {door:?}")).await.assert_nothing_lost();
        server.meeting.assert_no_violations();
    }
}

#[tokio::test]
async fn requests_wait_out_a_pause() {
    let server = start(Door::Plain, two_workers()).await;
    let load = load(&server, &["v1"]);
    for _ in 0..3 {
        load.more(100).await;
        server.ctl(&["pause", "localhost"]).await.expect(0);
        until("requests wait", || async { server.status().await.apps[0].queued == TASKS }).await;
        server.ctl(&["resume", "localhost"]).await.expect(0);
    }
    load.more(100).await;
    load.finish("pause and resume").await.assert_nothing_lost();
}

#[tokio::test]
async fn swapped_certificates_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new(folder.path(), &["localhost"]);
    let server = start(Door::Tls, two_workers().words(&pair.words())).await;
    let load = load(&server, &["v1"]);
    for _ in 0..3 {
        load.more(100).await;
        let serial = pair.renew(&["localhost"]);
        until("the new certificate is served", || async {
            tls::serial(server.port(), "localhost").await == serial
        })
        .await;
    }
    load.more(100).await;
    load.finish("certificate swap").await.assert_nothing_lost();
}

fn two_workers() -> Setup {
    Setup::scripted().words(&["w:2"])
}

async fn start(door: Door, setup: Setup) -> Server {
    let setup = if door == Door::Tls { setup.tls() } else { setup };
    let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    std::fs::create_dir(folder.path().join("scripted")).unwrap();
    std::fs::write(folder.path().join("scripted/VERSION"), "v1").unwrap();
    setup.start_in(folder).await
}

fn load(server: &Server, versions: &[&'static str]) -> Load {
    Load::start(server.port(), server.is_tls(), versions)
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// How the load comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Plain,
    Tls,
}

const DOORS: [Door; 2] = [Door::Plain, Door::Tls];
const KILLS: usize = 4;
