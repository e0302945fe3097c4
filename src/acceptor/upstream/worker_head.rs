//! Heads as they go to and come from a worker: requests written, answers parsed.
//!
//! Requests are framed anew, never copied through. Never here: reading or writing a socket.

use std::mem::MaybeUninit;
use std::net::IpAddr;

use bytes::{Buf, Bytes};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Uri, Version};

use crate::name::RequestId;

use super::reply_body::{Reply, ReplyBody};
use crate::acceptor::wire::body_framing::{ReceiveFraming, SendFraming, parse_length};
use crate::acceptor::wire::encode::write_field;
use crate::acceptor::wire::headers::{
    Named, has_token, is_between_neighbours, is_bodiless, is_of_client_cert, passes_to_worker,
};

/// The facts about a request's origin that the server tells the worker.
#[derive(Debug)]
pub(in crate::acceptor) struct Origin<'a> {
    pub(in crate::acceptor) forwarded_for: &'a str,
    pub(in crate::acceptor) proto: &'a str,
    pub(in crate::acceptor) host: &'a str,
    pub(in crate::acceptor) port: u16,
    /// The prefix that the client's path has and the worker's has not; empty: none.
    pub(in crate::acceptor) prefix: &'a str,
    pub(in crate::acceptor) id: &'a RequestId,
    /// Milliseconds since 1970-01-01 UTC.
    pub(in crate::acceptor) start_ms: u64,
    /// The address of the client, as far as trusted proxies say.
    pub(in crate::acceptor) client: IpAddr,
    /// Whether fields pass that only trusted proxies may send.
    pub(in crate::acceptor) trusted: bool,
    /// The fields about the client's certificate, where the app's hosts ask for one.
    pub(in crate::acceptor) client_cert: &'a [(HeaderName, HeaderValue)],
    /// The fields about the client's identity, where the app asks for it.
    pub(in crate::acceptor) identity: &'a [(HeaderName, HeaderValue)],
}

impl Origin<'_> {
    /// Whether a field of the client goes to the worker. Fields about a certificate do not, where this server asked for
    /// it.
    pub(in crate::acceptor) fn lets_pass(&self, name: &HeaderName, named: &Named) -> bool {
        passes_to_worker(name, named, self.trusted)
            && (self.client_cert.is_empty() || !is_of_client_cert(name.as_str()))
            && !self.identity.iter().any(|(given, _)| given == name)
    }
}

/// A request's head as the client sent it.
#[derive(Clone, Copy, Debug)]
pub(in crate::acceptor) struct RequestHead<'a> {
    pub(in crate::acceptor) method: &'a Method,
    pub(in crate::acceptor) uri: &'a Uri,
    pub(in crate::acceptor) version: Version,
    pub(in crate::acceptor) headers: &'a HeaderMap,
    /// The `Host` of HTTP/1 or the `:authority` of HTTP/2.
    pub(in crate::acceptor) authority: &'a str,
    /// The protocol to change to, when the request asks for one.
    pub(in crate::acceptor) upgrade: Option<&'a HeaderValue>,
}

/// Writes the head for a worker (RFC 9112 §3).
pub(in crate::acceptor) fn write_request(
    out: &mut Vec<u8>,
    head: RequestHead<'_>,
    origin: &Origin<'_>,
    framing: SendFraming,
    keepalive: bool,
) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    match head.uri.path_and_query() {
        Some(target) if target.as_str().starts_with('/') || target.as_str() == "*" => {
            out.extend_from_slice(target.as_str().as_bytes());
        }
        Some(target) => {
            out.push(b'/');
            out.extend_from_slice(target.as_str().as_bytes());
        }
        None => out.push(b'/'),
    }
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(head.authority.as_bytes());
    out.extend_from_slice(b"\r\n");
    let named = Named::of(head.headers);
    let mut cookie = false;
    for (name, value) in head.headers {
        if name == header::COOKIE {
            // HTTP/2 may have cut the cookies into pieces (RFC 9113 §8.2.3).
            if !std::mem::replace(&mut cookie, true) && !named.has(name) {
                write_cookies(out, head.headers);
            }
        } else if origin.lets_pass(name, &named) {
            write_field(out, name.as_str(), value.as_bytes());
        }
    }
    write_origin(out, origin);
    write_framing(out, head, framing, keepalive);
    out.extend_from_slice(b"\r\n");
}

fn write_origin(out: &mut Vec<u8>, origin: &Origin<'_>) {
    write_field(out, "x-forwarded-for", origin.forwarded_for.as_bytes());
    write_field(out, "x-forwarded-proto", origin.proto.as_bytes());
    write_field(out, "x-forwarded-host", origin.host.as_bytes());
    let mut digits = itoa::Buffer::new();
    write_field(out, "x-forwarded-port", digits.format(origin.port).as_bytes());
    if !origin.prefix.is_empty() {
        write_field(out, "x-forwarded-prefix", origin.prefix.as_bytes());
    }
    write_field(out, "x-request-id", origin.id.as_bytes());
    out.extend_from_slice(b"x-request-start: t=");
    out.extend_from_slice(digits.format(origin.start_ms).as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in origin.client_cert.iter().chain(origin.identity) {
        write_field(out, name.as_str(), value.as_bytes());
    }
}

fn write_framing(out: &mut Vec<u8>, head: RequestHead<'_>, framing: SendFraming, keepalive: bool) {
    match framing {
        // An empty body is announced where one would be expected (RFC 9110 §8.6).
        SendFraming::None if matches!(*head.method, Method::POST | Method::PUT | Method::PATCH) => {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        SendFraming::None => {}
        SendFraming::Length(length) => {
            write_field(out, "content-length", itoa::Buffer::new().format(length).as_bytes());
        }
        SendFraming::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    match head.upgrade {
        Some(protocol) => {
            out.extend_from_slice(b"connection: upgrade\r\n");
            write_field(out, "upgrade", protocol.as_bytes());
        }
        None if !keepalive => out.extend_from_slice(b"connection: close\r\n"),
        None => {}
    }
}

fn write_cookies(out: &mut Vec<u8>, headers: &HeaderMap) {
    out.extend_from_slice(b"cookie: ");
    for (at, value) in headers.get_all(header::COOKIE).iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The head of a worker's answer.
pub(in crate::acceptor) struct AnswerHead {
    /// The status and the fields, without a body yet.
    pub(in crate::acceptor) reply: Reply,
    /// Whether all fields are for the client.
    pub(in crate::acceptor) clean: bool,
    pub(in crate::acceptor) framing: ReceiveFraming,
    /// Whether the head says where the answer ends. An answer without a body by its method or its status ends with its
    /// head, whatever that says of a length: the end of a body that the worker sends all the same is unknown, unless
    /// the worker promises that none follows.
    pub(in crate::acceptor) counted: bool,
    /// Whether the worker keeps the connection open after this answer.
    pub(in crate::acceptor) keepalive: bool,
}

impl AnswerHead {
    pub(in crate::acceptor) fn status(&self) -> StatusCode {
        self.reply.status()
    }

    pub(in crate::acceptor) fn headers(&self) -> &HeaderMap {
        self.reply.headers()
    }
}

/// Takes a complete head off the front of `buf`; `None` when more has to come.
///
/// # Errors
/// The fault of the head, for the log.
pub(in crate::acceptor) fn parse_answer(
    buf: &mut Bytes,
    method: &Method,
) -> Result<Option<AnswerHead>, &'static str> {
    let whole = buf.clone();
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut parsed, &whole, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        // An incomplete head is longer than the bytes that are there.
        Ok(httparse::Status::Partial) if buf.len() < MAX_HEAD => return Ok(None),
        Ok(_) => return Err("its head is larger than 65536 bytes"),
        Err(httparse::Error::TooManyHeaders) => return Err("its head has more than 128 fields"),
        Err(_) if !begins_an_answer(buf) => return Err(NO_ANSWER),
        Err(_) => return Err("its head cannot be parsed"),
    };
    let status =
        parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("its status is out of range")?;
    let http11 = parsed.version == Some(1);
    let mut reply = Box::new(Response::new(ReplyBody::full(Bytes::new())));
    *reply.status_mut() = status;
    let said = take_fields(&whole, parsed.headers, reply.headers_mut())?;
    buf.advance(length);
    let keepalive = !said.close && (http11 || said.keepalive);
    let clean = !said.more;
    let promised = said.no_body
        && *method != Method::HEAD
        && matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = receive_framing(status, method, said, http11)?;
    let keepalive = keepalive && framing != ReceiveFraming::Close;
    // An answer with 205 is framed as any other, but has no content (RFC 9110 §15.3.6): the program that sets its
    // length may not be the one that writes its body.
    let counted = promised || !(has_no_body(status, method) || status == StatusCode::RESET_CONTENT);
    Ok(Some(AnswerHead { reply, clean, framing, counted, keepalive }))
}

/// Whether the bytes are, or may become, an answer's first line.
fn begins_an_answer(bytes: &[u8]) -> bool {
    let line = bytes.trim_ascii_start();
    line.iter().zip(b"HTTP/1.").all(|(byte, expected)| byte == expected)
}

/// Whether the answer ends with its head (RFC 9112 §6.3, 1).
pub(super) fn has_no_body(status: StatusCode, method: &Method) -> bool {
    is_bodiless(status) || *method == Method::HEAD
}

/// The facts that the fields of an answer's head tell the server.
#[derive(Default)]
pub(super) struct HeadFacts {
    close: bool,
    keepalive: bool,
    pub(super) encoding: Option<HeaderValue>,
    pub(super) length: Option<u64>,
    /// Whether the worker promises that no body follows where there is none.
    no_body: bool,
    /// Whether a field is there that is looked at, and taken out, later.
    pub(super) more: bool,
}

/// Takes in the fields that are for the client, and notes those for the server.
///
/// # Errors
/// The fault of a field, for the log.
pub(super) fn take_fields(
    head: &Bytes,
    fields: &[httparse::Header<'_>],
    headers: &mut HeaderMap,
) -> Result<HeadFacts, &'static str> {
    headers.reserve(fields.len() + 2);
    let mut said = HeadFacts::default();
    for field in fields {
        let name =
            HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "a field's name is malformed")?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value))
            .map_err(|_| "a field's value is malformed")?;
        if said.note(&name, &value)? == FieldUse::More {
            headers.append(name, value);
        }
    }
    Ok(said)
}

/// The treatment of a field after it was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldUse {
    None,
    More,
}

impl HeadFacts {
    /// Notes a field. As a strict reading of RFC 9112 §6.3, two lengths have to be the same.
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<FieldUse, &'static str> {
        match *name {
            header::CONTENT_LENGTH => {
                let length = parse_length(value)?;
                match self.length.replace(length) {
                    Some(other) if other != length => return Err("its Content-Length fields differ"),
                    // A length that is said twice is passed on once: some clients refuse two (RFC 9110 §8.6).
                    Some(_) => return Ok(FieldUse::None),
                    None => {}
                }
            }
            header::TRANSFER_ENCODING => {
                self.more = true;
                if self.encoding.replace(value.clone()).is_some() {
                    return Err("it has two Transfer-Encoding fields");
                }
            }
            header::DATE => return Ok(FieldUse::None),
            header::CONNECTION => return Ok(self.note_connection(value)),
            _ if name == "keep-alive" => return Ok(FieldUse::None),
            _ if name == NO_BODY => {
                self.no_body = true;
                return Ok(FieldUse::None);
            }
            _ => self.more |= is_between_neighbours(name.as_str()),
        }
        Ok(FieldUse::More)
    }

    fn note_connection(&mut self, value: &HeaderValue) -> FieldUse {
        self.close |= has_token(value, "close");
        self.keepalive |= has_token(value, "keep-alive");
        let names = Named::in_value(value).next().is_some();
        self.more |= names;
        if names { FieldUse::More } else { FieldUse::None }
    }
}

/// The way in which the answer's body ends. As a strict reading of RFC 9112 §6.3, an ambiguous head is no answer.
fn receive_framing(
    status: StatusCode,
    method: &Method,
    said: HeadFacts,
    http11: bool,
) -> Result<ReceiveFraming, &'static str> {
    if has_no_body(status, method) {
        return Ok(ReceiveFraming::None);
    }
    match (said.encoding, said.length) {
        (Some(_), Some(_)) => Err("it has both Content-Length and Transfer-Encoding"),
        (Some(value), None) if http11 && value.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(ReceiveFraming::Chunked)
        }
        (Some(_), None) => Err("its Transfer-Encoding is not `chunked`"),
        (None, Some(0)) => Ok(ReceiveFraming::None),
        (None, Some(length)) => Ok(ReceiveFraming::Length(length)),
        (None, None) => Ok(ReceiveFraming::Close),
    }
}

/// The field by which a worker promises that it sends no body behind an answer that has none.
const NO_BODY: &str = "rip-no-body";
/// The fault of bytes that are no answer at all.
pub(in crate::acceptor) const NO_ANSWER: &str = "it is no HTTP/1 answer";
pub(super) const MAX_FIELDS: usize = 128;
/// The largest head, in bytes, from the first of the status line to the last of the empty line.
pub(in crate::acceptor) const MAX_HEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, method: &Method) -> Result<Option<AnswerHead>, &'static str> {
        parse_answer(&mut Bytes::copy_from_slice(text.as_bytes()), method)
    }

    fn framing(fields: &str) -> Result<ReceiveFraming, &'static str> {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        parse(&text, &Method::GET).map(|head| head.unwrap().framing)
    }

    #[test]
    fn a_head_cut_anywhere_is_not_yet_a_head() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
        for cut in 0..text.len() {
            assert!(parse(&text[..cut], &Method::GET).unwrap().is_none(), "{cut}");
        }
        assert_eq!(parse(text, &Method::GET).unwrap().unwrap().status(), StatusCode::OK);
    }

    #[test]
    fn every_framing_is_recognized() {
        assert_eq!(framing("content-length: 5\r\n"), Ok(ReceiveFraming::Length(5)));
        assert_eq!(framing("content-length: 5\r\ncontent-length: 5\r\n"), Ok(ReceiveFraming::Length(5)));
        assert_eq!(framing("content-length: 0\r\n"), Ok(ReceiveFraming::None));
        assert_eq!(framing("transfer-encoding: Chunked\r\n"), Ok(ReceiveFraming::Chunked));
        assert_eq!(framing(""), Ok(ReceiveFraming::Close));
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for fields in [
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: +5\r\n",
            "content-length: 5, 5\r\n",
            "content-length: 99999999999999999999\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        ] {
            assert!(framing(fields).is_err(), "{fields}");
        }
    }

    #[test]
    fn answers_without_a_body_have_none_whatever_they_say() {
        let head = parse("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", &Method::HEAD).unwrap().unwrap();
        assert_eq!(head.framing, ReceiveFraming::None);
        let head =
            parse("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", &Method::GET).unwrap().unwrap();
        assert_eq!(head.framing, ReceiveFraming::None);
    }

    #[test]
    fn an_answer_whose_body_nobody_counts_is_known_as_such() {
        let counted = |status: &str, method: Method| {
            let text = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            parse(&text, &method).unwrap().unwrap().counted
        };
        assert!(counted("200 OK", Method::GET));
        assert!(counted("404 Not Found", Method::POST));
        assert!(!counted("200 OK", Method::HEAD));
        for status in ["101 Switching Protocols", "204 No Content", "205 Reset Content", "304 Not Modified"] {
            assert!(!counted(status, Method::GET), "{status}");
        }
        let promised = "HTTP/1.1 304 Not Modified\r\nrip-no-body: 1\r\n\r\n";
        let head = parse(promised, &Method::GET).unwrap().unwrap();
        assert!(head.counted && head.clean && head.headers().is_empty());
        for (promise, method) in
            [("304 Not Modified", Method::HEAD), ("101 Switching Protocols", Method::GET)]
        {
            let text = format!("HTTP/1.1 {promise}\r\nrip-no-body: 1\r\n\r\n");
            assert!(!parse(&text, &method).unwrap().unwrap().counted, "{promise} to {method}");
        }
    }

    #[test]
    fn a_head_may_have_so_many_bytes_and_no_more_however_it_comes() {
        let head_of = |length: usize| {
            let begin = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-long: ";
            format!("{begin}{}\r\n\r\n", "x".repeat(length - begin.len() - 4))
        };
        let largest = head_of(MAX_HEAD);
        assert!(parse(&largest, &Method::GET).unwrap().is_some());
        assert!(parse(&(largest.clone() + "and a body"), &Method::GET).unwrap().is_some());
        assert!(parse(&largest[..MAX_HEAD - 1], &Method::GET).unwrap().is_none());
        let larger = head_of(MAX_HEAD + 1);
        assert!(parse(&larger, &Method::GET).is_err());
        assert!(parse(&larger[..MAX_HEAD], &Method::GET).is_err());
        assert!(parse(&larger[..MAX_HEAD - 1], &Method::GET).unwrap().is_none());
    }

    #[test]
    fn bytes_that_are_no_answer_are_told_from_one_that_is_malformed() {
        let wrong = |text: &str| parse(text, &Method::GET).err();
        for text in ["{", "<html>", "hello\r\n", "H\r\n", "HTTP/2 200\r\n", "\r\n\r\nbody"] {
            assert_eq!(wrong(text), Some(NO_ANSWER), "{text}");
        }
        for text in ["HTTP/1.1 2000 OK\r\n", "HTTP/1.1 200 OK\r\nno field\r\n\r\n"] {
            assert_eq!(wrong(text), Some("its head cannot be parsed"), "{text}");
        }
        assert_eq!(wrong("HTTP/1"), None, "there is more to come");
    }

    #[test]
    fn what_is_said_to_the_server_alone_is_no_field_of_the_answer() {
        let fields = |text: &str| {
            let head = parse(&format!("HTTP/1.1 200 OK\r\n{text}\r\n"), &Method::GET).unwrap().unwrap();
            let names: Vec<_> = head.headers().keys().map(|name| name.as_str().to_owned()).collect();
            (names.join(" "), head.clean, head.keepalive)
        };
        let node = "Content-Length: 2\r\nDate: now\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n";
        assert_eq!(fields(node), ("content-length".into(), true, true));
        let last = "Content-Length: 2\r\nConnection: Close\r\n";
        assert_eq!(fields(last), ("content-length".into(), true, false));
        for (field, name) in [
            ("Connection: x-hop", "connection"),
            ("Connection: keep-alive, X-Hop", "connection"),
            ("Rip-Reloads: 1", "rip-reloads"),
            ("Trailer: x", "trailer"),
            ("Upgrade: x", "upgrade"),
            ("Proxy-Connection: close", "proxy-connection"),
        ] {
            let (names, clean, keepalive) = fields(&format!("Content-Length: 2\r\n{field}\r\n"));
            assert_eq!((names, clean, keepalive), (format!("content-length {name}"), false, true), "{field}");
        }
    }

    #[test]
    fn a_request_is_framed_anew() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("accept", "*/*"), ("content-length", "99"), ("cookie", "a=1"), ("x-forwarded-for", "6.6.6.6")]
        {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers.append(header::COOKIE, HeaderValue::from_static("b=2"));
        let origin = Origin {
            forwarded_for: "10.0.0.1",
            proto: "https",
            host: "a.example",
            port: 443,
            prefix: "",
            id: &RequestId::parse(b"request-1").unwrap(),
            start_ms: 5,
            client: IpAddr::from([10, 0, 0, 1]),
            trusted: false,
            client_cert: &[],
            identity: &[],
        };
        let uri = Uri::from_static("/a?b=c");
        let head = RequestHead {
            method: &Method::POST,
            uri: &uri,
            version: Version::HTTP_11,
            headers: &headers,
            authority: "a.example",
            upgrade: None,
        };
        let mut out = Vec::new();
        write_request(&mut out, head, &origin, SendFraming::Length(3), true);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "POST /a?b=c HTTP/1.1\r\nhost: a.example\r\naccept: */*\r\ncookie: a=1; b=2\r\nx-forwarded-for: 10.0.0.1\r\n\
             x-forwarded-proto: https\r\nx-forwarded-host: a.example\r\nx-forwarded-port: 443\r\nx-request-id: request-1\r\n\
             x-request-start: t=5\r\ncontent-length: 3\r\n\r\n"
        );
    }
}
