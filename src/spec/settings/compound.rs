//! Values with parts of their own: `w:2x`, `r:10000,3600s,10r`, `200M,300M`, `50/s,100`.
//!
//! Never here: the value of a part that was left out (`layer`).

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::setting_value::{SettingValue, Wrong};
use super::units::{self, number};
use crate::spec::setting_types::{Rate, WorkerCount, WorkerRange};

/// The values that [`recycle`] takes, as an error says it.
pub(crate) const RECYCLE: &str =
    "any of REQUESTS, SECONDSs and RELOADSr with commas between, such as 10000,3600s,10r (0: never), or off";
/// The values that [`memory`] takes, as an error says it.
pub(crate) const MEMORY: &str =
    "\"SOFT,HARD\", such as 200M,300M, 200M or ,300M (base 1024), SOFT not above HARD";

/// The values that [`workers`] takes, as an error says it.
pub(crate) const WORKERS: &str = "half, auto, 2x, 3x, a number from 1 to 4096, or two of them such as 2..8 for as many as the load asks for";
const NO_WORKER: &str = "a number of at least 1; for no worker while nobody asks, say idle = \"10min\" beside a number or a range";

/// Reads a number of workers, or two with `..` or `-` between, the smaller one first.
///
/// `POST /workers/scale` takes the same.
pub(crate) fn workers(text: &str) -> Result<WorkerRange, Wrong> {
    let (least, most) = text.split_once("..").or_else(|| text.split_once('-')).unwrap_or((text, text));
    let (least, most) = (least.trim(), most.trim());
    if number(least, 0, 0).is_some() {
        return Err(Wrong(NO_WORKER.into()));
    }
    let range = worker_count(least).zip(worker_count(most)).ok_or_else(|| Wrong(WORKERS.into()))?;
    match range {
        (WorkerCount::Exactly(least), WorkerCount::Exactly(most)) if least > most => {
            Err(Wrong(format!("the smaller number first, such as {most}..{least}")))
        }
        (least, most) => Ok(WorkerRange { least, most }),
    }
}

/// Reads `half`, `auto`, `2x` or a number.
fn worker_count(text: &str) -> Option<WorkerCount> {
    let count = |digits: &str| {
        number(digits, 1, MOST_WORKERS.into()).and_then(|count| NonZeroU32::new(count.try_into().ok()?))
    };
    match text {
        "half" => Some(WorkerCount::Half),
        "auto" => Some(WorkerCount::Auto),
        _ => match text.strip_suffix('x') {
            Some(factor) => count(factor).map(WorkerCount::Times),
            None => count(text).map(WorkerCount::Exactly),
        },
    }
}

/// Reads `REQUESTS`, `SECONDSs` (or another unit of time) and `RELOADSr`, each at most once, in any order; 0: never.
pub(crate) fn recycle(text: &str) -> Result<ParsedParts, Wrong> {
    let count = |part: &str| number(part, 0, MOST_REQUESTS).map(SettingValue::Count);
    let time = |part: &str| {
        let has_unit = part.ends_with(|c: char| c.is_alphabetic());
        units::duration(part).filter(|_| has_unit).map(SettingValue::Time)
    };
    if text == "off" {
        return Ok(["requests", "age", "reloads"].map(|name| (name, SettingValue::Off)).into());
    }
    let mut parts = ParsedParts::new();
    for part in text.split(',').map(str::trim) {
        let read = count(part)
            .map(|requests| ("requests", requests))
            .or_else(|| Some(("reloads", count(part.strip_suffix('r')?)?)))
            .or_else(|| Some(("age", time(part)?)));
        let (name, value) = read.ok_or_else(|| Wrong(format!("{RECYCLE}; `{part}` is none of them")))?;
        let is_zero = matches!(value, SettingValue::Count(0) | SettingValue::Time(Duration::ZERO));
        if parts.insert(name, if is_zero { SettingValue::Off } else { value }).is_some() {
            return Err(Wrong(format!("{RECYCLE}; `{part}` repeats one of them")));
        }
    }
    Ok(parts)
}

/// Reads `SOFT,HARD`; either may be left out or be `off`.
pub(crate) fn memory(text: &str) -> Result<ParsedParts, Wrong> {
    let (soft, hard) = text.split_once(',').unwrap_or((text, ""));
    let mut parts = ParsedParts::new();
    for (name, text) in
        [("soft", soft.trim()), ("hard", hard.trim())].into_iter().filter(|(_, text)| !text.is_empty())
    {
        let size = || units::size(text).filter(|bytes| *bytes > 0).map(SettingValue::Size);
        let value = if text == "off" { Some(SettingValue::Off) } else { size() };
        parts.insert(name, value.ok_or_else(|| Wrong(MEMORY.into()))?);
    }
    let size = |name| if let Some(SettingValue::Size(bytes)) = parts.get(name) { Some(*bytes) } else { None };
    let is_crossed = size("soft").zip(size("hard")).is_some_and(|(soft, hard)| soft > hard);
    if is_crossed || parts.is_empty() { Err(Wrong(MEMORY.into())) } else { Ok(parts) }
}

/// Reads `N/s` or `N/s,BURST`; without a burst it is N.
pub(crate) fn rate(text: &str) -> Option<Rate> {
    let count = |text: &str| {
        number(text.trim(), 1, u32::MAX.into()).and_then(|n| NonZeroU32::new(n.try_into().ok()?))
    };
    let (rate, burst) = text.split_once(',').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
    let per_second = count(rate.trim().strip_suffix("/s")?)?;
    let burst = burst.map_or(Some(per_second), count)?;
    Some(Rate { per_second, burst })
}

/// The parts that were given, by their names.
type ParsedParts = BTreeMap<&'static str, SettingValue>;

/// The most workers of an app: a higher number is a slip.
const MOST_WORKERS: u32 = 4096;
const MOST_REQUESTS: u64 = 1_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_counts_are_read() {
        for (text, count) in [
            ("half", Some("half")),
            ("auto", Some("auto")),
            ("2x", Some("2x")),
            ("3x", Some("3x")),
            ("1", Some("1")),
            ("4096", Some("4096")),
            ("4097", None),
            ("0", None),
            ("0x", None),
            ("x", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("Half", None),
            ("1.5x", None),
            ("99999999999999999999", None),
            ("2..8", Some("2..8")),
            ("2-8", Some("2..8")),
            ("2 .. 8", Some("2..8")),
            ("1..auto", Some("1..auto")),
            ("half..2x", Some("half..2x")),
            ("3..3", Some("3")),
            ("8..2", None),
            ("0..4", None),
            ("..4", None),
            ("2..", None),
            ("2..4..6", None),
            ("2..4097", None),
        ] {
            assert_eq!(workers(text).ok().map(|count| count.to_string()).as_deref(), count, "{text:?}");
        }
        for (text, hint) in [("0", "idle"), ("0..4", "idle"), ("8..2", "2..8"), ("many", "2..8")] {
            assert!(workers(text).unwrap_err().0.contains(hint), "{text}");
        }
    }

    #[test]
    fn recycling_takes_any_part_in_any_order_and_nothing_else() {
        let words =
            |requests: Option<Option<u64>>, secs: Option<Option<u64>>, reloads: Option<Option<u64>>| {
                let count = |count: Option<u64>| count.map_or(SettingValue::Off, SettingValue::Count);
                let age = secs.map(|age| {
                    age.map_or(SettingValue::Off, |secs| SettingValue::Time(Duration::from_secs(secs)))
                });
                let all = [("requests", requests.map(count)), ("age", age), ("reloads", reloads.map(count))];
                all.into_iter().filter_map(|(name, part)| Some((name, part?))).collect::<ParsedParts>()
            };
        for (text, expected) in [
            ("50000", words(Some(Some(50_000)), None, None)),
            ("3600s", words(None, Some(Some(3600)), None)),
            ("12h", words(None, Some(Some(43_200)), None)),
            ("10r", words(None, None, Some(Some(10)))),
            ("20000,1800s", words(Some(Some(20_000)), Some(Some(1800)), None)),
            ("20000,900s,10r", words(Some(Some(20_000)), Some(Some(900)), Some(Some(10)))),
            ("10r,900s,20000", words(Some(Some(20_000)), Some(Some(900)), Some(Some(10)))),
            ("0,0s,0r", words(Some(None), Some(None), Some(None))),
            ("off", words(Some(None), Some(None), Some(None))),
        ] {
            assert_eq!(recycle(text), Ok(expected), "{text:?}");
        }
        for text in
            ["", ",", "5,", "5,6", "5s,6s", "5r,6r", "5x", "soon", "-5", "5 r,off", "99999999999999999999"]
        {
            assert!(recycle(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn memory_is_soft_then_hard() {
        let words = |soft: Option<Option<u64>>, hard: Option<Option<u64>>| {
            let size = |size: Option<u64>| size.map_or(SettingValue::Off, SettingValue::Size);
            let all = [("soft", soft.map(size)), ("hard", hard.map(size))];
            all.into_iter().filter_map(|(name, part)| Some((name, part?))).collect::<ParsedParts>()
        };
        for (text, expected) in [
            ("200M,300M", words(Some(Some(200 << 20)), Some(Some(300 << 20)))),
            ("200M", words(Some(Some(200 << 20)), None)),
            (",300M", words(None, Some(Some(300 << 20)))),
            ("off,1G", words(Some(None), Some(Some(1 << 30)))),
            ("1G,1G", words(Some(Some(1 << 30)), Some(Some(1 << 30)))),
        ] {
            assert_eq!(memory(text), Ok(expected), "{text:?}");
        }
        for text in ["", ",", "2G,1G", "0", "200MB", "1,2,3", "much"] {
            assert!(memory(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_rate_without_a_burst_has_its_own_as_one() {
        let show = |text| rate(text).map(|rate| (rate.per_second.get(), rate.burst.get()));
        for (text, expected) in [
            ("50/s,100", Some((50, 100))),
            ("50/s", Some((50, 50))),
            ("50", None),
            ("0/s", None),
            ("50/s,0", None),
            ("", None),
            ("4294967296/s", None),
        ] {
            assert_eq!(show(text), expected, "{text:?}");
        }
    }
}
