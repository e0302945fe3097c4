//! Workers that speak HTTP/2 without TLS: gRPC apps. One connection per worker and thread, many streams on it.
//!
//! Bodies stream both ways and are never collected. Never here: workers that speak HTTP/1.1 (`forward`), or connections
//! and streams (`upstream/h2c`).

use bytes::Bytes;
use http::header;
use http::{Method, Response};

use crate::pool::Lease;

use super::respond::{is_busy, is_event_stream, note_reloads};
use crate::acceptor::error::ServeError;
use crate::acceptor::thread::h2c_body::Upstream;
use crate::acceptor::upstream::access::Recording;
use crate::acceptor::upstream::h2c;
use crate::acceptor::upstream::outgoing::Outgoing;
use crate::acceptor::upstream::reply_body::{Reply, ReplyBody};
use crate::acceptor::wire::headers::{clean_answer, is_bodiless};

/// Sends the request on a stream of its own and returns the answer with its body still coming.
///
/// # Errors
/// As with HTTP/1.1 workers. Dropping it resets the stream.
pub(in crate::acceptor) async fn exchange(
    request: &mut Outgoing<'_>,
    lease: Lease,
    recording: &mut Recording,
) -> Result<Reply, ServeError> {
    let worker = lease.member().worker;
    let granted = lease.since();
    let answered = h2c::answered(request, &lease).await;
    recording.note(|record| record.in_worker = Some(granted.elapsed()));
    let (answer, turn) = answered?;
    let (mut head, body) = answer.into_parts();
    if is_busy(head.status, &head.headers) {
        return Err(ServeError::WorkerBusy { worker });
    }
    note_reloads(&lease, &head.headers);
    let bodiless = *request.head.method == Method::HEAD || is_bodiless(head.status);
    let body = if bodiless {
        let rest = Upstream::request(body, lease, turn, request.rules.timeouts.body_idle);
        if !rest.is_end_stream() {
            request.shard.stop.spawn_local("end of an answer", rest.finish(request.rules.timeouts.request));
        }
        ReplyBody::full(Bytes::new())
    } else if is_event_stream(&head.headers) {
        recording.becomes_long_lived();
        let tunnel = lease.into_tunnel(request.client).map_err(|_| ServeError::NoTunnel { worker })?;
        ReplyBody::upstream(Upstream::tunnel(body, tunnel, turn, request.shard.stop.clone()))
    } else {
        ReplyBody::upstream(Upstream::request(body, lease, turn, request.rules.timeouts.body_idle))
    };
    clean_answer(&mut head.headers, true);
    if head.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some()
        && let Some(length) = head.headers.get(header::CONTENT_LENGTH).cloned()
    {
        // Lengths that differ were an error already; some clients refuse two that do not.
        head.headers.insert(header::CONTENT_LENGTH, length);
    }
    let mut reply = Box::new(Response::new(body));
    *reply.status_mut() = head.status;
    *reply.headers_mut() = head.headers;
    Ok(reply)
}
