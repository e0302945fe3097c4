//! Owns the server's own answers: the one place that turns a [`ServeError`] into bytes.
//!
//! The answers are small, in HTML, JSON or text as the client prefers, and name the request but never a version or a
//! path.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::Body;

use crate::files::error_pages::ErrorPages;
use crate::name::RequestId;

use crate::acceptor::error::ServeError;
use crate::acceptor::upstream::reply_body::{Reply, ReplyBody};
use crate::acceptor::wire::headers::is_bodiless;

/// `X-Rip-Reason`: why the server answered in the app's place.
pub(in crate::acceptor) const REASON: HeaderName = HeaderName::from_static("x-rip-reason");
/// `X-Rip-Cause`: how the worker ended, with the reason `worker-died`.
const CAUSE: HeaderName = HeaderName::from_static("x-rip-cause");
pub(in crate::acceptor) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers a request that failed. `pages` are the app's own pages, which people get in place of the server's.
pub(in crate::acceptor) fn failure(
    error: &ServeError,
    accept: Option<&HeaderValue>,
    id: &RequestId,
    pages: Option<&ErrorPages>,
) -> Reply {
    let reason = error.reason();
    let format = Format::preferred(accept);
    let page = pages.filter(|_| format == Format::Html).and_then(|pages| pages.page(reason.status.as_u16()));
    let (kind, body) = match (error, page) {
        (ServeError::Stopped { page: Some(page) }, _) => (HTML, Bytes::from(page.to_string())),
        (_, Some(page)) => (HTML, Bytes::from(page.of_request(&id.to_string()))),
        _ => {
            let message = reason.text.replace("{}", &error.detail());
            text(reason.status, (reason.word, &message), id, format)
        }
    };
    let mut response = plain(reason.status, kind, body);
    let headers = response.headers_mut();
    headers.insert(REASON, HeaderValue::from_static(reason.word));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, id_value(id));
    if let ServeError::WorkerDied { cause: Some(cause), .. } = error {
        headers.insert(CAUSE, HeaderValue::from_static(cause));
    }
    if let ServeError::Unauthorized { challenge } = error {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::clone(challenge));
    }
    if let Some(seconds) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if reason.closes {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A small answer of the server itself.
pub(in crate::acceptor) fn plain(status: StatusCode, kind: &'static str, body: Bytes) -> Reply {
    let mut response = Box::new(Response::new(ReplyBody::full(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Whether only the head of the answer is sent (RFC 9112 §6.3), whatever body it has here.
pub(super) fn has_no_body(method: &Method, reply: &Response<ReplyBody>) -> bool {
    *method == Method::HEAD || is_bodiless(reply.status()) || reply.body().is_end_stream()
}

/// Takes the body off an answer to a HEAD (RFC 9110 §9.3.2): over HTTP/2 the body would be sent, and clients refuse it.
/// The head keeps the body's length.
pub(super) fn leave_head(response: &mut Response<ReplyBody>) {
    if response.body().is_end_stream() {
        return;
    }
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    *response.body_mut() = ReplyBody::full(Bytes::new());
}

/// The bytes for a client whose request head was not complete in time (RFC 9110 §15.5.9).
pub(in crate::acceptor) const HEAD_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    connection: close\r\ncontent-length: 0\r\ncache-control: no-store\r\nx-rip-reason: too-slow\r\n\r\n";

/// The id as a field's value, which comes once: an HTTP/2 encoder that kept it in its table (RFC 7541 §2.3.2) would
/// compare every later id with each of those there, and push out values that do come again.
pub(in crate::acceptor) fn id_value(id: &RequestId) -> HeaderValue {
    let mut value = HeaderValue::from_bytes(id.as_bytes()).unwrap_or_else(|_| HeaderValue::from_static("-"));
    value.set_sensitive(true);
    value
}

/// The content type of plain text.
pub(in crate::acceptor) const TEXT: &str = "text/plain; charset=utf-8";
/// The content type of JSON.
pub(in crate::acceptor) const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Html,
    Json,
    Text,
}

impl Format {
    /// The first of the three formats in `Accept`; text when it has none of them.
    fn preferred(accept: Option<&HeaderValue>) -> Self {
        let Some(accept) = accept.and_then(|value| value.to_str().ok()) else { return Self::Text };
        let known = accept.split(',').filter_map(|range| match range.split(';').next()?.trim() {
            "text/html" | "application/xhtml+xml" => Some(Self::Html),
            "application/json" => Some(Self::Json),
            kind if kind.ends_with("+json") => Some(Self::Json),
            "text/plain" => Some(Self::Text),
            _ => None,
        });
        known.into_iter().next().unwrap_or(Self::Text)
    }
}

/// The body in one format. No word in it needs to be escaped in any of the three.
fn text(
    status: StatusCode,
    (reason, message): (&str, &str),
    id: &RequestId,
    format: Format,
) -> (&'static str, Bytes) {
    let (code, name) = (status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    match format {
        Format::Html => (
            HTML,
            format!(
                "<!doctype html><title>{code} {name}</title><h1>{code} {name}</h1><p>{message}</p><p><small>{reason} {id}</small></p>\n"
            )
            .into(),
        ),
        Format::Json => (
            JSON,
            format!("{{\"error\":{{\"status\":{code},\"title\":\"{name}\",\"reason\":\"{reason}\",\"message\":\"{message}\",\"request\":\"{id}\"}}}}\n")
                .into(),
        ),
        Format::Text => (TEXT, format!("{code} {name}\n{reason}: {message}\n{id}\n").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_never_kept_by_an_http2_encoder() {
        assert!(id_value(&RequestId::random()).is_sensitive());
    }

    #[test]
    fn the_format_follows_accept() {
        for (accept, format) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Html),
            ("application/json", Format::Json),
            ("application/problem+json, text/html", Format::Json),
            ("*/*", Format::Text),
            ("", Format::Text),
        ] {
            assert_eq!(Format::preferred(Some(&HeaderValue::from_static(accept))), format, "{accept}");
        }
        assert_eq!(Format::preferred(None), Format::Text);
    }

    #[test]
    fn a_failure_names_its_reason_and_request_and_nothing_else() {
        let id = RequestId::parse(b"request-1").unwrap();
        let response = failure(&ServeError::QueueFull, None, &id, None);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["x-rip-reason"], "queue-full");
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-request-id"], "request-1");
        assert!(!response.headers().contains_key("server"));
    }
}
