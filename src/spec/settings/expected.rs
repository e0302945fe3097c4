//! Owns the values that each kind of setting takes, in words, for errors and documents. Never here: reading a value
//! (`setting_kind`).

use super::compound;
use super::job_values;
use super::mount_value;
use super::setting_kind::SettingKind;
use crate::spec::auth;

impl SettingKind {
    /// The values that would be right, as the end of the sentence "expected …".
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Switch => "true or false".into(),
            Self::Count(least, most) => format!("a whole number from {least} to {most}"),
            Self::Limit(most) => format!("a whole number from 1 to {most}, or off"),
            Self::Time => "a time above zero such as 250ms, 30s, 5min, or a number of seconds".into(),
            Self::TimeOrZero => "a time such as 0, 250ms, 30s, 5min, or a number of seconds".into(),
            Self::Age => "a time such as 3600s, 12h, a number of seconds, or off".into(),
            Self::Millis => "a whole number of milliseconds, at least 1".into(),
            Self::Size => "a size above zero such as 64K, 100M, 2G (base 1024), or a number of bytes".into(),
            Self::SizeLimit => "a size such as 200M or 2G (base 1024), or off".into(),
            Self::Port => "a port from 0 to 65535 (0: any free one), or auto".into(),
            Self::Workers => compound::WORKERS.into(),
            Self::Recycle => compound::RECYCLE.into(),
            Self::Memory => compound::MEMORY.into(),
            Self::Rate => "PER_SECOND/s with or without ,BURST, such as 50/s,100, or off".into(),
            Self::Path => "a path".into(),
            Self::Host => "a host name, such as blog.example".into(),
            Self::Name => "a name of 1 to 64 of a-z A-Z 0-9 . _ -, the first a letter or a digit".into(),
            Self::Instance => "a name as after the @ of a unit, such as labs-api or my\\x2dapp".into(),
            Self::Text => "a text that is not empty".into(),
            Self::Levels => {
                "error, warn, info, debug, trace or off, also for a module, such as info,hyper=debug".into()
            }
            Self::UrlPath => "a path that starts with /, such as /healthz".into(),
            Self::UrlPaths => {
                "a list of paths that start with /, such as [\"/upload\"], or true for all".into()
            }
            Self::Command => "a list of program and arguments, such as [\"gunicorn\", \"app:app\"]".into(),
            Self::Hosts => {
                "host names, or some of their paths, such as [\"blog.example\", \"example.com/blog\"]".into()
            }
            Self::Addresses => "IP addresses, such as 127.0.0.1 or ::1".into(),
            Self::Networks => "networks, such as 10.0.0.0/8 or fd00::/8, or addresses".into(),
            Self::NetworksOrAll => "networks, such as [\"10.0.0.0/8\", \"fd00::/8\"], or true for all".into(),
            Self::Endpoint => "ADDRESS:PORT, such as 127.0.0.1:9145 or [::1]:9145".into(),
            Self::Choice(words) => one_of(words),
            Self::Choices(words) => format!("a list of some of {}", words.join(", ")),
            Self::Authorities => {
                "off, yes, staging, or directory URLs such as https://ca.example/acme/directory".into()
            }
            Self::User => "a user's name of 1 to 31 of a-z 0-9 _ -, the first a letter or _".into(),
            Self::Paths => "a list of absolute paths, such as [\"/srv/rip\"]".into(),
            Self::Credentials => "a list of ID:PATH, such as [\"db:/etc/rip-server/db.key\"]".into(),
            Self::Patterns => "a list of patterns of files, such as [\"**/*.py\", \"templates\"]".into(),
            Self::Variables => "a table of texts, such as { LANG = \"C.UTF-8\" }".into(),
            Self::Fields(_) => "a table of header fields, such as { X-Frame-Options = \"DENY\" }".into(),
            Self::FieldNames(_) => "a list of names of header fields, such as [\"Server\"]".into(),
            Self::Redirects => {
                "a table such as { \"www.example.com\" = \"https://example.com\", \"/old\" = \"/new\" }"
                    .into()
            }
            Self::Mounts(keys) => mount_value::expected(keys),
            Self::Auth => auth::EXPECTED.into(),
            Self::JobCommand => job_values::COMMAND.into(),
            Self::Processes => job_values::PROCESSES.into(),
            Self::Timers => job_values::TIMERS.into(),
            Self::Ini => "a table of values, such as { upload_max_filesize = \"64M\" }".into(),
            Self::Tables => "tables such as [route.\"/admin\"], each with settings for these paths".into(),
        }
    }
}

fn one_of(words: &[&str]) -> String {
    match words {
        [before @ .., last] if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        words => words.concat(),
    }
}
