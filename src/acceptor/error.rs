//! `ServeError`: everything that can keep a request from its answer, with the three questions asked of it.
//!
//! Never here: turning it into bytes (`reply`).

use std::time::Duration;

use http::{Method, StatusCode};

use crate::name::WorkerId;

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
    #[error("the host is not known here")]
    UnknownHost,
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
    #[error("worker {worker} sent an answer that is not HTTP: {what}")]
    BadAnswer { worker: WorkerId, what: &'static str },
    #[error("worker {worker} has no place for another long-lived connection")]
    NoTunnel { worker: WorkerId },
    #[error("worker {worker} did not answer in time")]
    WorkerTimeout { worker: WorkerId },
}

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    Client,
    Worker,
    Us,
}

/// Whether the request may be handed to another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// No byte of it can have been acted on.
    Always,
    /// Only if doing it twice is the same as doing it once (RFC 9110 §9.2.2).
    IfIdempotent,
    Never,
}

impl Retry {
    pub(super) fn allows(self, method: &Method) -> bool {
        match self {
            Self::Always => true,
            Self::IfIdempotent => method.is_idempotent(),
            Self::Never => false,
        }
    }
}

impl ServeError {
    /// What the client is told.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            // What a client that only stopped sending may still read; the access record says 499.
            Self::Malformed(_) | Self::ClientGone => StatusCode::BAD_REQUEST,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TargetTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::TooManyFields { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownHost => StatusCode::NOT_FOUND,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::OverRate { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TooManyConnections
            | Self::QueueFull
            | Self::UnreadFull
            | Self::QueueTimeout
            | Self::NoWorker
            | Self::Stopped { .. }
            | Self::Spool(_)
            | Self::TooManyUploads
            | Self::NoTunnel { .. }
            | Self::WorkerBusy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable { .. } | Self::WorkerDied { .. } | Self::BadAnswer { .. } => {
                StatusCode::BAD_GATEWAY
            }
            Self::WorkerTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whose fault it is.
    pub(super) fn blame(&self) -> Blame {
        match self {
            Self::Malformed(_)
            | Self::ClientGone
            | Self::TooSlow(_)
            | Self::BodyTooLarge { .. }
            | Self::TargetTooLong { .. }
            | Self::TooManyFields { .. }
            | Self::Method
            | Self::UnknownHost
            | Self::Misdirected
            | Self::TooManyConnections
            | Self::OverRate { .. } => Blame::Client,
            Self::Unreachable { .. }
            | Self::WorkerDied { .. }
            | Self::WorkerBusy { .. }
            | Self::BadAnswer { .. }
            | Self::NoTunnel { .. }
            | Self::WorkerTimeout { .. } => Blame::Worker,
            Self::QueueFull
            | Self::UnreadFull
            | Self::QueueTimeout
            | Self::NoWorker
            | Self::Stopped { .. }
            | Self::Spool(_)
            | Self::TooManyUploads => Blame::Us,
        }
    }

    /// Whether another worker may be asked.
    pub(super) fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { .. } | Self::WorkerBusy { .. } => Retry::Always,
            Self::WorkerDied { .. } => Retry::IfIdempotent,
            Self::Malformed(_)
            | Self::ClientGone
            | Self::TooSlow(_)
            | Self::BodyTooLarge { .. }
            | Self::TargetTooLong { .. }
            | Self::TooManyFields { .. }
            | Self::Method
            | Self::UnknownHost
            | Self::Misdirected
            | Self::OverRate { .. }
            | Self::TooManyConnections
            | Self::QueueFull
            | Self::UnreadFull
            | Self::QueueTimeout
            | Self::NoWorker
            | Self::Stopped { .. }
            | Self::Spool(_)
            | Self::TooManyUploads
            | Self::BadAnswer { .. }
            | Self::NoTunnel { .. }
            | Self::WorkerTimeout { .. } => Retry::Never,
        }
    }

    /// The stable word of `X-Rip-Reason`.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::ClientGone => "client-gone",
            Self::TooSlow(_) => "too-slow",
            Self::BodyTooLarge { .. } => "body-too-large",
            Self::TargetTooLong { .. } => "target-too-long",
            Self::TooManyFields { .. } => "head-too-large",
            Self::Method => "method",
            Self::UnknownHost => "unknown-host",
            Self::Misdirected => "misdirected",
            Self::OverRate { .. } => "over-rate",
            Self::TooManyConnections => "too-many-connections",
            Self::QueueFull | Self::UnreadFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::NoWorker => "no-worker",
            Self::Stopped { .. } => "stopped",
            Self::Spool(_) => "spool",
            Self::TooManyUploads => "too-many-uploads",
            Self::Unreachable { .. } => "worker-unreachable",
            Self::WorkerDied { .. } => "worker-died",
            Self::WorkerBusy { .. } => "worker-busy",
            Self::BadAnswer { .. } => "bad-answer",
            Self::NoTunnel { .. } => "no-tunnel",
            Self::WorkerTimeout { .. } => "worker-timeout",
        }
    }

    /// Whether the connection must end, because where the next request begins is not certain or not worth waiting for.
    pub(super) fn closes(&self) -> bool {
        matches!(
            self,
            Self::Malformed(_)
                | Self::ClientGone
                | Self::TooSlow(_)
                | Self::BodyTooLarge { .. }
                | Self::TargetTooLong { .. }
                | Self::TooManyFields { .. }
                | Self::Method
                | Self::Misdirected
                | Self::TooManyConnections
        )
    }

    /// Seconds after which trying again makes sense.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::OverRate { retry_after } => Some(retry_after.as_secs() + 1),
            Self::Stopped { .. } => Some(60),
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        }
    }
}
