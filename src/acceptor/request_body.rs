//! A request's body, collected before a worker is claimed: in memory first, then in a spool file.
//!
//! So a slow sender holds no worker, and a body that was collected can be sent a second time. Never here: sending it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::budget::{Budget, Reservation};
use crate::metrics::Metrics;
use crate::name::ClientNet;
use crate::spec::Limits;
use crate::timer;

use super::error::ServeError;
use super::limit::{Limit, LimitLog};
use super::spool::{SPOOL_PIECE, Spool};
use super::stock::Stock;
use super::trailers::clean;
use super::worker_head::SendFraming;

/// A request's body as it is sent to a worker.
pub(super) enum RequestBody {
    Empty,
    Memory(Collected),
    Spooled(Spool, u64),
    /// Collected, with fields behind it: sent in chunks, or there would be no place for them.
    WithTrailers(Box<Self>, HeaderMap),
    /// Passed on as it arrives; can be sent once only.
    Streaming(Incoming, Option<u64>),
    /// One of which the rest is passed on beside the answer.
    PassedOn,
}

/// A body in memory.
pub(super) struct Collected {
    pub(super) pieces: Vec<Bytes>,
    pub(super) length: u64,
    _room: Reservation,
}

impl RequestBody {
    pub(super) fn framing(&self) -> SendFraming {
        match self {
            Self::Empty => SendFraming::None,
            Self::Memory(body) => SendFraming::Length(body.length),
            Self::Spooled(_, length) => SendFraming::Length(*length),
            Self::Streaming(_, Some(length)) => SendFraming::Length(*length),
            Self::Streaming(_, None) | Self::WithTrailers(..) => SendFraming::Chunked,
            Self::PassedOn => SendFraming::None,
        }
    }

    /// Whether it can be sent again.
    pub(super) fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Streaming(..) | Self::PassedOn)
    }
}

/// Takes in what a client still sends after its answer, within limits: a reset in the middle of an upload makes some
/// clients lose the answer (RFC 9113 §8.1).
pub(super) async fn discard(mut body: Incoming) {
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
    // Whoever sends for longer is cut.
    let _ = timer::timeout(DISCARD_TIME, reading).await;
}

/// Why a body could not be read: its client left, or it is not what it says.
pub(super) fn broken_off(error: &hyper::Error) -> ServeError {
    use std::io::ErrorKind::{InvalidData, InvalidInput};

    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    // hyper's words for chunks that are none.
    let misframed = io.is_some_and(|io| matches!(io.kind(), InvalidData | InvalidInput));
    if misframed || error.is_parse() {
        ServeError::Malformed("its body is badly framed")
    } else {
        ServeError::ClientGone
    }
}

/// What collecting needs to know.
#[derive(Clone, Copy)]
pub(super) struct Collecting<'a> {
    pub(super) limits: &'a Limits,
    pub(super) max_body: u64,
    pub(super) folder: &'a Path,
    pub(super) room: &'a Budget,
    pub(super) limit_log: &'a LimitLog,
    /// Whose share the body takes from.
    pub(super) client: Option<ClientNet>,
    pub(super) stock: &'a Stock,
    pub(super) metrics: &'a Metrics,
}

/// Checks the announced length, before the client is told to go on (RFC 9110 §10.1.1).
pub(super) fn check_length(headers: &HeaderMap, max_body: u64) -> Result<(), ServeError> {
    let length = headers.get(header::CONTENT_LENGTH).map(super::worker_head::parse_length);
    match length {
        Some(Ok(length)) if length > max_body => Err(ServeError::BodyTooLarge { limit: max_body }),
        Some(Err(_)) => Err(ServeError::Malformed("Content-Length is not a number")),
        _ => Ok(()),
    }
}

/// Takes the whole body in.
///
/// # Errors
/// [`ServeError::BodyTooLarge`], [`ServeError::TooSlow`], [`ServeError::Malformed`], [`ServeError::Spool`].
///
/// # Cancel safety
/// Dropping it gives everything up.
pub(super) async fn collect(body: &mut Incoming, how: Collecting<'_>) -> Result<RequestBody, ServeError> {
    if body.is_end_stream() {
        return Ok(RequestBody::Empty);
    }
    let mut pace = Pace::new(Instant::now(), how.limits);
    let mut held = Held::new(how);
    loop {
        let frame = match timer::timeout_at(pace.deadline(), body.frame()).await {
            Err(_) => return Err(ServeError::TooSlow("its body")),
            Ok(None) => return held.finish(how).await,
            Ok(Some(Err(error))) => return Err(broken_off(&error)),
            Ok(Some(Ok(frame))) => frame,
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                held.trailers = frame.into_trailers().unwrap_or_default();
                continue;
            }
        };
        pace.received(Instant::now(), data.len());
        if pace.total > how.max_body {
            return Err(ServeError::BodyTooLarge { limit: how.max_body });
        }
        held.push(data, how).await?;
    }
}

struct Held {
    memory: Vec<Bytes>,
    /// Behind `memory`, being filled.
    piece: Option<Vec<u8>>,
    in_memory: usize,
    room: Reservation,
    spool: Option<(Spool, u64)>,
    trailers: HeaderMap,
}

impl Held {
    fn new(how: Collecting<'_>) -> Self {
        Self {
            memory: Vec::new(),
            piece: None,
            in_memory: 0,
            room: how.room.reserve(how.client),
            spool: None,
            trailers: HeaderMap::new(),
        }
    }

    async fn push(&mut self, data: Bytes, how: Collecting<'_>) -> Result<(), ServeError> {
        self.in_memory += data.len();
        self.keep(data, how.stock);
        let fits = match &self.spool {
            Some(_) => self.in_memory <= SPOOL_PIECE,
            None => self.in_memory <= how.limits.body_memory || self.has_room(how),
        };
        if fits { Ok(()) } else { self.put_aside(how).await }
    }

    /// Whether there is room for what is above a body's own memory: no body takes all of it.
    fn has_room(&mut self, how: Collecting<'_>) -> bool {
        let more = (self.in_memory - how.limits.body_memory) as u64;
        if more > how.limits.body_room as u64 / BODIES_WITH_ROOM {
            return false;
        }
        let granted = self.room.grow_to(more);
        if !granted && how.limits.body_room > 0 {
            how.limit_log.reached(Limit::BodyRoom, how.client);
        }
        granted
    }

    /// Much is copied: memory that is used again costs less than what the parser would have to take anew.
    fn keep(&mut self, mut data: Bytes, stock: &Stock) {
        if self.piece.is_none() && self.in_memory <= LITTLE {
            self.memory.push(data);
            return;
        }
        while !data.is_empty() {
            let piece = self.piece.get_or_insert_with(|| stock.take());
            let part = data.split_to(data.len().min(piece.capacity() - piece.len()));
            piece.extend_from_slice(&part);
            if piece.len() == piece.capacity() {
                self.close_piece(stock);
            }
        }
    }

    fn close_piece(&mut self, stock: &Stock) {
        self.memory.extend(self.piece.take().map(|piece| stock.filled(piece)));
    }

    async fn put_aside(&mut self, how: Collecting<'_>) -> Result<(), ServeError> {
        self.close_piece(how.stock);
        if self.spool.is_none() {
            self.spool = Some((Spool::create(how.folder).await.map_err(ServeError::Spool)?, 0));
        }
        if let Some((spool, end)) = &mut self.spool {
            *end += spool.write(*end, std::mem::take(&mut self.memory)).await.map_err(ServeError::Spool)?;
            how.metrics.spooled_bytes.inc_by(self.in_memory as u64);
            self.in_memory = 0;
        }
        Ok(())
    }

    async fn finish(mut self, how: Collecting<'_>) -> Result<RequestBody, ServeError> {
        if self.spool.is_some() && self.in_memory > 0 {
            self.put_aside(how).await?;
        }
        self.close_piece(how.stock);
        let body = match self.spool {
            Some((spool, length)) => RequestBody::Spooled(spool, length),
            None if self.in_memory == 0 => RequestBody::Empty,
            None => RequestBody::Memory(Collected {
                pieces: self.memory,
                length: self.in_memory as u64,
                _room: self.room,
            }),
        };
        clean(&mut self.trailers);
        let trailed = !self.trailers.is_empty();
        Ok(if trailed { RequestBody::WithTrailers(Box::new(body), self.trailers) } else { body })
    }
}

/// How fast a body comes, and until when the next piece must be there. Only waiting for the client counts.
struct Pace {
    start: Instant,
    last: Instant,
    total: u64,
    idle: Duration,
    rate: u32,
}

impl Pace {
    fn new(now: Instant, limits: &Limits) -> Self {
        Self { start: now, last: now, total: 0, idle: limits.body_idle, rate: limits.body_rate }
    }

    fn received(&mut self, now: Instant, bytes: usize) {
        self.last = now;
        self.total += bytes as u64;
    }

    fn deadline(&self) -> Instant {
        let idle = self.last + self.idle;
        if self.rate == 0 {
            return idle;
        }
        // The moment at which what has come so far would fall below the rate.
        let average = Duration::from_millis(self.total.saturating_mul(1000) / u64::from(self.rate));
        idle.min(self.start + average.clamp(RATE_GRACE, FOREVER))
    }
}

/// A body takes at most one of so many parts of the room for all.
const BODIES_WITH_ROOM: u64 = 8;
/// Up to here the parser's own memory is kept.
const LITTLE: usize = 16 << 10;
const DISCARD_BYTES: usize = 4 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(10);
/// A body may start slowly.
const RATE_GRACE: Duration = Duration::from_secs(10);
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(now: Instant) -> Pace {
        Pace { start: now, last: now, total: 0, idle: Duration::from_secs(30), rate: 500 }
    }

    #[test]
    fn a_body_that_trickles_has_ten_seconds() {
        let start = Instant::now();
        let mut pace = pace(start);
        pace.received(start + Duration::from_secs(9), 10);
        assert_eq!(pace.deadline(), start + Duration::from_secs(10));
    }

    #[test]
    fn a_body_above_the_rate_may_take_as_long_as_it_needs() {
        let start = Instant::now();
        let mut pace = pace(start);
        pace.received(start + Duration::from_secs(100), 500 * 120);
        assert_eq!(pace.deadline(), start + Duration::from_secs(120));
        pace.received(start + Duration::from_secs(101), 500 * 1000);
        assert_eq!(pace.deadline(), start + Duration::from_secs(131), "the idle limit comes first");
    }
}
