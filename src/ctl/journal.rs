//! Owns reading the workers' lines from the journal, where each worker is a unit and its output does not pass the
//! server. Never here: how a line looks (`render`).

use std::io;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::api::{LogLine, ServiceUnit};
use crate::backend::systemd::unit;
use crate::name::{AppName, GenerationId, InstanceName, WorkerId};

use super::error::{CtlError, Exit};

/// Lines as journalctl(1) finds them. Dropping it ends journalctl.
pub(super) struct Journal {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The messages on its standard error.
    stderr_lines: Lines<BufReader<ChildStderr>>,
    messages: Vec<String>,
    found: bool,
    user: bool,
    instance: InstanceName,
}

pub(super) struct JournalQuery<'a> {
    pub(super) service: &'a ServiceUnit,
    pub(super) instance: &'a InstanceName,
    pub(super) app: Option<&'a AppName>,
    pub(super) lines: usize,
    pub(super) follow: bool,
}

impl Journal {
    /// Starts journalctl with the caller's rights: root, and members of `adm` and `systemd-journal`, may read all
    /// lines.
    ///
    /// # Errors
    /// When journalctl cannot be started.
    pub(super) fn open(query: &JournalQuery<'_>) -> Result<Self, CtlError> {
        let mut journalctl = Command::new("journalctl");
        journalctl.args(words(query)).stdin(Stdio::null()).kill_on_drop(true);
        journalctl.stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error: io::Error| {
            CtlError::new(Exit::Failed, "journal", format!("cannot run journalctl: {error}"))
                .hint("the workers of this server write to the journal")
        };
        let mut process = journalctl.spawn().map_err(failed)?;
        let stdout = process.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let stderr = process.stderr.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self {
            process,
            lines: BufReader::new(stdout).lines(),
            stderr_lines: BufReader::new(stderr).lines(),
            messages: Vec::new(),
            found: false,
            user: query.service.user,
            instance: query.instance.clone(),
        })
    }

    /// The next line; `None` when there are no more. Cancel-safe.
    ///
    /// # Errors
    /// When journalctl breaks off, and when it shows nothing because the caller may not read the journal.
    pub(super) async fn next(&mut self) -> Result<Option<LogLine>, CtlError> {
        let mut more = true;
        loop {
            tokio::select! {
                line = self.lines.next_line() => match line.map_err(|error| broken(&error.to_string()))? {
                    Some(line) => if let Some(line) = read(&line, &self.instance) {
                        self.found = true;
                        return Ok(Some(line));
                    },
                    None => break,
                },
                message = self.stderr_lines.next_line(), if more => match message {
                    Ok(Some(message)) => self.note(message)?,
                    _ => more = false,
                },
            }
        }
        while let Ok(Some(message)) = self.stderr_lines.next_line().await {
            self.note(message)?;
        }
        let status = self.process.wait().await.map_err(|error| broken(&error.to_string()))?;
        let messages = self.messages.join("; ");
        match status.success() {
            true => Ok(None),
            false if messages.is_empty() => Err(broken(&status.to_string())),
            false => Err(broken(&messages)),
        }
    }

    /// Keeps a message of journalctl's. A message that denies access decides: without access journalctl exits with
    /// success, and with `--follow` it does not exit.
    fn note(&mut self, message: String) -> Result<(), CtlError> {
        // A user may read the lines of the user's own units without seeing those of others.
        let denied_here =
            DENIED.iter().any(|denied| message.contains(denied)) || (!self.user && message.contains(OTHERS));
        if !self.found && denied_here {
            return Err(denied(self.user));
        }
        if self.messages.len() < MAX_MESSAGES && !message.trim().is_empty() {
            self.messages.push(message);
        }
        Ok(())
    }
}

fn broken(why: &str) -> CtlError {
    CtlError::new(Exit::Failed, "journal", format!("journalctl: {why}"))
}

fn denied(user: bool) -> CtlError {
    let whose = if user { "this user's workers" } else { "the workers" };
    let message = format!("no permission to read the journal, where the lines of {whose} are");
    CtlError::new(Exit::Refused, "forbidden", message).hint(
        "use sudo, or become a member of the group systemd-journal: `sudo adduser USER systemd-journal`, then log in again",
    )
}

fn words(query: &JournalQuery<'_>) -> Vec<String> {
    let unit = if query.service.user { "--user-unit" } else { "--unit" };
    // The lines are found by the unit's name: only units of the system have the fields RIP_*, because a user's manager
    // adds none to what its services write.
    let units = match query.app {
        Some(app) => unit::pattern_of_app(query.instance, app),
        None => unit::pattern(query.instance),
    };
    let mut words = vec![
        format!("{unit}={units}"),
        // The server writes what workers write to it, as FastCGI has it.
        format!("{unit}={}", unit::server(query.instance)),
        format!("--lines={}", query.lines),
        "--output=json".into(),
        "--output-fields=MESSAGE,_SYSTEMD_UNIT,_SYSTEMD_USER_UNIT,TARGET,RIP_APP,RIP_WORKER,RIP_GENERATION"
            .into(),
        "--no-pager".into(),
    ];
    if query.follow {
        words.push("--follow".into());
    }
    // Messages of systemd itself about a unit have another transport than a program's output.
    words.push("_TRANSPORT=stdout".into());
    if !query.service.user {
        words.push(format!("RIP_INSTANCE={}", query.instance));
    }
    words.extend(["+", "_TRANSPORT=journal", "TARGET=app"].map(String::from));
    words.extend(query.app.map(|app| format!("RIP_APP={app}")));
    words
}

/// A record as `journalctl --output=json` writes it; systemd.journal-fields(7).
#[derive(Deserialize)]
struct JournalRecord {
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    micros: String,
    /// A text, or its bytes when it is no text.
    #[serde(rename = "MESSAGE", default)]
    message: Value,
    #[serde(rename = "_SYSTEMD_UNIT")]
    unit: Option<String>,
    #[serde(rename = "_SYSTEMD_USER_UNIT")]
    user_unit: Option<String>,
    #[serde(rename = "RIP_GENERATION")]
    generation: Option<String>,
    #[serde(rename = "TARGET")]
    target: Option<String>,
    #[serde(rename = "RIP_APP")]
    app: Option<String>,
    #[serde(rename = "RIP_WORKER")]
    worker: Option<String>,
}

impl JournalRecord {
    /// The worker that wrote the line: the worker which is the unit, or one for which the server wrote the line.
    fn worker(&self, instance: &InstanceName) -> Option<(AppName, WorkerId)> {
        let units = || [self.user_unit.as_deref(), self.unit.as_deref()].into_iter().flatten();
        let of_unit = units().find_map(|unit| unit::parse(instance, unit));
        of_unit.or_else(|| {
            let server = unit::server(instance);
            let is_its = self.target.as_deref() == Some("app") && units().any(|unit| *unit == *server);
            let (app, worker) = (self.app.as_deref()?, self.worker.as_deref()?);
            is_its.then(|| Some((app.parse().ok()?, WorkerId(worker.parse().ok()?))))?
        })
    }
}

/// The line of a worker; `None`: the record is of no worker of this instance.
pub(super) fn read(line: &str, instance: &InstanceName) -> Option<LogLine> {
    let record: JournalRecord = serde_json::from_str(line).ok()?;
    let (app, worker) = record.worker(instance)?;
    Some(LogLine {
        t: record.micros.parse::<u64>().ok()? / 1000,
        app,
        worker,
        generation: GenerationId(record.generation.and_then(|text| text.parse().ok()).unwrap_or_default()),
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

/// The messages of journalctl(1) for users who may not read everything.
const DENIED: [&str; 2] = ["insufficient permissions", "Permission denied"];
/// The message of journalctl(1) for users who may only read their own lines.
const OTHERS: &str = "not seeing messages from other users";
const MAX_MESSAGES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        AppName::parse(name).unwrap()
    }

    fn labs() -> InstanceName {
        InstanceName::parse("labs-api").unwrap()
    }

    #[test]
    fn a_record_becomes_a_line_of_its_worker() {
        let line = r#"{"__REALTIME_TIMESTAMP":"1700000000123456","MESSAGE":"hello","_SYSTEMD_UNIT":"rip-worker-labs\\x2dapi-api-7.service","RIP_GENERATION":"2","_BOOT_ID":"x"}"#;
        let read = read(line, &labs()).unwrap();
        assert_eq!((read.t, read.app, read.worker), (1_700_000_000_123, app("api"), WorkerId(7)));
        assert_eq!((read.generation, read.line.as_str()), (GenerationId(2), "hello"));
    }

    #[test]
    fn a_record_of_a_users_unit_is_one_of_its_worker_too() {
        let line = r#"{"__REALTIME_TIMESTAMP":"1000","MESSAGE":"hello","_SYSTEMD_UNIT":"user@1000.service","_SYSTEMD_USER_UNIT":"rip-worker-labs\\x2dapi-my\\x2dapp-7.service"}"#;
        let read = read(line, &labs()).unwrap();
        assert_eq!((read.app, read.worker, read.line.as_str()), (app("my-app"), WorkerId(7), "hello"));
    }

    #[test]
    fn a_line_that_the_server_writes_for_a_worker_is_the_workers() {
        let line = r#"{"__REALTIME_TIMESTAMP":"1000","MESSAGE":"PHP Warning","_SYSTEMD_UNIT":"rip-server@labs-api.service","TARGET":"app","RIP_APP":"shop","RIP_WORKER":"3","RIP_GENERATION":"2"}"#;
        let found = read(line, &labs()).unwrap();
        assert_eq!((found.app, found.worker, found.line.as_str()), (app("shop"), WorkerId(3), "PHP Warning"));
        for (of, other) in [
            ("\"TARGET\":\"app\"", "\"TARGET\":\"rip_server\""),
            ("rip-server@labs-api", "rip-server@other"),
            ("\"RIP_WORKER\":\"3\",", ""),
        ] {
            assert_eq!(read(&line.replace(of, other), &labs()), None, "{other}");
        }
    }

    #[test]
    fn a_message_that_is_no_text_comes_as_its_bytes() {
        let line = r#"{"__REALTIME_TIMESTAMP":"1000","MESSAGE":[104,105,255],"_SYSTEMD_UNIT":"rip-worker-labs\\x2dapi-api-7.service"}"#;
        assert_eq!(read(line, &labs()).unwrap().line, "hi\u{fffd}");
        assert!(read("{}", &labs()).is_none() && read("-- no entries --", &labs()).is_none());
    }

    #[test]
    fn journalctl_is_asked_for_the_units_of_the_workers() {
        for (user, flag) in [(false, "--unit"), (true, "--user-unit")] {
            let service = ServiceUnit { unit: "rip-server@labs-api.service".into(), user, workers: None };
            let of = |app: Option<&AppName>| {
                words(&JournalQuery { service: &service, instance: &labs(), app, lines: 5, follow: true })
            };
            assert_eq!(of(None)[0], format!(r"{flag}=rip-worker-labs\x2dapi-*.service"));
            let of_app = of(Some(&app("my-app")));
            assert_eq!(of_app[0], format!(r"{flag}=rip-worker-labs\x2dapi-my\x2dapp-*.service"));
            assert_eq!(of_app[1], format!("{flag}=rip-server@labs-api.service"));
            let stdout = ["--follow", "_TRANSPORT=stdout", "RIP_INSTANCE=labs-api"];
            let by_server = ["+", "_TRANSPORT=journal", "TARGET=app", "RIP_APP=my-app"];
            let expected: Vec<_> = stdout[..3 - usize::from(user)].iter().chain(&by_server).collect();
            assert_eq!(of_app[of_app.len() - expected.len()..].iter().collect::<Vec<_>>(), expected);
        }
    }
}
