//! Values with parts of their own: `w:2x`, `r:10000,3600s,10r`, `200M,300M`, `50/s,100`.
//!
//! Never here: what a part that was not said falls back to (`layer`).

use std::num::NonZeroU32;

use super::units;
use super::units::number;
use super::value::{MemoryWords, RecycleWords, Wrong};
use crate::spec::{Rate, WorkerCount};

/// What [`recycle`] takes, as an error says it.
pub(crate) const RECYCLE: &str =
    "any of REQUESTS, SECONDSs and RELOADSr with commas between, such as 10000,3600s,10r (0: never), or off";
/// What [`memory`] takes, as an error says it.
pub(crate) const MEMORY: &str =
    "\"SOFT,HARD\", such as 200M,300M, 200M or ,300M (base 1024), SOFT not above HARD";

/// `half`, `auto`, `2x` or a number.
///
/// Also for the answers to `POST /workers/scale`.
pub(crate) fn workers(text: &str) -> Option<WorkerCount> {
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

/// `REQUESTS`, `SECONDSs` (or another unit of time) and `RELOADSr`, each at most once, in any order.
pub(crate) fn recycle(text: &str) -> Result<RecycleWords, Wrong> {
    let mut words = RecycleWords::default();
    if text == "off" {
        return Ok(RecycleWords { requests: Some(None), age: Some(None), reloads: Some(None) });
    }
    for part in text.split(',').map(str::trim) {
        let fresh = if let Some(requests) = number(part, 0, MOST_REQUESTS) {
            words.requests.replace(above_zero(requests)).is_none()
        } else if let Some(reloads) = part.strip_suffix('r').and_then(|part| number(part, 0, MOST_REQUESTS)) {
            words.reloads.replace(above_zero(reloads)).is_none()
        } else if let Some(age) =
            units::duration(part).filter(|_| part.ends_with(|c: char| c.is_alphabetic()))
        {
            words.age.replace(Some(age).filter(|age| !age.is_zero())).is_none()
        } else {
            return Err(Wrong(format!("{}; `{part}` is none of them", RECYCLE)));
        };
        if !fresh {
            return Err(Wrong(format!("{}; `{part}` repeats one of them", RECYCLE)));
        }
    }
    Ok(words)
}

/// `SOFT,HARD`, either left out, either `off`.
pub(crate) fn memory(text: &str) -> Result<MemoryWords, Wrong> {
    let wrong = || Wrong(MEMORY.into());
    let part = |text: &str| match text.trim() {
        "" => Ok(None),
        "off" => Ok(Some(None)),
        size => units::size(size).filter(|bytes| *bytes > 0).map(|bytes| Some(Some(bytes))).ok_or_else(wrong),
    };
    let (soft, hard) = text.split_once(',').unwrap_or((text, ""));
    let words = MemoryWords { soft: part(soft)?, hard: part(hard)? };
    let crossed =
        matches!(words, MemoryWords { soft: Some(Some(soft)), hard: Some(Some(hard)) } if soft > hard);
    if crossed || words == MemoryWords::default() { Err(wrong()) } else { Ok(words) }
}

/// `N/s` or `N/s,BURST`; without a burst it is N. The outer `None`: not a rate.
pub(crate) fn rate(text: &str) -> Option<Option<Rate>> {
    if text == "off" {
        return Some(None);
    }
    let count = |text: &str| {
        number(text.trim(), 1, u32::MAX.into()).and_then(|n| NonZeroU32::new(n.try_into().ok()?))
    };
    let (rate, burst) = text.split_once(',').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
    let per_second = count(rate.trim().strip_suffix("/s")?)?;
    let burst = burst.map_or(Some(per_second), count)?;
    Some(Some(Rate { per_second, burst }))
}

fn above_zero(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

/// More processes than that per app are a slip.
pub(crate) const MOST_WORKERS: u32 = 4096;
const MOST_REQUESTS: u64 = 1_000_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        ] {
            assert_eq!(workers(text).map(|count| count.to_string()).as_deref(), count, "{text:?}");
        }
    }

    #[test]
    fn recycling_takes_any_part_in_any_order_and_nothing_else() {
        let words = |requests, secs: Option<Option<u64>>, reloads| RecycleWords {
            requests,
            age: secs.map(|age| age.map(Duration::from_secs)),
            reloads,
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
        let words = |soft, hard| MemoryWords { soft, hard };
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
        let show = |text| rate(text).map(|rate| rate.map(|rate| (rate.per_second.get(), rate.burst.get())));
        for (text, expected) in [
            ("50/s,100", Some(Some((50, 100)))),
            ("50/s", Some(Some((50, 50)))),
            ("off", Some(None)),
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
