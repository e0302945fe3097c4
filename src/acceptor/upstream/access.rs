//! Access records: one for every request, also for one cut short.
//!
//! Owns the record of a request until the request is over. Never here: the look of a record (`access_line`), or its way
//! out (`access_log`, `access_writer`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, header};
use tokio::time::Instant;

use crate::budget::Reservation;
use crate::directory::App;
use crate::files::error_pages::ErrorPages;

use crate::acceptor::body::cut_short::CutShort;
use crate::acceptor::records::access_line::AccessEntry;
use crate::acceptor::records::access_record::{AccessRecord, Outcome, Particulars};
use crate::acceptor::thread::shard::Connection;

/// The record of a request in progress. Dropping it writes the record; when there was no answer yet, the client has
/// left.
pub(in crate::acceptor) struct Recording {
    record: AccessRecord,
    /// The facts that only the log needs. Boxed, and there only with a log: they would be most of a recording.
    particulars: Option<Box<Particulars>>,
    conn: Rc<Connection>,
    /// Whether the request is the client's own: one that its connection has in hand.
    is_own: bool,
    time: SystemTime,
    start: Instant,
    app: Option<Arc<App>>,
    /// Whether the answer waits for the client to take more of it; see `ConnState::waits_for_client`.
    untaken: bool,
    /// The reservation for what the answer holds for its client beside its bytes.
    room: Option<Box<Reservation>>,
}

impl Recording {
    /// Begins the record; `particulars` is called only when there is a log. Boxed: the recording is moved with its
    /// answer.
    pub(in crate::acceptor) fn begin(
        conn: Rc<Connection>,
        start: Instant,
        particulars: impl FnOnce() -> Particulars,
    ) -> Box<Self> {
        conn.state.begin(start);
        conn.shard.requests.update(|count| count + 1);
        let mut recording = Self::beside(conn, start, particulars);
        recording.is_own = true;
        Box::new(recording)
    }

    /// Begins the record of a request that the server makes of its own for one that the connection has in hand.
    pub(in crate::acceptor) fn beside(
        conn: Rc<Connection>,
        start: Instant,
        particulars: impl FnOnce() -> Particulars,
    ) -> Self {
        Self {
            record: AccessRecord::blank(),
            particulars: conn.shard.access.is_on().then(|| Box::new(particulars())),
            conn,
            is_own: false,
            time: SystemTime::now(),
            start,
            app: None,
            untaken: false,
            room: None,
        }
    }

    /// The time of the request by the wall clock.
    pub(in crate::acceptor) fn time(&self) -> SystemTime {
        self.time
    }

    /// Changes the record.
    pub(in crate::acceptor) fn note(&mut self, what: impl FnOnce(&mut AccessRecord)) {
        what(&mut self.record);
    }

    /// Keeps a reservation until the answer is over.
    pub(in crate::acceptor) fn takes(&mut self, room: Option<Box<Reservation>>) {
        self.room = room;
    }

    /// Notes the head of the answer.
    pub(in crate::acceptor) fn note_head(&mut self, headers: &HeaderMap) {
        if let Some(particulars) = &mut self.particulars {
            particulars.kind = headers.get(header::CONTENT_TYPE).cloned();
        }
    }

    /// Notes the user who asks, as far as it is known: the name, or nothing.
    pub(in crate::acceptor) fn note_user(&mut self, user: Option<&str>) {
        if let Some(particulars) = &mut self.particulars {
            particulars.user = user.map(Into::into);
        }
    }

    pub(in crate::acceptor) fn belongs_to(&mut self, app: &Arc<App>, host: &str) {
        self.app = Some(Arc::clone(app));
        if let Some(particulars) = &mut self.particulars {
            particulars.host = Some(host.to_owned());
        }
    }

    /// The app that the request is for, if it is for one.
    pub(in crate::acceptor) fn app(&self) -> Option<&str> {
        self.app.as_ref().map(|app| app.name.as_str())
    }

    /// The app's own pages for answers in its place.
    pub(in crate::acceptor) fn pages(&self) -> Option<Arc<ErrorPages>> {
        self.app.as_ref()?.rules.load().pages.0.clone()
    }

    /// Notes that so many bytes of the answer's body were handed on; `all`: none are left.
    pub(in crate::acceptor) fn sent(&mut self, bytes: usize, all: bool) {
        self.record.bytes += bytes as u64;
        if all {
            self.record.outcome = Outcome::Complete;
        }
    }

    /// Notes whether the answer waits for the client. Only HTTP/2 needs this: over HTTP/1 the bytes wait in a write.
    pub(in crate::acceptor) fn waits_for_client(&mut self, waits: bool) {
        if !self.is_own || !self.conn.state.is_http2() {
            return;
        }
        if std::mem::replace(&mut self.untaken, waits) != waits {
            self.conn.state.waits_for_client(waits);
        } else if waits {
            self.conn.state.client_took();
        }
    }

    /// Whether the client speaks HTTP/2.
    pub(in crate::acceptor) fn is_over_http2(&self) -> bool {
        self.conn.state.is_http2()
    }

    /// Notes that the server answers in the app's place.
    pub(in crate::acceptor) fn refused(&mut self, reason: &'static str) {
        if let Some(app) = &self.app {
            app.metrics.refused(reason);
        }
        self.record.reason = Some(reason);
    }

    /// Notes that the answer may last for hours, with long silences.
    pub(in crate::acceptor) fn becomes_long_lived(&self) {
        if self.is_own {
            self.conn.state.becomes_long_lived();
        }
    }

    /// Notes that the connection is about to leave HTTP.
    pub(in crate::acceptor) fn switch_off_framing(&self) {
        self.conn.state.switch_off_framing();
    }

    pub(in crate::acceptor) fn cut(&mut self, why: &CutShort) {
        self.record.outcome = Outcome::Truncated;
        self.record.reason = Some(match why {
            CutShort::Io(_) => "worker-died",
            CutShort::File(_) => "file",
            CutShort::Compression(_) => "compression",
            CutShort::Malformed(_) => "bad-answer",
            CutShort::Stalled => "worker-stalled",
            CutShort::ClientStalled => "client-stalled",
            CutShort::ClientSlow => "client-slow",
            CutShort::Request(reason) => reason,
        });
    }

    /// Completes the record of a request whose end nobody has noted: the side that left, and a status where there was
    /// no answer.
    fn close(&mut self) {
        let record = &mut self.record;
        let mut unanswered = 499;
        if record.outcome == Outcome::ClientGone && record.reason.is_none() {
            record.reason = Some("client-gone");
            if self.conn.shard.cut.is_requested() {
                (record.outcome, record.reason) = (Outcome::Truncated, Some("server-stopped"));
                unanswered = 503;
            }
        }
        if record.status == 0 {
            record.status = unanswered;
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.waits_for_client(false);
        let now = Instant::now();
        if self.is_own {
            self.conn.state.end(now);
            self.conn.shard.requests.update(|count| count.saturating_sub(1));
        }
        let total = now - self.start;
        self.close();
        let record = &self.record;
        let app = self.app.as_ref();
        if let Some(app) = app {
            app.metrics.request_done(record.status, total, record.in_worker);
        }
        if let Some(particulars) = &self.particulars {
            let (time, app) = (self.time, app.map(|app| &app.name));
            self.conn.shard.access.write(&AccessEntry { time, total, app, record, particulars });
        }
    }
}
