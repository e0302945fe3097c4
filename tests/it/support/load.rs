//! Load of which every request is counted by how it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::tls;

/// Half of them keep their connection, half connect anew for every request.
pub(crate) const TASKS: usize = 8;
/// Longer than a request may wait in the queue.
const PATIENCE: Duration = Duration::from_secs(15);

/// Tasks that send requests until they are told to stop: GETs that ask for the version, POSTs that come back.
pub(crate) struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<Tally>,
}

struct Shared {
    port: u16,
    tls: bool,
    /// In the order they are deployed.
    versions: Vec<&'static str>,
    /// The oldest version by which a request that begins now may be answered.
    oldest: AtomicUsize,
    stop: AtomicBool,
    done: AtomicUsize,
    /// The longest that a request has taken, in milliseconds.
    slowest: AtomicUsize,
    workers: std::sync::Mutex<BTreeSet<String>>,
    /// When the answers came that were as they should be.
    answered: std::sync::Mutex<Vec<Instant>>,
    progress: Notify,
}

/// The longest time without an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gap {
    pub(crate) length: Duration,
    /// From the moment that was asked about to its end.
    pub(crate) over_after: Duration,
}

impl Load {
    pub(crate) fn start(port: u16, tls: bool, versions: &[&'static str]) -> Self {
        let shared = Arc::new(Shared {
            port,
            tls,
            versions: versions.to_vec(),
            oldest: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            done: AtomicUsize::new(0),
            slowest: AtomicUsize::new(0),
            workers: std::sync::Mutex::default(),
            answered: std::sync::Mutex::default(),
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
    pub(crate) async fn more(&self, count: usize) {
        let goal = self.shared.done.load(Ordering::SeqCst) + count;
        self.progress(|| self.shared.done.load(Ordering::SeqCst) >= goal).await;
    }

    /// Waits until so many workers have answered.
    pub(crate) async fn seen_workers(&self, count: usize) {
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

    /// The longest time without an answer since then, until the last answer.
    pub(crate) fn longest_gap(&self, since: Instant) -> Gap {
        let mut answered = self.shared.answered.lock().unwrap().clone();
        answered.retain(|at| *at > since);
        answered.sort_unstable();
        let ends = answered.iter().copied();
        let gaps = std::iter::once(since).chain(answered.iter().copied()).zip(ends);
        let gaps = gaps.map(|(from, to)| Gap { length: to - from, over_after: to - since });
        gaps.max_by_key(|gap| gap.length).unwrap_or_default()
    }

    /// From now on no answer may come from an older version than this.
    pub(crate) fn at_least_version(&self, index: usize) {
        self.shared.oldest.store(index, Ordering::SeqCst);
    }

    /// Ends the load, prints what became of it.
    pub(crate) async fn finish(mut self, case: &str) -> Tally {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut sum = Tally::default();
        while let Some(tally) = self.tasks.join_next().await {
            for (outcome, count) in tally.unwrap().0 {
                *sum.0.entry(outcome).or_default() += count;
            }
        }
        let slowest = self.shared.slowest.load(Ordering::SeqCst);
        println!("load | {case:<28} | {sum}; slowest {slowest} ms");
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
            let begun = Instant::now();
            let outcome = match timeout(PATIENCE, self.request(method, round, &mut kept)).await {
                Ok(Ok(())) => "2xx".to_owned(),
                Ok(Err(lost)) => format!("{method} {lost}"),
                Err(_) => format!("{method} timeout"),
            };
            if outcome == "2xx" {
                self.answered.lock().unwrap().push(Instant::now());
            }
            if outcome != "2xx" || !keep {
                kept = None;
            }
            self.slowest.fetch_max(begun.elapsed().as_millis() as usize, Ordering::SeqCst);
            *tally.0.entry(outcome).or_default() += 1;
            self.done.fetch_add(1, Ordering::SeqCst);
            self.progress.notify_waiters();
        }
        tally
    }

    async fn request(&self, method: &str, round: usize, kept: &mut Option<Wire>) -> Result<(), String> {
        let oldest = self.oldest.load(Ordering::SeqCst);
        let reused = kept.is_some();
        let mut wire = match kept.take() {
            Some(wire) => wire,
            None => self.connect().await?,
        };
        let body = if method == "POST" { format!("{round} ").repeat(500) } else { String::new() };
        let path = if method == "POST" { "/echo" } else { "/version" };
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
        // A server that closes a resting connection cannot know that a request is on its way: clients send it again.
        let answer = wire.exchange(request.as_bytes()).await;
        let answer =
            answer.map_err(|lost| if reused { format!("{lost} on a kept connection") } else { lost })?;
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
pub(crate) struct Tally(BTreeMap<String, usize>);

impl Tally {
    pub(crate) fn count(&self, outcome: &str) -> usize {
        self.0.get(outcome).copied().unwrap_or_default()
    }

    /// Whether every request was answered as it should be.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.keys().eq(["2xx"])
    }

    pub(crate) fn without(mut self, outcome: &str) -> Self {
        self.0.remove(outcome);
        self
    }

    #[track_caller]
    pub(crate) fn assert_nothing_lost(&self) {
        assert!(self.is_whole(), "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcomes: Vec<_> = self.0.iter().map(|(outcome, count)| format!("{outcome}: {count}")).collect();
        f.write_str(&outcomes.join(", "))
    }
}
