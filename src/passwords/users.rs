//! Owns files of users, a line `NAME:HASH` each, as htpasswd(1) writes them.
//!
//! Never here: a hash (`hash`), or noticing that a file has changed.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::hash::PasswordHash;
use crate::files::plain_file;

/// The users of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Users(BTreeMap<String, PasswordHash>);

/// Why a file is no file of users; the text has nothing of the file's content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsersError {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is wrong in line {line}: {why}")]
    Line { line: usize, why: String },
}

impl Users {
    /// Reads a file of at most 1 MiB.
    ///
    /// # Errors
    /// Why the file cannot be read, or the first line that is wrong.
    pub(crate) fn read(path: &Path) -> Result<Self, UsersError> {
        Self::parse(&plain_file::read_to_string(path, LARGEST)?)
    }

    /// Reads users from a text. Empty lines, and lines that begin with `#`, are ignored.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, UsersError> {
        let mut users = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_end_matches([' ', '\t', '\r']);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: String| UsersError::Line { line: at + 1, why };
            let (name, hash) = line
                .split_once(':')
                .ok_or_else(|| wrong("NAME:HASH is expected, and it has no `:`".into()))?;
            check_name(name).map_err(|why| wrong(why.into()))?;
            let hash = PasswordHash::parse(hash).map_err(|why| wrong(format!("the hash {why}")))?;
            if users.insert(name.to_owned(), hash).is_some() {
                return Err(wrong("the name stands in another line too".into()));
            }
        }
        Ok(Self(users))
    }

    /// The hash of a user's password.
    pub(crate) fn hash_of(&self, name: &str) -> Option<&PasswordHash> {
        self.0.get(name)
    }

    /// The hash of some user, the same one for the same number; `None`: there is no user.
    pub(crate) fn any_hash(&self, number: usize) -> Option<&PasswordHash> {
        self.0.values().nth(number.checked_rem(self.0.len())?)
    }

    /// The number of users.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Checks that a text can be a user's name: in Basic authentication (RFC 7617 §2), in a line of a file, and in a header
/// field.
///
/// # Errors
/// The rule that the text breaks.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 255 {
        Err("a name has 1 to 255 bytes")
    } else if name.contains(':') || name.chars().any(char::is_control) {
        Err("a name has neither `:` nor control characters")
    } else if name.starts_with([' ', '#']) || name.ends_with(' ') {
        Err("a name neither begins with a space or `#` nor ends with a space")
    } else {
        Ok(())
    }
}

pub(crate) const LARGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded;

    const HASH: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";

    #[test]
    fn each_line_is_a_user_and_some_say_nothing() {
        let text = format!("# staff\n\nanna:{HASH}\r\nb\u{f6}b x:{HASH}  \n");
        let users = Users::parse(&text).unwrap();
        assert_eq!(users.len(), 2);
        assert!(users.hash_of("anna").is_some() && users.hash_of("b\u{f6}b x").is_some());
        assert!(users.hash_of("Anna").is_none() && users.hash_of("# staff").is_none());
        assert!(users.any_hash(7).is_some() && Users::default().any_hash(7).is_none());
    }

    #[test]
    fn the_first_wrong_line_is_named_and_nothing_of_it_is_shown() {
        for (text, line, why) in [
            ("anna".to_owned(), 1, "no `:`"),
            (format!("anna:{HASH}\nanna:{HASH}"), 2, "another line"),
            (format!(":{HASH}"), 1, "1 to 255"),
            (format!("#\n {HASH}:{HASH}"), 2, "space"),
            (format!("a\tb:{HASH}"), 1, "control"),
            ("anna:sesame".to_owned(), 1, "of no kind"),
            (format!("anna:{HASH}:x"), 1, "60 characters"),
        ] {
            let error = Users::parse(&text).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}:")) && error.contains(why), "{text}: {error}");
            assert!(!error.contains("sesame") && !error.contains("anna"), "{error}");
        }
    }

    #[test]
    fn any_text_is_users_or_an_error() {
        let whole = format!("anna:{HASH}\n# x\nbob:{HASH}\n");
        seeded::feed(&[whole.as_bytes()], 20_000, |input| {
            if let Ok(users) = Users::parse(&String::from_utf8_lossy(input)) {
                let named = |name: &&String| check_name(name).is_err();
                assert_eq!(users.0.keys().find(named), None);
            }
        });
    }
}
