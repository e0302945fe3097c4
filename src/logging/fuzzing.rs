//! Lines of others on a terminal, as a function of bytes that panics when a line could steer it.
//!
//! Every test run calls the functions here with seeded inputs, and the targets of `tests/fuzz` call them for as long as
//! one likes. Never in a program that serves.

use super::app_line::{Colours, safe};

/// A line that an app wrote keeps only its colours of what could control a terminal, and they end with the line.
pub fn output_line(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let steers = |c: char| c.is_control() && c != '\t';
    assert!(!safe(text, Colours::Off).contains(steers));
    let coloured = safe(text, Colours::On);
    let mut rest = coloured.as_str();
    while let Some(at) = rest.find('\u{1b}') {
        assert!(!rest[..at].contains(steers), "{coloured:?}");
        let inside = rest[at..].strip_prefix("\x1b[").and_then(|rest| rest.split_once('m'));
        let (numbers, behind) = inside.expect("a colour has its beginning and its end");
        assert!(numbers.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')), "{coloured:?}");
        rest = behind;
    }
    assert!(!rest.contains(steers), "{coloured:?}");
    assert!(!coloured.contains('\u{1b}') || coloured.ends_with("\x1b[0m"), "{coloured:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed_kept;

    const ROUNDS: usize = 20_000;

    #[test]
    fn lines_of_apps_keep_their_promises() {
        feed_kept("output_line", ROUNDS, output_line);
    }
}
