//! Puts the pieces of an answer that its client has not asked for yet into memory or into a spool file; where neither
//! has room, the worker waits until the client has read.
//!
//! Never here: where pieces come from (`response_pump`).

use bytes::Bytes;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::pool::Lease;

use super::pump_context::{PumpContext, PumpStop};
use crate::acceptor::body::buffer::{Buffer, NoReader};
use crate::acceptor::body::reader_pace::Wanted;
use crate::acceptor::body::spool::{Space, Spool};
use crate::acceptor::limit::Limit;

/// Puts the pieces of one answer where there is room for them.
pub(in crate::acceptor) struct AnswerSink<'a> {
    pub(in crate::acceptor) buffer: &'a Buffer,
    how: &'a PumpContext,
    /// The lease of the worker that gives the answer.
    lease: &'a Lease,
    spool_works: bool,
}

impl<'a> AnswerSink<'a> {
    pub(in crate::acceptor) fn new(buffer: &'a Buffer, how: &'a PumpContext, lease: &'a Lease) -> Self {
        Self { buffer, how, lease, spool_works: how.server.limits.reply_spool > 0 }
    }

    /// Puts the next piece away.
    ///
    /// # Errors
    /// [`PumpStop::Reader`] when the client has left or is too slow.
    pub(in crate::acceptor) async fn put(&mut self, mut data: Bytes) -> Result<(), PumpStop> {
        loop {
            if self.buffer.reader_gone() {
                return Err(PumpStop::Reader(NoReader::Gone));
            }
            data = match self.buffer.try_push(data) {
                Ok(()) => return Ok(()),
                Err(data) => data,
            };
            if self.buffer.is_refused() && self.how.server.limits.reply_room > 0 {
                self.reached(Limit::ReplyRoom);
            }
            if self.spool_works {
                match self.put_aside(&data).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(error) => {
                        let folder = self.how.server.spool.display();
                        tracing::warn!(%error, %folder, "cannot put an answer aside: its worker waits for the client");
                        self.spool_works = false;
                    }
                }
            }
            data = match self.buffer.push_alone(data) {
                Ok(()) => return self.wait(true).await,
                Err(data) => data,
            };
            self.wait(false).await?;
        }
    }

    /// Waits until there may be room, or until all is read. The worker waits meanwhile, and others may want it.
    async fn wait(&self, until_read: bool) -> Result<(), PumpStop> {
        let app = Arc::as_ptr(&self.how.app).addr();
        let waiting = self.how.server.blocked_workers.begin(app, self.how.client);
        let wanted = || match self.lease.wanted_places() {
            Some(places) if waiting.is_too_much(places) => Wanted::AtOnce,
            Some(_) => Wanted::Yes,
            None => self.how.wants_room(),
        };
        let pace = self.how.pace(WITH_A_WORKER, &wanted);
        let read = match until_read {
            true => self.buffer.wait_read(pace).await,
            false => self.buffer.wait_room(pace).await,
        };
        read.map_err(PumpStop::Reader)
    }

    /// Writes the data into the file. False when the file is full, or when there is no space for it beside other files.
    async fn put_aside(&self, data: &Bytes) -> io::Result<bool> {
        let PumpContext { server, client, .. } = self.how;
        if self.buffer.spool_end().is_none() {
            let of_all = server.spool_space.reserve(*client);
            let mut space = Space { of_all, of_answers: server.spooled_answers.reserve(*client) };
            if !space.reserve(data.len() as u64) {
                self.reached(Limit::ReplySpool);
                return Ok(false);
            }
            self.buffer.attach_spool(Spool::create(&server.spool).await?, space);
        }
        let Some((spool, end)) = self.buffer.spool_end() else { return Ok(false) };
        let length = end + data.len() as u64;
        if length > server.limits.reply_spool {
            return Ok(false);
        }
        if !self.buffer.reserve_spool(length) {
            self.reached(Limit::ReplySpool);
            return Ok(false);
        }
        let written = spool.write(end, vec![data.clone()]).await?;
        server.spooled_bytes.inc_by(written);
        self.buffer.spooled(written);
        Ok(true)
    }

    fn reached(&self, limit: Limit) {
        self.how.server.limit_log.reached(limit, self.how.client);
    }
}

/// How long a client may take nothing of an answer that keeps a worker which others want.
const WITH_A_WORKER: Duration = Duration::from_secs(3);
