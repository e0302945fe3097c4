//! Upgraded connections (RFC 9110 §7.8): after `101` bytes pass both ways until either side ends.
//!
//! A tunnel has a place of its own at its worker, beside the worker's requests. Never here: what the bytes mean.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::access::{Outcome, Recording};
use super::drain::Answer;
use super::error::ServeError;
use super::headers::clean_answer;
use super::reply_body::ReplyBody;
use super::shard::Shard;
use super::worker_head::AnswerHead;

/// A client's wish to change protocols.
pub(super) struct Upgrade {
    pub(super) client: OnUpgrade,
    pub(super) shard: Rc<Shard>,
    /// Given the record's recording when the worker agrees.
    pub(super) handover: Rc<std::cell::Cell<Option<Recording>>>,
}

/// Answers `101` and starts to pass bytes once the client has it.
///
/// # Errors
/// [`ServeError::BadAnswer`] when nobody asked for it; [`ServeError::NoTunnel`] when the worker holds too many.
pub(super) fn open(
    upgrade: Option<Upgrade>,
    mut head: AnswerHead,
    answer: Answer,
    recording: &mut Recording,
) -> Result<Response<ReplyBody>, ServeError> {
    let worker = answer.lease.member().worker;
    let Some(upgrade) = upgrade else {
        return Err(ServeError::BadAnswer { worker, what: "it changes protocols unasked" });
    };
    let Ok(tunnel) = answer.lease.into_tunnel() else {
        return Err(ServeError::NoTunnel { worker });
    };
    let protocol = head.headers.get(header::UPGRADE).cloned();
    clean_answer(&mut head.headers, false);
    let mut response = Response::new(ReplyBody::full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = head.headers;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        response.headers_mut().insert(header::UPGRADE, protocol);
    }
    recording.switch_off_framing();
    let mut link = answer.link;
    let Upgrade { client, shard, handover } = upgrade;
    shard.stop.clone().spawn_local("tunnel", async move {
        let upgraded = client.await;
        let mut recording = handover.take();
        let Ok(upgraded) = upgraded else { return };
        let mut client = TokioIo::new(upgraded);
        let passed = tokio::io::copy_bidirectional(&mut client, &mut link).await;
        drop(tunnel);
        if let Some(recording) = &mut recording {
            recording.note(|record| record.outcome = Outcome::Complete);
            if let Ok((_, to_client)) = passed {
                recording.sent(to_client as usize, true);
            }
        }
    });
    Ok(response)
}
