//! A connection that speaks HTTP/1: plain requests by the fast path, everything else by hyper, rest in between.
//!
//! Never here: deadlines (`deadlines`), or a single request (`http`).

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use crate::spec::Limits;
use crate::tasks::TaskGroup;
use crate::time::timer;

use super::fast_path::{Left, serve_plain};
use super::hyper_request::serve;
use crate::acceptor::connection::client_stream::ClientStream;
use crate::acceptor::connection::conn_state::{ConnPhase, ConnState};
use crate::acceptor::connection::deadlines::{ConnectionEnd, LINGER, drive};
use crate::acceptor::limit::Limit;
use crate::acceptor::request::http::record_unread;
use crate::acceptor::request::reply::HEAD_TIMEOUT;
use crate::acceptor::thread::shard::Connection;

/// Serves HTTP/1.0 and 1.1 until the connection ends.
pub(in crate::acceptor) async fn serve_http1(conn: Rc<Connection>, mut stream: ClientStream) {
    let shard = Rc::clone(&conn.shard);
    let limits = &shard.server.limits;
    loop {
        // The future is boxed, here and below, so that a connection at rest has only its place in this task.
        let end = Box::pin(serve_fast(&conn, &mut stream, limits)).await;
        let rests = match end {
            ConnectionEnd::Resting => Some(stream),
            ConnectionEnd::Closed(Some(Left::Other)) => Box::pin(serve_any(&conn, stream, limits)).await,
            ConnectionEnd::Closed(Some(Left::Ended) | None) => return say(b"", stream).await,
            ConnectionEnd::Closed(Some(Left::Cut))
            | ConnectionEnd::WriteTimeout
            | ConnectionEnd::HeadTimeout => return,
        };
        let Some(rested) = rests else { return };
        stream = rested;
        tracing::debug!(client = %conn.peer.address, "a connection rests");
        if !rest(&stream, &conn.state, limits, &shard.stop).await {
            return say(b"", stream).await;
        }
    }
}

/// Serves plain requests, within the deadlines.
async fn serve_fast(
    conn: &Rc<Connection>,
    stream: &mut ClientStream,
    limits: &Limits,
) -> ConnectionEnd<Left> {
    stream.leave_unwatched();
    let closing = Cell::new(false);
    let mut serving = pin!(serve_plain(conn, stream, &closing));
    drive(&mut serving, &conn.state, limits, &conn.shard.stop, |_| closing.set(true)).await
}

/// Serves any request; returns the stream when nothing has come for a while.
async fn serve_any(conn: &Rc<Connection>, stream: ClientStream, limits: &Limits) -> Option<ClientStream> {
    let state = Arc::clone(&conn.state);
    let served = Rc::clone(conn);
    // The future is boxed because it is large, and would be moved several times before it is first polled.
    let service = service_fn(move |request: http::Request<Incoming>| {
        Box::pin(serve(Rc::clone(&served), request, PIECE))
    });
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_headers(limits.max_fields)
        .max_header_size(limits.max_head)
        .max_buf_size(limits.max_head.max(MIN_BUFFER) * 2);
    let mut serving = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let end =
        drive(&mut serving, &state, limits, &conn.shard.stop, |serving| serving.graceful_shutdown()).await;
    match end {
        ConnectionEnd::Resting => {
            // Only upgrades take the parts away, and those have ended the connection.
            let http1::Parts { io, read_buf, .. } = serving.into_parts()?;
            let stream = io.into_inner();
            if read_buf.is_empty() && stream.has_no_unread() {
                return Some(stream);
            }
            // The buffer is not kept while the server waits for the client.
            drop(read_buf);
            say(b"", stream).await;
        }
        // hyper has answered the bad request already.
        ConnectionEnd::Closed(Some(Err(error))) if error.is_parse() => {
            let (status, reason) =
                if error.is_parse_too_large() { (431, "head-too-large") } else { (400, "malformed") };
            record_unread(conn, status, reason);
        }
        ConnectionEnd::HeadTimeout => {
            if state.is_head_refused() {
                conn.shard.server.limit_log.reached(Limit::Heads, state.place_of());
            }
            record_unread(conn, 408, "too-slow");
            if let Some(http1::Parts { io, read_buf, .. }) = serving.into_parts() {
                drop(read_buf);
                say(HEAD_TIMEOUT, io.into_inner()).await;
            }
        }
        // A client that was answered and has only begun to send more has not left.
        ConnectionEnd::Closed(Some(Err(_))) if matches!(state.waiting().0, ConnPhase::Head(_)) => {
            record_unread(conn, 499, "client-gone");
        }
        ConnectionEnd::Closed(_) | ConnectionEnd::WriteTimeout => {}
    }
    None
}

/// Waits for the next request without anything to serve it by; false when the connection is to end first.
async fn rest(stream: &ClientStream, state: &ConnState, limits: &Limits, stop: &TaskGroup) -> bool {
    let until = match state.waiting().0 {
        ConnPhase::New(since) => since + limits.head,
        ConnPhase::Idle(since) => since + limits.keepalive,
        ConnPhase::Head(_) | ConnPhase::RefusedHead | ConnPhase::Busy(_) => return true,
    };
    tokio::select! {
        biased;
        () = poll_fn(|cx| stream.poll_readable(cx)) => true,
        () = timer::sleep_until(until) => false,
        () = state.asked_for_room() => !state.makes_room(),
        // A request may be on its way.
        () = stop.requested() => timer::timeout(LINGER, poll_fn(|cx| stream.poll_readable(cx))).await.is_ok(),
    }
}

/// Sends the last bytes on a connection.
async fn say(bytes: &[u8], mut stream: ClientStream) {
    let words = async {
        stream.write_all(bytes).await?;
        stream.shutdown().await
    };
    // A client that does not even read these bytes is gone.
    let _ = timer::timeout(LAST_WORDS, words).await;
}

/// The most bytes of an answer that hyper gets at a time: hyper keeps as much as fills its buffer.
const PIECE: usize = 64 << 10;
/// The smallest buffer that hyper takes.
const MIN_BUFFER: usize = 8 << 10;
/// The time limit for the answer to a head that was never complete.
const LAST_WORDS: Duration = Duration::from_secs(2);
