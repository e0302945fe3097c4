//! Owns telling which apps of the settings are asked by others and cannot be: because they would ask themselves, or are
//! not there.
//!
//! Never here: apps that people add while the server runs (`supervisor`).

use super::app::AppSettings;
use super::error::ConfigError;
use crate::spec::asked_apps::AuthCircle;

/// A sentence for each app that another one asks and that is none of these: it may be added later.
///
/// # Errors
/// [`ConfigError::AuthCircle`].
pub(crate) fn check_asked_apps(apps: &[AppSettings]) -> Result<Vec<String>, ConfigError> {
    let asked = |name: &_| {
        let app = apps.iter().find(|app| app.name == *name);
        app.map(|app| app.rules.asked_apps()).unwrap_or_default()
    };
    if let Some(circle) = apps.iter().find_map(|app| AuthCircle::through(&app.name, asked)) {
        return Err(ConfigError::AuthCircle(circle));
    }
    let each = apps.iter().flat_map(|app| app.rules.asked_apps().into_iter().map(move |asked| (app, asked)));
    let missing = each.filter(|(_, asked)| !apps.iter().any(|app| app.name == *asked));
    Ok(missing
        .map(|(AppSettings { name, .. }, asked)| {
            format!(
                "auth of {name} asks the app {asked}, which is not there: requests get 503 until it is added"
            )
        })
        .collect())
}
