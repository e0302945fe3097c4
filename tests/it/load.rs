//! No request is lost: real load while things change, every request counted by how it ended.
//!
//! Each case says beside its name what may be lost; all else is zero. The counts are printed as `load | case | …`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::certs::Pair;
use crate::support::{Server, Setup, tls, until};

#[tokio::test]
async fn rolling_deploys_lose_nothing() {
    for door in DOORS {
        let server = start(door, two_workers()).await;
        let load = Load::start(&server, &["v1", "v2", "v3", "v4"]);
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
        let server = start(door, two_workers().rules("timeouts.start = \"1s\"")).await;
        let load = Load::start(&server, &["v1"]);
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
        let load = Load::start(&server, &["v1"]);
        load.seen_workers(8).await;
        load.finish(&format!("recycle by requests, {door:?}")).await.assert_nothing_lost();
        server.meeting.assert_no_violations();
    }
}

#[tokio::test]
async fn recycling_by_age_loses_nothing() {
    let server = start(Door::Tls, two_workers().words(&["r:1s,0"])).await;
    let load = Load::start(&server, &["v1"]);
    load.seen_workers(6).await;
    load.finish("recycle by seconds").await.assert_nothing_lost();
    server.meeting.assert_no_violations();
}

/// May be lost: a POST that the killed worker had in hand, so one for each kill. It cannot be sent again.
#[tokio::test]
async fn killed_workers_lose_at_most_the_posts_they_had_in_hand() {
    for door in DOORS {
        let server = start(door, two_workers()).await;
        let load = Load::start(&server, &["v1"]);
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
    let load = Load::start(&server, &["v1"]);
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
    let load = Load::start(&server, &["v1"]);
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
        let load = Load::start(&server, &["v1"]);
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
    let load = Load::start(&server, &["v1"]);
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
    let load = Load::start(&server, &["v1"]);
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
/// Half of them keep their connection, half connect anew for every request.
const TASKS: usize = 8;
/// Longer than a request may wait in the queue.
const PATIENCE: Duration = Duration::from_secs(15);

/// Tasks that send requests until they are told to stop: GETs that ask for the version, POSTs that come back.
struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<Tally>,
}

struct Shared {
    port: u16,
    tls: bool,
    /// In the order they are deployed.
    versions: Vec<&'static str>,
    /// What a request that begins now may be answered by at least.
    oldest: AtomicUsize,
    stop: AtomicBool,
    done: AtomicUsize,
    workers: std::sync::Mutex<BTreeSet<String>>,
    progress: Notify,
}

impl Load {
    fn start(server: &Server, versions: &[&'static str]) -> Self {
        let shared = Arc::new(Shared {
            port: server.port(),
            tls: server.is_tls(),
            versions: versions.to_vec(),
            oldest: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            done: AtomicUsize::new(0),
            workers: std::sync::Mutex::default(),
            progress: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move { shared.send_on(task % 2 == 0).await });
        }
        Self { shared, tasks }
    }

    /// Waits until so many more requests have ended.
    async fn more(&self, count: usize) {
        let goal = self.shared.done.load(Ordering::SeqCst) + count;
        self.progress(|| self.shared.done.load(Ordering::SeqCst) >= goal).await;
    }

    /// Waits until so many workers have answered.
    async fn seen_workers(&self, count: usize) {
        self.progress(|| self.shared.workers.lock().unwrap().len() >= count).await;
    }

    async fn progress(&self, reached: impl Fn() -> bool) {
        let wait = async {
            loop {
                let next = self.shared.progress.notified();
                if reached() {
                    return;
                }
                next.await;
            }
        };
        timeout(4 * PATIENCE, wait).await.expect("the load goes on");
    }

    /// From now on no answer may come from an older version than this.
    fn at_least_version(&self, index: usize) {
        self.shared.oldest.store(index, Ordering::SeqCst);
    }

    /// Ends the load, prints what became of it.
    async fn finish(mut self, case: &str) -> Tally {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut sum = Tally::default();
        while let Some(tally) = self.tasks.join_next().await {
            for (outcome, count) in tally.unwrap().0 {
                *sum.0.entry(outcome).or_default() += count;
            }
        }
        println!("load | {case:<28} | {sum}");
        sum
    }
}

impl Shared {
    async fn send_on(&self, keep: bool) -> Tally {
        let mut tally = Tally::default();
        let mut kept = None;
        for round in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let method = if round % 3 == 2 { "POST" } else { "GET" };
            let outcome = match timeout(PATIENCE, self.request(method, round, &mut kept)).await {
                Ok(Ok(())) => "2xx".to_owned(),
                Ok(Err(lost)) => format!("{method} {lost}"),
                Err(_) => format!("{method} timeout"),
            };
            if outcome != "2xx" || !keep {
                kept = None;
            }
            *tally.0.entry(outcome).or_default() += 1;
            self.done.fetch_add(1, Ordering::SeqCst);
            self.progress.notify_waiters();
        }
        tally
    }

    async fn request(&self, method: &str, round: usize, kept: &mut Option<Wire>) -> Result<(), String> {
        let oldest = self.oldest.load(Ordering::SeqCst);
        let mut wire = match kept.take() {
            Some(wire) => wire,
            None => self.connect().await?,
        };
        let body = if method == "POST" { format!("{round} ").repeat(500) } else { String::new() };
        let path = if method == "POST" { "/echo" } else { "/version" };
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
        let answer = wire.exchange(request.as_bytes()).await?;
        if answer.status != 200 {
            return Err(format!("{} {}", answer.status, answer.reason));
        }
        self.workers.lock().unwrap().insert(answer.worker);
        if method == "POST" {
            if answer.body != body {
                return Err("wrong body".into());
            }
        } else {
            match self.versions.iter().position(|version| *version == answer.body) {
                None => return Err("wrong body".into()),
                Some(version) if version < oldest => return Err("wrong version".into()),
                Some(_) => {}
            }
        }
        if !answer.close {
            *kept = Some(wire);
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Wire, String> {
        let stream: Box<dyn Stream> = if self.tls {
            Box::new(tls::connect(self.port, "localhost", &["http/1.1"]).await.map_err(|error| name(&error))?)
        } else {
            Box::new(TcpStream::connect(("127.0.0.1", self.port)).await.map_err(|error| name(&error))?)
        };
        Ok(Wire(stream))
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection that can tell in which way a request was lost on it.
struct Wire(Box<dyn Stream>);

struct Answer {
    status: u16,
    reason: String,
    worker: String,
    close: bool,
    body: String,
}

impl Wire {
    async fn exchange(&mut self, request: &[u8]) -> Result<Answer, String> {
        self.0.write_all(request).await.map_err(|error| name(&error))?;
        self.0.flush().await.map_err(|error| name(&error))?;
        let mut buffer = Vec::new();
        let (mut answer, head, length) = loop {
            if let Some(parsed) = parse(&buffer)? {
                break parsed;
            }
            self.fill(&mut buffer).await?;
        };
        while buffer.len() < head + length {
            self.fill(&mut buffer).await?;
        }
        if buffer.len() > head + length {
            return Err("more than an answer".into());
        }
        answer.body = String::from_utf8(buffer.split_off(head)).map_err(|_| "wrong body")?;
        Ok(answer)
    }

    async fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<(), String> {
        match self.0.read_buf(buffer).await {
            Ok(0) if buffer.is_empty() => Err("empty reply".into()),
            Ok(0) => Err("truncated".into()),
            Ok(_) => Ok(()),
            Err(error) => Err(name(&error)),
        }
    }
}

/// The answer without its body, where the body begins, and how long it is.
fn parse(buffer: &[u8]) -> Result<Option<(Answer, usize, usize)>, String> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let Ok(parsed) = head.parse(buffer) else { return Err("no answer".into()) };
    let httparse::Status::Complete(start) = parsed else { return Ok(None) };
    let field = |name: &str| {
        let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| String::from_utf8_lossy(field.value).into_owned()).unwrap_or_default()
    };
    let length = field("content-length").parse().map_err(|_| "no length")?;
    let answer = Answer {
        status: head.code.unwrap_or_default(),
        reason: field("x-rip-reason"),
        worker: field("x-worker-pid"),
        close: field("connection").eq_ignore_ascii_case("close"),
        body: String::new(),
    };
    Ok(Some((answer, start, length)))
}

fn name(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset".into(),
        io::ErrorKind::UnexpectedEof => "empty reply".into(),
        _ => error.to_string(),
    }
}

/// How many requests ended how.
#[derive(Debug, Default)]
struct Tally(BTreeMap<String, usize>);

impl Tally {
    fn count(&self, outcome: &str) -> usize {
        self.0.get(outcome).copied().unwrap_or_default()
    }

    fn without(mut self, outcome: &str) -> Self {
        self.0.remove(outcome);
        self
    }

    #[track_caller]
    fn assert_nothing_lost(&self) {
        assert_eq!(self.0.keys().collect::<Vec<_>>(), ["2xx"], "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcomes: Vec<_> = self.0.iter().map(|(outcome, count)| format!("{outcome}: {count}")).collect();
        f.write_str(&outcomes.join(", "))
    }
}
