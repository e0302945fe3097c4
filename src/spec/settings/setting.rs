//! Questions about one setting: its row, its names, and what it takes under each name.
//!
//! Never here: the settings themselves (`table`).

use super::form::{Form, Preset, SettingGroup};
use super::setting_kind::SettingKind;
use super::table::{Id, Setting, TABLE};

impl Setting {
    /// The row of a setting.
    pub(crate) fn of(id: Id) -> &'static Self {
        &TABLE[id as usize]
    }

    /// The row that a variable of the environment belongs to.
    pub(crate) fn of_env(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|row| row.env() == Some(name))
    }

    /// The setting's key in config files, or its name as a part of another.
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

    /// The places in files where the setting may stand, in words; empty: none.
    pub(crate) fn places(&self) -> String {
        let place = |form: &Form| match form {
            Form::Server(_) => Some("server"),
            Form::Admin(_) => Some("admin"),
            Form::App(_) => Some("app"),
            Form::Route(_) | Form::AdminRoute(_) => Some("route"),
            _ => None,
        };
        self.forms.iter().filter_map(place).collect::<Vec<_>>().join(", ")
    }

    /// The variable of the environment.
    pub(crate) fn env(&self) -> Option<&'static str> {
        self.forms.iter().find_map(|form| if let Form::Env(name) = form { Some(*name) } else { None })
    }

    /// The flag that takes a value.
    pub(crate) fn flag(&self) -> Option<&'static str> {
        self.forms.iter().find_map(|form| match form {
            Form::Flag(flag) | Form::FlagOr(flag, _) => Some(*flag),
            _ => None,
        })
    }

    /// Whether the setting is about an app and not about the server.
    pub(crate) fn is_of_apps(&self) -> bool {
        matches!(self.group, SettingGroup::Workers | SettingGroup::App | SettingGroup::Times)
    }

    /// Whether the command line sets it for the main app alone.
    pub(crate) fn is_of_main_app(&self) -> bool {
        self.is_of_apps() && self.flag().is_none()
    }

    /// An example of the setting in this form, as the end of a sentence; empty in files, which show their own.
    pub(crate) fn example_at(&self, form: Form) -> String {
        let (Preset::Is(text) | Preset::Unset(_, text)) = self.preset;
        match form {
            Form::Token(word) => format!("; for example {word}{text}"),
            Form::Flag(flag) if self.kind_at(flag) == SettingKind::Millis => {
                format!("; for example {flag}=10000")
            }
            Form::Flag(flag) | Form::FlagOr(flag, _) if !self.kind.is_repeatable() => {
                format!("; for example {flag}={text}")
            }
            _ => String::new(),
        }
    }

    /// The kind of the setting's value under this name: a name that ends in "ms" takes milliseconds.
    pub(crate) fn kind_at(&self, name: &str) -> SettingKind {
        if name.ends_with("-ms") || name.ends_with("_MS") { SettingKind::Millis } else { self.kind }
    }
}
