//! The state of one connection's place, as every thread sees it: whether the connection rests, since when, and whether
//! it is asked to make room.
//!
//! Never here: which connections are asked (`places`), or what ends one (`deadlines`).

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

use tokio::time::Instant;

use crate::name::ClientNet;

/// The state of one place; see the module. The connection's own thread writes it, but for what
/// [`Places`](super::places::Places) asks.
#[derive(Debug)]
pub(in crate::acceptor) struct PlaceState {
    /// The client; `None`: a trusted proxy, which has no share.
    client: Option<ClientNet>,
    /// The moment that the times here count from.
    epoch: Instant,
    /// The encoded [`Rest`]; 0 while the connection works.
    rest: AtomicU64,
    /// Whether the connection is asked to make room, and has neither done so nor declined.
    asked: AtomicBool,
    /// Whether the connection has a place, or still waits for one.
    placed: AtomicBool,
    /// Whether the client had as many places as were free when it got this one.
    lent: AtomicBool,
    /// The index in the list of placed connections, else [`usize::MAX`]; changed under the list's lock alone.
    index: AtomicUsize,
    task: Mutex<Option<Waker>>,
}

/// The activity of a connection, as far as the connection could be ended for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum Rest {
    /// Something of a request, or of its answer, is under way.
    No,
    /// The connection has had no request; milliseconds from the epoch to its beginning.
    New(u64),
    /// The connection waits for another request; milliseconds from the epoch to the end of the last one.
    Idle(u64),
}

impl PlaceState {
    /// The state of a connection that has just come and waits for a place.
    pub(in crate::acceptor) fn new(client: Option<ClientNet>, epoch: Instant, now: Instant) -> Self {
        let place_state = Self {
            client,
            epoch,
            rest: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            placed: AtomicBool::new(false),
            lent: AtomicBool::new(false),
            index: AtomicUsize::new(usize::MAX),
            task: Mutex::default(),
        };
        place_state.rest.store(Rest::New(millis(epoch, now)).encoded(), Ordering::Relaxed);
        place_state
    }

    pub(in crate::acceptor) fn client(&self) -> Option<ClientNet> {
        self.client
    }

    /// Notes that the connection has a request in hand from now on.
    pub(in crate::acceptor) fn works(&self) {
        self.rest.store(Rest::No.encoded(), Ordering::Relaxed);
    }

    /// Notes that the connection has had a request, and none in hand since then.
    pub(in crate::acceptor) fn idles(&self, since: Instant) {
        self.rest.store(Rest::Idle(millis(self.epoch, since)).encoded(), Ordering::Relaxed);
    }

    pub(in crate::acceptor) fn rest(&self) -> Rest {
        Rest::decoded(self.rest.load(Ordering::Relaxed))
    }

    /// Asks the connection to make room, which the connection does if it still rests when its thread looks.
    pub(in crate::acceptor) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.iter().for_each(Waker::wake_by_ref);
    }

    pub(in crate::acceptor) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Takes back what [`ask`](Self::ask) did; returns whether the connection was asked.
    pub(in crate::acceptor) fn unask(&self) -> bool {
        self.asked.swap(false, Ordering::AcqRel)
    }

    /// Gives the connection its place; `lent`: the place is beyond its client's share.
    pub(in crate::acceptor) fn place(&self, lent: bool) {
        self.lent.store(lent, Ordering::Relaxed);
        self.placed.store(true, Ordering::Release);
        self.wake();
    }

    pub(in crate::acceptor) fn is_placed(&self) -> bool {
        self.placed.load(Ordering::Acquire)
    }

    /// Whether the connection's place is beyond its client's share.
    pub(in crate::acceptor) fn is_lent(&self) -> bool {
        self.lent.load(Ordering::Relaxed)
    }

    pub(in crate::acceptor) fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }

    pub(in crate::acceptor) fn set_index(&self, index: usize) {
        self.index.store(index, Ordering::Relaxed);
    }

    /// Has [`ask`](Self::ask) and [`place`](Self::place) wake the task that polls this, for good, as a connection stays
    /// in one task.
    pub(in crate::acceptor) async fn wakes_this_task(&self) {
        poll_fn(|cx| {
            *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
            Poll::Ready(())
        })
        .await;
    }

    /// Returns when the connection is asked to make room. Only in the task that is woken. Cancel-safe.
    pub(in crate::acceptor) async fn asked(&self) {
        poll_fn(|_| if self.is_asked() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Returns when the connection has its place. Only in the task that is woken. Cancel-safe.
    pub(in crate::acceptor) async fn placed(&self) {
        poll_fn(|_| if self.is_placed() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl Rest {
    fn encoded(self) -> u64 {
        match self {
            Self::No => 0,
            Self::New(since) => (since + 1) << 1,
            Self::Idle(since) => ((since + 1) << 1) | 1,
        }
    }

    fn decoded(code: u64) -> Self {
        match (code, code & 1) {
            (0, _) => Self::No,
            (code, 0) => Self::New((code >> 1) - 1),
            (code, _) => Self::Idle((code >> 1) - 1),
        }
    }
}

pub(in crate::acceptor) fn millis(epoch: Instant, at: Instant) -> u64 {
    at.saturating_duration_since(epoch).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rest_is_read_as_it_was_written() {
        for rest in [Rest::No, Rest::New(0), Rest::New(7), Rest::Idle(0), Rest::Idle(1 << 40)] {
            assert_eq!(Rest::decoded(rest.encoded()), rest);
        }
        let epoch = Instant::now();
        let place_state = PlaceState::new(None, epoch, epoch + Duration::from_millis(3));
        assert_eq!(place_state.rest(), Rest::New(3));
        place_state.works();
        assert_eq!(place_state.rest(), Rest::No);
        place_state.idles(epoch + Duration::from_secs(2));
        assert_eq!(place_state.rest(), Rest::Idle(2000));
    }
}
