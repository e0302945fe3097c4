//! Ruby: Rack applications by puma, scripts by ruby.
//!
//! Never here: what is inside `config.ru`.

use std::path::Path;

use super::executable::EXECUTABLE;
use super::source;
use crate::apps::app_folder::{AppFolder, listens_by};
use crate::apps::detected_app::{DetectError, DetectedApp};
use crate::apps::kind::AppKind;
use crate::apps::production::{RACK, RAILS};
use crate::apps::programs::Program;
use crate::apps::recogniser::Recogniser;
use crate::apps::source_files::{name_of, text_of};
use crate::apps::{project, worker_scripts};
use crate::spec::Listen;

pub(in crate::apps) static RACK_APP: AppKind = AppKind {
    name: "a Rack app",
    listens: &[Listen::Fd],
    asked_to_notify: false,
    stateless: true,
    production: &[RACK, RAILS],
    ..AppKind::PROGRAM
};

pub(super) static BY_RUBY: Recogniser = Recogniser {
    files: &[("ru", rack), ("rb", script)],
    looks_for: "config.ru, app.rb",
    programs: &[PUMA, BUNDLE, RUBY],
    kinds: &[&RACK_APP],
    readme: &[["`config.ru`, or Sinatra in `app.rb`", "puma", "puma"]],
    spec: &[
        ["`config.ru`", "puma, one process, one thread; the bundle's if the Gemfile names it", "`fd`"],
        [
            "`app.rb`, `main.rb`, `server.rb`, `web.rb`, like the folder, or the only one with Sinatra in it",
            "as `config.ru`; without Sinatra, but with a listener, by ruby",
            "`fd`; by ruby: as its text shows",
        ],
    ],
    ..Recogniser::new(in_folder)
};

const PUMA: Program<'static> = Program { name: "puma", install: "apt install puma" };
const BUNDLE: Program<'static> = Program { name: "bundle", install: "apt install bundler" };
const RUBY: Program<'static> = Program { name: "ruby", install: "apt install ruby" };

/// An app by `config.ru`, else a Sinatra application in one file.
fn in_folder(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
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

/// Runs puma with one process and one thread, on the socket that it inherits and no other, whatever `config/puma.rb`
/// binds.
fn rack(app: &AppFolder<'_>, entry: &Path) -> Result<DetectedApp, DetectError> {
    run(app, entry, entry)
}

/// Runs puma for the app of `entry`; `rackup` is the file that puma reads.
fn run(app: &AppFolder<'_>, entry: &Path, rackup: &Path) -> Result<DetectedApp, DetectError> {
    let programs = app.local_programs();
    let file = name_of(entry);
    let bundled =
        ["Gemfile.lock", "Gemfile"].iter().any(|name| text_of(&app.dir.join(name)).contains("puma"));
    let mut argv = if bundled {
        vec![app.need(&programs, &BUNDLE, &file)?, "exec".into(), "puma".into()]
    } else {
        vec![app.need(&programs, &PUMA, &file)?]
    };
    argv.extend(PUMA_FLAGS.map(String::from));
    argv.push(rackup.to_string_lossy().into_owned());
    let by = if bundled { "the bundle's puma" } else { "puma" };
    let why = format!("Ruby app: {file} found, run by {by}");
    let mut found = app.found(&RACK_APP, why, argv, Some(entry));
    found.env.push(programs.variable());
    Ok(found)
}

/// An app by one file: a Sinatra application, which would listen on all addresses if it were run by itself, or a Ruby
/// script that listens by itself.
fn script(app: &AppFolder<'_>, entry: &Path) -> Result<DetectedApp, DetectError> {
    if is_sinatra(&source::without_hash_lines(&text_of(entry))) {
        let mut found = run(app, entry, &worker_scripts::sinatra(app.hints.runtime_dir_for_scripts))?;
        found.env.push(("RIP_ENTRY".into(), entry.to_string_lossy().into_owned()));
        return Ok(found);
    }
    let programs = app.local_programs();
    let file = name_of(entry);
    let argv = vec![app.need(&programs, &RUBY, &file)?, entry.to_string_lossy().into_owned()];
    let mut found = app.found(&EXECUTABLE, format!("Ruby server: {file}, run by ruby"), argv, Some(entry));
    found.listen = listens_by(&text_of(entry)).unwrap_or(found.listen);
    found.env.push(programs.variable());
    Ok(found)
}

const PUMA_FLAGS: [&str; 5] = ["--bind-to-activated-sockets=only", "--threads", "1:1", "--workers", "0"];
