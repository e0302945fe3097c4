//! Perl: PSGI applications by starman.
//!
//! Never here: what is inside `app.psgi`.

use std::path::Path;

use crate::apps::app_folder::AppFolder;
use crate::apps::detected_app::{DetectError, DetectedApp};
use crate::apps::kind::AppKind;
use crate::apps::programs::Program;
use crate::apps::project;
use crate::apps::recogniser::Recogniser;
use crate::apps::source_files::name_of;
use crate::spec::Listen;

pub(in crate::apps) static PSGI_APP: AppKind = AppKind {
    name: "a PSGI app",
    listens: &[Listen::Path],
    asked_to_notify: false,
    stateless: true,
    production: &[],
    ..AppKind::PROGRAM
};

pub(super) static BY_PSGI: Recogniser = Recogniser {
    files: &[("psgi", run)],
    looks_for: "app.psgi",
    programs: &[STARMAN],
    kinds: &[&PSGI_APP],
    readme: &[["`app.psgi` (Plack, Dancer, Catalyst)", "starman", "starman"]],
    spec: &[[
        "`app.psgi`, or the only file that ends in `.psgi`",
        "starman, one process for requests; modules of `local/lib/perl5` (Carton) are found",
        "`path`",
    ]],
    ..Recogniser::new(in_folder)
};

const STARMAN: Program<'static> = Program { name: "starman", install: "apt install starman" };

fn in_folder(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    if let Some(entry) = app.file("app.psgi") {
        return run(app, &entry).map(Some);
    }
    match project::files(&app.dir, "psgi").as_slice() {
        [only] => run(app, only).map(Some),
        [] => Ok(None),
        several => {
            let names: Vec<_> = several.iter().map(|entry| name_of(entry)).collect();
            app.saw(format!(
                "{}: name the one that is meant, as in `rip-server ./{}`",
                names.join(", "),
                names[0]
            ));
            Ok(None)
        }
    }
}

fn run(app: &AppFolder<'_>, entry: &Path) -> Result<DetectedApp, DetectError> {
    let programs = app.local_programs();
    let file = name_of(entry);
    let program = app.need(&programs, &STARMAN, &file)?;
    let path = entry.to_str().ok_or_else(|| DetectError::NotUtf8(entry.to_path_buf()))?;
    let mut argv = ["/bin/sh", "-c", START, &program].map(String::from).to_vec();
    argv.extend(STARMAN_FLAGS.map(String::from));
    argv.push(path.into());
    let mut found = app.found(&PSGI_APP, format!("PSGI app: {file}, run by starman"), argv, Some(entry));
    let modules = app.roots.iter().map(|root| root.join("local/lib/perl5")).find(|folder| folder.is_dir());
    if let Some(modules) = modules.as_deref().and_then(Path::to_str) {
        found.env.push(("PERL5LIB".into(), modules.into()));
    }
    found.env.push(programs.variable());
    Ok(found)
}

const START: &str = "exec \"$0\" --listen \"$RIP_SOCKET\" \"$@\"";

/// The flags of starman: one process for requests. starman ends each connection after its answer: a connection that
/// rests would keep all others waiting, and one that starman ends by itself might be just about to get the next
/// request. The server decides how long a process lives.
const STARMAN_FLAGS: [&str; 5] = ["--workers", "1", "--disable-keepalive", "--max-requests", "1000000000"];
