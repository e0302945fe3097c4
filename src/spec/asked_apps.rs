//! Owns that no app is asked about its own requests in the end: the circles of apps that ask each other by `auth`.
//!
//! Never here: asking (the data path).

use std::collections::BTreeSet;
use std::fmt;

use crate::name::AppName;

/// Apps of which each asks the next one about its requests, and the last one the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthCircle(Vec<AppName>);

impl AuthCircle {
    /// The shortest circle that leads through an app; `asks`: which apps an app asks.
    pub(crate) fn through(app: &AppName, asks: impl Fn(&AppName) -> BTreeSet<AppName>) -> Option<Self> {
        let (mut ways, mut seen) = (vec![vec![app.clone()]], BTreeSet::new());
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in ways {
                for next in way.last().map(&asks).unwrap_or_default() {
                    if next == *app {
                        return Some(Self(way));
                    }
                    if seen.insert(next.clone()) {
                        longer.push(way.iter().cloned().chain([next]).collect());
                    }
                }
            }
            ways = longer;
        }
        None
    }
}

impl fmt::Display for AuthCircle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, others @ ..] = &*self.0 else { return Ok(()) };
        if others.is_empty() {
            return write!(
                f,
                "`auth` of {first} names {first} itself, and no app is asked about its own requests: name another app, \
                 or a program by `url`"
            );
        }
        write!(f, "`auth` goes in a circle: {first} asks ")?;
        for app in others {
            write!(f, "{app}, which asks ")?;
        }
        write!(f, "{first}: one of them has to ask another app, a program by `url`, or nobody")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(from: &str, asks: &[(&str, &[&str])]) -> Option<String> {
        let asked = |app: &AppName| {
            let row = asks.iter().find(|(name, _)| *name == app.as_str());
            row.map(|(_, asked)| asked.iter().map(|name| name.parse().unwrap()).collect()).unwrap_or_default()
        };
        let circle = AuthCircle::through(&from.parse().unwrap(), asked)?;
        Some(circle.0.iter().map(AppName::as_str).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_circle_is_found_through_whichever_of_its_apps() {
        let asks: &[(&str, &[&str])] = &[
            ("blog", &["sso"]),
            ("sso", &["guard", "mail"]),
            ("mail", &["blog"]),
            ("guard", &[]),
            ("self", &["guard", "self"]),
            ("outside", &["blog"]),
        ];
        assert_eq!(circle("blog", asks).as_deref(), Some("blog sso mail"));
        assert_eq!(circle("mail", asks).as_deref(), Some("mail blog sso"));
        assert_eq!(circle("self", asks).as_deref(), Some("self"));
        assert_eq!(circle("outside", asks), None, "it asks those that are in one");
        assert_eq!(circle("guard", asks), None);
        assert_eq!(circle("nobody", asks), None);
    }

    #[test]
    fn it_is_told_with_all_its_apps() {
        let told =
            |names: &[&str]| AuthCircle(names.iter().map(|name| name.parse().unwrap()).collect()).to_string();
        assert!(told(&["a"]).starts_with("`auth` of a names a itself"));
        assert!(told(&["a", "b", "c"]).contains("a asks b, which asks c, which asks a: one of them"));
    }
}
