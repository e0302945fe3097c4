//! The table of settings: every word, flag, variable and key, with what it takes, its default and its meaning.
//!
//! The structs of `spec`, the parser of the command line, of the environment and of the files, `--help`, the manual
//! pages, the completions, the default config and the tables of SPEC.md come from here. Never here: how a row is read
//! or shown.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::form::Form::{
    self, Admin, AdminRoute, App, Env, Flag, FlagOr, Number, Part, Route, Server, Token, Word,
};
use super::form::Preset::{self, Is, Unset};
use super::form::SettingGroup;
use super::mount_value::{OF_ACCEL, OF_STATIC};
use super::rows_of_apps::rows_of_apps;
use super::rows_of_server::rows_of_server;
use super::sections::{Values, settings};
use super::setting_kind::SettingKind;
use super::setting_value::SettingValue;
use crate::spec::auth::Auth;
use crate::spec::by_path::ByPath;
use crate::spec::canary::Canary;
use crate::spec::field_names::Head;
use crate::spec::jobs::{SideProcesses, TimedCommands};
use crate::spec::mounts::Mounts;
use crate::spec::redirects::Redirects;
use crate::spec::setting_types::{
    BackendChoice, Challenge, Choice, ClientCertMode, Compress, Listen, OwnPages, Protocol, ProxiedListener,
    Rate, ReadyBy, ReadyWhen, Reload, ReloadSignal, Scripts, Sticky, WorkerRange,
};

/// The generation that a share of an app's clients gets.
pub(crate) type AppCanary = Canary<Rules>;

/// A row of the table.
pub(crate) struct Setting {
    pub(crate) id: Id,
    pub(crate) group: SettingGroup,
    pub(crate) kind: SettingKind,
    pub(crate) preset: Preset,
    /// The name of the value in help.
    pub(crate) metavar: &'static str,
    pub(crate) forms: &'static [Form],
    /// The help of the setting: a sentence without a full stop.
    pub(crate) help: &'static str,
    /// The text for SPEC.md and the manual beyond `help`, in Markdown, without a full stop; empty: none.
    pub(crate) more: &'static str,
}

rows_of_apps! { rows_of_server settings; }

fn as_texts<S: Serializer>(networks: &[IpNet], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(networks.iter().map(ToString::to_string))
}

/// The defaults, read as if a person had written them.
pub(crate) static DEFAULTS: LazyLock<BTreeMap<Id, SettingValue>> = LazyLock::new(|| {
    let mut defaults = BTreeMap::new();
    for row in TABLE {
        if let Is(text) = row.preset {
            let value = row.kind.parse(text).expect("the table's defaults are right values");
            defaults.extend(row.parts_of(value));
        }
    }
    defaults
});

impl Values<Id> for BTreeMap<Id, SettingValue> {
    fn value(&self, id: Id) -> Option<&SettingValue> {
        self.get(&id)
    }
}

impl Setting {
    /// Takes a value with parts apart, so that each part is inherited on its own.
    pub(crate) fn parts_of(&self, value: SettingValue) -> Vec<(Id, SettingValue)> {
        let SettingValue::Parts(parts) = value else { return vec![(self.id, value)] };
        let of_name = |name: &str| {
            let is_it = |form: &Form| matches!(form, Part(key) if key.rsplit('.').next() == Some(name));
            TABLE[self.id as usize..].iter().find(|row| row.forms.iter().any(is_it)).map(|row| row.id)
        };
        parts.into_iter().filter_map(|(name, value)| Some((of_name(name)?, value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_says_what_it_does_in_one_sentence() {
        for row in TABLE {
            assert!(row.help.len() > 10 && !row.help.ends_with('.'), "{:?}", row.id);
            assert!(
                !row.metavar.is_empty() && !row.forms.is_empty() && !row.key().is_empty(),
                "{:?}",
                row.id
            );
            assert_eq!(Setting::of(row.id).id, row.id);
        }
    }

    #[test]
    fn every_default_and_every_example_is_a_right_value() {
        for row in TABLE {
            let (Is(text) | Unset(_, text)) = row.preset;
            if !row.kind.is_table() {
                row.kind.parse(text).unwrap_or_else(|wrong| panic!("{:?}: {text}: {wrong:?}", row.id));
            }
        }
    }

    #[test]
    fn every_default_and_every_example_is_of_its_field_s_type() {
        read_all(&*DEFAULTS);
        let examples = TABLE.iter().filter(|row| !row.kind.is_table()).flat_map(|row| {
            let (Is(text) | Unset(_, text)) = row.preset;
            row.parts_of(row.kind.parse(text).unwrap())
        });
        read_all(&examples.collect::<BTreeMap<_, _>>());
    }

    #[test]
    fn no_form_is_there_twice() {
        let mut seen = BTreeSet::new();
        for form in TABLE.iter().flat_map(|row| row.forms) {
            assert!(seen.insert(format!("{form:?}")), "{form:?}");
        }
    }

    #[test]
    fn variables_follow_from_keys_but_for_the_inherited_names() {
        let inherited = [
            "RIP_MAX_REQUESTS",
            "RIP_MAX_SECONDS",
            "RIP_MAX_RELOADS",
            "RIP_QUEUE_TIMEOUT_MS",
            "RIP_CONNECT_TIMEOUT_MS",
            "RIP_READ_TIMEOUT_MS",
            "RIP_MAX_REQUEST_BODY",
            "RIP_LOG",
        ];
        for row in TABLE {
            if let Some(env) = row.env().filter(|env| !inherited.contains(env)) {
                assert_eq!(
                    env,
                    format!("RIP_{}", row.key().replace('.', "_").to_uppercase()),
                    "{:?}",
                    row.id
                );
            }
        }
    }

    #[test]
    fn the_admin_alone_sets_limits() {
        for row in TABLE.iter().filter(|row| !row.is_of_apps()) {
            assert!(!row.forms.iter().any(|form| matches!(form, App(_) | Admin(_))), "{:?}", row.id);
        }
        for id in [Id::MaxQueue, Id::MaxBody, Id::AppName, Id::AppPath] {
            assert!(!Setting::of(id).forms.iter().any(|form| matches!(form, App(_))), "{id:?}");
        }
    }
}
