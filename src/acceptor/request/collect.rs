//! Takes a request's body in before a worker is claimed: into memory first, then into a spool file.
//!
//! All but the first bytes are counted, in memory and on disk, by client. Never here: sending it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::budget::Reservation;
use crate::name::ClientNet;
use crate::time::timer;

use crate::acceptor::body::buffer_pool::BufferPool;
use crate::acceptor::body::client_body::{BodyError, ClientBody};
use crate::acceptor::body::pace::Pace;
use crate::acceptor::body::request_body::{Collected, RequestBody};
use crate::acceptor::body::spool::{SPOOL_PIECE, Spool};
use crate::acceptor::body::uploads::{Scarce, TrackedUpload};
use crate::acceptor::connection::head_memory::HeadMemory;
use crate::acceptor::error::ServeError;
use crate::acceptor::limit::Limit;
use crate::acceptor::thread::server::Server;
use crate::acceptor::wire::trailers::clean;

/// The parts that collecting a body needs.
#[derive(Clone, Copy)]
pub(in crate::acceptor) struct Collecting<'a> {
    pub(in crate::acceptor) server: &'a Server,
    pub(in crate::acceptor) max_body: u64,
    /// Bytes of the request's head that are not counted yet.
    pub(in crate::acceptor) head: usize,
    /// The client whose share the body takes from.
    pub(in crate::acceptor) client: Option<ClientNet>,
    pub(in crate::acceptor) buffers: &'a BufferPool,
}

/// Takes the whole body in.
///
/// # Errors
/// [`ServeError::BodyTooLarge`], [`ServeError::TooSlow`], [`ServeError::Malformed`], [`ServeError::Spool`],
/// [`ServeError::TooManyUploads`].
///
/// # Cancel safety
/// Dropping the future gives everything back.
pub(in crate::acceptor) async fn collect(
    body: &mut ClientBody,
    how: Collecting<'_>,
) -> Result<RequestBody, ServeError> {
    if body.is_end_stream() {
        return Ok(RequestBody::Empty);
    }
    let mut held = BodyCollector::new(how);
    loop {
        let frame = match held.next_frame(body).await? {
            None => return held.finish().await,
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(frame)) => frame,
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                held.trailers = frame.into_trailers().unwrap_or_default();
                continue;
            }
        };
        held.pace.received(data.len());
        if held.pace.total > how.max_body {
            return Err(ServeError::BodyTooLarge { limit: how.max_body });
        }
        held.push(data).await?;
    }
}

struct BodyCollector<'a> {
    how: Collecting<'a>,
    pace: Pace,
    memory: Vec<Bytes>,
    /// The piece behind `memory` that is being filled.
    piece: Option<Vec<u8>>,
    in_memory: usize,
    /// The reservation for the first `body_memory` bytes.
    small: Reservation,
    /// The reservation for the bytes above that.
    room: Reservation,
    spool: Option<(Spool, u64)>,
    space: Reservation,
    trailers: HeaderMap,
    /// The entry of the upload, from when its client had to be waited for.
    upload: Option<(TrackedUpload<'a>, HeadMemory)>,
}

impl<'a> BodyCollector<'a> {
    fn new(how: Collecting<'a>) -> Self {
        let Server { limits, memory, room, spool_space, .. } = how.server;
        Self {
            how,
            pace: Pace::new(limits),
            memory: Vec::new(),
            piece: None,
            in_memory: 0,
            small: memory.reserve(how.client),
            room: room.reserve(how.client),
            spool: None,
            space: spool_space.reserve(how.client),
            trailers: HeaderMap::new(),
            upload: None,
        }
    }

    /// The next frame, or the end.
    async fn next_frame(
        &mut self,
        body: &mut ClientBody,
    ) -> Result<Option<Result<Frame<Bytes>, BodyError>>, ServeError> {
        let at_once = poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx))).await;
        if let Poll::Ready(frame) = at_once {
            return Ok(frame);
        }
        let Collecting { server, client, .. } = self.how;
        if self.upload.is_none() {
            let mut head = HeadMemory::new(server.heads.reserve(client));
            if !head.holds(self.how.head) {
                server.limit_log.reached(Limit::Heads, client);
                return Err(ServeError::TooManyUploads);
            }
            self.upload = server.uploads.enter(client).await.map(|upload| (upload, head));
        }
        let Some((upload, _)) = &self.upload else {
            server.limit_log.reached(Limit::Uploads, client);
            return Err(ServeError::TooManyUploads);
        };
        upload.note(self.pace.total, self.space.amount());
        let little = self.spool.is_some() && server.spool_space.is_half_held();
        let begun = Instant::now();
        let pushed_out = tokio::select! {
            biased;
            frame = body.frame() => {
                self.pace.waited(begun.elapsed());
                return Ok(frame);
            }
            () = upload.pushed_out() => true,
            () = timer::sleep(self.pace.patience(little)) => false,
        };
        if pushed_out || little {
            let scarce = if self.spool.is_some() { Limit::Spool } else { Limit::Uploads };
            server.limit_log.reached(scarce, client);
        }
        Err(ServeError::TooSlow("its body"))
    }

    async fn push(&mut self, data: Bytes) -> Result<(), ServeError> {
        self.in_memory += data.len();
        self.keep(data);
        let fits = (self.spool.is_none() || self.in_memory <= SPOOL_PIECE) && self.has_memory();
        if fits { Ok(()) } else { self.put_aside().await }
    }

    /// Reserves memory for what the body holds now; false when there is none.
    fn has_memory(&mut self) -> bool {
        if self.in_memory <= UNCOUNTED {
            return true;
        }
        let Collecting { server, client, .. } = self.how;
        let own = server.limits.body_memory;
        let small = self.in_memory.min(own);
        if !self.small.grow_to(small.next_multiple_of(MEMORY_STEP).min(own) as u64) {
            server.limit_log.reached(Limit::BodyMemory, client);
            return false;
        }
        self.in_memory == small || self.has_room((self.in_memory - small) as u64)
    }

    /// Reserves room for bytes above a body's own memory; false when there is none. No body takes all of the room.
    fn has_room(&mut self, more: u64) -> bool {
        let Collecting { server, client, .. } = self.how;
        let all = server.limits.body_room as u64;
        if more > all / BODIES_WITH_ROOM {
            return false;
        }
        let granted = self.room.grow_to(more);
        if !granted && all > 0 {
            server.limit_log.reached(Limit::BodyRoom, client);
        }
        granted
    }

    /// Keeps a piece of the body. A large one is copied: memory that is used again costs less than what the parser
    /// would have to allocate.
    fn keep(&mut self, mut data: Bytes) {
        if self.piece.is_none() && self.in_memory <= LITTLE {
            self.memory.push(data);
            return;
        }
        while !data.is_empty() {
            let piece = self.piece.get_or_insert_with(|| self.how.buffers.take());
            let part = data.split_to(data.len().min(piece.capacity() - piece.len()));
            piece.extend_from_slice(&part);
            if piece.len() == piece.capacity() {
                self.close_piece();
            }
        }
    }

    fn close_piece(&mut self) {
        self.memory.extend(self.piece.take().map(|piece| self.how.buffers.filled(piece)));
    }

    async fn put_aside(&mut self) -> Result<(), ServeError> {
        self.close_piece();
        let Collecting { server, client, .. } = self.how;
        let written = self.spool.as_ref().map_or(0, |(_, end)| *end);
        let wanted = (written + self.in_memory as u64).next_multiple_of(server.limits.spool_step());
        if !server.uploads.take(&mut self.space, wanted, client, Scarce::Space).await {
            server.limit_log.reached(Limit::Spool, client);
            return Err(ServeError::Spool(io::ErrorKind::QuotaExceeded.into()));
        }
        if self.spool.is_none() {
            self.spool = Some((Spool::create(&server.spool).await.map_err(ServeError::Spool)?, 0));
        }
        if let Some((spool, end)) = &mut self.spool {
            *end += spool.write(*end, std::mem::take(&mut self.memory)).await.map_err(ServeError::Spool)?;
            server.spooled_bytes.inc_by(self.in_memory as u64);
            self.in_memory = 0;
            self.small.shrink_to(0);
            self.room.shrink_to(0);
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<RequestBody, ServeError> {
        if self.spool.is_some() && self.in_memory > 0 {
            self.put_aside().await?;
        }
        self.close_piece();
        let body = match self.spool {
            Some((spool, length)) => RequestBody::Spooled { spool, length, _space: self.space },
            None if self.in_memory == 0 => RequestBody::Empty,
            None => RequestBody::Memory(Box::new(Collected {
                pieces: self.memory,
                length: self.in_memory as u64,
                _memory: (self.small, self.room),
            })),
        };
        clean(&mut self.trailers);
        let trailed = !self.trailers.is_empty();
        Ok(if trailed { RequestBody::WithTrailers(Box::new((body, self.trailers))) } else { body })
    }
}

/// The bytes of a head over HTTP/2, about; one of HTTP/1 is counted as it comes.
pub(super) fn size_of_head(parts: &Parts) -> usize {
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    fields.sum::<usize>() + parts.uri.path().len() + parts.uri.query().map_or(0, str::len)
}

/// A body takes at most this fraction of the room that all share: one of so many.
const BODIES_WITH_ROOM: u64 = 8;
/// Up to so many bytes, the parser's own memory is kept.
const LITTLE: usize = 16 << 10;
/// The bytes up to which a body is not counted, because the number of bodies is limited.
const UNCOUNTED: usize = 4 << 10;
/// The step in which memory is reserved, so that a body of many pieces does not count each.
const MEMORY_STEP: usize = 16 << 10;
