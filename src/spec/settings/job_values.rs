//! Reading commands that run beside an app's workers: a line for a shell, or program and arguments; `[process.NAME]`
//! and `[timer.NAME]`.
//!
//! Never here: what runs of them (`supervisor`).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use toml::de::DeValue;

use super::setting_value::Wrong;
use super::units::{duration, number, show_duration};
use crate::name::AppName;
use crate::spec::jobs::{SideProcess, SideProcesses, TimedCommand, TimedCommands, Times, by_shell, shown};

/// The values that [`command`] takes, as an error says it.
pub(super) const COMMAND: &str = "a line for a shell, such as \"rake db:migrate\", or a list of program and arguments, such as [\"rake\", \"db:migrate\"]";
/// The values that [`processes`] takes, as an error says it.
pub(super) const PROCESSES: &str =
    "tables [process.NAME] with `command = \"…\"` and, for more than one, `count = 2`";
/// The values that [`timers`] takes, as an error says it.
pub(super) const TIMERS: &str =
    "tables [timer.NAME] with `command = \"…\"` and either `every = \"10min\"` or `at = \"Mon 09:00\"`";

/// As the settings have it: `every 10min`, `at Mon 09:00`.
impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(time) => write!(f, "every {}", show_duration(*time)),
            Self::At(expression) => write!(f, "at {expression}"),
        }
    }
}

impl fmt::Display for SideProcesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |(name, SideProcess { command, count }): (&String, &SideProcess)| {
            let times = if *count == 1 { String::new() } else { format!("{count} × ") };
            format!("{name}: {times}{}", shown(command))
        };
        f.write_str(&self.0.iter().map(one).collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Display for TimedCommands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |(name, timed): (&String, &TimedCommand)| {
            format!("{name}: {} {}", shown(&timed.command), timed.times)
        };
        f.write_str(&self.0.iter().map(one).collect::<Vec<_>>().join("; "))
    }
}

/// Reads a command.
pub(super) fn command(value: &DeValue<'_>) -> Result<Vec<String>, Wrong> {
    match value {
        DeValue::String(line) if !line.trim().is_empty() && !line.contains('\0') => Ok(by_shell(line)),
        DeValue::Array(items) => {
            let words = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            let words = words.collect::<Option<Vec<_>>>().filter(|words| {
                let is_program = words.first().is_some_and(|program| !program.is_empty());
                is_program && !words.iter().any(|word| word.contains('\0'))
            });
            words.ok_or_else(|| Wrong(COMMAND.into()))
        }
        _ => Err(Wrong(COMMAND.into())),
    }
}

/// Reads the tables of side processes.
pub(super) fn processes(value: &DeValue<'_>) -> Result<SideProcesses, Wrong> {
    let read = |name: &str, keys: Keys<'_, '_>| {
        keys.are(&["command", "count"])?;
        let count = match keys.get("count") {
            None => 1,
            Some(count) => {
                let count = match count {
                    DeValue::Integer(count) if count.radix() == 10 => {
                        number(count.as_str(), 1, MOST_PROCESSES)
                    }
                    _ => None,
                };
                let right = || {
                    let numbers = format!("a whole number from 1 to {MOST_PROCESSES}");
                    Wrong(format!("`count` of [process.{name}] as {numbers}"))
                };
                usize::try_from(count.ok_or_else(right)?).unwrap_or(1)
            }
        };
        Ok(SideProcess { command: keys.command()?, count })
    };
    each("process", PROCESSES, value, read).map(SideProcesses)
}

/// Reads the tables of commands that run at times.
pub(super) fn timers(value: &DeValue<'_>) -> Result<TimedCommands, Wrong> {
    let read = |name: &str, keys: Keys<'_, '_>| {
        keys.are(&["command", "every", "at"])?;
        let times = match (keys.get("every"), keys.get("at")) {
            (Some(every), None) => Times::Every(time(every).ok_or_else(|| {
                Wrong(format!(
                    "`every` of [timer.{name}] as a time of at least 1 s, such as \"10min\" or \"1d\""
                ))
            })?),
            (None, Some(DeValue::String(at))) if !at.trim().is_empty() => Times::At(at.trim().to_owned()),
            (None, Some(_)) => {
                return Err(Wrong(format!(
                    "`at` of [timer.{name}] as times of a calendar, such as \"daily\" or \"Mon..Fri 09:00\": systemd.time(7)"
                )));
            }
            (None, None) => {
                return Err(Wrong(format!(
                    "`every = \"10min\"` or `at = \"daily\"` in [timer.{name}]: one of both is needed"
                )));
            }
            (Some(_), Some(_)) => {
                return Err(Wrong(format!("either `every` or `at` in [timer.{name}], not both")));
            }
        };
        Ok(TimedCommand { command: keys.command()?, times })
    };
    each("timer", TIMERS, value, read).map(TimedCommands)
}

/// A time of at least a second; a bare number is of seconds.
fn time(value: &DeValue<'_>) -> Option<Duration> {
    let time = match value {
        DeValue::String(text) => duration(text)?,
        DeValue::Integer(number) if number.radix() == 10 => duration(number.as_str())?,
        _ => return None,
    };
    (time >= Duration::from_secs(1)).then_some(time)
}

/// The keys of one table.
struct Keys<'a, 'b> {
    section: String,
    table: &'a toml::de::DeTable<'b>,
}

impl<'a, 'b> Keys<'a, 'b> {
    fn get(&self, key: &str) -> Option<&'a DeValue<'b>> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value.get_ref())
    }

    fn are(&self, known: &[&str]) -> Result<(), Wrong> {
        for (name, _) in self.table {
            let name: &str = name.get_ref();
            if !known.contains(&name) {
                let section = &self.section;
                return Err(Wrong(format!("{} in [{section}], which has no key `{name}`", known.join(", "))));
            }
        }
        Ok(())
    }

    fn command(&self) -> Result<Vec<String>, Wrong> {
        let section = &self.section;
        match self.get("command") {
            Some(value) => {
                command(value).map_err(|Wrong(right)| Wrong(format!("`command` of [{section}] as {right}")))
            }
            None => Err(Wrong(format!("`command` in [{section}]: {COMMAND}"))),
        }
    }
}

fn each<T>(
    section: &str,
    right: &str,
    value: &DeValue<'_>,
    read: impl Fn(&str, Keys<'_, '_>) -> Result<T, Wrong>,
) -> Result<BTreeMap<String, T>, Wrong> {
    let DeValue::Table(tables) = value else { return Err(Wrong(right.into())) };
    let mut all = BTreeMap::new();
    for (name, value) in tables {
        let name: &str = name.get_ref();
        if AppName::parse(name).is_err() {
            let names = "names of 1 to 64 of a-z A-Z 0-9 . _ -";
            return Err(Wrong(format!("{names} behind `{section}.`, and not {name:?}")));
        }
        let DeValue::Table(table) = value.get_ref() else { return Err(Wrong(right.into())) };
        all.insert(name.to_owned(), read(name, Keys { section: format!("{section}.{name}"), table })?);
    }
    Ok(all)
}

/// The most processes of one name: a higher number is a slip.
const MOST_PROCESSES: u64 = 256;

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    /// The value of the key `it` of a text, or what would have been right.
    fn read<T: fmt::Display>(text: &str, read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>) -> String {
        let table = DeTable::parse(text).unwrap();
        let (_, value) = table.get_ref().iter().next().unwrap();
        read(value.get_ref()).map_or_else(|wrong| format!("expected {}", wrong.0), |value| value.to_string())
    }

    #[test]
    fn processes_are_read() {
        for (text, expected) in [
            ("[p.mail]\ncommand = 'mail -v | cat'", "mail: mail -v | cat"),
            ("[p.mail]\ncommand = ['mail', 'a b']\ncount = 3", "mail: 3 × mail a b"),
            ("p = 1", "expected tables [process.NAME]"),
            ("[p]\nmail = 'x'", "expected tables [process.NAME]"),
            ("[p.mail]", "expected `command` in [process.mail]"),
            ("[p.mail]\ncommand = ''", "expected `command` of [process.mail] as a line"),
            ("[p.mail]\ncommand = []", "expected `command` of [process.mail] as a line"),
            (
                "[p.mail]\ncommand = 'x'\ncount = 0",
                "expected `count` of [process.mail] as a whole number from 1 to 256",
            ),
            (
                "[p.mail]\ncommand = 'x'\nuser = 'y'",
                "expected command, count in [process.mail], which has no key `user`",
            ),
            ("[p.'a b']\ncommand = 'x'", "expected names of 1 to 64"),
        ] {
            let found = read(text, processes);
            assert!(found.starts_with(expected), "{text}: {found}");
        }
    }

    #[test]
    fn timers_are_read() {
        for (text, expected) in [
            ("[t.a]\ncommand = 'x'\nevery = '10min'", "a: x every 10min"),
            ("[t.a]\ncommand = 'x'\nevery = 90", "a: x every 90s"),
            ("[t.a]\ncommand = 'x'\nat = 'daily'", "a: x at daily"),
            ("[t.a]\ncommand = 'x'", "expected `every = \"10min\"` or `at"),
            (
                "[t.a]\ncommand = 'x'\nevery = '1s'\nat = 'daily'",
                "expected either `every` or `at` in [timer.a], not both",
            ),
            (
                "[t.a]\ncommand = 'x'\nevery = '10ms'",
                "expected `every` of [timer.a] as a time of at least 1 s",
            ),
            ("[t.a]\ncommand = 'x'\nevery = 'soon'", "expected `every` of [timer.a]"),
            ("[t.a]\ncommand = 'x'\nat = 7", "expected `at` of [timer.a]"),
            ("[t.a]\nevery = '1s'", "expected `command` in [timer.a]"),
        ] {
            let found = read(text, timers);
            assert!(found.starts_with(expected), "{text}: {found}");
        }
    }
}
