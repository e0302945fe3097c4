//! Owns how answers look to a person: tables, durations, sizes, colours, text that is safe on a terminal.
//!
//! Never here: where the text goes, or JSON.

use std::fmt::Display;

use comfy_table::{ContentArrangement, Table, presets};

mod certs;
mod lists;
mod status;

pub(super) use certs::{certificate, certificates, plan, renewal};
pub(super) use lists::{aborted, changed, deploy_event, hosts, log_line, scaled, workers};
pub(super) use status::status;

/// How a line of a table stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Plain,
    Quiet,
    Warning,
    Bad,
}

/// A table with aligned columns, without borders, never cut; the columns named in `right` are numbers.
fn table(header: &[&str], right: &[usize], rows: impl IntoIterator<Item = (Tone, Vec<String>)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    let mut tones = vec![Tone::Quiet];
    for (tone, cells) in rows {
        tones.push(tone);
        table.add_row(cells.iter().map(|cell| plain(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if right.contains(&column.index) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    table.lines().zip(tones).map(|(line, tone)| painted(tone, line.trim_end()) + "\n").collect()
}

fn painted(tone: Tone, text: &str) -> String {
    match tone {
        Tone::Plain => text.into(),
        Tone::Quiet => format!("\x1b[2m{text}\x1b[0m"),
        Tone::Warning => format!("\x1b[33m{text}\x1b[0m"),
        Tone::Bad => bad(text),
    }
}

fn good(text: impl Display) -> String {
    format!("\x1b[32m{text}\x1b[0m")
}

/// The text in red.
pub(super) fn bad(text: impl Display) -> String {
    format!("\x1b[31m{text}\x1b[0m")
}

/// Text of another program in one line, without what could control a terminal.
pub(super) fn plain(text: &str) -> String {
    let bare = anstream::adapter::strip_str(text).to_string();
    bare.chars()
        .map(|c| if c == '\t' || !c.is_control() { c } else { ' ' })
        .collect::<String>()
        .trim_end()
        .into()
}

/// A duration: `45 s`, `3 min 12 s`, `3 h 12 min`, `2 d 4 h`.
fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let Some(at) = UNITS.iter().position(|(size, _)| seconds >= *size) else { return "0 s".into() };
    let (size, unit) = UNITS[at];
    let mut text = format!("{} {unit}", seconds / size);
    if let Some((smaller, unit)) = UNITS.get(at + 1)
        && seconds % size / smaller > 0
    {
        text += &format!(" {} {unit}", seconds % size / smaller);
    }
    text
}

/// A number with commas: `12,345`.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size: `48.2 MiB`.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (1, "1 s"),
            (59, "59 s"),
            (60, "1 min"),
            (192, "3 min 12 s"),
            (3_600, "1 h"),
            (3_605, "1 h"),
            (11_520, "3 h 12 min"),
            (187_200, "2 d 4 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn numbers_and_sizes_are_easy_to_read() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1_023, 1_536, 50_541_363].map(size), ["0 B", "1023 B", "1.5 KiB", "48.2 MiB"]);
    }

    #[test]
    fn what_a_worker_wrote_cannot_steer_the_terminal() {
        let text = "\x1b[31mred\x1b[0m\tand \x1b]0;title\x07\x07bell\rback\x1b[2J\u{9b}31m  \n";
        let safe = plain(text);
        assert!(!safe.chars().any(|c| c.is_control() && c != '\t'), "{safe:?}");
        assert!(safe.starts_with("red\tand "), "{safe:?}");
    }

    #[test]
    fn only_whole_lines_are_coloured_so_that_columns_stay_aligned() {
        let rows =
            [(Tone::Plain, vec!["a".into(), "10".into()]), (Tone::Bad, vec!["long".into(), "9".into()])];
        let expected = "\x1b[2mNAME  COUNT\x1b[0m\na        10\n\x1b[31mlong      9\x1b[0m\n";
        assert_eq!(table(&["NAME", "COUNT"], &[1], rows), expected);
    }
}
