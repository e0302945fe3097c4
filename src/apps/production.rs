//! The variables that make an app's runtime run for the public, and not for its developer.
//!
//! Never here: which kind of app gets which (`kinds`), or the operator's own values.

use std::path::Path;

/// A variable with its value.
pub(super) type Variable = (&'static str, &'static str);

/// The variable of Node: without it Express and Next show stacks, and `Bun.serve` shows a page with the source.
pub(super) const NODE: Variable = ("NODE_ENV", "production");
/// The variable of Rack: without it puma shows backtraces and Sinatra its debugger.
pub(super) const RACK: Variable = ("RACK_ENV", "production");
/// The variable of Rails: without it the `puma.rb` of `rails new` takes "development", whatever `RACK_ENV` says.
pub(super) const RAILS: Variable = ("RAILS_ENV", "production");

/// The usual variables of a kind, with what hosts of Rails apps set beside them where the app is one: Rails before 7.1
/// serves its own assets then, and logs where others do.
///
/// Python has no such variable: Flask and Django go by their own settings, Flask's debug mode is off unless
/// `FLASK_DEBUG` is set, and gunicorn and uvicorn know no modes. `APP_ENV` is nobody's: "production" is Sinatra's word,
/// "prod" is Symfony's.
pub(super) fn variables(usual: &[Variable], folder: &Path) -> Vec<Variable> {
    let mut variables = usual.to_vec();
    if variables.contains(&RAILS) && is_rails(folder) {
        variables.extend(OF_RAILS);
    }
    variables
}

pub(super) fn is_rails(folder: &Path) -> bool {
    folder.join("config/application.rb").is_file()
}

/// The variable that has the value of this one where only that is given: Rails reads the one and then the other, and
/// puma only the other.
pub(crate) fn stand_in(name: &str) -> Option<&'static str> {
    match name {
        "RACK_ENV" => Some("RAILS_ENV"),
        "RAILS_ENV" => Some("RACK_ENV"),
        _ => None,
    }
}

const OF_RAILS: [Variable; 2] = [("RAILS_LOG_TO_STDOUT", "enabled"), ("RAILS_SERVE_STATIC_FILES", "enabled")];
