//! Records for the journal, in its native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! Never here: which thread waits for journald.

use std::fmt::{Debug, Write as _};
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::outlet;
use crate::name::InstanceName;

/// Makes records out of events: fields get the prefix `RIP_`, and each record `RIP_INSTANCE` where that is known.
pub(super) struct JournalRecords {
    /// The fields that are the same in all records, encoded.
    constant: Vec<u8>,
}

impl JournalRecords {
    pub(super) fn new(instance: Option<&InstanceName>) -> Self {
        let mut constant = Vec::new();
        let program = std::env::args_os().next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default();
        put(&mut constant, "SYSLOG_IDENTIFIER", program.as_encoded_bytes());
        if let Some(instance) = instance {
            put(&mut constant, "RIP_INSTANCE", instance.as_str().as_bytes());
        }
        Self { constant }
    }

    fn encode(&self, event: &Event<'_>) -> Vec<u8> {
        let mut record = Vec::with_capacity(512);
        put_metadata(&mut record, event.metadata());
        record.extend_from_slice(&self.constant);
        event.record(&mut JournalFields(&mut record));
        record
    }
}

impl<S: Subscriber> Layer<S> for JournalRecords {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        outlet::to_journal(&self.encode(event));
    }
}

fn put_metadata(record: &mut Vec<u8>, metadata: &Metadata<'_>) {
    // The priorities are those of syslog(3).
    let priority = match *metadata.level() {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    };
    put(record, "PRIORITY", priority.as_bytes());
    put(record, "TARGET", metadata.target().as_bytes());
    if let Some(file) = metadata.file() {
        put(record, "CODE_FILE", file.as_bytes());
    }
    if let Some(line) = metadata.line() {
        put(record, "CODE_LINE", line.to_string().as_bytes());
    }
}

struct JournalFields<'a>(&'a mut Vec<u8>);

impl Visit for JournalFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        put(self.0, &name(field), value.as_bytes());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // A value that cannot be written whole is written as far as it goes.
        let _ = write!(text, "{value:?}");
        put(self.0, &name(field), text.as_bytes());
    }
}

/// The name in capitals, digits and `_`: journald drops fields of other names.
fn name(field: &Field) -> String {
    match field.name() {
        "message" => "MESSAGE".into(),
        other => {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
            format!("RIP_{}", other.trim_start_matches('_').chars().map(plain).collect::<String>())
        }
    }
}

/// Adds a field in the form that takes any value: name, length, value.
fn put(record: &mut Vec<u8>, name: &str, value: &[u8]) {
    record.extend_from_slice(name.as_bytes());
    record.push(b'\n');
    record.extend_from_slice(&(value.len() as u64).to_le_bytes());
    record.extend_from_slice(value);
    record.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Keeps the records that would be sent.
    struct Kept(JournalRecords, Arc<Mutex<Vec<u8>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.1.lock().unwrap().extend(self.0.encode(event));
        }
    }

    fn fields(mut record: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while let Some(end) = record.iter().position(|byte| *byte == b'\n') {
            let (name, rest) = record.split_at(end);
            let (length, rest) = rest[1..].split_first_chunk().unwrap();
            let (value, rest) = rest.split_at(u64::from_le_bytes(*length) as usize);
            fields.push((String::from_utf8_lossy(name).into(), String::from_utf8_lossy(value).into()));
            record = rest.strip_prefix(b"\n").unwrap();
        }
        fields
    }

    #[test]
    fn a_record_has_message_priority_and_prefixed_fields() {
        let page = Arc::new(Mutex::new(Vec::new()));
        let instance = InstanceName::parse("blog").unwrap();
        let layer = Kept(JournalRecords::new(Some(&instance)), Arc::clone(&page));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(target: "app", app = "blog", worker = 3, why = ?"a\nb", "two\nlines");
        });
        let record = fields(&page.lock().unwrap());
        let value = |name: &str| record.iter().find(|(known, _)| known == name).map(|(_, value)| &**value);
        for (name, expected) in [
            ("PRIORITY", "4"),
            ("TARGET", "app"),
            ("MESSAGE", "two\nlines"),
            ("RIP_INSTANCE", "blog"),
            ("RIP_APP", "blog"),
            ("RIP_WORKER", "3"),
            ("RIP_WHY", "\"a\\nb\""),
        ] {
            assert_eq!(value(name), Some(expected), "{name} of {record:?}");
        }
        assert!(value("CODE_FILE").unwrap().ends_with("journal.rs"));
    }
}
