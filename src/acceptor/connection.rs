//! One client connection from its first byte to its last: protocol, timers, graceful end.
//!
//! HTTP/1 and HTTP/2 are told apart by ALPN, never guessed from bytes. Never here: a single request (`http`).

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::spec::Limits;
use crate::stop::Stop;

use super::client_stream::{ClientStream, Phase, Wire};
use super::http::serve;
use super::shard::Connection;

/// Runs futures of HTTP/2 streams on the connection's own thread.
#[derive(Clone)]
pub(super) struct OnThread(pub(super) Stop);

impl<F> Executor<F> for OnThread
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn_local("stream", async move {
            future.await;
        });
    }
}

/// How a connection came to its end, or to rest.
pub(super) enum End<T> {
    /// Nothing is to be done: it has had no request for a while.
    Resting,
    /// By itself, with what it says then, or because nothing came any more.
    Closed(Option<T>),
    /// Its head was not complete in time.
    HeadTimeout,
    /// Nobody reads what is written.
    WriteTimeout,
}

/// Serves HTTP/2 until the connection ends.
pub(super) async fn serve_http2(conn: Rc<Connection>, stream: ClientStream) {
    let shard = Rc::clone(&conn.shard);
    let limits = &shard.server.limits;
    let wire = Arc::clone(&conn.wire);
    // Boxed: it is large, and would be moved from hand to hand before it is first asked for its answer.
    let service = service_fn(move |request: http::Request<Incoming>| {
        let answer = Box::pin(serve(Rc::clone(&conn), request));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = http2::Builder::new(OnThread(shard.stop.clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(Some(RESET_STREAMS))
        .max_local_error_reset_streams(Some(RESET_STREAMS))
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(Some(PING_EVERY))
        .keep_alive_timeout(PING_ANSWER);
    let mut serving = builder.serve_connection(TokioIo::new(stream), service);
    drive(&mut serving, &wire, limits, &shard.stop, |serving| serving.graceful_shutdown()).await;
}

/// Polls the connection and keeps its deadlines.
pub(super) async fn drive<C>(
    serving: &mut C,
    wire: &Wire,
    limits: &Limits,
    stop: &Stop,
    shut_down: impl Fn(Pin<&mut C>),
) -> End<C::Output>
where
    C: Future + Unpin,
{
    let mut requested = pin!(stop.requested());
    let mut listens = false;
    let mut alarm = Alarm::new();
    let mut looked = Instant::now();
    let mut asked = None;
    let mut stopping = false;
    poll_fn(|cx| {
        if let Poll::Ready(said) = Pin::new(&mut *serving).poll(cx) {
            return Poll::Ready(End::Closed(Some(said)));
        }
        // A task keeps its waker: one that listens need not be asked again before there is something to hear.
        let may_be_asked = !std::mem::replace(&mut listens, true) || stop.is_requested();
        if may_be_asked && asked.is_none() && requested.as_mut().poll(cx).is_ready() {
            asked = Some(Instant::now());
            // HTTP/2 can say which streams are still taken. In HTTP/1 the answers say that they are the last.
            if wire.is_http2() && !stopping {
                stopping = true;
                shut_down(Pin::new(&mut *serving));
                if let Poll::Ready(said) = Pin::new(&mut *serving).poll(cx) {
                    return Poll::Ready(End::Closed(Some(said)));
                }
            }
        }
        loop {
            let (deadline, what) = next_deadline(wire, limits, asked, looked);
            ready!(alarm.poll(cx, deadline));
            match what {
                Expired::Nothing => looked = Instant::now(),
                Expired::Head => return Poll::Ready(End::HeadTimeout),
                Expired::Write => return Poll::Ready(End::WriteTimeout),
                Expired::Rest => return Poll::Ready(End::Resting),
                Expired::Idle if stopping => return Poll::Ready(End::Closed(None)),
                Expired::Idle => {
                    stopping = true;
                    shut_down(Pin::new(&mut *serving));
                    if let Poll::Ready(said) = Pin::new(&mut *serving).poll(cx) {
                        return Poll::Ready(End::Closed(Some(said)));
                    }
                    wire.rest(Instant::now());
                }
            }
        }
    })
    .await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expired {
    Nothing,
    Head,
    Idle,
    Write,
    /// Of HTTP/1 only.
    Rest,
}

/// `asked`: since when the connection is to end; `looked`: when it was last looked at in vain.
fn next_deadline(
    wire: &Wire,
    limits: &Limits,
    asked: Option<Instant>,
    looked: Instant,
) -> (Instant, Expired) {
    let (phase, blocked) = wire.waiting();
    if let Some(since) = blocked {
        return (since + limits.write_idle, Expired::Write);
    }
    let (since, deadline) = match phase {
        Phase::Head(since) => (since, (since + limits.head, Expired::Head)),
        Phase::Idle(since)
            if asked.is_none() && limits.keepalive > RESTS_AFTER && wire.is_between_requests() =>
        {
            (since, (since + RESTS_AFTER, Expired::Rest))
        }
        Phase::Idle(since) => (since, (since + limits.keepalive, Expired::Idle)),
        Phase::Busy(since) => {
            return (since.max(looked) + BUSY_CHECK.min(limits.write_idle), Expired::Nothing);
        }
    };
    // A request may be on its way already, above all the first one.
    let leave = asked.map(|asked| (asked.max(since) + LINGER, Expired::Idle));
    leave.into_iter().fold(deadline, |one, other| if other.0 < one.0 { other } else { one })
}

/// A connection without a request for so long gives up all that serving one takes, but its TLS session.
const RESTS_AFTER: Duration = Duration::from_millis(250);
/// A connection in the middle of a request is looked at that often.
const BUSY_CHECK: Duration = Duration::from_secs(30);
/// How long a connection that is to end waits for a request: what is on its way when the server stops is not lost, and
/// connections that rest do not hold it up for longer.
pub(super) const LINGER: Duration = Duration::from_millis(250);
/// Streams a client may reset before they are accepted (CVE-2023-44487).
const RESET_STREAMS: usize = 50;
const SEND_BUFFER: usize = 256 << 10;
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// A peer that is gone without a word is found out.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWER: Duration = Duration::from_secs(20);
