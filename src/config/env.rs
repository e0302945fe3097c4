//! The `RIP_*` variables of the environment as a layer. Never here: variables without that prefix (`folders`).

use std::ffi::{OsStr, OsString};

use super::error::ConfigError;
use super::layer::Layer;
use super::value_origin::ValueOrigin;
use super::words::suggest::nearest;
use crate::spec::settings::form::Form;
use crate::spec::settings::table::{Setting, TABLE};

/// Reads the variables of the table. The second part of the result warns of `RIP_*` names that no setting has.
///
/// # Errors
/// [`ConfigError::Value`] for a value that its setting does not take.
pub(crate) fn read(variables: &[(OsString, OsString)]) -> Result<(Layer, Vec<String>), ConfigError> {
    let mut layer = Layer::default();
    // Variables are read in the table's order, so that RIP_MAX_REQUESTS replaces a part of RIP_RECYCLE and not the
    // other way round.
    for row in TABLE {
        let Some(name) = row.env() else { continue };
        let Some((_, text)) = variables.iter().find(|(key, _)| key == name) else { continue };
        let value = row.kind_at(name).parse_os(text).map_err(|wrong| ConfigError::Value {
            origin: ValueOrigin::Env(name.into()),
            key: row.key().into(),
            read: text.to_string_lossy().into_owned(),
            right: wrong.0 + &row.example_at(Form::Env(name)),
        })?;
        layer.put(row.id, value, ValueOrigin::Env(name.into()));
    }
    Ok((layer, variables.iter().filter_map(|(name, _)| unknown(name)).collect()))
}

fn unknown(name: &OsStr) -> Option<String> {
    let name = name.to_string_lossy();
    if !name.starts_with("RIP_") || ELSEWHERE.contains(&&*name) || Setting::of_env(&name).is_some() {
        return None;
    }
    let hint = nearest(&name, TABLE.iter().filter_map(Setting::env).chain(ELSEWHERE));
    let hint = hint.map(|near| format!(": did you mean {near}?")).unwrap_or_default();
    Some(format!("environment variable {name} means nothing to rip-server{hint}"))
}

/// The variables that workers are told, which no setting has.
const ELSEWHERE: [&str; 5] = ["RIP_APP", "RIP_INSTANCE", "RIP_WORKER", "RIP_GENERATION", "RIP_SOCKET"];
