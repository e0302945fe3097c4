//! A version that a share of the clients gets first: who gets it, and how all or none get it then.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::future::join_all;
use rip_server::api::AppStatus;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Reply, Server, Setup, soon, until};

/// Four workers that say which version they are of, behind a proxy that names the clients.
fn setup() -> Setup {
    Setup::scripted().words(&["w:4"]).server("trusted_proxies = [\"127.0.0.1\"]")
}

async fn started() -> Server {
    let server = setup().start().await;
    server.deploy("one").await;
    server
}

fn address(client: u8) -> String {
    format!("10.0.0.{client}")
}

/// Whether SPEC says that the client belongs to so many hundredths of the clients.
fn is_among(percent: u64, client: u8) -> bool {
    let mut hash = Context::new(&SHA256);
    for part in ["scripted", &address(client)] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    u64::from_be_bytes(hash.finish().as_ref()[..8].try_into().unwrap()) % 10_000 < percent * 100
}

async fn ask(server: &Server, client: u8, method: &str, path: &str, body: &[u8]) -> Reply {
    server.ask(method, path, &[("X-Forwarded-For", &address(client))], body).await
}

async fn version(server: &Server, client: u8) -> String {
    let reply = ask(server, client, "GET", "/version", b"").await;
    assert_eq!(reply.status, 200, "{}", reply.reason());
    reply.text().to_owned()
}

const CLIENTS: std::ops::RangeInclusive<u8> = 1..=60;

/// Who gets which version.
async fn assert_versions(server: &Server, expected: impl Fn(u8) -> &'static str) {
    for client in CLIENTS {
        assert_eq!(version(server, client).await, expected(client), "client {client}");
    }
}

async fn app(server: &Server) -> AppStatus {
    server.status().await.apps.remove(0)
}

/// Holds version two for a share of the clients.
async fn hold(server: &Server, words: &[&str]) -> String {
    server.set_version("two");
    server.ctl(&[&["deploy"], words].concat()).await.expect(0).err
}

fn of_share(percent: u64) -> impl Fn(u8) -> &'static str {
    move |client| if is_among(percent, client) { "two" } else { "one" }
}

async fn pids_of(server: &Server, generation: u64) -> Vec<u32> {
    let workers = server.workers().await.workers;
    let own = workers.iter().filter(|worker| worker.generation.0 == generation);
    own.filter_map(|worker| worker.pid).collect()
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_share_of_the_clients_gets_the_new_version_until_all_get_it() {
    let server = started().await;
    let told = hold(&server, &["--canary", "25%"]).await;
    assert!(told.contains("scripted: generation 3 serves 25 % of the clients with 1 worker"), "{told}");
    assert!(told.contains("`rip-serverctl promote scripted`"), "{told}");
    let among = CLIENTS.filter(|client| is_among(25, *client)).count();
    assert!((5..=28).contains(&among), "{among} of 60");
    for _ in 0..2 {
        assert_versions(&server, of_share(25)).await;
    }
    assert_eq!(server.get("/version").await.text(), "one", "whose client nobody names");

    let held = app(&server).await;
    let canary = held.canary.clone().unwrap();
    assert_eq!(
        (held.generation.0, canary.generation.0, canary.share.as_str(), canary.ready),
        (2, 3, "25 %", 1)
    );
    assert_eq!((held.workers.wanted, held.workers.ready), (5, 5));
    assert!(
        held.doing.starts_with("serving; generation 3 is held for 25 % of the clients: "),
        "{}",
        held.doing
    );
    let status = server.ctl(&["status"]).await.expect(0).out;
    assert!(status.contains("generation 3 has 25 % of the clients, 1 workers ready, for "), "{status}");
    let page = server.ctl(&["metrics"]).await.expect(0).out;
    for line in [
        "rip_generation_workers{app=\"scripted\",generation=\"2\",role=\"serving\"} 4",
        "rip_generation_workers{app=\"scripted\",generation=\"3\",role=\"canary\"} 1",
        "rip_generation_served{app=\"scripted\",generation=\"3\",role=\"canary\"} ",
        "rip_deploys_total{app=\"scripted\",outcome=\"held\"} 1",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    server.set_version("three");
    for verb in ["deploy", "rollback"] {
        let refused = server.ctl(&[verb]).await.expect(1);
        assert!(
            refused.err.contains(
                "generation 3 is held for 25 % of the clients: `rip-serverctl promote scripted` gives"
            ),
            "{verb}: {}",
            refused.err
        );
    }
    server.set_version("two");
    assert_versions(&server, of_share(25)).await;

    let promoted = server.ctl(&["promote"]).await.expect(0);
    assert!(promoted.err.contains("scripted: starting 4 workers of generation 3"), "{}", promoted.err);
    assert!(promoted.err.contains("scripted: generation 3 serves, after"), "{}", promoted.err);
    assert_versions(&server, |_| "two").await;
    let now = app(&server).await;
    assert_eq!((now.generation.0, now.canary, now.earlier.unwrap().0), (3, None, 2));
    until("the workers of before are gone", || async { server.worker_pids().await.len() == 4 }).await;
    assert!(!server.ctl(&["metrics"]).await.expect(0).out.contains("rip_generation_workers{"));
    for verb in ["promote", "abort"] {
        let none = server.ctl(&[verb]).await.expect(5);
        assert!(none.err.contains("no generation of `scripted` is held"), "{}", none.err);
    }
    server.ctl(&["rollback"]).await.expect(0);
    let page = server.ctl(&["metrics"]).await.expect(0).out;
    assert!(page.contains("rip_rollbacks_total{app=\"scripted\",outcome=\"done\"} 1"), "{page}");
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn what_is_aborted_nobody_gets_any_more() {
    let server = started().await;
    hold(&server, &["--first", "2"]).await;
    assert_eq!(app(&server).await.canary.unwrap().share, "50 %", "two of four workers");
    assert_versions(&server, of_share(50)).await;
    let aborted = server.ctl(&["abort", "scripted"]).await.expect(0);
    assert!(
        aborted.err.contains("generation 3 is given up, generation 2 serves all clients")
            || aborted.out.contains("generation 3 is given up, generation 2 serves all clients"),
        "{} {}",
        aborted.out,
        aborted.err
    );
    assert_versions(&server, |_| "one").await;
    until("its workers are gone", || async { server.worker_pids().await.len() == 4 }).await;
    assert_eq!(app(&server).await.canary, None);
    server.ctl(&["deploy"]).await.expect(0);
    assert_versions(&server, |_| "two").await;
}

/// Sixteen clients ask all the time, and each checks every answer; `phase` says which versions it may get, `answered`
/// counts the answers of each.
async fn load(server: &Server, phase: &AtomicUsize, answered: &[AtomicUsize]) {
    let client = async |client: u8| {
        for round in 0.. {
            let before = phase.load(Ordering::SeqCst);
            if before == OVER {
                break;
            }
            if round % 3 == 2 {
                let body = format!("{client}: {round} ").repeat(200);
                let reply = ask(server, client, "POST", "/echo", body.as_bytes()).await;
                assert!(reply.status == 200 && reply.text() == body, "{} {}", reply.status, reply.reason());
            } else {
                let got = version(server, client).await;
                let held = if is_among(30, client) { "two" } else { "one" };
                let expected = match before {
                    ALL_ONE => "one",
                    HELD => held,
                    ALL_TWO => "two",
                    _ => &got,
                };
                let is_sure = phase.load(Ordering::SeqCst) == before;
                assert!(!is_sure || got == expected, "client {client} gets {got} in phase {before}");
                assert!(got == "one" || got == "two", "{got}");
            }
            answered[client as usize - 1].fetch_add(1, Ordering::SeqCst);
        }
    };
    join_all((1..=16).map(client)).await;
}

const ALL_ONE: usize = 0;
const HELD: usize = 1;
const ALL_TWO: usize = 2;
const CHANGING: usize = 3;
const OVER: usize = 4;

#[tokio::test]
async fn nothing_is_lost_while_a_version_is_held_given_up_held_again_and_given_to_all() {
    let server = setup().start().await;
    server.deploy("one").await;
    assert!((1..=16).any(|client| is_among(30, client)) && (1..=16).any(|client| !is_among(30, client)));
    let phase = AtomicUsize::new(ALL_ONE);
    let answered = [const { AtomicUsize::new(0) }; 16];
    let counts = || answered.each_ref().map(|count| count.load(Ordering::SeqCst));
    let goes_on = async |now: usize| {
        phase.store(now, Ordering::SeqCst);
        let before = counts();
        // Of five answers to a client at least two are to requests that began in this phase and asked for the version.
        let each_has_more = || before.iter().zip(counts()).all(|(before, now)| now >= before + 5);
        until("each client has five answers more", || async { each_has_more() }).await;
        phase.store(CHANGING, Ordering::SeqCst);
    };
    let steering = async {
        goes_on(ALL_ONE).await;
        for verb in ["abort", "promote"] {
            hold(&server, &["--canary", "30%"]).await;
            goes_on(HELD).await;
            server.ctl(&[verb]).await.expect(0);
            goes_on(if verb == "abort" { ALL_ONE } else { ALL_TWO }).await;
        }
        phase.store(OVER, Ordering::SeqCst);
    };
    tokio::join!(load(&server, &phase, &answered), steering);
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_crash_of_the_held_version_gives_all_clients_what_served() {
    let server = started().await;
    hold(&server, &["--canary", "25%"]).await;
    kill(pids_of(&server, 3).await[0]);
    until("it is given up", || async { app(&server).await.canary.is_none() }).await;
    assert_versions(&server, |_| "one").await;
    let rejected = app(&server).await.rejected.unwrap();
    assert!(
        rejected.reason.contains("after 25 % of the clients got it: generation 2 serves all again"),
        "{}",
        rejected.reason
    );
    until("four are left", || async { server.worker_pids().await.len() == 4 }).await;
    server.ctl(&["deploy"]).await.expect(0);
    assert_versions(&server, |_| "two").await;
}

#[tokio::test]
async fn a_crash_of_one_of_many_is_replaced_and_the_share_stays() {
    let server = started().await;
    hold(&server, &["--first", "3"]).await;
    let before = pids_of(&server, 3).await;
    kill(before[0]);
    until("it is replaced", || async {
        let now = pids_of(&server, 3).await;
        now.len() == 3 && !now.contains(&before[0]) && app(&server).await.canary.unwrap().ready == 3
    })
    .await;
    assert_versions(&server, of_share(75)).await;
}

#[tokio::test]
async fn who_waits_for_the_held_version_is_served_when_it_is_given_up() {
    let server = started().await;
    hold(&server, &["--canary", "25%"]).await;
    let client = CLIENTS.into_iter().find(|client| is_among(25, *client)).unwrap();
    let mut holding = server.connect().await;
    let fields = format!("Host: localhost\r\nX-Forwarded-For: {}\r\n", address(client));
    holding.send(format!("GET /gate?name=held HTTP/1.1\r\n{fields}\r\n")).await;
    soon("the canary is busy", server.meeting.reached("held")).await;
    let mut waiting = server.connect().await;
    waiting.send(format!("POST /echo HTTP/1.1\r\n{fields}Content-Length: 5\r\n\r\nhello")).await;
    until("it waits for the one worker", || async { app(&server).await.queued == 1 }).await;
    server.ctl(&["abort"]).await.expect(0);
    assert_eq!(soon("it is served", waiting.reply("POST")).await.text(), "hello");
    server.meeting.open("held");
    assert_eq!(holding.reply("GET").await.text(), "through held\n");
}

#[tokio::test]
async fn its_clients_have_the_settings_of_the_held_version_too() {
    let server = started().await;
    server.add_rule("headers.set = { X-Version = \"two\" }");
    hold(&server, &["--canary", "40%"]).await;
    for client in CLIENTS {
        let reply = ask(&server, client, "GET", "/version", b"").await;
        let expected = if is_among(40, client) { ("two", "two") } else { ("one", "") };
        assert_eq!((reply.text(), reply.field("x-version")), expected, "client {client}");
    }
    server.ctl(&["abort"]).await.expect(0);
    assert!(
        join_all(CLIENTS.map(|client| ask(&server, client, "GET", "/", b"")))
            .await
            .iter()
            .all(|reply| reply.field("x-version").is_empty())
    );
}

#[tokio::test]
async fn sticky_clients_keep_a_worker_of_their_version() {
    let setup = setup().rules("sticky = \"address\"\nconcurrency = 4").worker("CONCURRENCY", "4");
    let server = setup.start().await;
    server.deploy("one").await;
    assert_versions(&server, |_| "one").await;
    hold(&server, &["--first", "2"]).await;
    let worker = async |client: u8| {
        ask(&server, client, "GET", "/version", b"").await.field("x-worker-pid").to_owned()
    };
    let first = join_all(CLIENTS.map(worker)).await;
    let canary: BTreeSet<_> = pids_of(&server, 3).await.iter().map(ToString::to_string).collect();
    for (client, pid) in CLIENTS.zip(&first) {
        assert_eq!(canary.contains(pid), is_among(50, client), "client {client}");
    }
    assert_eq!(first, join_all(CLIENTS.map(worker)).await, "each comes back to its own");
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 6, "all workers have clients");
    server.ctl(&["promote"]).await.expect(0);
    assert_versions(&server, |_| "two").await;
    let after = join_all(CLIENTS.map(worker)).await;
    for ((client, before), now) in CLIENTS.zip(&first).zip(&after) {
        assert!(!is_among(50, client) || before == now, "client {client} keeps its worker");
    }
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn what_cannot_be_held_is_refused_and_nothing_changes() {
    let server = started().await;
    for words in [
        &["--canary", "0%"][..],
        &["--canary", "100%"],
        &["--canary", "-5"],
        &["--canary", "some"],
        &["--canary", "10%", "--first", "1"],
        &["--first", "0"],
    ] {
        server.ctl(&[&["deploy"], words].concat()).await.expect(2);
    }
    for (first, text) in [("4", "`--first 4` is all of its 4 workers"), ("9", "`--first 9` is all of its 4")]
    {
        let refused = server.ctl(&["deploy", "--first", first]).await.expect(1);
        assert!(refused.err.contains(text), "{}", refused.err);
    }
    for body in ["{\"canary\":100}", "{\"canary\":0}", "{\"first\":0}", "{\"canary\":5,\"first\":1}"] {
        let reply = server.control("POST", "/deploy", body).await.unwrap();
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
    }
    server.add_rule("nonsense = true");
    server.ctl(&["deploy", "--canary", "10%"]).await.expect(1);
    assert_eq!(app(&server).await.canary, None);
    assert_versions(&server, |_| "one").await;
}

#[tokio::test]
async fn a_server_that_starts_anew_holds_nothing_and_reads_the_app_as_it_is() {
    let server = started().await;
    hold(&server, &["--canary", "25%"]).await;
    let server = setup().start_in(server.kill()).await;
    assert_eq!(app(&server).await.canary, None);
    assert_versions(&server, |_| "two").await;
}
