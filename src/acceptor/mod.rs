//! The data path: connections in, requests to workers, answers out.
//!
//! ```text
//! downstream: listen → tls → http1 (fast_path, or hyper), http2
//!   → request: http → route → collect
//!     → exchange: forward (claim) → upstream: upstream_conn, send, worker_head
//!     ← exchange: respond → response_pump → body: buffer ← upstream: reply_body
//! ```
//!
//! Each core has a thread with an event loop of its own, and one more thread keeps the timers of all; a connection
//! stays on the thread that accepted it. A room imports only rooms below it: downstream, request, exchange, upstream,
//! thread, connection, body, records, access, wire. Nothing here knows the supervisor: workers come out of an app's
//! pool and go back into it.

mod access;
mod bind;
mod body;
mod connection;
mod downstream;
mod error;
mod exchange;
mod limit;
mod peer;
mod reason;
mod records;
mod request;
mod thread;
mod upstream;
mod wire;
mod worker_socket;
mod worker_stream;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ::http::HeaderValue;
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::Instant;

use crate::budget::Budget;
use crate::challenges::Challenges;
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::spec::{AccessFormat, Hsts, ProxiedListener, ServerSpec};
use crate::system::heap_trim::{self, HeapTrim};
use crate::tasks::{ShutdownToken, TaskGroup};
use crate::time::Heartbeats;
use crate::time::timer::{self, TimerThread};

pub(crate) use bind::bind_port;

use access::forward_auth::AuthCalls;
use access::passwords::Passwords;
use body::blocked_workers::BlockedWorkers;
use body::buffer_pool::BufferPool;
use body::uploads::Uploads;
use connection::head_memory::MOST_HEADS;
use connection::places::Places;
use downstream::entrance::Entrance;
use downstream::listen::accept;
pub(crate) use downstream::tls::{ChooseTls, ClientCertCheck, TlsChoice};
use limit::LimitLog;
use peer::RateLimit;
use records::access_log::AccessLog;
use records::access_writer::AccessWriter;
use thread::date::HttpDate;
use thread::handshakes::HandshakeTurns;
use thread::own_answers::OwnAnswers;
use thread::server::Server;
use thread::shard::{Role, Shard};
use thread::upstreams::Upstreams;
use thread::worker_seal::WorkerSeal;
use thread::write_batch::WriteBatch;
use upstream::unread::MOST_UNREAD;
use wire::frames;

/// The parts of the data path.
pub(crate) struct AcceptorParts {
    pub(crate) spec: ServerSpec,
    /// The folder of spool files; must exist.
    pub(crate) spool: PathBuf,
    /// The listeners for apps over TLS.
    pub(crate) https: Vec<TcpListener>,
    /// Listeners for apps without TLS, or for redirects when there are TLS listeners too.
    pub(crate) http: Vec<TcpListener>,
    /// Chooses how each TLS handshake goes on; needed when there are `https` listeners.
    pub(crate) tls: Option<ChooseTls>,
    pub(crate) directory: Directory,
    /// Answers to authorities that ask whether a name leads here.
    pub(crate) challenges: Challenges,
    pub(crate) metrics: Metrics,
    /// Whether access records go to the journal.
    pub(crate) to_journal: bool,
    /// The number of threads, at least 1.
    pub(crate) threads: usize,
    /// Where the accept loops report that they run.
    pub(crate) heartbeats: Heartbeats,
}

pub(crate) struct Acceptor {
    stop: TaskGroup,
    cut: ShutdownToken,
    threads: Vec<JoinHandle<()>>,
    /// Closes when the last thread is over.
    over: Receiver<Infallible>,
    writer: Option<AccessWriter>,
}

impl Acceptor {
    /// Starts to accept.
    ///
    /// # Errors
    /// When a thread or its event loop cannot be made.
    pub(crate) fn start(parts: AcceptorParts) -> io::Result<Self> {
        let style = parts.spec.log.access_log();
        let to_journal = parts.to_journal && style != AccessFormat::Json;
        let (outlet, writer) =
            records::access_writer::start(style, to_journal, parts.metrics.clone())?.unzip();
        let timers = TimerThread::start()?;
        let (server, own_answers) = (Arc::new(server(&parts)?), Arc::new(own_answers(&parts)));
        let limits = &parts.spec.limits;
        let places = Places::new(limits.max_connections, limits.max_connections_per_address, Instant::now());
        server.show_budgets(&parts.metrics);
        places.show(&parts.metrics);
        let (stop, cut) = (TaskGroup::new(), ShutdownToken::new());
        let mut threads = Vec::new();
        let (running, over) = channel(1);
        for index in 0..parts.threads.max(1) {
            let listeners = Listeners::clone_of(&parts)?;
            let (server, own_answers) = (Arc::clone(&server), Arc::clone(&own_answers));
            let (outlet, places) = (outlet.clone(), places.clone());
            let (directory, metrics, stop) = (parts.directory.clone(), parts.metrics.clone(), stop.child());
            let (heartbeats, cut, running) = (parts.heartbeats.clone(), cut.clone(), running.clone());
            let timers = timers.clone();
            let run = move || {
                timers.serve_this_thread();
                let upstreams = Rc::new(Upstreams {
                    index,
                    server: Arc::clone(&server),
                    stop: stop.clone(),
                    cut: cut.clone(),
                    channels: thread::h2c_channels::Channels::default(),
                    buffers: BufferPool::default(),
                    write_batch: WriteBatch::default(),
                });
                let shard = Shard {
                    server,
                    upstreams,
                    own_answers,
                    directory,
                    metrics,
                    access: AccessLog::new(outlet),
                    stop,
                    cut,
                    handshakes: HandshakeTurns::default(),
                    date: HttpDate::default(),
                    requests: Cell::new(0),
                    heartbeats,
                };
                run_shard(shard, listeners, &places);
                drop(running);
            };
            threads.push(std::thread::Builder::new().name(format!("serve-{index}")).spawn(run)?);
        }
        Ok(Self { stop, cut, threads, over, writer })
    }

    /// Stops accepting; connections finish what they have in hand. Returns when all are closed, or after `limit`.
    /// Cancel-safe.
    pub(crate) async fn drain(&mut self, limit: Duration) {
        self.stop.request();
        if !self.is_over_within(limit).await {
            tracing::warn!(?limit, "connections are cut: they did not finish in time");
        }
    }

    /// Cuts the connections that are left, and returns when all access records are written.
    pub(crate) async fn end(mut self) {
        self.stop.request();
        // A client whose worker has gone just now is still answered.
        let over = self.is_over_within(LAST_ANSWERS).await;
        self.cut.request();
        if !over && !self.is_over_within(CUTTING).await {
            tracing::error!("a thread of the data path does not end");
        } else if self.threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count() > 0 {
            tracing::error!("a thread of the data path panicked");
        }
        if let Some(writer) = self.writer {
            writer.finish(LAST_RECORDS).await;
        }
    }

    async fn is_over_within(&mut self, limit: Duration) -> bool {
        timer::timeout(limit, self.over.recv()).await.is_ok()
    }
}

/// The descriptors of the listeners that one thread owns.
struct Listeners {
    list: Vec<(TcpListener, Role)>,
    tls: Option<ChooseTls>,
    proxied: Vec<ProxiedListener>,
}

impl Listeners {
    fn clone_of(parts: &AcceptorParts) -> io::Result<Self> {
        let http = if parts.https.is_empty() { Role::Http } else { Role::Redirect };
        let all = parts.https.iter().map(|listener| (listener, Role::Https));
        let all = all.chain(parts.http.iter().map(|listener| (listener, http)));
        let list =
            all.map(|(listener, role)| Ok((listener.try_clone()?, role))).collect::<io::Result<_>>()?;
        Ok(Self { list, tls: parts.tls.clone(), proxied: parts.spec.listening.proxy.clone() })
    }
}

fn run_shard(shard: Shard, listeners: Listeners, places: &Places) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime =
        match builder.enable_io().max_blocking_threads(DISK_THREADS).build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "cannot make an event loop");
                return;
            }
        };
    let shard = Rc::new(shard);
    runtime.block_on(async {
        // The tasks of the write batches and of the handshakes have groups of their own, because they do not end by
        // themselves.
        shard.stop.child().spawn_local("write_batch", shard.upstreams.write_batch.clone().run());
        shard.stop.child().spawn_local("handshakes", shard.handshakes.clone().run());
        for (listener, role) in listeners.list {
            let tls = listeners.tls.clone().filter(|_| role == Role::Https);
            let proxied = listeners.proxied.contains(&role.listener());
            let entrance = Entrance { role, tls, places: places.clone(), proxied };
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    shard.stop.spawn_local("accept", accept(Rc::clone(&shard), listener, entrance));
                }
                Err(error) => tracing::error!(%error, "cannot wait on a listener"),
            }
        }
        let sweep = async {
            match &shard.server.rate {
                _ if shard.upstreams.index > 0 => std::future::pending().await,
                Some(rate) => drop(tokio::join!(rate.sweep(), shard.server.frames.sweep())),
                None => shard.server.frames.sweep().await,
            }
        };
        let slim = async {
            if shard.upstreams.index > 0 {
                return std::future::pending().await;
            }
            let mut heap_trim = HeapTrim::default();
            loop {
                timer::sleep(heap_trim::LOOK).await;
                heap_trim.look().await;
            }
        };
        let served = async {
            tokio::select! {
                () = shard.stop.requested() => {}
                () = sweep => {}
                () = slim => {}
                () = shard.upstreams.buffers.sweep() => {}
            }
            shard.stop.finished().await;
        };
        tokio::select! {
            () = served => {}
            () = shard.access.hand_over_in_time() => {}
            () = shard.cut.requested() => {}
        }
    });
    // The connections that were cut are dropped here, and write their records.
    runtime.shutdown_background();
    shard.access.hand_over();
}

fn server(parts: &AcceptorParts) -> io::Result<Server> {
    let spool = body::spool::space(parts.spec.limits.spool(), &parts.spool);
    Ok(Server {
        limits: parts.spec.limits,
        trusted: parts.spec.listening.trusted_proxies.clone(),
        h2_websocket: parts.spec.listening.h2_websocket,
        spool: parts.spool.clone(),
        rate: parts.spec.limits.rate.map(RateLimit::new),
        unintroduced: Budget::new(parts.spec.limits.max_connections as u64),
        frames: Arc::new(RateLimit::new(frames::SHARE)),
        heads: Budget::new(MOST_HEADS),
        room: Budget::new(parts.spec.limits.body_room as u64),
        reply_room: Budget::new(parts.spec.limits.reply_room),
        memory: Budget::new(BODIES_IN_MEMORY.saturating_mul(parts.spec.limits.body_memory as u64)),
        uploads: Uploads::new(parts.spec.limits.max_connections),
        unread: Budget::new(MOST_UNREAD),
        spooled_bytes: parts.metrics.spooled_bytes.clone(),
        spool_space: Budget::new(spool),
        spooled_answers: Budget::new(spool),
        blocked_workers: BlockedWorkers::default(),
        limit_log: LimitLog::new(parts.metrics.clone(), Instant::now()),
        passwords: Passwords::new()?,
        auth_calls: AuthCalls::new(),
        worker_seal: WorkerSeal::of(&parts.spec.instance)?,
    })
}

fn own_answers(parts: &AcceptorParts) -> OwnAnswers {
    let port = |listeners: &[TcpListener]| {
        listeners.first().and_then(|first| first.local_addr().ok()).map(|at| at.port())
    };
    OwnAnswers {
        hsts: parts.spec.tls.hsts().and_then(hsts_value),
        status_for_all: parts.spec.listening.status_for_all,
        https_port: port(&parts.https),
        http_port: port(&parts.http),
        started: Instant::now(),
        challenges: parts.challenges.clone(),
    }
}

fn hsts_value(hsts: Hsts) -> Option<HeaderValue> {
    let subdomains = if hsts.subdomains { "; includeSubDomains" } else { "" };
    HeaderValue::try_from(format!("max-age={}{subdomains}", hsts.max_age.as_secs())).ok()
}

/// The threads that read and write the spool files of one serving thread's connections; many more would not be faster.
const DISK_THREADS: usize = 32;
/// The number of request bodies that may each have all of `body_memory`.
const BODIES_IN_MEMORY: u64 = 1024;
/// The time for answers that are ready when the workers have gone.
const LAST_ANSWERS: Duration = Duration::from_millis(250);
/// The time for threads to drop the connections that were cut.
const CUTTING: Duration = Duration::from_secs(2);
/// The time for the last access records, if nobody takes them.
const LAST_RECORDS: Duration = Duration::from_secs(2);
