//! Which variables make an app's runtime run as for the public, and not as for its developer.
//!
//! Never here: what the operator says instead.

use std::path::Path;

use super::found::Kind;

/// The variables that an app of this kind, in this folder, gets with their values unless the operator gives others.
///
/// - `NODE_ENV`: Express and Next show stacks without it, `Bun.serve` a page with the source.
/// - `RACK_ENV`: puma shows backtraces and Sinatra its debugger without it.
/// - `RAILS_ENV`: the `puma.rb` that `rails new` writes takes "development" without it, whatever `RACK_ENV` says. What
///   hosts of Rails apps set beside it lets Rails before 7.1 serve its own assets and log where others do.
///
/// A line or a program of the app's own may start any of these. Python gets none: Flask and Django go by their own
/// settings, Flask's debug mode is off unless `FLASK_DEBUG` is set, and gunicorn and uvicorn know no modes. `APP_ENV`
/// is nobody's: "production" is Sinatra's word, "prod" is Symfony's.
pub fn production(kind: Kind, folder: &Path) -> Vec<(&'static str, &'static str)> {
    let names: &[_] = match kind {
        Kind::Command | Kind::Procfile | Kind::PackageJson | Kind::Executable => &[NODE, RACK, RAILS],
        Kind::NodeHandler | Kind::NodeServer | Kind::BunHandler | Kind::BunServer => &[NODE],
        Kind::Ruby => &[RACK, RAILS],
        Kind::PythonWsgi | Kind::PythonAsgi | Kind::PythonServer | Kind::Static => &[],
    };
    let mut variables = names.to_vec();
    if variables.contains(&RAILS) && is_rails(folder) {
        variables.extend(OF_RAILS);
    }
    variables
}

/// Whether the app writes its pid to a file, in `PIDFILE` or else in its own folder: before 7.1 the `puma.rb` of
/// `rails new` has puma do so, which ends where the folder cannot be written; `rails server` always does, and ends where
/// it finds the file of another worker.
pub fn writes_pid_file(kind: Kind, folder: &Path) -> bool {
    matches!(kind, Kind::Command | Kind::Procfile | Kind::PackageJson | Kind::Executable | Kind::Ruby)
        && is_rails(folder)
}

fn is_rails(folder: &Path) -> bool {
    folder.join("config/application.rb").is_file()
}

/// The variable that decides in place of this one where only that is given: Rails reads the one and then the other, and
/// puma the other alone.
pub fn stand_in(name: &str) -> Option<&'static str> {
    match name {
        "RACK_ENV" => Some("RAILS_ENV"),
        "RAILS_ENV" => Some("RACK_ENV"),
        _ => None,
    }
}

const NODE: (&str, &str) = ("NODE_ENV", "production");
const RACK: (&str, &str) = ("RACK_ENV", "production");
const RAILS: (&str, &str) = ("RAILS_ENV", "production");
const OF_RAILS: [(&str, &str); 2] =
    [("RAILS_LOG_TO_STDOUT", "enabled"), ("RAILS_SERVE_STATIC_FILES", "enabled")];
