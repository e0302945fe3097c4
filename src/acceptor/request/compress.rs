//! Owns the changes that settings make in an app's answer: to its fields, by compression, and to the head of a
//! compressed answer.
//!
//! Never here: what the client wants (`accept_encoding`), or compressing (`body/compressor`).

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body::Body as _;

use crate::metrics::AppMetrics;
use crate::name::ClientNet;
use crate::spec::{Compress, Rules};

use super::accept_encoding::wanted;
use crate::acceptor::body::compressor::{Compressor, ContentCoding, PIECE};
use crate::acceptor::limit::Limit;
use crate::acceptor::thread::server::Server;
use crate::acceptor::upstream::reply_body::{Reply, ReplyBody};
use crate::acceptor::wire::headers::{has_token, is_bodiless};

/// Changes an app's answer as settings want: its header fields are changed, and then it is compressed on its way to the
/// client, if settings, request and answer allow that and there is memory for it.
pub(super) fn by_settings(
    server: &Server,
    (metrics, rules): (&AppMetrics, &Rules),
    parts: &Parts,
    client: Option<ClientNet>,
    reply: &mut Reply,
) {
    rules.answer_fields.apply(reply.headers_mut());
    if !may_be_compressed(rules.compress, &parts.headers, reply) {
        return;
    }
    vary(reply.headers_mut());
    let Some(coding) = wanted(&parts.headers) else { return };
    if parts.method != Method::HEAD {
        let body = std::mem::replace(reply.body_mut(), ReplyBody::full(Bytes::new()));
        match compressed(server, (metrics, coding), client, body) {
            Ok(body) => *reply.body_mut() = body,
            Err(body) => {
                *reply.body_mut() = body;
                return;
            }
        }
    }
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
    for name in &OF_THE_BYTES {
        headers.remove(name);
    }
    if let Some(weak) = headers.get(header::ETAG).and_then(weakened) {
        headers.insert(header::ETAG, weak);
    }
}

/// Compresses a body: a small one at once, a large one as it is read. Returns the body as it was when that gains
/// nothing or there is no memory.
fn compressed(
    server: &Server,
    (metrics, coding): (&AppMetrics, ContentCoding),
    client: Option<ClientNet>,
    body: ReplyBody,
) -> Result<ReplyBody, ReplyBody> {
    if let Some(whole) = body.whole().filter(|whole| whole.len() <= PIECE) {
        return match Compressor::whole(coding, whole) {
            Ok(smaller) if smaller.len() < whole.len() => {
                metrics.compressed(coding.token(), whole.len() as u64, smaller.len() as u64);
                Ok(ReplyBody::full(smaller))
            }
            _ => Err(body),
        };
    }
    let mut room = Box::new(server.reply_room.reserve(client));
    if server.limits.reply_room > 0 && !room.grow_to(coding.memory()) {
        server.limit_log.reached(Limit::ReplyRoom, client);
        return Err(body);
    }
    match Compressor::new(coding) {
        Ok(compressor) => Ok(body.compressed(coding, compressor, metrics.clone(), room)),
        Err(_) => Err(body),
    }
}

fn may_be_compressed(mode: Compress, request: &HeaderMap, reply: &Reply) -> bool {
    let (status, headers) = (reply.status(), reply.headers());
    if mode == Compress::Off {
        return false;
    }
    if is_bodiless(status) || matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::RESET_CONTENT) {
        return false;
    }
    let kind =
        headers.get(header::CONTENT_TYPE).map_or(AnswerKind::Other, |value| AnswerKind::of(value.as_bytes()));
    let may = match (mode, kind) {
        (_, AnswerKind::Other) => false,
        (Compress::Safe, AnswerKind::Page) => {
            !request.contains_key(header::COOKIE)
                && !request.contains_key(header::AUTHORIZATION)
                && !headers.contains_key(header::SET_COOKIE)
        }
        _ => true,
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    may && length
        .or(reply.body().size_hint().exact().filter(|length| *length > 0))
        .is_none_or(|length: u64| length >= LEAST)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && !headers.get_all(header::CACHE_CONTROL).iter().any(|value| has_token(value, "no-transform"))
}

/// The kind of an answer, as far as its type shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnswerKind {
    /// An asset: the same for everybody, with nothing of a request in it.
    Asset,
    /// A page or data: a secret may be in it, beside something that a stranger chose.
    Page,
    /// Anything else: compressed already, endless, or not known.
    Other,
}

impl AnswerKind {
    fn of(value: &[u8]) -> Self {
        let kind =
            value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        let kind = std::str::from_utf8(&kind).unwrap_or_default();
        match kind {
            _ if ASSETS.contains(&kind) => Self::Asset,
            "text/event-stream" => Self::Other,
            _ if kind.starts_with("text/") || kind.ends_with("+json") || kind.ends_with("+xml") => Self::Page,
            _ if DATA.contains(&kind) => Self::Page,
            _ => Self::Other,
        }
    }
}

fn vary(headers: &mut HeaderMap) {
    let said = |token: &str| headers.get_all(header::VARY).iter().any(|value| has_token(value, token));
    if !said("*") && !said("accept-encoding") {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// An entity tag as a weak one: a strong tag is that of these very bytes (RFC 9110 §8.8.1).
fn weakened(tag: &HeaderValue) -> Option<HeaderValue> {
    if !tag.as_bytes().starts_with(b"\"") {
        return None;
    }
    HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()
}

/// The smallest body that is compressed, in bytes: smaller ones gain nothing.
const LEAST: u64 = 1024;
/// Fields about the bytes before compression.
static OF_THE_BYTES: [HeaderName; 5] = [
    header::ACCEPT_RANGES,
    header::CONTENT_LENGTH,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("repr-digest"),
];
const ASSETS: [&str; 17] = [
    "text/css",
    "text/javascript",
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "text/ecmascript",
    "image/svg+xml",
    "application/wasm",
    "font/ttf",
    "font/otf",
    "font/sfnt",
    "font/collection",
    "application/font-sfnt",
    "application/x-font-ttf",
    "application/x-font-otf",
    "application/x-font-opentype",
    "application/vnd.ms-fontobject",
];
const DATA: [&str; 12] = [
    "application/json",
    "application/xml",
    "application/x-ndjson",
    "application/jsonl",
    "application/graphql",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/sql",
    "application/rtf",
    "application/x-www-form-urlencoded",
    "application/vnd.api+json",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_is_follows_from_its_type() {
        for (value, kind) in [
            ("text/css", AnswerKind::Asset),
            ("Text/CSS; charset=utf-8", AnswerKind::Asset),
            ("text/javascript;charset=utf-8", AnswerKind::Asset),
            ("image/svg+xml", AnswerKind::Asset),
            ("font/ttf", AnswerKind::Asset),
            ("application/wasm", AnswerKind::Asset),
            ("text/html", AnswerKind::Page),
            ("text/plain", AnswerKind::Page),
            ("application/json", AnswerKind::Page),
            ("application/problem+json", AnswerKind::Page),
            ("application/atom+xml", AnswerKind::Page),
            ("text/event-stream", AnswerKind::Other),
            ("font/woff2", AnswerKind::Other),
            ("font/woff", AnswerKind::Other),
            ("image/png", AnswerKind::Other),
            ("application/grpc", AnswerKind::Other),
            ("application/octet-stream", AnswerKind::Other),
            ("", AnswerKind::Other),
        ] {
            assert_eq!(AnswerKind::of(value.as_bytes()), kind, "{value}");
        }
    }

    #[test]
    fn a_strong_tag_becomes_weak() {
        let weak = |tag: &'static str| weakened(&HeaderValue::from_static(tag));
        assert_eq!(weak("\"a\"").unwrap(), "W/\"a\"");
        assert_eq!(weak("W/\"a\""), None);
    }
}
