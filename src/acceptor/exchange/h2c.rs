//! Owns requests to workers that speak HTTP/2 without TLS, as gRPC apps do: each thread has one connection to a worker,
//! with many streams.
//!
//! Bodies stream both ways and are never collected. Never here: workers that speak HTTP/1.1 (`forward`), connections
//! and streams (`upstream/h2c`), or the bodies of answers (`h2c_answer`).

use std::rc::Rc;

use bytes::Bytes;
use http::header;
use http::{Method, Response, StatusCode};
use http_body::Body;

use crate::pool::Lease;

use super::h2c_answer::Streamed;
use super::pump_context::PumpContext;
use super::respond::{buffer_for, is_busy, is_event_stream, note_reloads};
use super::tunnel;
use crate::acceptor::body::request_body::RequestBody;
use crate::acceptor::error::ServeError;
use crate::acceptor::thread::h2c_body::{Events, Passed};
use crate::acceptor::upstream::access::Recording;
use crate::acceptor::upstream::h2c::{self, Asked};
use crate::acceptor::upstream::outgoing::Outgoing;
use crate::acceptor::upstream::reply_body::{Reply, ReplyBody};
use crate::acceptor::wire::headers::{clean_answer, is_bodiless};

/// Sends the request on a stream of its own and returns the answer with its body still coming.
///
/// # Errors
/// As with HTTP/1.1 workers. Dropping the future resets the stream.
pub(in crate::acceptor) async fn exchange(
    request: &mut Outgoing<'_>,
    lease: Lease,
    recording: &mut Recording,
) -> Result<Reply, ServeError> {
    let worker = lease.member().worker;
    let granted = lease.since();
    let answered = h2c::answered(request, &lease).await;
    recording.note(|record| record.in_worker = Some(granted.elapsed()));
    let Asked { answer, websocket, upload_clock, passed } = answered?;
    if websocket
        && answer.status() == StatusCode::OK
        && let Some(upgrade) = request.upgrade.take()
    {
        let key = request.head.headers.get(header::SEC_WEBSOCKET_KEY);
        return tunnel::open_by_h2c(upgrade, request.client, key, h2c::opened(answer), lease, recording);
    }
    let (mut head, body) = answer.into_parts();
    if is_busy(head.status, &head.headers) {
        pass_no_more(request, passed);
        return Err(ServeError::WorkerBusy { worker });
    }
    note_reloads(&lease, &head.headers);
    let timeouts = &request.rules.timeouts;
    let streamed =
        |body, lease, passed| Streamed { body, lease, upload_clock, passed, idle: timeouts.body_idle };
    let body = if body.is_end_stream() {
        pass_no_more(request, passed);
        ReplyBody::full(Bytes::new())
    } else if *request.head.method == Method::HEAD || is_bodiless(head.status) {
        let rest = streamed(body, lease, passed);
        request.upstreams.stop.spawn_local("end of an answer", rest.finish(timeouts.request));
        ReplyBody::full(Bytes::new())
    } else if is_event_stream(&head.headers) {
        recording.becomes_long_lived();
        let tunnel = lease.into_tunnel(request.client).map_err(|_| ServeError::NoTunnel { worker })?;
        ReplyBody::events(Events::new(body, tunnel, request.upstreams.stop.clone()))
    } else {
        // HTTP/1 has no place for trailers behind a body with a length, and the answer ends there.
        let length = body.size_hint().exact().filter(|_| !recording.is_over_http2());
        let buffer = buffer_for(request);
        let how = PumpContext::of(request);
        let taking = streamed(body, lease, passed).take_in(Rc::clone(&buffer), how);
        request.upstreams.stop.spawn_local("answer", taking);
        ReplyBody::piped(buffer, length)
    };
    clean_answer(&mut head.headers, true);
    if head.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some()
        && let Some(length) = head.headers.get(header::CONTENT_LENGTH).cloned()
    {
        // Different lengths were refused before; some clients refuse two equal ones.
        head.headers.insert(header::CONTENT_LENGTH, length);
    }
    let mut reply = Box::new(Response::new(body));
    *reply.status_mut() = head.status;
    *reply.headers_mut() = head.headers;
    Ok(reply)
}

/// Notes the part of the request that the worker did not want.
fn pass_no_more(request: &mut Outgoing<'_>, passed: Option<Passed>) {
    if let Some(rest) = passed.as_ref().and_then(Passed::stop) {
        request.body = RequestBody::Streaming(rest, None);
    }
}
