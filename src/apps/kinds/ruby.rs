//! Ruby: Rack applications by puma, scripts by ruby.
//!
//! Never here: what is inside `config.ru`.

use std::path::Path;

use super::source;
use crate::apps::candidate::{App, listens_by};
use crate::apps::files::{name_of, text_of};
use crate::apps::found::{DetectError, Found, Kind};
use crate::apps::{project, runtimes};

/// `config.ru`, else a Sinatra application in one file.
pub(in crate::apps) fn in_folder(app: &App<'_>) -> Result<Option<Found>, DetectError> {
    if let Some(entry) = app.file("config.ru") {
        return rack(app, &entry).map(Some);
    }
    let own = format!("{}.rb", name_of(&app.dir));
    for name in ["app.rb", "main.rb", "server.rb", "web.rb", "application.rb", &own] {
        let Some(entry) = app.file(name) else { continue };
        let text = source::without_hash_lines(&text_of(&entry));
        if is_sinatra(&text) || listens_by(&text).is_some() {
            return script(app, &entry).map(Some);
        }
        app.saw(format!("{name} is there, but it requires no sinatra and does not listen on $PORT"));
    }
    let mut others = project::files(&app.dir, "rb");
    others.retain(|entry| is_sinatra(&source::without_hash_lines(&text_of(entry))));
    match others.as_slice() {
        [only] => script(app, only).map(Some),
        _ => Ok(None),
    }
}

fn is_sinatra(text: &str) -> bool {
    ["require 'sinatra", "require \"sinatra", "Sinatra::Base", "Sinatra.new"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// One process, one thread, on the socket that it inherits and no other, whatever `config/puma.rb` binds.
pub(in crate::apps) fn rack(app: &App<'_>, entry: &Path) -> Result<Found, DetectError> {
    run(app, entry, entry)
}

/// `rackup` is what puma reads for the app of `entry`.
fn run(app: &App<'_>, entry: &Path, rackup: &Path) -> Result<Found, DetectError> {
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
    argv.push(rackup.to_string_lossy().into_owned());
    let by = if bundled { "the bundle's puma" } else { "puma" };
    let why = format!("Ruby app: {file} found, run by {by}");
    let mut found = app.found(Kind::Ruby, why, argv, Some(entry));
    found.env.push(programs.variable());
    Ok(found)
}

/// A Sinatra application in one file, which would listen on all addresses if it were run by itself; else a Ruby script
/// that does listen by itself.
pub(in crate::apps) fn script(app: &App<'_>, entry: &Path) -> Result<Found, DetectError> {
    if is_sinatra(&source::without_hash_lines(&text_of(entry))) {
        let mut found = run(app, entry, &runtimes::sinatra(app.hints.runtime_dir_for_scripts))?;
        found.env.push(("RIP_ENTRY".into(), entry.to_string_lossy().into_owned()));
        return Ok(found);
    }
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
