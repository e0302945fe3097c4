//! Apps that say how they are run: a configured command, a `Procfile`, a `package.json`.
//!
//! Never here: recognising anything by the files' contents.

use std::path::Path;

use super::client_address;
use super::package::{self, Package, Start};
use super::shell;
use crate::apps::candidate::{App, missing};
use crate::apps::files::{read, text_of};
use crate::apps::found::{CONCURRENT, DetectError, Found, Kind, Listen};

/// `command` of the config, which beats everything.
pub(in crate::apps) fn command(app: &App<'_>) -> Result<Option<Found>, DetectError> {
    let Some(command) = &app.hints.command else { return Ok(None) };
    let [program, args @ ..] = command.as_slice() else { return Err(DetectError::EmptyCommand) };
    let programs = app.local_programs();
    let resolved = if program.contains('/') {
        app.dir.join(program).to_string_lossy().into_owned()
    } else {
        app.need(&programs, program, "`command`")?
    };
    let argv = [resolved].into_iter().chain(args.iter().cloned()).collect();
    let mut found = app.found(Kind::Command, format!("Command: {}", command.join(" ")), argv, None);
    found.env.push(programs.variable());
    client_address::is_told(app, &mut found);
    Ok(Some(found))
}

/// The `web:` line of a `Procfile`.
pub(in crate::apps) fn procfile(app: &App<'_>) -> Result<Option<Found>, DetectError> {
    let Some(path) = app.file("Procfile") else { return Ok(None) };
    let text = read(&path)?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("web:")).map(str::trim);
    let line = line.filter(|line| !line.is_empty()).ok_or_else(|| DetectError::Procfile(path.clone()))?;
    by_shell(app, Kind::Procfile, line, &path).map(Some)
}

/// `scripts.start` of a `package.json`, run by itself: below `npm start` no signal would reach it. A development server
/// is not the app: what follows may be, and else the person is told to build it.
pub(in crate::apps) fn package_json(app: &App<'_>) -> Result<Option<Found>, DetectError> {
    let Some(package) = Package::of(app)? else { return Ok(None) };
    match package.start() {
        Start::Line(line) => by_shell(app, Kind::PackageJson, line, &app.dir.join("package.json")).map(Some),
        Start::Development(line, found) => {
            app.refuse(package::refusal(app, &package, line, &found));
            Ok(None)
        }
        Start::Nothing => {
            app.saw("package.json has no scripts.start");
            Ok(None)
        }
    }
}

/// A shell line, run by `sh -c`.
fn by_shell(app: &App<'_>, kind: Kind, line: &str, path: &Path) -> Result<Found, DetectError> {
    let programs = app.local_programs();
    let source = if kind == Kind::Procfile { "the Procfile" } else { "scripts.start of package.json" };
    let first = line.split_whitespace().next().unwrap_or_default();
    if RUNTIMES.contains(&first) && programs.find(first).is_none() {
        return Err(missing(first, source));
    }
    let title = if kind == Kind::Procfile { "Procfile app" } else { "package.json app" };
    let argv = vec!["/bin/sh".into(), "-c".into(), shell::replaced_by_last_command(line)];
    let mut found = app.found(kind, format!("{title}: {source} says `{line}`"), argv, None);
    let script = line.split_whitespace().map(|word| app.dir.join(word)).find(|word| word.is_file());
    if let Some(script) = &script
        && crate::apps::candidate::listens_by(&text_of(script)) == Some(Listen::Fd)
    {
        found.listen = Listen::Fd;
    }
    found.entry = Some(script.unwrap_or_else(|| path.to_owned()));
    found.env.push(programs.variable());
    found.concurrency = runs_concurrently(line).then_some(CONCURRENT);
    client_address::is_told(app, &mut found);
    Ok(found)
}

/// Whether the last command of a line is an event loop by nature.
fn runs_concurrently(line: &str) -> bool {
    let mut words = shell::last_command(line)
        .split_whitespace()
        .skip_while(|word| matches!(*word, "exec" | "env") || word.contains('=') || word.starts_with('-'));
    let program = words.next().map(base_name).unwrap_or_default();
    let module = || words.clone().skip_while(|word| *word != "-m").nth(1);
    CONCURRENT_PROGRAMS.contains(&program)
        || program.starts_with("python") && module().is_some_and(|name| CONCURRENT_PROGRAMS.contains(&name))
        || program == "gunicorn" && words.any(|word| word.contains("UvicornWorker"))
}

fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// First words that are a runtime; any other first word may be a shell's own command.
const RUNTIMES: [&str; 10] =
    ["node", "bun", "deno", "python3", "gunicorn", "uvicorn", "puma", "bundle", "ruby", "php"];

/// Runtimes of JavaScript, what starts them, and servers of ASGI.
const CONCURRENT_PROGRAMS: [&str; 20] = [
    "node",
    "nodejs",
    "bun",
    "bunx",
    "deno",
    "npm",
    "npx",
    "pnpm",
    "yarn",
    "tsx",
    "ts-node",
    "next",
    "nuxt",
    "astro",
    "remix-serve",
    "react-router-serve",
    "uvicorn",
    "hypercorn",
    "daphne",
    "granian",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_runs_an_event_loop_takes_several_requests() {
        for line in [
            "node server.js",
            "NODE_ENV=production node --enable-source-maps web.js",
            "exec env A=b node x.js",
            "cd web && ./node_modules/.bin/next start -p $PORT",
            "npm run build; bun run server.ts",
            "npm start",
            "uvicorn app:app --fd 3",
            "python3 -m uvicorn app:app",
            ".venv/bin/python -O -m hypercorn app:app",
            "gunicorn -k uvicorn.workers.UvicornWorker app:app",
        ] {
            assert!(runs_concurrently(line), "{line}");
        }
        for line in [
            "gunicorn app:app",
            "python3 web.py $PORT",
            "python3 -m http.server",
            "puma -C config.rb",
            "php -S 127.0.0.1:$PORT",
            "./server",
            "node build.js && ruby web.rb",
            "",
        ] {
            assert!(!runs_concurrently(line), "{line}");
        }
    }
}
