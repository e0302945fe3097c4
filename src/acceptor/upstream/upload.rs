//! A streamed request body on its way to a worker, while the worker may answer already.
//!
//! Owns the place in the body: sending can stop at any point and go on later. Never here: the answer (`response_pump`),
//! or bodies that were collected (`send`).

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::time::timer;

use super::body_coding::BodyCoding;
use super::upstream_conn::Writer;
use crate::acceptor::body::client_body::{BodyError, ClientBody};
use crate::acceptor::body::upload_clock::UploadClock;
use crate::acceptor::error::ServeError;
use crate::acceptor::thread::stall_limit::StallLimit;

/// The rest of a body.
pub(in crate::acceptor) struct Upload {
    body: ClientBody,
    length: Option<u64>,
    coding: BodyCoding,
    idle: Duration,
    most: u64,
    passed: u64,
    /// Bytes that were taken from the client and framed, but not yet written.
    pending: Bytes,
    ended: bool,
    upload_clock: UploadClock,
    courtesy: StallLimit,
}

/// How the passing on of a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum UploadEnd {
    All,
    /// The worker takes no more; it has answered, or will answer.
    Refused,
}

impl Upload {
    /// `idle`: how long the client may send nothing; `most`: how many bytes it may send.
    pub(in crate::acceptor) fn new(
        body: ClientBody,
        length: Option<u64>,
        coding: BodyCoding,
        (idle, most): (Duration, u64),
        courtesy: StallLimit,
    ) -> Self {
        Self {
            body,
            length,
            coding,
            idle,
            most,
            passed: 0,
            pending: Bytes::new(),
            ended: false,
            upload_clock: UploadClock::of_worker(Instant::now()),
            courtesy,
        }
    }

    /// Whether the worker got all of the body.
    pub(in crate::acceptor) fn is_complete(&self) -> bool {
        self.ended && self.pending.is_empty()
    }

    /// The clock that learns, as the body passes, which side the request waits for.
    pub(in crate::acceptor) fn upload_clock(&self) -> UploadClock {
        self.upload_clock.clone()
    }

    /// The part of the body that the client still has to send, and the length of the whole.
    pub(in crate::acceptor) fn into_rest(self) -> (ClientBody, Option<u64>) {
        (self.body, self.length)
    }

    /// Passes the rest of the body on as it comes.
    ///
    /// # Errors
    /// [`ServeError`] when the client breaks off, sends too slowly or too much, or breaks the framing. The worker must
    /// not take the missing rest for the body's end: its connection has to be closed.
    ///
    /// # Cancel safety
    /// Safe: another call goes on where this one stopped.
    pub(in crate::acceptor) async fn pass_on(
        &mut self,
        worker: &Writer<'_>,
    ) -> Result<UploadEnd, ServeError> {
        loop {
            while !self.pending.is_empty() {
                let written = worker.write(&self.pending).await;
                self.upload_clock.to_worker(Instant::now());
                match written {
                    Ok(written) => self.pending.advance(written),
                    Err(_) => return Ok(UploadEnd::Refused),
                }
            }
            if self.ended {
                return Ok(UploadEnd::All);
            }
            self.upload_clock.to_client();
            let frame = self.next_frame().await;
            self.upload_clock.to_worker(Instant::now());
            match frame.ok_or(ServeError::TooSlow("its body"))? {
                None => self.end(&HeaderMap::new()),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.take(data)?,
                    Err(frame) => self.end(&frame.into_trailers().unwrap_or_default()),
                },
            }
        }
    }

    /// The next frame, or the end; `None` when the client takes too long.
    async fn next_frame(&mut self) -> Option<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { body, courtesy, .. } = self;
        let next = async {
            tokio::select! {
                biased;
                frame = body.frame() => Some(frame),
                () = poll_fn(|cx| courtesy.poll(cx)) => None,
            }
        };
        let frame = timer::timeout(self.idle, next).await.ok().flatten()?;
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        self.courtesy.received(data.map_or(0, Bytes::len));
        Some(frame)
    }

    fn take(&mut self, data: Bytes) -> Result<(), ServeError> {
        self.passed += data.len() as u64;
        if self.passed > self.most {
            return Err(ServeError::BodyTooLarge { limit: self.most });
        }
        self.pending = if data.is_empty() { data } else { self.coding.piece(&data) };
        Ok(())
    }

    fn end(&mut self, trailers: &HeaderMap) {
        self.ended = true;
        self.pending = self.coding.end(trailers);
    }
}
