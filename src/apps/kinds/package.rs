//! `package.json`: what it says of its app.
//!
//! Never here: running its scripts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::development::{Development, Replacement, development};
use crate::apps::app_folder::AppFolder;
use crate::apps::detected_app::DetectError;
use crate::apps::source_files::read;

/// The parts of a `package.json` that matter here.
#[derive(Debug, Default, Deserialize)]
pub(in crate::apps) struct Package {
    #[serde(default)]
    pub(in crate::apps) scripts: BTreeMap<String, String>,
    main: Option<Value>,
    #[serde(default)]
    dependencies: BTreeMap<String, Value>,
    #[serde(default, rename = "devDependencies")]
    dev_dependencies: BTreeMap<String, Value>,
}

/// How `scripts` start the app.
pub(in crate::apps) enum StartScript<'a> {
    /// The line that starts the app.
    Line(&'a str),
    /// The line that starts only a development server.
    Development(&'a str, Development),
    Nothing,
}

impl Package {
    /// Reads the app's own `package.json`, if there is one.
    pub(in crate::apps) fn of(app: &AppFolder<'_>) -> Result<Option<Self>, DetectError> {
        let Some(path) = app.file("package.json") else { return Ok(None) };
        let text = read(&path)?;
        let parsed = serde_json::from_str(text.trim_start_matches('\u{feff}'));
        parsed.map(Some).map_err(|source| DetectError::PackageJson { path, source })
    }

    /// The line of `start`, or, where that is for the developer, of the script that has a usual name for production.
    pub(in crate::apps) fn start(&self) -> StartScript<'_> {
        let Some(start) = self.scripts.get("start") else { return StartScript::Nothing };
        let Some(found) = development(start, &self.scripts) else { return StartScript::Line(start) };
        let others = PRODUCTION.iter().filter_map(|name| self.scripts.get(*name));
        let mut others = others.filter(|line| development(line, &self.scripts).is_none());
        others.next().map_or(StartScript::Development(start, found), |line| StartScript::Line(line))
    }

    /// The file that `main` names, as Node finds it.
    pub(in crate::apps) fn main(&self, folder: &Path) -> Option<PathBuf> {
        let main = self.main.as_ref()?.as_str()?.trim_start_matches("./");
        let inside = !main.is_empty() && !main.starts_with('/') && !main.split('/').any(|part| part == "..");
        let endings = ["", ".js", ".mjs", ".cjs", "/index.js"];
        let mut places = endings.iter().map(|ending| folder.join(format!("{main}{ending}")));
        places.find(|place| inside && place.is_file())
    }

    /// Whether the app's pages are made by a program that bundles their sources.
    pub(in crate::apps) fn bundles(&self) -> bool {
        let has =
            |name: &&str| self.dependencies.contains_key(*name) || self.dev_dependencies.contains_key(*name);
        BUNDLERS.iter().any(has)
    }

    /// The command that builds the app.
    pub(in crate::apps) fn build(&self, folder: &Path) -> String {
        let runner =
            LOCKS.iter().find(|(lock, _)| folder.join(lock).is_file()).map_or("npm", |(_, runner)| runner);
        let install = if folder.join("node_modules").is_dir() { "" } else { "install && " };
        match self.scripts.contains_key("build") {
            true if install.is_empty() => format!("{runner} run build"),
            true => format!("{runner} {install}{runner} run build"),
            false => "the build of its tools".into(),
        }
    }
}

/// The error for an app that has only a development server.
pub(in crate::apps) fn refusal(
    app: &AppFolder<'_>,
    package: &Package,
    line: &str,
    found: &Development,
) -> DetectError {
    let instead = match found.instead {
        Replacement::Build => format!(
            "run `{}`; the folder that it writes (dist, build, out) is then served",
            package.build(&app.dir)
        ),
        Replacement::Run(program) => {
            let program = program.replace("$PORT", "\\\"$PORT\\\"");
            format!(
                "run `{}` and say in rip.toml what serves the result: \
                 `command = [\"sh\", \"-c\", \"exec {program}\"]` with `listen = \"port\"`",
                package.build(&app.dir)
            )
        }
        Replacement::Plain => {
            let script = line.split_whitespace().rev().find(|word| app.dir.join(word).is_file());
            let script = script.unwrap_or("server.js");
            let program = if script.ends_with("ts") { "bun" } else { "node" };
            format!(
                "say in rip.toml what it is run by without that: `command = [\"{program}\", \"{script}\"]`"
            )
        }
    };
    DetectError::Development {
        folder: app.dir.clone(),
        line: line.into(),
        words: found.words.clone(),
        instead,
    }
}

/// Names of scripts that start an app whose `start` is for its developer.
const PRODUCTION: [&str; 6] =
    ["start:prod", "start:production", "start-prod", "start-production", "production", "prod"];
const BUNDLERS: [&str; 12] = [
    "vite",
    "webpack",
    "parcel",
    "rollup",
    "esbuild",
    "snowpack",
    "@rsbuild/core",
    "@rspack/core",
    "react-scripts",
    "@angular/cli",
    "@vue/cli-service",
    "astro",
];
const LOCKS: [(&str, &str); 4] =
    [("yarn.lock", "yarn"), ("pnpm-lock.yaml", "pnpm"), ("bun.lock", "bun"), ("bun.lockb", "bun")];
