//! Random inputs for tests of parsers: a seed, good examples, and what goes wrong with them on the way.
//!
//! The same seed always gives the same inputs; a failure names both. Never here: what a parser must do with them.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

/// Feeds a parser what `tests/fuzz` keeps for the target of that name: each seed as it is, then `rounds` inputs made of
/// the seeds and of the words of the target's dictionary.
pub(crate) fn feed_kept(target: &str, rounds: usize, parse: impl Fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let entries = fs::read_dir(folder.join("seeds").join(target)).expect("each target has a folder of seeds");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no seeds");
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    for (file, seed) in files.iter().zip(&seeds) {
        guarded(seed, &parse, || format!("the seed {}", file.display()));
    }
    let dictionary = fs::read_to_string(folder.join("dictionaries").join(format!("{target}.dict"))).unwrap();
    let words: Vec<Vec<u8>> = dictionary.lines().filter_map(word).collect();
    feed_mixed(&seeds, &words, rounds, parse);
}

/// Feeds `rounds` inputs to a parser: the examples, then pieces of them cut, doubled, mixed and spoiled.
pub(crate) fn feed(examples: &[&[u8]], rounds: usize, parse: impl Fn(&[u8])) {
    for example in examples {
        guarded(example, &parse, || "an example".into());
    }
    feed_mixed(examples, &[], rounds, parse);
}

fn feed_mixed(examples: &[impl AsRef<[u8]>], words: &[Vec<u8>], rounds: usize, parse: impl Fn(&[u8])) {
    let seed = std::env::var("RIP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..rounds {
        let input = spoiled(examples, words, &mut random);
        guarded(&input, &parse, || format!("RIP_SEED={seed}, round {round}"));
    }
}

/// Says what was fed to a parser that panics.
fn guarded(input: &[u8], parse: impl Fn(&[u8]), name: impl Fn() -> String) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| parse(input))) {
        println!("{}: {:?}", name(), String::from_utf8_lossy(input));
        println!("as bytes: {input:?}");
        resume_unwind(panic);
    }
}

fn spoiled(examples: &[impl AsRef<[u8]>], words: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = pick(examples, random).to_vec();
    for _ in 0..=random.usize(0..6) {
        let at = random.usize(0..=input.len());
        match random.u8(0..9) {
            0 => input.truncate(at),
            1 => input.insert(at, random.u8(..)),
            2 if at < input.len() => input[at] ^= 1 << random.u8(0..8),
            3 if at < input.len() => drop(input.remove(at)),
            4 => {
                let end = random.usize(at..=input.len());
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            5 => {
                let other = pick(examples, random);
                let from = random.usize(0..=other.len());
                input.splice(at..at, other[from..].iter().copied());
            }
            6 => drop(input.splice(at..at, DIGITS[random.usize(..DIGITS.len())].bytes())),
            7 if !words.is_empty() => drop(input.splice(at..at, pick(words, random).iter().copied())),
            _ => input.insert(at, SIGNS[random.usize(..SIGNS.len())]),
        }
        input.truncate(LONGEST);
    }
    input
}

fn pick<'a>(examples: &'a [impl AsRef<[u8]>], random: &mut fastrand::Rng) -> &'a [u8] {
    examples[random.usize(..examples.len())].as_ref()
}

/// The word of a line of a dictionary, as libFuzzer writes them: `"a\x0d\"b\\"`, with a name before it or without.
fn word(line: &str) -> Option<Vec<u8>> {
    if line.trim_start().starts_with('#') {
        return None;
    }
    let text = line.split_once('"')?.1.trim_end().strip_suffix('"').expect("a word ends with its quote");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = match (first, behind) {
            (b'\\', [b'x', high, low, rest @ ..]) => {
                let digits = [*high, *low].map(char::from).iter().collect::<String>();
                bytes.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
                rest
            }
            (b'\\', [escaped @ (b'"' | b'\\'), rest @ ..]) => {
                bytes.push(*escaped);
                rest
            }
            (b'\\', _) => panic!("{line}: libFuzzer knows \\xNN, \\\" and \\\\ only"),
            (plain, rest) => {
                bytes.push(*plain);
                rest
            }
        };
    }
    Some(bytes)
}

const SEED: u64 = 20_261_122;
const LONGEST: usize = 2048;
/// Numbers at the edges of the types that hold them.
const DIGITS: [&str; 8] =
    ["0", "00", "-1", "+1", "65536", "4294967296", "18446744073709551615", "99999999999999999999"];
/// The signs that mean something in one of the formats.
const SIGNS: &[u8] = b"\r\n\0\t ,;:=.@*[]{}\"'#/\\_-%x\x7f\xff\xc3";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_dictionaries_are_read_as_libfuzzer_reads_them() {
        assert_eq!(word(r#""Host: \x0d\x0A""#), Some(b"Host: \r\n".to_vec()));
        assert_eq!(word(r#"quote="\"\\""#), Some(b"\"\\".to_vec()));
        assert_eq!(word("# a \"comment\""), None);
        assert_eq!(word(""), None);
    }
}
