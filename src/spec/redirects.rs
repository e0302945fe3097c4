//! Owns which hosts and which paths of an app are redirected, and where to.
//!
//! Never here: the answer that redirects.

use std::fmt;

use http::Uri;

use crate::name::{AmbiguousPath, HostName, PathPrefix, RequestPath};

/// Redirects of an app, from hosts and from paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Redirects {
    hosts: Vec<(HostName, String)>,
    /// The prefixes and their targets, the longest prefix first; `None`: `/` and nothing below it.
    paths: Vec<(Option<PathPrefix>, String)>,
}

impl Redirects {
    /// Reads pairs of a host or path and its target.
    ///
    /// # Errors
    /// The form that would be right, as the end of "expected …".
    pub(crate) fn parse(pairs: &[(&str, &str)]) -> Result<Self, String> {
        let mut all = Self::default();
        for (from, to) in pairs {
            if !from.starts_with('/') {
                let host = HostName::parse(from).map_err(|why| format!("a host name or a path ({why})"))?;
                all.hosts.push((host, of_url(to)?));
                continue;
            }
            let prefix = match *from {
                "/" => None,
                from => Some(PathPrefix::parse(from).map_err(|why| why.to_string())?),
            };
            let to = if to.starts_with('/') { of_path(to)? } else { of_url(to)? };
            all.paths.push((prefix, to));
        }
        all.paths.sort_by_key(|(from, _)| std::cmp::Reverse(length(from)));
        all.check_circles()?;
        Ok(all)
    }

    /// Whether there are no redirects.
    pub(crate) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.paths.is_empty()
    }

    /// The hosts that are redirected.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &HostName> {
        self.hosts.iter().map(|(host, _)| host)
    }

    /// The target of a registered host, as the beginning of a URL that the request's path completes.
    pub(crate) fn of_host(&self, host: &HostName) -> Option<&str> {
        self.hosts.iter().find(|(from, _)| from == host).map(|(_, to)| to.as_str())
    }

    /// The target of a path as it was sent: a URL or a path.
    ///
    /// # Errors
    /// When programs read the path differently in this point.
    pub(crate) fn of_path(&self, sent: &str) -> Result<Option<String>, AmbiguousPath> {
        if self.paths.is_empty() {
            return Ok(None);
        }
        let path = RequestPath::read(sent)?;
        let mut found = None;
        for (from, to) in &self.paths {
            let holds = match from {
                Some(prefix) => path.is_below(prefix)?,
                None => sent == "/",
            };
            if holds && found.is_none() {
                let rest = from.as_ref().map_or(Ok(""), |prefix| prefix.behind(sent))?;
                found = Some(joined(to, rest));
            }
        }
        Ok(found)
    }

    /// Follows each redirect within the app until it leads out of the redirects.
    fn check_circles(&self) -> Result<(), String> {
        let circle = |from: &str| format!("redirects that end somewhere: {from} is led in a circle");
        for (from, _) in &self.paths {
            let from = from.as_ref().map_or("/", PathPrefix::as_str);
            let mut at = from.to_owned();
            let mut steps = 0;
            while let Ok(Some(next)) = self.of_path(&at)
                && next.starts_with('/')
            {
                steps += 1;
                at = next;
                if steps > self.paths.len() {
                    return Err(circle(from));
                }
            }
        }
        for (from, _) in &self.hosts {
            let mut at = from.clone();
            let mut steps = 0;
            while let Some(next) = self.of_host(&at).and_then(host_of) {
                steps += 1;
                at = next;
                if steps > self.hosts.len() {
                    return Err(circle(from.as_str()));
                }
            }
        }
        Ok(())
    }
}

/// The text as config files have it.
impl fmt::Display for Redirects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.hosts.iter().map(|(host, to)| (host.as_str(), to));
        let path = |from: &Option<PathPrefix>| from.as_ref().map_or("/", PathPrefix::as_str).to_owned();
        let paths = self.paths.iter().map(|(from, to)| format!("{} to {to}", path(from)));
        let all: Vec<_> = hosts.map(|(host, to)| format!("{host} to {to}")).chain(paths).collect();
        f.write_str(&all.join(", "))
    }
}

fn length(from: &Option<PathPrefix>) -> usize {
    from.as_ref().map_or(0, |prefix| prefix.as_str().len())
}

fn joined(to: &str, rest: &str) -> String {
    if rest.is_empty() { to.to_owned() } else { format!("{}{rest}", to.trim_end_matches('/')) }
}

fn of_url(text: &str) -> Result<String, String> {
    let wrong =
        || format!("where to, as https://example.com or https://example.com/path, in place of {text:?}");
    let url: Uri = text.parse().map_err(|_| wrong())?;
    let host = url.host().and_then(|host| HostName::parse(host).ok()).filter(|host| !host.is_wildcard());
    let is_plain = matches!(url.scheme_str(), Some("http" | "https"))
        && host.is_some()
        && url.query().is_none()
        && !text.contains(['@', '#'])
        && !url.path().contains("//");
    if is_plain { Ok(text.trim_end_matches('/').to_owned()) } else { Err(wrong()) }
}

fn of_path(text: &str) -> Result<String, String> {
    let path = text.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(text);
    if text != "/" {
        PathPrefix::parse(path).map_err(|why| why.to_string())?;
    }
    Ok(text.to_owned())
}

fn host_of(url: &str) -> Option<HostName> {
    HostName::parse(url.parse::<Uri>().ok()?.host()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_paths_lead_elsewhere_and_keep_the_rest() {
        let redirects = Redirects::parse(&[
            ("www.Example.com", "https://example.com/"),
            ("/old", "/new"),
            ("/old/deep", "https://other.example/x"),
            ("/docs", "/manual/"),
            ("/", "/start"),
        ])
        .unwrap();
        let host = |name: &str| redirects.of_host(&HostName::parse(name).unwrap());
        assert_eq!((host("www.example.com"), host("example.com")), (Some("https://example.com"), None));
        for (path, to) in [
            ("/old", Some("/new")),
            ("/old/", Some("/new/")),
            ("/%6fld/x%20y", Some("/new/x%20y")),
            ("/older", None),
            ("/old/deep", Some("https://other.example/x")),
            ("/old/deep/y", Some("https://other.example/x/y")),
            ("/docs", Some("/manual/")),
            ("/docs/a", Some("/manual/a")),
            ("/", Some("/start")),
            ("/x", None),
        ] {
            assert_eq!(redirects.of_path(path).unwrap().as_deref(), to, "{path}");
        }
        for path in ["/old//evil.example", "//old", "/x/../old", "/old%2Fx"] {
            assert!(redirects.of_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_leads_nowhere_or_in_a_circle_is_refused() {
        for (pairs, why) in [
            (&[("/a", "/a/b")][..], "circle"),
            (&[("/a", "/b"), ("/b", "/a")], "circle"),
            (&[("/", "/")], "circle"),
            (&[("a.example", "https://a.example")], "circle"),
            (&[("a.example", "https://b.example/x"), ("b.example", "https://a.example")], "circle"),
            (&[("a.example", "/x")], "where to"),
            (&[("a.example", "b.example")], "where to"),
            (&[("a.example", "ftp://b.example")], "where to"),
            (&[("a.example", "https://b.example/?x")], "where to"),
            (&[("a.example", "https://u@b.example")], "where to"),
            (&[("a.example", "https://b.example#x")], "where to"),
            (&[("a.example", "https://")], "where to"),
            (&[("/a", "b")], "where to"),
            (&[("/a", "//b.example")], "two `/`"),
            (&[("/a", "/b?c")], "query"),
            (&[("/a/", "/b")], "must not end"),
            (&[("a b", "https://b.example")], "a host name or a path"),
        ] {
            let error = Redirects::parse(pairs).unwrap_err();
            assert!(error.contains(why), "{pairs:?}: {error}");
        }
    }
}
