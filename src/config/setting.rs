//! What the table says of one setting: what it takes, where it may stand, what it is by default, what it does.
//!
//! Never here: the settings themselves (`table`).

use super::kind::Kind;
use super::table::{Id, TABLE};

/// A row of the table.
pub(crate) struct Setting {
    pub(crate) id: Id,
    pub(crate) group: Group,
    pub(crate) kind: Kind,
    pub(crate) preset: Preset,
    /// How its value is called in help.
    pub(crate) metavar: &'static str,
    pub(crate) forms: &'static [Form],
    /// One sentence without a full stop.
    pub(crate) help: &'static str,
}

/// A place where a setting may stand, and how it is written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A word of the command line that starts so; speaks of the main app or the server.
    Token(&'static str),
    /// A word of the command line that stands for this value.
    Word(&'static str, &'static str),
    /// A bare number on the command line.
    Number,
    /// `--flag=VALUE` or `--flag VALUE`; speaks of all apps or the server.
    Flag(&'static str),
    /// A variable of the environment.
    Env(&'static str),
    /// A key of the server's file.
    Server(&'static str),
    /// A key of `[app]` and `[[apps]]` in the server's file only: the admin's.
    Admin(&'static str),
    /// A key of `[app]` and `[[apps]]` in the server's file, and of the app's own `rip.toml`.
    App(&'static str),
    /// A part of another setting, and its name in reports.
    Part(&'static str),
}

/// What a setting is when nobody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preset {
    /// This, read as if somebody had written it.
    Is(&'static str),
    /// Nothing; the second text is an example of something.
    Unset(&'static str, &'static str),
}

/// Headings of help and of the default config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Workers,
    App,
    Times,
    Listening,
    Tls,
    Log,
    Files,
    Limits,
    Units,
}

impl Group {
    pub(crate) const ALL: [Self; 9] = [
        Self::Workers,
        Self::Times,
        Self::Listening,
        Self::Tls,
        Self::Log,
        Self::Files,
        Self::App,
        Self::Limits,
        Self::Units,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Workers => "Workers",
            Self::App => "The app",
            Self::Times => "Queue and time limits",
            Self::Listening => "Listening",
            Self::Tls => "TLS",
            Self::Log => "Log",
            Self::Files => "Names and files",
            Self::Limits => "Limits on clients",
            Self::Units => "Units of workers, under systemd",
        }
    }
}

impl Setting {
    /// The row of a setting.
    pub(crate) fn of(id: Id) -> &'static Self {
        &TABLE[id as usize]
    }

    /// The row that a variable of the environment belongs to.
    pub(crate) fn of_env(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|row| row.env() == Some(name))
    }

    /// Its key in config files, or its name as a part of another.
    pub(crate) fn key(&self) -> &'static str {
        let key = |form: &Form| match form {
            Form::Server(key) | Form::Admin(key) | Form::App(key) | Form::Part(key) => Some(*key),
            _ => None,
        };
        self.forms
            .iter()
            .find_map(key)
            .unwrap_or_else(|| self.flag().unwrap_or_default().trim_start_matches('-'))
    }

    /// Its variable of the environment.
    pub(crate) fn env(&self) -> Option<&'static str> {
        self.forms.iter().find_map(|form| if let Form::Env(name) = form { Some(*name) } else { None })
    }

    /// Its flag with a value.
    pub(crate) fn flag(&self) -> Option<&'static str> {
        self.forms.iter().find_map(|form| if let Form::Flag(flag) = form { Some(*flag) } else { None })
    }

    /// Whether it speaks of an app and not of the server.
    pub(crate) fn is_of_apps(&self) -> bool {
        matches!(self.group, Group::Workers | Group::App | Group::Times)
    }

    /// Whether the command line says it of the main app alone.
    pub(crate) fn is_of_main_app(&self) -> bool {
        self.is_of_apps() && self.flag().is_none()
    }

    /// An example of how it is written in this form, as the end of a sentence; empty in files, which show their own.
    pub(crate) fn example_at(&self, form: Form) -> String {
        let (Preset::Is(text) | Preset::Unset(_, text)) = self.preset;
        match form {
            Form::Token(word) => format!("; for example {word}{text}"),
            Form::Flag(flag) if self.kind_at(flag) == Kind::Millis => format!("; for example {flag}=10000"),
            Form::Flag(flag) if !self.kind.is_repeatable() => format!("; for example {flag}={text}"),
            _ => String::new(),
        }
    }

    /// What it takes where it is called so: a name that ends in "ms" takes milliseconds.
    pub(crate) fn kind_at(&self, name: &str) -> Kind {
        if name.ends_with("-ms") || name.ends_with("_MS") { Kind::Millis } else { self.kind }
    }
}
