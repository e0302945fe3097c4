//! Access records: one for every request, also for one cut short.
//!
//! A record goes through a bounded channel to one writer thread; when that is behind, records are counted as dropped:
//! a request never waits for the log. Never here: the look of a line (`access_line`).

use std::io::{self, Write};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Method, Uri, Version};
use tokio::time::Instant;

use crate::directory::App;
use crate::metrics::Metrics;
use crate::name::{AppName, GenerationId, RequestId, WorkerId};
use crate::spec::AccessLog;

use super::access_line;
use super::reply_body::CutShort;
use super::shard::Connection;

/// Where records go. Cheap to clone.
#[derive(Clone)]
pub(super) struct AccessSink {
    sender: Option<SyncSender<Box<Record>>>,
    metrics: Metrics,
}

/// The thread that writes records. Joined when every sink is gone.
pub struct AccessWriter {
    thread: JoinHandle<()>,
}

impl AccessWriter {
    /// Waits until all records are written.
    pub fn finish(self) {
        if self.thread.join().is_err() {
            tracing::error!("the thread that writes access records panicked");
        }
    }
}

/// Starts the writer. `None` when there is nothing to write.
pub(super) fn start(
    style: AccessLog,
    to_journal: bool,
    metrics: Metrics,
) -> io::Result<(AccessSink, Option<AccessWriter>)> {
    if style == AccessLog::Off {
        return Ok((AccessSink { sender: None, metrics }, None));
    }
    let (sender, receiver) = sync_channel(BACKLOG);
    let write = move || if to_journal { write_journal(&receiver) } else { write_lines(&receiver, style) };
    let thread = std::thread::Builder::new().name("access-log".into()).spawn(write)?;
    Ok((AccessSink { sender: Some(sender), metrics }, Some(AccessWriter { thread })))
}

impl AccessSink {
    fn send(&self, record: Box<Record>) {
        let Some(sender) = &self.sender else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sender.try_send(record) {
            self.metrics.access_records_dropped.inc();
        }
    }
}

/// Writes what is there, then flushes once: many records cost one system call.
fn write_lines(records: &Receiver<Box<Record>>, style: AccessLog) {
    let terminal = io::IsTerminal::is_terminal(&io::stdout())
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let mut line = Vec::with_capacity(512);
    let mut out = Vec::with_capacity(FLUSH_AT * 2);
    while let Ok(first) = records.recv() {
        let mut next = Some(first);
        while let Some(record) = next {
            line.clear();
            match style {
                AccessLog::Json => access_line::json(&mut line, &record),
                AccessLog::Human | AccessLog::Off => access_line::human(&mut line, &record, terminal),
            }
            out.extend_from_slice(&line);
            next = if out.len() < FLUSH_AT { records.try_recv().ok() } else { None };
        }
        // Whoever reads standard output may have gone; requests are served all the same.
        let _ = io::stdout().lock().write_all(&out);
        out.clear();
    }
}

fn write_journal(records: &Receiver<Box<Record>>) {
    let mut line = Vec::with_capacity(512);
    while let Ok(record) = records.recv() {
        line.clear();
        access_line::human(&mut line, &record, false);
        let message = String::from_utf8_lossy(&line);
        tracing::info!(
            target: "access",
            app = record.app.as_ref().map(AppName::as_str),
            worker = record.worker.map(|worker| worker.0),
            generation = record.generation.map(|generation| generation.0),
            request_id = record.id.as_str(),
            status = record.status,
            reason = record.reason,
            "{}", message.trim_end()
        );
    }
}

/// What is known of one request when it is over.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) time: SystemTime,
    pub(super) id: RequestId,
    pub(super) client: IpAddr,
    pub(super) app: Option<AppName>,
    pub(super) host: Option<String>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) reason: Option<&'static str>,
    pub(super) outcome: Outcome,
    pub(super) kind: Option<HeaderValue>,
    pub(super) bytes: u64,
    pub(super) total: Duration,
    pub(super) queued: Option<Duration>,
    pub(super) in_worker: Option<Duration>,
    pub(super) worker: Option<WorkerId>,
    pub(super) generation: Option<GenerationId>,
}

impl Record {
    /// A request of which nothing is known but its client; over before it got an answer, until somebody says otherwise.
    pub(super) fn blank(id: RequestId, client: IpAddr) -> Self {
        Self {
            time: SystemTime::now(),
            id,
            client,
            app: None,
            host: None,
            method: Method::default(),
            uri: Uri::default(),
            version: Version::HTTP_11,
            status: 0,
            reason: None,
            outcome: Outcome::ClientGone,
            kind: None,
            bytes: 0,
            total: Duration::ZERO,
            queued: None,
            in_worker: None,
            worker: None,
            generation: None,
        }
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Whole.
    Complete,
    /// The worker or the server cut it.
    Truncated,
    /// The client left before its end.
    ClientGone,
}

/// The record of a request in progress. Dropping it writes it; before any answer that is a client that left.
pub(super) struct Recording {
    record: Option<Box<Record>>,
    conn: Rc<Connection>,
    start: Instant,
    app: Option<Arc<App>>,
    /// Whether the answer waits for the client to take more of it; see [`Wire::waits_for_client`].
    untaken: bool,
}

impl Recording {
    pub(super) fn begin(record: Box<Record>, conn: Rc<Connection>, start: Instant) -> Self {
        conn.wire.begin(start);
        Self { record: Some(record), conn, start, app: None, untaken: false }
    }

    /// When the request came, by the clock on the wall.
    pub(super) fn time(&self) -> SystemTime {
        self.record.as_ref().map_or(UNIX_EPOCH, |record| record.time)
    }

    /// The record, to note what becomes known.
    pub(super) fn note(&mut self, what: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            what(record);
        }
    }

    pub(super) fn belongs_to(&mut self, app: &Arc<App>, host: &str) {
        self.app = Some(Arc::clone(app));
        if self.conn.shard.access.sender.is_some() {
            self.note(|record| record.host = Some(host.to_owned()));
        }
    }

    /// So many bytes of the answer's body were handed on; `all`: nothing is left.
    pub(super) fn sent(&mut self, bytes: usize, all: bool) {
        self.note(|record| {
            record.bytes += bytes as u64;
            if all {
                record.outcome = Outcome::Complete;
            }
        });
    }

    /// Some of the answer is there for the client, or nothing: who has to go on. HTTP/1 needs no word of it, there the
    /// bytes wait in a write.
    pub(super) fn waits_for_client(&mut self, waits: bool) {
        if !self.conn.wire.is_http2() {
            return;
        }
        if std::mem::replace(&mut self.untaken, waits) != waits {
            self.conn.wire.waits_for_client(waits);
        } else if waits {
            self.conn.wire.client_took();
        }
    }

    /// The server answers in the app's place.
    pub(super) fn refused(&mut self, reason: &'static str) {
        if let Some(app) = &self.app {
            app.metrics.refused(reason);
        }
        self.note(|record| record.reason = Some(reason));
    }

    /// The answer may last for hours, with long silences.
    pub(super) fn becomes_long_lived(&self) {
        self.conn.wire.becomes_long_lived();
    }

    /// The connection is about to leave HTTP.
    pub(super) fn switch_off_framing(&self) {
        self.conn.wire.switch_off_framing();
    }

    pub(super) fn cut(&mut self, why: &CutShort) {
        self.note(|record| {
            record.outcome = Outcome::Truncated;
            record.reason = Some(match why {
                CutShort::Io(_) => "worker-died",
                CutShort::Malformed(_) => "bad-answer",
                CutShort::Stalled => "worker-stalled",
                CutShort::ClientStalled => "client-stalled",
                CutShort::Request(reason) => reason,
            });
        });
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        self.waits_for_client(false);
        let now = Instant::now();
        self.conn.wire.end(now);
        record.total = now - self.start;
        if record.outcome == Outcome::ClientGone && record.reason.is_none() {
            record.reason = Some("client-gone");
        }
        // A client that left before the head was sent got no status at all.
        if record.status == 0 {
            record.status = 499;
        }
        if let Some(app) = &self.app {
            app.metrics.request_done(record.status, record.total, record.in_worker);
            record.app = Some(app.name.clone());
        }
        self.conn.shard.access.send(record);
    }
}

/// Records that may wait for the writer.
const BACKLOG: usize = 8192;
/// Bytes that are written at once.
const FLUSH_AT: usize = 32 << 10;
