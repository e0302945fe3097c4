//! Owns how an answer is put into bytes: JSON, JSON lines as they come, text, refusals.
//!
//! Never here: what is answered.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::api::{Failure, FailureText};
use crate::supervisor::SupervisorError;
use crate::tasks::TaskGroup;

/// An answer.
pub(super) type Reply = Response<ReplyBody>;

/// One JSON object.
pub(super) fn json(value: &impl Serialize) -> Reply {
    match line_of(value) {
        Ok(line) => whole(StatusCode::OK, JSON, line),
        Err(refusal) => refusal.into_reply(),
    }
}

/// Text of a given type.
pub(super) fn text(content_type: &'static str, text: String) -> Reply {
    whole(StatusCode::OK, content_type, text.into())
}

/// A JSON object a line, each sent when it comes, until the sender is gone or `stop` is requested. When the client
/// leaves, the receiver is dropped.
pub(super) fn json_lines<T: Serialize + Send + 'static>(
    mut lines: mpsc::Receiver<T>,
    stop: TaskGroup,
) -> Reply {
    let next =
        move |cx: &mut Context<'_>| lines.poll_recv(cx).map(|line| line.and_then(|line| line_of(&line).ok()));
    let stopped = Box::pin(async move { stop.requested().await });
    reply(StatusCode::OK, NDJSON, ReplyBody::Lines { next: Box::new(next), stopped })
}

fn line_of(value: &impl Serialize) -> Result<Bytes, Refusal> {
    let mut line = serde_json::to_vec(value).map_err(|error| {
        // A path that is not UTF-8: the one thing of the wire's types that JSON cannot hold.
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            format!("cannot write the answer: {error}"),
        )
    })?;
    line.push(b'\n');
    Ok(line.into())
}

fn whole(status: StatusCode, content_type: &'static str, bytes: Bytes) -> Reply {
    reply(status, content_type, ReplyBody::Whole(Some(bytes)))
}

fn reply(status: StatusCode, content_type: &'static str, body: ReplyBody) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// Why something is not done, as the client reads it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    status: StatusCode,
    text: FailureText,
    allow: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let text = FailureText { code: code.into(), message: message.into(), hint: None };
        Self { status, text, allow: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.text.hint = Some(hint.into());
        self
    }

    /// The methods that are right (RFC 9110 §15.5.6).
    pub(super) fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    pub(super) fn failure(&self) -> Failure {
        Failure { ok: false, error: self.text.clone() }
    }

    pub(super) fn into_reply(self) -> Reply {
        let line = line_of(&self.failure()).unwrap_or_default();
        let mut reply = whole(self.status, JSON, line);
        if let Some(methods) = self.allow {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        }
        reply
    }
}

impl From<SupervisorError> for Refusal {
    fn from(error: SupervisorError) -> Self {
        let status = match error.code() {
            "no-such-host" | "no-such-app" => StatusCode::NOT_FOUND,
            "bad-request" => StatusCode::BAD_REQUEST,
            "conflict" => StatusCode::CONFLICT,
            "rejected" => StatusCode::UNPROCESSABLE_ENTITY,
            "stopping" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let (code, hint) = (error.code(), error.hint());
        // With what lies behind it: a registry that cannot be written has a reason.
        let mut refusal = Self::new(status, code, format!("{:#}", anyhow::Error::new(error)));
        refusal.text.hint = hint;
        refusal
    }
}

/// The bytes of an answer.
pub(super) enum ReplyBody {
    Whole(Option<Bytes>),
    Lines { next: Next, stopped: Pin<Box<dyn Future<Output = ()> + Send>> },
}

type Next = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<Bytes>> + Send>;

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            // What has come is sent before the end is seen.
            Self::Lines { next, stopped } => match next(cx) {
                Poll::Pending => stopped.as_mut().poll(cx).map(|()| None),
                ready => ready,
            },
        };
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Lines { .. } => SizeHint::default(),
        }
    }
}

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
