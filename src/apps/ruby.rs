//! Ruby: Rack applications by puma, scripts by ruby.
//!
//! Never here: what is inside `config.ru`.

use std::path::Path;

use super::detect::{App, listens_by, name_of, text_of};
use super::found::{DetectError, Found, Kind};

/// `config.ru`.
pub(super) fn in_folder(app: &App<'_>) -> Result<Option<Found>, DetectError> {
    app.file("config.ru").map(|entry| rack(app, &entry)).transpose()
}

/// One process, one thread, on the socket that it inherits and no other, whatever `config/puma.rb` binds.
pub(super) fn rack(app: &App<'_>, entry: &Path) -> Result<Found, DetectError> {
    let programs = app.local_programs();
    let file = name_of(entry);
    let bundled =
        ["Gemfile.lock", "Gemfile"].iter().any(|name| text_of(&app.dir.join(name)).contains("puma"));
    let mut argv = if bundled {
        vec![app.need(&programs, "bundle", &file)?, "exec".into(), "puma".into()]
    } else {
        vec![app.need(&programs, "puma", &file)?]
    };
    argv.extend(PUMA.map(String::from));
    argv.push(entry.to_string_lossy().into_owned());
    let by = if bundled { "the bundle's puma" } else { "puma" };
    let why = format!("Ruby app: {file} found, run by {by}");
    let mut found = app.found(Kind::Ruby, why, argv, Some(entry));
    // In its "development" environment puma shows backtraces to clients.
    found.env = vec![programs.variable(), ("RACK_ENV".into(), "production".into())];
    Ok(found)
}

/// A Ruby script that listens by itself.
pub(super) fn script(app: &App<'_>, entry: &Path) -> Result<Found, DetectError> {
    let programs = app.local_programs();
    let file = name_of(entry);
    let argv = vec![app.need(&programs, "ruby", &file)?, entry.to_string_lossy().into_owned()];
    let mut found =
        app.found(Kind::Executable, format!("Ruby server: {file}, run by ruby"), argv, Some(entry));
    found.listen = listens_by(&text_of(entry)).unwrap_or(found.listen);
    found.env.push(programs.variable());
    Ok(found)
}

const PUMA: [&str; 5] = ["--bind-to-activated-sockets=only", "--threads", "1:1", "--workers", "0"];
