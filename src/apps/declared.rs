//! Apps that say how they are run: a configured command, a `Procfile`, a `package.json`.
//!
//! Never here: recognising anything by the files' contents.

use std::path::Path;

use super::detect::{App, missing, read, text_of};
use super::found::{DetectError, Found, Kind, Listen};
use super::package::{self, Package, Start};

/// `command` of the config, which beats everything.
pub(super) fn command(app: &App<'_>) -> Result<Option<Found>, DetectError> {
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
    Ok(Some(found))
}

/// The `web:` line of a `Procfile`.
pub(super) fn procfile(app: &App<'_>) -> Result<Option<Found>, DetectError> {
    let Some(path) = app.file("Procfile") else { return Ok(None) };
    let text = read(&path)?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("web:")).map(str::trim);
    let line = line.filter(|line| !line.is_empty()).ok_or_else(|| DetectError::Procfile(path.clone()))?;
    by_shell(app, Kind::Procfile, line, &path).map(Some)
}

/// `scripts.start` of a `package.json`, run by itself: below `npm start` no signal would reach it. A development server
/// is not the app: what follows may be, and else the person is told to build it.
pub(super) fn package_json(app: &App<'_>) -> Result<Option<Found>, DetectError> {
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
    let argv = vec!["/bin/sh".into(), "-c".into(), replacing_shell(line)];
    let mut found = app.found(kind, format!("{title}: {source} says `{line}`"), argv, None);
    let script = line.split_whitespace().map(|word| app.dir.join(word)).find(|word| word.is_file());
    if let Some(script) = &script
        && super::detect::listens_by(&text_of(script)) == Some(Listen::Fd)
    {
        found.listen = Listen::Fd;
    }
    found.entry = Some(script.unwrap_or_else(|| path.to_owned()));
    found.env.push(programs.variable());
    Ok(found)
}

/// The line with `exec` before its last command where that is plain: else the shell stays in between, takes the
/// SIGTERM and dies without the app, and `LISTEN_PID` names the shell (Debian's dash does not replace itself).
fn replacing_shell(line: &str) -> String {
    let Some(start) = last_command(line) else { return line.into() };
    let (before, last) = line.split_at(start);
    let command = last.trim_start();
    let first = command.split_whitespace().next().unwrap_or_default();
    if first.is_empty() || SHELL_WORDS.contains(&first) {
        return line.into();
    }
    let space = if before.is_empty() { "" } else { " " };
    let env = if first.contains('=') { "env " } else { "" };
    format!("{before}{space}exec {env}{command}")
}

/// Where the last of some commands that follow each other by `;` or `&&` begins; `None` for anything less plain.
fn last_command(line: &str) -> Option<usize> {
    let mut start = 0;
    let mut quote = None;
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), _) => (),
            (_, '`' | '(' | '\n') => return None,
            (_, '\\') => drop(chars.next()),
            (Some(_), _) => (),
            (None, '\'' | '"') => quote = Some(c),
            (None, ';') => start = at + 1,
            (None, '&') if chars.next_if(|(_, next)| *next == '&').is_some() => start = at + 2,
            (None, '&' | '|' | ')' | '#') => return None,
            (None, _) => (),
        }
    }
    quote.is_none().then_some(start)
}

/// First words that are a runtime; any other first word may be a shell's own command.
const RUNTIMES: [&str; 10] =
    ["node", "bun", "deno", "python3", "gunicorn", "uvicorn", "puma", "bundle", "ruby", "php"];

/// What cannot stand after `exec`: the shell's own words.
const SHELL_WORDS: [&str; 26] = [
    "!", ".", ":", "[", "{", "}", "case", "cd", "do", "done", "elif", "else", "esac", "eval", "exec", "exit",
    "export", "fi", "for", "if", "read", "set", "then", "trap", "until", "while",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_last_command_replaces_its_shell() {
        let table = [
            ("node server.js", "exec node server.js"),
            ("python3 web.py $PORT", "exec python3 web.py $PORT"),
            ("NODE_ENV=production node 'a b.js'", "exec env NODE_ENV=production node 'a b.js'"),
            ("cd web && node x.js", "cd web && exec node x.js"),
            ("a; b && c --x=\"1;2\" > log", "a; b && exec c --x=\"1;2\" > log"),
            ("exec puma", "exec puma"),
            ("node a.js | tee log", "node a.js | tee log"),
            ("node a.js & node b.js", "node a.js & node b.js"),
            ("a || b", "a || b"),
            ("(cd web; node x.js)", "(cd web; node x.js)"),
            ("node $(cat entry)", "node $(cat entry)"),
            ("if true; then node x.js; fi", "if true; then node x.js; fi"),
            ("while true; do node x.js; done", "while true; do node x.js; done"),
            ("node \"unfinished", "node \"unfinished"),
            ("node a\\;b", "exec node a\\;b"),
            ("node x.js;", "node x.js;"),
        ];
        for (line, expected) in table {
            assert_eq!(replacing_shell(line), expected, "{line}");
        }
    }
}
