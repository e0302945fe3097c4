//! Owns a request's body as it is sent to a worker: collected, or streamed.
//!
//! A collected body (`collect`) can be sent a second time. Never here: sending it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::BodyExt;

use crate::budget::Reservation;
use crate::time::timer;

use super::client_body::ClientBody;
use super::spool::Spool;
use crate::acceptor::error::ServeError;
use crate::acceptor::wire::body_framing::SendFraming;

/// A request's body as it is sent to a worker.
pub(in crate::acceptor) enum RequestBody {
    Empty,
    /// A body in memory. Boxed, as trailers are: a request is moved with its body, and most have none.
    Memory(Box<Collected>),
    /// A body in a file, with its reservation of disk space.
    Spooled {
        spool: Spool,
        length: u64,
        _space: Reservation,
    },
    /// A collected body with trailers. Such a body is sent in chunks, because only chunks have a place for trailers.
    WithTrailers(Box<(Self, HeaderMap)>),
    /// A body that is passed on as it arrives, and can be sent only once; with its length, where that is known.
    Streaming(ClientBody, Option<u64>),
    /// A body whose rest is passed on beside the answer.
    PassedOn,
}

pub(in crate::acceptor) struct Collected {
    pub(in crate::acceptor) pieces: Vec<Bytes>,
    pub(in crate::acceptor) length: u64,
    /// The reservations for the first `body_memory` bytes, and for those above.
    pub(in crate::acceptor) _memory: (Reservation, Reservation),
}

impl RequestBody {
    pub(in crate::acceptor) fn framing(&self) -> SendFraming {
        match self {
            Self::Empty => SendFraming::None,
            Self::Memory(body) => SendFraming::Length(body.length),
            Self::Spooled { length, .. } => SendFraming::Length(*length),
            Self::Streaming(_, Some(length)) => SendFraming::Length(*length),
            Self::Streaming(_, None) | Self::WithTrailers(..) => SendFraming::Chunked,
            Self::PassedOn => SendFraming::None,
        }
    }

    /// The body's length in bytes, where it is known and not 0.
    pub(in crate::acceptor) fn length(&self) -> Option<u64> {
        match self {
            Self::Memory(body) => Some(body.length),
            Self::Spooled { length, .. } => Some(*length),
            Self::WithTrailers(trailed) => trailed.0.length(),
            Self::Streaming(_, length) => *length,
            Self::Empty | Self::PassedOn => None,
        }
    }

    /// Whether the body can be sent again.
    pub(in crate::acceptor) fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Streaming(..) | Self::PassedOn)
    }
}

/// Takes in what a client still sends after its answer, within limits, because a reset in the middle of an upload makes
/// some clients lose the answer (RFC 9113 §8.1).
pub(in crate::acceptor) async fn discard(mut body: ClientBody) {
    let mut left = DISCARD_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // A client that sends for longer is cut.
    let _ = timer::timeout(DISCARD_TIME, reading).await;
}

/// Checks the announced length before the client is told to go on (RFC 9110 §10.1.1).
pub(in crate::acceptor) fn check_length(headers: &HeaderMap, max_body: u64) -> Result<(), ServeError> {
    let length = headers.get(header::CONTENT_LENGTH).map(crate::acceptor::wire::body_framing::parse_length);
    match length {
        Some(Ok(length)) if length > max_body => Err(ServeError::BodyTooLarge { limit: max_body }),
        Some(Err(_)) => Err(ServeError::Malformed("Content-Length is not a number")),
        _ => Ok(()),
    }
}

const DISCARD_BYTES: usize = 4 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(10);
