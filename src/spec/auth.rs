//! Owns who may come in where a name and a password are asked for, as settings say it.
//!
//! Never here: asking for them, or checking them (the data path).

use std::fmt;
use std::path::{Path, PathBuf};

use http::HeaderValue;
use toml::de::{DeTable, DeValue};

/// What clients must show before a request reaches its app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Auth {
    /// Nothing.
    #[default]
    Off,
    /// A name and a password (Basic, RFC 7617).
    Passwords(PasswordAuth),
}

/// Users with passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PasswordAuth {
    /// The file of users and the hashes of their passwords; absolute.
    pub(crate) users: PathBuf,
    /// What people are told that the password is for.
    realm: String,
    /// The value of `WWW-Authenticate`.
    pub(crate) challenge: HeaderValue,
}

impl Auth {
    /// Reads a table.
    ///
    /// # Errors
    /// What would be right, as the end of "expected …".
    pub(crate) fn of_table(table: &DeTable<'_>) -> Result<Self, String> {
        let mut users = None;
        let mut realm = "Restricted";
        for (key, value) in table {
            let name: &str = key.get_ref();
            let text = value.get_ref().as_str();
            match (name, text) {
                ("users", Some(text)) if !text.is_empty() => users = Some(PathBuf::from(text)),
                ("users", _) => return Err("a file of users as `users`, in quotes".into()),
                ("realm", Some(text)) => realm = text,
                ("realm", None) => return Err("a text as `realm`, in quotes".into()),
                _ => return Err(format!("{EXPECTED}; `{name}` is no part of it")),
            }
        }
        let users = users.ok_or_else(|| format!("{EXPECTED}; it has no `users`"))?;
        PasswordAuth::new(users, realm).map(Self::Passwords)
    }

    /// Reads a word or a switch in the place of a table.
    pub(crate) fn of_word(value: &DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::Boolean(false) => Some(Self::Off),
            DeValue::String(text) if text == "off" => Some(Self::Off),
            _ => None,
        }
    }

    /// The same with paths that begin at this folder, unless they are absolute.
    pub(crate) fn beside(self, folder: &Path) -> Self {
        match self {
            Self::Passwords(own) => Self::Passwords(PasswordAuth { users: folder.join(&own.users), ..own }),
            Self::Off => Self::Off,
        }
    }

    /// The file of users.
    pub(crate) fn users(&self) -> Option<&Path> {
        match self {
            Self::Passwords(own) => Some(&own.users),
            Self::Off => None,
        }
    }
}

impl PasswordAuth {
    fn new(users: PathBuf, realm: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        let challenge = HeaderValue::try_from(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
        match challenge {
            Ok(challenge) if !realm.is_empty() && realm.bytes().all(is_plain) => {
                Ok(Self { users, realm: realm.to_owned(), challenge })
            }
            _ => Err("a `realm` of printable ASCII characters other than `\"` and `\\`".into()),
        }
    }
}

/// As config files write it.
impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Passwords(own) => {
                write!(f, "{{ users = {:?}, realm = {:?} }}", own.users.display().to_string(), own.realm)
            }
        }
    }
}

/// What a table takes, as an error says it.
pub(crate) const EXPECTED: &str =
    "off, or a table such as { users = \"/etc/rip-server/staff.htpasswd\", realm = \"Staff\" }";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Auth, String> {
        let text = format!("a = {text}");
        let table = DeTable::parse(&text).unwrap();
        match table.get_ref().get("a").unwrap().get_ref() {
            DeValue::Table(table) => Auth::of_table(table),
            value => Auth::of_word(value).ok_or_else(|| EXPECTED.to_owned()),
        }
    }

    #[test]
    fn a_table_names_users_and_what_for() {
        let Ok(Auth::Passwords(auth)) = read("{ users = \"staff\", realm = \"The Staff\" }") else {
            panic!()
        };
        assert_eq!(auth.challenge, "Basic realm=\"The Staff\", charset=\"UTF-8\"");
        let auth = Auth::Passwords(auth).beside(Path::new("/etc/rip-server"));
        assert_eq!(auth.to_string(), "{ users = \"/etc/rip-server/staff\", realm = \"The Staff\" }");
        assert_eq!(read("{ users = \"/x\" }").unwrap().users(), Some(Path::new("/x")));
        for off in ["false", "\"off\""] {
            assert_eq!(read(off), Ok(Auth::Off), "{off}");
        }
    }

    #[test]
    fn what_is_missing_misspelt_or_dangerous_is_refused() {
        for (text, why) in [
            ("true", "off, or a table"),
            ("\"staff\"", "off, or a table"),
            ("{}", "no `users`"),
            ("{ realm = \"x\" }", "no `users`"),
            ("{ users = \"\" }", "a file of users"),
            ("{ users = 1 }", "a file of users"),
            ("{ user = \"x\" }", "`user` is no part"),
            ("{ users = \"x\", realm = 1 }", "a text as `realm`"),
            ("{ users = \"x\", realm = \"a\\\"b\" }", "printable"),
            ("{ users = \"x\", realm = \"a\\nb\" }", "printable"),
            ("{ users = \"x\", realm = \"\" }", "printable"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
