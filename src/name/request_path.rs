//! Owns how the path of a request is read where something depends on it: it is normalised, and refused where programs
//! read it in different ways.
//!
//! Never here: what depends on it. A worker gets the path as it was sent.
//!
//! Percent-encoding of printable ASCII characters is undone (RFC 3986 §6.2.2.2). Some programs take an encoded or a
//! backward slash, an empty segment, `;` or an encoded `%` for a border of segments, or for something else altogether,
//! and others do not: the path before such a character is certain, the path after it is open. Segments of dots, and
//! segments that may be read as such, undo the segments before them, and are refused.

use std::borrow::Cow;

use super::PathPrefix;

/// The path of a request without its query, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestPath<'a> {
    plain: Cow<'a, str>,
    /// How much of `plain` all programs read alike.
    certain: usize,
}

/// Why nothing may depend on a path: programs read it in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct AmbiguousPath(&'static str);

impl AmbiguousPath {
    /// The ambiguity of the path, in words.
    pub(crate) fn text(self) -> &'static str {
        self.0
    }
}

impl<'a> RequestPath<'a> {
    /// Reads a path as it was sent; `*` stands for itself.
    ///
    /// # Errors
    /// Segments of dots in any spelling, and encodings that programs may decode differently.
    pub(crate) fn read(sent: &'a str) -> Result<Self, AmbiguousPath> {
        let bytes = sent.as_bytes();
        let simple = !bytes.iter().any(|byte| matches!(byte, b'%' | b'\\' | b';'))
            && !bytes.windows(2).any(|pair| matches!(pair, b"//" | b"/."));
        if simple {
            return Ok(Self { plain: Cow::Borrowed(sent), certain: sent.len() });
        }
        PathReading::default().all(bytes)
    }

    /// Whether the path is the prefix or below it.
    ///
    /// # Errors
    /// When that depends on who reads it.
    pub(crate) fn is_below(&self, prefix: &PathPrefix) -> Result<bool, AmbiguousPath> {
        if self.certain < self.plain.len() && prefix.as_str().starts_with(&self.plain[..self.certain]) {
            return Err(OPEN);
        }
        Ok(prefix.covers(&self.plain))
    }

    /// Whether the path is the prefix or below it, also for an app to which upper and lower case may be the same.
    ///
    /// # Errors
    /// Also when the answer depends on the case.
    pub(crate) fn is_below_in_any_case(&self, prefix: &PathPrefix) -> Result<bool, AmbiguousPath> {
        let (plain, certain) = (self.plain.to_ascii_lowercase(), self.certain);
        let folded = PathPrefix(prefix.as_str().to_ascii_lowercase().into());
        let is_below = self.is_below(prefix)?;
        let in_any_case = RequestPath { plain: plain.into(), certain };
        if in_any_case.is_below(&folded)? == is_below {
            Ok(is_below)
        } else {
            Err(AmbiguousPath("its path is that of a route in other upper and lower case"))
        }
    }
}

impl PathPrefix {
    /// Whether a path is the prefix or below it.
    pub(crate) fn covers(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The rest of a path, as it was sent, behind this prefix, which the path is below: empty, or from its `/` on.
    ///
    /// # Errors
    /// When the rest would begin with two slashes, which begin a host's name elsewhere.
    pub(crate) fn behind<'a>(&self, sent: &'a str) -> Result<&'a str, AmbiguousPath> {
        let mut at = 0;
        for _ in 0..self.as_str().len() {
            at += if sent.as_bytes().get(at) == Some(&b'%') { 3 } else { 1 };
        }
        let rest = sent.get(at..).unwrap_or_default();
        if rest.starts_with("//") || rest.starts_with("/\\") { Err(OPEN) } else { Ok(rest) }
    }
}

/// The part of a path that has been read so far.
#[derive(Default)]
struct PathReading {
    plain: Vec<u8>,
    certain: Option<usize>,
    segment: Segment,
    /// An encoded `%` is in it, which may encode something itself.
    may_be_read_again: bool,
}

/// The part of a segment that has been read so far, by the reading with the most borders.
#[derive(Default)]
struct Segment {
    /// The bytes that count: those before a `;`.
    length: usize,
    only_dots: bool,
    has_params: bool,
}

impl Segment {
    fn take(&mut self, byte: u8) {
        if !self.has_params {
            self.only_dots = byte == b'.' && (self.length == 0 || self.only_dots);
            self.length += 1;
        }
    }

    fn end(&mut self) -> Result<(), AmbiguousPath> {
        let ended = std::mem::take(self);
        if ended.only_dots && ended.length <= 2 {
            Err(AmbiguousPath("its path has a segment `.` or `..`"))
        } else {
            Ok(())
        }
    }
}

impl PathReading {
    fn all<'a>(mut self, sent: &[u8]) -> Result<RequestPath<'a>, AmbiguousPath> {
        let mut at = 0;
        while let Some(&byte) = sent.get(at) {
            if byte != b'%' {
                self.take(byte)?;
                at += 1;
                continue;
            }
            let digits = sent.get(at + 1..at + 3).and_then(value_of);
            let encoded = digits.ok_or(AmbiguousPath("its path has a `%` that encodes nothing"))?;
            self.take_encoded(encoded, &sent[at..at + 3])?;
            at += 3;
        }
        self.segment.end()?;
        if self.may_be_read_again {
            read_again(sent)?;
        }
        let certain = self.certain.unwrap_or(self.plain.len());
        let plain = String::from_utf8(self.plain).map_err(|_| OPEN)?;
        Ok(RequestPath { plain: Cow::Owned(plain), certain })
    }

    fn take(&mut self, byte: u8) -> Result<(), AmbiguousPath> {
        match byte {
            b'/' => {
                if self.plain.last() == Some(&b'/') {
                    self.open();
                }
                self.segment.end()?;
            }
            b'\\' => {
                self.open();
                self.segment.end()?;
            }
            b';' => {
                self.open();
                self.segment.has_params = true;
            }
            _ => self.segment.take(byte),
        }
        self.plain.push(byte);
        Ok(())
    }

    fn take_encoded(&mut self, byte: u8, sent: &[u8]) -> Result<(), AmbiguousPath> {
        match byte {
            0 => return Err(AmbiguousPath("its path has an encoded zero byte")),
            // The bytes 0xc0 and 0xc1 begin longer spellings of ASCII than UTF-8 allows.
            0xc0 | 0xc1 => return Err(AmbiguousPath("its path is not UTF-8")),
            b'/' | b'\\' => {
                self.open();
                self.segment.end()?;
            }
            b';' => {
                self.open();
                self.segment.has_params = true;
            }
            b'%' => {
                self.open();
                self.may_be_read_again = true;
                self.segment.take(byte);
            }
            b'!'..=b'~' => {
                self.segment.take(byte);
                self.plain.push(byte);
                return Ok(());
            }
            _ => self.segment.take(byte),
        }
        self.plain.extend_from_slice(sent);
        Ok(())
    }

    /// Notes that programs read the path in different ways from this place on.
    fn open(&mut self) {
        self.certain.get_or_insert(self.plain.len());
    }
}

/// Refuses segments of dots that show when what was decoded is decoded again, and what goes on for too long.
fn read_again(sent: &[u8]) -> Result<(), AmbiguousPath> {
    let mut bytes = sent.to_vec();
    for _ in 0..MOST_DECODED {
        match decoded(&bytes) {
            None => return Ok(()),
            Some(decoded) => bytes = decoded,
        }
        let mut segment = Segment::default();
        for byte in &bytes {
            match byte {
                b'/' | b'\\' => segment.end()?,
                b';' => segment.has_params = true,
                byte => segment.take(*byte),
            }
        }
        segment.end()?;
    }
    Err(OPEN)
}

/// How often a path is decoded: more than any chain of programs does, and as often for each request.
const MOST_DECODED: usize = 5;

/// The path with its encoded bytes as they are; `None`: it has none.
fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let encoded = (byte == b'%').then(|| bytes.get(at + 1..at + 3).and_then(value_of)).flatten();
        plain.push(encoded.unwrap_or(byte));
        at += if encoded.is_some() { 3 } else { 1 };
    }
    (plain.len() < bytes.len()).then_some(plain)
}

fn value_of(digits: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

const OPEN: AmbiguousPath = AmbiguousPath("its path can be read in several ways");

#[cfg(test)]
mod tests {
    use super::*;

    fn below(path: &str, prefix: &str) -> Option<bool> {
        RequestPath::read(path).and_then(|path| path.is_below(&PathPrefix::parse(prefix).unwrap())).ok()
    }

    #[test]
    fn a_prefix_holds_on_segment_borders_in_every_spelling() {
        for (path, prefix, holds) in [
            ("/blog", "/blog", true),
            ("/blog/", "/blog", true),
            ("/blog/x", "/blog", true),
            ("/blogger", "/blog", false),
            ("/blo", "/blog", false),
            ("/", "/blog", false),
            ("*", "/blog", false),
            ("/BLOG", "/blog", false),
            ("/%62log", "/blog", true),
            ("/%62l%6Fg/x", "/blog", true),
            ("/a%40b", "/a@b", true),
            ("/blog%20x", "/blog", false),
            ("/bl%C3%B6g", "/blog", false),
            ("/blog/.hidden", "/blog", true),
            ("/.well-known/x", "/.well-known", true),
            ("/blog/...", "/blog", true),
        ] {
            assert_eq!(below(path, prefix), Some(holds), "{path} below {prefix}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused_where_that_matters() {
        for path in [
            "//blog",
            "/blog%2Fx",
            "/blog%2f",
            "/blog%5Cx",
            "/blog\\x",
            "/blog;x",
            "/blog%3bx",
            "/%2562log",
            "/;/blog",
            "/%2Fblog",
            "/\\blog",
            "///",
            "/b%25x",
        ] {
            assert_eq!(below(path, "/blog"), None, "{path}");
        }
        for (path, holds) in [
            ("/blog//x", true),
            ("/blog/a%2Fb", true),
            ("/blog/a;b=c/d", true),
            ("/blog/100%25", true),
            ("/api/v4/projects/group%2Fname", false),
            ("/@scope%2fname", false),
            ("/x//blog", false),
            ("/search;page=2", false),
        ] {
            assert_eq!(below(path, "/blog"), Some(holds), "{path}");
        }
    }

    #[test]
    fn dots_are_refused_in_every_spelling() {
        for path in [
            "/..",
            "/.",
            "/blog/../admin",
            "/blog/./admin",
            "/blog/..",
            "/blog/%2e%2e/",
            "/blog/%2E./x",
            "/blog/.%2e",
            "/x/..;/blog",
            "/x/..%3Bp/blog",
            "/x%2f..%2fblog",
            "/x\\..\\blog",
            "/x/%2e%2e%5cblog",
            "/x/%c0%ae%c0%ae/blog",
            "/x/%00/blog",
            "/x/%",
            "/x/%4",
            "/x/%zz",
            "/x/%+1",
            "/..%252f/blog/b",
            "/x/%252e%252e/blog",
            "/x/%25%32%65%2e/blog",
            "/x/%25252e./blog",
            "/x/..%253bp/blog",
            "/x/%25252525252525252e/blog",
        ] {
            assert!(RequestPath::read(path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_follows_a_prefix_is_as_it_was_sent() {
        let prefix = PathPrefix::parse("/blog").unwrap();
        for (path, rest) in [
            ("/blog", Some("")),
            ("/blog/", Some("/")),
            ("/%62log/%78", Some("/%78")),
            ("/blog/a//b", Some("/a//b")),
            ("/blog//evil.example", None),
            ("/blog/\\evil.example", None),
        ] {
            assert_eq!(prefix.behind(path).ok(), rest, "{path}");
        }
    }

    #[test]
    fn no_spelling_of_a_path_leads_around_a_prefix() {
        // A path is below the prefix or refused, whatever a program that decodes and resolves makes of it.
        let mut random = fastrand::Rng::with_seed(20);
        const PIECES: [&str; 16] = [
            "/", "a", "blog", "%62", "b", "%2F", "%2e", ".", "..", "\\", ";", "%25", "log", "%5c", "%", "//",
        ];
        for _ in 0..20_000 {
            let count = random.usize(1..8);
            let path: String = (0..count).map(|_| PIECES[random.usize(..PIECES.len())]).collect();
            let path = format!("/{path}");
            let resolved = most_lenient(&path);
            let is_below = resolved == "/blog" || resolved.starts_with("/blog/");
            if is_below {
                assert_ne!(below(&path, "/blog"), Some(false), "{path} is {resolved}");
            } else if below(&path, "/blog") == Some(true) {
                panic!("{path} is {resolved}");
            }
        }
    }

    /// Reads a path as leniently as possible: decodes once, takes backward slashes for slashes, cuts parameters off,
    /// merges slashes and resolves dots.
    fn most_lenient(path: &str) -> String {
        let mut bytes = Vec::new();
        let sent = path.as_bytes();
        let mut at = 0;
        while at < sent.len() {
            match (sent[at] == b'%').then(|| sent.get(at + 1..at + 3).and_then(value_of)).flatten() {
                Some(byte) => {
                    bytes.push(byte);
                    at += 3;
                }
                None => {
                    bytes.push(sent[at]);
                    at += 1;
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
        let mut segments = Vec::new();
        for segment in text.split('/').map(|segment| segment.split(';').next().unwrap_or_default()) {
            match segment {
                "" | "." => {}
                ".." => drop(segments.pop()),
                segment => segments.push(segment),
            }
        }
        format!("/{}", segments.join("/"))
    }
}
