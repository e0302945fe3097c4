//! Bodies on their way to and from HTTP/2 workers.
//!
//! Never here: streams and connections (`h2c`).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::pool::{Lease, Tunnel, WorkerFault};
use crate::tasks::TaskGroup;
use crate::time::{LazyDeadline, timer};

use super::courtesy::Courtesy;
use crate::acceptor::body::client_body::ClientBody;
use crate::acceptor::body::cut_short::CutShort;
use crate::acceptor::body::turn::Turn;
use crate::acceptor::reason;
use crate::acceptor::wire::trailers::clean;

/// A request's body as hyper takes it: trailers are cleaned on the way.
pub(in crate::acceptor) struct Passing(Rc<Shared>);

/// The other end of a [`Passing`].
pub(in crate::acceptor) struct Passed(Rc<Shared>);

struct Shared {
    /// `None` once it was taken back.
    body: RefCell<Option<ClientBody>>,
    /// Some of it has gone.
    begun: Cell<bool>,
    turn: Turn,
    courtesy: RefCell<Courtesy>,
}

pub(in crate::acceptor) fn pass(body: ClientBody, turn: Turn, courtesy: Courtesy) -> (Passing, Passed) {
    let (body, courtesy) = (RefCell::new(Some(body)), RefCell::new(courtesy));
    let shared = Rc::new(Shared { body, begun: Cell::new(false), turn, courtesy });
    (Passing(Rc::clone(&shared)), Passed(shared))
}

impl Passed {
    /// The body, if nothing of it was passed on. What is left of its [`Passing`] is an error.
    pub(in crate::acceptor) fn take_back(&self) -> Option<ClientBody> {
        if self.0.begun.get() { None } else { self.0.body.borrow_mut().take() }
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Shared { body, begun, turn, courtesy } = &*self.0;
        let mut body = body.borrow_mut();
        let Some(body) = &mut *body else { return Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into()))) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            turn.to_client();
            ready!(courtesy.borrow_mut().poll(cx));
            turn.give_up();
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        };
        turn.to_worker(Instant::now());
        begun.set(true);
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        courtesy.borrow_mut().received(data.map_or(0, Bytes::len));
        Poll::Ready(frame.map(|frame| {
            let mut frame = frame.map_err(io::Error::other)?;
            if let Some(trailers) = frame.trailers_mut() {
                clean(trailers);
            }
            Ok(frame)
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
    /// All of it was taken, or the worker wants no more.
    fn drop(&mut self) {
        self.0.turn.to_worker(Instant::now());
    }
}

/// An answer as it comes. Dropping it resets its stream.
pub(in crate::acceptor) struct Upstream {
    body: Incoming,
    place: Place,
    turn: Turn,
    timer: LazyDeadline,
    /// Since when the next piece is waited for.
    waits: Option<Instant>,
}

/// What an answer holds of its worker.
enum Place {
    /// Its pieces may be so far apart.
    Request(Lease, Duration),
    /// An event stream: it has all the time there is, until the server is to end.
    Tunnel { stopped: Pin<Box<dyn Future<Output = ()>>>, _tunnel: Tunnel },
}

impl Upstream {
    /// `turn`: of the request whose answer it is.
    pub(in crate::acceptor) fn request(body: Incoming, lease: Lease, turn: Turn, idle: Duration) -> Self {
        Self::of(body, Place::Request(lease, idle), turn)
    }

    pub(in crate::acceptor) fn tunnel(body: Incoming, tunnel: Tunnel, turn: Turn, stop: TaskGroup) -> Self {
        let stopped = Box::pin(async move { stop.requested().await });
        Self::of(body, Place::Tunnel { stopped, _tunnel: tunnel }, turn)
    }

    fn of(body: Incoming, place: Place, turn: Turn) -> Self {
        Self { body, place, turn, timer: LazyDeadline::new(), waits: None }
    }

    pub(in crate::acceptor) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        if let Place::Tunnel { stopped, .. } = &mut self.place
            && self.body.size_hint().exact().is_none()
            && stopped.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waits = None;
            let given_up = self.turn.is_given_up();
            return Poll::Ready(frame.map(|frame| {
                frame.map_err(|error| match given_up {
                    true => CutShort::Request(reason::TOO_SLOW.word),
                    false => CutShort::Io(io::Error::other(error)),
                })
            }));
        }
        let Place::Request(lease, idle) = &self.place else { return Poll::Pending };
        // Only while somebody waits for it: a client that does not read makes its worker wait, too.
        let since = *self.waits.get_or_insert_with(Instant::now);
        ready!(self.turn.poll_overdue(cx, &mut self.timer, since, *idle));
        if lease.member().concurrency.get() == 1 {
            lease.condemn(WorkerFault::Stalled);
        }
        Poll::Ready(Some(Err(CutShort::Stalled)))
    }

    /// Takes in, for nobody, what the worker still says in an answer that has no body, and gives the worker back. Only
    /// little of it, and for so long at most: the stream is reset then.
    pub(in crate::acceptor) async fn finish(mut self, limit: Duration) {
        let mut left = MOST_IN_VAIN;
        let ending = async {
            while let Some(Ok(frame)) = poll_fn(|cx| self.poll_frame(cx)).await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        };
        // Whoever goes on for longer is reset all the same.
        let _ = timer::timeout(limit, ending).await;
    }

    pub(in crate::acceptor) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(in crate::acceptor) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

const MOST_IN_VAIN: usize = 64 << 10;
