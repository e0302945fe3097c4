//! Random inputs for tests of parsers: a seed, good examples, and what goes wrong with them on the way.
//!
//! The same inputs for the same seed, always; a failure names both. Never here: what a parser must do with them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Feeds `rounds` inputs to a parser: the examples, then pieces of them cut, doubled, mixed and spoiled.
pub(crate) fn feed(examples: &[&[u8]], rounds: usize, parse: impl Fn(&[u8])) {
    let seed = std::env::var("RIP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..rounds {
        let input = match examples.get(round) {
            Some(example) => example.to_vec(),
            None => spoiled(examples, &mut random),
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| parse(&input))) {
            println!("RIP_SEED={seed}, round {round}: {:?}", String::from_utf8_lossy(&input));
            println!("as bytes: {input:?}");
            resume_unwind(panic);
        }
    }
}

fn spoiled(examples: &[&[u8]], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = pick(examples, random).to_vec();
    for _ in 0..=random.usize(0..6) {
        let at = random.usize(0..=input.len());
        match random.u8(0..8) {
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
            _ => input.insert(at, SIGNS[random.usize(..SIGNS.len())]),
        }
        input.truncate(LONGEST);
    }
    input
}

fn pick<'a>(examples: &[&'a [u8]], random: &mut fastrand::Rng) -> &'a [u8] {
    examples[random.usize(..examples.len())]
}

const SEED: u64 = 20_261_122;
const LONGEST: usize = 2048;
/// Numbers at the edges of the types that hold them.
const DIGITS: [&str; 8] =
    ["0", "00", "-1", "+1", "65536", "4294967296", "18446744073709551615", "99999999999999999999"];
/// What means something in one of the formats.
const SIGNS: &[u8] = b"\r\n\0\t ,;:=.@*[]{}\"'#/\\_-%x\x7f\xff\xc3";
