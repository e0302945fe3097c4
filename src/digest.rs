//! Short words that stand for long texts: the same in every version of this program, and for no other text.
//!
//! Never here: what the texts mean.

use aws_lc_rs::digest::{Context, Digest, SHA256};
use serde::Serialize;

/// The SHA-256 of the parts; no two lists of parts have the same bytes.
pub(crate) fn bytes(parts: &[&[u8]]) -> Digest {
    let mut hash = Context::new(&SHA256);
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finish()
}

/// A word of `length` of `a-z 2-7`, at most 51, five bits of [`bytes()`] each.
pub(crate) fn word(parts: &[&[u8]], length: usize) -> String {
    let hash = bytes(parts);
    let bit = |at: usize| hash.as_ref().get(at / 8).map_or(0, |byte| usize::from(byte >> (7 - at % 8) & 1));
    (0..length)
        .map(|at| char::from(LETTERS[(0..5).fold(0, |value, next| value << 1 | bit(at * 5 + next))]))
        .collect()
}

/// A word for a value as it is written in JSON, which no version of a compiler or a library writes in another way.
pub(crate) fn of(value: &impl Serialize) -> String {
    // Only a path that is not UTF-8 cannot be written, and a program in such a place cannot be made a unit either.
    word(&[&serde_json::to_vec(value).unwrap_or_default()], LONG)
}

const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 130 bits.
const LONG: usize = 26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_rfc_4648_and_never_change() {
        // printf '\0\0\0\0\0\0\0\3abc' | sha256sum | xxd -r -p | base32
        assert_eq!(word(&[b"abc"], 16), "yneuzincz6hoxcqr");
        assert_eq!(of(&("a", 1)), "2dw6vg6as5peiag6jxv4ljmv7u");
    }

    #[test]
    fn other_parts_make_other_words() {
        let words = [word(&[b"ab", b"c"], 51), word(&[b"a", b"bc"], 51), word(&[b"abc"], 51), word(&[], 51)];
        for (at, one) in words.iter().enumerate() {
            assert!(!words[at + 1..].contains(one), "{one}");
        }
    }
}
