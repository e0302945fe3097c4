//! Owns asking when a calendar expression comes next. systemd-analyze(1) is asked, so that an expression means here what
//! it means in a timer unit.
//!
//! Never here: waiting for that time (`timer`).

use std::io;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use httpdate::parse_http_date;

/// Why a calendar expression has no times.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CalendarError {
    /// The text is no calendar expression.
    #[error(
        "`{0}` is no time of a calendar: expected one such as daily, Mon..Fri 09:00 or *-*-01 04:30, systemd.time(7)"
    )]
    Expression(String),
    /// The program is not there.
    #[error(
        "systemd-analyze, which is asked for the times of a calendar, cannot be run: {0}; `every = \"1d\"` does without it"
    )]
    Program(#[from] io::Error),
    /// The program's answer is not understood.
    #[error("systemd-analyze says of `{expression}` what is not understood: {said}")]
    Answer { expression: String, said: String },
}

/// The first time of an expression after `after`; `None`: there is none. Blocks for some milliseconds.
pub(crate) fn next(expression: &str, after: SystemTime) -> Result<Option<SystemTime>, CalendarError> {
    let seconds = after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let output = Command::new("systemd-analyze")
        .args(["calendar", "--iterations=1", &format!("--base-time=@{seconds}"), "--", expression])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(CalendarError::Expression(expression.into()));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    read(&said)
        .ok_or_else(|| CalendarError::Answer { expression: expression.into(), said: said.trim().into() })
}

/// The time in the answer: that of the line `(in UTC)` where there is one.
fn read(answer: &str) -> Option<Option<SystemTime>> {
    let line = |title: &str| answer.lines().find_map(|line| line.trim().strip_prefix(title)).map(str::trim);
    let time = line("(in UTC):").or_else(|| line("Next elapse:"))?;
    if time == "never" {
        return Some(None);
    }
    // `Mon 2026-11-30 07:10:00 UTC` as the field `Date` has it.
    let mut words = time.split_whitespace();
    let (weekday, date, clock) = (words.next()?, words.next()?, words.next()?);
    let mut date = date.split('-');
    let (year, month, day) = (date.next()?, date.next()?.parse::<usize>().ok()?, date.next()?);
    let month = MONTHS.get(month.checked_sub(1)?)?;
    let clock = clock.split('.').next()?;
    parse_http_date(&format!("{weekday}, {day} {month} {year} {clock} GMT")).ok().map(Some)
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_of_systemd_analyze_are_read() {
        let at = |seconds| Some(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        let utc = "  Original form: daily\nNormalized form: *-*-* 00:00:00\n    Next elapse: Wed 2023-11-15 00:00:00 UTC\n";
        assert_eq!(read(utc), at(1_700_006_400));
        let local = "    Next elapse: Tue 2026-12-01 00:00:00 CET\n       (in UTC): Mon 2026-11-30 23:00:00 UTC\n       From now: 15h left\n";
        assert_eq!(read(local), at(1_796_079_600));
        assert_eq!(read("    Next elapse: never\n"), Some(None));
        for wrong in ["", "Next elapse: soon", "Next elapse: Mon 2026-13-01 00:00:00 UTC"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
