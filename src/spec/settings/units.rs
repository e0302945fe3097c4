//! Numbers, durations and sizes as people write them. Never here: which of them a setting allows.
//!
//! Durations as systemd reads them: `30s`, `5min 20s`, a bare number is seconds. Sizes as systemd's `MemoryMax=` reads
//! them: base 1024, so that what is written here and what a unit says are the same number of bytes.

use std::time::Duration;

/// Reads `250ms`, `30s`, `5min`, `1h 30min`, `2d` or a bare number of seconds; `None`: not a duration, or above
/// [`LONGEST`].
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Some(seconds) = digits(text) {
        return bounded(Duration::from_secs(seconds?));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit());
        let (unit, after) = split(after.trim_start(), |c| c.is_ascii_alphabetic());
        let factor = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        let millis = digits(number)??.checked_mul(factor)?;
        total = total.checked_add(Duration::from_millis(millis))?;
        rest = after.trim_start();
    }
    if text.is_empty() { None } else { bounded(total) }
}

/// The shortest exact text of a duration.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (factor, unit) =
        SHOWN.iter().find(|(factor, _)| millis.is_multiple_of(*factor)).unwrap_or(&(1, "ms"));
    if millis == 0 { "0s".into() } else { format!("{}{unit}", millis / factor) }
}

/// Reads `64K`, `64KiB`, `100M`, `2G`, `1T` (base 1024) or a bare number of bytes.
pub(crate) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text.trim(), |c| c.is_ascii_digit());
    let factor = match unit.trim_start() {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => return None,
    };
    digits(number)??.checked_mul(factor).filter(|bytes| *bytes <= LARGEST)
}

/// The shortest exact text of a size.
pub(crate) fn show_size(bytes: u64) -> String {
    for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Reads digits. `None`: the text has other characters; `Some(None)`: the number is too large.
fn digits(text: &str) -> Option<Option<u64>> {
    let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    all.then(|| text.parse().ok())
}

fn split(text: &str, taken: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !taken(c)).unwrap_or(text.len()))
}

fn bounded(duration: Duration) -> Option<Duration> {
    (duration <= LONGEST).then_some(duration)
}

/// The longest duration, ten years: a longer one is a slip, and could overflow where it is added to the clock.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);
/// The largest size, 1 PiB: a larger one is a slip, and this stays far from overflow where sizes are added.
const LARGEST: u64 = 1 << 50;
const UNITS: [(&str, u64); 10] = [
    ("ms", 1),
    ("s", 1000),
    ("sec", 1000),
    ("m", 60_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("hr", 3_600_000),
    ("d", 86_400_000),
    ("day", 86_400_000),
    ("days", 86_400_000),
];
const SHOWN: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];

/// Reads a number of digits only, without sign, spaces or underscores.
pub(crate) fn number(text: &str, least: u64, most: u64) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = if plain { text.parse().ok()? } else { return None };
    (least..=most).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_systemd_reads_them() {
        for (text, millis) in [
            ("0", Some(0)),
            ("30", Some(30_000)),
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("30 s", Some(30_000)),
            ("5min", Some(300_000)),
            ("5min 20s", Some(320_000)),
            ("1h30min", Some(5_400_000)),
            ("3660d", Some(3660 * 86_400_000)),
            ("3661d", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("5 parsecs", None),
            ("5min 20", None),
            ("99999999999999999999", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_base_1024() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1", Some(1)),
            ("64K", Some(65_536)),
            ("64KiB", Some(65_536)),
            ("64 M", Some(67_108_864)),
            ("1G", Some(1 << 30)),
            ("1024T", Some(1 << 50)),
            ("1025T", None),
            ("64KB", None),
            ("64k", None),
            ("", None),
            ("K", None),
            ("-1", None),
            ("1.5G", None),
            ("infinity", None),
            ("99999999999999999999", None),
            ("18446744073709551615T", None),
        ] {
            assert_eq!(size(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_the_same() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..1000 {
            let millis = random.u64(0..=LONGEST.as_millis() as u64) >> random.u32(0..40);
            let time = Duration::from_millis(millis);
            assert_eq!(duration(&show_duration(time)), Some(time));
            let bytes = random.u64(0..=LARGEST) >> random.u32(0..50);
            assert_eq!(size(&show_size(bytes)), Some(bytes));
        }
    }
}
