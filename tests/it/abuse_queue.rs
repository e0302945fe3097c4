//! The part that one client may take of an app's queue, workers and tunnels while others want some, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{Conn, Server, Setup, has, until};

/// The client that wants everything.
const GREEDY: [u8; 4] = [127, 0, 0, 2];
const OTHER: [u8; 4] = [127, 0, 0, 3];
const THIRD: [u8; 4] = [127, 0, 0, 4];

/// How the server comes to know who a client is.
#[derive(Clone, Copy, Debug)]
enum Way {
    Direct,
    /// Of a proxy in `trusted_proxies`, which says for whom.
    Told,
}

const WAYS: [Way; 2] = [Way::Direct, Way::Told];

impl Way {
    fn setup(self) -> Setup {
        match self {
            Self::Direct => Setup::scripted(),
            Self::Told => Setup::scripted().server("trusted_proxies = [\"127.0.0.1\"]"),
        }
    }

    /// Sends a request of a client with more fields.
    async fn send(self, server: &Server, client: [u8; 4], path: &str, fields: &str) -> Conn {
        let mut conn = self.connect(server.port(), client).await;
        conn.send(self.request(client, path, fields)).await;
        conn
    }

    async fn connect(self, port: u16, client: [u8; 4]) -> Conn {
        match self {
            Self::Direct => Conn::plain_from(client, port).await,
            Self::Told => Conn::plain(port).await,
        }
    }

    fn request(self, client: [u8; 4], path: &str, fields: &str) -> String {
        let told = match self {
            Self::Direct => String::new(),
            Self::Told => format!("X-Forwarded-For: {}\r\n", client.map(|part| part.to_string()).join(".")),
        };
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{told}{fields}\r\n")
    }
}

impl Server {
    /// Times that clients met the limit.
    async fn limit_met(&self, limit: &str) -> u64 {
        let page = self.control("GET", "/metrics", "").await.unwrap();
        let name = format!("rip_limits_reached_total{{limit=\"{limit}\"}} ");
        let line = page.text().lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |count| count.parse().unwrap())
    }

    /// The warning of the limit, which names what may be changed.
    async fn warning_of(&self, limit: &str) -> serde_json::Value {
        let found = || self.output().json().into_iter().find(|line| line["limit"] == limit);
        until("the limit is told", || async { found().is_some() }).await;
        found().unwrap()
    }
}

#[tokio::test]
async fn clients_are_served_in_turn_however_many_requests_one_of_them_has() {
    for way in WAYS {
        let server = way.setup().start().await;
        let mut held = server.occupy("a").await;
        let mut waiting = Vec::new();
        for (client, path) in [
            (GREEDY, "/?greedy=1"),
            (GREEDY, "/?greedy=2"),
            (GREEDY, "/?greedy=3"),
            (GREEDY, "/?greedy=4"),
            (OTHER, "/?other=1"),
            (OTHER, "/?other=2"),
            (THIRD, "/?third=1"),
        ] {
            waiting.push(way.send(&server, client, path, "").await);
            server.queued(waiting.len()).await;
        }
        server.meeting.open("a");
        assert_eq!(held.reply("GET").await.status, 200);
        for conn in &mut waiting {
            assert_eq!(conn.reply("GET").await.status, 200, "{way:?}");
        }
        let targets = server.meeting.targets();
        let names: Vec<_> = targets[1..].iter().filter_map(|target| target.strip_prefix("/?")).collect();
        let turns = ["greedy=1", "other=1", "third=1", "greedy=2", "other=2", "greedy=3", "greedy=4"];
        assert_eq!(names, turns, "{way:?}");
        server.meeting.assert_no_violations();
    }
}

#[tokio::test]
async fn a_client_that_nobody_vouches_for_is_one_whatever_it_says() {
    let server = Setup::scripted().start().await;
    let mut held = server.occupy("a").await;
    let mut waiting = Vec::new();
    for (client, path) in [(GREEDY, "/?1"), (GREEDY, "/?2"), (OTHER, "/?3")] {
        let mut conn = server.connect().await;
        conn.send(Way::Told.request(client, path, "")).await;
        waiting.push(conn);
        server.queued(waiting.len()).await;
    }
    server.meeting.open("a");
    assert_eq!(held.reply("GET").await.status, 200);
    for conn in &mut waiting {
        assert_eq!(conn.reply("GET").await.status, 200);
    }
    assert_eq!(server.meeting.targets()[1..], ["/?1", "/?2", "/?3"], "first come first served");
}

#[tokio::test]
async fn a_full_queue_makes_room_for_a_client_that_has_less_in_it() {
    for way in WAYS {
        let server = way.setup().words(&["--max-queue=3"]).start().await;
        let mut held = server.occupy("a").await;
        let mut greedy = Vec::new();
        for at in 1..=3 {
            greedy.push(way.send(&server, GREEDY, &format!("/?greedy={at}"), "").await);
            server.queued(at).await;
        }
        let refused = way.send(&server, GREEDY, "/?greedy=4", "").await.reply("GET").await;
        assert_eq!((refused.status, refused.reason()), (503, "queue-full"), "it has all there is");
        let mut other = way.send(&server, OTHER, "/?other", "").await;
        let newest = greedy.pop().unwrap().reply("GET").await;
        let told = (newest.status, newest.reason(), newest.field("retry-after"));
        assert_eq!(told, (503, "queue-full", "1"), "{way:?}: its newest has made room");
        let refused = way.send(&server, OTHER, "/?more", "").await.reply("GET").await;
        assert_eq!((refused.status, refused.reason()), (503, "queue-full"), "it would have the most");
        server.queued(3).await;
        assert_eq!(server.limit_met("queue").await, 3, "one of them was refused later than the others");
        server.meeting.open("a");
        assert_eq!(held.reply("GET").await.status, 200);
        for conn in greedy.iter_mut().chain([&mut other]) {
            assert_eq!(conn.reply("GET").await.status, 200, "{way:?}");
        }
        assert_eq!(server.meeting.targets()[1..], ["/?greedy=1", "/?other", "/?greedy=2"]);
        let warning = server.warning_of("queue").await;
        assert_eq!(
            (&warning["client"], &warning["app"]),
            (&"127.0.0.2".into(), &"scripted".into()),
            "{warning}"
        );
        let text = warning["message"].as_str().unwrap();
        assert!(text.contains("max_queue") && text.contains("trusted_proxies"), "{text}");
    }
}

#[tokio::test]
async fn requests_of_a_paused_host_make_room_for_those_of_other_clients() {
    let server = Setup::scripted().words(&["--max-queue=3"]).start().await;
    server.ctl(&["pause", "localhost"]).await.expect(0);
    let mut greedy = Vec::new();
    for at in 1..=3 {
        greedy.push(Way::Direct.send(&server, GREEDY, &format!("/?greedy={at}"), "").await);
        server.queued(at).await;
    }
    let mut other = Way::Direct.send(&server, OTHER, "/?other", "").await;
    let newest = greedy.pop().unwrap().reply("GET").await;
    assert_eq!((newest.status, newest.reason()), (503, "queue-full"));
    server.queued(3).await;
    server.ctl(&["resume", "localhost"]).await.expect(0);
    for conn in greedy.iter_mut().chain([&mut other]) {
        assert_eq!(conn.reply("GET").await.status, 200);
    }
    server.queued(0).await;
}

/// Sends requests one after the other until it is told to stop; returns how many were answered with 200, and how many
/// else.
async fn greedy_loop(way: Way, port: u16, stop: Arc<AtomicBool>) -> (usize, usize) {
    let mut conn = way.connect(port, GREEDY).await;
    let (mut served, mut refused) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        if conn.try_send(way.request(GREEDY, "/slow?ms=5", "")).await.is_err() {
            break;
        }
        match conn.try_reply("GET").await {
            Ok(reply) if reply.status == 200 => served += 1,
            Ok(_) => {
                refused += 1;
                // Not everything that the machine has goes into refusals.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(_) => break,
        }
    }
    (served, refused)
}

/// Sends requests one by one; returns how long each took, sorted.
async fn one_by_one(way: Way, port: u16, count: usize) -> Vec<Duration> {
    let mut conn = way.connect(port, OTHER).await;
    let mut times = Vec::new();
    for at in 0..count {
        let begun = Instant::now();
        conn.send(way.request(OTHER, "/slow?ms=5", "")).await;
        let reply = conn.reply("GET").await;
        assert_eq!((reply.status, reply.reason()), (200, ""), "{way:?}: request {at} of {count}");
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times
}

fn figures(times: &[Duration]) -> String {
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_millis();
    format!("p50 {} ms, p99 {} ms", at(50), at(99))
}

#[tokio::test]
async fn fourteen_hundred_requests_of_one_client_keep_no_other_from_its_answers() {
    // In a queue of 1024 there is no room for all of them, in one of 5000 there is.
    for (way, most) in [(Way::Direct, "1024"), (Way::Direct, "5000"), (Way::Told, "1024")] {
        let queue = format!("--max-queue={most}");
        let server = way.setup().words(&["w:2", &queue]).start().await;
        let quiet = one_by_one(way, server.port(), 40).await;
        let (stop, mut flood) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for _ in 0..1400 {
            flood.spawn(greedy_loop(way, server.port(), Arc::clone(&stop)));
        }
        until("the queue is full of them", || async { server.status().await.apps[0].queued > 1000 }).await;
        let during = one_by_one(way, server.port(), 100).await;
        let queued = server.status().await.apps[0].queued;
        stop.store(true, Ordering::Relaxed);
        flood.abort_all();
        let met = server.limit_met("queue").await;
        println!(
            "abuse | 1400 requests of one client, {way:?}, queue {most} ({queued} in it, {met} refused) | \
             other's 100 of 100 answered, quiet {}, during {}",
            figures(&quiet),
            figures(&during)
        );
        assert_eq!(met > 0, most == "1024", "the queue was full, or never was: {met}");
        server.meeting.assert_no_violations();
    }
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: echo\r\n";

/// Opens WebSockets, or event streams, that say nothing until there is no place for one more.
async fn take_tunnels(way: Way, server: &Server, client: [u8; 4], path: &str, fields: &str) -> Vec<Conn> {
    let mut open = Vec::new();
    loop {
        let mut conn = way.send(server, client, path, fields).await;
        let head = conn.head().await;
        match head.status {
            101 | 200 => open.push(conn),
            status => {
                assert_eq!((status, head.reason(), head.field("retry-after")), (503, "no-tunnel", "1"));
                return open;
            }
        }
    }
}

#[tokio::test]
async fn a_client_with_any_number_of_silent_websockets_leaves_tunnels_to_others() {
    for (way, path, fields) in [
        (Way::Direct, "/upgrade", UPGRADE),
        (Way::Told, "/upgrade", UPGRADE),
        (Way::Direct, "/endless-events", ""),
    ] {
        let server = way.setup().start().await;
        let greedy = take_tunnels(way, &server, GREEDY, path, fields).await;
        let other = take_tunnels(way, &server, OTHER, path, fields).await;
        let third = take_tunnels(way, &server, THIRD, path, fields).await;
        println!(
            "abuse | silent tunnels of one client, {way:?} {path} | it has {} of 100, another {}, a third {}",
            greedy.len(),
            other.len(),
            third.len()
        );
        assert_eq!((greedy.len(), other.len(), third.len()), (50, 25, 13), "{way:?} {path}");
        assert_eq!(server.status().await.apps[0].tunnels, 88);
        assert_eq!(server.limit_met("tunnels").await, 3);
        let warning = server.warning_of("tunnels").await;
        assert_eq!(warning["client"], "127.0.0.2", "{warning}");
        let text = warning["message"].as_str().unwrap();
        assert!(text.contains("tunnels is") && text.contains("trusted_proxies"), "{text}");
        drop(greedy);
        until("its places are free", || async { server.status().await.apps[0].tunnels == 38 }).await;
        assert_eq!(take_tunnels(way, &server, GREEDY, path, fields).await.len(), 31, "half of what is free");
    }
}

#[tokio::test]
async fn event_streams_of_an_h2c_worker_are_shared_as_well() {
    if !has("node", "nodejs") {
        return;
    }
    let server = Setup::scripted().h2c().rules("tunnels = 10").start().await;
    let greedy = take_tunnels(Way::Direct, &server, GREEDY, "/events", "").await;
    let other = take_tunnels(Way::Direct, &server, OTHER, "/events", "").await;
    assert_eq!((greedy.len(), other.len()), (5, 3));
    assert_eq!(server.get("/").await.status, 200);
}
