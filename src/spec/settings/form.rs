//! Where a setting may stand and how it is written there, its default, and the heading under which it is shown.
//!
//! Never here: the settings themselves (`table`).

/// A place where a setting may stand, and how it is written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A word of the command line that begins so; it is about the main app or the server.
    Token(&'static str),
    /// A word of the command line that stands for this value.
    Word(&'static str, &'static str),
    /// A bare number on the command line.
    Number,
    /// `--flag=VALUE` or `--flag VALUE`, about all apps or the server.
    Flag(&'static str),
    /// `--flag` alone, which stands for the second text, or `--flag=VALUE`, about all apps or the server; never `--flag
    /// VALUE`.
    FlagOr(&'static str, &'static str),
    /// A variable of the environment.
    Env(&'static str),
    /// A key of the server's file.
    Server(&'static str),
    /// A key of `[app]` and `[[apps]]` in the server's file only, for the admin.
    Admin(&'static str),
    /// A key of `[app]` and `[[apps]]` in the server's file, and of the app's own `rip.toml`.
    App(&'static str),
    /// A key of `[route."/path"]`, beside the app's own key.
    Route(&'static str),
    /// A key of `[route."/path"]` in the server's file only.
    AdminRoute(&'static str),
    /// A part of another setting, and its name in reports.
    Part(&'static str),
}

/// The default of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preset {
    /// A text, which is read as if a person had written it.
    Is(&'static str),
    /// No value; the first text describes that, the second is an example of a value.
    Unset(&'static str, &'static str),
}

/// Headings of help and of the default config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SettingGroup {
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

impl SettingGroup {
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
