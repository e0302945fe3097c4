//! Bodies on their way to HTTP/2 workers, and event streams on their way from them.
//!
//! Never here: streams and connections (`h2c`), or answers that end (`h2c_answer`).

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::pool::Tunnel;
use crate::tasks::TaskGroup;
use crate::time::LazyDeadline;

use super::stall_limit::StallLimit;
use crate::acceptor::body::client_body::ClientBody;
use crate::acceptor::body::cut_short::CutShort;
use crate::acceptor::body::upload_clock::UploadClock;
use crate::acceptor::error::ServeError;
use crate::acceptor::wire::trailers::clean;

/// A request's body as hyper takes it: trailers are cleaned on the way.
pub(in crate::acceptor) struct Passing(Rc<H2cBodyInner>);

/// The other end of a [`Passing`]. Dropping it does not stop the body.
pub(in crate::acceptor) struct Passed(Rc<H2cBodyInner>);

struct H2cBodyInner {
    /// The body; `None` after it was taken back.
    body: RefCell<Option<ClientBody>>,
    /// Whether a part of the body was passed on.
    begun: Cell<bool>,
    upload_clock: UploadClock,
    clock: RefCell<Clock>,
    /// How many bytes the body may still have.
    left: Cell<u64>,
    most: u64,
    /// The fault of the body; the worker only learns that no more comes.
    fault: Cell<Option<ServeError>>,
    /// The task that passes the body on, while it waits for the client.
    passer: Cell<Option<Waker>>,
}

/// How long the server waits for the client.
struct Clock {
    courtesy: StallLimit,
    /// The longest time in which the client may send nothing.
    idle: Duration,
    alarm: LazyDeadline,
    /// Since when the server waits for the next piece.
    since: Option<Instant>,
}

/// `idle`: how long the client may send nothing; `most`: how many bytes it may send.
pub(in crate::acceptor) fn pass(
    body: ClientBody,
    upload_clock: UploadClock,
    (idle, most): (Duration, u64),
    courtesy: StallLimit,
) -> (Passing, Passed) {
    let shared = Rc::new(H2cBodyInner {
        body: RefCell::new(Some(body)),
        begun: Cell::new(false),
        upload_clock,
        clock: RefCell::new(Clock { courtesy, idle, alarm: LazyDeadline::new(), since: None }),
        left: Cell::new(most),
        most,
        fault: Cell::default(),
        passer: Cell::default(),
    });
    (Passing(Rc::clone(&shared)), Passed(shared))
}

impl Passed {
    /// Whether a part of the body was passed on.
    pub(in crate::acceptor) fn has_begun(&self) -> bool {
        self.0.begun.get()
    }

    /// Passes on nothing more of the body: its stream to the worker is reset, unless the body has ended. Returns what
    /// the client still sends.
    pub(in crate::acceptor) fn stop(&self) -> Option<ClientBody> {
        let rest = self.0.body.borrow_mut().take();
        self.0.passer.take().into_iter().for_each(Waker::wake);
        rest
    }

    /// The fault of the body, if it is the reason why the worker got no more.
    pub(in crate::acceptor) fn take_fault(&self) -> Option<ServeError> {
        self.0.fault.take()
    }
}

impl H2cBodyInner {
    /// Notes that the client sends no more that can be passed on.
    fn fail(&self, fault: ServeError) -> io::Error {
        self.fault.set(Some(fault));
        io::ErrorKind::BrokenPipe.into()
    }

    fn take(&self, mut frame: Frame<Bytes>) -> io::Result<Frame<Bytes>> {
        if let Some(trailers) = frame.trailers_mut() {
            clean(trailers);
        }
        let length = frame.data_ref().map_or(0, Bytes::len);
        self.clock.borrow_mut().received(length);
        match self.left.get().checked_sub(length as u64) {
            Some(left) => {
                self.left.set(left);
                self.begun.set(true);
                Ok(frame)
            }
            None => Err(self.fail(ServeError::BodyTooLarge { limit: self.most })),
        }
    }
}

impl Clock {
    fn received(&mut self, bytes: usize) {
        self.since = None;
        self.courtesy.received(bytes);
    }

    /// Ready when the client has taken too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.courtesy.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.alarm.poll(cx, since + self.idle)
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let shared = &*self.0;
        let mut body = shared.body.borrow_mut();
        let Some(body) = &mut *body else { return Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into()))) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            shared.upload_clock.to_client();
            shared.passer.set(Some(cx.waker().clone()));
            ready!(shared.clock.borrow_mut().poll(cx));
            return Poll::Ready(Some(Err(shared.fail(ServeError::TooSlow("its body")))));
        };
        shared.upload_clock.to_worker(Instant::now());
        Poll::Ready(frame.map(|frame| match frame {
            Ok(frame) => shared.take(frame),
            Err(error) => Err(shared.fail(error.into())),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.borrow().as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.body.borrow().as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Passing {
    /// Ends the body: all of it was taken, or the worker wants no more.
    fn drop(&mut self) {
        self.0.upload_clock.to_worker(Instant::now());
    }
}

/// An event stream as it comes, until the worker or the client ends it, or the server is to end. Dropping it resets its
/// stream.
pub(in crate::acceptor) struct Events {
    body: Incoming,
    stopped: Pin<Box<dyn Future<Output = ()>>>,
    _tunnel: Tunnel,
}

impl Events {
    pub(in crate::acceptor) fn new(body: Incoming, tunnel: Tunnel, stop: TaskGroup) -> Self {
        Self { body, stopped: Box::pin(async move { stop.requested().await }), _tunnel: tunnel }
    }

    pub(in crate::acceptor) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        if self.body.size_hint().exact().is_none() && self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| CutShort::Io(io::Error::other(error)))))
    }

    pub(in crate::acceptor) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(in crate::acceptor) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
