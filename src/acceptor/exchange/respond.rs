//! The client's answer, made of the worker's: a tunnel, an event stream, a whole answer, or one that is piped.
//!
//! Never here: asking a worker (`forward`), or bytes on their way to the client (`reply_body`).

use std::rc::Rc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};

use crate::budget::Reservation;
use crate::pool::Lease;

use super::pump_context::PumpContext;
use super::response_pump::{IncomingAnswer, pump_response};
use super::tunnel;
use crate::acceptor::body::buffer::{Buffer, UNRESERVED};
use crate::acceptor::body::request_body::RequestBody;
use crate::acceptor::error::ServeError;
use crate::acceptor::limit::Limit;
use crate::acceptor::upstream::access::Recording;
use crate::acceptor::upstream::outgoing::Outgoing;
use crate::acceptor::upstream::reply_body::{Reply, ReplyBody};
use crate::acceptor::upstream::upload::Upload;
use crate::acceptor::upstream::worker_head::AnswerHead;
use crate::acceptor::wire::body_framing::ReceiveFraming;
use crate::acceptor::wire::headers::{Named, clean_answer};
use crate::acceptor::wire::worker_body::Piece;

/// Makes the client's answer of the worker's answer.
pub(in crate::acceptor) fn respond(
    request: &mut Outgoing<'_>,
    mut head: AnswerHead,
    mut answer: IncomingAnswer,
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
    let length = answer.decoder.length();
    let whole = take_whole(&mut answer);
    // Events that are all there need no worker any more.
    let stream = is_event_stream(head.headers()) && !matches!(whole, Whole::Yes(_));
    let upload = match upload {
        // The part of the request that the worker has not taken is not wanted any more.
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
                Ok(tunnel) => ReplyBody::direct(
                    answer.claimed.upstream,
                    answer.decoder,
                    tunnel,
                    request.upstreams.stop.clone(),
                ),
                Err(_) => return Err(ServeError::NoTunnel { worker }),
            }
        }
        Whole::Yes(bytes) => {
            // Few bytes need no reservation.
            let mut room = None;
            if bytes.len() > UNRESERVED {
                room = room_for(request, bytes.len());
                if room.is_none() {
                    return Ok(reply(head, pipe(request, answer, None, Some(bytes), length), named));
                }
            }
            if answer.ends_for_certain() {
                request.handed_on = answer.give_back();
            } else {
                request.upstreams.stop.spawn_local("answer without a body", answer.see_off());
            }
            ReplyBody::full_in(bytes, room)
        }
        Whole::No(first) => pipe(request, answer, upload, first, length),
    };
    Ok(reply(head, body, named))
}

fn reply(head: AnswerHead, body: ReplyBody, named: Option<Named>) -> Reply {
    let mut reply = head.reply;
    *reply.body_mut() = body.without(named);
    reply
}

/// Reserves room for a whole answer in the memory that all answers share.
fn room_for(request: &Outgoing<'_>, length: usize) -> Option<Box<Reservation>> {
    let server = &request.upstreams.server;
    let mut room = Box::new(server.reply_room.reserve(request.client));
    if room.grow_to(length as u64) {
        return Some(room);
    }
    if server.limits.reply_room > 0 {
        server.limit_log.reached(Limit::ReplyRoom, request.client);
    }
    None
}

enum Whole {
    Yes(Bytes),
    /// The part of the answer that is there already.
    No(Option<Bytes>),
}

/// Takes a whole answer. Most come with their head in one read: they need no buffer and no task.
fn take_whole(answer: &mut IncomingAnswer) -> Whole {
    match answer.decoder.remaining() {
        Some(0) => Whole::Yes(Bytes::new()),
        Some(left) if left <= answer.claimed.upstream.buf.len() as u64 => {
            match answer.decoder.next(&mut answer.claimed.upstream.buf) {
                Ok(Piece::Data(data)) if answer.decoder.remaining() == Some(0) => Whole::Yes(data),
                Ok(Piece::Data(data)) => Whole::No(Some(data)),
                _ => Whole::No(None),
            }
        }
        _ => Whole::No(None),
    }
}

/// Notes how often the worker says that it has loaded its app anew.
pub(in crate::acceptor) fn note_reloads(lease: &Lease, headers: &HeaderMap) {
    if let Some(count) = headers.get(RELOADS).and_then(|value| value.to_str().ok()?.parse().ok()) {
        lease.note_reloads(count);
    }
}

/// Whether the worker refused the request unread.
pub(in crate::acceptor) fn is_busy(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE && headers.contains_key(WORKER_BUSY)
}

fn pipe(
    request: &Outgoing<'_>,
    answer: IncomingAnswer,
    upload: Option<Box<Upload>>,
    first: Option<Bytes>,
    length: Option<u64>,
) -> ReplyBody {
    let buffer = buffer_for(request);
    let how = PumpContext::of(request);
    let first = first.and_then(|first| buffer.try_push(first).err());
    request
        .upstreams
        .stop
        .spawn_local("answer", pump_response(answer, Rc::clone(&buffer), first, how, upload));
    ReplyBody::piped(buffer, length)
}

/// The buffer between the worker and the client of a request.
pub(in crate::acceptor) fn buffer_for(request: &Outgoing<'_>) -> Rc<Buffer> {
    let server = &request.upstreams.server;
    Buffer::new(server.limits.reply_memory, server.reply_room.reserve(request.client))
}

pub(in crate::acceptor) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.len() >= 17 && kind[..17].eq_ignore_ascii_case(b"text/event-stream")
    })
}

const RELOADS: HeaderName = HeaderName::from_static("rip-reloads");
const WORKER_BUSY: HeaderName = HeaderName::from_static("rip-worker-busy");
