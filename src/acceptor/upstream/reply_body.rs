//! The body of an answer on its way to the client: whole, piped through [`Buffer`], straight from the worker, or a
//! file.
//!
//! Never here: taking the answer in from the worker (`response_pump`).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};

use crate::budget::Reservation;
use crate::files;
use crate::metrics::AppMetrics;
use crate::pool::Tunnel;
use crate::tasks::TaskGroup;

use super::access::Recording;
use super::upstream_conn::{Source as _, UpstreamConn};
use crate::acceptor::body::buffer::{Buffer, BufferReader};
use crate::acceptor::body::compressor::{Compressor, ContentCoding, PIECE};
use crate::acceptor::body::cut_short::CutShort;
use crate::acceptor::thread::h2c_body::Events;
use crate::acceptor::wire::headers::Named;
use crate::acceptor::wire::trailers::clean_answer;
use crate::acceptor::wire::worker_body::{BodyDecoder, Piece};

/// An answer to a client. Boxed: it is moved often, and is larger than what is moved with it.
pub(in crate::acceptor) type Reply = Box<Response<ReplyBody>>;

/// The body hyper reads an answer from.
pub(in crate::acceptor) struct ReplyBody {
    source: BodySource,
    /// The reservation of a whole answer that is not short.
    _room: Option<Box<Reservation>>,
    /// The largest piece of a whole answer that the body gives.
    most: usize,
    /// The fields that the `Connection` of the answer's head names: none of them may be a trailer.
    named: Option<Box<Named>>,
    /// The recording, which writes the access record when it is dropped: the answer is over then, complete or not.
    recording: Option<Box<Recording>>,
}

enum BodySource {
    Full(Option<Bytes>),
    Piped(BufferReader),
    Direct(Box<EndlessBody>),
    Events(Box<Events>),
    File { body: files::site::Body, length: Option<u64> },
    Compressed(Box<CompressedBody>),
}

impl ReplyBody {
    pub(in crate::acceptor) fn full(bytes: Bytes) -> Self {
        Self::full_in(bytes, None)
    }

    /// A whole answer, with its reservation of memory.
    pub(in crate::acceptor) fn full_in(bytes: Bytes, room: Option<Box<Reservation>>) -> Self {
        let source = BodySource::Full((!bytes.is_empty()).then_some(bytes));
        let mut body = Self::of(source);
        body._room = room;
        body
    }

    /// An answer that a [`Buffer`] takes in from a worker.
    pub(in crate::acceptor) fn piped(buffer: Rc<Buffer>, length: Option<u64>) -> Self {
        Self::of(BodySource::Piped(BufferReader::new(buffer, length)))
    }

    /// An event stream, as the worker sends it. When the server is to end, the stream ends as if the worker had ended
    /// it, so that its client asks again.
    pub(in crate::acceptor) fn direct(
        upstream: UpstreamConn,
        decoder: BodyDecoder,
        tunnel: Tunnel,
        stop: TaskGroup,
    ) -> Self {
        let stopped = Box::pin(async move { stop.requested().await });
        Self::of(BodySource::Direct(Box::new(EndlessBody { upstream, decoder, stopped, _tunnel: tunnel })))
    }

    /// An event stream of an HTTP/2 worker.
    pub(in crate::acceptor) fn events(events: Events) -> Self {
        Self::of(BodySource::Events(Box::new(events)))
    }

    /// A file, read as the client takes it.
    pub(in crate::acceptor) fn file(body: files::site::Body, length: Option<u64>) -> Self {
        Self::of(BodySource::File { body, length })
    }

    /// The same body, compressed on its way, and counted in `metrics` when it is over; `room`: the reservation for the
    /// compressor.
    pub(in crate::acceptor) fn compressed(
        mut self,
        coding: ContentCoding,
        compressor: Compressor,
        metrics: AppMetrics,
        room: Box<Reservation>,
    ) -> Self {
        let source = std::mem::replace(&mut self.source, BodySource::Full(None));
        let body = CompressedBody { source, coding, compressor, metrics, turn: 0, end: None, _room: room };
        self.source = BodySource::Compressed(Box::new(body));
        self
    }

    /// All bytes of the answer, if they are here.
    pub(in crate::acceptor) fn whole(&self) -> Option<&Bytes> {
        if let BodySource::Full(bytes) = &self.source { bytes.as_ref() } else { None }
    }

    fn of(source: BodySource) -> Self {
        Self { source, _room: None, most: usize::MAX, named: None, recording: None }
    }

    /// Sets the largest piece of kept bytes that the body gives from now on: whoever takes pieces keeps one or two of
    /// them, whether its client reads or not.
    pub(in crate::acceptor) fn in_pieces_of(&mut self, most: usize) {
        match &mut self.source {
            BodySource::Piped(reader) => reader.in_pieces_of(most),
            BodySource::Compressed(body) => {
                if let BodySource::Piped(reader) = &mut body.source {
                    reader.in_pieces_of(most);
                }
            }
            _ => self.most = most,
        }
    }

    /// Keeps these fields out of the trailers, too.
    pub(in crate::acceptor) fn without(mut self, named: Option<Named>) -> Self {
        self.named = named.map(Box::new);
        self
    }

    /// Adds the record that is written when the answer is over.
    pub(in crate::acceptor) fn record(&mut self, mut recording: Box<Recording>) {
        recording.waits_for_client(!self.is_end_stream());
        self.recording = Some(recording);
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        match &mut self.source {
            BodySource::Full(Some(bytes)) if bytes.len() > self.most => {
                Poll::Ready(Some(Ok(Frame::data(bytes.split_to(self.most)))))
            }
            source => source.poll_frame(cx),
        }
    }
}

impl BodySource {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        match self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Piped(reader) => reader.poll_frame(cx),
            Self::Direct(direct) => direct.poll_frame(cx),
            Self::Events(events) => events.poll_frame(cx),
            Self::File { body, length } => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                // A file may have grown after its length was sent.
                let frame = frame.map(|frame| {
                    frame.map_err(CutShort::File).map(|frame| {
                        frame.map_data(|mut data| {
                            if let Some(left) = length {
                                data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                                *left -= data.len() as u64;
                            }
                            data
                        })
                    })
                });
                Poll::Ready(frame)
            }
            Self::Compressed(body) => body.poll_frame(cx),
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        let polled = self.poll_source(cx);
        if let Some(recording) = &mut self.recording {
            recording.waits_for_client(polled.is_ready());
        }
        let frame = match ready!(polled) {
            Some(Ok(frame)) => clean(frame, self.named.as_deref()).map(Ok),
            other => other,
        };
        // Nothing comes behind trailers.
        let last = matches!(&frame, Some(Ok(frame)) if frame.is_trailers());
        let ended = last || self.is_end_stream();
        if let Some(recording) = &mut self.recording {
            match &frame {
                Some(Ok(frame)) => recording.sent(frame.data_ref().map_or(0, Bytes::len), ended),
                Some(Err(error)) => recording.cut(error),
                None => recording.sent(0, true),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            BodySource::Full(bytes) => bytes.is_none(),
            BodySource::Piped(reader) => reader.is_end(),
            BodySource::Direct(_) => false,
            BodySource::Events(events) => events.is_end_stream(),
            BodySource::File { body, length } => *length == Some(0) || body.is_end_stream(),
            BodySource::Compressed(body) => matches!(body.end, Some(None)),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            BodySource::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            BodySource::Piped(reader) => reader.length().map_or_else(SizeHint::default, SizeHint::with_exact),
            // A few event streams have a known length.
            BodySource::Direct(direct) => {
                direct.decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            BodySource::Events(events) => events.size_hint(),
            BodySource::File { length, .. } => length.map_or_else(SizeHint::default, SizeHint::with_exact),
            BodySource::Compressed(_) => SizeHint::default(),
        }
    }
}

/// A piece of a body as it is, or trailers without the fields that may not be one; `None` if no field is left.
fn clean(mut frame: Frame<Bytes>, named: Option<&Named>) -> Option<Frame<Bytes>> {
    if let Some(trailers) = frame.trailers_mut() {
        clean_answer(trailers, named);
        return (!trailers.is_empty()).then_some(frame);
    }
    Some(frame)
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        // An empty body that hyper never had to poll is complete.
        if let (BodySource::Full(None), Some(recording)) = (&self.source, &mut self.recording) {
            recording.sent(0, true);
        }
    }
}

/// A body that is compressed piece by piece; whenever no more has come, all compressed bytes are sent.
struct CompressedBody {
    source: BodySource,
    coding: ContentCoding,
    compressor: Compressor,
    metrics: AppMetrics,
    /// The bytes that were compressed since other tasks of the thread had their turn.
    turn: usize,
    /// The end of the body, once it has come, with the trailers until they are given.
    end: Option<Option<HeaderMap>>,
    _room: Box<Reservation>,
}

impl CompressedBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        loop {
            if let Some(trailers) = &mut self.end {
                return Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let out = if self.compressor.has_input() {
                if self.turn >= PIECE {
                    self.turn = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let out = self.compressor.step();
                self.turn += PIECE;
                out
            } else {
                match self.source.poll_frame(cx) {
                    Poll::Pending => match self.compressor.flush() {
                        Ok(out) if out.is_empty() => return Poll::Pending,
                        out => out,
                    },
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => {
                            self.compressor.put(data);
                            continue;
                        }
                        Err(frame) => self.finish(frame.into_trailers().ok()),
                    },
                    Poll::Ready(None) => self.finish(None),
                }
            };
            match out {
                Ok(out) if out.is_empty() => {}
                out => return Poll::Ready(Some(out.map(Frame::data).map_err(CutShort::Compression))),
            }
        }
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> io::Result<Bytes> {
        self.end = Some(trailers);
        self.compressor.finish()
    }
}

impl Drop for CompressedBody {
    fn drop(&mut self) {
        let (before, after) = self.compressor.sizes();
        self.metrics.compressed(self.coding.token(), before, after);
    }
}

/// An endless answer. The answer's place at the worker is that of a tunnel. When the body is dropped, the worker sees
/// the connection close.
struct EndlessBody {
    upstream: UpstreamConn,
    decoder: BodyDecoder,
    stopped: Pin<Box<dyn Future<Output = ()>>>,
    _tunnel: Tunnel,
}

impl EndlessBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        if self.decoder.remaining().is_none() && self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        loop {
            match self.decoder.next(&mut self.upstream.buf) {
                Err(what) => return Poll::Ready(Some(Err(CutShort::Malformed(what)))),
                Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Piece::End(trailers)) => {
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Ok(Piece::Need) => {}
            }
            match ready!(self.upstream.poll_fill(cx)) {
                Ok(0) if self.decoder.ends_here() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(CutShort::Io(io::ErrorKind::UnexpectedEof.into())))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }
}
