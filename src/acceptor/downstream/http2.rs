//! A connection that speaks HTTP/2, by hyper.
//!
//! Never here: deadlines (`deadlines`), or a single request (`http`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::time::timer::HyperTimer;

use super::hyper_request::serve;
use crate::acceptor::connection::client_stream::ClientStream;
use crate::acceptor::connection::deadlines::drive;
use crate::acceptor::connection::http2_stream::Http2Stream;
use crate::acceptor::limit::Limit;
use crate::acceptor::thread::on_thread::OnThread;
use crate::acceptor::thread::shard::Connection;
use crate::acceptor::thread::windows::Windows;

/// Serves HTTP/2 until the connection ends.
pub(in crate::acceptor) async fn serve_http2(conn: Rc<Connection>, stream: ClientStream) {
    let shard = Rc::clone(&conn.shard);
    let limits = &shard.server.limits;
    let state = Arc::clone(&conn.state);
    // The future is boxed because it is large, and would be moved several times before it is first polled.
    let service =
        service_fn(move |request: http::Request<Incoming>| Box::pin(serve(Rc::clone(&conn), request, PIECE)));
    let windows = Windows::of(limits.h2_streams);
    let mut builder = http2::Builder::new(OnThread(shard.stop.clone()));
    builder
        .timer(HyperTimer)
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(Some(RESET_STREAMS))
        .max_local_error_reset_streams(Some(RESET_STREAMS))
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .keep_alive_interval(Some(PING_EVERY))
        .keep_alive_timeout(PING_ANSWER);
    if shard.server.h2_websocket {
        builder.enable_connect_protocol();
    }
    let stream =
        Http2Stream::new(stream, Arc::clone(&state), Arc::clone(&shard.server.frames), Instant::now());
    let mut serving = builder.serve_connection(TokioIo::new(stream), service);
    drive(&mut serving, &state, limits, &shard.stop, |serving| serving.graceful_shutdown()).await;
    if state.is_head_refused() {
        shard.server.limit_log.reached(Limit::Heads, state.place_of());
    } else if state.was_flooded() {
        shard.server.limit_log.reached(Limit::Frames, state.place_of());
    }
}

/// The most bytes of an answer that hyper gets at a time, the size of a frame (RFC 9113 §6.5.2); hyper keeps one such
/// piece for each stream.
const PIECE: usize = 16 << 10;
/// The streams that a client may reset before they are accepted (CVE-2023-44487).
const RESET_STREAMS: usize = 50;
/// The bytes of each stream that hyper holds, whether the client reads or not; the next piece of a body is taken only
/// when there are fewer.
const SEND_BUFFER: usize = 32 << 10;
/// The interval of pings, which find a client that has vanished. The interval is longer than a connection without a
/// request is kept, so that such a connection costs nothing.
const PING_EVERY: Duration = Duration::from_secs(90);
const PING_ANSWER: Duration = Duration::from_secs(20);
