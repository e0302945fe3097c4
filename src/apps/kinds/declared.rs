//! Apps that say how they are run: a configured command, a `Procfile`, a `package.json`.
//!
//! Never here: recognising anything by the files' contents.

use std::path::Path;

use super::client_address;
use super::known_servers::told_where_to_listen;
use super::package::{self, Package, StartScript};
use super::shell;
use crate::apps::app_folder::{AppFolder, listens_by};
use crate::apps::detected_app::{DetectError, DetectedApp};
use crate::apps::kind::{AppKind, CONCURRENT};
use crate::apps::procfile;
use crate::apps::recogniser::Recogniser;
use crate::apps::source_files::{read, text_of};
use crate::spec::Listen;

pub(in crate::apps) static COMMAND: AppKind = AppKind { name: "a command", ..AppKind::PROGRAM };

pub(in crate::apps) static PROCFILE: AppKind =
    AppKind { name: "a Procfile", listens: &[Listen::Port, Listen::Fd, Listen::Path], ..AppKind::PROGRAM };

pub(in crate::apps) static PACKAGE_JSON: AppKind =
    AppKind { name: "a package.json start script", listens: PROCFILE.listens, ..AppKind::PROGRAM };

pub(super) static BY_COMMAND: Recogniser = Recogniser {
    by_settings: true,
    kinds: &[&COMMAND],
    readme: &[["`rip.toml` with `command`", "that command", ""]],
    spec: &[["`command` in the config or `rip.toml`", "that", "`fd`"]],
    ..Recogniser::new(command)
};

pub(super) static BY_PROCFILE: Recogniser = Recogniser {
    looks_for: "a Procfile with a `web:` line",
    kinds: &[&PROCFILE],
    readme: &[["`Procfile` with a `web:` line", "that line", ""]],
    spec: &[[
        "`Procfile` with a `web:` line",
        "that line, by `sh -c`",
        "`port`, or `fd` if its script shows that",
    ]],
    ..Recogniser::new(by_procfile)
};

pub(super) static BY_PACKAGE_JSON: Recogniser = Recogniser {
    looks_for: "package.json with scripts.start",
    event_loops: &["npm", "npx", "pnpm", "yarn"],
    kinds: &[&PACKAGE_JSON],
    readme: &[[
        "`package.json` with `scripts.start`",
        "that line, unless it is a development server",
        "nodejs",
    ]],
    spec: &[[
        "`package.json` with `scripts.start`; where that is a development server, `start:prod`, `start:production` or \
         `production`",
        "that line, by `sh -c` (not by npm)",
        "as above",
    ]],
    ..Recogniser::new(package_json)
};

/// An app by `command` of the config, which wins over everything.
fn command(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let Some(command) = &app.hints.command else { return Ok(None) };
    let [program, args @ ..] = command.as_slice() else { return Err(DetectError::EmptyCommand) };
    let programs = app.local_programs();
    let resolved = if program.contains('/') {
        app.dir.join(program).to_string_lossy().into_owned()
    } else {
        app.need(&programs, &super::program(program), "`command`")?
    };
    let argv = [resolved].into_iter().chain(args.iter().cloned()).collect();
    let mut found = app.found(&COMMAND, format!("Command: {}", command.join(" ")), argv, None);
    found.env.push(programs.variable());
    client_address::is_told(app, &mut found);
    Ok(Some(found))
}

/// An app by the `web:` line of a `Procfile`.
fn by_procfile(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let Some(path) = app.file("Procfile") else { return Ok(None) };
    let text = read(&path)?;
    let web = procfile::lines(&text).into_iter().find(|(name, _)| name == "web");
    let (_, line) = web.ok_or_else(|| DetectError::Procfile(path.clone()))?;
    by_shell(app, &PROCFILE, &line, &path).map(Some)
}

/// An app by `scripts.start` of a `package.json`, which is run directly: below `npm start` no signal would reach it. A
/// line that runs a development server is passed over; when nothing else is recognised, the error says what to build.
fn package_json(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let Some(package) = Package::of(app)? else { return Ok(None) };
    match package.start() {
        StartScript::Line(line) => {
            by_shell(app, &PACKAGE_JSON, line, &app.dir.join("package.json")).map(Some)
        }
        StartScript::Development(line, found) => {
            app.refuse(package::refusal(app, &package, line, &found));
            Ok(None)
        }
        StartScript::Nothing => {
            app.saw("package.json has no scripts.start");
            Ok(None)
        }
    }
}

/// An app by a shell line, which `sh -c` runs.
fn by_shell(
    app: &AppFolder<'_>,
    kind: &'static AppKind,
    line: &str,
    path: &Path,
) -> Result<DetectedApp, DetectError> {
    let programs = app.local_programs();
    let (title, source) = match kind == &PROCFILE {
        true => ("Procfile app", "the Procfile"),
        false => ("package.json app", "scripts.start of package.json"),
    };
    let first = line.split_whitespace().next().unwrap_or_default();
    // Any other first word may be a shell's own command.
    if let Some(program) = super::programs().find(|program| program.name == first)
        && programs.find(first).is_none()
    {
        return Err(program.missing(source));
    }
    let run = told_where_to_listen(&shell::replaced_by_last_command(line));
    let argv = vec!["/bin/sh".into(), "-c".into(), run];
    let mut found = app.found(kind, format!("{title}: {source} says `{line}`"), argv, None);
    let script = line.split_whitespace().map(|word| app.dir.join(word)).find(|word| word.is_file());
    if let Some(script) = &script
        && listens_by(&text_of(script)) == Some(Listen::Fd)
    {
        found.listen = Listen::Fd;
    }
    found.entry = Some(script.unwrap_or_else(|| path.to_owned()));
    found.env.push(programs.variable());
    if runs_concurrently(line) {
        found.concurrency = CONCURRENT;
    }
    client_address::is_told(app, &mut found);
    Ok(found)
}

/// Whether the last command of a line is an event loop by nature.
fn runs_concurrently(line: &str) -> bool {
    let Some((program, mut words)) = shell::program_of(line) else { return false };
    super::is_event_loop(program) || program == "gunicorn" && words.any(|word| word.contains("UvicornWorker"))
}

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
