//! The limits of what clients may make the server hold: each hit is counted, and the first in a minute is logged.
//!
//! Never here: the limits' figures, or what happens to a client that meets one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::name::ClientNet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Memory that large request bodies share.
    BodyRoom,
    /// Places in the queue of an app.
    Queue,
    /// Places for long-lived connections at a worker.
    Tunnels,
    /// The time that a streamed body may make a worker wait that others wait for.
    SlowStream,
    /// Memory of request bodies up to `body_memory` each.
    BodyMemory,
    /// Bytes of all spool files.
    Spool,
    /// Bodies that are still coming.
    Uploads,
    /// Streamed bodies that lie unread while their requests wait.
    UnreadBodies,
    /// Memory that answers share.
    ReplyRoom,
    /// Space that the spool files of answers share.
    ReplySpool,
    /// The time that an answer may keep what others want.
    SlowReader,
    /// Memory of heads and TLS handshakes that are large.
    Heads,
    /// Places for connections.
    Connections,
    /// HTTP/2 frames without content.
    Frames,
    /// TLS handshakes of one client that wait.
    Handshakes,
    /// Passwords that are checked, or wait for that.
    Passwords,
    /// Requests that another program is asked about.
    AuthCalls,
}

impl Limit {
    const ALL: [Self; 17] = [
        Self::BodyRoom,
        Self::Queue,
        Self::Tunnels,
        Self::SlowStream,
        Self::BodyMemory,
        Self::Spool,
        Self::Uploads,
        Self::UnreadBodies,
        Self::ReplyRoom,
        Self::ReplySpool,
        Self::SlowReader,
        Self::Heads,
        Self::Connections,
        Self::Frames,
        Self::Handshakes,
        Self::Passwords,
        Self::AuthCalls,
    ];

    /// The limit's label in the metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BodyRoom => "body-room",
            Self::Queue => "queue",
            Self::Tunnels => "tunnels",
            Self::SlowStream => "slow-stream",
            Self::BodyMemory => "body-memory",
            Self::Spool => "spool",
            Self::Uploads => "uploads",
            Self::UnreadBodies => "unread-bodies",
            Self::ReplyRoom => "reply-room",
            Self::ReplySpool => "reply-spool",
            Self::SlowReader => "slow-reader",
            Self::Heads => "heads",
            Self::Connections => "connections",
            Self::Frames => "frames",
            Self::Handshakes => "handshakes",
            Self::Passwords => "passwords",
            Self::AuthCalls => "auth-calls",
        }
    }

    /// The sentence for the log: what is at its limit, and what happens.
    fn sentence(self) -> &'static str {
        match self {
            Self::BodyRoom => {
                "request bodies have used up their memory: they go into spool files (limits.body_room)"
            }
            Self::Queue => {
                "the queue of the app is full: requests of the client that has the most waiting are answered 503 \
                 (max_queue is how many may wait; clients behind a proxy count one by one if it is in trusted_proxies)"
            }
            Self::Tunnels => {
                "a worker has no place left that the client may take for a WebSocket or an event stream: it is \
                 answered 503 (tunnels is how many a worker holds, of which one client gets at most half; clients \
                 behind a proxy count one by one if it is in trusted_proxies)"
            }
            Self::BodyMemory => {
                "small request bodies have used up their memory: they go into spool files (limits.body_memory)"
            }
            Self::Spool => {
                "spool files are short of space: a request body is refused, or a slow one ended (limits.spool)"
            }
            Self::Uploads => {
                "too many request bodies are coming at the same time: one is refused, or a slow one ended"
            }
            Self::UnreadBodies => {
                "too many streamed bodies over HTTP/2 wait for a worker: a request is refused as if the queue were full"
            }
            Self::SlowStream => {
                "a streamed request body made a worker wait that others waited for: its request is ended"
            }
            Self::ReplyRoom => {
                "answers that wait for their client have used up their memory: they go into spool files (limits.reply_room)"
            }
            Self::ReplySpool => {
                "answers that wait for their client have used up the spool files: it has to read them before it gets more (limits.spool)"
            }
            Self::SlowReader => {
                "an answer is cut: its client reads too slowly while others want the worker, memory or disk that it keeps"
            }
            Self::Heads => {
                "heads of requests that are large have used up their memory: a request is refused, or a connection ended \
                 whose head or TLS handshake is not complete"
            }
            Self::Connections => {
                "all places for connections are taken: those of this client are ended while they rest, or not taken in \
                 (limits.max_connections)"
            }
            Self::Frames => {
                "a client sent too many HTTP/2 frames that carry nothing: its connection is ended with GOAWAY \
                 ENHANCE_YOUR_CALM"
            }
            Self::Handshakes => {
                "a client begins very many TLS handshakes at once: they wait for each other and for those of others"
            }
            Self::Passwords => {
                "a client shows very many passwords at once: a request is answered 503 (clients behind a proxy count one by \
                 one if it is in trusted_proxies)"
            }
            Self::AuthCalls => {
                "very many requests wait for the program that `auth` asks: one is answered 503"
            }
        }
    }
}

/// When each limit was last logged. All threads share it.
#[derive(Debug)]
pub(super) struct LimitLog {
    metrics: Metrics,
    start: Instant,
    /// Milliseconds after `start`, plus one; 0: never.
    told: [AtomicU64; Limit::ALL.len()],
}

impl LimitLog {
    pub(super) fn new(metrics: Metrics, now: Instant) -> Self {
        Self { metrics, start: now, told: Default::default() }
    }

    /// Notes that a client met the limit; `None`: the client is not known.
    pub(super) fn reached(&self, limit: Limit, client: Option<ClientNet>) {
        self.reached_at(None, limit, client);
    }

    /// Notes that a client met the limit of an app.
    pub(super) fn reached_at(&self, app: Option<&str>, limit: Limit, client: Option<ClientNet>) {
        self.metrics.limit_reached(limit.name());
        if self.is_to_be_told(limit, Instant::now()) {
            let client = client.map(tracing::field::display);
            tracing::warn!(limit = limit.name(), app, client, "{}", limit.sentence());
        }
    }

    /// Whether the limit was not logged within the last minute; true for one thread only.
    fn is_to_be_told(&self, limit: Limit, now: Instant) -> bool {
        let told = &self.told[limit as usize];
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let at = millis(now.saturating_duration_since(self.start)).saturating_add(1);
        let last = told.load(Ordering::Relaxed);
        let quiet = last == 0 || at.saturating_sub(last) >= millis(BETWEEN);
        quiet && told.compare_exchange(last, at, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// The shortest time between two log records of the same limit.
const BETWEEN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hit_is_counted_and_the_first_in_a_minute_is_told() {
        let (metrics, start) = (Metrics::new(), Instant::now());
        let log = LimitLog::new(metrics.clone(), start);
        for (after, told) in [(0, true), (1, false), (59, false), (60, true), (119, false), (121, true)] {
            let now = start + Duration::from_secs(after);
            assert_eq!(log.is_to_be_told(Limit::BodyRoom, now), told, "after {after} s");
            log.reached(Limit::BodyRoom, None);
        }
        let page = metrics.render();
        assert!(page.contains("rip_limits_reached_total{limit=\"body-room\"} 6"), "{page}");
    }

    #[test]
    fn each_limit_has_a_name_and_a_place_of_its_own() {
        for (at, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, at);
            assert!(
                Limit::ALL[at + 1..].iter().all(|other| other.name() != limit.name()),
                "{}",
                limit.name()
            );
        }
    }
}
