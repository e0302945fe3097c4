//! Owns how an app's line looks on a terminal: with its worker in front, with its colours, and without anything else
//! that could control the terminal.
//!
//! Never here: the server's own records.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    /// Colours in a text are kept.
    On,
    /// Colours in a text are taken out.
    Off,
}

/// Writes records as `usual` does, but for those of the target `app`.
pub(super) struct AppLines<F> {
    usual: F,
    colours: Colours,
    /// The widest name so far, so that the lines of all workers begin in one column.
    width: AtomicUsize,
}

impl<F> AppLines<F> {
    pub(super) fn beside(usual: F, colours: Colours) -> Self {
        Self { usual, colours, width: AtomicUsize::new(0) }
    }
}

impl<S, N, F> FormatEvent<S, N> for AppLines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if event.metadata().target() != "app" {
            return self.usual.format_event(context, writer, event);
        }
        let mut line = AppLine::default();
        event.record(&mut line);
        let name = format!("{}/{}", line.app, line.worker);
        let own = name.chars().count();
        let width = self.width.fetch_max(own, Ordering::Relaxed).max(own);
        let (dim, end) = if self.colours == Colours::On { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        writeln!(writer, "{dim}{name:width$} |{end} {}", safe(&line.text, self.colours))
    }
}

#[derive(Default)]
struct AppLine {
    app: String,
    worker: String,
    text: String,
}

impl Visit for AppLine {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let place = match field.name() {
            "app" => &mut self.app,
            "worker" => &mut self.worker,
            "message" => &mut self.text,
            _ => return,
        };
        // Writing to a String cannot fail.
        let _ = write!(place, "{value:?}");
    }
}

/// Text of another program as one line for a terminal. The text's colours are kept and end with the line; other
/// characters that could control the terminal become spaces.
pub(crate) fn safe(text: &str, colours: Colours) -> String {
    let mut out = String::with_capacity(text.len());
    let mut coloured = false;
    let mut rest = text;
    while let Some(at) = rest.find(ESCAPE) {
        plain(&rest[..at], &mut out);
        rest = &rest[at..];
        let length = sequence(rest);
        let read = &rest[..length];
        if colours == Colours::On && is_colour(read) {
            out.push_str(read);
            coloured = true;
        }
        rest = &rest[length..];
    }
    plain(rest, &mut out);
    let kept = out.trim_end().len();
    out.truncate(kept);
    if coloured {
        out.push_str("\x1b[0m");
    }
    out
}

fn plain(text: &str, out: &mut String) {
    // C1 controls are replaced, too: `\u{9b}` begins a sequence for some terminals.
    out.extend(text.chars().map(|c| if c == '\t' || !c.is_control() { c } else { ' ' }));
}

/// The length in bytes of the escape sequence at the beginning (ECMA-48 §5.4, §5.6); one without an end has all bytes.
fn sequence(text: &str) -> usize {
    let after = |at: usize, c: char| at + c.len_utf8();
    match text[1..].chars().next() {
        None => 1,
        // A control sequence has parameters and intermediate bytes, then one final byte; anything else breaks it off.
        Some('[') => {
            let end = text[2..].char_indices().find(|(_, c)| !matches!(*c, ' '..='?'));
            match end {
                Some((at, c @ '@'..='~')) => after(2 + at, c),
                Some((at, _)) => 2 + at,
                None => text.len(),
            }
        }
        // Strings set titles, links or the clipboard, and go up to ST or BEL, or to the next sequence.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            let end = text[2..].char_indices().find(|(_, c)| matches!(*c, '\u{7}' | '\u{9c}' | ESCAPE));
            match end {
                Some((at, ESCAPE)) if text[2 + at + 1..].starts_with('\\') => 2 + at + 2,
                Some((at, ESCAPE)) => 2 + at,
                Some((at, c)) => after(2 + at, c),
                None => text.len(),
            }
        }
        // Others select character sets and the like: intermediate bytes, then one final byte.
        Some(' '..='/') => {
            let end = text[1..].char_indices().find(|(_, c)| !matches!(*c, ' '..='/'));
            end.map_or(text.len(), |(at, c)| if c.is_ascii_graphic() { after(1 + at, c) } else { 1 + at })
        }
        Some(c) if c.is_ascii_graphic() => after(1, c),
        Some(_) => 1,
    }
}

/// Whether a sequence only changes how letters look (SGR), and does not hide them.
fn is_colour(sequence: &str) -> bool {
    let Some(numbers) = sequence.strip_prefix("\x1b[").and_then(|rest| rest.strip_suffix('m')) else {
        return false;
    };
    if numbers.len() > LONGEST
        || !numbers.bytes().all(|byte| byte.is_ascii_digit() || byte == b';' || byte == b':')
    {
        return false;
    }
    let mut parts = numbers.split(';').map(|part| part.split(':').next().unwrap_or_default());
    while let Some(part) = parts.next() {
        match part.trim_start_matches('0') {
            // A colour by number, or by red, green and blue, has further parts.
            "38" | "48" | "58" if !numbers.contains(':') => match parts.next() {
                Some("5") => drop(parts.next()),
                Some("2") => drop(parts.by_ref().take(3).count()),
                _ => return false,
            },
            // The attribute 8 conceals letters.
            "8" => return false,
            _ => {}
        }
    }
    true
}

const ESCAPE: char = '\u{1b}';
/// The longest sequence that is taken for a colour.
const LONGEST: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_pass_and_end_with_their_line() {
        for (text, shown) in [
            ("plain", "plain"),
            ("\x1b[31mred\x1b[0m rest", "\x1b[31mred\x1b[0m rest\x1b[0m"),
            ("\x1b[1;38;5;208mx", "\x1b[1;38;5;208mx\x1b[0m"),
            ("\x1b[38;2;8;8;8mx", "\x1b[38;2;8;8;8mx\x1b[0m"),
            ("\x1b[38:2::1:2:3mx", "\x1b[38:2::1:2:3mx\x1b[0m"),
            ("\x1b[mx  ", "\x1b[mx\x1b[0m"),
            ("a\tb", "a\tb"),
        ] {
            assert_eq!(safe(text, Colours::On), shown, "{text:?}");
        }
        assert_eq!(safe("\x1b[31mred\x1b[0m", Colours::Off), "red");
    }

    #[test]
    fn nothing_else_steers_the_terminal() {
        for (text, shown) in [
            ("\x1b[2Jgone", "gone"),
            ("\x1b[1;1Hhome", "home"),
            ("\x1b]0;title\x07x", "x"),
            ("\x1b]52;c;AAAA\x1b\\x", "x"),
            ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b]0;open \x1b[31mred", "\x1b[31mred\x1b[0m"),
            ("\x1bPq#0\x1b\\x", "x"),
            ("\x1b(0lqk", "lqk"),
            ("\x1bcreset", "reset"),
            ("\x1b[8mhidden", "hidden"),
            ("\x1b[0;08mhidden", "hidden"),
            ("\x1b[?25l\x1b[6nx", "x"),
            ("\u{9b}31mx", " 31mx"),
            ("back\rover\x08\x07", "back over"),
            ("\x1b[31\x1b[2Jx", "x"),
            ("\x1b[", ""),
            ("\x1b", ""),
            ("\x1b]unended", ""),
            ("é\x1bé", "éé"),
        ] {
            let safe = safe(text, Colours::On);
            assert_eq!(safe, shown, "{text:?}");
        }
    }
}
