//! The deadlines of a client connection and its graceful end, whichever HTTP it speaks (`http1`, `http2`).
//!
//! Never here: a single request (`http`).

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::spec::Limits;
use crate::tasks::TaskGroup;
use crate::time::LazyDeadline;

use super::conn_state::{ConnPhase, ConnState};

/// How the deadlines let go of a connection.
pub(in crate::acceptor) enum ConnectionEnd<T> {
    /// The connection has had no request for a while; nothing is to be done for it.
    Resting,
    /// The connection ended by itself, with its last result, or because nothing came any more.
    Closed(Option<T>),
    /// The request's head was not complete in time.
    HeadTimeout,
    /// The client did not read what was written.
    WriteTimeout,
}

/// Polls the connection and keeps its deadlines.
pub(in crate::acceptor) async fn drive<C>(
    serving: &mut C,
    state: &ConnState,
    limits: &Limits,
    stop: &TaskGroup,
    shut_down: impl Fn(Pin<&mut C>),
) -> ConnectionEnd<C::Output>
where
    C: Future + Unpin,
{
    let mut requested = pin!(stop.requested());
    let mut listens = false;
    let mut timer = LazyDeadline::new();
    let mut looked = Instant::now();
    let mut asked = None;
    let mut stopping = false;
    poll_fn(|cx| {
        if let Poll::Ready(said) = Pin::new(&mut *serving).poll(cx) {
            return Poll::Ready(ConnectionEnd::Closed(Some(said)));
        }
        // The task keeps its waker, so that a future that listens need not be polled again before it has something to
        // say.
        let may_be_asked = !std::mem::replace(&mut listens, true) || stop.is_requested();
        if may_be_asked && asked.is_none() && requested.as_mut().poll(cx).is_ready() {
            asked = Some(Instant::now());
            // HTTP/2 can say which streams are still taken. In HTTP/1 the answers say that they are the last.
            if state.is_http2() && !stopping {
                stopping = true;
                shut_down(Pin::new(&mut *serving));
                if let Poll::Ready(said) = Pin::new(&mut *serving).poll(cx) {
                    return Poll::Ready(ConnectionEnd::Closed(Some(said)));
                }
            }
        }
        if state.makes_room() {
            return Poll::Ready(end_now(serving, state, &shut_down, cx));
        }
        loop {
            let (deadline, what) = next_deadline(state, limits, asked, looked);
            // A head without memory does not wait until a timer fires: hundreds more could be read by then.
            if what != Expired::Refused {
                ready!(timer.poll(cx, deadline));
            }
            match what {
                Expired::Nothing => looked = Instant::now(),
                Expired::Head | Expired::Refused => return Poll::Ready(ConnectionEnd::HeadTimeout),
                Expired::Write => return Poll::Ready(ConnectionEnd::WriteTimeout),
                Expired::Rest => return Poll::Ready(ConnectionEnd::Resting),
                // A distant client may have sent a request already: the GOAWAY says which was the last that was taken.
                Expired::Idle if stopping => return Poll::Ready(end_now(serving, state, &shut_down, cx)),
                Expired::Idle => {
                    stopping = true;
                    shut_down(Pin::new(&mut *serving));
                    if let Poll::Ready(said) = Pin::new(&mut *serving).poll(cx) {
                        return Poll::Ready(ConnectionEnd::Closed(Some(said)));
                    }
                    state.rest(Instant::now());
                }
            }
        }
    })
    .await
}

/// Ends a connection that has nothing in hand; over HTTP/2 the client is told which request was the last that was
/// taken.
fn end_now<C>(
    serving: &mut C,
    state: &ConnState,
    shut_down: &impl Fn(Pin<&mut C>),
    cx: &mut Context<'_>,
) -> ConnectionEnd<C::Output>
where
    C: Future + Unpin,
{
    if state.is_http2() {
        state.say_farewell();
    } else {
        shut_down(Pin::new(&mut *serving));
    }
    match Pin::new(serving).poll(cx) {
        Poll::Ready(said) => ConnectionEnd::Closed(Some(said)),
        Poll::Pending => ConnectionEnd::Closed(None),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expired {
    Nothing,
    Head,
    /// There is no memory for the head.
    Refused,
    Idle,
    Write,
    /// An HTTP/1 connection has had no request for a while.
    Rest,
}

/// `asked`: since when the connection is to end; `looked`: when it was last looked at in vain.
fn next_deadline(
    state: &ConnState,
    limits: &Limits,
    asked: Option<Instant>,
    looked: Instant,
) -> (Instant, Expired) {
    let (phase, blocked) = state.waiting();
    if let Some(since) = blocked {
        return (since + limits.write_idle, Expired::Write);
    }
    let (since, deadline) = match phase {
        ConnPhase::RefusedHead => return (looked, Expired::Refused),
        ConnPhase::Head(since) => (since, (since + limits.head, Expired::Head)),
        ConnPhase::New(since) | ConnPhase::Idle(since) => {
            let limit = if matches!(phase, ConnPhase::New(_)) { limits.head } else { limits.keepalive };
            let may_rest = asked.is_none() && limit > RESTS_AFTER && state.is_between_requests();
            let rest = may_rest.then_some((since + RESTS_AFTER, Expired::Rest));
            (since, rest.unwrap_or((since + limit, Expired::Idle)))
        }
        ConnPhase::Busy(since) => {
            return (since.max(looked) + BUSY_CHECK.min(limits.write_idle), Expired::Nothing);
        }
    };
    // A request may be on its way already, above all the first one.
    let leave = asked.map(|asked| (asked.max(since) + LINGER, Expired::Idle));
    leave.into_iter().fold(deadline, |one, other| if other.0 < one.0 { other } else { one })
}

/// The time after which a connection without a request gives up all that serving one takes, except its TLS session.
const RESTS_AFTER: Duration = Duration::from_secs(1);
/// The interval of looks at a connection in the middle of a request.
const BUSY_CHECK: Duration = Duration::from_secs(30);
/// How long a connection that is to end waits for a request, so that a request on its way is not lost. Resting
/// connections hold the end of the server up for no longer.
pub(in crate::acceptor) const LINGER: Duration = Duration::from_millis(250);
