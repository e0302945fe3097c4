//! Deno: a module that serves, in a folder that `deno.json` says to be Deno's.
//!
//! Never here: what the module imports, or tasks of `deno.json`.

use std::path::Path;

use super::source;
use crate::apps::app_folder::{AppFolder, listens_by};
use crate::apps::detected_app::{DetectError, DetectedApp};
use crate::apps::kind::{AppKind, CONCURRENT};
use crate::apps::production::NODE;
use crate::apps::programs::Program;
use crate::apps::recogniser::Recogniser;
use crate::apps::source_files::{name_of, text_of};
use crate::spec::Listen;

pub(in crate::apps) static DENO_SERVER: AppKind = AppKind {
    name: "a Deno server",
    listens: &[Listen::Path, Listen::Port],
    concurrency: CONCURRENT,
    production: &[NODE],
    ..AppKind::PROGRAM
};

pub(super) static BY_DENO_JSON: Recogniser = Recogniser {
    looks_for: "deno.json beside main.ts, server.ts, app.ts, index.ts, mod.ts",
    programs: &[DENO],
    event_loops: &["deno"],
    kinds: &[&DENO_SERVER],
    readme: &[["`deno.json` beside `main.ts` or `server.ts`", "Deno", "Deno"]],
    spec: &[[
        "`deno.json` or `deno.jsonc` beside `main`, `server`, `app`, `index` or `mod` with `.ts .tsx .js .jsx`, in which \
         `Deno.serve` or `.listen(` stands, or which has a default export",
        "`deno run`; with a default export alone `deno serve`; with all permissions",
        "`path`, by `DENO_SERVE_ADDRESS`; else as its text shows",
    ]],
    ..Recogniser::new(in_folder)
};

const DENO: Program<'static> =
    Program { name: "deno", install: "npm install -g deno (Debian has no package of it)" };

fn in_folder(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    if app.file("deno.json").or_else(|| app.file("deno.jsonc")).is_none() {
        return Ok(None);
    }
    for stem in ["main", "server", "app", "index", "mod"] {
        for suffix in ["ts", "tsx", "js", "jsx"] {
            let Some(entry) = app.file(&format!("{stem}.{suffix}")) else { continue };
            let code = source::javascript(&text_of(&entry));
            if code.contains("Deno.serve") || code.contains(".listen(") {
                return run(app, &entry, &code, "run").map(Some);
            }
            if code.contains("export default") {
                return run(app, &entry, &code, "serve").map(Some);
            }
            app.saw(format!(
                "{stem}.{suffix} is beside deno.json, but it neither serves nor exports a handler"
            ));
        }
    }
    Ok(None)
}

fn run(app: &AppFolder<'_>, entry: &Path, code: &str, verb: &str) -> Result<DetectedApp, DetectError> {
    let programs = app.local_programs();
    let file = name_of(entry);
    let program = app.need(&programs, &DENO, &file)?;
    let path = entry.to_str().ok_or_else(|| DetectError::NotUtf8(entry.to_path_buf()))?;
    let argv = ["/bin/sh", "-c", START, &program, verb, "--allow-all", path].map(String::from).to_vec();
    let mut found =
        app.found(&DENO_SERVER, format!("Deno server: {file} found, run by deno {verb}"), argv, Some(entry));
    // Deno takes no inherited socket.
    found.listen = match listens_by(code) {
        Some(Listen::Port | Listen::Fd) => Listen::Port,
        _ => Listen::Path,
    };
    found.env = [("DENO_NO_PROMPT", "1"), ("DENO_NO_UPDATE_CHECK", "1")]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec();
    found.env.push(programs.variable());
    Ok(found)
}

/// The shell line that becomes Deno, and tells it where to listen whatever the module says. Deno keeps compiled modules
/// where the sandbox allows it to write.
const START: &str = "export DENO_SERVE_ADDRESS=\"${RIP_SOCKET:+unix:$RIP_SOCKET}${PORT:+tcp:$HOST:$PORT}\"; \
    [ -z \"$CACHE_DIRECTORY\" ] || export DENO_DIR=\"${DENO_DIR:-$CACHE_DIRECTORY/deno}\"; exec \"$0\" \"$@\"";
