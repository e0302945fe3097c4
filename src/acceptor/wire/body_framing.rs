//! How the end of a body is marked (RFC 9112 §6).
//!
//! Never here: writing or reading a body.

use http::HeaderValue;

/// How a body is sent, of a request or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum SendFraming {
    None,
    Length(u64),
    Chunked,
}

/// How a worker's answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum ReceiveFraming {
    None,
    Length(u64),
    Chunked,
    /// The body ends with the connection.
    Close,
    /// The body ends with the connection, which has to bring so many bytes.
    Checked(u64),
}

/// Reads a length of digits only: `+2`, `2,2` and the like are read differently by different programs.
pub(in crate::acceptor) fn parse_length(value: &HeaderValue) -> Result<u64, &'static str> {
    let bytes = value.as_bytes();
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return Err("its Content-Length is not a number");
    }
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or("its Content-Length is too large")
}
