//! Names: host, route, app, instance, worker, generation, request and client, each parsed once and then trusted.
//!
//! Never here: what a name stands for, or looking one up.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod path_prefix;
mod request_path;
mod route_name;

use std::borrow::Borrow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use path_prefix::PathPrefix;
pub use path_prefix::PathPrefixError;
pub(crate) use request_path::{AmbiguousPath, RequestPath};
pub use route_name::{RouteName, RouteNameError};

/// A host name as the directory knows it: lower case, IDNA-encoded, no port, no trailing dot; `*.` only in front.
///
/// IPv4 addresses stand as they are, IPv6 addresses in brackets (RFC 3986 §3.2.2), both in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(Arc<str>);

/// Why a text is not a host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostNameError {
    /// The text is empty.
    #[error("a host name is empty")]
    Empty,
    /// The name is longer than 253 characters (RFC 1035 §2.3.4).
    #[error("host name `{0}` is longer than 253 characters")]
    TooLong(String),
    /// A port follows the name.
    #[error("host name `{0}` has a port: write it without `:{1}`")]
    Port(String, String),
    /// The name has a `*` that is not its whole first label.
    #[error("host name `{0}`: `*` may only stand as the first label, as in `*.example.com`")]
    Wildcard(String),
    /// The text is no domain name, no IPv4 address and no IPv6 address in brackets.
    #[error("`{0}` is not a host name: expected something like `app.example.com`, `127.0.0.1` or `[::1]`")]
    Malformed(String),
}

impl HostName {
    /// Parses what a person or a config file wrote: any case, international names, a trailing dot are fine.
    ///
    /// # Errors
    /// See [`HostNameError`]; each shows what was read.
    pub fn parse(text: &str) -> Result<Self, HostNameError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(HostNameError::Empty);
        }
        if let Some(address) = parse_address(text) {
            return Ok(Self(address.into()));
        }
        if let Some((host, port)) = text.rsplit_once(':')
            && !host.contains(':')
            && port.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(HostNameError::Port(text.into(), port.into()));
        }
        let (prefix, domain) = match text.strip_prefix("*.") {
            Some(rest) => ("*.", rest),
            None => ("", text),
        };
        if domain.contains('*') {
            return Err(HostNameError::Wildcard(text.into()));
        }
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        let ascii = idna::domain_to_ascii_cow(domain.as_bytes(), idna::AsciiDenyList::URL)
            .map_err(|_| HostNameError::Malformed(text.into()))?;
        if !ascii.split('.').all(is_label) || looks_like_address(&ascii) {
            return Err(HostNameError::Malformed(text.into()));
        }
        let name = format!("{prefix}{ascii}");
        if name.len() > MAX_HOST {
            return Err(HostNameError::TooLong(text.into()));
        }
        Ok(Self(name.into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a wildcard name such as `*.example.com`.
    pub(crate) fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// The IP address, if the name is one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        let bare = self.0.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&self.0);
        bare.parse().ok()
    }
}

fn parse_address(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]"));
    }
    match text.parse::<IpAddr>().ok()? {
        IpAddr::V4(address) => Some(address.to_string()),
        IpAddr::V6(address) => Some(format!("[{address}]")),
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

/// A name whose last label is all digits can only be a mistyped IPv4 address (WHATWG URL, "ends in a number").
fn looks_like_address(domain: &str) -> bool {
    domain.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0.as_ref().into()
    }
}

impl TryFrom<String> for HostName {
    type Error = HostNameError;
    fn try_from(text: String) -> Result<Self, HostNameError> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for HostName {
    type Err = HostNameError;
    fn from_str(text: &str) -> Result<Self, HostNameError> {
        Self::parse(text)
    }
}

/// Why a text is not an app's or an instance's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: use 1 to 64 of `a-z A-Z 0-9 . _ -`, the first a letter or a digit")]
pub struct PlainNameError(pub String);

macro_rules! plain_name {
    ($(#[$doc:meta])* $name:ident, $is_right:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses 1 to 64 of `a-z A-Z 0-9 . _ -`, the first a letter or a digit.
            ///
            /// # Errors
            /// [`PlainNameError`] with what was read.
            pub fn parse(text: &str) -> Result<Self, PlainNameError> {
                if $is_right(text) { Ok(Self(text.into())) } else { Err(PlainNameError(text.into())) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().into()
            }
        }

        impl TryFrom<String> for $name {
            type Error = PlainNameError;
            fn try_from(text: String) -> Result<Self, PlainNameError> {
                Self::parse(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = PlainNameError;
            fn from_str(text: &str) -> Result<Self, PlainNameError> {
                Self::parse(text)
            }
        }
    };
}

plain_name!(
    /// The name of an app: the last part of its directory's path unless the config says otherwise.
    AppName,
    is_plain
);
plain_name!(
    /// The name of a running `rip-server`: what stands behind the `@` of its unit, or the app's name.
    ///
    /// The name may hold what `systemd-escape` writes for other characters (`my\x2dapp`), so that every unit has its
    /// name.
    InstanceName,
    is_plain_or_escaped
);

impl InstanceName {
    /// Whether both names are one with its dashes written differently: `my-app` and `my\x2dapp`.
    pub(crate) fn is_spelled_as(&self, other: &Self) -> bool {
        let dashes = |name: &Self| name.as_str().replace("\\x2d", "-");
        dashes(self) == dashes(other)
    }
}

fn is_plain(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_plain_or_escaped(text: &str) -> bool {
    let mut parts = text.split("\\x");
    let starts_plain =
        parts.next().is_some_and(|first| first.starts_with(|c: char| c.is_ascii_alphanumeric()));
    let is_escape =
        |part: &str| part.get(..2).is_some_and(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
    starts_plain && parts.all(is_escape) && is_plain(&text.replace("\\x", "-"))
}

/// A worker of an instance; counted up from 1 over all its apps, never used twice while the instance lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkerId(pub u64);

/// A version of an app as deployed; counted up from 1 for each app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GenerationId(pub u64);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl GenerationId {
    /// The generation after this one.
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Names one request in access records, in answers and to the worker: 8 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId {
    len: u8,
    text: [u8; MAX_REQUEST_ID],
}

impl RequestId {
    /// A new random id of 20 characters; unique enough to find a request by, no secret.
    pub(crate) fn random() -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let mut text = [0; MAX_REQUEST_ID];
        let mut bits = fastrand::u128(..);
        for byte in &mut text[..20] {
            *byte = ALPHABET[(bits & 31) as usize];
            bits >>= 5;
        }
        Self { len: 20, text }
    }

    /// Takes a peer's id over if it is well formed.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let fits = (8..=MAX_REQUEST_ID).contains(&bytes.len());
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !fits || !bytes.iter().all(plain) {
            return None;
        }
        let mut text = [0; MAX_REQUEST_ID];
        text[..bytes.len()].copy_from_slice(bytes);
        Some(Self { len: bytes.len() as u8, text })
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The text's bytes, which need no look at whether they are text.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({})", self.as_str())
    }
}

const MAX_HOST: usize = 253;
const MAX_REQUEST_ID: usize = 64;

/// The address of what counts as one client: an IPv4 address, or the /64 that an IPv6 client has to itself (RFC 6177
/// §2).
///
/// An IPv4 address that is written as an IPv6 one counts as what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientNet(IpAddr);

impl ClientNet {
    /// The client that an address belongs to.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.into()),
            IpAddr::V6(v6) => Self(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into()),
        }
    }
}

impl fmt::Display for ClientNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_become_canonical() {
        for (text, canonical) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("*.Example.com", "*.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("localhost", "localhost"),
            ("my_app.local", "my_app.local"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ] {
            assert_eq!(HostName::parse(text).unwrap().as_str(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        let long = format!("{}.example", "a.".repeat(130));
        for text in [
            "",
            " ",
            "a..b",
            ".a",
            "-a.b",
            "a-.b",
            "a b",
            "a/b",
            "a@b",
            "a*.b",
            "*",
            "*.*.b",
            "a.*.b",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "[::1",
            "a:80",
            "[::1]:80",
            "\0",
            "a\nb",
            "%41.b",
            &long,
            &"x".repeat(64),
        ] {
            assert!(HostName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_port_is_named_in_the_error() {
        let error = HostName::parse("example.com:8443").unwrap_err();
        assert_eq!(error.to_string(), "host name `example.com:8443` has a port: write it without `:8443`");
    }

    #[test]
    fn plain_names_have_a_small_alphabet() {
        for text in ["a", "labs-api", "A.b_c-9"] {
            assert_eq!(AppName::parse(text).unwrap().as_str(), text);
        }
        for text in ["", ".", "..", "-a", "a/b", "a b", "é", &"a".repeat(65)] {
            assert!(AppName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn instance_names_may_be_escaped_as_systemd_does() {
        for text in ["labs-api", r"my\x2dapp", r"a\x2db-c"] {
            assert_eq!(InstanceName::parse(text).unwrap().as_str(), text);
        }
        for text in ["", r"\x2da", r"a\x2", r"a\xzz", r"a\b", r"a\", "a/b", r"a/\x2d"] {
            assert!(InstanceName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn request_ids_of_peers_are_checked() {
        assert_eq!(RequestId::parse(b"abc-DEF_1.2").unwrap().as_str(), "abc-DEF_1.2");
        for bytes in [&b"short"[..], b"has space", b"new\nline12", &[b'a'; 65]] {
            assert!(RequestId::parse(bytes).is_none());
        }
        assert_eq!(RequestId::random().as_str().len(), 20);
        assert_ne!(RequestId::random(), RequestId::random());
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        let net = |address: &str| ClientNet::of(address.parse().unwrap());
        assert_eq!(net("2001:db8::1"), net("2001:db8::ffff:0:0:2"));
        assert_ne!(net("2001:db8::1"), net("2001:db8:0:1::1"));
        assert_eq!(net("::ffff:10.0.0.9"), net("10.0.0.9"));
        assert_ne!(net("10.0.0.9"), net("10.0.0.8"));
        assert_eq!(net("10.0.0.9").to_string(), "10.0.0.9");
        assert_eq!(net("2001:db8::1").to_string(), "2001:db8::/64");
    }
}
