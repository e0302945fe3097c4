//! Owns how an answer is put into bytes: JSON, JSON lines as they come, text, errors.
//!
//! Never here: the content of answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::api::endpoint::{Object, ObjectLines, Text};
use crate::api::{ErrorAnswer, ErrorText};
use crate::metrics;
use crate::supervisor::SupervisorError;
use crate::tasks::TaskGroup;

pub(super) type CallReply = Response<CallReplyBody>;

/// The answer of an endpoint: what its handler returns, and how that is put into bytes.
pub(super) trait EndpointAnswer {
    type Value;

    fn into_reply(value: Self::Value, stop: TaskGroup) -> CallReply;
}

impl<T: Serialize> EndpointAnswer for Object<T> {
    type Value = T;

    fn into_reply(value: T, _: TaskGroup) -> CallReply {
        json(StatusCode::OK, &value)
    }
}

/// A stream of lines, which ends when the sender is gone or `stop` is requested. When the client leaves, the receiver
/// is dropped.
impl<T: Serialize + Send + 'static> EndpointAnswer for ObjectLines<T> {
    type Value = mpsc::Receiver<T>;

    fn into_reply(mut lines: Self::Value, stop: TaskGroup) -> CallReply {
        let next = move |cx: &mut Context<'_>| {
            lines.poll_recv(cx).map(|line| line.and_then(|line| line_of(&line).ok()))
        };
        let stopped = Box::pin(async move { stop.requested().await });
        reply(StatusCode::OK, NDJSON, CallReplyBody::Lines { next: Box::new(next), stopped })
    }
}

impl EndpointAnswer for Text {
    type Value = String;

    fn into_reply(text: String, _: TaskGroup) -> CallReply {
        whole(StatusCode::OK, metrics::CONTENT_TYPE, text.into())
    }
}

fn line_of(value: &impl Serialize) -> Result<Bytes, CallError> {
    let mut line = serde_json::to_vec(value).map_err(|error| {
        // A path that is not UTF-8 is the one value of these types that JSON cannot hold.
        CallError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            format!("cannot write the answer: {error}"),
        )
    })?;
    line.push(b'\n');
    Ok(line.into())
}

/// A JSON object with any status.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> CallReply {
    line_of(value).map_or_else(CallError::into_reply, |line| whole(status, JSON, line))
}

fn whole(status: StatusCode, content_type: &'static str, bytes: Bytes) -> CallReply {
    reply(status, content_type, CallReplyBody::Whole(Some(bytes)))
}

fn reply(status: StatusCode, content_type: &'static str, body: CallReplyBody) -> CallReply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// Why a call failed, as the client reads it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CallError {
    status: StatusCode,
    text: ErrorText,
    allow: Option<String>,
}

impl CallError {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let text = ErrorText { code: code.into(), message: message.into(), hint: None };
        Self { status, text, allow: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.text.hint = Some(hint.into());
        self
    }

    /// Adds the methods that would be right (RFC 9110 §15.5.6).
    pub(super) fn allow(mut self, methods: String) -> Self {
        self.allow = Some(methods);
        self
    }

    pub(super) fn failure(&self) -> ErrorAnswer {
        ErrorAnswer { ok: false, error: self.text.clone() }
    }

    pub(super) fn into_reply(self) -> CallReply {
        let line = line_of(&self.failure()).unwrap_or_default();
        let mut reply = whole(self.status, JSON, line);
        if let Some(Ok(methods)) = self.allow.map(HeaderValue::try_from) {
            reply.headers_mut().insert(ALLOW, methods);
        }
        reply
    }
}

impl From<SupervisorError> for CallError {
    fn from(error: SupervisorError) -> Self {
        let status = match error.code() {
            "no-such-host" | "no-such-app" | "no-such-timer" => StatusCode::NOT_FOUND,
            "bad-request" => StatusCode::BAD_REQUEST,
            "conflict" => StatusCode::CONFLICT,
            "rejected" => StatusCode::UNPROCESSABLE_ENTITY,
            "stopping" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let (code, hint) = (error.code(), error.hint());
        // The message has the causes, too: a registry that cannot be written has a reason.
        let mut error = Self::new(status, code, format!("{:#}", anyhow::Error::new(error)));
        error.text.hint = hint;
        error
    }
}

/// The body of an answer.
pub(super) enum CallReplyBody {
    Whole(Option<Bytes>),
    Lines { next: NextLine, stopped: Pin<Box<dyn Future<Output = ()> + Send>> },
}

type NextLine = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<Bytes>> + Send>;

impl Body for CallReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            // Lines that have come are sent before the end is seen.
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
