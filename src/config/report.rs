//! The report of `rip-server check`: every setting in force and where it came from, for people and for programs.
//!
//! Never here: finding out which settings are in force (`merge`, `app`).

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::app::AppSettings;
use super::merge::Config;
use super::value_origin::{Effective, ValueOrigin};
use crate::spec::{AppSpec, Listen};

/// The report for people: how each app is run, where that is known, then the server's settings and each app's. Defaults
/// are shown only when all settings are asked for.
pub(crate) fn report_text(config: &Config, apps: &[AppSettings], runs: &[AppSpec]) -> String {
    let shown = |row: &&Effective| config.all || row.origin != ValueOrigin::Default;
    let all = config.report.iter().chain(apps.iter().flat_map(|app| &app.report)).filter(shown);
    let (keys, values) = all.fold((0, 0), |(keys, values), row| {
        (keys.max(row.key.chars().count()), values.max(row.value.chars().count().min(WIDEST)))
    });
    let file = config.file.as_ref().map(|file| format!(" ({})", file.display())).unwrap_or_default();
    let mut text = String::new();
    for (run, settings) in runs.iter().zip(apps) {
        command(&mut text, run, settings);
        text.push('\n');
    }
    let _ = writeln!(text, "server {}{file}", config.server.instance);
    table(&mut text, config.report.iter().filter(shown), keys, values);
    for app in apps {
        let _ = writeln!(text, "\napp {} ({})", app.name, app.path.display());
        table(&mut text, app.report.iter().filter(shown), keys, values);
    }
    if !config.all {
        text.push_str("\nall other settings have their defaults: --all shows them\n");
    }
    let warnings: Vec<_> = config.warnings.iter().chain(apps.iter().flat_map(|app| &app.warnings)).collect();
    if !warnings.is_empty() {
        text.push('\n');
    }
    for warning in warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// The report as one JSON object, with all settings.
pub(crate) fn report_json(config: &Config, apps: &[AppSettings], runs: &[AppSpec]) -> Value {
    let apps_json = apps.iter().enumerate().map(|(at, app)| {
        let mut json =
            json!({ "app": app.name, "path": app.path.display().to_string(), "settings": rows(&app.report) });
        if let Some(run) = runs.get(at) {
            json["run"] = json!({
                "described": run.described,
                "command": shown_command(run),
                "directory": run.launch.directory.display().to_string(),
                "listen": run.launch.listen,
                "environment": environment(run, app),
            });
        }
        json
    });
    json!({
        "ok": true,
        "instance": config.server.instance,
        "config_file": config.file.as_ref().map(|file| file.display().to_string()),
        "server": rows(&config.report),
        "apps": apps_json.collect::<Vec<_>>(),
        "warnings": config.warnings.iter().chain(apps.iter().flat_map(|app| &app.warnings)).collect::<Vec<_>>(),
    })
}

/// Adds what will be run, exactly.
fn command(text: &mut String, run: &AppSpec, settings: &AppSettings) {
    let words: Vec<_> = shown_command(run).iter().map(|word| quoted(word)).collect();
    let listens = match run.launch.listen {
        Listen::Fd => "on a socket that it inherits as descriptor 3 (LISTEN_FDS=1)",
        Listen::Path => "on the Unix socket that it makes at $RIP_SOCKET",
        Listen::Port => "on the port in $PORT, at the address in $HOST (127.0.0.1)",
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}: {}", run.name, run.described);
    let _ = writeln!(text, "  runs     {}", words.join(" "));
    let _ = writeln!(text, "  in       {}", run.launch.directory.display());
    let _ = writeln!(text, "  listens  {listens}");
    for (at, variable) in environment(run, settings).iter().enumerate() {
        let _ = writeln!(text, "  {:<7}  {variable}", if at == 0 { "with" } else { "" });
    }
}

fn shown_command(run: &AppSpec) -> Vec<String> {
    let shown = |word: &String| if word == "/proc/self/exe" { "rip-server".to_owned() } else { word.clone() };
    run.launch.command.iter().map(shown).collect()
}

/// The variables that the server adds. The values of those that people set are left out, because they may be secrets.
fn environment(run: &AppSpec, settings: &AppSettings) -> Vec<String> {
    let shown = |(name, value): (&String, &String)| match settings.env.contains_key(name) {
        true => format!("{name}=… (from `env`)"),
        false => format!("{name}={}", quoted(value)),
    };
    let always = "RIP_APP, RIP_INSTANCE, RIP_WORKER, RIP_GENERATION";
    run.launch.env.iter().map(shown).chain([always.into()]).collect()
}

/// A word quoted for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_./:=@%+,-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn table<'a>(text: &mut String, rows: impl Iterator<Item = &'a Effective>, keys: usize, values: usize) {
    for row in rows {
        let _ = writeln!(text, "  {:keys$}  {:values$}  {}", row.key, row.value, row.origin);
    }
}

fn rows(rows: &[Effective]) -> Vec<Value> {
    rows.iter()
        .map(|row| json!({ "key": row.key, "value": row.value, "origin": origin(&row.origin) }))
        .collect()
}

fn origin(origin: &ValueOrigin) -> Value {
    match origin {
        ValueOrigin::Flag(word) => json!({ "from": origin.kind(), "word": word }),
        ValueOrigin::Env(name) => json!({ "from": origin.kind(), "name": name }),
        ValueOrigin::File { path, line, column } | ValueOrigin::AppFile { path, line, column } => {
            json!({ "from": origin.kind(), "file": path.display().to_string(), "line": line, "column": column })
        }
        ValueOrigin::Default => json!({ "from": origin.kind() }),
    }
}

/// The widest value that the origins of all others are moved for.
const WIDEST: usize = 48;
