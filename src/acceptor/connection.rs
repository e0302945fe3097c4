//! One client connection from its first byte to its last: protocol, timers, graceful end.
//!
//! HTTP/1 and HTTP/2 are told apart by ALPN, never guessed from bytes. Never here: a single request (`http`).

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::spec::Limits;
use crate::stop::Stop;

use super::client_stream::{ClientStream, Phase, Wire};
use super::http::{record_unread, serve};
use super::reply::HEAD_TIMEOUT;
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
enum End {
    /// Nothing is to be done: it has had no request for a while.
    Resting,
    /// By itself, or by an error of the client's.
    Closed(Option<hyper::Error>),
    /// Its head was not complete in time.
    HeadTimeout,
    /// Nobody reads what is written.
    WriteTimeout,
}

/// Serves HTTP/1.0 and 1.1 until the connection ends.
pub(super) async fn serve_http1(conn: Rc<Connection>, stream: ClientStream) {
    let shard = Rc::clone(&conn.shard);
    let limits = &shard.server.limits;
    let wire = Arc::clone(&conn.wire);
    let served = Rc::clone(&conn);
    // Boxed: it is large, and would be moved from hand to hand before it is first asked for its answer.
    let service =
        service_fn(move |request: http::Request<Incoming>| Box::pin(serve(Rc::clone(&served), request)));
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_headers(limits.max_fields)
        .max_header_size(limits.max_head)
        .max_buf_size(limits.max_head.max(MIN_BUFFER) * 2);
    let mut stream = stream;
    let (serving, end) = loop {
        // Boxed, so that a connection at rest has only its place in this task.
        let connection = builder.serve_connection(TokioIo::new(stream), &service).with_upgrades();
        let mut serving = Box::new(connection);
        let end =
            drive(&mut *serving, &wire, limits, &shard.stop, |serving| serving.graceful_shutdown()).await;
        if !matches!(end, End::Resting) {
            break (serving, end);
        }
        // Only upgrades take the parts away, and those have ended the connection.
        let Some(parts) = serving.into_parts() else { return };
        stream = parts.io.into_inner();
        if !parts.read_buf.is_empty() || !rest(&stream, &wire, limits, &shard.stop).await {
            return say(b"", stream).await;
        }
    };
    match end {
        // hyper has answered it already.
        End::Closed(Some(error)) if error.is_parse() => {
            let (status, reason) =
                if error.is_parse_too_large() { (431, "head-too-large") } else { (400, "malformed") };
            record_unread(&conn, status, reason);
        }
        End::HeadTimeout => {
            record_unread(&conn, 408, "too-slow");
            if let Some(parts) = serving.into_parts() {
                say(HEAD_TIMEOUT, parts.io.into_inner()).await;
            }
        }
        End::Closed(_) if matches!(wire.waiting().0, Phase::Head(_)) => {
            record_unread(&conn, 499, "client-gone")
        }
        End::Closed(_) | End::WriteTimeout | End::Resting => {}
    }
}

/// Waits for the next request without anything to serve it by; false when the connection is to end first.
async fn rest(stream: &ClientStream, wire: &Wire, limits: &Limits, stop: &Stop) -> bool {
    let Phase::Idle(since) = wire.waiting().0 else { return true };
    tokio::select! {
        biased;
        () = poll_fn(|cx| stream.poll_readable(cx)) => true,
        () = tokio::time::sleep_until(since + limits.keepalive) => false,
        // A request may be on its way.
        () = stop.requested() => tokio::time::timeout(LINGER, poll_fn(|cx| stream.poll_readable(cx))).await.is_ok(),
    }
}

/// The last words on a connection.
async fn say(bytes: &[u8], mut stream: ClientStream) {
    let words = async {
        stream.write_all(bytes).await?;
        stream.shutdown().await
    };
    // A client that does not even read this is gone.
    let _ = tokio::time::timeout(LAST_WORDS, words).await;
}

/// Serves HTTP/2 until the connection ends.
pub(super) async fn serve_http2(conn: Rc<Connection>, stream: ClientStream) {
    let shard = Rc::clone(&conn.shard);
    let limits = &shard.server.limits;
    let wire = Arc::clone(&conn.wire);
    // Boxed: see above.
    let service =
        service_fn(move |request: http::Request<Incoming>| Box::pin(serve(Rc::clone(&conn), request)));
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
async fn drive<C>(
    serving: &mut C,
    wire: &Wire,
    limits: &Limits,
    stop: &Stop,
    shut_down: impl Fn(Pin<&mut C>),
) -> End
where
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    let mut requested = pin!(stop.requested());
    let mut listens = false;
    let mut alarm = Alarm::new();
    let mut looked = Instant::now();
    let mut asked = None;
    let mut stopping = false;
    poll_fn(|cx| {
        if let Poll::Ready(result) = Pin::new(&mut *serving).poll(cx) {
            return Poll::Ready(End::Closed(result.err()));
        }
        // A task keeps its waker: one that listens need not be asked again before there is something to hear.
        let may_be_asked = !std::mem::replace(&mut listens, true) || stop.is_requested();
        if may_be_asked && asked.is_none() && requested.as_mut().poll(cx).is_ready() {
            asked = Some(Instant::now());
            // HTTP/2 can say which streams are still taken. In HTTP/1 the answers say that they are the last.
            if wire.is_http2() && !stopping {
                stopping = true;
                shut_down(Pin::new(&mut *serving));
                if Pin::new(&mut *serving).poll(cx).is_ready() {
                    return Poll::Ready(End::Closed(None));
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
                    if Pin::new(&mut *serving).poll(cx).is_ready() {
                        return Poll::Ready(End::Closed(None));
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
/// The least buffer hyper takes.
const MIN_BUFFER: usize = 8 << 10;
/// A connection in the middle of a request is looked at that often.
const BUSY_CHECK: Duration = Duration::from_secs(30);
/// How long a connection that is to end waits for a request: what is on its way when the server stops is not lost, and
/// connections that rest do not hold it up for longer.
pub(super) const LINGER: Duration = Duration::from_millis(250);
/// For the answer to a head that never came.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Streams a client may reset before they are accepted (CVE-2023-44487).
const RESET_STREAMS: usize = 50;
const SEND_BUFFER: usize = 256 << 10;
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// A peer that is gone without a word is found out.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWER: Duration = Duration::from_secs(20);
