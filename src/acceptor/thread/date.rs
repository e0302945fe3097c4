//! The `Date` of answers (RFC 9110 §6.6.1), written once a second.

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// The last second whose text was asked for, and that text.
pub(in crate::acceptor) struct HttpDate(Cell<(u64, [u8; LENGTH])>);

/// The length of `Sun, 06 Nov 1994 08:49:37 GMT`.
const LENGTH: usize = 29;

impl Default for HttpDate {
    fn default() -> Self {
        Self(Cell::new((u64::MAX, [b' '; LENGTH])))
    }
}

impl HttpDate {
    /// The text for `now`.
    pub(in crate::acceptor) fn at(&self, now: SystemTime) -> [u8; LENGTH] {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (last, text) = self.0.get();
        if second == last {
            return text;
        }
        let mut words = String::with_capacity(LENGTH);
        let mut text = [b' '; LENGTH];
        if write!(words, "{}", httpdate::HttpDate::from(now)).is_ok() && words.len() == LENGTH {
            text.copy_from_slice(words.as_bytes());
        }
        self.0.set((second, text));
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_second_has_its_own_text() {
        let date = HttpDate::default();
        let at = |seconds, millis| {
            let now = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis);
            String::from_utf8(date.at(now).to_vec()).unwrap()
        };
        assert_eq!(at(784_111_777, 0), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_777, 999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_778, 0), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(at(0, 0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
