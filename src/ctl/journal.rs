//! Owns reading what workers wrote from the journal, where each worker is a unit and its output never passes the
//! server. Never here: how a line looks (`render`).

use std::io;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::api::{LogLine, Service};
use crate::name::{AppName, GenerationId, InstanceName, WorkerId};

use super::trouble::{Exit, Trouble};

/// Lines as journalctl(1) finds them. Dropping it ends journalctl.
pub(super) struct Journal {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it says beside the lines.
    talk: Lines<BufReader<ChildStderr>>,
    said: Vec<String>,
    found: bool,
    user: bool,
    fallback: AppName,
}

/// Which lines.
pub(super) struct Question<'a> {
    pub(super) service: &'a Service,
    /// The pattern of the workers' units.
    pub(super) units: &'a str,
    pub(super) instance: &'a InstanceName,
    pub(super) app: Option<&'a AppName>,
    pub(super) lines: usize,
    pub(super) follow: bool,
}

impl Journal {
    /// Asks with the rights of whoever calls: root, and members of `adm` and `systemd-journal`, may read it all.
    ///
    /// # Errors
    /// When journalctl cannot be started.
    pub(super) fn open(question: &Question<'_>) -> Result<Self, Trouble> {
        let mut journalctl = Command::new("journalctl");
        journalctl.args(words(question)).stdin(Stdio::null()).kill_on_drop(true);
        journalctl.stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error: io::Error| {
            Trouble::new(Exit::Failed, "journal", format!("cannot run journalctl: {error}"))
                .hint("the workers of this server write to the journal")
        };
        let mut process = journalctl.spawn().map_err(failed)?;
        let stdout = process.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let stderr = process.stderr.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let name = question.instance.as_str();
        let fallback = question.app.cloned().or_else(|| AppName::parse(name).ok());
        let fallback = fallback.or_else(|| AppName::parse("app").ok());
        let fallback = fallback.ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        Ok(Self {
            process,
            lines: BufReader::new(stdout).lines(),
            talk: BufReader::new(stderr).lines(),
            said: Vec::new(),
            found: false,
            user: question.service.user,
            fallback,
        })
    }

    /// The next line; `None` when there are no more. Cancel-safe.
    ///
    /// # Errors
    /// When journalctl breaks off, and when it shows nothing because the caller may not read the journal.
    pub(super) async fn next(&mut self) -> Result<Option<LogLine>, Trouble> {
        let mut talks = true;
        loop {
            tokio::select! {
                line = self.lines.next_line() => match line.map_err(|error| broken(&error.to_string()))? {
                    Some(line) => if let Some(line) = read(&line, &self.fallback) {
                        self.found = true;
                        return Ok(Some(line));
                    },
                    None => break,
                },
                said = self.talk.next_line(), if talks => match said {
                    Ok(Some(said)) => self.hear(said)?,
                    _ => talks = false,
                },
            }
        }
        while let Ok(Some(said)) = self.talk.next_line().await {
            self.hear(said)?;
        }
        let status = self.process.wait().await.map_err(|error| broken(&error.to_string()))?;
        let told = self.said.join("; ");
        match status.success() {
            true => Ok(None),
            false if told.is_empty() => Err(broken(&status.to_string())),
            false => Err(broken(&told)),
        }
    }

    /// journalctl ends well when it may not look, and with `--follow` it does not end: what it says then is the answer.
    fn hear(&mut self, said: String) -> Result<(), Trouble> {
        // What a user's own units write, that user may read without seeing what others write.
        let denied_here =
            DENIED.iter().any(|denied| said.contains(denied)) || (!self.user && said.contains(OTHERS));
        if !self.found && denied_here {
            return Err(denied(self.user));
        }
        if self.said.len() < MOST_SAID && !said.trim().is_empty() {
            self.said.push(said);
        }
        Ok(())
    }
}

fn broken(why: &str) -> Trouble {
    Trouble::new(Exit::Failed, "journal", format!("journalctl: {why}"))
}

fn denied(user: bool) -> Trouble {
    let whose = if user { "this user's workers" } else { "the workers" };
    let message = format!("no permission to read the journal, where the lines of {whose} are");
    Trouble::new(Exit::Refused, "forbidden", message).hint(
        "use sudo, or become a member of the group systemd-journal: `sudo adduser USER systemd-journal`, then log in again",
    )
}

fn words(question: &Question<'_>) -> Vec<String> {
    let unit = if question.service.user { "--user-unit" } else { "--unit" };
    let mut words = vec![
        format!("{unit}={}", question.units),
        format!("--lines={}", question.lines),
        "--output=json".into(),
        "--output-fields=MESSAGE,RIP_APP,RIP_WORKER,RIP_GENERATION".into(),
        "--no-pager".into(),
    ];
    if question.follow {
        words.push("--follow".into());
    }
    // What systemd itself says of a unit has no transport of a program's output.
    words.push("_TRANSPORT=stdout".into());
    words.push(format!("RIP_INSTANCE={}", question.instance));
    words.extend(question.app.map(|app| format!("RIP_APP={app}")));
    words
}

/// A record as `journalctl --output=json` writes it; systemd.journal-fields(7).
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    micros: String,
    /// A text, or its bytes when it is none.
    #[serde(rename = "MESSAGE", default)]
    message: Value,
    #[serde(rename = "RIP_APP")]
    app: Option<String>,
    #[serde(rename = "RIP_WORKER")]
    worker: Option<String>,
    #[serde(rename = "RIP_GENERATION")]
    generation: Option<String>,
}

fn read(line: &str, fallback: &AppName) -> Option<LogLine> {
    let record: Record = serde_json::from_str(line).ok()?;
    let number = |text: Option<String>| text.and_then(|text| text.parse().ok()).unwrap_or_default();
    Some(LogLine {
        t: record.micros.parse::<u64>().ok()? / 1000,
        app: record.app.and_then(|app| AppName::parse(&app).ok()).unwrap_or_else(|| fallback.clone()),
        worker: WorkerId(number(record.worker)),
        generation: GenerationId(number(record.generation)),
        line: text(&record.message),
    })
}

fn text(message: &Value) -> String {
    match message {
        Value::String(text) => text.clone(),
        Value::Array(bytes) => {
            let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
            String::from_utf8_lossy(&bytes.iter().filter_map(byte).collect::<Vec<_>>()).into_owned()
        }
        _ => String::new(),
    }
}

/// What journalctl(1) says to those who may not read everything.
const DENIED: [&str; 2] = ["insufficient permissions", "Permission denied"];
/// And to those who may read their own only.
const OTHERS: &str = "not seeing messages from other users";
const MOST_SAID: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        AppName::parse(name).unwrap()
    }

    #[test]
    fn a_record_becomes_a_line_of_its_worker() {
        let line = r#"{"__REALTIME_TIMESTAMP":"1700000000123456","MESSAGE":"hello","RIP_APP":"api","RIP_WORKER":"7","RIP_GENERATION":"2","_BOOT_ID":"x"}"#;
        let read = read(line, &app("blog")).unwrap();
        assert_eq!((read.t, read.app, read.worker), (1_700_000_000_123, app("api"), WorkerId(7)));
        assert_eq!((read.generation, read.line.as_str()), (GenerationId(2), "hello"));
    }

    #[test]
    fn a_message_that_is_no_text_comes_as_its_bytes() {
        let line = r#"{"__REALTIME_TIMESTAMP":"1000","MESSAGE":[104,105,255]}"#;
        assert_eq!(read(line, &app("blog")).unwrap().line, "hi\u{fffd}");
        assert!(read("{}", &app("blog")).is_none() && read("-- no entries --", &app("blog")).is_none());
    }

    #[test]
    fn journalctl_is_asked_for_the_units_of_the_workers() {
        let service = Service { unit: "rip-server@labs-api.service".into(), user: false, workers: None };
        let instance = InstanceName::parse("labs-api").unwrap();
        let question = Question {
            service: &service,
            units: "rip-worker-labs\\\\x2dapi-*.service",
            instance: &instance,
            app: Some(&app("api")),
            lines: 5,
            follow: true,
        };
        let words = words(&question);
        assert_eq!(words[0], "--unit=rip-worker-labs\\\\x2dapi-*.service");
        let end = ["--follow", "_TRANSPORT=stdout", "RIP_INSTANCE=labs-api", "RIP_APP=api"];
        assert_eq!(words[words.len() - 4..], end);
    }
}
