//! The kinds of settings' values, and reading a value from a word or from TOML. Never here: which setting takes what
//! (`table`).

use std::ffi::OsStr;
use std::path::PathBuf;

use ipnet::IpNet;
use toml::de::DeValue;

use super::compound;
use super::job_values;
use super::mount_value;
use super::setting_value::{SettingValue, Wrong};
use super::units::{self, number};
use super::variables::{directive, variable};
use crate::name::{AppName, HostName, InstanceName, RouteName};
use crate::pattern::{self, Pattern};
use crate::spec::acme;
use crate::spec::auth::Auth;
use crate::spec::field_names::{self, Head};
use crate::spec::jobs::by_shell;
use crate::spec::redirects::Redirects;
use crate::spec::setting_types::PortChoice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SettingKind {
    Switch,
    /// A number between these two.
    Count(u64, u64),
    /// A number from 1 to this one, or `off`.
    Limit(u64),
    /// A time above 0.
    Time,
    TimeOrZero,
    /// A time above 0, or `off`.
    Age,
    /// A whole number of milliseconds above 0.
    Millis,
    Size,
    SizeLimit,
    Port,
    Workers,
    Recycle,
    Memory,
    Rate,
    Path,
    Name,
    Host,
    Instance,
    Text,
    /// The levels of the log.
    Levels,
    /// A path that begins with `/`.
    UrlPath,
    UrlPaths,
    Command,
    /// A line for a shell, or program and arguments.
    JobCommand,
    /// A table for each side process.
    Processes,
    /// A table for each command that runs at times.
    Timers,
    Hosts,
    Addresses,
    Networks,
    /// Networks, or a switch for all of them.
    NetworksOrAll,
    Endpoint,
    /// A word of a list.
    Choice(&'static [&'static str]),
    /// Some of these words.
    Choices(&'static [&'static str]),
    Variables,
    /// Values of a php.ini.
    Ini,
    /// A table for each of some paths.
    Tables,
    /// Header fields of such heads, with their values.
    Fields(Head),
    /// Names of header fields.
    FieldNames(Head),
    /// Hosts and paths, and the target of each.
    Redirects,
    /// Folders of files at paths; each has these keys.
    Mounts(&'static [&'static str]),
    /// The proof that clients must bring.
    Auth,
    User,
    /// Absolute paths.
    Paths,
    Credentials,
    /// Patterns of files in the app's folder.
    Patterns,
    /// Directory URLs, or words for some; none: off.
    Authorities,
}

impl SettingKind {
    /// Reads a word of the command line or a variable of the environment.
    pub(crate) fn parse_os(self, text: &OsStr) -> Result<SettingValue, Wrong> {
        if self == Self::Path && !text.is_empty() {
            return Ok(SettingValue::Path(PathBuf::from(text)));
        }
        self.parse(text.to_str().ok_or_else(|| self.wrong())?)
    }

    /// Reads a text; a list has commas between its items.
    pub(crate) fn parse(self, text: &str) -> Result<SettingValue, Wrong> {
        let found = match self {
            Self::Switch => switch(text).map(SettingValue::Switch),
            Self::Count(least, most) => number(text, least, most).map(SettingValue::Count),
            _ if self.is_off(text) => Some(SettingValue::Off),
            Self::Limit(most) => number(text, 1, most).map(SettingValue::Count),
            Self::Time | Self::Age => {
                units::duration(text).filter(|time| !time.is_zero()).map(SettingValue::Time)
            }
            Self::TimeOrZero => units::duration(text).map(SettingValue::Time),
            Self::Millis => number(text, 1, units::LONGEST.as_millis() as u64)
                .map(|millis| SettingValue::Time(std::time::Duration::from_millis(millis))),
            Self::Size | Self::SizeLimit => {
                units::size(text).filter(|bytes| *bytes > 0).map(SettingValue::Size)
            }
            Self::Port => match text {
                "auto" => Some(SettingValue::Port(PortChoice::Probe)),
                _ => number(text, 0, 65_535).map(|port| SettingValue::Port(PortChoice::Given(port as u16))),
            },
            Self::Workers => return compound::workers(text).map(SettingValue::Workers),
            Self::Recycle => return compound::recycle(text).map(SettingValue::Parts),
            Self::Memory => return compound::memory(text).map(SettingValue::Parts),
            Self::Rate => compound::rate(text).map(SettingValue::Rate),
            Self::Path => (!text.is_empty()).then(|| SettingValue::Path(text.into())),
            Self::Host => HostName::parse(text).ok().map(|_| SettingValue::Text(text.into())),
            Self::Name => AppName::parse(text).ok().map(|_| SettingValue::Text(text.into())),
            Self::Instance => InstanceName::parse(text).ok().map(|_| SettingValue::Text(text.into())),
            Self::Text => (!text.is_empty()).then(|| SettingValue::Text(text.into())),
            Self::Levels => crate::logging::check_levels(text).ok().map(|()| SettingValue::Text(text.into())),
            Self::UrlPath => is_url_path(text).then(|| SettingValue::Text(text.into())),
            Self::UrlPaths
            | Self::Command
            | Self::Hosts
            | Self::Addresses
            | Self::Networks
            | Self::Paths
            | Self::Credentials
            | Self::Choices(_)
            | Self::FieldNames(_) => {
                return self.parse_list(text.split(',').map(str::trim).map(String::from).collect());
            }
            Self::NetworksOrAll => match text {
                "true" => return Self::Networks.parse("0.0.0.0/0,::/0"),
                "false" => Some(SettingValue::Networks(Vec::new())),
                _ => return self.parse_list(text.split(',').map(|one| one.trim().into()).collect()),
            },
            Self::Authorities if acme::is_off(text) => Some(SettingValue::Texts(Vec::new())),
            Self::Authorities => {
                return self.parse_list(text.split(',').map(|one| one.trim().into()).collect());
            }
            Self::Patterns => return self.parse_list(pattern::parts_of_list(text)),
            Self::Endpoint => text.parse().ok().map(SettingValue::Endpoint),
            Self::Choice(words) => {
                words.iter().find(|word| **word == text).map(|word| SettingValue::Word(word))
            }
            Self::JobCommand => (!text.trim().is_empty()).then(|| SettingValue::Texts(by_shell(text))),
            Self::User => is_user(text).then(|| SettingValue::Text(text.into())),
            Self::Variables
            | Self::Ini
            | Self::Tables
            | Self::Fields(_)
            | Self::Redirects
            | Self::Auth
            | Self::Processes
            | Self::Timers
            | Self::Mounts(_) => None,
        };
        found.ok_or_else(|| self.wrong())
    }

    /// Reads a value of a TOML file.
    pub(crate) fn parse_toml(self, value: &DeValue<'_>) -> Result<SettingValue, Wrong> {
        match (self, value) {
            (Self::Switch, DeValue::Boolean(on)) => Ok(SettingValue::Switch(*on)),
            (Self::NetworksOrAll, DeValue::Boolean(on)) => self.parse(if *on { "true" } else { "false" }),
            (Self::UrlPaths, DeValue::Boolean(on)) => {
                Ok(SettingValue::Texts(if *on { vec!["/".into()] } else { Vec::new() }))
            }
            (Self::Authorities, DeValue::Boolean(on)) => self.parse(if *on { "yes" } else { "off" }),
            (Self::Switch | Self::Count(..), DeValue::String(_)) => Err(self.wrong()),
            (Self::Variables, DeValue::Table(table)) => {
                let pairs = table.iter().map(|(name, value)| variable(name.get_ref(), value.get_ref()));
                pairs.collect::<Result<_, _>>().map(SettingValue::Variables)
            }
            (Self::Ini, DeValue::Table(table)) => {
                let pairs = table.iter().map(|(name, value)| directive(name.get_ref(), value.get_ref()));
                pairs.collect::<Result<_, _>>().map(SettingValue::Variables)
            }
            (Self::Fields(head), DeValue::Table(table)) => {
                let fields = table.iter().map(|(name, value)| {
                    let text = value.get_ref().as_str();
                    let text =
                        text.ok_or_else(|| format!("{} as a text: put its value in quotes", name.get_ref()));
                    Ok((head.field(name.get_ref())?, field_names::value(text?)?))
                });
                fields.collect::<Result<_, String>>().map(SettingValue::Fields).map_err(Wrong)
            }
            (Self::Redirects, DeValue::Table(table)) => {
                let texts =
                    table.iter().map(|(from, to)| Some((from.get_ref().as_ref(), to.get_ref().as_str()?)));
                let texts = texts.collect::<Option<Vec<_>>>().ok_or_else(|| self.wrong())?;
                Redirects::parse(&texts).map(SettingValue::Redirects).map_err(Wrong)
            }
            (Self::Mounts(keys), DeValue::Array(items)) => {
                mount_value::read(keys, items.iter().map(toml::Spanned::get_ref))
            }
            (Self::JobCommand, value) => job_values::command(value).map(SettingValue::Texts),
            (Self::Processes, value) => job_values::processes(value).map(SettingValue::Processes),
            (Self::Timers, value) => job_values::timers(value).map(SettingValue::Timers),
            (Self::Auth, value) => Auth::read(value).map(SettingValue::Auth).map_err(Wrong),
            (kind, DeValue::Array(items)) if kind.is_list() => {
                let texts = items.iter().map(|item| item.get_ref().as_str().map(String::from));
                self.parse_list(texts.collect::<Option<_>>().ok_or_else(|| self.wrong())?)
            }
            (
                Self::Command
                | Self::UrlPaths
                | Self::Paths
                | Self::Credentials
                | Self::Patterns
                | Self::FieldNames(_),
                DeValue::String(_),
            ) => Err(self.wrong()),
            (_, DeValue::String(text)) => self.parse(text),
            (kind, DeValue::Integer(number)) if kind.takes_numbers() && number.radix() == 10 => {
                self.parse(number.as_str())
            }
            _ => Err(self.wrong()),
        }
    }

    /// Whether values may be given one by one, each added to those before.
    pub(crate) fn is_repeatable(self) -> bool {
        matches!(self, Self::Addresses | Self::Networks)
    }

    /// Whether the value is a table, which no text can be.
    pub(crate) fn is_table(self) -> bool {
        matches!(self, Self::Variables | Self::Ini | Self::Tables)
            || matches!(self, Self::Fields(_) | Self::Redirects | Self::Mounts(_) | Self::Auth)
            || matches!(self, Self::Processes | Self::Timers)
    }

    /// The words to choose from, where there are only some.
    pub(crate) fn choices(self) -> &'static [&'static str] {
        match self {
            Self::Switch => &["true", "false"],
            Self::Choice(words) | Self::Choices(words) => words,
            _ => &[],
        }
    }

    pub(crate) fn wrong(self) -> Wrong {
        Wrong(self.expected())
    }

    /// A text of this kind as TOML writes it.
    pub(crate) fn toml_literal(self, text: &str) -> String {
        let bare = self.takes_numbers() && text.bytes().all(|b| b.is_ascii_digit());
        match self {
            Self::Authorities if !text.contains(',') => format!("{text:?}"),
            _ if self.is_list() => {
                let quoted: Vec<_> = text.split(',').map(|item| format!("{:?}", item.trim())).collect();
                format!("[{}]", quoted.join(", "))
            }
            Self::Switch => text.into(),
            _ if self.is_table() => text.into(),
            _ if bare => text.into(),
            _ => format!("{text:?}"),
        }
    }

    fn parse_list(self, texts: Vec<String>) -> Result<SettingValue, Wrong> {
        fn each<T>(texts: &[String], read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
            texts.iter().map(|text| read(text)).collect()
        }
        let found = match self {
            Self::UrlPaths => {
                texts.iter().all(|text| is_url_path(text)).then_some(SettingValue::Texts(texts))
            }
            Self::Command => (texts.first().is_some_and(|program| !program.is_empty())
                && !texts.iter().any(|text| text.contains('\0')))
            .then_some(SettingValue::Texts(texts)),
            Self::Hosts => {
                let hosts: Result<_, _> = texts.iter().map(|text| RouteName::parse(text)).collect();
                return hosts
                    .map(SettingValue::Hosts)
                    .map_err(|why| Wrong(format!("{} ({why})", self.expected())));
            }
            Self::Patterns => {
                let patterns: Result<_, _> = texts.iter().map(|text| Pattern::parse(text)).collect();
                return patterns
                    .map(SettingValue::Patterns)
                    .map_err(|bad| Wrong(format!("{} ({bad})", self.expected())));
            }
            Self::FieldNames(head) => {
                let names = texts.iter().map(|text| head.field(text));
                return names.collect::<Result<_, _>>().map(SettingValue::FieldNames).map_err(Wrong);
            }
            Self::Choices(words) => {
                each(&texts, |text| words.iter().copied().find(|word| *word == text)).map(SettingValue::Words)
            }
            Self::Authorities => each(&texts, acme::authority).map(SettingValue::Texts),
            Self::Addresses => each(&texts, |text| text.parse().ok()).map(SettingValue::Addresses),
            Self::Networks | Self::NetworksOrAll => each(&texts, network).map(SettingValue::Networks),
            Self::Paths => texts.iter().all(|text| is_absolute(text)).then_some(SettingValue::Texts(texts)),
            Self::Credentials => {
                texts.iter().all(|text| is_credential(text)).then_some(SettingValue::Texts(texts))
            }
            _ => None,
        };
        found.ok_or_else(|| self.wrong())
    }

    /// Whether the text switches a limit off. `0` does so too, but not for a rate.
    fn is_off(self, text: &str) -> bool {
        match self {
            Self::Limit(_) | Self::Age | Self::SizeLimit => matches!(text, "off" | "0"),
            Self::Rate => text == "off",
            _ => false,
        }
    }

    fn is_list(self) -> bool {
        matches!(
            self,
            Self::UrlPaths
                | Self::Command
                | Self::Hosts
                | Self::Addresses
                | Self::Networks
                | Self::NetworksOrAll
                | Self::Paths
                | Self::Credentials
                | Self::Patterns
                | Self::Authorities
                | Self::Choices(_)
                | Self::FieldNames(_)
        )
    }

    fn takes_numbers(self) -> bool {
        matches!(
            self,
            Self::Count(..)
                | Self::Limit(_)
                | Self::Time
                | Self::TimeOrZero
                | Self::Age
                | Self::Millis
                | Self::Size
                | Self::SizeLimit
                | Self::Port
                | Self::Workers
                | Self::Recycle
        )
    }
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)).ok()?;
    Some(network.trunc())
}

fn is_url_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

/// Whether the text is a plain absolute path: units read `%`, quotes and `:` in their own way.
fn is_absolute(text: &str) -> bool {
    text.starts_with('/')
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'%' | b'"' | b'\'' | b'\\' | b':'))
        && !text.split('/').any(|part| part == "..")
}

/// Whether the text is a credential as systemd.exec(5) has it, `LoadCredential=`.
fn is_credential(text: &str) -> bool {
    text.split_once(':').is_some_and(|(id, path)| AppName::parse(id).is_ok() && is_absolute(path))
}

/// Whether the text can be the name of a user, as useradd(8) of Debian checks it.
fn is_user(text: &str) -> bool {
    let first = |b: u8| b.is_ascii_lowercase() || b == b'_';
    text.len() <= 31
        && text.bytes().next().is_some_and(first)
        && text.bytes().all(|b| first(b) || b.is_ascii_digit() || b == b'-')
}
