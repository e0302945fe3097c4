//! Owns the parts that every writer of HTTP/1 writes in the same way: fields, and the chunks of a body (RFC 9112 §5,
//! §7.1).
//!
//! Never here: which fields and bodies are sent, or a socket.

use std::io::Write as _;

pub(in crate::acceptor) fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes the line before a chunk's data; [`CHUNK_END`] follows the data. An empty chunk would end the body.
pub(in crate::acceptor) fn write_chunk_size(out: &mut Vec<u8>, size: usize) {
    debug_assert!(size > 0);
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{size:x}\r\n");
}

pub(in crate::acceptor) const CHUNK_END: &[u8] = b"\r\n";
/// The last chunk; trailers and an empty line follow.
pub(in crate::acceptor) const LAST_CHUNK: &[u8] = b"0\r\n";
