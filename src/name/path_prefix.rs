//! Owns the prefix of a path that a route, or a table of an app's settings, is for: `/blog`.
//!
//! Never here: which paths are below it (`request_path`).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A path and all paths below it, on segment borders: `/blog` stands for `/blog` and `/blog/x`, not for `/blogger`.
///
/// The text begins with `/`, does not end with one, and has only characters that mean the same in every spelling of a
/// path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PathPrefix(pub(super) Arc<str>);

/// Why a text is not a path prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no path prefix such as /blog: {why}")]
pub struct PathPrefixError {
    /// The text that was read.
    pub(super) text: String,
    /// The fault of the text, and the form that would be right.
    pub(super) why: &'static str,
}

impl PathPrefix {
    /// Parses a prefix, which has one spelling only.
    ///
    /// # Errors
    /// [`PathPrefixError`] says what would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, PathPrefixError> {
        match fault(text) {
            Some(why) => Err(PathPrefixError { text: text.into(), why }),
            None => Ok(Self(text.into())),
        }
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn fault(text: &str) -> Option<&'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()+,=:@".contains(&byte);
    let Some(segments) = text.strip_prefix('/') else { return Some("it must begin with `/`") };
    if segments.is_empty() {
        return Some("`/` alone is every path: leave it out");
    }
    if text.contains(['?', '#']) {
        return Some("it ends before the query: leave out what follows `?` or `#`");
    }
    if text.contains('%') {
        return Some("write its characters as they are, without `%`");
    }
    if text.contains('*') {
        return Some("it stands for all that is below it: leave out `*`");
    }
    if text.ends_with('/') {
        return Some("it must not end with `/`");
    }
    if text.contains("//") {
        return Some("no two `/` may stand together");
    }
    if segments.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Some("`.` and `..` may not be in it: write where it leads");
    }
    if !text.bytes().all(plain) {
        return Some("only letters, digits and - . _ ~ ! $ & ' ( ) + , = : @ may be in it");
    }
    (text.len() > MAX_PREFIX).then_some("it is longer than 255 bytes")
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<PathPrefix> for String {
    fn from(prefix: PathPrefix) -> Self {
        prefix.0.as_ref().into()
    }
}

impl TryFrom<String> for PathPrefix {
    type Error = PathPrefixError;
    fn try_from(text: String) -> Result<Self, PathPrefixError> {
        Self::parse(&text)
    }
}

const MAX_PREFIX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_one_spelling() {
        for text in ["/blog", "/a/b-c_d.e~f", "/@me", "/.well-known", "/a:b+c,d=e", "/...", "/BLOG"] {
            assert_eq!(PathPrefix::parse(text).map(|prefix| prefix.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_no_prefix_is_told_what_would_be_right() {
        let long = format!("/{}", "a".repeat(255));
        for (text, why) in [
            ("", "must begin"),
            ("blog", "must begin"),
            ("/", "every path"),
            ("/blog/", "must not end"),
            ("//blog", "two `/`"),
            ("/a//b", "two `/`"),
            ("/..", "`..`"),
            ("/a/../b", "`..`"),
            ("/a/.", "`.`"),
            ("/%62log", "without `%`"),
            ("/a%2Fb", "without `%`"),
            ("/blog?x", "query"),
            ("/blog#x", "query"),
            ("/blog/*", "leave out `*`"),
            ("/a b", "only letters"),
            ("/a;b", "only letters"),
            ("/a\\b", "only letters"),
            ("/b\u{fc}cher", "only letters"),
            ("/a\0", "only letters"),
            (&long, "longer"),
        ] {
            let error = PathPrefix::parse(text).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{text}` is no path prefix")), "{error}");
            assert!(error.why.contains(why), "{text:?}: {error}");
        }
    }
}
