//! The state of a client's connection: what it waits for, and since when.
//!
//! Never here: reading or writing (`client_stream`), or ending a connection (`deadlines`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::name::ClientNet;

use super::head_memory::HeadMemory;
use super::places::Admission;
use crate::acceptor::wire::framing::{Framing, FramingError};

/// The state of a client's connection, shared by its stream, its requests and its timer.
///
/// All three live on one thread, but hyper wants a stream that is `Send`: hence the lock, which nobody ever waits for.
pub(in crate::acceptor) struct ConnState {
    state: Mutex<RequestsState>,
    http2: bool,
    /// Whether the client may be silent for hours from now on, so that keep-alive probes have to find out whether it is
    /// still there.
    long_lived: AtomicBool,
    /// Whether the connection is to tell its client that it ends, and to end, when its stream is polled next; over
    /// HTTP/2 only.
    farewell: AtomicBool,
    /// Whether the client has sent more empty frames than it may.
    flooded: AtomicBool,
    /// The connection's place among all; a tunnel keeps it.
    admission: Admission,
}

struct RequestsState {
    /// The framing of HTTP/1; for HTTP/2, whose framing is binary, it gets no bytes.
    framing: Framing,
    phase: ConnPhase,
    /// Whether there was a request on the connection.
    served: bool,
    /// The memory of the coming head, held until its request is answered.
    head_memory: HeadMemory,
    /// Whether there was no memory for the head: its request is refused, or the connection ended.
    head_refused: bool,
    /// Whether the requests in hand are to be refused; see [`Admission::borrow`].
    over_share: bool,
    /// Since when a write waits for the client to read.
    blocked: Option<Instant>,
    /// Whether an answer was given before the body was read: the rest is then taken in before closing, or the answer
    /// may be lost.
    linger: bool,
    /// Requests whose answers are not complete.
    open: usize,
    /// Heads that were read, less answers that are complete.
    owed: u64,
    /// Whether an answer that may last for hours has begun: a client that ends its sending side has then left.
    lasting: bool,
    /// Answers over HTTP/2 that wait for the client to take more. Flow control holds their bytes back, so that they
    /// never reach a write that would wait.
    untaken: usize,
    /// When the client last took a part of such an answer, or when the first of them began to wait.
    taken: Instant,
}

/// The thing that a connection is waiting for, which decides its time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum ConnPhase {
    /// The first byte of the first request, since this time.
    New(Instant),
    /// The next request, since this time.
    Idle(Instant),
    /// The rest of a head, since this time.
    Head(Instant),
    /// The rest of a head for which there is no memory.
    RefusedHead,
    /// The server, or a body, since this time.
    Busy(Instant),
}

impl ConnState {
    pub(in crate::acceptor) fn new(
        http2: bool,
        now: Instant,
        admission: Admission,
        head_memory: HeadMemory,
    ) -> Arc<Self> {
        let state = RequestsState {
            framing: Framing::default(),
            phase: ConnPhase::New(now),
            served: false,
            head_memory,
            head_refused: false,
            over_share: false,
            blocked: None,
            linger: false,
            open: 0,
            owed: 0,
            lasting: false,
            untaken: 0,
            taken: now,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            http2,
            long_lived: AtomicBool::new(false),
            farewell: AtomicBool::new(false),
            flooded: AtomicBool::new(false),
            admission,
        })
    }

    pub(in crate::acceptor) fn is_http2(&self) -> bool {
        self.http2
    }

    pub(in crate::acceptor) fn begin(&self, now: Instant) {
        let mut state = self.lock();
        state.open += 1;
        state.served = true;
        state.phase = ConnPhase::Busy(now);
        let place_state = self.admission.place_state();
        place_state.works();
        if state.open == 1 && place_state.is_lent() {
            state.over_share = !self.admission.borrow();
        }
    }

    /// Notes that the last byte of an answer was handed over.
    pub(in crate::acceptor) fn end(&self, now: Instant) {
        let mut state = self.lock();
        state.open = state.open.saturating_sub(1);
        state.owed = state.owed.saturating_sub(1);
        if state.open == 0 {
            if self.admission.place_state().is_lent() && !std::mem::take(&mut state.over_share) {
                self.admission.give_back();
            }
            state.lasting = false;
            // The beginning of the next head may have come with this request. After an early answer there is no next
            // head.
            let begun = !state.linger && state.framing.inside_head();
            if !begun && !self.http2 {
                state.forget_head();
            }
            state.phase = if begun { ConnPhase::Head(now) } else { ConnPhase::Idle(now) };
            self.tell_spot(&state);
        }
    }

    /// Counts an answer that begins or stops waiting for the client to take more; over HTTP/2 only.
    pub(in crate::acceptor) fn waits_for_client(&self, waits: bool) {
        let mut state = self.lock();
        if waits {
            state.untaken += 1;
            if state.untaken == 1 {
                state.taken = Instant::now();
            }
        } else {
            state.untaken = state.untaken.saturating_sub(1);
        }
    }

    /// Notes that the client has taken a part of one of these answers.
    pub(in crate::acceptor) fn client_took(&self) {
        self.lock().taken = Instant::now();
    }

    /// Whether an HTTP/2 connection has so many open requests that each has to reserve room for itself.
    pub(in crate::acceptor) fn is_crowded(&self) -> bool {
        self.http2 && self.lock().open > FEW
    }

    /// Starts the idle time anew.
    pub(in crate::acceptor) fn rest(&self, now: Instant) {
        let mut state = self.lock();
        state.phase = if state.served { ConnPhase::Idle(now) } else { ConnPhase::New(now) };
    }

    /// Tells the place whether the connection rests.
    fn tell_spot(&self, state: &RequestsState) {
        match state.phase {
            ConnPhase::Idle(since) if state.blocked.is_none() => self.admission.place_state().idles(since),
            // A connection before its first request has nothing to lose.
            _ if !state.served => {}
            _ => self.admission.place_state().works(),
        }
    }

    /// Whether the connection is to make room for another one. A connection that has something in hand declines, and is
    /// asked no more.
    pub(in crate::acceptor) fn makes_room(&self) -> bool {
        if !self.admission.place_state().is_asked() {
            return false;
        }
        let state = self.lock();
        let rests = match state.phase {
            ConnPhase::New(_) | ConnPhase::Idle(_) => true,
            ConnPhase::Head(_) | ConnPhase::RefusedHead => !state.served,
            ConnPhase::Busy(_) => false,
        };
        let unsent = state.served && (state.blocked.is_some() || state.untaken > 0);
        drop(state);
        if !rests || unsent {
            self.admission.decline();
        }
        rests && !unsent
    }

    /// Whether the request in hand is one more than the client's share of all connections allows.
    pub(in crate::acceptor) fn is_over_share(&self) -> bool {
        self.admission.place_state().is_lent() && self.lock().over_share
    }

    /// Whether there was no memory for the head of the request in hand.
    pub(in crate::acceptor) fn is_head_refused(&self) -> bool {
        self.lock().head_refused
    }

    /// Counts the bytes of an unfinished head on an HTTP/2 connection; false when there is no memory for them.
    pub(in crate::acceptor) fn holds_head(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        if bytes == 0 {
            state.forget_head();
        }
        state.head_refused = !state.head_memory.holds(bytes);
        !state.head_refused
    }

    /// Returns once the connection may have to make room. Cancel-safe.
    pub(in crate::acceptor) async fn asked_for_room(&self) {
        self.admission.place_state().asked().await;
    }

    /// The client that the connection's place counts for; `None`: a trusted proxy.
    pub(in crate::acceptor) fn place_of(&self) -> Option<ClientNet> {
        self.admission.place_state().client()
    }

    /// Has an HTTP/2 connection tell its client that it ends, and end.
    pub(in crate::acceptor) fn say_farewell(&self) {
        self.farewell.store(true, Ordering::Relaxed);
    }

    /// Whether an HTTP/2 connection is to tell its client that it ends.
    pub(in crate::acceptor) fn is_to_say_farewell(&self) -> bool {
        self.farewell.load(Ordering::Relaxed)
    }

    /// Notes that the client has sent too many empty frames.
    pub(in crate::acceptor) fn note_flood(&self) {
        self.flooded.store(true, Ordering::Relaxed);
    }

    /// Whether the client has sent too many empty frames.
    pub(in crate::acceptor) fn was_flooded(&self) -> bool {
        self.flooded.load(Ordering::Relaxed)
    }

    /// Returns the phase that the connection waits in, and since when a write waits.
    pub(in crate::acceptor) fn waiting(&self) -> (ConnPhase, Option<Instant>) {
        let state = self.lock();
        let phase = match state.phase {
            ConnPhase::Head(_) if state.head_refused => ConnPhase::RefusedHead,
            phase => phase,
        };
        (phase, state.blocked.or((state.untaken > 0).then_some(state.taken)))
    }

    /// Whether no request is under way; an answer may end before its request does.
    pub(in crate::acceptor) fn is_between_requests(&self) -> bool {
        !self.http2 && self.lock().framing.between_messages()
    }

    /// The fault of the head of request `number`; see [`Framing::flaw`].
    pub(in crate::acceptor) fn flaw(&self, number: u64) -> Option<FramingError> {
        if self.http2 { None } else { self.lock().framing.flaw(number) }
    }

    /// Notes that the next answer may last for hours.
    pub(in crate::acceptor) fn becomes_long_lived(&self) {
        self.long_lived.store(!self.http2, Ordering::Relaxed);
        self.lock().lasting = true;
    }

    /// Whether a client that sends no more counts as gone, because an answer has begun that may last for hours.
    pub(in crate::acceptor) fn is_left_by_end(&self) -> bool {
        self.lock().lasting
    }

    /// Whether a client that sends no more has sent all of a request, and waits for its answer.
    pub(in crate::acceptor) fn owes_an_answer(&self, unsent: bool) -> bool {
        let state = self.lock();
        !self.http2 && !state.lasting && (state.owed > 0 || unsent) && state.framing.between_messages()
    }

    /// Whether the last request was answered, or has become a tunnel.
    pub(in crate::acceptor) fn owes_nothing(&self) -> bool {
        let state = self.lock();
        state.owed == 0 || !state.framing.between_messages()
    }

    /// Stops following requests: the connection is about to leave HTTP.
    pub(in crate::acceptor) fn switch_off_framing(&self) {
        self.lock().framing.switch_off();
    }

    /// Makes the end of the connection wait for what the client still sends.
    pub(in crate::acceptor) fn linger(&self) {
        self.lock().linger = true;
    }

    /// Whether the end of the connection waits for what the client still sends.
    pub(in crate::acceptor) fn lingers(&self) -> bool {
        self.lock().linger
    }

    /// Whether something that may last for hours has begun; true only once.
    pub(in crate::acceptor) fn has_become_long_lived(&self) -> bool {
        self.long_lived.load(Ordering::Relaxed) && self.long_lived.swap(false, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, RequestsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many of the bytes may be passed on; see [`Framing::feed`].
    pub(in crate::acceptor) fn received(&self, bytes: &[u8]) -> usize {
        if self.http2 {
            return bytes.len();
        }
        let mut state = self.lock();
        let before = state.framing.heads();
        let whole = state.framing.feed(bytes);
        state.owed += state.framing.heads() - before;
        if state.framing.heads() > before || state.framing.inside_head() {
            let head = state.framing.head();
            state.head_refused = !state.head_memory.holds(head);
        }
        if matches!(state.phase, ConnPhase::New(_) | ConnPhase::Idle(_)) && state.framing.inside_head() {
            state.phase = ConnPhase::Head(Instant::now());
            self.tell_spot(&state);
        }
        whole
    }

    /// Notes since when a write waits for the client to read, or that none does.
    pub(in crate::acceptor) fn blocked(&self, since: Option<Instant>) {
        let mut state = self.lock();
        state.blocked = since;
        self.tell_spot(&state);
    }
}

impl RequestsState {
    fn forget_head(&mut self) {
        self.head_refused = false;
        self.head_memory.release();
    }
}

/// The most requests that are open at the same time on a usual HTTP/2 connection.
const FEW: usize = 16;
