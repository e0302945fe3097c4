//! Requests to FastCGI workers, as CGI's variables (RFC 3875 §4.1), and the heads of their answers (RFC 3875 §6.3).
//!
//! Never here: records as bytes (`crate::fastcgi`), taking records off an answer (`answer_records`), or which script is
//! meant (`request`).

use std::io;

use bytes::{Buf, Bytes};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Version};

use super::answer_records::bad_record;
use super::exchange_error::ExchangeError;
use super::reply_body::ReplyBody;
use super::upstream_conn::Source;
use super::worker_head::{AnswerHead, MAX_FIELDS, MAX_HEAD, Origin, RequestHead, has_no_body, take_fields};
use crate::acceptor::access::identity::REMOTE_USER;
use crate::acceptor::error::ServeError;
use crate::acceptor::wire::body_framing::ReceiveFraming;
use crate::acceptor::wire::headers::Named;
use crate::fastcgi::request::{Params, begin};
use crate::files::scripts::Script;

/// Whether a request can be told in CGI's variables.
///
/// # Errors
/// [`ServeError::Malformed`] when its path has a zero byte, which ends a text for many programs.
pub(in crate::acceptor) fn check(head: RequestHead<'_>) -> Result<(), ServeError> {
    match head.uri.path().contains("%00") {
        true => Err(ServeError::Malformed("its path has a zero byte")),
        false => Ok(()),
    }
}

/// Writes all of a request but its body, which has this length. `keep`: the worker is to leave the connection open.
pub(in crate::acceptor) fn write_request(
    out: &mut Vec<u8>,
    head: RequestHead<'_>,
    origin: &Origin<'_>,
    script: Option<&Script>,
    length: Option<u64>,
    keep: bool,
) {
    begin(out, keep);
    let mut params = Params::begin(out);
    params.add("GATEWAY_INTERFACE", "CGI/1.1");
    params.add("SERVER_SOFTWARE", "rip-server");
    params.add("SERVER_PROTOCOL", protocol(head.version));
    params.add("REQUEST_METHOD", head.method.as_str());
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    params.add("REQUEST_URI", [origin.prefix, target].concat());
    params.add("QUERY_STRING", head.uri.query().unwrap_or_default());
    params.add_script(script.map(Script::parts), origin.prefix, decoded(head.uri.path()));
    params.add("SERVER_NAME", without_port(origin.host));
    params.add("SERVER_PORT", itoa::Buffer::new().format(origin.port));
    params.add("REMOTE_ADDR", origin.client.to_string());
    params.add("REQUEST_SCHEME", origin.proto);
    if origin.proto == "https" {
        params.add("HTTPS", "on");
    }
    if let Some((_, user)) = origin.identity.iter().find(|(name, _)| name == REMOTE_USER) {
        params.add("REMOTE_USER", user.as_bytes());
    }
    // php-cgi runs no script without this variable (`cgi.force_redirect`).
    params.add("REDIRECT_STATUS", "200");
    let expected = matches!(*head.method, Method::POST | Method::PUT | Method::PATCH);
    if let Some(length) = length.or(expected.then_some(0)) {
        params.add("CONTENT_LENGTH", itoa::Buffer::new().format(length));
    }
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
        params.add("CONTENT_TYPE", kind.as_bytes());
    }
    add_fields(&mut params, head, origin);
    // Frameworks of PHP that believe this field put it in front of what `SCRIPT_NAME` says.
    if script.is_none() && !origin.prefix.is_empty() {
        params.add("HTTP_X_FORWARDED_PREFIX", origin.prefix);
    }
    params.end();
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// Adds the fields that workers get over HTTP/1.1. Several fields of one name become one, because CGI has room for one
/// (RFC 3875 §4.1.18).
fn add_fields(params: &mut Params<'_>, head: RequestHead<'_>, origin: &Origin<'_>) {
    params.add("HTTP_HOST", head.authority);
    let named = Named::of(head.headers);
    for name in head.headers.keys() {
        if name == header::CONTENT_TYPE || !origin.lets_pass(name, &named) {
            continue;
        }
        let values = || head.headers.get_all(name).iter().map(HeaderValue::as_bytes);
        params.add_field(name.as_str(), values, if name == header::COOKIE { "; " } else { ", " });
    }
    params.add("HTTP_X_FORWARDED_FOR", origin.forwarded_for);
    params.add("HTTP_X_FORWARDED_PROTO", origin.proto);
    params.add("HTTP_X_FORWARDED_HOST", origin.host);
    params.add("HTTP_X_FORWARDED_PORT", itoa::Buffer::new().format(origin.port));
    params.add("HTTP_X_REQUEST_ID", origin.id.as_bytes());
    params.add("HTTP_X_REQUEST_START", format!("t={}", origin.start_ms));
    for (name, value) in origin.client_cert.iter().chain(origin.identity) {
        params.add_field(name.as_str(), || std::iter::once(value.as_bytes()), "");
    }
}

/// A path as CGI has it (RFC 3875 §4.1.5). A `%` that encodes no byte stays as it is.
fn decoded(path: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        rest = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                &after[2..]
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    bytes
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Reads until the answer's head is there. Cancel-safe: bytes read are kept.
///
/// # Errors
/// [`ExchangeError::Worker`] when the connection ends before anything comes, [`ExchangeError::BadAnswer`] when what
/// comes is no answer.
pub(in crate::acceptor) async fn read_head(
    upstream: &mut impl Source,
    method: &Method,
) -> Result<AnswerHead, ExchangeError> {
    loop {
        let is_over = upstream.records().is_some_and(|records| records.is_over());
        let parsed = parse_answer(upstream.buf(), method, is_over).map_err(ExchangeError::BadAnswer)?;
        if let Some(head) = parsed {
            return Ok(head);
        }
        let begun = !upstream.buf().is_empty();
        match upstream.fill().await {
            Ok(0) if upstream.records().is_some_and(|records| records.is_refused()) => return Ok(busy()),
            Ok(0) => return Err(ExchangeError::BadAnswer("it ends before its head does")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && begun => {
                return Err(ExchangeError::BadAnswer("it breaks off in the middle of its head"));
            }
            Err(error) => {
                let unbegun = upstream.records().is_some_and(|records| records.is_none());
                return Err(match bad_record(&error) {
                    Some(_) if unbegun => ExchangeError::BadAnswer(NO_RECORD),
                    Some(what) => ExchangeError::BadAnswer(what),
                    None => ExchangeError::Worker(error),
                });
            }
        }
    }
}

/// Takes a complete head off the front of `buf`; `None` when more has to come. `is_over`: `buf` is all of the answer.
///
/// # Errors
/// The fault of the head, for the log.
pub(in crate::acceptor) fn parse_answer(
    buf: &mut Bytes,
    method: &Method,
    is_over: bool,
) -> Result<Option<AnswerHead>, &'static str> {
    let whole = buf.clone();
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let (length, parsed) = match httparse::parse_headers(&whole, &mut fields) {
        Ok(httparse::Status::Complete((length, parsed))) if length <= MAX_HEAD => (length, parsed),
        Ok(httparse::Status::Partial) if buf.len() < MAX_HEAD => return Ok(None),
        Ok(_) => return Err("its head is larger than 65536 bytes"),
        Err(httparse::Error::TooManyHeaders) => return Err("its head has more than 128 fields"),
        Err(_) => return Err("its head cannot be parsed"),
    };
    if parsed.is_empty() {
        return Err("its head has no field");
    }
    let mut reply = Box::new(Response::new(ReplyBody::full(Bytes::new())));
    let said = take_fields(&whole, parsed, reply.headers_mut())?;
    if said.encoding.is_some() {
        return Err("it has a Transfer-Encoding, which FastCGI has not");
    }
    buf.advance(length);
    let status = take_status(reply.headers_mut())?;
    *reply.status_mut() = status;
    let bodiless = has_no_body(status, method);
    let rest = buf.len() as u64;
    let framing = match said.length {
        _ if bodiless => ReceiveFraming::None,
        Some(length) if is_over && length != rest => {
            return Err("its body is not as long as its Content-Length");
        }
        _ if is_over && rest == 0 => ReceiveFraming::None,
        _ if is_over => ReceiveFraming::Length(rest),
        Some(length) => ReceiveFraming::Checked(length),
        None => ReceiveFraming::Close,
    };
    if bodiless && is_over {
        buf.clear();
    }
    Ok(Some(AnswerHead { reply, clean: !said.more, framing, counted: is_over || !bodiless, keepalive: true }))
}

/// The status of the answer (RFC 3875 §6.3.3); an answer with only a `Location` is a redirect (§6.3.2).
fn take_status(headers: &mut HeaderMap) -> Result<StatusCode, &'static str> {
    let mut said = headers.get_all(STATUS).iter();
    let status = match (said.next(), said.next()) {
        (None, _) if headers.contains_key(header::LOCATION) => StatusCode::FOUND,
        (None, _) => StatusCode::OK,
        (Some(value), None) => {
            let text = value.as_bytes().trim_ascii();
            let (code, rest) = text.split_at(text.len().min(3));
            Some(code)
                .filter(|_| matches!(rest.first(), None | Some(b' ')))
                .and_then(|code| StatusCode::from_bytes(code).ok())
                .filter(|status| !status.is_informational())
                .ok_or("its Status is not a final status")?
        }
        (Some(_), Some(_)) => return Err("it has two Status fields"),
    };
    headers.remove(STATUS);
    Ok(status)
}

/// The answer with which a worker over HTTP/1.1 says that it has not looked at the request.
fn busy() -> AnswerHead {
    let mut reply = Box::new(Response::new(ReplyBody::full(Bytes::new())));
    *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    reply.headers_mut().insert(HeaderName::from_static("rip-worker-busy"), HeaderValue::from_static("1"));
    AnswerHead { reply, clean: false, framing: ReceiveFraming::None, counted: true, keepalive: true }
}

const STATUS: HeaderName = HeaderName::from_static("status");
/// The fault of bytes that are no answer at all.
pub(in crate::acceptor) const NO_RECORD: &str = "it is no FastCGI record";
