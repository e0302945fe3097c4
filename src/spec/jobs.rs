//! The jobs that an app runs beside its web workers: the step before each version, side processes, and commands at times.
//!
//! Never here: reading it from a file (`settings`), or running it (`supervisor`).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// The name of a job: a command that runs beside the web workers, in their place in all but that nobody connects to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobName {
    /// The step before a version serves.
    Release,
    /// A side process.
    Process(String),
    /// A command that runs at times.
    Timer(String),
}

impl JobName {
    /// Reads the text that [`fmt::Display`] writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.split_once('.') {
            None => (text == "release").then_some(Self::Release),
            Some(("process", name)) => Some(Self::Process(name.into())),
            Some(("timer", name)) => Some(Self::Timer(name.into())),
            Some(_) => None,
        }
    }
}

/// The key of the settings: `release`, `process.NAME`, `timer.NAME`.
impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release => f.write_str("release"),
            Self::Process(name) => write!(f, "process.{name}"),
            Self::Timer(name) => write!(f, "timer.{name}"),
        }
    }
}

impl Serialize for JobName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A side process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SideProcess {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// How many of it run.
    pub(crate) count: usize,
}

/// A command that runs at times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimedCommand {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    pub(crate) times: Times,
}

/// When a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// So long after the app began to serve, and again after each such time.
    Every(Duration),
    /// At the times of a calendar expression, systemd.time(7).
    At(String),
}

/// The side processes of an app by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SideProcesses(pub(crate) BTreeMap<String, SideProcess>);

/// The commands of an app that run at times, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimedCommands(pub(crate) BTreeMap<String, TimedCommand>);

/// A command as people read it: a shell line as it was written, else the words.
pub(crate) fn shown(command: &[String]) -> String {
    match command {
        [shell, dash, line] if shell == SHELL[0] && dash == SHELL[1] => line.clone(),
        words => words.join(" "),
    }
}

/// The words before a line that a shell runs.
pub(crate) const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A command that a shell runs.
pub(crate) fn by_shell(line: &str) -> Vec<String> {
    SHELL.iter().copied().chain([line]).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for job in [JobName::Release, JobName::Process("mailer".into()), JobName::Timer("a.b".into())] {
            assert_eq!(JobName::parse(&job.to_string()), Some(job));
        }
        for wrong in ["", "process", "web.1", "Release"] {
            assert_eq!(JobName::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn commands_are_shown_as_they_were_written() {
        assert_eq!(shown(&by_shell("a | b")), "a | b");
        assert_eq!(shown(&["rake".into(), "jobs:work".into()]), "rake jobs:work");
    }
}
