//! Owns the settings that say who is let in: users with passwords, or whom another program lets in.
//!
//! Never here: asking for a password, or checking one (the data path).

use std::fmt;
use std::path::{Path, PathBuf};

use http::header::{HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use toml::de::{DeTable, DeValue};

use super::field_names;
use crate::name::{AppName, RequestPath};

/// The proof that clients must bring before a request reaches its app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Auth {
    /// Clients need to show nothing.
    #[default]
    Off,
    /// Clients need to show a name and a password (Basic, RFC 7617).
    Passwords(PasswordAuth),
    /// Clients need to satisfy another program.
    Forward(ForwardAuth),
}

/// Users with passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PasswordAuth {
    /// The file of users and the hashes of their passwords; absolute.
    pub(crate) users: PathBuf,
    /// The realm: what the password is for, as people read it.
    realm: String,
    /// The value of `WWW-Authenticate`.
    pub(crate) challenge: HeaderValue,
}

/// A program that is asked whether a request may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForwardAuth {
    pub(crate) program: AuthProgram,
    /// The path that it is asked for, with a query if it has one.
    pub(crate) path: PathAndQuery,
    /// Header fields that the worker gets from the program's answer, and from nobody else.
    pub(crate) copy: Vec<HeaderName>,
}

/// The program that is asked, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthProgram {
    /// A program that listens at an address, for plain HTTP/1.1.
    At(AuthAddress),
    /// An app of this server, by its workers.
    App(AppName),
}

/// The address at which a program listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthAddress {
    url: String,
    /// The address to connect to, `HOST:PORT`.
    pub(crate) address: String,
    /// The `Host` of the request to the program.
    pub(crate) authority: String,
}

impl Auth {
    /// Reads a value of a TOML file.
    ///
    /// # Errors
    /// The form that would be right, as the end of "expected …".
    pub(crate) fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Boolean(false) => Ok(Self::Off),
            DeValue::String(text) if text == "off" => Ok(Self::Off),
            DeValue::Table(table) => Self::of_table(table),
            _ => Err(EXPECTED.into()),
        }
    }

    fn of_table(table: &DeTable<'_>) -> Result<Self, String> {
        let (mut users, mut url, mut app, mut copy) = (None, None, None, Vec::new());
        let (mut realm, mut path) = (None, None);
        for (key, value) in table {
            let name: &str = key.get_ref();
            let text = value.get_ref().as_str();
            match (name, text) {
                ("users", Some(text)) if !text.is_empty() => users = Some(PathBuf::from(text)),
                ("users", _) => return Err("a file of users as `users`, in quotes".into()),
                ("realm", Some(text)) => realm = Some(text),
                ("realm", None) => return Err("a text as `realm`, in quotes".into()),
                ("url", Some(text)) => url = Some(text),
                ("url", None) => return Err("an address as `url`, in quotes".into()),
                ("app", Some(text)) => app = Some(text),
                ("app", None) => return Err("the name of an app as `app`, in quotes".into()),
                ("path", Some(text)) => path = Some(text),
                ("path", None) => return Err("a path as `path`, in quotes".into()),
                ("copy", _) => copy = copied_fields(value.get_ref())?,
                _ => return Err(format!("{EXPECTED}; `{name}` is no part of it")),
            }
        }
        match (users, url, app) {
            (Some(_), Some(_), _) => Err("`users` or `url`: they exclude each other".into()),
            (Some(_), _, Some(_)) => Err("`users` or `app`: they exclude each other".into()),
            (_, Some(_), Some(_)) => Err("`url` or `app`: they exclude each other".into()),
            (None, Some(_), None) if realm.is_some() => {
                Err("no `realm` beside `url`: the program there says it".into())
            }
            (None, None, Some(_)) if realm.is_some() => {
                Err("no `realm` beside `app`: that app says it".into())
            }
            (_, _, None) if path.is_some() => Err("`path` beside `app` alone".into()),
            (None, Some(url), None) => ForwardAuth::at(url, copy).map(Self::Forward),
            (None, None, Some(app)) => ForwardAuth::of_app(app, path, copy).map(Self::Forward),
            (Some(_), ..) if !copy.is_empty() => Err("no `copy` beside `users`".into()),
            (Some(users), ..) => PasswordAuth::new(users, realm.unwrap_or("Restricted")).map(Self::Passwords),
            (None, None, None) => Err(format!("{EXPECTED}; it has no `users`")),
        }
    }

    /// The same settings with paths that begin at this folder, unless they are absolute.
    pub(crate) fn beside(self, folder: &Path) -> Self {
        match self {
            Self::Passwords(own) => Self::Passwords(PasswordAuth { users: folder.join(&own.users), ..own }),
            Self::Off | Self::Forward(_) => self,
        }
    }

    /// The app of this server that is asked.
    pub(crate) fn asked_app(&self) -> Option<&AppName> {
        match self {
            Self::Forward(ForwardAuth { program: AuthProgram::App(app), .. }) => Some(app),
            Self::Forward(_) | Self::Off | Self::Passwords(_) => None,
        }
    }

    /// The file of users, where there is one.
    pub(crate) fn users(&self) -> Option<&Path> {
        match self {
            Self::Passwords(own) => Some(&own.users),
            Self::Off | Self::Forward(_) => None,
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

impl ForwardAuth {
    fn at(text: &str, copy: Vec<HeaderName>) -> Result<Self, String> {
        let wrong =
            || format!("an address such as http://127.0.0.1:4180/verify as `url`, in place of {text:?}");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority =
            uri.authority().filter(|_| uri.scheme_str() == Some("http") && !text.contains(['#', '@']));
        let authority = authority.ok_or_else(wrong)?;
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let program = AuthAddress { url: text.to_owned(), address, authority: authority.to_string() };
        Ok(Self { program: AuthProgram::At(program), path, copy })
    }

    /// The path has no default: what an app answers at `/` is for everybody more often than not.
    fn of_app(app: &str, path: Option<&str>, copy: Vec<HeaderName>) -> Result<Self, String> {
        let name = app.parse().map_err(|_| format!("the name of an app as `app`, in place of {app:?}"))?;
        let wrong = || match path {
            Some(path) => format!("a path of the app such as /verify as `path`, in place of {path:?}"),
            None => "the path that the app is asked at as `path`, such as /verify".to_owned(),
        };
        let path = path.filter(|path| path.starts_with('/') && !path.contains('#')).ok_or_else(wrong)?;
        let path: PathAndQuery = path.parse().map_err(|_| wrong())?;
        RequestPath::read(path.path()).map_err(|_| wrong())?;
        Ok(Self { program: AuthProgram::App(name), path, copy })
    }

    /// Whether a client's field of this name is hidden from the worker.
    pub(crate) fn hides(&self, name: &HeaderName) -> bool {
        name == "remote-user" || self.copy.contains(name)
    }
}

fn copied_fields(value: &DeValue<'_>) -> Result<Vec<HeaderName>, String> {
    let wrong = || "a list of names of header fields as `copy`, such as [\"Remote-User\"]".to_owned();
    let DeValue::Array(names) = value else { return Err(wrong()) };
    let field = |name: &str| field_names::copied(name);
    names.iter().map(|name| name.get_ref().as_str().map_or_else(|| Err(wrong()), field)).collect()
}

/// The text as config files have it.
impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Passwords(own) => {
                write!(f, "{{ users = {:?}, realm = {:?} }}", own.users.display().to_string(), own.realm)
            }
            Self::Forward(ForwardAuth { program, path, copy }) => {
                match program {
                    AuthProgram::At(program) => write!(f, "{{ url = {:?}", program.url)?,
                    AuthProgram::App(app) => {
                        write!(f, "{{ app = {:?}, path = {:?}", app.as_str(), path.as_str())?;
                    }
                }
                if !copy.is_empty() {
                    write!(f, ", copy = {:?}", copy.iter().map(HeaderName::as_str).collect::<Vec<_>>())?;
                }
                f.write_str(" }")
            }
        }
    }
}

/// The form of the table, as an error says it.
pub(crate) const EXPECTED: &str = "off, or a table such as { users = \"/etc/rip-server/staff.htpasswd\", realm = \"Staff\" }, \
     { url = \"http://127.0.0.1:4180/verify\", copy = [\"Remote-User\"] } or { app = \"sso\", path = \"/verify\" }";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Auth, String> {
        let text = format!("a = {text}");
        let table = DeTable::parse(&text).unwrap();
        Auth::read(table.get_ref().get("a").unwrap().get_ref())
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
    fn another_program_is_asked_at_an_address_and_says_who_it_is() {
        for (url, address, path) in [
            ("http://127.0.0.1:4180/verify?x=y", "127.0.0.1:4180", "/verify?x=y"),
            ("http://[::1]:9091/api/authz/forward-auth", "[::1]:9091", "/api/authz/forward-auth"),
            ("http://sso.internal", "sso.internal:80", "/"),
        ] {
            let text = format!("{{ url = {url:?}, copy = [\"Remote-User\", \"X-Forwarded-User\"] }}");
            let Ok(Auth::Forward(auth)) = read(&text) else { panic!("{url}") };
            let AuthProgram::At(program) = &auth.program else { panic!("{url}") };
            assert_eq!((&*program.address, auth.path.as_str()), (address, path));
            assert_eq!(auth.copy, ["remote-user", "x-forwarded-user"]);
        }
    }

    #[test]
    fn an_app_is_asked_by_its_name_and_a_path() {
        let text = "{ app = \"sso\", path = \"/verify?a=b\", copy = [\"Remote-User\"] }";
        let auth = read(text).unwrap();
        assert_eq!(auth.asked_app().unwrap().as_str(), "sso");
        assert_eq!(auth.to_string(), "{ app = \"sso\", path = \"/verify?a=b\", copy = [\"remote-user\"] }");
        for (path, right) in [
            ("/", true),
            ("/a/b%20c", true),
            ("", false),
            ("verify", false),
            ("/a/../b", false),
            ("/a b", false),
            ("/a#b", false),
            ("*", false),
        ] {
            let read = read(&format!("{{ app = \"sso\", path = {path:?} }}"));
            assert_eq!(read.is_ok(), right, "{path}");
            assert!(right || read.unwrap_err().contains("a path of the app such as /verify"), "{path}");
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
            ("{ users = \"x\", url = \"http://a\" }", "exclude each other"),
            ("{ users = \"x\", copy = [\"a\"] }", "no `copy` beside"),
            ("{ url = \"http://a\", realm = \"x\" }", "no `realm` beside"),
            ("{ url = \"https://a\" }", "an address such as"),
            ("{ url = \"127.0.0.1:80\" }", "an address such as"),
            ("{ url = \"/verify\" }", "an address such as"),
            ("{ url = \"http://u:p@a/\" }", "an address such as"),
            ("{ url = 1 }", "an address as `url`"),
            ("{ app = 1 }", "the name of an app"),
            ("{ app = \"a b\", path = \"/\" }", "the name of an app"),
            ("{ app = \"a\" }", "the path that the app is asked at"),
            ("{ app = \"a\", path = 1 }", "a path as `path`"),
            ("{ app = \"a\", path = \"/\", realm = \"x\" }", "no `realm` beside `app`"),
            ("{ app = \"a\", path = \"/\", url = \"http://a\" }", "exclude each other"),
            ("{ app = \"a\", path = \"/\", users = \"x\" }", "exclude each other"),
            ("{ url = \"http://a\", path = \"/\" }", "`path` beside `app` alone"),
            ("{ users = \"x\", path = \"/\" }", "`path` beside `app` alone"),
            ("{ url = \"http://a\", copy = \"Remote-User\" }", "a list of names"),
            ("{ url = \"http://a\", copy = [1] }", "a list of names"),
            ("{ url = \"http://a\", copy = [\"Host\"] }", "other fields: Host"),
            ("{ url = \"http://a\", copy = [\"X-Forwarded-For\"] }", "other fields"),
            ("{ url = \"http://a\", copy = [\"A_B\"] }", "other fields"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
