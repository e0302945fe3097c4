//! Owns `ServeError`: everything that can keep a request from its app's answer, and what exactly happened.
//!
//! Never here: what is done about each (`reason`), or turning it into bytes (`request/reply`).

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderValue;

use crate::name::{AmbiguousPath, WorkerId};

use super::limit::Limit;
use super::reason::{self, Reason};

/// Why a request did not get its app's answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    #[error("the request came too slowly: {0}")]
    TooSlow(&'static str),
    #[error("the client went away in the middle of its body")]
    ClientGone,
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge { limit: u64 },
    #[error("the request target is longer than {limit} bytes")]
    TargetTooLong { limit: usize },
    #[error("the request has more than {limit} header fields")]
    TooManyFields { limit: usize },
    #[error("the method is not supported")]
    Method,
    #[error("CONNECT is for a protocol that is not supported")]
    Protocol,
    #[error("what the WebSocket was asked for is none")]
    NoWebSocket,
    #[error("the host is not known here")]
    UnknownHost,
    #[error("no route of the host is for the path")]
    UnknownPath,
    #[error("the client's network may not ask for this")]
    Forbidden,
    #[error("no name with its password was shown")]
    Unauthorized { challenge: Box<HeaderValue> },
    #[error("too many passwords are being checked")]
    AuthBusy,
    #[error("too many requests are being asked about")]
    AuthCallsFull,
    #[error("who asks cannot be found out: {0}")]
    AuthFailed(&'static str),
    #[error("the connection was opened for a host of another app")]
    Misdirected,
    #[error("too many requests of this address")]
    OverRate { retry_after: Duration },
    #[error("too many connections of this address have requests in hand")]
    TooManyConnections,
    #[error("the queue is full")]
    QueueFull,
    #[error("too many streamed bodies wait unread")]
    UnreadFull,
    #[error("no worker became free in time")]
    QueueTimeout,
    #[error("the app has no worker")]
    NoWorker,
    #[error("the host is stopped")]
    Stopped { page: Option<std::sync::Arc<str>> },
    #[error("the request body cannot be stored")]
    Spool(#[source] std::io::Error),
    #[error("too many uploads are under way")]
    TooManyUploads,
    #[error("worker {worker} cannot be reached")]
    Unreachable { worker: WorkerId, source: std::io::Error },
    #[error("worker {worker} died before it answered")]
    WorkerDied { worker: WorkerId, cause: Option<&'static str>, source: std::io::Error },
    #[error("worker {worker} refused the request as busy")]
    WorkerBusy { worker: WorkerId },
    #[error("worker {worker} sent a bad answer: {what}")]
    BadAnswer { worker: WorkerId, what: &'static str },
    #[error("worker {worker} has no place for another long-lived connection")]
    NoTunnel { worker: WorkerId },
    #[error("the file that a worker named is not there")]
    FileMissing,
    #[error("the file that a worker named is in no folder of `accel`")]
    FileOutside,
    #[error("worker {worker} did not answer in time")]
    WorkerTimeout { worker: WorkerId },
}

impl From<AmbiguousPath> for ServeError {
    fn from(why: AmbiguousPath) -> Self {
        Self::Malformed(why.text())
    }
}

impl ServeError {
    /// The error's row in the table of refusals.
    pub(super) fn reason(&self) -> &'static Reason {
        match self {
            Self::Malformed(_) => &reason::MALFORMED,
            Self::ClientGone => &reason::CLIENT_GONE,
            Self::TooSlow(_) => &reason::TOO_SLOW,
            Self::BodyTooLarge { .. } => &reason::BODY_TOO_LARGE,
            Self::TargetTooLong { .. } => &reason::TARGET_TOO_LONG,
            Self::TooManyFields { .. } => &reason::TOO_MANY_FIELDS,
            Self::Method => &reason::METHOD,
            Self::Protocol => &reason::PROTOCOL,
            Self::NoWebSocket => &reason::NO_WEBSOCKET,
            Self::UnknownHost => &reason::UNKNOWN_HOST,
            Self::UnknownPath => &reason::UNKNOWN_PATH,
            Self::Forbidden => &reason::FORBIDDEN,
            Self::Unauthorized { .. } => &reason::UNAUTHORIZED,
            Self::AuthBusy | Self::AuthCallsFull => &reason::AUTH_BUSY,
            Self::AuthFailed(_) => &reason::AUTH_FAILED,
            Self::Misdirected => &reason::MISDIRECTED,
            Self::OverRate { .. } => &reason::OVER_RATE,
            Self::TooManyConnections => &reason::TOO_MANY_CONNECTIONS,
            Self::QueueFull | Self::UnreadFull => &reason::QUEUE_FULL,
            Self::QueueTimeout => &reason::QUEUE_TIMEOUT,
            Self::NoWorker => &reason::NO_WORKER,
            Self::Stopped { .. } => &reason::STOPPED,
            Self::Spool(_) => &reason::SPOOL,
            Self::TooManyUploads => &reason::TOO_MANY_UPLOADS,
            Self::Unreachable { .. } => &reason::WORKER_UNREACHABLE,
            Self::WorkerDied { .. } => &reason::WORKER_DIED,
            Self::WorkerBusy { .. } => &reason::WORKER_BUSY,
            Self::BadAnswer { .. } => &reason::BAD_ANSWER,
            Self::NoTunnel { .. } => &reason::NO_TUNNEL,
            Self::FileMissing => &reason::FILE_MISSING,
            Self::FileOutside => &reason::FILE_OUTSIDE,
            Self::WorkerTimeout { .. } => &reason::WORKER_TIMEOUT,
        }
    }

    /// The limit on clients that counts this refusal.
    pub(super) fn limit(&self) -> Option<Limit> {
        match self {
            Self::UnreadFull => Some(Limit::UnreadBodies),
            Self::AuthCallsFull => Some(Limit::AuthCalls),
            _ => self.reason().limit,
        }
    }

    /// The text that replaces `{}` in the row's sentence: the client's mistake, or the limit as settings are written;
    /// empty where the sentence has no `{}`.
    pub(super) fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::Malformed(what) => (*what).into(),
            Self::BodyTooLarge { limit } => size(*limit).into(),
            Self::TargetTooLong { limit } | Self::TooManyFields { limit } => limit.to_string().into(),
            _ => "".into(),
        }
    }

    /// Seconds after which another try makes sense.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::OverRate { retry_after } => Some(retry_after.as_secs() + 1),
            _ => self.reason().retry_after,
        }
    }
}

/// A size as settings are written: `100M`.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_as_it_is_written() {
        for (bytes, text) in
            [(104_857_600, "100M"), (2 << 30, "2G"), (64 << 10, "64K"), (5_000, "5000 bytes"), (0, "0 bytes")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
