//! Finds where a worker's answer ends: length, chunks (RFC 9112 §7.1) or the connection's end.
//!
//! Pure: bytes in, bytes out. Never here: reading a socket.

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::body_framing::ReceiveFraming;

/// Takes an answer's body off the bytes read from a worker.
#[derive(Debug)]
pub(in crate::acceptor) struct BodyDecoder {
    state: DecoderState,
}

/// The next thing in a body.
#[derive(Debug, PartialEq)]
pub(in crate::acceptor) enum Piece {
    Data(Bytes),
    /// More must be read first.
    Need,
    /// The body is complete; with the trailer fields, if any.
    End(Option<HeaderMap>),
}

#[derive(Debug)]
enum DecoderState {
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Close,
    Checked(u64),
    Done,
}

impl BodyDecoder {
    pub(in crate::acceptor) fn new(framing: ReceiveFraming) -> Self {
        let state = match framing {
            ReceiveFraming::None => DecoderState::Done,
            ReceiveFraming::Length(length) => DecoderState::Length(length),
            ReceiveFraming::Chunked => DecoderState::ChunkSize,
            ReceiveFraming::Close => DecoderState::Close,
            ReceiveFraming::Checked(length) => DecoderState::Checked(length),
        };
        Self { state }
    }

    /// The bytes still to come, where the worker has said how many.
    pub(in crate::acceptor) fn length(&self) -> Option<u64> {
        match self.state {
            DecoderState::Checked(left) => Some(left),
            _ => self.remaining(),
        }
    }

    /// The bytes still to come, where only their number tells the end.
    pub(in crate::acceptor) fn remaining(&self) -> Option<u64> {
        match self.state {
            DecoderState::Length(left) => Some(left),
            DecoderState::Done => Some(0),
            _ => None,
        }
    }

    /// The next piece of the body in `buf`.
    ///
    /// # Errors
    /// The fault of the chunks.
    pub(in crate::acceptor) fn next(&mut self, buf: &mut Bytes) -> Result<Piece, &'static str> {
        loop {
            match &mut self.state {
                DecoderState::Done => return Ok(Piece::End(None)),
                DecoderState::Close if buf.is_empty() => return Ok(Piece::Need),
                DecoderState::Close => return Ok(Piece::Data(std::mem::take(buf))),
                DecoderState::Checked(_) if buf.is_empty() => return Ok(Piece::Need),
                DecoderState::Checked(left) => {
                    *left = left
                        .checked_sub(buf.len() as u64)
                        .ok_or("its body is longer than its Content-Length")?;
                    return Ok(Piece::Data(std::mem::take(buf)));
                }
                DecoderState::Length(left) | DecoderState::Chunk(left) => {
                    if buf.is_empty() {
                        return Ok(Piece::Need);
                    }
                    let taken = (*left).min(buf.len() as u64);
                    let data = buf.split_to(taken as usize);
                    *left -= taken;
                    if *left == 0 {
                        self.state = match self.state {
                            DecoderState::Chunk(_) => DecoderState::ChunkEnd,
                            _ => DecoderState::Done,
                        };
                    }
                    return Ok(Piece::Data(data));
                }
                DecoderState::ChunkSize => match take_line(buf, MAX_SIZE_LINE)? {
                    None => return Ok(Piece::Need),
                    Some(line) => {
                        let size = parse_size(&line)?;
                        self.state =
                            if size == 0 { DecoderState::Trailers } else { DecoderState::Chunk(size) };
                    }
                },
                DecoderState::ChunkEnd => match take_line(buf, 0)? {
                    None => return Ok(Piece::Need),
                    Some(_) => self.state = DecoderState::ChunkSize,
                },
                DecoderState::Trailers => {
                    let Some(trailers) = take_trailers(buf)? else { return Ok(Piece::Need) };
                    self.state = DecoderState::Done;
                    return Ok(Piece::End(trailers));
                }
            }
        }
    }

    /// Whether the body was complete when the worker closed the connection.
    pub(in crate::acceptor) fn ends_here(&self) -> bool {
        matches!(self.state, DecoderState::Close | DecoderState::Checked(0) | DecoderState::Done)
    }
}

/// A line without its CRLF; a bare LF or a longer line is an error.
fn take_line(buf: &mut Bytes, longest: usize) -> Result<Option<Bytes>, &'static str> {
    match memchr::memchr(b'\n', &buf[..buf.len().min(longest + 2)]) {
        Some(end) if end > 0 && buf[end - 1] == b'\r' => {
            let line = buf.split_to(end - 1);
            buf.advance(2);
            Ok(Some(line))
        }
        Some(_) => Err("a chunk's line ends in LF without CR"),
        None if buf.len() >= longest + 2 => Err("a chunk's line is too long"),
        None => Ok(None),
    }
}

/// Hexadecimal digits, then at most an extension.
fn parse_size(line: &[u8]) -> Result<u64, &'static str> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, rest) = line.split_at(digits);
    if digits == 0 || digits > 15 {
        return Err("a chunk's size is not a number");
    }
    if !rest.trim_ascii_start().is_empty() && rest.trim_ascii_start()[0] != b';' {
        return Err("a chunk's size is followed by something else");
    }
    let size = std::str::from_utf8(size).map_err(|_| "a chunk's size is not a number")?;
    u64::from_str_radix(size, 16).map_err(|_| "a chunk's size is not a number")
}

type Trailers = Option<HeaderMap>;

fn take_trailers(buf: &mut Bytes) -> Result<Option<Trailers>, &'static str> {
    if buf.starts_with(b"\r\n") {
        buf.advance(2);
        return Ok(Some(None));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    let (length, parsed) = match httparse::parse_headers(buf, &mut fields) {
        Ok(httparse::Status::Complete(complete)) if complete.0 <= MAX_TRAILER_BYTES => complete,
        // Trailers that are not complete are longer than what is there.
        Ok(httparse::Status::Partial) if buf.len() < MAX_TRAILER_BYTES => return Ok(None),
        Ok(_) => return Err("the trailer is larger than 16384 bytes"),
        Err(_) => return Err("the trailer cannot be parsed"),
    };
    let mut trailers = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name =
            HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "a trailer's name is malformed")?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| "a trailer's value is malformed")?;
        trailers.append(name, value);
    }
    buf.advance(length);
    Ok(Some(Some(trailers)))
}

const MAX_SIZE_LINE: usize = 256;
const MAX_TRAILERS: usize = 32;
/// The most bytes of trailers, with the empty line at their end.
const MAX_TRAILER_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(framing: ReceiveFraming, bytes: &[u8]) -> Result<(Vec<u8>, Option<Trailers>), &'static str> {
        let mut decoder = BodyDecoder::new(framing);
        let mut buf = Bytes::copy_from_slice(bytes);
        let mut body = Vec::new();
        loop {
            match decoder.next(&mut buf)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::Need => return Ok((body, None)),
                Piece::End(trailers) => return Ok((body, Some(trailers))),
            }
        }
    }

    #[test]
    fn a_body_of_known_length_leaves_what_follows_alone() {
        let mut decoder = BodyDecoder::new(ReceiveFraming::Length(3));
        let mut buf = Bytes::from_static(b"abcHTTP");
        assert_eq!(decoder.next(&mut buf), Ok(Piece::Data(Bytes::from_static(b"abc"))));
        assert_eq!(decoder.next(&mut buf), Ok(Piece::End(None)));
        assert_eq!(&buf[..], b"HTTP");
    }

    #[test]
    fn chunks_are_joined_and_trailers_read() {
        let bytes = b"3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n";
        let (body, trailers) = decode(ReceiveFraming::Chunked, bytes).unwrap();
        assert_eq!(body, b"abc0123456789");
        assert_eq!(trailers.unwrap().unwrap()["x-sum"], "1");
    }

    #[test]
    fn chunks_cut_anywhere_are_the_same_chunks() {
        let bytes = b"3\r\nabc\r\n4;e\r\ndefg\r\n0\r\nA: b\r\n\r\n";
        for cut in 0..bytes.len() {
            let mut decoder = BodyDecoder::new(ReceiveFraming::Chunked);
            let mut buf = Bytes::copy_from_slice(&bytes[..cut]);
            let mut body = Vec::new();
            let mut rest = Some(&bytes[cut..]);
            loop {
                match decoder.next(&mut buf).unwrap() {
                    Piece::Data(data) => body.extend_from_slice(&data),
                    Piece::Need => {
                        buf =
                            [&buf, rest.take().expect("the end is found in the second part")].concat().into()
                    }
                    Piece::End(trailers) => {
                        assert!(trailers.is_some());
                        break;
                    }
                }
            }
            assert_eq!(body, b"abcdefg", "cut at {cut}");
        }
    }

    #[test]
    fn malformed_chunks_are_errors() {
        for bytes in [
            "x\r\n",
            "\r\n",
            " 3\r\nabc\r\n",
            "+3\r\nabc\r\n",
            "0x3\r\nabc\r\n",
            "3\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3 3\r\nabc\r\n",
            "ffffffffffffffff\r\n",
            &"1".repeat(300),
        ] {
            assert!(decode(ReceiveFraming::Chunked, bytes.as_bytes()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn trailers_may_have_so_many_bytes_and_no_more_however_they_come() {
        let body_of = |length: usize| {
            let trailers = format!("x-long: {}\r\n\r\n", "x".repeat(length - 12));
            assert_eq!(trailers.len(), length);
            format!("0\r\n{trailers}")
        };
        let decoded = |body: &str| decode(ReceiveFraming::Chunked, body.as_bytes());
        assert!(decoded(&body_of(MAX_TRAILER_BYTES)).unwrap().1.is_some());
        let larger = body_of(MAX_TRAILER_BYTES + 1);
        assert!(decoded(&larger).is_err());
        assert!(decoded(&larger[..larger.len() - 1]).is_err());
        assert_eq!(decoded(&larger[..larger.len() - 2]).unwrap().1, None);
    }

    #[test]
    fn a_length_that_is_checked_is_told_and_is_no_end() {
        let mut decoder = BodyDecoder::new(ReceiveFraming::Checked(5));
        assert_eq!((decoder.length(), decoder.remaining()), (Some(5), None));
        let mut buf = Bytes::from_static(b"abcde");
        assert_eq!(decoder.next(&mut buf), Ok(Piece::Data(Bytes::from_static(b"abcde"))));
        assert_eq!(decoder.next(&mut buf), Ok(Piece::Need));
        assert!(decoder.next(&mut Bytes::from_static(b"f")).is_err());
    }

    #[test]
    fn only_an_answer_framed_by_the_connection_may_end_with_it() {
        assert!(BodyDecoder::new(ReceiveFraming::Close).ends_here());
        assert!(BodyDecoder::new(ReceiveFraming::Checked(0)).ends_here());
        assert!(!BodyDecoder::new(ReceiveFraming::Checked(1)).ends_here());
        assert!(!BodyDecoder::new(ReceiveFraming::Length(1)).ends_here());
        assert!(!BodyDecoder::new(ReceiveFraming::Chunked).ends_here());
    }
}
