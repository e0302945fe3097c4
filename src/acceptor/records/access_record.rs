//! Owns the facts of a request for the log and the metrics.
//!
//! Never here: when they are noted (`access`), or how they look (`access_line`).

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderValue, Method, Uri, Version};
use serde::Serialize;

use crate::name::{GenerationId, RequestId, WorkerId};

/// How one request went, as far as is known.
#[derive(Debug)]
pub(in crate::acceptor) struct AccessRecord {
    /// The status; 0: there was no answer yet.
    pub(in crate::acceptor) status: u16,
    pub(in crate::acceptor) reason: Option<&'static str>,
    pub(in crate::acceptor) outcome: Outcome,
    pub(in crate::acceptor) bytes: u64,
    pub(in crate::acceptor) queued: Option<Duration>,
    pub(in crate::acceptor) in_worker: Option<Duration>,
    pub(in crate::acceptor) worker: Option<WorkerId>,
    pub(in crate::acceptor) generation: Option<GenerationId>,
}

impl AccessRecord {
    /// The record of a request that has no answer yet.
    pub(in crate::acceptor) fn blank() -> Self {
        Self {
            status: 0,
            reason: None,
            outcome: Outcome::ClientGone,
            bytes: 0,
            queued: None,
            in_worker: None,
            worker: None,
            generation: None,
        }
    }
}

/// The facts about a request that only the log needs.
#[derive(Debug)]
pub(in crate::acceptor) struct Particulars {
    pub(in crate::acceptor) id: RequestId,
    pub(in crate::acceptor) client: IpAddr,
    pub(in crate::acceptor) host: Option<String>,
    /// The name of who asks, where that is known.
    pub(in crate::acceptor) user: Option<Box<str>>,
    pub(in crate::acceptor) method: Method,
    pub(in crate::acceptor) uri: Uri,
    pub(in crate::acceptor) version: Version,
    pub(in crate::acceptor) kind: Option<HeaderValue>,
}

impl Particulars {
    /// The facts about a request of which only its id and its client are known.
    pub(in crate::acceptor) fn blank(id: RequestId, client: IpAddr) -> Self {
        Self {
            id,
            client,
            host: None,
            user: None,
            method: Method::default(),
            uri: Uri::default(),
            version: Version::HTTP_11,
            kind: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::acceptor) enum Outcome {
    Complete,
    /// The worker or the server cut the answer.
    Truncated,
    /// The client left before the answer's end.
    ClientGone,
}
