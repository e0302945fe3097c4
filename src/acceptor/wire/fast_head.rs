//! The head of a plain request: a GET without a body or a wish for anything but its answer, whole and well formed.
//!
//! All other requests are left alone: hyper reads the same bytes then, and refuses what is to be refused. So there is
//! no second opinion about where a request ends: a plain one ends with its head. Never here: reading from a connection.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes};
use http::Uri;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts;

/// The size of heads that are taken; larger ones are refused elsewhere.
#[derive(Clone, Copy, Debug)]
pub(in crate::acceptor) struct HeadLimits {
    pub(in crate::acceptor) bytes: usize,
    pub(in crate::acceptor) fields: usize,
}

/// Takes a plain request's head off the front of `bytes` and puts it into `parts`; false, with nothing taken, when the
/// bytes are another request or not yet a whole head.
pub(in crate::acceptor) fn take_plain(bytes: &mut Bytes, limits: HeadLimits, parts: &mut Parts) -> bool {
    parse(bytes, limits, parts).map(|length| bytes.advance(length)).is_some()
}

/// Parses a head and returns its length.
fn parse(bytes: &Bytes, limits: HeadLimits, parts: &mut Parts) -> Option<usize> {
    if !bytes.starts_with(b"GET /") {
        return None;
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let parsed = parser.parse_request_with_uninit_headers(&mut head, bytes, &mut fields).ok()?;
    let httparse::Status::Complete(length) = parsed else { return None };
    if head.version != Some(1)
        || length > limits.bytes
        || head.headers.len() > limits.fields
        || has_bare_line_feed(&bytes[..length])
    {
        return None;
    }
    let target = head.path?.as_bytes();
    // The parser of URIs would drop the part behind a `#`.
    if memchr::memchr(b'#', target).is_some() {
        return None;
    }
    parts.uri = Uri::from_maybe_shared(bytes.slice_ref(target)).ok()?;
    take_fields(bytes, head.headers, &mut parts.headers)?;
    Some(length)
}

/// Takes the fields; `None` when one of them makes the request more than a plain one.
fn take_fields(bytes: &Bytes, fields: &[httparse::Header<'_>], headers: &mut HeaderMap) -> Option<()> {
    headers.clear();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        match name {
            CONTENT_LENGTH | TRANSFER_ENCODING | EXPECT | UPGRADE | TE | TRAILER => return None,
            CONNECTION if !field.value.eq_ignore_ascii_case(b"keep-alive") => return None,
            _ => {}
        }
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value)).ok()?;
        headers.append(name, value);
    }
    Some(())
}

fn has_bare_line_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

/// The most fields of a plain request.
const MAX_FIELDS: usize = 64;

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const LARGE: HeadLimits = HeadLimits { bytes: 1 << 16, fields: 100 };

    fn blank() -> Parts {
        Request::new(()).into_parts().0
    }

    /// The bytes behind the head, and the head; `|` stands for CR LF.
    fn taken(text: &str) -> Option<(String, Parts)> {
        let (mut bytes, mut parts) = (Bytes::from(text.replace('|', "\r\n")), blank());
        let before = bytes.clone();
        if take_plain(&mut bytes, LARGE, &mut parts) {
            return Some((String::from_utf8(bytes.to_vec()).unwrap(), parts));
        }
        assert_eq!(bytes, before, "nothing is taken");
        None
    }

    #[test]
    fn what_browsers_and_tools_ask_is_plain() {
        for text in [
            "GET / HTTP/1.1|Host: a||",
            "GET /a?b=c HTTP/1.1|Host: localhost:5000|User-Agent: curl/7.88.1|Accept: */*||",
            "GET /a HTTP/1.1|Host: a|Connection: keep-alive|Accept-Encoding: gzip, br|Cookie: a=b; c=d||",
            "GET /a HTTP/1.1|Host: a|Connection: Keep-Alive|If-None-Match: \"1\"|Range: bytes=0-5||",
        ] {
            assert!(taken(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_head_is_taken_and_what_follows_is_left() {
        let (rest, parts) = taken("GET /a?b HTTP/1.1|Host: a|X: y|x: z||POST / HTTP/1.1|").unwrap();
        assert_eq!(rest, "POST / HTTP/1.1\r\n");
        assert_eq!(parts.uri, "/a?b");
        assert_eq!(parts.headers["host"], "a");
        assert_eq!(parts.headers.get_all("x").iter().collect::<Vec<_>>(), ["y", "z"]);
    }

    #[test]
    fn all_else_is_left_to_the_other_parser() {
        for text in [
            "",
            "GET / HTTP/1.1|Host: a|",
            "|GET / HTTP/1.1|Host: a||",
            "HEAD / HTTP/1.1|Host: a||",
            "GET / HTTP/1.0|Host: a||",
            "GET http://a/ HTTP/1.1|Host: a||",
            "GET /a#b HTTP/1.1|Host: a||",
            "GET  / HTTP/1.1|Host: a||",
            "GET / HTTP/1.1|Host: a\n|",
            "GET / HTTP/1.1\nHost: a||",
            "GET / HTTP/1.1|Host: a|\n",
            "GET / HTTP/1.1|Host: a| folded||",
            "GET / HTTP/1.1|Host : a||",
            "GET / HTTP/1.1|Host: a|Content-Length: 0||",
            "GET / HTTP/1.1|Host: a|content-length: 5||hello",
            "GET / HTTP/1.1|Host: a|Transfer-Encoding: chunked||0||",
            "GET / HTTP/1.1|Host: a|Connection: close||",
            "GET / HTTP/1.1|Host: a|Connection: keep-alive, x-hop||",
            "GET / HTTP/1.1|Host: a|Connection: upgrade|Upgrade: websocket||",
            "GET / HTTP/1.1|Host: a|Upgrade: h2c||",
            "GET / HTTP/1.1|Host: a|Expect: 100-continue||",
            "GET / HTTP/1.1|Host: a|TE: trailers||",
            "GET / HTTP/1.1|Host: a|Trailer: x||",
        ] {
            assert!(taken(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn limits_are_the_other_parser_s_to_say() {
        let text = Bytes::from("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n");
        let plain = |limits: HeadLimits| take_plain(&mut text.clone(), limits, &mut blank());
        assert!(plain(HeadLimits { fields: 2, bytes: text.len() }));
        assert!(!plain(HeadLimits { fields: 1, ..LARGE }));
        assert!(!plain(HeadLimits { bytes: text.len() - 1, ..LARGE }));
        let many = format!("GET / HTTP/1.1|Host: a|{}|", "X: y|".repeat(MAX_FIELDS));
        assert!(taken(&many).is_none());
    }

    #[test]
    fn a_request_has_nothing_of_the_one_before_it() {
        let mut parts = blank();
        for (text, fields) in
            [("GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n", 2), ("GET /e HTTP/1.1\r\nF: g\r\n\r\n", 1)]
        {
            assert!(take_plain(&mut Bytes::from(text), LARGE, &mut parts));
            assert_eq!(parts.headers.len(), fields);
        }
        assert_eq!((parts.uri.path(), parts.headers.get("a")), ("/e", None));
    }
}
