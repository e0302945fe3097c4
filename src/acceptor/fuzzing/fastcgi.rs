//! Targets of what goes to and comes from FastCGI workers. Never in a program that serves.

#![allow(clippy::unwrap_used, reason = "a promise that is broken is to panic")]

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};

use crate::acceptor::upstream::fastcgi::parse_answer;
use crate::acceptor::wire::body_framing::{ReceiveFraming, parse_length};
use crate::fastcgi::records::{BadRecord, Records};

/// An answer is the same however its records were cut, and its head is whole and says one thing about the answer's end.
pub fn fastcgi_answer(data: &[u8]) {
    let (cut, bytes) = super::cut_of(data);
    let whole = unwrapped(bytes, bytes.len().max(1));
    assert_eq!(whole, unwrapped(bytes, cut), "cut every {cut}");
    let Ok(Unwrapped { output, errors, is_over }) = whole else { return };
    assert!(output.len() + errors.len() <= bytes.len());
    for method in [Method::GET, Method::HEAD] {
        let mut buf = Bytes::copy_from_slice(&output);
        let Ok(Some(head)) = parse_answer(&mut buf, &method, is_over) else { continue };
        assert!(!head.status().is_informational());
        assert!(!head.headers().contains_key("status"));
        let lengths = head.headers().get_all(CONTENT_LENGTH).iter().map(parse_length);
        match head.framing {
            ReceiveFraming::Length(length) => {
                assert!(is_over && length == buf.len() as u64);
                assert!(lengths.into_iter().all(|said| said == Ok(length)));
            }
            ReceiveFraming::Checked(length) => {
                assert!(!is_over && lengths.into_iter().all(|said| said == Ok(length)));
            }
            ReceiveFraming::Close => assert!(!is_over && !head.headers().contains_key(CONTENT_LENGTH)),
            ReceiveFraming::None => assert!(!is_over || buf.is_empty()),
            ReceiveFraming::Chunked => panic!("FastCGI has no chunks"),
        }
        let length = output.len() - buf.len();
        if !matches!(head.framing, ReceiveFraming::None) {
            let early = Bytes::copy_from_slice(&output[..cut.min(length - 1)]);
            let parsed = parse_answer(&mut early.clone(), &method, false);
            assert!(matches!(parsed, Ok(None)), "taken after {} of {length} bytes", early.len());
        }
    }
}

#[derive(Debug, PartialEq)]
struct Unwrapped {
    output: Vec<u8>,
    errors: Vec<u8>,
    is_over: bool,
}

fn unwrapped(bytes: &[u8], cut: usize) -> Result<Unwrapped, BadRecord> {
    let mut records = Records::default();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(cut) {
        let from = output.len();
        output.extend_from_slice(piece);
        records.unwrap(&mut output, from, |said| errors.extend_from_slice(said))?;
    }
    Ok(Unwrapped { output, errors, is_over: records.is_over() })
}

/// The variables of a request that was written for a FastCGI worker: each is there once, and none has a value that only
/// the server or a trusted proxy may set.
pub(super) fn assert_variables(written: &[u8], headers: &HeaderMap, trusted: bool) {
    let mut content = Vec::new();
    let mut rest = written;
    while let [1, kind, 0, 1, high, low, padding, 0, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind == 4 {
            content.extend_from_slice(&after[..length]);
        }
        rest = &after[length + usize::from(*padding)..];
    }
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
    let mut variables = BTreeMap::new();
    let mut rest = &content[..];
    while !rest.is_empty() {
        let (name, value) = (take_length(&mut rest), take_length(&mut rest));
        let (pair, after) = rest.split_at(name + value);
        let name = String::from_utf8(pair[..name].to_vec()).unwrap();
        assert!(variables.insert(name.clone(), &pair[name.len()..]).is_none(), "{name} is there twice");
        rest = after;
    }
    assert_eq!(variables["REMOTE_ADDR"], b"192.0.2.7");
    assert_eq!(variables["HTTP_X_FORWARDED_FOR"], b"192.0.2.7");
    for name in ["HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "HTTP_CONNECTION"] {
        assert!(!variables.contains_key(name), "{name}");
    }
    assert!(trusted || !variables.contains_key("HTTP_X_REAL_IP"));
    for name in headers.keys().filter(|name| name.as_str().contains('_')) {
        let of_name = format!("HTTP_{}", name.as_str().replace('-', "_").to_uppercase());
        let dashed = name.as_str().replace('_', "-");
        assert!(
            !variables.contains_key(&of_name) || headers.contains_key(&dashed) || OWN.contains(&&*of_name)
        );
    }
}

/// The names that the server writes itself, whatever a client calls its own fields.
const OWN: [&str; 7] = [
    "HTTP_HOST",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_REQUEST_ID",
    "HTTP_X_REQUEST_START",
];

fn take_length(rest: &mut &[u8]) -> usize {
    let (length, after) = match **rest {
        [short @ 0..0x80, ..] => (short.into(), &rest[1..]),
        [a, b, c, d, ..] => (u32::from_be_bytes([a & 0x7f, b, c, d]) as usize, &rest[4..]),
        _ => panic!("a length is cut"),
    };
    *rest = after;
    length
}
