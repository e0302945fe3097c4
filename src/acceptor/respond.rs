//! The client's answer, made of the worker's: tunnel, event stream, whole, or piped.
//!
//! Never here: asking a worker (`forward`), or bytes on their way to the client (`reply_body`).

use std::rc::Rc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};

use crate::pool::Lease;

use super::access::Recording;
use super::buffer::Buffer;
use super::drain::{Answer, Draining, drain};
use super::error::ServeError;
use super::forward::Outgoing;
use super::headers::{Named, clean_answer};
use super::reply_body::{Reply, ReplyBody};
use super::request_body::RequestBody;
use super::tunnel;
use super::upload::Upload;
use super::worker_body::Piece;
use super::worker_head::{AnswerHead, ReceiveFraming};

/// Makes the client's answer of the worker's.
pub(super) fn respond(
    request: &mut Outgoing<'_>,
    mut head: AnswerHead,
    mut answer: Answer,
    upload: Option<Box<Upload>>,
    recording: &mut Recording,
) -> Result<Reply, ServeError> {
    if !head.clean {
        note_reloads(&answer.claimed.lease, head.headers());
    }
    if head.status() == StatusCode::SWITCHING_PROTOCOLS {
        return tunnel::open(request.upgrade.take(), request.client, head, answer, recording);
    }
    let mut named = None;
    if !head.clean {
        let chunked = head.framing == ReceiveFraming::Chunked;
        named = chunked.then(|| Named::of(head.headers())).filter(|named| !named.is_empty());
        clean_answer(head.reply.headers_mut(), chunked);
    }
    let length = answer.decoder.remaining();
    let whole = take_whole(&mut answer);
    // Events that are all there need no worker any more.
    let stream = is_event_stream(head.headers()) && !matches!(whole, Whole::Yes(_));
    let upload = match upload {
        // What it has not taken of the request is not wanted any more.
        Some(rest) if stream || matches!(whole, Whole::Yes(_)) => {
            answer.keep = false;
            let (incoming, length) = rest.into_rest();
            request.body = RequestBody::Streaming(incoming, length);
            None
        }
        upload => upload,
    };
    let body = match whole {
        _ if stream => {
            let worker = answer.claimed.lease.member().worker;
            recording.becomes_long_lived();
            match answer.claimed.lease.into_tunnel(request.client) {
                Ok(tunnel) => {
                    ReplyBody::direct(answer.claimed.link, answer.decoder, tunnel, request.shard.stop.clone())
                }
                Err(_) => return Err(ServeError::NoTunnel { worker }),
            }
        }
        Whole::Yes(bytes) => {
            if answer.ends_for_certain() {
                request.handed_on = answer.give_back();
            } else {
                request.shard.stop.spawn_local("answer without a body", answer.see_off());
            }
            ReplyBody::full(bytes)
        }
        Whole::No(first) => pipe(request, answer, upload, first, length),
    };
    let mut reply = head.reply;
    *reply.body_mut() = body.without(named);
    Ok(reply)
}

enum Whole {
    Yes(Bytes),
    /// What of it is there already.
    No(Option<Bytes>),
}

/// Most answers come with their head in one read: they need no buffer and no task.
fn take_whole(answer: &mut Answer) -> Whole {
    match answer.decoder.remaining() {
        Some(0) => Whole::Yes(Bytes::new()),
        Some(left) if left <= answer.claimed.link.buf.len() as u64 => {
            match answer.decoder.next(&mut answer.claimed.link.buf) {
                Ok(Piece::Data(data)) if answer.decoder.remaining() == Some(0) => Whole::Yes(data),
                Ok(Piece::Data(data)) => Whole::No(Some(data)),
                _ => Whole::No(None),
            }
        }
        _ => Whole::No(None),
    }
}

/// A worker may say how often it has loaded its app anew.
pub(super) fn note_reloads(lease: &Lease, headers: &HeaderMap) {
    if let Some(count) = headers.get(RELOADS).and_then(|value| value.to_str().ok()?.parse().ok()) {
        lease.note_reloads(count);
    }
}

/// Whether it refused the request unread.
pub(super) fn is_busy(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE && headers.contains_key(WORKER_BUSY)
}

fn pipe(
    request: &Outgoing<'_>,
    answer: Answer,
    upload: Option<Box<Upload>>,
    first: Option<Bytes>,
    length: Option<u64>,
) -> ReplyBody {
    let limits = &request.shard.server.limits;
    let buffer = Buffer::new(limits.reply_memory);
    if let Some(first) = first {
        // An empty buffer has room.
        let _ = buffer.try_push(first);
    }
    let how = Draining {
        worker_idle: request.rules.timeouts.body_idle,
        client_idle: limits.write_idle,
        hang_up: request.rules.timeouts.request,
        most_spooled: limits.reply_spool,
        folder: request.shard.server.spool.clone(),
        metrics: request.shard.metrics.clone(),
    };
    request.shard.stop.spawn_local("answer", drain(answer, Rc::clone(&buffer), how, upload));
    ReplyBody::piped(buffer, length)
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.len() >= 17 && kind[..17].eq_ignore_ascii_case(b"text/event-stream")
    })
}

const RELOADS: HeaderName = HeaderName::from_static("rip-reloads");
const WORKER_BUSY: HeaderName = HeaderName::from_static("rip-worker-busy");
