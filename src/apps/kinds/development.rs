//! Development servers: which start scripts are for the developer alone, and what to do instead.
//!
//! Never here: running anything, or reading a `package.json`.

use std::collections::{BTreeMap, BTreeSet};

/// A development server that a script runs, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::apps) struct Development {
    /// The words that name the server: `ng serve`.
    pub(in crate::apps) words: String,
    /// The line that runs the app instead.
    pub(in crate::apps) instead: Replacement,
}

/// The way to run an app without its development server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::apps) enum Replacement {
    /// The folder that a build writes, as files.
    Build,
    /// The result of a build, by this command.
    Run(&'static str),
    /// The same program, without the one that restarts it.
    Plain,
}

/// Looks for a development server in a line of `scripts`, and in the other scripts that the line runs.
pub(in crate::apps) fn development(line: &str, scripts: &BTreeMap<String, String>) -> Option<Development> {
    within(line, scripts, &mut BTreeSet::new())
}

/// `looked`: the scripts that were looked at already. Each is looked at once, however they run one another.
fn within<'a>(
    line: &str,
    scripts: &'a BTreeMap<String, String>,
    looked: &mut BTreeSet<&'a str>,
) -> Option<Development> {
    commands(line).iter().find_map(|words| {
        let words = bare(words);
        // `yarn vite` runs vite where no script is called so.
        let behind = words.split_first().filter(|(first, _)| RUNNERS.contains(&program(first)));
        let behind = behind.map_or(&[][..], |(_, behind)| behind);
        if let Some(found) = SERVERS.iter().find_map(|row| row.told(words).or_else(|| row.told(behind))) {
            return Some(found);
        }
        let (name, line) = scripts.get_key_value(script(words)?)?;
        (looked.len() < MOST_SCRIPTS && looked.insert(name)).then(|| within(line, scripts, looked))?
    })
}

/// A row of the table of development servers.
struct DevServer {
    program: &'static str,
    /// The arguments of which one must be there; none: the program alone is enough.
    words: &'static [&'static str],
    /// The arguments with which the program is no development server.
    unless: &'static [&'static str],
    instead: Replacement,
}

impl DevServer {
    fn told(&self, words: &[String]) -> Option<Development> {
        let (first, rest) = words.split_first().filter(|(first, _)| program(first) == self.program)?;
        let has = |wanted: &&str| {
            rest.iter().any(|word| {
                word.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            })
        };
        let told = self.words.iter().find(|word| has(word));
        if self.unless.iter().any(has) || (told.is_none() && !self.words.is_empty()) {
            return None;
        }
        let words = [program(first)].into_iter().chain(told.copied()).collect::<Vec<_>>();
        Some(Development { words: words.join(" "), instead: self.instead })
    }
}

const fn row(
    program: &'static str,
    words: &'static [&'static str],
    unless: &'static [&'static str],
    instead: Replacement,
) -> DevServer {
    DevServer { program, words, unless, instead }
}

const HELP: &[&str] = &["--help", "--version"];
const BUILDS: &[&str] =
    &["build", "preview", "optimize", "start", "generate", "export", "--help", "--version"];
const WATCH: &[&str] = &["--watch", "-w", "watch"];

/// The development servers, a row for each way to write one.
static SERVERS: [DevServer; 45] = [
    row("vite", &[], BUILDS, Replacement::Build),
    row("ng", &["serve", "s"], HELP, Replacement::Build),
    row("react-scripts", &["start"], HELP, Replacement::Build),
    row("react-app-rewired", &["start"], HELP, Replacement::Build),
    row("craco", &["start"], HELP, Replacement::Build),
    row("vue-cli-service", &["serve"], HELP, Replacement::Build),
    row("webpack", &["serve", "--watch", "-w", "watch", "--serve"], HELP, Replacement::Build),
    row("webpack-cli", &["serve", "--watch", "-w", "watch"], HELP, Replacement::Build),
    row("webpack-dev-server", &[], HELP, Replacement::Build),
    row("rspack", &["serve", "dev"], HELP, Replacement::Build),
    row("rsbuild", &["dev"], HELP, Replacement::Build),
    row("parcel", &[], BUILDS, Replacement::Build),
    row("snowpack", &["dev"], HELP, Replacement::Build),
    row("rollup", WATCH, HELP, Replacement::Build),
    row("esbuild", &["--watch", "--serve", "--servedir"], HELP, Replacement::Build),
    row("tsc", WATCH, HELP, Replacement::Build),
    row("sass", &["--watch"], HELP, Replacement::Build),
    row("tailwindcss", WATCH, HELP, Replacement::Build),
    row("gatsby", &["develop"], HELP, Replacement::Build),
    row("astro", &["dev"], HELP, Replacement::Build),
    row("docusaurus", &["start"], HELP, Replacement::Build),
    row("vitepress", &["dev"], HELP, Replacement::Build),
    row("vuepress", &["dev"], HELP, Replacement::Build),
    row("eleventy", &["--serve", "--watch"], HELP, Replacement::Build),
    row("ember", &["serve", "server", "s"], HELP, Replacement::Build),
    row("quasar", &["dev"], HELP, Replacement::Build),
    row("ionic", &["serve"], HELP, Replacement::Build),
    row("expo", &["start"], HELP, Replacement::Build),
    row("storybook", &["dev"], HELP, Replacement::Build),
    row("start-storybook", &[], HELP, Replacement::Build),
    row("live-server", &[], HELP, Replacement::Build),
    row("lite-server", &[], HELP, Replacement::Build),
    row("browser-sync", &["start"], HELP, Replacement::Build),
    row("next", &["dev"], HELP, Replacement::Run("next start -p $PORT")),
    row("nuxt", &["dev"], HELP, Replacement::Run("node .output/server/index.mjs")),
    row("nuxi", &["dev"], HELP, Replacement::Run("node .output/server/index.mjs")),
    row("remix", &["dev", "vite:dev"], HELP, Replacement::Run("remix-serve build/server/index.js")),
    row("react-router", &["dev"], HELP, Replacement::Run("react-router-serve build/server/index.js")),
    row("nest", WATCH, HELP, Replacement::Run("node dist/main.js")),
    row("nodemon", &[], HELP, Replacement::Plain),
    row("node", &["--watch", "--watch-path"], HELP, Replacement::Plain),
    row("bun", &["--watch", "--hot"], HELP, Replacement::Plain),
    row("tsx", &["watch", "--watch"], HELP, Replacement::Plain),
    row("ts-node-dev", &[], HELP, Replacement::Plain),
    row("tsnd", &[], HELP, Replacement::Plain),
];

/// The commands of a line, each as its words; also those that a program such as `concurrently` gets in quotes.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), String::new());
    // The value is the sign that opened the quote, and the length of the word then.
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some((open, start)), c) if c == open => {
                quote = None;
                let quoted = &word[start..];
                if quoted.contains(char::is_whitespace) {
                    commands.extend(self::commands(quoted));
                }
            }
            (None, '"' | '\'') => quote = Some((c, word.len())),
            (None, ';' | '&' | '|' | '\n' | '(' | ')') => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
                commands.push(std::mem::take(&mut words));
            }
            (None, c) if c.is_whitespace() => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
            }
            (_, c) => word.push(c),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    commands.push(words);
    commands
}

/// The words from the program on, without those that only set it up: variables, `npx`, `cross-env`, `node` before a
/// script of a package.
fn bare(words: &[String]) -> &[String] {
    let mut rest = words;
    while let [first, behind @ ..] = rest {
        let assignment = first.split_once('=').is_some_and(|(name, _)| is_name(name));
        let wrapped = WRAPPERS.contains(&program(first))
            || (program(first) == "node"
                && behind.first().is_some_and(|next| next.contains("node_modules/")))
            || (RUNNERS.contains(&program(first))
                && matches!(behind.first().map(String::as_str), Some("exec" | "dlx" | "x")));
        let set_up =
            rest.len() < words.len() && (first.starts_with('-') || matches!(&**first, "exec" | "dlx" | "x"));
        if !assignment && !wrapped && !set_up {
            break;
        }
        rest = behind;
    }
    rest
}

/// The other script that a command runs: `npm run dev`, `yarn dev`.
fn script(words: &[String]) -> Option<&str> {
    let (first, rest) = words.split_first()?;
    let mut rest = rest.iter().map(String::as_str).filter(|word| !word.starts_with('-'));
    match (program(first), rest.next()?) {
        ("npm" | "pnpm" | "yarn" | "bun", "run" | "run-script") => rest.next(),
        ("npm" | "pnpm" | "yarn", word) => Some(word),
        ("run-p" | "run-s" | "npm-run-all", word) => Some(word),
        _ => None,
    }
}

/// The name of a program: `./node_modules/vite/bin/vite.js` is `vite`.
fn program(word: &str) -> &str {
    let name = word.rsplit('/').next().unwrap_or(word);
    let name =
        [".js", ".cjs", ".mjs", ".cmd"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    if name.starts_with("@11ty") { "eleventy" } else { name }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

const WRAPPERS: [&str; 11] = [
    "npx",
    "bunx",
    "cross-env",
    "cross-env-shell",
    "env",
    "dotenv",
    "exec",
    "time",
    "pnpx",
    "env-cmd",
    "dotenvx",
];
const RUNNERS: [&str; 4] = ["npm", "pnpm", "yarn", "bun"];
/// The most scripts of an app that are looked at, and so the deepest that one may be within others.
const MOST_SCRIPTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_servers_are_told_from_what_serves_and_builds() {
        let scripts =
            [("dev", "vite --host"), ("build", "vite build"), ("a", "npm run b"), ("b", "npm run a")];
        let scripts = scripts.map(|(name, line)| (name.to_owned(), line.to_owned())).into();
        let table = [
            ("ng serve --port 4200", Some("ng serve")),
            ("react-scripts start", Some("react-scripts start")),
            ("webpack --watch", Some("webpack --watch")),
            ("webpack --mode production --watch", Some("webpack --watch")),
            ("yarn vite", Some("vite")),
            ("NODE_ENV=development webpack serve", Some("webpack serve")),
            ("cross-env A=b npx vite", Some("vite")),
            ("vite --port $PORT", Some("vite")),
            ("vite build && vite preview --port $PORT", None),
            ("node ./node_modules/vite/bin/vite.js dev", Some("vite")),
            ("vite dev", Some("vite")),
            ("node_modules/.bin/next dev -p 3000", Some("next dev")),
            ("next start -p $PORT", None),
            ("next build && next start", None),
            ("nodemon server.js", Some("nodemon")),
            ("nodemon --exec 'ts-node src/index.ts'", Some("nodemon")),
            ("node --watch server.js", Some("node --watch")),
            ("node server.js", None),
            ("node --env-file=.env server.js", None),
            ("tsc && node dist/index.js", None),
            ("tsc -w & node dist/index.js", Some("tsc -w")),
            ("npm run dev", Some("vite")),
            ("yarn dev", Some("vite")),
            ("pnpm run dev -- --port 3", Some("vite")),
            ("npm run build && node server.js", None),
            ("npm run a", None),
            ("concurrently \"npm run dev\" 'node api.js'", Some("vite")),
            ("x --command=\"npm run dev\"", Some("vite")),
            ("concurrently -k \"tsc -w\" \"nodemon dist/x.js\"", Some("tsc -w")),
            ("yarn exec webpack-dev-server", Some("webpack-dev-server")),
            ("serve -s build", None),
            ("gunicorn vite:app", None),
            ("", None),
        ];
        for (line, expected) in table {
            let found = development(line, &scripts).map(|found| found.words);
            assert_eq!(found.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn scripts_that_run_one_another_are_looked_at_once_each() {
        let all = "npm run a & npm run b & npm run c & npm run d & npm run e & npm run f";
        let mut scripts: BTreeMap<_, _> =
            ["a", "b", "c", "d", "e"].map(|name| (name.into(), all.into())).into();
        assert_eq!(development(all, &scripts), None);
        scripts.insert("f".into(), "npx vite".into());
        assert_eq!(development(all, &scripts).map(|found| found.words).as_deref(), Some("vite"));
        let chain = (0..100_000).map(|at| (format!("s{at}"), format!("npm run s{}", at + 1)));
        assert_eq!(development("npm run s0", &chain.collect()), None);
    }
}
