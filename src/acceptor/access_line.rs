//! The look of an access record: a line for people, or one JSON object.
//!
//! Never here: where it goes (`access`).

use std::io::Write;
use std::time::Duration;

use http::Version;
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde_json::{Map, Value, json};

use super::access::{Outcome, Record};

/// One line: local time, total time, time in the worker, method, path, status, content type, length, and what went wrong.
pub(super) fn human(out: &mut Vec<u8>, record: &Record, colours: bool) {
    let time = local(record);
    let path = escaped(&path_of(record));
    let (on, off) = if colours { (colour(record.status), "\x1b[0m") } else { ("", "") };
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "{}{} {} {} {} {on}{}{off} {} {}",
        time.strftime("%Y-%m-%d %H:%M:%S%.3f%:z"),
        Field(record.app.as_ref().map(|app| app.as_str())),
        Seconds(Some(record.total)),
        Seconds(record.in_worker),
        format_args!("{} {path}", record.method),
        record.status,
        escaped(&kind_of(record)),
        record.bytes,
    );
    match record.outcome {
        Outcome::Truncated => out.extend_from_slice(b" truncated"),
        Outcome::Complete | Outcome::ClientGone => {}
    }
    if let Some(reason) = record.reason {
        let _ = write!(out, " {reason}");
    }
    let _ = writeln!(out, " {}", record.id);
}

/// One object with the original's names, and more.
pub(super) fn json(out: &mut Vec<u8>, record: &Record) {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| {
        object.insert(name.to_owned(), value);
    };
    put("t", json!(local(record).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()));
    put("app", json!(record.app));
    put("host", json!(record.host));
    put("client", json!(record.client));
    put("method", json!(record.method.as_str()));
    put("path", json!(path_of(record)));
    put("version", json!(version_of(record.version)));
    put("status", json!(record.status));
    put("totalSeconds", json!(rounded(record.total)));
    put("workerSeconds", json!(record.in_worker.map(rounded)));
    put("queueSeconds", json!(record.queued.map(rounded)));
    put("type", json!(kind_of(record)));
    put("length", json!(record.bytes));
    put("worker", json!(record.worker));
    put("generation", json!(record.generation));
    put("id", json!(record.id.as_str()));
    put(
        "outcome",
        json!(match record.outcome {
            Outcome::Complete => "complete",
            Outcome::Truncated => "truncated",
            Outcome::ClientGone => "client-gone",
        }),
    );
    put("reason", json!(record.reason));
    // Serializing strings and numbers to a Vec cannot fail.
    let _ = serde_json::to_writer(&mut *out, &Value::Object(object));
    out.push(b'\n');
}

fn local(record: &Record) -> Zoned {
    Timestamp::try_from(record.time).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system())
}

fn path_of(record: &Record) -> String {
    record.uri.path_and_query().map_or_else(|| "/".to_owned(), |target| target.as_str().to_owned())
}

fn kind_of(record: &Record) -> String {
    let kind = record.kind.as_ref().and_then(|kind| kind.to_str().ok()).unwrap_or("-");
    kind.split(';').next().unwrap_or("-").trim().to_owned()
}

fn version_of(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// What a client sent must not be able to write a line of its own, or to a terminal.
fn escaped(text: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic();
    text.chars().map(|c| if plain(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
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

struct Field<'a>(Option<&'a str>);

impl std::fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |text| write!(f, " {text}"))
    }
}

struct Seconds(Option<Duration>);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => f.write_str("-"),
            Some(time) if time < Duration::from_secs(1) => write!(f, "{:.1}ms", time.as_secs_f64() * 1e3),
            Some(time) => write!(f, "{:.2}s", time.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{AppName, RequestId, WorkerId};
    use http::{HeaderValue, Method, Uri};

    fn record() -> Record {
        Record {
            time: std::time::SystemTime::UNIX_EPOCH,
            id: RequestId::parse(b"request-1").unwrap(),
            client: [10, 0, 0, 1].into(),
            app: Some(AppName::parse("api").unwrap()),
            host: Some("a.example".into()),
            method: Method::GET,
            uri: Uri::from_static("/a?b=%0a"),
            version: Version::HTTP_11,
            status: 200,
            reason: None,
            outcome: Outcome::Complete,
            kind: Some(HeaderValue::from_static("text/plain; charset=utf-8")),
            bytes: 12,
            total: Duration::from_micros(3400),
            queued: None,
            in_worker: Some(Duration::from_micros(2100)),
            worker: Some(WorkerId(7)),
            generation: None,
        }
    }

    #[test]
    fn a_line_for_people_has_the_facts_in_order() {
        let mut out = Vec::new();
        human(&mut out, &record(), false);
        let line = String::from_utf8(out).unwrap();
        let after_time = line.split_once(" api ").unwrap().1;
        assert_eq!(after_time, "3.4ms 2.1ms GET /a?b=%0a 200 text/plain 12 request-1\n");
    }

    #[test]
    fn json_keeps_the_names_of_the_original() {
        let mut out = Vec::new();
        json(&mut out, &record());
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["app"], "api");
        assert_eq!(value["totalSeconds"], 0.0034);
        assert_eq!(value["workerSeconds"], 0.0021);
        assert_eq!((value["status"].as_u64(), value["length"].as_u64()), (Some(200), Some(12)));
        assert_eq!(
            (&value["path"], &value["type"], &value["worker"]),
            (&json!("/a?b=%0a"), &json!("text/plain"), &json!(7))
        );
    }

    #[test]
    fn nothing_a_client_sends_breaks_a_line() {
        assert_eq!(escaped("a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
    }
}
