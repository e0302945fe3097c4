//! Owns which content coding a client wants, of those that there are (RFC 9110 §12.5.3).
//!
//! Never here: whether an answer is compressed at all (`compress`).

use http::header::{ACCEPT_ENCODING, HeaderMap};

use crate::acceptor::body::compressor::ContentCoding;

/// The coding that the client wants most, in the server's order where the client wants several alike; `None`: the
/// answer is sent as it is.
pub(super) fn wanted(headers: &HeaderMap) -> Option<ContentCoding> {
    let mut said = Weights::default();
    for value in headers.get_all(ACCEPT_ENCODING) {
        // A malformed part is ignored.
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .filter_map(entry)
            .for_each(|(name, weight)| said.note(name, weight));
    }
    let codings = [
        (ContentCoding::Zstd, said.zstd),
        (ContentCoding::Brotli, said.brotli),
        (ContentCoding::Gzip, said.gzip),
    ];
    let weights = codings.map(|(coding, weight)| (coding, weight.or(said.any).unwrap_or(0)));
    let most = weights.iter().map(|(_, weight)| *weight).max().unwrap_or(0);
    if most == 0 || said.identity.is_some_and(|plain| plain > most) {
        return None;
    }
    weights.iter().find(|(_, weight)| *weight == most).map(|(coding, _)| *coding)
}

/// The weight of each coding, in thousandths; 0: not to be sent.
#[derive(Default)]
struct Weights {
    zstd: Option<u16>,
    brotli: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

impl Weights {
    fn note(&mut self, name: &[u8], weight: u16) {
        let place = match &*name.to_ascii_lowercase() {
            b"zstd" => &mut self.zstd,
            b"br" => &mut self.brotli,
            b"gzip" | b"x-gzip" => &mut self.gzip,
            b"identity" => &mut self.identity,
            b"*" => &mut self.any,
            _ => return,
        };
        // The first weight of a coding counts.
        place.get_or_insert(weight);
    }
}

/// A coding and its weight.
fn entry(part: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = part.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next()?;
    let weight = match parts.next() {
        None => 1000,
        Some(weight) => thousandths(weight.strip_prefix(b"q=").or_else(|| weight.strip_prefix(b"Q="))?)?,
    };
    Some((name, weight))
}

/// A weight (RFC 9110 §12.4.2): `0` to `1` with at most three digits behind the point.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, digits) = match text {
        [whole, b'.', digits @ ..] => (whole, digits),
        [whole] => (whole, &[][..]),
        _ => return None,
    };
    if digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let part = digits.iter().chain(b"000").take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match (whole, part) {
        (b'0', part) => Some(part),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_coding_is_wanted_and_ours_where_they_are_alike() {
        use ContentCoding::{Brotli, Gzip, Zstd};
        for (accept, coding) in [
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("gzip, deflate, br", Some(Brotli)),
            ("GZIP", Some(Gzip)),
            ("x-gzip;q=0.5", Some(Gzip)),
            ("gzip;q=1.0, br;q=0.9", Some(Gzip)),
            ("gzip;q=0.001", Some(Gzip)),
            ("gzip ; q=0.8 , br; q=0.8", Some(Brotli)),
            ("*", Some(Zstd)),
            ("*;q=0.5, zstd;q=0", Some(Brotli)),
            ("gzip, *;q=0", Some(Gzip)),
            ("identity;q=0, gzip;q=0.2", Some(Gzip)),
            ("identity, gzip", Some(Gzip)),
            ("identity;q=0.9, gzip;q=0.5", None),
            ("identity", None),
            ("identity;q=0", None),
            ("*;q=0", None),
            ("", None),
            ("deflate", None),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("gzip;q=2", None),
            ("gzip;q=1.001", None),
            ("gzip;q=0.1234", None),
            ("gzip;q=", None),
            ("gzip;level=9", None),
            ("gzip;q=-1", None),
            ("gzip;q=0, gzip", None),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, accept.parse().unwrap())]);
            assert_eq!(wanted(&headers), coding, "{accept:?}");
        }
        assert_eq!(wanted(&HeaderMap::new()), None);
    }
}
