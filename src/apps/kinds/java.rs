//! Java: a program in one archive.
//!
//! Never here: what is in the archive.

use std::path::Path;

use crate::apps::app_folder::AppFolder;
use crate::apps::detected_app::{DetectError, DetectedApp};
use crate::apps::kind::{AppKind, CONCURRENT};
use crate::apps::programs::Program;
use crate::apps::project;
use crate::apps::recogniser::Recogniser;
use crate::apps::source_files::name_of;
use crate::spec::Listen;

pub(in crate::apps) static JAVA_PROGRAM: AppKind = AppKind {
    name: "a Java program",
    listens: &[Listen::Port],
    asked_to_notify: false,
    concurrency: CONCURRENT,
    production: &[],
    ..AppKind::PROGRAM
};

pub(super) static BY_JAR: Recogniser = Recogniser {
    files: &[("jar", run)],
    looks_for: "a .jar here, in target or in build/libs",
    programs: &[JAVA],
    event_loops: &["java"],
    kinds: &[&JAVA_PROGRAM],
    readme: &[["the only `.jar`, also in `target` or `build/libs`", "java", "default-jre-headless"]],
    spec: &[[
        "the only `.jar` of the folder, else of `target`, else of `build/libs`; those called `*-sources`, `*-javadoc`, \
         `*-plain`, `*-tests` and `original-*` do not count",
        "`java -jar`; Spring Boot, Quarkus and Micronaut are told address and port by their properties",
        "`port`",
    ]],
    ..Recogniser::new(in_folder)
};

const JAVA: Program<'static> = Program { name: "java", install: "apt install default-jre-headless" };

fn in_folder(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    for folder in ["", "target", "build/libs"] {
        let mut archives = project::files(&app.dir.join(folder), "jar");
        archives.retain(|archive| is_program(archive));
        match archives.as_slice() {
            [] => {}
            [only] => return run(app, only).map(Some),
            [first, ..] => {
                let names: Vec<_> = archives.iter().map(|archive| name_of(archive)).collect();
                app.saw(format!(
                    "{}: name the one that is meant, as in `rip-server ./{}`",
                    names.join(", "),
                    Path::new(folder).join(name_of(first)).display()
                ));
                return Ok(None);
            }
        }
    }
    Ok(None)
}

/// Whether the archive is none of those that builds leave beside the program.
fn is_program(archive: &Path) -> bool {
    let name = name_of(archive);
    let stem = name.trim_end_matches(".jar");
    !name.starts_with("original-")
        && !["-sources", "-javadoc", "-plain", "-tests"].iter().any(|end| stem.ends_with(end))
}

fn run(app: &AppFolder<'_>, entry: &Path) -> Result<DetectedApp, DetectError> {
    let programs = app.local_programs();
    let file = name_of(entry);
    let program = app.need(&programs, &JAVA, &file)?;
    let path = entry.to_str().ok_or_else(|| DetectError::NotUtf8(entry.to_path_buf()))?;
    let argv = ["/bin/sh", "-c", START, &program, path].map(String::from).to_vec();
    let mut found = app.found(&JAVA_PROGRAM, format!("Java program: {file}, run by java"), argv, Some(entry));
    found.env.push(programs.variable());
    Ok(found)
}

/// The shell line that becomes Java. The properties on the line win over those in the archive; a program of no such
/// framework goes by `PORT`.
const START: &str = "exec \"$0\" -Dserver.address=\"$HOST\" -Dserver.port=\"$PORT\" \
    -Dquarkus.http.host=\"$HOST\" -Dquarkus.http.port=\"$PORT\" \
    -Dmicronaut.server.host=\"$HOST\" -Dmicronaut.server.port=\"$PORT\" -jar \"$@\"";
