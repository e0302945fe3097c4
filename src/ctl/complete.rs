//! Owns the candidates for the next word on a command line of either program: names of instances, and the hosts and
//! apps of a running server. The scripts of `completions` ask for them with the word `complete`.
//!
//! Never here: verbs and flags, which the scripts have in them; starting a server by looking at it; a message, as it
//! would stand in the middle of what somebody is typing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Command, CommandFactory};

use crate::api::{HostList, endpoints};
use crate::name::InstanceName;

use super::args::CtlArgs;
use super::client::ControlClient;
use super::error::Exit;
use super::find::{SocketPlaces, name_of};
use super::screen::Screen;
use super::stopped_server;

/// Prints the candidates, a line each; none where the script has better ones. `words` are the program's name, `--`, and
/// the words typed so far, the last one incomplete.
pub(super) fn print(words: &[OsString], places: &SocketPlaces) -> Exit {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let typed = words.iter().position(|word| word == "--").map_or(&words[..], |at| &words[at + 1..]);
    let line = TypedLine::read(typed);
    let found = match line.wants {
        CandidateKind::Nothing => BTreeSet::new(),
        CandidateKind::Instance => instances(places),
        CandidateKind::Count => COUNTS.map(String::from).into(),
        CandidateKind::Host | CandidateKind::App | CandidateKind::AppOrCount => {
            let registry = registries(&line, places);
            let entries = registry.iter().flat_map(|registry| &registry.entries);
            let mut names: BTreeSet<String> = match line.wants {
                CandidateKind::Host => entries.map(|entry| entry.host.to_string()).collect(),
                _ => entries.map(|entry| entry.app.to_string()).collect(),
            };
            if line.wants == CandidateKind::AppOrCount {
                names.extend(COUNTS.map(String::from));
            }
            names
        }
    };
    let mut screen = Screen::of_process(anstream::ColorChoice::Never);
    for name in found.iter().filter(|name| name.starts_with(&line.half)) {
        screen.data(format!("{}{name}\n", line.before).as_bytes());
    }
    // A shell that closes the pipe early is no failure.
    screen.finish().map_or(Exit::Failed, |()| Exit::Ok)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CandidateKind {
    Nothing,
    Instance,
    Host,
    App,
    AppOrCount,
    Count,
}

/// The words typed so far.
#[derive(Debug, PartialEq, Eq)]
struct TypedLine {
    wants: CandidateKind,
    /// The beginning of the last word, which the candidates complete.
    half: String,
    /// The text before the candidates in the same word: `--instance=`.
    before: String,
    instance: Option<String>,
    socket: Option<PathBuf>,
}

impl TypedLine {
    fn read(typed: &[String]) -> Self {
        let mut line = Self {
            wants: CandidateKind::Nothing,
            half: String::new(),
            before: String::new(),
            instance: None,
            socket: None,
        };
        let Some((half, whole)) = typed.split_last() else { return line };
        let program = CtlArgs::command();
        // The verb, or the verb of a verb, that the words have led to.
        let mut at = &program;
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
                flag = takes_value(&program, word).then(|| word.clone());
            } else if let Some(verb) = at.find_subcommand(word) {
                at = verb;
            } else if !word.contains('/') || at.get_name() != program.get_name() {
                positions += 1;
            }
        }
        line.half = if half == "=" { String::new() } else { half.clone() };
        line.wants = match flag.as_deref() {
            Some("--instance") => CandidateKind::Instance,
            Some(_) => CandidateKind::Nothing,
            None if half.starts_with("--instance=") => {
                line.before = "--instance=".into();
                line.half = half["--instance=".len()..].into();
                CandidateKind::Instance
            }
            None if half.starts_with('-') => CandidateKind::Nothing,
            None => candidates(at, positions),
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

/// The kind of thing that the word of a verb at this position names.
fn candidates(verb: &Command, position: usize) -> CandidateKind {
    let kind = |arg: &Arg| match arg.get_id().as_str() {
        "host" => CandidateKind::Host,
        "app" => CandidateKind::App,
        "count" => CandidateKind::Count,
        _ => CandidateKind::Nothing,
    };
    let mut words = verb.get_positionals().skip(position).map(kind);
    match (words.next(), words.next()) {
        // The app may be left out.
        (Some(CandidateKind::App), Some(CandidateKind::Count)) => CandidateKind::AppOrCount,
        (first, _) => first.unwrap_or(CandidateKind::Nothing),
    }
}

/// Whether the value of a flag of either program may stand in a word of its own.
fn takes_value(program: &Command, flag: &str) -> bool {
    let is_it = |arg: &Arg| match flag.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => {
            arg.get_short().is_some_and(|short| flag.strip_prefix('-') == Some(short.to_string().as_str()))
        }
    };
    SERVER_FLAGS.contains(&flag)
        || program.get_arguments().any(|arg| is_it(arg) && arg.get_action().takes_values())
        || program.get_subcommands().any(|verb| takes_value(verb, flag))
}

/// The instances that have a socket, whether they run or not, and those that have a config file.
fn instances(places: &SocketPlaces) -> BTreeSet<String> {
    let sockets = places.all();
    let running = sockets.iter().filter_map(|socket| name_of(socket));
    let files = std::fs::read_dir(CONFIGS).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "toml"));
    let configured = files.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()));
    running.chain(configured).filter(|name| InstanceName::parse(name).is_ok()).collect()
}

/// The registries of the servers that are meant; those that do not answer at once are left out.
fn registries(line: &TypedLine, places: &SocketPlaces) -> Vec<HostList> {
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
    let sockets: Vec<PathBuf> = sockets.into_iter().take(MAX_SERVERS).collect();
    // A connection would start the server.
    let asleep = stopped_server::behind(&sockets);
    let awake = sockets.into_iter().filter(|socket| !asleep.contains_key(socket));
    let answers = awake.filter_map(|socket| {
        let client = ControlClient::new(socket, ANSWER_TIMEOUT);
        runtime.block_on(client.call(&endpoints::LIST_HOSTS, &())).ok()?.read().ok()
    });
    answers.collect()
}

const COUNTS: [&str; 4] = ["half", "auto", "2x", "3x"];
const CONFIGS: &str = "/etc/rip-server";
/// Flags with a value that only `rip-server` knows.
const SERVER_FLAGS: [&str; 3] = ["--config", "--runtime-dir", "--state-dir"];
/// The time limit for an answer: a person who types does not wait longer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// The most servers that are asked.
const MAX_SERVERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> TypedLine {
        TypedLine::read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_wanted_follows_from_what_stands_before() {
        for (words, wants, half) in [
            (&[""][..], CandidateKind::Nothing, ""),
            (&["--instance", ""], CandidateKind::Instance, ""),
            (&["--instance", "la"], CandidateKind::Instance, "la"),
            (&["--instance", "=", "la"], CandidateKind::Instance, "la"),
            (&["--instance", "="], CandidateKind::Instance, ""),
            (&["--instance=la"], CandidateKind::Instance, "la"),
            (&["status", "--instance", "la"], CandidateKind::Instance, "la"),
            (&["remove", "a."], CandidateKind::Host, "a."),
            (&["--json", "--timeout", "3", "pause", ""], CandidateKind::Host, ""),
            (&["remove", "a.example", ""], CandidateKind::Nothing, ""),
            (&["deploy", ""], CandidateKind::App, ""),
            (&["logs", "-n", "5", ""], CandidateKind::App, ""),
            (&["logs", "-n", ""], CandidateKind::Nothing, ""),
            (&["logs", "-"], CandidateKind::Nothing, "-"),
            (&["scale", ""], CandidateKind::AppOrCount, ""),
            (&["scale", "blog", ""], CandidateKind::Count, ""),
            (&["./blog", "deploy", ""], CandidateKind::App, ""),
            (&["maintenance", "--page", ""], CandidateKind::Nothing, ""),
        ] {
            let line = read(words);
            assert_eq!((line.wants, line.half.as_str()), (wants, half), "{words:?}");
        }
        assert_eq!(read(&["--instance=la"]).before, "--instance=");
        assert_eq!(read(&["--instance", "=", "la", "remove", ""]).instance.as_deref(), Some("la"));
        assert_eq!(read(&["--socket=/s", "remove", ""]).socket, Some("/s".into()));
    }
}
