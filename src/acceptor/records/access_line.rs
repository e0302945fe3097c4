//! The look of an access record: a line for people, or one JSON object.
//!
//! Lines are written digit by digit, because a record should cost less than its request. Never here: where a record
//! goes (`access_log`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Version;
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::Serialize;

use crate::name::AppName;

use super::access_record::{AccessRecord, Outcome, Particulars};

/// The parts of one line.
#[derive(Debug)]
pub(in crate::acceptor) struct AccessEntry<'a> {
    pub(in crate::acceptor) time: SystemTime,
    pub(in crate::acceptor) total: Duration,
    pub(in crate::acceptor) app: Option<&'a AppName>,
    pub(in crate::acceptor) record: &'a AccessRecord,
    pub(in crate::acceptor) particulars: &'a Particulars,
}

/// Adds the record to `out` as one line for people: local time, total time, time in the worker, method, path, status,
/// content type, length, who asks where that is known, and what went wrong.
pub(in crate::acceptor) fn human(
    out: &mut Vec<u8>,
    entry: &AccessEntry<'_>,
    calendar: &mut Calendar,
    colours: bool,
) {
    let AccessEntry { record, particulars, .. } = entry;
    let (on, off) = if colours { (colour(record.status), "\x1b[0m") } else { ("", "") };
    put(out, calendar.stamp(entry.time));
    if let Some(app) = entry.app {
        word(out, app.as_str());
    }
    out.push(b' ');
    seconds(out, entry.total);
    out.push(b' ');
    match record.in_worker {
        Some(time) => seconds(out, time),
        None => out.push(b'-'),
    }
    word(out, particulars.method.as_str());
    out.push(b' ');
    escaped(out, particulars.path());
    word(out, on);
    number(out, record.status);
    put(out, off);
    out.push(b' ');
    escaped(out, particulars.kind());
    out.push(b' ');
    number(out, record.bytes);
    if let Some(user) = &particulars.user {
        put(out, " user=");
        escaped(out, &user.replace(' ', "\\x20"));
    }
    if record.outcome == Outcome::Truncated {
        put(out, " truncated");
    }
    if let Some(reason) = record.reason {
        word(out, reason);
    }
    word(out, particulars.id.as_str());
    out.push(b'\n');
}

/// Adds the record to `out` as one JSON object, with the names of the original rip-server, and more.
pub(in crate::acceptor) fn json(out: &mut Vec<u8>, entry: &AccessEntry<'_>, calendar: &mut Calendar) {
    let AccessEntry { record, particulars, .. } = entry;
    let object = JsonRecord {
        app: entry.app.map(AppName::as_str),
        client: particulars.client,
        generation: record.generation.map(|generation| generation.0),
        host: particulars.host.as_deref(),
        id: particulars.id.as_str(),
        length: record.bytes,
        method: particulars.method.as_str(),
        outcome: record.outcome,
        path: particulars.path(),
        queue_seconds: record.queued.map(rounded),
        reason: record.reason,
        status: record.status,
        t: calendar.stamp(entry.time),
        total_seconds: rounded(entry.total),
        kind: particulars.kind(),
        user: particulars.user.as_deref(),
        version: version_of(particulars.version),
        worker: record.worker.map(|worker| worker.0),
        worker_seconds: record.in_worker.map(rounded),
    };
    // Writing strings and numbers into a Vec cannot fail.
    let _ = serde_json::to_writer(&mut *out, &object);
    out.push(b'\n');
}

/// The fields of a line, in the order in which they are written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonRecord<'a> {
    app: Option<&'a str>,
    client: std::net::IpAddr,
    generation: Option<u64>,
    host: Option<&'a str>,
    id: &'a str,
    length: u64,
    method: &'a str,
    outcome: Outcome,
    path: &'a str,
    queue_seconds: Option<f64>,
    reason: Option<&'a str>,
    status: u16,
    t: &'a str,
    total_seconds: f64,
    #[serde(rename = "type")]
    kind: &'a str,
    user: Option<&'a str>,
    version: &'static str,
    worker: Option<u64>,
    worker_seconds: Option<f64>,
}

/// Local time as text; the zone is looked up once a second.
#[derive(Debug)]
pub(in crate::acceptor) struct Calendar {
    /// The format for strftime, up to the fraction of a second.
    format: &'static str,
    second: Option<u64>,
    text: String,
    /// The place of the fraction in the text.
    millis: usize,
}

impl Calendar {
    /// The calendar of lines for people: local time.
    pub(in crate::acceptor) fn human() -> Self {
        Self { format: "%Y-%m-%d %H:%M:%S.", second: None, text: String::new(), millis: 0 }
    }

    /// The calendar of JSON objects.
    pub(in crate::acceptor) fn json() -> Self {
        Self { format: "%Y-%m-%dT%H:%M:%S.", ..Self::human() }
    }

    /// The time with milliseconds and zone. A time before 1970, of a clock that was never set, is shown as the
    /// beginning of 1970.
    fn stamp(&mut self, time: SystemTime) -> &str {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.turn_to(since.as_secs());
        }
        let millis = since.subsec_millis();
        let digits = [millis / 100, millis / 10 % 10, millis % 10].map(|digit| b'0' + digit as u8);
        self.text.replace_range(self.millis..self.millis + 3, std::str::from_utf8(&digits).unwrap_or("000"));
        &self.text
    }

    fn turn_to(&mut self, second: u64) {
        let time = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
        let local: Zoned = time.unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system());
        self.second = Some(second);
        self.text = local.strftime(self.format).to_string();
        self.millis = self.text.len();
        self.text.push_str("000");
        self.text.push_str(&local.strftime("%:z").to_string());
    }
}

impl Particulars {
    fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |target| target.as_str())
    }

    /// The media type, without its parameters.
    fn kind(&self) -> &str {
        let kind = self.kind.as_ref().and_then(|kind| kind.to_str().ok()).unwrap_or("-");
        kind.split(';').next().unwrap_or("-").trim()
    }
}

fn version_of(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn word(out: &mut Vec<u8>, text: &str) {
    out.push(b' ');
    put(out, text);
}

fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    put(out, itoa::Buffer::new().format(number));
}

/// Adds text of a client, escaped: it must not be able to write a line of its own, or to control a terminal.
fn escaped(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return put(out, text);
    }
    for c in text.chars() {
        match c {
            c if c.is_ascii_graphic() => out.push(c as u8),
            c => out.extend(c.escape_default().map(|c| c as u8)),
        }
    }
}

/// Adds a duration: milliseconds with one digit after the point, or from a second on seconds with two.
fn seconds(out: &mut Vec<u8>, time: Duration) {
    let nanos = time.as_nanos();
    if time < Duration::from_secs(1) {
        let tenths = (nanos as u64 + 50_000) / 100_000;
        number(out, tenths / 10);
        out.extend_from_slice(&[b'.', b'0' + (tenths % 10) as u8, b'm', b's']);
    } else {
        let hundredths = u64::try_from((nanos + 5_000_000) / 10_000_000).unwrap_or(u64::MAX);
        number(out, hundredths / 100);
        out.extend_from_slice(&[
            b'.',
            b'0' + (hundredths / 10 % 10) as u8,
            b'0' + (hundredths % 10) as u8,
            b's',
        ]);
    }
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

fn colour(status: u16) -> &'static str {
    match status {
        0..400 => "\x1b[32m",
        400..500 => "\x1b[33m",
        _ => "\x1b[31m",
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method, Uri};

    use super::*;
    use crate::name::{GenerationId, RequestId, WorkerId};

    fn particulars() -> Particulars {
        Particulars {
            host: Some("a.example".into()),
            method: Method::GET,
            uri: Uri::from_static("/a?b=%0a"),
            kind: Some(HeaderValue::from_static("text/plain; charset=utf-8")),
            ..Particulars::blank(RequestId::parse(b"request-1").unwrap(), [10, 0, 0, 1].into())
        }
    }

    fn record() -> AccessRecord {
        AccessRecord {
            status: 200,
            reason: None,
            outcome: Outcome::Complete,
            bytes: 12,
            queued: None,
            in_worker: Some(Duration::from_micros(2100)),
            worker: Some(WorkerId(7)),
            generation: None,
        }
    }

    const TIME: Duration = Duration::from_millis(1_772_362_800_042);

    /// The local time at that moment, by the machine's own clock functions.
    fn then(format: &str) -> String {
        let time = Timestamp::from_millisecond(TIME.as_millis() as i64).unwrap();
        time.to_zoned(TimeZone::system()).strftime(format).to_string()
    }

    fn written(
        record: &AccessRecord,
        particulars: &Particulars,
        app: Option<&AppName>,
        write: impl FnOnce(&mut Vec<u8>, &AccessEntry<'_>),
    ) -> String {
        let (time, total) = (UNIX_EPOCH + TIME, Duration::from_micros(3400));
        let mut out = Vec::new();
        write(&mut out, &AccessEntry { time, total, app, record, particulars });
        String::from_utf8(out).unwrap()
    }

    /// A line for people without its time.
    fn line(
        record: &AccessRecord,
        particulars: &Particulars,
        app: Option<&AppName>,
        colours: bool,
    ) -> String {
        let line = written(record, particulars, app, |out, entry| {
            human(out, entry, &mut Calendar::human(), colours);
        });
        line.strip_prefix(&then("%Y-%m-%d %H:%M:%S%.3f%:z")).unwrap().to_owned()
    }

    #[test]
    fn a_line_for_people_has_the_facts_in_order() {
        let app = AppName::parse("api").unwrap();
        assert_eq!(
            line(&record(), &particulars(), Some(&app), false),
            " api 3.4ms 2.1ms GET /a?b=%0a 200 text/plain 12 request-1\n"
        );
        let user = Particulars { user: Some("an na".into()), ..particulars() };
        assert!(line(&record(), &user, Some(&app), false).ends_with(" 12 user=an\\x20na request-1\n"));
        let (app, id) = (None, RequestId::parse(b"request-2").unwrap());
        let cut = AccessRecord {
            status: 502,
            reason: Some("worker-died"),
            outcome: Outcome::Truncated,
            in_worker: None,
            ..record()
        };
        assert_eq!(
            line(&cut, &Particulars::blank(id, [10, 0, 0, 1].into()), app, true),
            " 3.4ms - GET / \u{1b}[31m502\u{1b}[0m - 12 truncated worker-died request-2\n"
        );
    }

    #[test]
    fn json_has_the_names_of_the_original_each_with_its_value_or_null() {
        let app = AppName::parse("api").unwrap();
        let of = |record: &AccessRecord, particulars: &Particulars, app| {
            let object = written(record, particulars, app, |out, entry| {
                json(out, entry, &mut Calendar::json());
            });
            object.replace(&then("%Y-%m-%dT%H:%M:%S%.3f%:z"), "THEN")
        };
        assert_eq!(
            of(&record(), &particulars(), Some(&app)),
            concat!(
                r#"{"app":"api","client":"10.0.0.1","generation":null,"host":"a.example","id":"request-1","#,
                r#""length":12,"method":"GET","outcome":"complete","path":"/a?b=%0a","queueSeconds":null,"#,
                r#""reason":null,"status":200,"t":"THEN","totalSeconds":0.0034,"type":"text/plain","#,
                r#""user":null,"version":"1.1","worker":7,"workerSeconds":0.0021}"#,
                "\n"
            )
        );
        let gone = AccessRecord {
            status: 499,
            reason: Some("client-gone"),
            outcome: Outcome::ClientGone,
            queued: Some(Duration::from_nanos(1_999)),
            generation: Some(GenerationId(3)),
            ..record()
        };
        let unknown = Particulars {
            uri: Uri::from_static("/\"\\"),
            user: Some("anna".into()),
            version: Version::HTTP_2,
            ..Particulars::blank(RequestId::parse(b"request-2").unwrap(), "::1".parse().unwrap())
        };
        assert_eq!(
            of(&gone, &unknown, None),
            concat!(
                r#"{"app":null,"client":"::1","generation":3,"host":null,"id":"request-2","length":12,"#,
                r#""method":"GET","outcome":"client-gone","path":"/\"\\","queueSeconds":2e-6,"#,
                r#""reason":"client-gone","status":499,"t":"THEN","totalSeconds":0.0034,"type":"-","#,
                r#""user":"anna","version":"2","worker":7,"workerSeconds":0.0021}"#,
                "\n"
            )
        );
    }

    #[test]
    fn times_have_as_many_digits_as_somebody_reads() {
        for (nanos, text) in [
            (0, "0.0ms"),
            (49_999, "0.0ms"),
            (50_001, "0.1ms"),
            (3_449_999, "3.4ms"),
            (999_949_999, "999.9ms"),
            (999_999_999, "1000.0ms"),
            (1_000_000_000, "1.00s"),
            (1_005_000_001, "1.01s"),
            (61_239_999_999, "61.24s"),
        ] {
            let mut out = Vec::new();
            seconds(&mut out, Duration::from_nanos(nanos));
            assert_eq!(String::from_utf8(out).unwrap(), text, "{nanos}");
        }
    }

    #[test]
    fn a_calendar_goes_on_from_second_to_second_and_back() {
        let mut calendar = Calendar::human();
        for millis in [1_772_362_800_042, 1_772_362_800_999, 1_772_362_801_000, 1_772_362_799_001, 7] {
            let time = Timestamp::from_millisecond(millis).unwrap();
            let shown = time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f%:z").to_string();
            assert_eq!(calendar.stamp(UNIX_EPOCH + Duration::from_millis(millis as u64)), shown);
        }
        let before = calendar.stamp(UNIX_EPOCH - Duration::from_secs(1)).to_owned();
        assert_eq!(calendar.stamp(UNIX_EPOCH), before);
    }

    #[test]
    fn nothing_a_client_sends_breaks_a_line() {
        let mut out = Vec::new();
        escaped(&mut out, "a\nb\x1b[31m \u{e9}");
        assert_eq!(String::from_utf8(out).unwrap(), "a\\nb\\u{1b}[31m \\u{e9}");
    }
}
