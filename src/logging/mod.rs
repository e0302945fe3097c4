//! Owns where log records go and how they look: the journal, a terminal, or plain lines, chosen once at the start.
//!
//! Never here: access records, which have a thread of their own; or waiting for the reader of the records (`outlet`).

mod app_line;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod journal;
mod journal_socket;
mod outlet;

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use jiff::Zoned;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;

use crate::name::InstanceName;

use app_line::AppLines;
pub(crate) use app_line::{Colours, safe};
pub(crate) use outlet::{FlushAtEnd, last_words, records_dropped, say, this_thread_may_wait};

/// The form of records on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogStyle {
    /// Records are JSON objects, one a line.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogTarget {
    /// The journal, natively, each field as a journal field.
    Journal,
    /// Standard error, which is a terminal.
    Terminal,
    /// Standard error, which is not a terminal, or gets JSON.
    Plain,
}

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoggingError {
    /// A word in the levels is no level. The filter would take it for a module's name and log nothing.
    #[error("`{read}`: `{word}` is no level; {EXPECTED}")]
    Level { read: String, word: String },
    /// The levels do not parse.
    #[error("`{read}`: {source}; {EXPECTED}")]
    Syntax { read: String, source: tracing_subscriber::filter::ParseError },
    /// The thread that writes cannot be started.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(#[from] io::Error),
    /// Logging was started before.
    #[error("logging was started twice")]
    Twice(#[from] SetGlobalDefaultError),
}

/// Starts logging for the whole process; to be called once, before anything logs.
///
/// Without a `style`, records go natively to the journal if stderr is connected to it and journald answers, else as
/// human lines to stderr. With a `style`, records go to stderr in any case. `levels` (such as `info` or
/// `info,hyper=debug`) decide what is recorded; none at all mean `info`. In the journal every field gets the prefix
/// `RIP_`, and every record the field `RIP_INSTANCE` where the instance is known.
///
/// # Errors
/// Bad levels, or a second start.
pub(crate) fn start(
    style: Option<LogStyle>,
    instance: Option<&InstanceName>,
    levels: &str,
) -> Result<LogTarget, LoggingError> {
    let filter = filter(levels)?;
    std::panic::set_hook(Box::new(report_panic));
    if style.is_none()
        && libsystemd::logging::connected_to_journal()
        && let Ok(socket) = journal_socket::JournalSocket::connect()
    {
        outlet::open(Some(socket))?;
        let records = journal::JournalRecords::new(instance);
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(filter).with(records))?;
        return Ok(LogTarget::Journal);
    }

    outlet::open(None)?;
    let terminal = io::stderr().is_terminal();
    if style == Some(LogStyle::Json) {
        tracing::subscriber::set_global_default(json(filter, outlet::stderr))?;
        return Ok(LogTarget::Plain);
    }
    let colours = if terminal && !no_color() { Colours::On } else { Colours::Off };
    if terminal {
        tracing::subscriber::set_global_default(on_a_terminal(filter, colours, outlet::stderr))?;
        return Ok(LogTarget::Terminal);
    }
    tracing::subscriber::set_global_default(human(filter, colours, outlet::stderr))?;
    Ok(LogTarget::Plain)
}

/// Whether `NO_COLOR` is set and not empty, whatever its value (<https://no-color.org>).
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Whether [`start`] would take these levels.
///
/// # Errors
/// The fault of the directives.
pub(crate) fn check_levels(read: &str) -> Result<(), LoggingError> {
    filter(read).map(drop)
}

fn filter(read: &str) -> Result<EnvFilter, LoggingError> {
    let read = if read.is_empty() { DEFAULT_LEVELS } else { read };
    // The parser takes an empty word for `error`.
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    // Inside brackets, which only people write who know the syntax, a comma separates fields.
    if !read.contains('[')
        && let Some(word) = read.split(',').find(|word| !word.contains('=') && !is_level(word))
    {
        return Err(LoggingError::Level { read: read.into(), word: word.into() });
    }
    EnvFilter::builder().parse(read).map_err(|source| LoggingError::Syntax { read: read.into(), source })
}

/// Reports a panic as the standard library does, but without waiting for the reader of standard error.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let payload = panic.payload();
    let text = payload.downcast_ref::<&'static str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    let trace = std::backtrace::Backtrace::capture();
    let trace = match trace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("{trace}\n"),
        _ => String::new(),
    };
    say(&format!("thread '{name}' panicked at {place}:\n{text}\n{trace}"));
}

fn human<W>(filter: EnvFilter, colours: Colours, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .event_format(for_people(&filter))
        .with_ansi(colours == Colours::On)
        // The library's complaint about a closed stderr would panic.
        .log_internal_errors(false)
        .with_writer(writer);
    tracing_subscriber::registry().with(filter).with(lines)
}

/// Starts logging as [`human`] does, with the lines of apps in their own form.
fn on_a_terminal<W>(filter: EnvFilter, colours: Colours, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .event_format(AppLines::beside(for_people(&filter), colours))
        .with_ansi(colours == Colours::On)
        .log_internal_errors(false)
        .with_writer(writer);
    tracing_subscriber::registry().with(filter).with(lines)
}

fn for_people(filter: &EnvFilter) -> Format<Full, LocalTime> {
    // The module is noise to most operators, and the first question of one who asked for more than info.
    let modules = filter.max_level_hint().is_none_or(|level| level > LevelFilter::INFO);
    tracing_subscriber::fmt::format().with_timer(LocalTime(HUMAN_TIME)).with_target(modules)
}

fn json<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let objects = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_timer(LocalTime(JSON_TIME))
        .log_internal_errors(false)
        .with_writer(writer);
    tracing_subscriber::registry().with(filter).with(objects)
}

/// Local time in a format of strftime, with the zone looked up anew for each record.
struct LocalTime(&'static str);

impl FormatTime for LocalTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", Zoned::now().strftime(self.0))
    }
}

/// The levels where no setting names others.
const DEFAULT_LEVELS: &str = "info";
const EXPECTED: &str = "expected something like `info`, `debug` or `info,hyper=debug`";
const HUMAN_TIME: &str = "%Y-%m-%d %H:%M:%S%.3f";
const JSON_TIME: &str = "%Y-%m-%dT%H:%M:%S%.3f%:z";

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn of(text: &str) -> Result<EnvFilter, LoggingError> {
        filter(text)
    }

    fn human_page(filter: &str, colours: Colours, act: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let lines = human(of(filter).unwrap(), colours, move || writer.clone());
        tracing::subscriber::with_default(lines, act);
        page.text()
    }

    /// Splits the time off a line, after a check of its shape.
    fn without_time<'a>(line: &'a str, shape: &str) -> &'a str {
        let (time, rest) = line.split_at(shape.len());
        let fits = |(c, s): (char, char)| if s == '0' { c.is_ascii_digit() } else { c == s };
        assert!(time.chars().zip(shape.chars()).all(fits), "{time} does not look like {shape}");
        rest
    }

    #[test]
    fn info_is_recorded_unless_asked_otherwise() {
        assert_eq!(filter("").unwrap().to_string(), "info");
        assert_eq!(of("").unwrap().to_string(), "info");
        assert_eq!(of("off").unwrap().to_string(), "off");
        assert_eq!(of("WARN").unwrap().max_level_hint(), Some(LevelFilter::WARN));
        assert_eq!(of("info,hyper=debug").unwrap().max_level_hint(), Some(LevelFilter::DEBUG));
    }

    #[test]
    fn a_bad_level_is_shown_with_what_would_be_right() {
        let expected = "`warn,inof`: `inof` is no level; expected something like `info`, `debug` or \
                        `info,hyper=debug`";
        assert_eq!(of("warn,inof").unwrap_err().to_string(), expected);

        for text in ["inof", "info,", "rip_server", "7"] {
            assert!(matches!(of(text), Err(LoggingError::Level { .. })), "{text}");
        }
        for text in ["rip_server=loud", "a=b=c", "[span"] {
            let error = of(text).unwrap_err();
            assert!(matches!(error, LoggingError::Syntax { .. }), "{text}");
            assert!(error.to_string().starts_with(&format!("`{text}`: ")), "{error}");
        }
    }

    #[test]
    fn a_line_for_people_has_local_time_level_message_and_fields() {
        let page = human_page("info", Colours::Off, || {
            tracing::info!(app = "blog", worker = 3, "worker ready");
            tracing::debug!("not asked for");
        });
        assert_eq!(
            without_time(&page, "0000-00-00 00:00:00.000"),
            "  INFO worker ready app=\"blog\" worker=3\n"
        );
    }

    #[test]
    fn modules_are_shown_to_whoever_asks_for_more_than_info() {
        let page = human_page("debug", Colours::Off, || tracing::debug!("details"));
        assert_eq!(
            without_time(&page, "0000-00-00 00:00:00.000"),
            " DEBUG rip_server::logging::tests: details\n"
        );
    }

    #[test]
    fn colours_are_only_used_when_asked_for() {
        let escape = '\u{1b}';
        let log = || tracing::warn!("look");
        assert!(human_page("info", Colours::On, log).contains(escape));
        assert!(!human_page("info", Colours::Off, log).contains(escape));
    }

    #[test]
    fn a_record_cannot_break_its_line_or_colour_the_terminal() {
        let page = human_page("info", Colours::Off, || {
            tracing::info!(path = "/a\n2030-01-01 ERROR forged\u{1b}[31m", "odd");
        });
        assert_eq!(page.lines().count(), 1, "{page}");
        assert!(!page.contains('\u{1b}'));
    }

    #[test]
    fn a_json_record_is_one_object_with_its_fields_on_top() {
        let page = Page::default();
        let writer = page.clone();
        let objects = json(of("info").unwrap(), move || writer.clone());

        tracing::subscriber::with_default(objects, || tracing::info!(app = "blog", worker = 3, "ready\nnow"));

        let text = page.text();
        assert_eq!(text.lines().count(), 1);
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(record["message"], "ready\nnow");
        assert_eq!(record["level"], "INFO");
        assert_eq!(record["app"], "blog");
        assert_eq!(record["worker"], 3);
        let time = record["timestamp"].as_str().unwrap();
        let zone = without_time(time, "0000-00-00T00:00:00.000");
        assert_eq!((zone.len(), &zone[3..4]), (6, ":"), "{time}");
    }
}
