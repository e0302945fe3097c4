//! The parsers of the data path, each as a function of bytes that panics when one of its promises is broken.
//!
//! Run with seeded inputs by every test run, and for as long as one likes by the targets of `tests/fuzz`. Never in a
//! program that serves.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request};

use super::fast_head;
use super::framing::{Flaw, Framing};
use super::route;
use super::worker_body::{BodyDecoder, Piece};
use super::worker_head::{self, ReceiveFraming, parse_answer};
use crate::name::HostName;

/// What is said about a connection's heads does not depend on how its bytes were cut, and whatever the parser behind
/// takes for a head with two framings is seen here too.
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

/// What stands behind a chunked body is watched as if nothing had stood before it, or is refused.
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
        let refused = whole.flaw(1) == Some(Flaw::Unwatched);
        assert!(
            refused || behind == alone.flaw(number),
            "request {number} behind a chunked body: {behind:?}"
        );
    }
}

/// What is taken for a plain request is one to both who look at all the others: it ends where they say, without a body.
pub fn plain_request(data: &[u8]) {
    let (cut, bytes) = cut_of(data);
    let most = fast_head::Most { bytes: 1 << 16, fields: 100 };
    let taken = |bytes: &[u8]| {
        let (mut left, (mut parts, ())) = (Bytes::copy_from_slice(bytes), Request::new(()).into_parts());
        let plain = fast_head::take_plain(&mut left, most, &mut parts);
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

/// A worker's head is taken when it is whole and not before, and never says two things about its end.
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
            assert!(lengths.all(|field| worker_head::parse_length(field) == Ok(length)));
        }
        ReceiveFraming::Chunked => assert!(encoded && !headers.contains_key(CONTENT_LENGTH)),
        ReceiveFraming::Close => assert!(!encoded && !headers.contains_key(CONTENT_LENGTH)),
        ReceiveFraming::None => {}
    }
}

/// A body is the same however its bytes were cut, and nothing of what follows it is taken.
pub fn answer_body(data: &[u8]) {
    let (cut, bytes) = cut_of(data);
    // A length of 0 is no body: the head says so.
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
    /// The trailers, once it has ended.
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

/// A host that a request names is found under the same name that a person would have written down, and is its own
/// canonical form.
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

/// The first byte says how to cut the others.
fn cut_of(data: &[u8]) -> (usize, &[u8]) {
    match data.split_first() {
        Some((cut, bytes)) => (usize::from(*cut).max(1), bytes),
        None => (1, data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed;

    const ROUNDS: usize = 20_000;

    #[test]
    fn request_framing_keeps_its_promises() {
        let examples: &[&[u8]] = &[
            b"\x07GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x03POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab\ncdGET / HTTP/1.1\r\nHost: b\r\n\r\n",
            b"\x01POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            b"\x10\r\n\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"\x05POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a\r\nabc\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\nA: b\r\n\r\n",
            b"\x09POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            b"\x20GET / HTTP/1.1\nHost: a\n\n",
        ];
        feed(examples, ROUNDS, request_framing);
    }

    #[test]
    fn plain_requests_keep_their_promises() {
        let examples: &[&[u8]] = &[
            b"\x07GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x30GET /a?b=c#d HTTP/1.1\r\nHost: a:1\r\nConnection: keep-alive\r\nX: \xe9\r\n\r\nGET / HTTP/1.1\r\n",
            b"\x10GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            b"\x01GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            b"\xffGET / HTTP/1.1\r\nContent-Lengt: 5\r\nTransfer-Encodin: chunked\r\nUpgrad: x\r\n\r\n",
        ];
        feed(examples, ROUNDS, plain_request);
    }

    #[test]
    fn answer_heads_keep_their_promises() {
        let examples: &[&[u8]] = &[
            b"\x09HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"\x0aHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, close\r\n\r\n",
            b"\x10HTTP/1.0 404 Not Found\r\nContent-Type: text/plain\r\n\r\ngone",
            b"\x30HTTP/1.1 204 \r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            b"\xffHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        ];
        feed(examples, ROUNDS, answer_head);
    }

    #[test]
    fn answer_bodies_keep_their_promises() {
        let examples: &[&[u8]] = &[
            b"\x013\r\nabc\r\n4;e=\"x\"\r\ndefg\r\n0\r\n\r\nHTTP/1.1 200 OK",
            b"\x03A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n",
            b"\x05fffffffffffffff\r\nabc",
            b"\x400\r\n\r\n",
        ];
        feed(examples, ROUNDS, answer_body);
    }

    #[test]
    fn authorities_keep_their_promises() {
        let examples: &[&[u8]] = &[
            b"example.com",
            b"Example.COM:8443",
            b"[::1]:443",
            b"[2001:DB8::0:1]",
            b"127.0.0.1:5000",
            "b\u{fc}cher.example".as_bytes(),
            b"xn--bcher-kva.example.",
            b"*.blog.example",
            b"a-b.c_d.local",
        ];
        feed(examples, ROUNDS, authority);
    }
}
