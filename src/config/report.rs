//! `rip-server check`: every setting in force and where it came from, for people and for programs.
//!
//! Never here: finding out what is in force (`merge`, `app`).

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::app::AppSettings;
use super::merge::Config;
use super::origin::{Effective, Origin};

/// A table for people: the server's settings, then each app's.
pub fn report_text(config: &Config, apps: &[AppSettings]) -> String {
    let all = config.report.iter().chain(apps.iter().flat_map(|app| &app.report));
    let (keys, values) = all.fold((0, 0), |(keys, values), row| {
        (keys.max(row.key.chars().count()), values.max(row.value.chars().count().min(WIDEST)))
    });
    let file = config.file.as_ref().map(|file| format!(" ({})", file.display())).unwrap_or_default();
    let mut text = format!("server {}{file}\n", config.server.instance);
    table(&mut text, &config.report, keys, values);
    for app in apps {
        let _ = writeln!(text, "\napp {} ({})", app.name, app.path.display());
        table(&mut text, &app.report, keys, values);
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

/// The same as one JSON object.
pub fn report_json(config: &Config, apps: &[AppSettings]) -> Value {
    let apps_json = apps.iter().map(|app| {
        json!({ "app": app.name, "path": app.path.display().to_string(), "settings": rows(&app.report) })
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

fn table(text: &mut String, rows: &[Effective], keys: usize, values: usize) {
    for row in rows {
        let _ = writeln!(text, "  {:keys$}  {:values$}  {}", row.key, row.value, row.origin);
    }
}

fn rows(rows: &[Effective]) -> Vec<Value> {
    rows.iter()
        .map(|row| json!({ "key": row.key, "value": row.value, "origin": origin(&row.origin) }))
        .collect()
}

fn origin(origin: &Origin) -> Value {
    match origin {
        Origin::Flag(word) => json!({ "from": origin.kind(), "word": word }),
        Origin::Env(name) => json!({ "from": origin.kind(), "name": name }),
        Origin::File { path, line, column } | Origin::AppFile { path, line, column } => {
            json!({ "from": origin.kind(), "file": path.display().to_string(), "line": line, "column": column })
        }
        Origin::Default => json!({ "from": origin.kind() }),
    }
}

/// A longer value does not push the origins of all others to the right.
const WIDEST: usize = 48;
