//! A setting's value once it has been read, whatever it was read from. Never here: reading it (`kind`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::units::{show_duration, show_size};
use crate::name::HostName;
use crate::spec::{
    BackendChoice, Listen, PortChoice, Protocol, Rate, ReadyBy, Reload, ReloadSignal, WorkerCount,
};

/// A value that has been read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Switch(bool),
    Count(u64),
    /// `None`: off.
    Limit(Option<u64>),
    Time(Duration),
    /// `None`: off.
    Age(Option<Duration>),
    Size(u64),
    /// `None`: off.
    SizeLimit(Option<u64>),
    Port(PortChoice),
    Workers(WorkerCount),
    /// Several settings at once; a layer keeps only the parts.
    Recycle(RecycleWords),
    /// Several settings at once; a layer keeps only the parts.
    Memory(MemoryWords),
    /// `None`: off.
    Rate(Option<Rate>),
    Path(PathBuf),
    Text(String),
    Texts(Vec<String>),
    Hosts(Vec<HostName>),
    Addresses(Vec<IpAddr>),
    Networks(Vec<IpNet>),
    Endpoint(SocketAddr),
    Listen(Listen),
    Protocol(Protocol),
    ReadyBy(ReadyBy),
    Reload(Reload),
    Signal(ReloadSignal),
    Backend(BackendChoice),
    Variables(BTreeMap<String, String>),
}

/// What would have been right instead of what was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong(pub(crate) String);

/// What one `r:` says: the outer `None` is "not said", the inner "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecycleWords {
    pub(crate) requests: Option<Option<u64>>,
    pub(crate) age: Option<Option<Duration>>,
    pub(crate) reloads: Option<Option<u64>>,
}

/// What one `memory` says: the outer `None` is "not said", the inner "no limit".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryWords {
    pub(crate) soft: Option<Option<u64>>,
    pub(crate) hard: Option<Option<u64>>,
}

impl Value {
    /// Adds a later word's values to this list; `false`: this is no list, or not of the same things.
    pub(crate) fn append(&mut self, later: Self) -> bool {
        match (self, later) {
            (Self::Addresses(list), Self::Addresses(more)) => list.extend(more),
            (Self::Networks(list), Self::Networks(more)) => list.extend(more),
            _ => return false,
        }
        true
    }
}

/// As config files write it; the values of variables may be secrets and are left out.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => on.fmt(f),
            Self::Count(count) | Self::Limit(Some(count)) => count.fmt(f),
            Self::Time(time) | Self::Age(Some(time)) => f.write_str(&show_duration(*time)),
            Self::Size(bytes) | Self::SizeLimit(Some(bytes)) => f.write_str(&show_size(*bytes)),
            Self::Limit(None) | Self::Age(None) | Self::SizeLimit(None) | Self::Rate(None) => {
                f.write_str("off")
            }
            Self::Port(PortChoice::Given(port)) => port.fmt(f),
            Self::Port(PortChoice::Probe) => f.write_str("auto"),
            Self::Workers(count) => count.fmt(f),
            Self::Recycle(words) => write!(f, "{words:?}"),
            Self::Memory(words) => write!(f, "{words:?}"),
            Self::Rate(Some(rate)) => write!(f, "{}/s,{}", rate.per_second, rate.burst),
            Self::Path(path) => path.display().fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Texts(texts) => write!(f, "{texts:?}"),
            Self::Hosts(hosts) => f.write_str(&joined(hosts)),
            Self::Addresses(list) => f.write_str(&joined(list)),
            Self::Networks(list) => f.write_str(&joined(list)),
            Self::Endpoint(address) => address.fmt(f),
            Self::Listen(listen) => f.write_str(&format!("{listen:?}").to_ascii_lowercase()),
            Self::Protocol(protocol) => f.write_str(&format!("{protocol:?}").to_ascii_lowercase()),
            Self::ReadyBy(ready_by) => f.write_str(&format!("{ready_by:?}").to_ascii_lowercase()),
            Self::Reload(reload) => f.write_str(&format!("{reload:?}").to_ascii_lowercase()),
            Self::Signal(signal) => f.write_str(&format!("{signal:?}").to_ascii_uppercase()),
            Self::Backend(backend) => f.write_str(&format!("{backend:?}").to_ascii_lowercase()),
            Self::Variables(variables) => f.write_str(&joined(variables.keys())),
        }
    }
}

fn joined<T: fmt::Display>(list: impl IntoIterator<Item = T>) -> String {
    list.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// A type that a value can hold.
pub(crate) trait Held: Sized {
    /// `None`: the value holds something else.
    fn held(value: &Value) -> Option<Self>;
}

macro_rules! held {
    ($($type:ty: $($variant:ident)|+;)+) => {
        $(impl Held for $type {
            fn held(value: &Value) -> Option<Self> {
                match value {
                    $(Value::$variant(held))|+ => Some(held.clone()),
                    _ => None,
                }
            }
        })+
    };
}

held! {
    bool: Switch;
    u64: Count | Size;
    Option<u64>: Limit | SizeLimit;
    Duration: Time;
    Option<Duration>: Age;
    PortChoice: Port;
    WorkerCount: Workers;
    Option<Rate>: Rate;
    PathBuf: Path;
    String: Text;
    Vec<String>: Texts;
    Vec<HostName>: Hosts;
    Vec<IpAddr>: Addresses;
    Vec<IpNet>: Networks;
    SocketAddr: Endpoint;
    Listen: Listen;
    Protocol: Protocol;
    ReadyBy: ReadyBy;
    Reload: Reload;
    ReloadSignal: Signal;
    BackendChoice: Backend;
    BTreeMap<String, String>: Variables;
}
