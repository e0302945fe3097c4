//! A setting's value after it was read, from whatever place, and the types that it can become.
//!
//! Never here: reading it from a text (`setting_kind`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::units::{show_duration, show_size};
use crate::name::RouteName;
use crate::pattern::Pattern;
use crate::spec::auth::Auth;
use crate::spec::by_path::ByPath;
use crate::spec::jobs::{SideProcesses, TimedCommands};
use crate::spec::mounts::Mounts;
use crate::spec::redirects::Redirects;
use crate::spec::setting_types::{Choice, PortChoice, Rate, WorkerRange};

/// A value that has been read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SettingValue {
    Switch(bool),
    Count(u64),
    Time(Duration),
    Size(u64),
    /// A limit that is switched off.
    Off,
    Port(PortChoice),
    Workers(WorkerRange),
    /// Several settings at once, by the names of the parts; a layer keeps the parts only.
    Parts(BTreeMap<&'static str, SettingValue>),
    Rate(Rate),
    Path(PathBuf),
    Text(String),
    Texts(Vec<String>),
    /// A word of a list.
    Word(&'static str),
    /// Some of a few words.
    Words(Vec<&'static str>),
    Patterns(Vec<Pattern>),
    Hosts(Vec<RouteName>),
    Addresses(Vec<IpAddr>),
    Networks(Vec<IpNet>),
    Endpoint(SocketAddr),
    Variables(BTreeMap<String, String>),
    Fields(Vec<(HeaderName, HeaderValue)>),
    FieldNames(Vec<HeaderName>),
    Redirects(Redirects),
    Mounts(Mounts),
    Auth(Auth),
    Processes(SideProcesses),
    Timers(TimedCommands),
}

/// The value that would have been right, for an error about the one that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong(pub(crate) String);

impl SettingValue {
    /// Adds the values of a later word to this list; of two values that are no lists of the same things the earlier one
    /// stays.
    pub(crate) fn append(&mut self, later: Self) {
        match (self, later) {
            (Self::Addresses(list), Self::Addresses(more)) => list.extend(more),
            (Self::Networks(list), Self::Networks(more)) => list.extend(more),
            (Self::Fields(list), Self::Fields(more)) => list.extend(more),
            (Self::FieldNames(list), Self::FieldNames(more)) => list.extend(more),
            _ => {}
        }
    }

    /// The header fields that the value names.
    pub(crate) fn field_names(&self) -> Vec<HeaderName> {
        match self {
            Self::Fields(fields) => fields.iter().map(|(name, _)| name.clone()).collect(),
            Self::FieldNames(names) => names.clone(),
            _ => Vec::new(),
        }
    }

    /// The value without these header fields.
    pub(crate) fn without(mut self, names: &[HeaderName]) -> Self {
        match &mut self {
            Self::Fields(fields) => fields.retain(|(name, _)| !names.contains(name)),
            Self::FieldNames(own) => own.retain(|name| !names.contains(name)),
            _ => {}
        }
        self
    }
}

/// The text as config files have it. The values of variables and header fields are left out, because they may be
/// secrets.
impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => on.fmt(f),
            Self::Count(count) => count.fmt(f),
            Self::Time(time) => f.write_str(&show_duration(*time)),
            Self::Size(bytes) => f.write_str(&show_size(*bytes)),
            Self::Off => f.write_str("off"),
            Self::Port(PortChoice::Given(port)) => port.fmt(f),
            Self::Port(PortChoice::Probe) => f.write_str("auto"),
            Self::Workers(count) => count.fmt(f),
            Self::Parts(parts) => f.write_str(&joined(parts.values())),
            Self::Rate(rate) => write!(f, "{}/s,{}", rate.per_second, rate.burst),
            Self::Path(path) => path.display().fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Texts(texts) => write!(f, "{texts:?}"),
            Self::Word(word) => f.write_str(word),
            Self::Words(words) => f.write_str(&joined(words)),
            Self::Patterns(patterns) => {
                write!(f, "{:?}", patterns.iter().map(ToString::to_string).collect::<Vec<_>>())
            }
            Self::Hosts(hosts) => f.write_str(&joined(hosts)),
            Self::Addresses(list) => f.write_str(&joined(list)),
            Self::Networks(list) => f.write_str(&joined(list)),
            Self::Endpoint(address) => address.fmt(f),
            Self::Variables(variables) => f.write_str(&joined(variables.keys())),
            Self::Fields(_) | Self::FieldNames(_) => f.write_str(&joined(self.field_names())),
            Self::Redirects(redirects) => redirects.fmt(f),
            Self::Mounts(mounts) => mounts.fmt(f),
            Self::Auth(auth) => auth.fmt(f),
            Self::Processes(processes) => processes.fmt(f),
            Self::Timers(timers) => timers.fmt(f),
        }
    }
}

fn joined<T: fmt::Display>(list: impl IntoIterator<Item = T>) -> String {
    list.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// The type of a setting in the struct of its section.
pub(crate) trait FromValue: Sized {
    /// Makes a field's value of a setting's value; `value` is `None` where no layer has one and there is no default.
    /// The result `None`: the value does not fit this type.
    fn from_value(value: Option<&SettingValue>) -> Option<Self>;
}

/// A setting that may be off, or that may be missing.
impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Option<&SettingValue>) -> Option<Self> {
        match value {
            None | Some(SettingValue::Off) => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl<T: Choice> FromValue for T {
    fn from_value(value: Option<&SettingValue>) -> Option<Self> {
        if let SettingValue::Word(word) = value? { T::of_word(word) } else { None }
    }
}

/// A missing list is empty.
impl<T: Choice> FromValue for Vec<T> {
    fn from_value(value: Option<&SettingValue>) -> Option<Self> {
        match value {
            None => Some(Self::new()),
            Some(SettingValue::Words(words)) => words.iter().map(|word| T::of_word(word)).collect(),
            Some(_) => None,
        }
    }
}

impl FromValue for u64 {
    fn from_value(value: Option<&SettingValue>) -> Option<Self> {
        match value? {
            SettingValue::Count(number) | SettingValue::Size(number) => Some(*number),
            SettingValue::Off => Some(0),
            _ => None,
        }
    }
}

/// The bounds of a row keep its numbers within its type.
macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl FromValue for $type {
            fn from_value(value: Option<&SettingValue>) -> Option<Self> {
                u64::from_value(value).map(|number| Self::try_from(number).unwrap_or(Self::MAX))
            }
        }
    )*};
}

numbers!(u16, u32, usize);

impl FromValue for NonZeroU32 {
    fn from_value(value: Option<&SettingValue>) -> Option<Self> {
        u32::from_value(value).map(|number| Self::new(number).unwrap_or(Self::MIN))
    }
}

/// A missing list is empty.
impl FromValue for Vec<PathBuf> {
    fn from_value(value: Option<&SettingValue>) -> Option<Self> {
        Vec::<String>::from_value(value).map(|texts| texts.into_iter().map(PathBuf::from).collect())
    }
}

/// The tables beside the values make this field.
impl<T> FromValue for ByPath<T> {
    fn from_value(_: Option<&SettingValue>) -> Option<Self> {
        Some(Self::default())
    }
}

macro_rules! from_value {
    ($($type:ty: $variant:ident $(, or $unset:expr)?;)+) => {
        $(impl FromValue for $type {
            fn from_value(value: Option<&SettingValue>) -> Option<Self> {
                match value {
                    Some(SettingValue::$variant(held)) => Some(held.clone()),
                    $(None => Some($unset),)?
                    _ => None,
                }
            }
        })+
    };
}

from_value! {
    bool: Switch;
    Duration: Time;
    PortChoice: Port;
    WorkerRange: Workers;
    Rate: Rate;
    PathBuf: Path;
    String: Text;
    Vec<String>: Texts, or Vec::new();
    Vec<Pattern>: Patterns, or Vec::new();
    Vec<RouteName>: Hosts, or Vec::new();
    Vec<IpAddr>: Addresses, or Vec::new();
    Vec<IpNet>: Networks, or Vec::new();
    SocketAddr: Endpoint;
    BTreeMap<String, String>: Variables, or BTreeMap::new();
    Vec<(HeaderName, HeaderValue)>: Fields, or Vec::new();
    Vec<HeaderName>: FieldNames, or Vec::new();
    Redirects: Redirects, or Redirects::default();
    Mounts: Mounts, or Mounts::default();
    Auth: Auth, or Auth::Off;
    SideProcesses: Processes, or SideProcesses::default();
    TimedCommands: Timers, or TimedCommands::default();
}
