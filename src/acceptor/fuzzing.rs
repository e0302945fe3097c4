//! The parsers of the data path, each as a function of bytes that panics when one of its promises is broken.
//!
//! Every test run calls the functions here with seeded inputs, and the targets of `tests/fuzz` call them for as long as
//! one likes. Never in a program that serves.

mod credentials;
mod fastcgi;
mod fields;
mod proxy;

pub use credentials::credentials;
pub use fastcgi::fastcgi_answer;
pub use fields::{access_line, client_address, trailers, worker_request};
pub use proxy::proxy_header;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request};

use super::request::route;
use super::upstream::worker_head::parse_answer;
use super::wire::body_framing::{self, ReceiveFraming};
use super::wire::fast_head;
use super::wire::framing::{Framing, FramingError};
use super::wire::worker_body::{BodyDecoder, Piece};
use crate::name::HostName;

/// The verdict on a connection's heads does not depend on how its bytes were cut, and each head with two framings that
/// the parser behind accepts is refused.
pub fn request_framing(data: &[u8]) {
    let (cut, bytes) = cut_of(data);
    let mut whole = Framing::default();
    whole.feed(bytes);
    let mut pieces = Framing::default();
    for piece in bytes.chunks(cut) {
        pieces.feed(piece);
    }
    for number in 0..4 {
        assert_eq!(whole.flaw(number), pieces.flaw(number), "request {number}, cut every {cut}");
    }
    assert_eq!(whole.inside_head(), pieces.inside_head());

    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut fields);
    if let Ok(httparse::Status::Complete(length)) = head.parse(bytes) {
        let count = |name: &str| head.headers.iter().filter(|f| f.name.eq_ignore_ascii_case(name)).count();
        let (lengths, encodings) = (count("content-length"), count("transfer-encoding"));
        if encodings > 1 || (encodings == 1 && lengths > 0) {
            assert!(whole.flaw(0).is_some(), "{lengths} lengths and {encodings} encodings are let through");
        }
        if encodings == 1 && whole.flaw(0).is_none() {
            behind_chunks(&bytes[length..], &whole);
        }
    }
}

/// The bytes behind a chunked body are watched as if nothing had stood before them, or are refused.
fn behind_chunks(body: &[u8], whole: &Framing) {
    let Ok(Decoded { left: Some(left), .. }) = decoded(ReceiveFraming::Chunked, body, body.len().max(1))
    else {
        return;
    };
    let (body, rest) = body.split_at(body.len() - left);
    if memchr::memchr_iter(b'\n', body).any(|at| at == 0 || body[at - 1] != b'\r') {
        // A bare LF in a trailer ends a line for one of the two parsers only; the connection ends then, too.
        return;
    }
    let mut alone = Framing::default();
    alone.feed(rest);
    for number in 0..3 {
        let behind = whole.flaw(number + 1);
        let refused = whole.flaw(1) == Some(FramingError::Unwatched);
        assert!(
            refused || behind == alone.flaw(number),
            "request {number} behind a chunked body: {behind:?}"
        );
    }
}

/// A head that the fast path takes for a plain request is one to both parsers of other requests, too: the request ends
/// where they say, without a body.
pub fn plain_request(data: &[u8]) {
    let (cut, bytes) = cut_of(data);
    let limits = fast_head::HeadLimits { bytes: 1 << 16, fields: 100 };
    let taken = |bytes: &[u8]| {
        let (mut left, (mut parts, ())) = (Bytes::copy_from_slice(bytes), Request::new(()).into_parts());
        let plain = fast_head::take_plain(&mut left, limits, &mut parts);
        plain.then(|| (bytes.len() - left.len(), parts))
    };
    let Some((length, parts)) = taken(bytes) else { return };
    assert!(taken(&bytes[..cut.min(length - 1)]).is_none(), "taken after {cut} of {length} bytes");

    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut fields);
    assert_eq!(head.parse(bytes), Ok(httparse::Status::Complete(length)));
    assert_eq!((head.method, head.version), (Some("GET"), Some(1)));
    assert_eq!(parts.headers.len(), head.headers.len());
    for field in head.headers.iter() {
        let mut values = parts.headers.get_all(field.name).iter();
        assert!(values.any(|value| value.as_bytes() == field.value), "{} is lost", field.name);
    }

    let mut watched = Framing::default();
    watched.feed(&bytes[..length - 1]);
    assert!(watched.inside_head());
    watched.feed(&bytes[length - 1..length]);
    assert_eq!(watched.flaw(0), None);
    assert!(watched.between_messages(), "it has a body");
}

/// A worker's head is taken only when it is whole, and never says two things about the answer's end.
pub fn answer_head(data: &[u8]) {
    let (cut, bytes) = cut_of(data);
    for method in [Method::GET, Method::HEAD] {
        let mut buf = Bytes::copy_from_slice(bytes);
        let Ok(Some(head)) = parse_answer(&mut buf, &method) else { continue };
        let length = bytes.len() - buf.len();
        assert_eq!(&buf[..], &bytes[length..], "what follows the head is left alone");
        let early = cut.min(length - 1);
        let parsed = parse_answer(&mut Bytes::copy_from_slice(&bytes[..early]), &method);
        let parsed = parsed.map(|head| head.map(|head| head.framing));
        assert_eq!(parsed, Ok(None), "taken after {early} of {length} bytes");
        assert_framing(head.headers(), head.framing);
        if head.framing == ReceiveFraming::Close {
            assert!(!head.keepalive);
        }
    }
}

fn assert_framing(headers: &HeaderMap, framing: ReceiveFraming) {
    let encoded = headers.contains_key(TRANSFER_ENCODING);
    match framing {
        ReceiveFraming::Length(length) => {
            assert!(!encoded);
            let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
            assert!(lengths.all(|field| body_framing::parse_length(field) == Ok(length)));
        }
        ReceiveFraming::Chunked => assert!(encoded && !headers.contains_key(CONTENT_LENGTH)),
        ReceiveFraming::Close => assert!(!encoded && !headers.contains_key(CONTENT_LENGTH)),
        ReceiveFraming::None => {}
        ReceiveFraming::Checked(_) => panic!("HTTP/1 tells the end"),
    }
}

/// A body is the same however its bytes were cut, and takes nothing of what follows it.
pub fn answer_body(data: &[u8]) {
    let (cut, bytes) = cut_of(data);
    // A length of 0 means no body, which the head says.
    let length = (bytes.len() as u64 / 2).max(1);
    for framing in [ReceiveFraming::Chunked, ReceiveFraming::Length(length), ReceiveFraming::Close] {
        let whole = decoded(framing, bytes, bytes.len().max(1));
        let pieces = decoded(framing, bytes, cut);
        assert_eq!(whole, pieces, "{framing:?} cut every {cut}");
        if let (ReceiveFraming::Length(_), Ok(body)) = (framing, &whole) {
            assert_eq!(body.data, bytes[..bytes.len().min(length as usize)]);
        }
    }
}

#[derive(Debug, PartialEq)]
struct Decoded {
    data: Vec<u8>,
    /// The trailers, when the body has ended.
    end: Option<Option<HeaderMap>>,
    /// How many bytes were left over; only known at the end.
    left: Option<usize>,
}

fn decoded(framing: ReceiveFraming, bytes: &[u8], cut: usize) -> Result<Decoded, &'static str> {
    let mut decoder = BodyDecoder::new(framing);
    let mut buf = Bytes::new();
    let mut body = Decoded { data: Vec::new(), end: None, left: None };
    let mut pieces = bytes.chunks(cut);
    loop {
        match decoder.next(&mut buf)? {
            Piece::Data(data) => {
                assert!(!data.is_empty(), "a piece of nothing would be the end of a chunked body");
                body.data.extend_from_slice(&data);
            }
            Piece::Need => match pieces.next() {
                Some(piece) => buf = [&buf, piece].concat().into(),
                None => return Ok(body),
            },
            Piece::End(trailers) => {
                body.end = Some(trailers);
                body.left = Some(buf.len() + pieces.map(<[u8]>::len).sum::<usize>());
                return Ok(body);
            }
        }
    }
}

/// A host that a request names has the same name as in settings, and is its own canonical form.
pub fn authority(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(name) = route::canonical(text) {
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{name}");
        assert_eq!(route::canonical(&name).as_deref(), Some(&*name));
        if let Ok(host) = HostName::parse(&name) {
            assert_eq!(host.as_str(), name);
        }
    }
    if let Ok(host) = HostName::parse(text) {
        assert_eq!(HostName::parse(host.as_str()).as_ref(), Ok(&host), "{text:?}");
        if !host.is_wildcard() {
            let found = route::canonical(host.as_str());
            assert_eq!(found.as_deref(), Some(host.as_str()), "a registered host must be found");
        }
    }
}

/// The first byte says how to cut the others: `A` into single bytes, `B` every two, and so on.
fn cut_of(data: &[u8]) -> (usize, &[u8]) {
    match data.split_first() {
        Some((cut, bytes)) => (usize::from(*cut % 64).max(1), bytes),
        None => (1, data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed_kept;

    const ROUNDS: usize = 20_000;

    #[test]
    fn request_framing_keeps_its_promises() {
        feed_kept("request_framing", ROUNDS, request_framing);
    }

    #[test]
    fn plain_requests_keep_their_promises() {
        feed_kept("plain_request", ROUNDS, plain_request);
    }

    #[test]
    fn answer_heads_keep_their_promises() {
        feed_kept("answer_head", ROUNDS, answer_head);
    }

    #[test]
    fn answer_bodies_keep_their_promises() {
        feed_kept("answer_body", ROUNDS, answer_body);
    }

    #[test]
    fn answers_of_fastcgi_workers_keep_their_promises() {
        feed_kept("fastcgi_answer", ROUNDS, fastcgi_answer);
    }

    #[test]
    fn authorities_keep_their_promises() {
        feed_kept("authority", ROUNDS, authority);
    }

    #[test]
    fn requests_for_workers_keep_their_promises() {
        feed_kept("worker_request", ROUNDS, worker_request);
    }

    #[test]
    fn trailers_keep_their_promises() {
        feed_kept("trailers", ROUNDS, trailers);
    }

    #[test]
    fn client_addresses_keep_their_promises() {
        feed_kept("client_address", ROUNDS, client_address);
    }

    #[test]
    fn proxy_headers_keep_their_promises() {
        feed_kept("proxy_header", ROUNDS, proxy_header);
    }

    #[test]
    fn credentials_keep_their_promises() {
        feed_kept("credentials", ROUNDS, credentials);
    }

    #[test]
    fn access_lines_keep_their_promises() {
        feed_kept("access_line", ROUNDS, access_line);
    }
}
