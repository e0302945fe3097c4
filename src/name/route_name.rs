//! Owns the name of a route: a host, or a host and a path prefix.
//!
//! Never here: where a route leads.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::path_prefix::{PathPrefix, PathPrefixError};
use super::{HostName, HostNameError};

/// A host with all its paths (`example.com`), or with those below a prefix (`example.com/blog`). Sorted by host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RouteName {
    host: HostName,
    prefix: Option<PathPrefix>,
}

/// Why a text is not a route's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteNameError {
    /// The part before the path is no host.
    #[error(transparent)]
    Host(#[from] HostNameError),
    /// The part behind the host is no prefix.
    #[error(transparent)]
    Prefix(#[from] PathPrefixError),
}

impl RouteName {
    /// The paths of `host` below `prefix`; `None`: all of them.
    pub(crate) fn new(host: HostName, prefix: Option<PathPrefix>) -> Self {
        Self { host, prefix }
    }

    /// Parses a host, as [`HostName::parse`] does, and the rest from the first `/` on as a prefix.
    ///
    /// # Errors
    /// Each shows what was read, and what would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, RouteNameError> {
        let text = text.trim();
        // For a URL the error has to show more than its host.
        let slash = text.find('/').filter(|at| *at > 0 && !text[..*at].ends_with(':'));
        let (host, prefix) = text.split_at(slash.unwrap_or(text.len()));
        let host = HostName::parse(host)?;
        let prefix = (!prefix.is_empty()).then(|| PathPrefix::parse(prefix)).transpose()?;
        Ok(Self { host, prefix })
    }

    pub(crate) fn host(&self) -> &HostName {
        &self.host
    }

    /// The prefix; `None`: the route is the whole host.
    pub(crate) fn prefix(&self) -> Option<&PathPrefix> {
        self.prefix.as_ref()
    }
}

impl From<HostName> for RouteName {
    fn from(host: HostName) -> Self {
        Self { host, prefix: None }
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.prefix.as_ref().map_or("", PathPrefix::as_str))
    }
}

impl From<RouteName> for String {
    fn from(name: RouteName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for RouteName {
    type Error = RouteNameError;
    fn try_from(text: String) -> Result<Self, RouteNameError> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for RouteName {
    type Err = RouteNameError;
    fn from_str(text: &str) -> Result<Self, RouteNameError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_a_host_and_maybe_a_prefix() {
        for (text, host, prefix) in [
            ("Example.COM", "example.com", None),
            ("Example.com/Blog", "example.com", Some("/Blog")),
            ("*.example.com/a/b", "*.example.com", Some("/a/b")),
            ("[::1]/x", "[::1]", Some("/x")),
            ("127.0.0.1/x", "127.0.0.1", Some("/x")),
        ] {
            let route = RouteName::parse(text).unwrap();
            assert_eq!((route.host().as_str(), route.prefix().map(PathPrefix::as_str)), (host, prefix));
            assert_eq!(RouteName::parse(&route.to_string()), Ok(route), "{text}");
        }
    }

    #[test]
    fn what_is_no_route_is_told_as_a_host_or_a_prefix_would_be() {
        for (text, error) in [
            ("example.com/", "`/` is no path prefix such as /blog: `/` alone is every path: leave it out"),
            ("example.com/a/", "`/a/` is no path prefix such as /blog: it must not end with `/`"),
            ("example.com:80/a", "host name `example.com:80` has a port: write it without `:80`"),
        ] {
            assert_eq!(RouteName::parse(text).unwrap_err().to_string(), error, "{text}");
        }
        for text in ["/blog", "https://example.com/blog", "", "a b/c", "a..b/c"] {
            let error = RouteName::parse(text).unwrap_err();
            assert!(matches!(error, RouteNameError::Host(_)), "{text}: {error}");
        }
    }

    #[test]
    fn routes_are_sorted_by_host() {
        let mut routes = ["b.example", "a.example/x", "a-b.example", "a.example"]
            .map(|text| RouteName::parse(text).unwrap());
        routes.sort();
        let names = routes.map(|route| route.to_string());
        assert_eq!(names, ["a-b.example", "a.example", "a.example/x", "b.example"]);
    }
}
