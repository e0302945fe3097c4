//! The house itself: who may import whom, how big a file may be, and what may stand in none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn modules_import_only_from_floors_below_their_own() {
    let floors = floors();
    let mut wrong = Vec::new();
    for file in sources() {
        let Some(module) = file.module() else { continue };
        let own = floors.get(&module).unwrap_or_else(|| panic!("{module} is not in the table of src/lib.rs"));
        for (line, import) in file.imports() {
            let Some(floor) = floors.get(&import) else {
                wrong.push(format!("{}:{line}: `{import}` is not in the table of src/lib.rs", file.name));
                continue;
            };
            let allowed = import == module || floor < own || BESIDE.contains(&(&*module, &*import));
            if !allowed {
                wrong.push(format!(
                    "{}:{line}: {module} (floor {own}) imports {import} (floor {floor})",
                    file.name
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_table_of_floors_names_every_module_and_no_other() {
    let named: BTreeSet<String> = floors().into_keys().collect();
    let there: BTreeSet<String> = sources().iter().filter_map(Source::module).collect();
    assert_eq!(named, there);
}

#[test]
fn only_boot_imports_the_data_path() {
    for file in sources() {
        let module = file.module();
        if matches!(module.as_deref(), Some("boot" | "acceptor")) {
            continue;
        }
        let import = file.imports().into_iter().find(|(_, import)| import == "acceptor");
        assert_eq!(import, None, "{}", file.name);
    }
}

#[test]
fn a_request_and_its_exchange_with_a_worker_know_no_protocol_library() {
    let rooms = ["acceptor/request/", "acceptor/exchange/"];
    let mut wrong = Vec::new();
    let mut read = 0;
    for file in sources().iter().filter(|file| rooms.iter().any(|room| file.name.starts_with(room))) {
        read += 1;
        let names_one = |line: &str| LIBRARIES.iter().any(|library| line.contains(library));
        let lines = file.code().filter(|(_, line)| names_one(line));
        wrong.extend(lines.map(|(number, line)| format!("{}:{number}: {}", file.name, line.trim())));
    }
    assert!(read > 10, "the rooms were not found");
    assert_eq!(wrong, Vec::<String>::new(), "a front protocol is a file of acceptor/downstream");
}

#[test]
fn no_module_climbs_out_of_itself_by_super() {
    for file in sources() {
        assert_eq!(
            file.escapes(),
            Vec::<String>::new(),
            "{}: say crate::x, so that the floor shows",
            file.name
        );
    }
}

#[test]
fn every_file_begins_by_saying_what_it_owns() {
    let silent: Vec<_> = sources().into_iter().filter(|file| !file.text.starts_with("//! ")).collect();
    assert_eq!(names(&silent), Vec::<&str>::new());
}

#[test]
fn no_file_is_longer_than_a_reader_holds_in_the_head() {
    let long: Vec<_> = sources()
        .iter()
        .map(|file| (file.name.clone(), file.code().filter(|(_, line)| !line.trim().is_empty()).count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .collect();
    assert_eq!(long, [], "lines of code without comments and tests, at most {LONGEST}");
}

#[test]
fn the_event_loops_of_the_data_path_have_no_timers_of_their_own() {
    let mut wrong = Vec::new();
    for file in sources() {
        let waits = ["time/heartbeat.rs", "time/lazy_deadline.rs"].contains(&&*file.name);
        if !waits && !matches!(file.module().as_deref(), Some("acceptor" | "pool")) {
            continue;
        }
        for (number, line) in file.code() {
            let uses = line.split("tokio::time").skip(1).all(names_no_timer);
            if !uses || line.contains("TokioTimer") {
                wrong.push(format!("{}:{number}: {}; see crate::time::timer", file.name, line.trim()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Whether the text behind `tokio::time` names only types, on the same line.
fn names_no_timer(rest: &str) -> bool {
    let Some(names) = rest.strip_prefix("::") else { return false };
    let end = if names.starts_with('{') {
        names.find('}')
    } else {
        names.find(|c: char| !c.is_alphanumeric() && c != '_').or(Some(names.len()))
    };
    let Some(end) = end else { return false };
    names[..end].trim_start_matches('{').split(", ").all(|name| TYPES_OF_TIME.contains(&name))
}

#[test]
fn nothing_is_left_to_be_done_later() {
    // Put together here, or this file would be found.
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()];
    let mut files = Vec::new();
    for folder in ["src", "tests", "packaging", "systemd", "debian"] {
        collect(&root().join(folder), &mut files);
    }
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for (number, line) in text.lines().enumerate() {
            let found = marks.iter().find(|mark| line.contains(*mark));
            assert_eq!(found, None, "{}:{}: {line}", file.display(), number + 1);
        }
    }
}

#[test]
fn one_library_does_the_cryptography() {
    assert!(tree_above("aws-lc-rs").contains("rustls"), "the tree can be read");
    // Cargo.lock names crates that no feature of ours turns on; the tree does not.
    assert_eq!(tree_above("ring"), "");
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for unwanted in ["openssl", "openssl-sys", "native-tls"] {
        assert!(!lock.contains(&format!("name = \"{unwanted}\"")), "{unwanted}");
    }
}

/// The crates that need a crate, down to this one.
fn tree_above(krate: &str) -> String {
    let words = ["tree", "--offline", "--locked", "--invert", krate];
    let tree = Command::new(env!("CARGO")).args(words).current_dir(root()).output().unwrap();
    String::from_utf8(tree.stdout).unwrap()
}

/// A file of `src/`.
struct Source {
    /// Below `src/`: `acceptor/http.rs`.
    name: String,
    text: String,
}

impl Source {
    /// The module right below the crate that the file belongs to; `None` for the crate itself and the programs.
    fn module(&self) -> Option<String> {
        // Where tests get their inputs from is no part of the house.
        if matches!(&*self.name, "lib.rs" | "main.rs" | "seeded.rs" | "generated.rs")
            || self.name.starts_with("bin/")
        {
            return None;
        }
        let first = self.name.split('/').next().unwrap_or_default();
        Some(first.trim_end_matches(".rs").to_owned())
    }

    /// Whether the file holds nothing but tests and what they need.
    fn is_of_tests(&self) -> bool {
        ["tests.rs", "testing.rs"].iter().any(|end| self.name.ends_with(end)) || self.name.contains("/tests/")
    }

    /// The lines that are neither comments nor in the tests at the end, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = if self.is_of_tests() { 0 } else { self.first_of_tests() };
        self.lines().take_while(move |(number, _)| *number < end)
    }

    /// The lines that are not comments, with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn first_of_tests(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let begins = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].ends_with("mod tests {");
        lines.windows(2).position(begins).map_or(usize::MAX, |at| at + 1)
    }

    /// The modules named after `crate::`, with their lines.
    fn imports(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (number, line) in self.lines() {
            for after in line.split("crate::").skip(1) {
                match after.strip_prefix('{') {
                    Some(group) => found.extend(in_group(group).map(|name| (number, name))),
                    None => found.push((number, word(after))),
                }
            }
        }
        found.retain(|(_, name)| !name.is_empty() && name != "seeded" && name != "generated");
        found
    }

    /// Lines whose `super::super::…` leads to the crate's root.
    fn escapes(&self) -> Vec<String> {
        let depth = match self.module() {
            None => 1,
            Some(_) => self.name.trim_end_matches("/mod.rs").matches('/').count() + 1,
        };
        // How far the modules within this file that a line is in are indented.
        let mut within: Vec<usize> = Vec::new();
        let mut escapes = Vec::new();
        for (number, line) in self.lines() {
            let indent = line.len() - line.trim_start().len();
            if line.trim() == "}" && within.last() == Some(&indent) {
                within.pop();
            }
            let climbed = (1..=8).rev().find(|times| line.contains(&"super::".repeat(*times)));
            if climbed.is_some_and(|times| times >= depth + within.len()) {
                escapes.push(format!("{number}: {}", line.trim()));
            }
            if line.ends_with('{') && line.split_whitespace().any(|word| word == "mod") {
                within.push(indent);
            }
        }
        escapes
    }
}

/// The first names of `{a::b, c::{d, e}, f}` on one line, less the opening brace.
fn in_group(group: &str) -> impl Iterator<Item = String> {
    let mut depth = 0;
    let split = group.split(move |letter| {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    });
    split.map(|part| word(part.trim())).collect::<Vec<_>>().into_iter()
}

fn word(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect()
}

/// Module → floor, as the table in the documentation of the crate says it.
fn floors() -> BTreeMap<String, u32> {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut floors = BTreeMap::new();
    for line in text.lines() {
        let Some(row) = line.strip_prefix("//! | ") else { continue };
        let Some(Ok(floor)) = row.split([' ', '|']).next().map(str::parse) else { continue };
        for module in row.split("[`").skip(1) {
            let twice = floors.insert(word(module), floor);
            assert_eq!(twice, None, "{} stands on two floors", word(module));
        }
    }
    assert!(floors.len() > 15, "the table was not found: {floors:?}");
    floors
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    assert!(files.len() > 30, "{files:?}");
    let read = |file: PathBuf| Source {
        name: file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned(),
        text: fs::read_to_string(file).unwrap(),
    };
    files.into_iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_symlink() || LEFT_OUT.contains(&name) {
            continue;
        }
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

fn names(files: &[Source]) -> Vec<&str> {
    files.iter().map(|file| &*file.name).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The libraries with which only the front protocols and the connections to workers are built.
const LIBRARIES: [&str; 4] = ["hyper::", "hyper_util::", "httparse::", "h2::"];
/// The modules that may import another one of their own floor: counters are labelled by names, a host leads to an app's
/// pool, and none of those reach back.
const BESIDE: [(&str, &str); 7] = [
    ("budget", "name"),
    ("metrics", "name"),
    ("metrics", "tasks"),
    ("metrics", "logging"),
    ("logging", "name"),
    ("logging", "system"),
    ("directory", "pool"),
];
/// The types of `tokio::time` that make no timer.
const TYPES_OF_TIME: [&str; 4] = ["Instant", "Sleep", "Interval", "MissedTickBehavior"];
const LONGEST: usize = 350;
/// The folders that builds and set-up make.
const LEFT_OUT: [&str; 4] = [".cache", "target", "corpus", "node_modules"];
