//! What is noted of a request for the log and the metrics.
//!
//! Never here: when it is noted (`access`), or the look of it (`access_line`).

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderValue, Method, Uri, Version};
use serde::Serialize;

use crate::name::{GenerationId, RequestId, WorkerId};

/// How one request went, as far as is known.
#[derive(Debug)]
pub(super) struct Record {
    /// 0: it got no answer yet.
    pub(super) status: u16,
    pub(super) reason: Option<&'static str>,
    pub(super) outcome: Outcome,
    pub(super) bytes: u64,
    pub(super) queued: Option<Duration>,
    pub(super) in_worker: Option<Duration>,
    pub(super) worker: Option<WorkerId>,
    pub(super) generation: Option<GenerationId>,
}

impl Record {
    /// A request that is over before it got an answer, until somebody says otherwise.
    pub(super) fn blank() -> Self {
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

/// What only the log wants to know of a request.
#[derive(Debug)]
pub(super) struct Particulars {
    pub(super) id: RequestId,
    pub(super) client: IpAddr,
    pub(super) host: Option<String>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    /// The answer's content type.
    pub(super) kind: Option<HeaderValue>,
}

impl Particulars {
    /// A request of which nothing is known but its client.
    pub(super) fn blank(id: RequestId, client: IpAddr) -> Self {
        Self {
            id,
            client,
            host: None,
            method: Method::default(),
            uri: Uri::default(),
            version: Version::HTTP_11,
            kind: None,
        }
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// Whole.
    Complete,
    /// The worker or the server cut it.
    Truncated,
    /// The client left before its end.
    ClientGone,
}
