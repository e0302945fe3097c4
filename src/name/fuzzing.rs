//! The path of a request where it decides something, as a function of bytes that panics when programs that read it in
//! different ways would come to different ends.
//!
//! Every test run calls the functions here with seeded inputs, and the targets of `tests/fuzz` call them for as long as
//! one likes. Never in a program that serves.

use super::{PathPrefix, RequestPath};

/// A path and, on the next line, a prefix. When the path decides, whoever reads it finds the same: below the prefix, or
/// not.
pub fn request_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (sent, prefix) = text.split_once('\n').unwrap_or((text, "/blog"));
    let is_sent = sent.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
    let (true, true, Ok(prefix)) = (is_sent, sent.starts_with('/'), PathPrefix::parse(prefix)) else {
        return;
    };
    let Ok(path) = RequestPath::read(sent) else { return };
    if let Ok(is_below) = path.is_below(&prefix) {
        for reader in PathReader::all() {
            let read = reader.read(sent);
            assert_eq!(prefix.covers(&read), is_below, "{sent} below {prefix:?}: {reader:?} reads {read}");
        }
        if is_below && let Ok(rest) = prefix.behind(sent) {
            assert!(sent.ends_with(rest), "{sent} behind {prefix:?}: {rest}");
            assert!(rest.is_empty() || (rest.starts_with('/') && !rest.starts_with("//")), "{sent}: {rest}");
        }
    }
    if let Ok(is_below) = path.is_below_in_any_case(&prefix) {
        assert_eq!(path.is_below(&prefix), Ok(is_below));
        let folded =
            PathPrefix::parse(&prefix.as_str().to_ascii_lowercase()).expect("its letters alone changed");
        for reader in PathReader::all() {
            let read = reader.read(sent).to_ascii_lowercase();
            assert_eq!(folded.covers(&read), is_below, "{sent} below {folded:?}: {reader:?} reads {read}");
        }
    }
}

/// A program that reads paths in its own way.
#[derive(Debug)]
struct PathReader {
    decodes_twice: bool,
    takes_backslashes: bool,
    cuts_params: bool,
    merges_slashes: bool,
    resolves_dots: bool,
}

impl PathReader {
    fn all() -> impl Iterator<Item = Self> {
        (0..32_u8).map(|ways| {
            let has = |way: u8| ways & (1 << way) != 0;
            Self {
                decodes_twice: has(0),
                takes_backslashes: has(1),
                cuts_params: has(2),
                merges_slashes: has(3),
                resolves_dots: has(4),
            }
        })
    }

    fn read(&self, sent: &str) -> String {
        let mut text = decoded(sent);
        if self.decodes_twice {
            text = decoded(&text);
        }
        if self.takes_backslashes {
            text = text.replace('\\', "/");
        }
        let mut segments = Vec::new();
        for segment in text.split('/').skip(1) {
            let cut = segment.split(';').next().unwrap_or_default();
            match if self.cuts_params { cut } else { segment } {
                "" if self.merges_slashes => {}
                "." if self.resolves_dots => {}
                ".." if self.resolves_dots => drop(segments.pop()),
                segment => segments.push(segment),
            }
        }
        format!("/{}", segments.join("/"))
    }
}

/// A `%` that encodes nothing stays as it is.
fn decoded(text: &str) -> String {
    let (bytes, mut plain, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let pair = bytes.get(at + 1..at + 3).filter(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        let encoded = pair.and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let encoded = encoded.filter(|_| byte == b'%');
        plain.push(encoded.unwrap_or(byte));
        at += if encoded.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed_kept;

    #[test]
    fn paths_that_decide_keep_their_promises() {
        feed_kept("request_path", 20_000, request_path);
    }
}
