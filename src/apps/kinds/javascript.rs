//! JavaScript, TypeScript and Rip: handlers that the worker script runs, and servers that listen by themselves.
//!
//! Never here: what the worker script does with a request.

use std::path::{Path, PathBuf};

use super::package::Package;
use super::source;
use crate::apps::app_folder::{AppFolder, listens_by};
use crate::apps::detected_app::{DetectError, DetectedApp};
use crate::apps::kind::{AppKind, CONCURRENT};
use crate::apps::production::NODE;
use crate::apps::programs::{Program, Programs};
use crate::apps::recogniser::Recogniser;
use crate::apps::source_files::{name_of, text_of};
use crate::apps::worker_scripts;
use crate::spec::{Listen, ReadyBy};

/// A module that exports a function of a `Request`.
pub(in crate::apps) static NODE_HANDLER: AppKind = AppKind {
    name: "a Node handler",
    ready_by: ReadyBy::Either,
    stateless: true,
    production: &[NODE],
    by_worker_script: true,
    ..AppKind::PROGRAM
};

pub(in crate::apps) static BUN_HANDLER: AppKind = AppKind {
    name: "a Bun handler",
    listens: &[Listen::Path, Listen::Port],
    ready_by: ReadyBy::Either,
    stateless: true,
    production: &[NODE],
    by_worker_script: true,
    ..AppKind::PROGRAM
};

/// A script that listens by itself.
pub(in crate::apps) static NODE_SERVER: AppKind = AppKind {
    name: "a Node server",
    listens: &[Listen::Port, Listen::Fd, Listen::Path],
    concurrency: CONCURRENT,
    production: &[NODE],
    ..AppKind::PROGRAM
};

pub(in crate::apps) static BUN_SERVER: AppKind = AppKind {
    name: "a Bun server",
    listens: &[Listen::Port, Listen::Fd, Listen::Path],
    concurrency: CONCURRENT,
    production: &[NODE],
    ..AppKind::PROGRAM
};

pub(super) static BY_INDEX: Recogniser = Recogniser {
    files: &[
        ("rip", of_file),
        ("ts", of_file),
        ("mts", of_file),
        ("js", of_file),
        ("mjs", of_file),
        ("cjs", of_file),
    ],
    looks_for: "index.rip, index.ts, index.js, index.mjs, index.cjs",
    programs: &[NODE_PROGRAM, BUN],
    event_loops: &[
        "node",
        "nodejs",
        "bun",
        "bunx",
        "tsx",
        "ts-node",
        "next",
        "nuxt",
        "astro",
        "remix-serve",
        "react-router-serve",
    ],
    kinds: &[&NODE_HANDLER, &BUN_HANDLER],
    readme: &[
        ["`index.rip`", "Bun", "Bun and rip-lang"],
        ["`index.ts`", "Bun, else Node", "Bun, or nodejs 22.6 or newer"],
        ["`index.js`, `index.mjs`, `index.cjs`", "Node, else Bun", "nodejs"],
    ],
    spec: &[[
        "`index` with `.rip .ts .mts .js .mjs .cjs`",
        "a handler (below); a file with `.listen(` or `Bun.serve(` in it as a server, as in the next row",
        "Node `fd`, Bun `path`",
    ]],
    ..Recogniser::new(handler_in_folder)
};

pub(super) static BY_SERVER: Recogniser = Recogniser {
    looks_for: "server.js, server.mjs, server.cjs, server.ts; `main` of package.json",
    kinds: &[&NODE_SERVER, &BUN_SERVER],
    readme: &[[
        "`server.js`, `server.mjs`, `server.ts`, `main` of `package.json`, `app.js`, `src/server.ts` that listens",
        "Node, or Bun",
        "nodejs",
    ]],
    spec: &[[
        "`server` with `.js .mjs .cjs .ts .mts`; `main` of `package.json`; `app`, `main`, `api`, `src/server`, \
         `src/index`, `src/main`, `src/app` if they listen",
        "itself, by Node or Bun; as a handler if it has a default export and does not listen",
        "as its text shows, else `port`",
    ]],
    ..Recogniser::new(server_in_folder)
};

const NODE_PROGRAM: Program<'static> = Program { name: "node", install: "apt install nodejs" };
const BUN: Program<'static> =
    Program { name: "bun", install: "npm install -g bun (Debian has no package of it)" };

/// A handler: `index` with a suffix of JavaScript or Rip.
fn handler_in_folder(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let names = ["index.rip", "index.ts", "index.mts", "index.js", "index.mjs", "index.cjs"];
    let entries = names.iter().filter_map(|name| app.file(name));
    // Beside a development server such a file is more likely the source of a page.
    let entry = entries
        .into_iter()
        .find(|entry| !app.has_refused() || serves(&code_of(entry)) || exports(&code_of(entry)));
    entry.map(|entry| of_file(app, &entry)).transpose()
}

/// A server: `server` with a suffix of JavaScript, else a file that the package or its own name marks as one.
fn server_in_folder(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let names = ["server.js", "server.mjs", "server.cjs", "server.ts", "server.mts"];
    match names.iter().find_map(|name| app.file(name)) {
        Some(entry) => of_file(app, &entry).map(Some),
        None => named_in_folder(app),
    }
}

/// The files that may be servers: `main` of `package.json`, and files of other usual names, where they listen or export
/// a handler.
fn named_in_folder(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    if let Some(main) = Package::of(app)?.and_then(|package| package.main(&app.dir)) {
        let code = code_of(&main);
        if serves(&code) || exports(&code) && !is_tool(&main) {
            return of_file(app, &main).map(Some);
        }
        let name = name_of(&main);
        app.saw(format!("package.json names {name} as `main`, but it neither listens nor exports a handler"));
    }
    for stem in OTHERS {
        for suffix in ["js", "mjs", "cjs", "ts", "mts"] {
            let Some(entry) = app.file(&format!("{stem}.{suffix}")) else { continue };
            if serves(&code_of(&entry)) {
                return of_file(app, &entry).map(Some);
            }
            if !stem.contains('/') {
                app.saw(format!("{stem}.{suffix} is there, but it does not listen"));
            }
        }
    }
    Ok(None)
}

/// An app by a file with that suffix: a handler if the file exports one, else a server.
fn of_file(app: &AppFolder<'_>, entry: &Path) -> Result<DetectedApp, DetectError> {
    let runtime = JsRuntime::choose(app, entry)?;
    let text = code_of(entry);
    if is_handler(&text, entry) { handler(app, entry, runtime) } else { server(app, entry, &text, runtime) }
}

fn handler(app: &AppFolder<'_>, entry: &Path, runtime: JsRuntime) -> Result<DetectedApp, DetectError> {
    let kind = if runtime.name == "bun" { &BUN_HANDLER } else { &NODE_HANDLER };
    let why = format!("{} handler: {} found, run by {}", runtime.title(), name_of(entry), runtime.name);
    let script = worker_scripts::worker_script(app.hints.runtime_dir_for_scripts);
    let argv = runtime.argv(&[&script, entry])?;
    Ok(DetectedApp { env: vec![runtime.programs.variable()], ..app.found(kind, why, argv, Some(entry)) })
}

fn server(
    app: &AppFolder<'_>,
    entry: &Path,
    text: &str,
    runtime: JsRuntime,
) -> Result<DetectedApp, DetectError> {
    let bun = runtime.name == "bun";
    let kind = if bun { &BUN_SERVER } else { &NODE_SERVER };
    let why = format!("{} server: {} found, run by {}", runtime.title(), name_of(entry), runtime.name);
    let argv = runtime.argv(&[entry])?;
    let mut found = app.found(kind, why, argv, Some(entry));
    found.listen = match listens_by(text) {
        // Bun 1.4 takes an inherited descriptor without an error and then listens elsewhere.
        Some(Listen::Fd) if bun => Listen::Port,
        Some(listen) => listen,
        None => Listen::Port,
    };
    found.env.push(runtime.programs.variable());
    Ok(found)
}

/// The program that runs a script, with the flags that the script needs.
struct JsRuntime {
    name: &'static str,
    program: String,
    flags: Vec<String>,
    programs: Programs,
}

impl JsRuntime {
    fn choose(app: &AppFolder<'_>, entry: &Path) -> Result<Self, DetectError> {
        let programs = app.local_programs();
        let file = name_of(entry);
        match entry.extension().and_then(|suffix| suffix.to_str()) {
            Some("rip") => Self::rip(app, programs, &file),
            Some("ts" | "mts") => Self::typescript(app, programs, &file),
            _ => Self::javascript(app, programs, &file),
        }
    }

    fn rip(app: &AppFolder<'_>, programs: Programs, file: &str) -> Result<Self, DetectError> {
        let program = app.need(&programs, &BUN, file)?;
        let flags = match RipLoader::find(&app.dir) {
            Some(RipLoader::Bunfig) => Vec::new(),
            Some(RipLoader::Package(loader)) => vec![format!("--preload={}", loader.display())],
            None => {
                return Err(DetectError::MissingRuntime {
                    runtime: "rip".into(),
                    needed_for: file.into(),
                    install: "add the rip-lang package to the app (node_modules/rip-lang), or a bunfig.toml \
                              whose `preload` loads it",
                });
            }
        };
        Ok(Self { name: "bun", program, flags, programs })
    }

    fn typescript(app: &AppFolder<'_>, programs: Programs, file: &str) -> Result<Self, DetectError> {
        if programs.find("bun").is_some() {
            let program = app.need(&programs, &BUN, file)?;
            return Ok(Self { name: "bun", program, flags: Vec::new(), programs });
        }
        // Node is asked, because its version does not tell: a build may lack the type stripper.
        let node = programs.find("node");
        if node.is_some_and(|node| programs.ask(&node, &[STRIP_TYPES, "--eval", ""]).is_some()) {
            let program = app.need(&programs, &NODE_PROGRAM, file)?;
            return Ok(Self { name: "node", program, flags: vec![STRIP_TYPES.into()], programs });
        }
        Err(DetectError::MissingRuntime {
            runtime: "bun".into(),
            needed_for: file.into(),
            install: "npm install -g bun, or a Node of 22.6 or newer that can strip types",
        })
    }

    fn javascript(app: &AppFolder<'_>, programs: Programs, file: &str) -> Result<Self, DetectError> {
        let present = [NODE_PROGRAM, BUN].into_iter().find(|program| programs.find(program.name).is_some());
        let runtime = present.unwrap_or(NODE_PROGRAM);
        let program = app.need(&programs, &runtime, file)?;
        Ok(Self { name: runtime.name, program, flags: Vec::new(), programs })
    }

    fn title(&self) -> &'static str {
        if self.name == "bun" { "Bun" } else { "Node" }
    }

    fn argv(&self, files: &[&Path]) -> Result<Vec<String>, DetectError> {
        let mut argv = vec![self.program.clone()];
        argv.extend(self.flags.iter().cloned());
        for file in files {
            let text = file.to_str().ok_or_else(|| DetectError::NotUtf8(file.to_path_buf()))?;
            argv.push(text.into());
        }
        Ok(argv)
    }
}

/// The way by which Bun loads `.rip` files.
enum RipLoader {
    /// `bunfig.toml` preloads something; Bun reads it by itself.
    Bunfig,
    /// The package in `node_modules` of the app or of a folder above it.
    Package(PathBuf),
}

impl RipLoader {
    fn find(dir: &Path) -> Option<Self> {
        let bunfig = dir.join("bunfig.toml");
        if bunfig.is_file() && text_of(&bunfig).contains("preload") {
            return Some(Self::Bunfig);
        }
        let mut loaders = dir.ancestors().map(|folder| folder.join("node_modules/rip-lang/loader.js"));
        loaders.find(|loader| loader.is_file()).map(Self::Package)
    }
}

/// Whether a file is a handler. A file that listens is a server even when it exports something, as Express apps do for
/// their tests. Any other file is a handler, so that a missing export is reported; only a file called `server` may do
/// without.
fn is_handler(text: &str, entry: &Path) -> bool {
    let any = |signs: &[&str]| signs.iter().any(|sign| text.contains(sign));
    if any(&[".listen(", "Bun.serve("]) {
        return false;
    }
    !name_of(entry).starts_with("server.") || exports(text)
}

/// The text of a file without comments; Rip has other comments, which stay.
fn code_of(entry: &Path) -> String {
    let text = text_of(entry);
    if entry.extension().is_some_and(|suffix| suffix == "rip") { text } else { source::javascript(&text) }
}

/// Whether the code listens for requests; pages listen, too, to other things.
fn serves(code: &str) -> bool {
    code.contains("Bun.serve(")
        || (code.contains(".listen(") && SERVERS.iter().any(|sign| code.contains(sign)))
        || ["@hono/node-server", "serve({"].iter().all(|sign| code.contains(sign))
}

fn exports(code: &str) -> bool {
    ["export default", "module.exports", "as default"].iter().any(|sign| code.contains(sign))
}

/// Whether the file is the configuration of a tool.
fn is_tool(entry: &Path) -> bool {
    let name = name_of(entry).to_ascii_lowercase();
    name.contains("config") || ["gulpfile", "gruntfile"].iter().any(|tool| name.starts_with(tool))
}

/// Other usual names of files that listen, without suffixes.
const OTHERS: [&str; 8] = ["app", "main", "api", "src/server", "src/index", "src/main", "src/app", "bin/www"];
/// The words in files that serve requests.
const SERVERS: [&str; 14] = [
    "createServer",
    "express",
    "fastify",
    "Fastify",
    "koa",
    "Koa",
    "hapi",
    "restify",
    "polka",
    "hono",
    "http",
    "Nest",
    "elysia",
    "Elysia",
];

const STRIP_TYPES: &str = "--experimental-strip-types";
