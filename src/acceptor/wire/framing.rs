//! A second look at the raw head of every HTTP/1 request that hyper parses, for the points on which hyper is lenient.
//!
//! hyper lets `Transfer-Encoding` win over `Content-Length` and drops the latter before anybody can see it, and takes a
//! bare LF for a line end. Both are refused here (RFC 9112 §2.2, §6.1), because a proxy in front of the server might
//! read the same bytes the other way. Never here: understanding a request beyond where it ends.

use super::chunks::{Chunks, Followed};

/// Watches the bytes of one connection go by. Pure: bytes in, facts out.
#[derive(Debug, Default)]
pub(in crate::acceptor) struct Framing {
    state: FramingState,
    line: Line,
    saw_length: Option<u64>,
    saw_encoding: bool,
    flaw: Option<FramingError>,
    /// How many heads have passed by completely.
    heads: u64,
    /// The bytes of the coming head, or else of the last one.
    head: usize,
    /// The first head with a flaw, counted from 0.
    first_flaw: Option<(u64, FramingError)>,
}

/// The fault of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum FramingError {
    /// The head has both `Content-Length` and `Transfer-Encoding`.
    LengthAndEncoding,
    /// More than one `Transfer-Encoding`.
    TwoEncodings,
    /// A `Transfer-Encoding` that is not `chunked` alone: the body under it would reach the worker still encoded.
    OtherEncoding,
    /// A line that ends in LF alone.
    BareLineFeed,
    /// A `Content-Length` that is longer than any number need be.
    LongLength,
    /// A `#` in the first line: hyper would cut the target off there.
    Fragment,
    /// The bytes before the head could not be followed.
    Unwatched,
}

impl FramingError {
    pub(in crate::acceptor) fn text(self) -> &'static str {
        match self {
            Self::LengthAndEncoding => "both Content-Length and Transfer-Encoding",
            Self::TwoEncodings => "more than one Transfer-Encoding",
            Self::OtherEncoding => "a Transfer-Encoding that is not `chunked`",
            Self::BareLineFeed => "a line ends in LF without CR",
            Self::LongLength => "its Content-Length is too long",
            Self::Fragment => "its target has a `#`, which stays with the client",
            Self::Unwatched => "what came before it is badly framed",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FramingState {
    /// The next byte is before or inside a head.
    #[default]
    Head,
    /// A body with so many bytes to come.
    Body(u64),
    Chunked(Chunks),
    /// The connection has left HTTP.
    Off,
}

/// The beginning of the current line, as long as the longest field that matters.
#[derive(Debug)]
struct Line {
    start: [u8; LINE_START],
    len: usize,
    last: u8,
    first_of_head: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self { start: [0; LINE_START], len: 0, last: 0, first_of_head: true }
    }
}

impl Framing {
    /// Takes the next bytes read from the client, and returns how many of them may be passed on: all, unless a chunked
    /// body breaks among them.
    pub(in crate::acceptor) fn feed(&mut self, all: &[u8]) -> usize {
        let mut bytes = all;
        while !bytes.is_empty() {
            match self.state {
                FramingState::Head => bytes = self.feed_head(bytes),
                FramingState::Body(left) => {
                    let taken = left.min(bytes.len() as u64);
                    bytes = &bytes[taken as usize..];
                    self.state =
                        if left == taken { FramingState::Head } else { FramingState::Body(left - taken) };
                }
                FramingState::Chunked(chunks) => match chunks.follow(bytes) {
                    Followed::On(chunks) => {
                        self.state = FramingState::Chunked(chunks);
                        return all.len();
                    }
                    Followed::Ended(taken) => {
                        bytes = &bytes[taken..];
                        self.state = FramingState::Head;
                    }
                    Followed::Broken(whole) => {
                        self.state = FramingState::Off;
                        return all.len() - bytes.len() + whole;
                    }
                },
                FramingState::Off => return all.len(),
            }
        }
        all.len()
    }

    /// Stops following: the connection is no longer HTTP.
    pub(in crate::acceptor) fn switch_off(&mut self) {
        self.state = FramingState::Off;
    }

    /// The fault of the head of request `number`, counted from 0.
    pub(in crate::acceptor) fn flaw(&self, number: u64) -> Option<FramingError> {
        match self.first_flaw {
            Some((at, flaw)) if at <= number => Some(flaw),
            _ if number >= self.heads => Some(FramingError::Unwatched),
            _ => None,
        }
    }

    /// How many heads have passed by completely.
    pub(in crate::acceptor) fn heads(&self) -> u64 {
        self.heads
    }

    /// The bytes of the coming head so far, or else those of the last one.
    pub(in crate::acceptor) fn head(&self) -> usize {
        self.head
    }

    /// Whether the next byte begins a head: no message is under way.
    pub(in crate::acceptor) fn between_messages(&self) -> bool {
        self.state == FramingState::Head && !self.inside_head()
    }

    /// Whether some but not all of a head is there.
    pub(in crate::acceptor) fn inside_head(&self) -> bool {
        self.state == FramingState::Head && !(self.line.first_of_head && self.line.len == 0)
    }

    fn feed_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.line.first_of_head && self.line.len == 0 {
            self.head = 0;
        }
        let end = memchr::memchr(b'\n', bytes);
        self.head = self.head.saturating_add(end.map_or(bytes.len(), |end| end + 1));
        let line = &bytes[..end.unwrap_or(bytes.len())];
        if self.line.first_of_head && memchr::memchr(b'#', line).is_some() {
            self.flaw.get_or_insert(FramingError::Fragment);
        }
        self.line.push(line);
        let Some(end) = end else { return &[] };
        self.end_line();
        &bytes[end + 1..]
    }

    fn end_line(&mut self) {
        if self.line.last != b'\r' {
            self.flaw.get_or_insert(FramingError::BareLineFeed);
        }
        let empty = self.line.len == 0 || (self.line.len == 1 && self.line.last == b'\r');
        let first = self.line.first_of_head;
        if empty {
            // Empty lines before a request line are skipped (RFC 9112 §2.2).
            if !first {
                self.end_head();
            }
            self.line = Line { first_of_head: true, ..Line::default() };
            return;
        }
        if !first {
            self.note_field();
        }
        self.line.len = 0;
        self.line.last = 0;
        self.line.first_of_head = false;
    }

    fn note_field(&mut self) {
        let line = &self.line.start[..self.line.len.min(LINE_START)];
        if let Some(value) = strip_name(line, b"content-length:") {
            if self.line.len > LINE_START {
                self.flaw.get_or_insert(FramingError::LongLength);
            }
            // hyper itself refuses an unreadable or contradicting value.
            self.saw_length = Some(parse_length(value));
        } else if let Some(value) = strip_name(line, b"transfer-encoding:") {
            if self.saw_encoding {
                self.flaw.get_or_insert(FramingError::TwoEncodings);
            }
            if self.line.len > LINE_START || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                self.flaw.get_or_insert(FramingError::OtherEncoding);
            }
            self.saw_encoding = true;
        }
    }

    fn end_head(&mut self) {
        if self.saw_encoding && self.saw_length.is_some() {
            self.flaw.get_or_insert(FramingError::LengthAndEncoding);
        }
        if let Some(flaw) = self.flaw.take() {
            self.first_flaw.get_or_insert((self.heads, flaw));
        }
        self.heads += 1;
        self.state = match (self.saw_encoding, self.saw_length) {
            (true, _) => FramingState::Chunked(Chunks::default()),
            (false, Some(length)) if length > 0 => FramingState::Body(length),
            (false, _) => FramingState::Head,
        };
        self.saw_length = None;
        self.saw_encoding = false;
    }
}

impl Line {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.last = *last;
        }
        let room = LINE_START.saturating_sub(self.len);
        let kept = room.min(bytes.len());
        if kept > 0 {
            self.start[self.len..self.len + kept].copy_from_slice(&bytes[..kept]);
        }
        self.len = self.len.saturating_add(bytes.len());
    }
}

fn strip_name<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

fn parse_length(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The bytes of a line that are kept: `content-length:` with white space and 20 digits fits in.
const LINE_START: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(bytes: &[u8]) -> Framing {
        let mut framing = Framing::default();
        framing.feed(bytes);
        framing
    }

    #[test]
    fn an_ordinary_head_has_no_flaw() {
        let framing = watch(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(framing.flaw(0), None);
        assert!(!framing.inside_head());
    }

    #[test]
    fn the_bytes_of_a_head_are_counted_without_those_of_bodies() {
        let head = "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n";
        let all = format!("\r\n{head}\r\n\r\nbody!GET /");
        for size in [1, 7, 100] {
            let mut framing = Framing::default();
            for (count, piece) in all.as_bytes().chunks(size).enumerate() {
                framing.feed(piece);
                let seen = (count * size + piece.len()).min(all.len());
                if (2 + head.len()..2 + head.len() + 9).contains(&seen) {
                    assert_eq!(framing.head(), head.len(), "{seen}");
                }
            }
            assert_eq!(framing.head(), "GET /".len());
        }
    }

    #[test]
    fn a_request_that_was_not_watched_is_flawed() {
        assert_eq!(watch(b"").flaw(0), Some(FramingError::Unwatched));
    }

    #[test]
    fn length_and_encoding_together_are_refused_in_any_order_and_case() {
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "transfer-encoding: chunked\r\nCONTENT-LENGTH: 3",
            "Transfer-Encoding:chunked\r\nX: y\r\nContent-Length:0",
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
            assert_eq!(watch(head.as_bytes()).flaw(0), Some(FramingError::LengthAndEncoding), "{fields}");
        }
    }

    #[test]
    fn two_encodings_are_refused() {
        let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(watch(head).flaw(0), Some(FramingError::TwoEncodings));
    }

    #[test]
    fn an_encoding_that_is_not_chunked_alone_is_refused() {
        for (value, flaw) in [
            ("chunked", None),
            (" \tChunked ", None),
            ("gzip, chunked", Some(FramingError::OtherEncoding)),
            ("chunked, chunked", Some(FramingError::OtherEncoding)),
            ("identity", Some(FramingError::OtherEncoding)),
            ("", Some(FramingError::OtherEncoding)),
            ("chunked                                          ,gzip", Some(FramingError::OtherEncoding)),
        ] {
            let head = format!("POST / HTTP/1.1\r\nTransfer-Encoding:{value}\r\n\r\n");
            assert_eq!(watch(head.as_bytes()).flaw(0), flaw, "{value}");
        }
    }

    #[test]
    fn bare_line_feeds_are_refused() {
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
        ] {
            assert_eq!(watch(head.as_bytes()).flaw(0), Some(FramingError::BareLineFeed), "{head:?}");
        }
    }

    #[test]
    fn a_fragment_in_the_target_is_refused_wherever_the_line_is_cut() {
        let head = b"GET /admin?a=b#/x HTTP/1.1\r\nHost: a\r\nX: #\r\n\r\nGET / HTTP/1.1\r\nX: #\r\n\r\n";
        for cut in 0..head.len() {
            let mut framing = watch(&head[..cut]);
            framing.feed(&head[cut..]);
            assert_eq!(framing.flaw(0), Some(FramingError::Fragment), "cut at {cut}");
        }
        assert_eq!(watch(b"GET / HTTP/1.1\r\nX: #\r\n\r\n").flaw(0), None);
    }

    #[test]
    fn what_follows_the_break_of_a_chunked_body_is_not_passed_on() {
        let whole = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: b";
        let mut framing = Framing::default();
        let broken = format!("{whole}\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(framing.feed(broken.as_bytes()), whole.len());
        assert!(!framing.between_messages());
        assert_eq!(framing.flaw(1), Some(FramingError::Unwatched));
    }

    #[test]
    fn bodies_are_skipped_and_pipelined_heads_watched() {
        let framing =
            watch(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\n\n\n\nGET / HTTP/1.1\r\nA: b\n\r\n");
        assert_eq!(framing.flaw(0), None);
        assert_eq!(framing.flaw(1), Some(FramingError::BareLineFeed));
    }

    #[test]
    fn what_follows_a_chunked_body_is_watched() {
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let ordinary = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let framing = watch(format!("{chunked}{:x}\r\n{ordinary}", ordinary.len()).as_bytes());
        assert_eq!(framing.flaw(1), Some(FramingError::Unwatched), "what is in a body is no head");
        let framing = watch(format!("{chunked}2\r\n\n\n\r\n0\r\nA: b\r\n\r\n{ordinary}").as_bytes());
        assert_eq!((framing.flaw(0), framing.flaw(1)), (None, None));
        let framing = watch(format!("{chunked}0\r\n\r\nGET / HTTP/1.1\nHost: a\r\n\r\n").as_bytes());
        assert_eq!((framing.flaw(0), framing.flaw(1)), (None, Some(FramingError::BareLineFeed)));
        let framing = watch(format!("{chunked}x\r\n\r\n{ordinary}").as_bytes());
        assert_eq!(framing.flaw(1), Some(FramingError::Unwatched), "behind what is no chunk");
    }

    #[test]
    fn a_length_that_does_not_fit_the_window_is_refused() {
        for value in
            [format!("{}5", "0".repeat(60)), format!("{}5", " ".repeat(60)), format!("5{}", " ".repeat(60))]
        {
            let head = format!("POST / HTTP/1.1\r\nContent-Length:{value}\r\n\r\n");
            assert_eq!(watch(head.as_bytes()).flaw(0), Some(FramingError::LongLength), "{value}");
        }
        let longest = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", u64::MAX);
        assert_eq!(watch(longest.as_bytes()).flaw(0), None);
    }

    #[test]
    fn cutting_the_bytes_anywhere_changes_nothing() {
        let bytes: &[u8] = b"\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab\ncdGET / HTTP/1.1\r\nHost: b\r\n\
            Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n";
        let whole = watch(bytes);
        for cut in 0..bytes.len() {
            let mut framing = Framing::default();
            framing.feed(&bytes[..cut]);
            framing.feed(&bytes[cut..]);
            for number in 0..3 {
                assert_eq!(framing.flaw(number), whole.flaw(number), "cut at {cut}, request {number}");
            }
        }
        assert_eq!(whole.flaw(1), Some(FramingError::LengthAndEncoding));
    }
}
