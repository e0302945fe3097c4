//! Clients that keep their workers: by a cookie or by their address, for as long as the worker lives, and no longer.

use std::collections::BTreeSet;

use rustix::process::{Pid, Signal, kill_process};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::{Conn, Reply, Server, Setup, has, soon, until};

/// Three workers that take four requests each.
fn by(sticky: &str) -> Setup {
    let rules = format!("sticky = \"{sticky}\"\nconcurrency = 4");
    Setup::scripted().words(&["w:3"]).rules(&rules).worker("CONCURRENCY", "4")
}

/// The cookie of an answer, without its attributes.
fn cookie(reply: &Reply) -> Option<String> {
    let set = reply.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned());
    let own: Vec<_> = set.filter(|text| text.starts_with("rip-sticky=")).collect();
    assert!(own.len() <= 1, "{own:?}");
    own.first().map(|text| text.split(';').next().unwrap().to_owned())
}

fn worker(reply: &Reply) -> u32 {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.field("x-worker-pid").parse().unwrap()
}

/// A client that keeps the cookie it was given.
struct Client<'a> {
    server: &'a Server,
    cookie: String,
    worker: u32,
}

impl<'a> Client<'a> {
    async fn new(server: &'a Server) -> Self {
        let first = server.get("/").await;
        Self { server, cookie: cookie(&first).expect("a cookie"), worker: worker(&first) }
    }

    async fn ask(&self, path: &str) -> Reply {
        self.server.ask("GET", path, &[("Cookie", &self.cookie)], b"").await
    }

    /// Begins a request that ends when the gate is opened.
    async fn begin(&self, gate: &str) -> Conn {
        let mut conn = self.server.connect().await;
        let head =
            format!("GET /gate?name={gate} HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n\r\n", self.cookie);
        conn.send(head).await;
        conn
    }

    /// Fills all places of the worker.
    async fn fill(&self) -> Vec<Conn> {
        let mut held = Vec::new();
        for gate in ["a", "b", "c", "d"] {
            held.push(self.begin(gate).await);
            soon(gate, self.server.meeting.reached(gate)).await;
        }
        held
    }
}

async fn queued(server: &Server) -> usize {
    server.status().await.apps[0].queued
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_client_comes_back_to_its_worker_and_new_ones_are_spread() {
    let server = by("cookie").start().await;
    let clients = [Client::new(&server).await, Client::new(&server).await, Client::new(&server).await];
    let workers: BTreeSet<_> = clients.iter().map(|client| client.worker).collect();
    assert_eq!(workers.len(), 3, "each gets the least used one");
    for _ in 0..5 {
        for client in &clients {
            let reply = client.ask("/").await;
            assert_eq!((worker(&reply), cookie(&reply)), (client.worker, None), "it has its cookie already");
        }
    }
    let page = server.ctl(&["metrics"]).await.expect(0).out;
    assert!(page.contains("rip_sticky_clients_total{app=\"scripted\",cause=\"new\"} 3"), "{page}");
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn the_cookie_says_nothing_and_is_for_the_server_alone() {
    let server = by("cookie").tls().start().await;
    let first = server.get("/").await;
    let set = first.field("set-cookie").to_owned();
    let attributes: Vec<_> = set.split("; ").skip(1).collect();
    assert_eq!(attributes, ["Path=/", "HttpOnly", "SameSite=Lax", "Secure"], "{set}");
    let own = cookie(&first).unwrap();
    assert!(!own.contains(first.field("x-worker-pid")), "{own}");
    let mixed = format!("a=1; {own}; b=2");
    for reply in server.ask_each_way("GET", "/view", &[("Cookie", &mixed)]).await {
        assert_eq!((worker(&reply), cookie(&reply)), (worker(&first), None));
        let seen = reply.view();
        assert_eq!(seen.field("cookie"), Some("a=1; b=2"), "{seen:?}");
    }
    let alone = server.ask("GET", "/view", &[("Cookie", &own)], b"").await;
    assert_eq!(alone.view().field("cookie"), None);
    // A client that makes a cookie up is a new client.
    for forged in
        ["rip-sticky=1", "rip-sticky=", &format!("{own}A"), &own.replace("rip-sticky=", "rip-sticky=A")]
    {
        let reply = server.ask("GET", "/view", &[("Cookie", forged)], b"").await;
        assert!(cookie(&reply).is_some() && reply.view().field("cookie").is_none(), "{forged}");
    }
    // Two of one name come from two paths, and one of them is this app's.
    let two = format!("rip-sticky=other; {own}");
    assert_eq!(worker(&server.ask("GET", "/", &[("Cookie", &two)], b"").await), worker(&first));
    for (kept, expected) in [("public, max-age=9", false), ("s-maxage=9", false), ("private", true)] {
        let reply = server.get(&format!("/fields?Cache-Control={}", kept.replace(", ", ","))).await;
        assert_eq!(cookie(&reply).is_some(), expected, "{kept}: caches would give it to others");
    }
}

#[tokio::test]
async fn the_cookie_is_for_the_path_of_its_app_and_its_proxy() {
    let server = by("cookie").server("trusted_proxies = [\"127.0.0.1\"]").start().await;
    let shop = server.root().join("scripted");
    let shop = shop.to_str().unwrap();
    server.ctl(&["add", "localhost/shop", "--app", shop]).await.expect(0);
    let fields =
        [("X-Forwarded-Proto", "https"), ("X-Forwarded-Prefix", "/all"), ("X-Forwarded-For", "192.0.2.1")];
    let reply = server.ask("GET", "/shop/code", &fields, b"").await;
    let told = |reply: &Reply| reply.field("set-cookie").split_once("; ").unwrap().1.to_owned();
    assert_eq!(told(&reply), "Path=/all/shop; HttpOnly; SameSite=Lax; Secure");
    assert_eq!(told(&server.ask("GET", "/code", &fields[2..], b"").await), "Path=/; HttpOnly; SameSite=Lax");
}

#[tokio::test]
async fn a_clients_requests_wait_for_its_worker_while_others_are_free() {
    let server = by("cookie").start().await;
    let client = Client::new(&server).await;
    let mut held = client.fill().await;
    let mut waiting = client.begin("e").await;
    until("it waits", || async { queued(&server).await == 1 }).await;
    let others: BTreeSet<_> = [worker(&server.get("/").await), worker(&server.get("/").await)].into();
    assert!(others.len() == 2 && !others.contains(&client.worker), "new clients go elsewhere: {others:?}");
    server.meeting.open("b");
    assert_eq!(worker(&held[1].reply("GET").await), client.worker);
    soon("it is served", server.meeting.reached("e")).await;
    for gate in ["a", "c", "d", "e"] {
        server.meeting.open(gate);
    }
    assert_eq!(worker(&waiting.reply("GET").await), client.worker);
    for at in [0, 2, 3] {
        held[at].reply("GET").await;
    }
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn who_waits_in_vain_is_told_for_which_worker() {
    let server = by("cookie").rules("timeouts.queue = \"300ms\"").start().await;
    let client = Client::new(&server).await;
    let mut held = client.fill().await;
    let refused = client.ask("/").await;
    assert_eq!((refused.status, refused.reason()), (503, "queue-timeout"));
    let lines = server.output().json();
    let told = lines.iter().filter_map(|line| line["message"].as_str());
    assert!(
        told.clone().any(|text| text.contains("has 4 in hand") && text.contains("because of `sticky`")),
        "{lines:?}"
    );
    for (gate, conn) in ["a", "b", "c", "d"].iter().zip(&mut held) {
        server.meeting.open(gate);
        conn.reply("GET").await;
    }
}

#[tokio::test]
async fn when_the_worker_is_killed_its_clients_get_others_and_who_waited_is_served() {
    let server = by("cookie").start().await;
    let client = Client::new(&server).await;
    let held = client.fill().await;
    let mut waiting = server.connect().await;
    let head = format!(
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\nContent-Length: 5\r\n\r\nhello",
        client.cookie
    );
    waiting.send(head).await;
    until("it waits", || async { queued(&server).await == 1 }).await;
    kill(client.worker);
    let served = soon("it is served", waiting.reply("POST")).await;
    assert!(worker(&served) != client.worker && served.text() == "hello");
    assert!(cookie(&served).is_some(), "it has another worker now");
    let moved = Client { server: &server, cookie: cookie(&served).unwrap(), worker: worker(&served) };
    for _ in 0..3 {
        assert_eq!(worker(&moved.ask("/").await), moved.worker);
    }
    let page = server.ctl(&["metrics"]).await.expect(0).out;
    assert!(page.contains("rip_sticky_clients_total{app=\"scripted\",cause=\"moved\"}"), "{page}");
    drop(held);
}

#[tokio::test]
async fn a_deploy_gives_every_client_a_new_worker_at_once() {
    let server = by("cookie").start().await;
    let client = Client::new(&server).await;
    server.deploy("two").await;
    let reply = client.ask("/version").await;
    assert!(reply.text() == "two" && cookie(&reply).is_some(), "{reply:?}");
}

#[tokio::test]
async fn a_worker_that_leaves_keeps_its_clients_until_it_is_gone() {
    let server = by("cookie").start().await;
    let client = Client::new(&server).await;
    let mut held = vec![client.begin("a").await];
    soon("a", server.meeting.reached("a")).await;
    // The others go first, because they have nothing in hand.
    server.ctl(&["scale", "1"]).await.expect(0);
    until("one is left", || async { server.worker_pids().await.len() == 1 }).await;
    server.ctl(&["scale", "3"]).await.expect(0);
    server.await_ready().await;
    let others = [Client::new(&server).await, Client::new(&server).await];
    assert!(others.iter().all(|other| other.worker != client.worker));
    // These have more in hand.
    for (other, gates) in others.iter().zip([["b", "c"], ["d", "e"]]) {
        for gate in gates {
            held.push(other.begin(gate).await);
            soon(gate, server.meeting.reached(gate)).await;
        }
    }
    server.ctl(&["scale", "2"]).await.expect(0);
    until("it leaves", || async { server.status().await.apps[0].workers.draining == 1 }).await;
    for _ in 0..3 {
        assert_eq!(worker(&client.ask("/").await), client.worker, "it has it yet");
    }
    let newcomer = Client::new(&server).await;
    assert_ne!(newcomer.worker, client.worker);
    server.meeting.open("a");
    assert_eq!(worker(&held[0].reply("GET").await), client.worker);
    until("it is gone", || async { !server.worker_pids().await.contains(&client.worker) }).await;
    let moved = client.ask("/").await;
    assert!(worker(&moved) != client.worker && cookie(&moved).is_some());
    for gate in ["b", "c", "d", "e"] {
        server.meeting.open(gate);
    }
    for conn in &mut held[1..] {
        assert_eq!(conn.reply("GET").await.status, 200);
    }
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn by_address_a_network_of_a_client_keeps_its_worker_without_a_cookie() {
    let server = by("address").server("trusted_proxies = [\"127.0.0.1\"]").start().await;
    let ask = async |address: &str| {
        let reply = server.ask("GET", "/", &[("X-Forwarded-For", address)], b"").await;
        assert_eq!(cookie(&reply), None);
        worker(&reply)
    };
    let first = [ask("192.0.2.1").await, ask("192.0.2.2").await, ask("2001:db8::1").await];
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3, "new ones are spread");
    for _ in 0..3 {
        assert_eq!(first, [ask("192.0.2.1").await, ask("192.0.2.2").await, ask("2001:db8::ffff").await]);
    }
    kill(first[0]);
    until("it is replaced", || async {
        let pids = server.worker_pids().await;
        pids.len() == 3 && !pids.contains(&first[0])
    })
    .await;
    let now = ask("192.0.2.1").await;
    assert!(now != first[0] && now == ask("192.0.2.1").await);
    assert_eq!([first[1], first[2]], [ask("192.0.2.2").await, ask("2001:db8::1").await], "the others stay");
}

#[tokio::test]
async fn websockets_go_to_the_worker_of_their_client() {
    let server = by("cookie").start().await;
    let client = Client::new(&server).await;
    for _ in 0..3 {
        let mut request = format!("ws://localhost:{}/ws", server.port()).into_client_request().unwrap();
        request.headers_mut().insert("cookie", client.cookie.parse().unwrap());
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
        let (_socket, answer) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert!(!answer.headers().contains_key("set-cookie"));
        let workers = server.workers().await.workers;
        let holding: Vec<_> =
            workers.iter().filter(|worker| worker.tunnels > 0).map(|worker| worker.pid).collect();
        assert_eq!(holding, [Some(client.worker)]);
    }
    let request = format!("ws://localhost:{}/ws", server.port()).into_client_request().unwrap();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    let (_socket, answer) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert!(
        answer.headers()["set-cookie"].to_str().unwrap().starts_with("rip-sticky="),
        "a new client gets one"
    );
}

#[tokio::test]
async fn workers_that_speak_http2_or_fastcgi_keep_their_clients_too() {
    let mut setups = vec![Setup::scripted().fastcgi()];
    if has("node", "nodejs") {
        setups.push(Setup::scripted().h2c());
    }
    for setup in setups {
        let rules = "sticky = \"cookie\"\nconcurrency = 4";
        let server = setup.words(&["w:3"]).rules(rules).worker("CONCURRENCY", "4").start().await;
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let first = server.get("/").await;
            let own = cookie(&first).expect("a cookie");
            let again = server.ask("GET", "/", &[("Cookie", &own)], b"").await;
            assert_eq!((again.status, cookie(&again)), (200, None));
            seen.insert(own);
        }
        let workers = server.workers().await.workers;
        let served: Vec<_> = workers.iter().map(|worker| worker.served).collect();
        assert_eq!((seen.len(), served), (3, vec![2; 3]), "each has one client, which asked twice");
    }
}

#[tokio::test]
async fn wrong_values_are_refused_and_workers_that_take_one_request_are_warned_of() {
    let server = Setup::scripted().words(&["w:2"]).rules("sticky = \"cookie\"").start().await;
    let status = server.ctl(&["status"]).await.expect(0).out;
    assert!(status.contains("`sticky` is set, and each worker takes one request at a time"), "{status}");
    assert!(cookie(&server.get("/").await).is_some(), "it works all the same");
    server.add_rule("concurrency = 2");
    server.ctl(&["deploy"]).await.expect(0);
    let status = server.ctl(&["status"]).await.expect(0).out;
    assert!(!status.contains("`sticky`"), "{status}");
    let own = server.root().join("scripted/rip.toml");
    let text = std::fs::read_to_string(&own).unwrap();
    for wrong in ["\"yes\"", "true", "\"\"", "4", "[\"cookie\"]"] {
        std::fs::write(&own, text.replace("sticky = \"cookie\"", &format!("sticky = {wrong}"))).unwrap();
        let refused = server.ctl(&["deploy"]).await.expect(1);
        assert!(
            refused.err.contains("sticky") && refused.err.contains("off, cookie or address"),
            "{}",
            refused.err
        );
    }
    assert_eq!(server.get("/").await.status, 200);
}
