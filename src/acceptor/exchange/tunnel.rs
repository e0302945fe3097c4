//! Upgraded connections (RFC 9110 §7.8): after `101` bytes pass both ways until the worker's side ends.
//!
//! A tunnel has a place of its own at its worker, beside the worker's requests. Never here: what the bytes mean.

use std::io;
use std::pin::pin;

use http::StatusCode;
use http::header::{self, HeaderValue};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::name::ClientNet;
use crate::pool::{Lease, Tunnel};

use super::response_pump::IncomingAnswer;
use crate::acceptor::error::ServeError;
use crate::acceptor::records::access_record::Outcome;
use crate::acceptor::upstream::access::Recording;
use crate::acceptor::upstream::reply_body::Reply;
use crate::acceptor::upstream::upgrade::{Upgrade, Upgraded};
use crate::acceptor::upstream::worker_head::AnswerHead;
use crate::acceptor::wire::headers::clean_answer;
use crate::acceptor::wire::websocket::WebSocketAccept;

/// Answers `101`, and starts to pass bytes when the client has it.
///
/// # Errors
/// [`ServeError::BadAnswer`] when the client asked for no tunnel; [`ServeError::NoTunnel`] when the worker holds too
/// many already, in all or of this client.
pub(in crate::acceptor) fn open(
    upgrade: Option<Upgrade>,
    whose: Option<ClientNet>,
    mut head: AnswerHead,
    answer: IncomingAnswer,
    recording: &mut Recording,
) -> Result<Reply, ServeError> {
    let worker = answer.claimed.lease.member().worker;
    let Some(upgrade) = upgrade else {
        return Err(ServeError::BadAnswer { worker, what: "it changes protocols unasked" });
    };
    if upgrade.accept.as_ref().is_some_and(|accept| !accept.is_in(head.headers())) {
        return Err(ServeError::BadAnswer {
            worker,
            what: "its 101 is not that of the WebSocket it was asked for",
        });
    }
    let Ok(tunnel) = answer.claimed.lease.into_tunnel(whose) else {
        return Err(ServeError::NoTunnel { worker });
    };
    if upgrade.accept.is_some() {
        open_over_http2(&mut head.reply);
    } else {
        let headers = head.reply.headers_mut();
        let protocol = headers.get(header::UPGRADE).cloned();
        clean_answer(headers, false);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            headers.insert(header::UPGRADE, protocol);
        }
    }
    let upstream = answer.claimed.upstream;
    upstream.leave_http1();
    carry(upgrade, async { Some(upstream) }, tunnel, recording);
    Ok(head.reply)
}

/// Opens a WebSocket that a worker which speaks HTTP/2 has agreed to (RFC 8441 §5); `opened` is the worker's side. Its
/// client has the fields of the worker's answer, over HTTP/1.1 with those that answer its key.
///
/// # Errors
/// [`ServeError::NoTunnel`] when the worker holds too many already, in all or of this client.
pub(in crate::acceptor) fn open_by_h2c(
    upgrade: Upgrade,
    whose: Option<ClientNet>,
    key: Option<&HeaderValue>,
    (mut reply, opened): (Reply, Upgraded),
    lease: Lease,
    recording: &mut Recording,
) -> Result<Reply, ServeError> {
    let worker = lease.member().worker;
    let Ok(tunnel) = lease.into_tunnel(whose) else { return Err(ServeError::NoTunnel { worker }) };
    open_over_http2(&mut reply);
    if upgrade.accept.is_none() {
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        WebSocketAccept::of(key.map_or(b"", HeaderValue::as_bytes)).answer(reply.headers_mut());
    }
    carry(upgrade, opened, tunnel, recording);
    Ok(reply)
}

/// Passes bytes both ways from when both sides have left their protocol, in a task of its own.
fn carry(
    upgrade: Upgrade,
    worker: impl Future<Output = Option<impl AsyncRead + AsyncWrite + 'static>> + 'static,
    tunnel: Tunnel,
    recording: &mut Recording,
) {
    upgrade.handover.agreed.set(true);
    recording.switch_off_framing();
    recording.becomes_long_lived();
    let Upgrade { client, stop, handover, .. } = upgrade;
    stop.clone().spawn_local("tunnel", async move {
        let upgraded = client.await;
        let mut recording = handover.recording.take();
        let (Some(client), Some(worker)) = (upgraded, worker.await) else { return };
        let to_client = tokio::select! {
            passed = pass(client, worker) => passed,
            // A tunnel has no end of its own, and new connections would wait for it when the server is restarted.
            () = stop.requested() => 0,
        };
        drop(tunnel);
        if let Some(recording) = &mut recording {
            recording.note(|record| record.outcome = Outcome::Complete);
            recording.sent(to_client as usize, true);
        }
    });
}

/// Changes the answer to that for a client of HTTP/2 (RFC 8441 §5), where any success opens the tunnel.
fn open_over_http2(reply: &mut Reply) {
    *reply.status_mut() = StatusCode::OK;
    let headers = reply.headers_mut();
    clean_answer(headers, false);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::SEC_WEBSOCKET_ACCEPT);
}

/// Passes bytes until the worker ends its side, or either side breaks; returns how many went to the client, as far as
/// known.
///
/// When the client ends its side, the worker may still answer. When the worker ends its side, the tunnel is over,
/// because a client that does not close must not keep the worker's place.
async fn pass(client: impl AsyncRead + AsyncWrite, worker: impl AsyncRead + AsyncWrite) -> u64 {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_worker, mut to_worker) = tokio::io::split(worker);
    let up = async {
        tokio::io::copy(&mut from_client, &mut to_worker).await?;
        to_worker.shutdown().await
    };
    let mut down = pin!(async {
        let bytes = tokio::io::copy(&mut from_worker, &mut to_client).await?;
        to_client.shutdown().await?;
        Ok(bytes)
    });
    let ended = tokio::select! {
        ended = &mut down => ended,
        up = up => match up {
            Ok(()) => down.await,
            Err(error) => Err(error),
        },
    };
    ended.unwrap_or_else(|error: io::Error| {
        tracing::debug!(%error, "a tunnel broke");
        0
    })
}
