//! Owns what may come next on a command line of either program: names of instances, and what a running server knows,
//! its hosts and apps. The scripts of `completions` ask for it by the word `complete`.
//!
//! Never here: verbs and flags, which the scripts have in them; starting a server by looking at it; a message, as it
//! would stand in the middle of what somebody is typing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::api::Registry;
use crate::name::InstanceName;

use super::client::{Call, Client, understood};
use super::find::{Places, name_of};
use super::screen::Screen;
use super::trouble::Exit;

/// Prints the candidates, a line each: none where the script knows better. The words are the program's name, `--`, and
/// what is typed so far, the last word half.
pub(super) fn print(words: &[OsString], places: &Places) -> Exit {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let typed = words.iter().position(|word| word == "--").map_or(&words[..], |at| &words[at + 1..]);
    let line = Line::read(typed);
    let found = match line.wants {
        Wanted::Nothing => BTreeSet::new(),
        Wanted::Instance => instances(places),
        Wanted::Count => COUNTS.map(String::from).into(),
        Wanted::Host | Wanted::App | Wanted::AppOrCount => {
            let registry = registries(&line, places);
            let entries = registry.iter().flat_map(|registry| &registry.entries);
            let mut names: BTreeSet<String> = match line.wants {
                Wanted::Host => entries.map(|entry| entry.host.to_string()).collect(),
                _ => entries.map(|entry| entry.app.to_string()).collect(),
            };
            if line.wants == Wanted::AppOrCount {
                names.extend(COUNTS.map(String::from));
            }
            names
        }
    };
    let mut screen = Screen::of_process(anstream::ColorChoice::Never);
    for name in found.iter().filter(|name| name.starts_with(&line.half)) {
        screen.data(format!("{}{name}\n", line.before).as_bytes());
    }
    // A shell that has seen enough is no failure.
    screen.finish().map_or(Exit::Failed, |()| Exit::Ok)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Nothing,
    Instance,
    Host,
    App,
    AppOrCount,
    Count,
}

/// What is typed so far.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    wants: Wanted,
    /// What the candidates begin with.
    half: String,
    /// What stands before them in the same word: `--instance=`.
    before: String,
    instance: Option<String>,
    socket: Option<PathBuf>,
}

impl Line {
    fn read(typed: &[String]) -> Self {
        let mut line = Self {
            wants: Wanted::Nothing,
            half: String::new(),
            before: String::new(),
            instance: None,
            socket: None,
        };
        let Some((half, whole)) = typed.split_last() else { return line };
        let mut verb: Option<&str> = None;
        let mut positions = 0;
        let mut flag: Option<String> = None;
        for word in whole {
            // bash makes three words of `--flag=value`.
            if word == "=" {
                continue;
            }
            if let Some(flag) = flag.take() {
                line.note(&flag, word);
            } else if let Some((name, value)) = word.split_once('=').filter(|_| word.starts_with("--")) {
                line.note(name, value);
            } else if word.starts_with('-') {
                flag = VALUED.contains(&&**word).then(|| word.clone());
            } else if verb.is_some() {
                positions += 1;
            } else if !word.contains('/') {
                verb = Some(word);
            }
        }
        line.half = if half == "=" { String::new() } else { half.clone() };
        line.wants = match (flag.as_deref(), verb) {
            (Some("--instance"), _) => Wanted::Instance,
            (Some(_), _) => Wanted::Nothing,
            (None, _) if half.starts_with("--instance=") => {
                line.before = "--instance=".into();
                line.half = half["--instance=".len()..].into();
                Wanted::Instance
            }
            (None, _) if half.starts_with('-') => Wanted::Nothing,
            (None, Some(verb)) => wanted(verb, positions),
            (None, None) => Wanted::Nothing,
        };
        line
    }

    fn note(&mut self, flag: &str, value: &str) {
        match flag {
            "--instance" => self.instance = Some(value.into()),
            "--socket" => self.socket = Some(value.into()),
            _ => {}
        }
    }
}

fn wanted(verb: &str, position: usize) -> Wanted {
    match (verb, position) {
        ("remove" | "pause" | "resume" | "maintenance", 0) => Wanted::Host,
        ("deploy" | "logs", 0) => Wanted::App,
        ("scale", 0) => Wanted::AppOrCount,
        ("scale", 1) => Wanted::Count,
        _ => Wanted::Nothing,
    }
}

/// Those that have a socket, whether they run or not, and those that have a config file.
fn instances(places: &Places) -> BTreeSet<String> {
    let sockets = places.all();
    let running = sockets.iter().filter_map(|socket| name_of(socket));
    let files = std::fs::read_dir(CONFIGS).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "toml"));
    let configured = files.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()));
    running.chain(configured).filter(|name| InstanceName::parse(name).is_ok()).collect()
}

/// What the servers that are meant know; those that do not answer at once know nothing.
fn registries(line: &Line, places: &Places) -> Vec<Registry> {
    let sockets: BTreeSet<PathBuf> = match (&line.socket, &line.instance) {
        (Some(socket), _) => [socket.clone()].into(),
        (None, Some(name)) => {
            InstanceName::parse(name).map(|name| places.of_instance(&name)).unwrap_or_default()
        }
        (None, None) => places.all(),
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return vec![];
    };
    let answers = sockets.into_iter().take(MOST).filter(|socket| !sleeps(socket)).filter_map(|socket| {
        let client = Client::new(socket, PATIENCE);
        let answer = runtime.block_on(client.call(Call::get("/registry"))).ok()?;
        understood(&answer).ok()
    });
    answers.collect()
}

/// Whether systemd listens for a server that does not run: it would be started by the connection.
fn sleeps(socket: &Path) -> bool {
    if !Path::new("/run/systemd/system").exists() {
        return false;
    }
    let Some(name) = name_of(socket) else { return false };
    let units = [format!("rip-server-control@{name}.socket"), format!("rip-server@{name}.service")];
    let mut systemctl = Command::new("systemctl");
    if !socket.starts_with("/run/rip-server") {
        systemctl.arg("--user");
    }
    let shown = systemctl.args(["show", "--property=ActiveState", "--value"]).args(units).output();
    let Ok(shown) = shown else { return false };
    let text = String::from_utf8_lossy(&shown.stdout);
    let states: Vec<&str> = text.split_whitespace().collect();
    matches!(states[..], ["active", "inactive" | "failed"])
}

const COUNTS: [&str; 4] = ["half", "auto", "2x", "3x"];
const CONFIGS: &str = "/etc/rip-server";
/// Flags whose value stands in a word of its own.
const VALUED: [&str; 11] = [
    "--instance",
    "--socket",
    "--timeout",
    "--color",
    "--lines",
    "-n",
    "--page",
    "--app",
    "--config",
    "--runtime-dir",
    "--state-dir",
];
/// Whoever types does not wait longer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Servers that are asked.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Line {
        Line::read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_wanted_follows_from_what_stands_before() {
        for (words, wants, half) in [
            (&[""][..], Wanted::Nothing, ""),
            (&["--instance", ""], Wanted::Instance, ""),
            (&["--instance", "la"], Wanted::Instance, "la"),
            (&["--instance", "=", "la"], Wanted::Instance, "la"),
            (&["--instance", "="], Wanted::Instance, ""),
            (&["--instance=la"], Wanted::Instance, "la"),
            (&["status", "--instance", "la"], Wanted::Instance, "la"),
            (&["remove", "a."], Wanted::Host, "a."),
            (&["--json", "--timeout", "3", "pause", ""], Wanted::Host, ""),
            (&["remove", "a.example", ""], Wanted::Nothing, ""),
            (&["deploy", ""], Wanted::App, ""),
            (&["logs", "-n", "5", ""], Wanted::App, ""),
            (&["logs", "-n", ""], Wanted::Nothing, ""),
            (&["logs", "-"], Wanted::Nothing, "-"),
            (&["scale", ""], Wanted::AppOrCount, ""),
            (&["scale", "blog", ""], Wanted::Count, ""),
            (&["./blog", "deploy", ""], Wanted::App, ""),
            (&["maintenance", "--page", ""], Wanted::Nothing, ""),
        ] {
            let line = read(words);
            assert_eq!((line.wants, line.half.as_str()), (wants, half), "{words:?}");
        }
        assert_eq!(read(&["--instance=la"]).before, "--instance=");
        assert_eq!(read(&["--instance", "=", "la", "remove", ""]).instance.as_deref(), Some("la"));
        assert_eq!(read(&["--socket=/s", "remove", ""]).socket, Some("/s".into()));
    }
}
