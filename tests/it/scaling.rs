//! The number of workers follows the load: more when requests wait, fewer after a quiet time, none while nobody asks.

use futures_util::future::join_all;
use rip_server::api::AppStatus;
use tokio::sync::watch;

use crate::support::{Server, Setup, soon, until};

async fn app(server: &Server) -> AppStatus {
    server.status().await.apps.remove(0)
}

/// Waits until there are so many workers, all ready and none on its way out.
async fn at_rest(server: &Server, count: usize) -> AppStatus {
    until(&format!("{count} workers"), || async {
        let workers = app(server).await.workers;
        workers.wanted == count && workers.ready == count && workers.draining + workers.stopping == 0
    })
    .await;
    app(server).await
}

/// The changes that the log tells: from, to, why.
fn changes(server: &Server) -> Vec<String> {
    let lines = server.output().json().into_iter();
    let told = lines.filter_map(|line| line["message"].as_str().map(str::to_owned));
    told.filter_map(|text| text.strip_prefix("workers: ").map(str::to_owned)).collect()
}

/// How often a worker was started.
async fn starts(server: &Server) -> usize {
    let page = server.ctl(&["metrics"]).await.expect(0).out;
    let line = page.lines().find(|line| line.starts_with("rip_worker_starts_total{")).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn workers_come_while_requests_wait_and_go_after_a_quiet_time() {
    let setup = Setup::scripted().words(&["w:1..3"]).rules("workers_quiet = '1s'");
    let server = setup.start().await;
    assert_eq!(at_rest(&server, 1).await.scaling.unwrap(), "1 to 3 workers by load: 1 now");
    let mut held = vec![server.occupy("a").await];
    let waiting = [server.connect().await, server.connect().await, server.connect().await];
    for (mut conn, gate) in waiting.into_iter().zip(["b", "c", "d"]) {
        conn.send_get(&format!("/gate?name={gate}")).await;
        held.push(conn);
    }
    // Chance decides which of the requests waits for the others.
    until("three are served and one waits", || async {
        let app = app(&server).await;
        (app.queued, app.in_flight) == (1, 3)
    })
    .await;
    let full = at_rest(&server, 3).await;
    assert!(full.scaling.unwrap().contains("3 now, 2 until"));
    for gate in ["a", "b", "c", "d"] {
        server.meeting.open(gate);
    }
    for mut conn in held {
        assert_eq!(conn.reply("GET").await.status, 200);
    }
    let quiet = at_rest(&server, 1).await;
    assert!(quiet.scaling.as_ref().unwrap().ends_with("1 were enough for 1 s"), "{quiet:?}");
    let changes = changes(&server);
    assert!(changes[0].starts_with("1 → 2: ") && changes[0].ends_with("wait"), "{changes:?}");
    assert_eq!(changes[2..], ["3 → 2: 2 were enough for 1 s", "2 → 1: 1 were enough for 1 s"]);
    assert_eq!(server.get("/").await.status, 200);
    let page = server.ctl(&["metrics"]).await.expect(0).out;
    for line in [
        "rip_worker_scalings_total{app=\"scripted\",cause=\"waiting\"} 2",
        "rip_worker_scalings_total{app=\"scripted\",cause=\"quiet\"} 2",
        "rip_workers_wanted{app=\"scripted\"} 1",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    let status = server.ctl(&["status"]).await.expect(0).out;
    assert!(status.contains("1 to 3 workers by load: 1 now, 2 until "), "{status}");
}

/// A client that asks without a pause while there are to be more than `number` of them. Returns how many answers came.
async fn ask_on(server: &Server, number: usize, mut clients: watch::Receiver<Option<usize>>) -> usize {
    for round in 0.. {
        let wanted = clients.wait_for(|wanted| wanted.is_none_or(|wanted| wanted > number)).await.unwrap();
        if wanted.is_none() {
            return round;
        }
        drop(wanted);
        let body = format!("{number}: {round}");
        let (reply, expected) = match round % 2 {
            0 => (server.get("/slow?ms=60").await, "slow\n"),
            _ => (server.post("/echo", body.as_bytes()).await, body.as_str()),
        };
        assert_eq!((reply.status, reply.text()), (200, expected), "{}", reply.reason());
    }
    unreachable!("it asks until there are no clients")
}

#[tokio::test]
async fn a_load_that_doubles_and_halves_is_followed_and_all_of_it_is_answered() {
    let server = Setup::scripted().words(&["w:1..4"]).rules("workers_quiet = '1s'").start().await;
    let (clients, wanted) = watch::channel(Some(0));
    let asking = (0..4).map(|number| ask_on(&server, number, wanted.clone()));
    let steering = async {
        for count in [1, 2, 4, 2, 1] {
            clients.send_replace(Some(count));
            at_rest(&server, count).await;
        }
        clients.send_replace(None);
    };
    let (answered, ()) = tokio::join!(join_all(asking), steering);
    assert!(answered.iter().all(|answered| *answered > 2), "{answered:?}");
    let (changes, page) = (changes(&server), server.ctl(&["metrics"]).await.expect(0).out);
    let ups = changes.iter().filter(|change| change.contains(" wait")).count();
    assert!(ups >= 2 && changes.len() - ups >= 3, "{changes:?}");
    assert!(!page.contains("rip_refused_total{"), "{page}");
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_deploy_and_a_crash_keep_the_number() {
    let server = Setup::scripted().words(&["w:1..4"]).start().await;
    let (mut first, mut second) = (server.occupy("a").await, server.connect().await);
    second.send_get("/gate?name=b").await;
    soon("the second is asked", server.meeting.reached("b")).await;
    at_rest(&server, 2).await;
    for (gate, conn) in [("a", &mut first), ("b", &mut second)] {
        server.meeting.open(gate);
        assert_eq!(conn.reply("GET").await.status, 200);
    }
    server.deploy("two").await;
    let deployed = at_rest(&server, 2).await;
    assert_eq!(deployed.generation.0, 2);
    let victim = server.worker_pids().await[0];
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(victim as i32).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    until("it is replaced", || async {
        let pids = server.worker_pids().await;
        pids.len() == 2 && !pids.contains(&victim)
    })
    .await;
    at_rest(&server, 2).await;
}

#[tokio::test]
async fn a_range_may_be_asked_for_while_the_server_runs() {
    let server = Setup::scripted().words(&["w:1"]).start().await;
    server.ctl(&["scale", "2..3"]).await.expect(0);
    assert!(at_rest(&server, 2).await.scaling.unwrap().starts_with("2 to 3 workers by load"));
    server.ctl(&["scale", "1"]).await.expect(0);
    assert_eq!(at_rest(&server, 1).await.scaling, None);
    for (count, right) in [("0", "idle = \"10min\""), ("4..2", "2..4"), ("some", "2..8")] {
        let refused = server.ctl(&["scale", count]).await.expect(2);
        assert!(refused.err.contains(right), "{}", refused.err);
    }
}

#[tokio::test]
async fn an_app_at_rest_is_started_once_for_ten_requests_at_once() {
    let server = Setup::scripted().words(&["w:1"]).rules("idle = '1s'").start().await;
    for round in 1..=2 {
        until("it rests", || async { app(&server).await.resting }).await;
        let resting = at_rest(&server, 0).await;
        assert_eq!(resting.doing, "resting: the next request starts a worker");
        until("no worker is left", || async { server.worker_pids().await.is_empty() }).await;
        server.ctl(&["status"]).await.expect(0);
        assert_eq!(server.get("/status").await.json::<serde_json::Value>()["status"], "healthy");
        let replies = join_all((0..10).map(|_| server.get("/"))).await;
        for reply in replies {
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        assert_eq!(starts(&server).await, 1 + round);
    }
    let changes = changes(&server);
    assert_eq!(changes[0], "1 → 0: nobody asked for 1 s");
    assert!(changes[1].starts_with("0 → 1: ") && changes[1].ends_with(" after a rest"), "{changes:?}");
}

#[tokio::test]
async fn an_app_at_rest_that_is_deployed_serves_the_new_version() {
    let server = Setup::scripted().words(&["w:2"]).rules("idle = '1s'").start().await;
    at_rest(&server, 0).await;
    server.deploy("two").await;
    assert_eq!(server.get("/version").await.text(), "two");
    at_rest(&server, 0).await;
    server.add_rule("nonsense = true");
    server.ctl(&["deploy"]).await.expect(1);
    assert_eq!(server.get("/version").await.status, 200, "it is woken all the same");
}

#[tokio::test]
async fn a_tunnel_keeps_its_app_awake() {
    let setup = Setup::scripted().server("limits.head = '1s'").rules("idle = '1s'");
    let server = setup.start().await;
    let mut stream = server.connect().await;
    stream.send_get("/endless-events").await;
    assert_eq!(stream.head().await.status, 200);
    server.outlast_heads(3).await;
    assert_eq!(app(&server).await.workers.ready, 1);
    assert_eq!(starts(&server).await, 1);
    drop(stream);
    at_rest(&server, 0).await;
}

#[tokio::test]
async fn no_more_workers_come_than_fit_their_memory() {
    let setup = Setup::scripted().words(&["w:1..4"]).rules("memory_total = '1M'");
    let server = setup.start().await;
    let mut held = server.occupy("a").await;
    let mut waiting = server.connect().await;
    waiting.send_get("/").await;
    until("it is said", || async {
        app(&server).await.scaling.unwrap().contains("does not fit memory_total")
    })
    .await;
    assert_eq!(app(&server).await.workers.wanted, 1);
    server.meeting.open("a");
    assert_eq!(held.reply("GET").await.status, 200);
    assert_eq!(waiting.reply("GET").await.status, 200);
}
