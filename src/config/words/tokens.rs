//! The words of the command line as typed values, in any order, without looking at this machine.
//!
//! The only question to the machine is whether a path exists, and the caller answers it. Never here: the environment,
//! files, defaults, or which value wins.
//!
//! The first of these that matches says what a word is: a flag (`-`…); the host after `add` and `remove`, which may
//! have a path; a word or token of the table (`http`, `w:4`, `8443`); a command (`stop`); a path to the app (has a `/`,
//! starts with `.`, or ends in a source suffix); and at the end, when no other word named an app, one bare name that
//! exists.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::command::{COMMANDS, Subcommand};
use super::unknown;
use crate::config::error::ConfigError;
use crate::config::layer::Layer;
use crate::config::value_origin::ValueOrigin;
use crate::name::{HostName, RouteName, RouteNameError};
use crate::spec::settings::form::Form;
use crate::spec::settings::table::{Id, Setting, TABLE};

/// The words as typed values.
#[derive(Debug, PartialEq)]
pub(crate) struct Tokens {
    pub(crate) command: Subcommand,
    pub(crate) app: Option<AppWord>,
    pub(crate) layer: Layer,
    /// Whether `check` is to show defaults, too.
    pub(crate) all: bool,
    /// A note on how an ambiguous word was understood.
    pub(crate) note: Option<String>,
}

/// The word that names the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppWord {
    pub(crate) path: PathBuf,
    /// The hosts behind the `@`; empty: there are none.
    pub(crate) aliases: Vec<RouteName>,
    pub(crate) word: String,
}

/// Reads the words for a server; `note`: how an ambiguous word was understood.
///
/// # Errors
/// The first word that is unknown, wrong, said twice, or missing.
pub(crate) fn read(
    words: &[OsString],
    exists: &dyn Fn(&Path) -> bool,
    note: Option<String>,
) -> Result<Tokens, ConfigError> {
    let mut parser = Parser::new(exists);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        parser.take(word, &mut words)?;
    }
    Ok(Tokens { note, ..parser.finish()? })
}

pub(in crate::config) struct Parser<'a> {
    table: &'static [Setting],
    exists: &'a dyn Fn(&Path) -> bool,
    verb: Option<&'static str>,
    host: Option<RouteName>,
    pub(in crate::config) app: Option<AppWord>,
    /// Words without a meaning so far: at most one may turn out to be the app.
    bare: Vec<&'a OsStr>,
    pub(in crate::config) layer: Layer,
    /// The word that set each setting.
    seen: BTreeMap<Id, String>,
    all: bool,
}

impl<'a> Parser<'a> {
    pub(in crate::config) fn new(exists: &'a dyn Fn(&Path) -> bool) -> Self {
        Self {
            table: TABLE,
            exists,
            verb: None,
            host: None,
            app: None,
            bare: Vec::new(),
            layer: Layer::default(),
            seen: BTreeMap::new(),
            all: false,
        }
    }

    fn take(
        &mut self,
        word: &'a OsStr,
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), ConfigError> {
        let text = word.to_string_lossy();
        if text.starts_with('-') {
            return self.flag(word, rest);
        }
        if matches!(self.verb, Some("add" | "remove")) && self.host.is_none() && !self.is_app(word) {
            return self.take_host(&text);
        }
        // A URL is no token, whatever it begins with.
        if let Some(wrong) = self.value_of_a_flag_alone(word).filter(|_| text.contains("://")) {
            return Err(wrong);
        }
        if self.token(&text)? {
            return Ok(());
        }
        if let Some((verb, _)) = COMMANDS.iter().find(|(verb, _)| *verb == text) {
            return self.take_verb(verb);
        }
        if !looks_like_path(word) {
            self.bare.push(word);
            return Ok(());
        }
        match self.app_word(word)? {
            Some(app) => self.take_app(app),
            None => Err(self.value_of_a_flag_alone(word).unwrap_or_else(|| no_such_path(word))),
        }
    }

    /// The error for a word that could only be the value of the flag before it, which takes its value by `=` alone.
    fn value_of_a_flag_alone(&self, word: &OsStr) -> Option<ConfigError> {
        let text = word.to_str()?;
        let rows = self.seen.iter().map(|(id, word)| (Setting::of(*id), word));
        let (_, flag) = rows
            .filter(|(row, word)| {
                row.forms.iter().any(|form| matches!(form, Form::FlagOr(flag, _) if flag == word))
            })
            .find(|(row, _)| row.kind.parse(text).is_ok())?;
        let hint = format!("did you mean `{flag}={text}`? This flag takes its value by `=` alone");
        Some(ConfigError::UnknownWord { word: text.into(), hint: Some(hint) })
    }

    /// Whether a word that may be a host with a path is the app, because such a path exists.
    fn is_app(&self, word: &OsStr) -> bool {
        let text = word.to_string_lossy();
        text.starts_with(['.', '/']) || (text.contains('/') && (self.exists)(Path::new(word)))
    }

    pub(in crate::config) fn flag(
        &mut self,
        word: &OsStr,
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), ConfigError> {
        let bytes = word.as_bytes();
        let equals = bytes.iter().position(|b| *b == b'=');
        let (name, value) = match equals {
            Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]))),
            None => (bytes, None),
        };
        let name = String::from_utf8_lossy(name);
        let alone =
            |form: &Form| matches!(form, Form::Word(word, _) | Form::FlagOr(word, _) if *word == name);
        if let Some((row, form)) = find(self.table, alone) {
            return match (form, value) {
                (_, None) => self.put_word(row, form, &name),
                (Form::FlagOr(..), Some(value)) => self.put(row, form, value, lossy(word)),
                (_, Some(_)) => Err(ConfigError::NeedlessValue { word: lossy(word), right: name.into() }),
            };
        }
        if name == "--all" && value.is_none() {
            self.all = true;
            return Ok(());
        }
        let Some((row, form)) = find(self.table, |form| matches!(form, Form::Flag(flag) if *flag == name))
        else {
            return Err(unknown::flag(word, &name, value, rest.next()));
        };
        if let Some(value) = value {
            return self.put(row, form, value, lossy(word));
        }
        let missing = || ConfigError::MissingValue {
            word: name.clone().into_owned(),
            right: format!("{}{}", row.kind_at(&name).expected(), row.example_at(form)),
        };
        let value = rest.next().filter(|next| !next.as_bytes().starts_with(b"--")).ok_or_else(missing)?;
        self.put(row, form, value, format!("{name} {}", value.to_string_lossy()))
    }

    fn token(&mut self, text: &str) -> Result<bool, ConfigError> {
        if !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_digit())
            && let Some((row, form)) = find(self.table, |form| matches!(form, Form::Number))
        {
            self.put(row, form, OsStr::new(text), text.into())?;
        } else if let Some((row, form)) =
            find(self.table, |form| matches!(form, Form::Word(word, _) if *word == text))
        {
            self.put_word(row, form, text)?;
        } else if let Some((row, form)) =
            find(self.table, |form| matches!(form, Form::Token(start) if text.starts_with(start)))
        {
            let Form::Token(start) = form else { return Ok(false) };
            self.put(row, form, OsStr::new(&text[start.len()..]), text.into())?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn put_word(&mut self, row: &'static Setting, form: Form, word: &str) -> Result<(), ConfigError> {
        let (Form::Word(_, value) | Form::FlagOr(_, value)) = form else { return Ok(()) };
        self.put(row, form, OsStr::new(value), word.into())
    }

    fn put(
        &mut self,
        row: &'static Setting,
        form: Form,
        value: &OsStr,
        word: String,
    ) -> Result<(), ConfigError> {
        let kind = if let Form::Flag(flag) = form { row.kind_at(flag) } else { row.kind };
        let parsed = kind.parse_os(value).map_err(|wrong| ConfigError::Value {
            origin: ValueOrigin::Flag(word.clone()),
            key: row.key().into(),
            read: lossy(value),
            right: wrong.0 + &row.example_at(form) + &unknown::value(form, value),
        })?;
        if kind.is_repeatable() {
            self.layer.append(row.id, parsed, ValueOrigin::Flag(word));
            return Ok(());
        }
        if let Some(first) = self.seen.insert(row.id, word.clone()) {
            return Err(ConfigError::Twice { first, second: word, what: row.key().into() });
        }
        self.layer.put(row.id, parsed, ValueOrigin::Flag(word));
        Ok(())
    }

    fn take_verb(&mut self, verb: &'static str) -> Result<(), ConfigError> {
        match self.verb.replace(verb) {
            None => Ok(()),
            Some(first) if first == verb => Err(ConfigError::Twice {
                first: first.into(),
                second: verb.into(),
                what: "the command".into(),
            }),
            Some(first) => Err(conflict(first, verb, "one command at a time")),
        }
    }

    fn take_host(&mut self, text: &str) -> Result<(), ConfigError> {
        let verb = self.verb.unwrap_or_default();
        let host = RouteName::parse(text).map_err(|why| ConfigError::Value {
            origin: ValueOrigin::Flag(format!("{verb} {text}")),
            key: "host".into(),
            read: text.into(),
            right: format!("a host name, or some of its paths such as example.com/blog ({why})"),
        })?;
        self.host = Some(host);
        Ok(())
    }

    pub(in crate::config) fn take_app(&mut self, app: AppWord) -> Result<(), ConfigError> {
        match &self.app {
            None => {
                self.app = Some(app);
                Ok(())
            }
            Some(first) => {
                let why = "the command line runs one app; name more under [[apps]] in a config file";
                Err(conflict(&first.word, &app.word, why))
            }
        }
    }

    /// Reads `PATH` if that exists, else `PATH@a,b`; `None`: neither exists.
    pub(in crate::config) fn app_word(&self, word: &OsStr) -> Result<Option<AppWord>, ConfigError> {
        if (self.exists)(Path::new(word)) {
            return Ok(Some(AppWord { path: word.into(), aliases: Vec::new(), word: lossy(word) }));
        }
        let Some((path, names)) = split_aliases(word).filter(|(path, _)| (self.exists)(Path::new(path)))
        else {
            return Ok(None);
        };
        let mut aliases = Vec::new();
        for name in names.split(',') {
            let alias = alias(name).map_err(|why| ConfigError::Value {
                origin: ValueOrigin::Flag(lossy(word)),
                key: "hosts".into(),
                read: name.into(),
                right: format!(
                    "host names with commas between, such as ./blog@blog,example.com/blog ({why})"
                ),
            })?;
            if !aliases.contains(&alias) {
                aliases.push(alias);
            }
        }
        Ok(Some(AppWord { path: path.into(), aliases, word: lossy(word) }))
    }

    fn finish(mut self) -> Result<Tokens, ConfigError> {
        for word in std::mem::take(&mut self.bare) {
            match self.app_word(word)?.filter(|_| self.app.is_none()) {
                Some(app) => self.app = Some(app),
                None => {
                    let of_a_flag = self.value_of_a_flag_alone(word);
                    return Err(
                        of_a_flag.unwrap_or_else(|| unknown::word(word, self.app.is_some(), self.exists))
                    );
                }
            }
        }
        let command = match (self.verb, self.host) {
            (None, _) => Subcommand::Run,
            (Some("check"), _) => Subcommand::Check,
            (Some("stop"), _) => Subcommand::Stop,
            (Some("list"), _) => Subcommand::List,
            (Some("add"), Some(host)) => Subcommand::Add(host),
            (Some("remove"), Some(host)) => Subcommand::Remove(host),
            (Some(verb), _) => return Err(ConfigError::NoHost { command: verb.into() }),
        };
        if let Some(verb) = self.verb.filter(|verb| *verb != "check")
            && let Some(there) = self.layer.first_not(|id| CLIENT.contains(&id))
            && let ValueOrigin::Flag(word) = &there.origin
        {
            let why = "the one says how to run a server, the other only talks to one that runs";
            return Err(conflict(word, verb, why));
        }
        if self.all && command != Subcommand::Check {
            return Err(ConfigError::UnknownWord {
                word: "--all".into(),
                hint: Some("it goes with `check`, and shows the defaults too".into()),
            });
        }
        Ok(Tokens { command, app: self.app, layer: self.layer, all: self.all, note: None })
    }
}

/// The route that a name behind `@` stands for: a bare host is short for `NAME.local`.
pub(crate) fn alias(name: &str) -> Result<RouteName, RouteNameError> {
    let route = RouteName::parse(name)?;
    let host = route.host();
    let bare = host.address().is_none() && !host.as_str().contains('.') && host.as_str() != "localhost";
    if !bare {
        return Ok(route);
    }
    Ok(RouteName::new(HostName::parse(&format!("{host}.local"))?, route.prefix().cloned()))
}

pub(in crate::config) fn find(
    table: &'static [Setting],
    test: impl Fn(&Form) -> bool,
) -> Option<(&'static Setting, Form)> {
    table.iter().find_map(|row| Some((row, *row.forms.iter().find(|form| test(form))?)))
}

fn split_aliases(word: &OsStr) -> Option<(OsString, String)> {
    let bytes = word.as_bytes();
    let at = bytes.iter().rposition(|b| *b == b'@')?;
    let names = std::str::from_utf8(&bytes[at + 1..]).ok()?;
    Some((OsString::from_vec(bytes[..at].to_vec()), names.into()))
}

fn looks_like_path(word: &OsStr) -> bool {
    let path = split_aliases(word).map_or_else(|| word.to_owned(), |(path, _)| path);
    let text = path.to_string_lossy();
    is_plainly_path(&text) || SOURCES.iter().any(|suffix| text.ends_with(suffix))
}

pub(in crate::config) fn is_plainly_path(text: &str) -> bool {
    text.contains('/') || text.starts_with('.')
}

fn no_such_path(word: &OsStr) -> ConfigError {
    let first = split_aliases(word).map_or_else(|| lossy(word), |(path, _)| lossy(&path));
    ConfigError::NoSuchPath { word: lossy(word), first }
}

fn conflict(first: &str, second: &str, why: &str) -> ConfigError {
    ConfigError::Conflict { first: format!("`{first}`"), second: format!("`{second}`"), why: why.into() }
}

pub(in crate::config) fn lossy(word: &OsStr) -> String {
    word.to_string_lossy().into_owned()
}

/// The settings that may stand beside a command that only talks to a running server.
pub(in crate::config) const CLIENT: [Id; 5] =
    [Id::Instance, Id::ConfigFile, Id::RuntimeDir, Id::StateDir, Id::Json];

/// The endings that make a word a path to an entry file.
const SOURCES: [&str; 14] =
    [".rip", ".ts", ".tsx", ".mts", ".js", ".jsx", ".mjs", ".cjs", ".py", ".rb", ".ru", ".go", ".rs", ".php"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::settings::form::{Preset, SettingGroup};
    use crate::spec::settings::setting_kind::SettingKind;

    static ROWS: &[Setting] = &[Setting {
        id: Id::Levels,
        group: SettingGroup::Log,
        kind: SettingKind::Choice(&["yes", "staging"]),
        preset: Preset::Unset("off", "yes"),
        metavar: "CA",
        forms: &[Form::FlagOr("--acme", "yes")],
        help: "a row for this test",
        more: "",
    }];

    #[test]
    fn a_flag_that_may_stand_alone_takes_its_value_by_an_equals_sign_only() {
        let read = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            let exists = |_: &Path| false;
            let mut parser = Parser { table: ROWS, ..Parser::new(&exists) };
            let mut rest = words.iter();
            while let Some(word) = rest.next() {
                parser.take(word, &mut rest).map_err(|error| error.to_string())?;
            }
            let there =
                parser.layer.get(Id::Levels).map(|there| format!("{} ({})", there.value, there.origin));
            Ok::<_, String>((there.unwrap_or_default(), parser.bare.len()))
        };
        assert_eq!(read("--acme"), Ok(("yes (command line `--acme`)".into(), 0)));
        assert_eq!(read("--acme=staging"), Ok(("staging (command line `--acme=staging`)".into(), 0)));
        assert_eq!(read("--acme staging"), Ok(("yes (command line `--acme`)".into(), 1)), "another word");
        let wrong = read("--acme=stagin").unwrap_err();
        assert_eq!(wrong, "`--acme=stagin`: read `stagin`, expected yes or staging; for example --acme=yes");
        assert!(read("--acme=").unwrap_err().contains("read ``"));
        assert!(read("--acme --acme=yes").unwrap_err().contains("twice"));
    }
}
