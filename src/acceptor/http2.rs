//! A connection that speaks HTTP/2, by hyper.
//!
//! Never here: deadlines (`connection`), or a single request (`http`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::stop::Stop;
use crate::timer::HyperTimer;

use super::client_stream::ClientStream;
use super::connection::drive;
use super::http::serve;
use super::shard::Connection;

/// Serves HTTP/2 until the connection ends.
pub(super) async fn serve_http2(conn: Rc<Connection>, stream: ClientStream) {
    let shard = Rc::clone(&conn.shard);
    let limits = &shard.server.limits;
    let wire = Arc::clone(&conn.wire);
    // Boxed: it is large, and would be moved from hand to hand before it is first asked for its answer.
    let service =
        service_fn(move |request: http::Request<Incoming>| Box::pin(serve(Rc::clone(&conn), request)));
    let mut builder = http2::Builder::new(OnThread(shard.stop.clone()));
    builder
        .timer(HyperTimer)
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

/// Streams a client may reset before they are accepted (CVE-2023-44487).
const RESET_STREAMS: usize = 50;
const SEND_BUFFER: usize = 256 << 10;
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// A peer that is gone without a word is found out.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWER: Duration = Duration::from_secs(20);
