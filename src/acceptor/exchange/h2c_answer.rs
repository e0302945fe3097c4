//! Takes the answer of an HTTP/2 worker in as fast as the worker gives it, so that a slow client does not hold a place
//! there.
//!
//! Never here: the request (`h2c`), or where a piece goes that its client has not asked for yet (`answer_sink`).

use std::error::Error;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;

use crate::pool::{Lease, WorkerFault};
use crate::time::timer;
use crate::time::{Elapsed, LazyDeadline};

use super::answer_sink::AnswerSink;
use super::pump_context::{ALONE, PumpContext, PumpStop};
use crate::acceptor::body::buffer::{Buffer, NoReader};
use crate::acceptor::body::cut_short::CutShort;
use crate::acceptor::body::request_body::discard;
use crate::acceptor::body::upload_clock::UploadClock;
use crate::acceptor::thread::h2c_body::Passed;
use crate::acceptor::upstream::h2c::AnswerBody;

/// An answer whose head has come, and the place at its worker. Dropping it resets the answer's stream.
pub(in crate::acceptor) struct Streamed {
    pub(in crate::acceptor) body: AnswerBody,
    pub(in crate::acceptor) lease: Lease,
    /// The clock of the request's body.
    pub(in crate::acceptor) upload_clock: UploadClock,
    /// The request's body, if it has one.
    pub(in crate::acceptor) passed: Option<Passed>,
    /// How long the worker may send nothing.
    pub(in crate::acceptor) idle: Duration,
}

impl Streamed {
    /// Moves the answer into the buffer until its end, then gives the place back. The part of the request that the
    /// worker has not taken by then was not wanted.
    pub(in crate::acceptor) async fn take_in(mut self, buffer: Rc<Buffer>, how: PumpContext) {
        let stopped = self.pump(&buffer, &how).await;
        let rest = self.passed.as_ref().and_then(Passed::stop);
        match stopped {
            Ok(()) => {
                drop(self);
                if let Some(rest) = rest {
                    discard(rest).await;
                }
                // The bytes of a client that does not read are not kept for ever.
                let read = buffer.wait_read(how.pace(ALONE, &|| how.wants_room())).await;
                how.give_up(&buffer, read);
            }
            Err(PumpStop::Reader(why)) => how.give_up(&buffer, Err(why)),
            Err(PumpStop::Worker(why)) => {
                if matches!(why, CutShort::Stalled) {
                    self.stalled();
                }
                buffer.cut(why);
            }
            Err(PumpStop::Client(why)) => buffer.cut(CutShort::Request(why.reason().word)),
        }
    }

    /// Takes in and drops what the worker still sends in an answer without a body, and gives the place back. Resets the
    /// stream after more than a little, or after `limit`.
    pub(in crate::acceptor) async fn finish(mut self, limit: Duration) {
        let mut left = MOST_IN_VAIN;
        let mut alarm = LazyDeadline::new();
        let ending = async {
            loop {
                let frame = match self.upload_clock.within(&mut alarm, self.idle, self.body.frame()).await {
                    Ok(Some(Ok(frame))) => frame,
                    Ok(_) => return,
                    Err(Elapsed) => return self.stalled(),
                };
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        };
        // A stream that goes on for longer is reset all the same.
        let _ = timer::timeout(limit, ending).await;
        drop(self.passed.as_ref().and_then(Passed::stop));
    }

    async fn pump(&mut self, buffer: &Buffer, how: &PumpContext) -> Result<(), PumpStop> {
        let Self { body, lease, upload_clock, passed, idle } = self;
        let mut put = AnswerSink::new(buffer, how, lease);
        let mut alarm = LazyDeadline::new();
        loop {
            let next = tokio::select! {
                biased;
                next = upload_clock.within(&mut alarm, *idle, body.frame()) => next,
                () = buffer.wait_gone() => return Err(PumpStop::Reader(NoReader::Gone)),
            };
            let frame = match next {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(broken(error, passed.as_ref())),
                Ok(None) => {
                    buffer.complete(None);
                    return Ok(());
                }
                Err(Elapsed) => return Err(PumpStop::Worker(CutShort::Stalled)),
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => put.put(data).await?,
                Err(frame) => {
                    buffer.complete(frame.into_trailers().ok());
                    return Ok(());
                }
            }
        }
    }

    /// Gives up a worker that sends nothing more, if it takes one request at a time: it is of no use to others.
    fn stalled(&self) {
        if self.lease.member().concurrency.get() == 1 {
            self.lease.condemn(WorkerFault::Stalled);
        }
    }
}

/// The reason why an answer broke off; it breaks off, too, when its request did.
fn broken(error: impl Error + Send + Sync + 'static, passed: Option<&Passed>) -> PumpStop {
    match passed.and_then(Passed::take_fault) {
        Some(fault) => PumpStop::Client(fault),
        None => PumpStop::Worker(CutShort::Io(io::Error::other(error))),
    }
}

const MOST_IN_VAIN: usize = 64 << 10;
