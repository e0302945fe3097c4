//! The rooms of the house: within a folder nothing imports in a circle, and no folder is larger than a reader takes in.
//!
//! `layers` holds which folder may import which other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module by its path below the crate: `["config", "words", "tokens"]`.
type Module = Vec<String>;

#[test]
fn no_files_or_folders_that_stand_beside_each_other_import_in_a_circle() {
    let modules = modules();
    let mut imports: BTreeMap<(Module, Module), BTreeSet<Module>> = BTreeMap::new();
    for (module, text) in &modules {
        for target in targets(module, text, &modules) {
            let common = module.iter().zip(&target).take_while(|(one, other)| one == other).count();
            // A folder's own file names what is in the folder, and is named by it: that is no neighbour.
            if common < module.len() && common < target.len() {
                let (from, to) = (module[..=common].to_vec(), target[..=common].to_vec());
                imports.entry((module[..common].to_vec(), from)).or_default().insert(to);
            }
        }
    }
    let mut circles = Vec::new();
    for (folder, from) in imports.keys() {
        if let Some(way) = way_back(from, |at| imports.get(&(folder.clone(), at.clone()))) {
            circles.push(way.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(" → "));
        }
    }
    assert_eq!(circles, Vec::<String>::new());
}

#[test]
fn no_folder_has_more_files_than_a_reader_takes_in() {
    let mut sizes: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for file in files(&src()) {
        *sizes.entry(file.parent().unwrap().to_owned()).or_default() += 1;
    }
    // The crate's own folder has the table of floors in its place (`layers`).
    sizes.remove(&src());
    sizes.retain(|_, files| *files > MOST_FILES);
    assert_eq!(sizes, BTreeMap::new(), "more than {MOST_FILES} files");
}

#[test]
fn the_map_names_only_files_and_folders_that_are_there() {
    let map = fs::read_to_string(src().join("README.md")).unwrap();
    let all: Vec<String> = files(&src()).iter().map(|file| file.display().to_string()).collect();
    let named: Vec<&str> = map.split('`').skip(1).step_by(2).filter(|word| word.contains('/')).collect();
    assert!(named.len() > 40, "{named:?}");
    let there = |name: &str| {
        let name = format!("/{name}");
        all.iter().any(|file| file.ends_with(&name) || file.contains(&format!("{name}/")))
    };
    // `FILE.rs: Item` names something in it.
    let named = named.into_iter().map(|name| name.split(": ").next().unwrap_or(name).trim());
    let wrong: Vec<&str> = named.filter(|name| !name.starts_with("tests/") && !there(name)).collect();
    assert_eq!(wrong, Vec::<&str>::new());
}

#[test]
fn a_type_name_stands_for_one_thing() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (module, text) in modules() {
        for name in text.lines().filter_map(declared) {
            places.entry(name.to_owned()).or_default().push(module.join("::"));
        }
    }
    assert!(places.len() > 400, "{places:?}");
    places.retain(|name, modules| modules.len() > 1 && !TWO_THINGS.contains(&name.as_str()));
    assert_eq!(places, BTreeMap::new(), "types of one name: say which one is meant");
}

/// The type that a line declares; those within functions and traits, which are indented, are known where they stand.
fn declared(line: &str) -> Option<&str> {
    let item = match line.strip_prefix("pub(") {
        Some(rest) => rest.split_once(") ")?.1,
        None => line.strip_prefix("pub ").unwrap_or(line),
    };
    let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
    let rest = kinds.iter().find_map(|kind| item.strip_prefix(kind))?;
    rest.split(|letter: char| !letter.is_alphanumeric()).next()
}

/// The shortest way from a module over others back to itself.
fn way_back<'a>(
    from: &Module,
    next: impl Fn(&Module) -> Option<&'a BTreeSet<Module>>,
) -> Option<Vec<Module>> {
    let mut ways = vec![vec![from.clone()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for target in next(way.last()?).into_iter().flatten() {
                let way = [&way[..], std::slice::from_ref(target)].concat();
                if target == from {
                    return Some(way);
                }
                if seen.insert(target.clone()) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

/// The modules that a file's code names, tests aside.
fn targets(module: &Module, text: &str, modules: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let mut targets = BTreeSet::new();
    for path in paths(text) {
        let mut steps: &[String] = &path;
        let mut at: Module = match steps.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => module.clone(),
            _ => continue,
        };
        while let Some((step, rest)) = steps.split_first().filter(|(step, _)| is_relative(step)) {
            if step == "super" {
                at.pop();
            }
            steps = rest;
        }
        for step in steps {
            at.push(step.clone());
            if !modules.contains_key(&at) {
                at.pop();
                break;
            }
        }
        targets.insert(at);
    }
    targets.remove(module);
    targets
}

fn is_relative(step: &str) -> bool {
    matches!(step, "crate" | "self" | "super")
}

/// Every path that begins with `crate`, `self` or `super`, groups written out: `super::{a, b::{c, d}}` is four.
fn paths(text: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    for start in ["crate::", "self::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let before = text[..at].chars().next_back();
            if before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_' && letter != ':') {
                spread(&text[at..], &mut Vec::new(), &mut paths);
            }
        }
    }
    paths
}

/// Adds the paths at the beginning of `text`, behind `so_far`; returns what follows them.
fn spread<'a>(text: &'a str, so_far: &mut Module, paths: &mut Vec<Module>) -> &'a str {
    let depth = so_far.len();
    let mut rest = text.trim_start();
    loop {
        if let Some(mut group) = rest.strip_prefix('{') {
            loop {
                group = spread(group, so_far, paths).trim_start();
                match group.split_at_checked(1) {
                    Some((",", after)) => group = after,
                    Some(("}", after)) => {
                        rest = after;
                        break;
                    }
                    _ => {
                        rest = "";
                        break;
                    }
                }
            }
            break;
        }
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
        so_far.push(rest[..end].to_owned());
        match rest[end..].strip_prefix("::") {
            Some(more) => rest = more,
            None => {
                paths.push(so_far.clone());
                rest = &rest[end..];
                // The name that an import gets by `as`.
                rest = rest
                    .strip_prefix(" as ")
                    .map_or(rest, |name| name.trim_start_matches(char::is_alphanumeric));
                break;
            }
        }
    }
    so_far.truncate(depth);
    rest
}

/// The code of each module: without comments and tests.
fn modules() -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    for file in files(&src()) {
        let below = file.strip_prefix(src()).unwrap().with_extension("");
        let mut module: Module = below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if module.iter().any(|part| matches!(part.as_str(), "tests" | "testing" | "bin")) {
            continue;
        }
        if module.last().is_some_and(|name| matches!(name.as_str(), "mod" | "lib" | "main")) {
            module.pop();
        }
        let text = fs::read_to_string(&file).unwrap();
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let tests =
            code.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].ends_with("mod tests {"));
        modules.insert(module, code[..tests.unwrap_or(code.len())].join("\n"));
    }
    modules
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|suffix| suffix == "rs") {
            found.push(path);
        }
    }
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn paths_in_groups_are_written_out() {
    let text = "use super::{a::{B, c::D as E}, f}; let x = crate::g::H::new(self::i());";
    let found: BTreeSet<String> = paths(text).iter().map(|path| path.join("::")).collect();
    let expected = ["super::a::B", "super::a::c::D", "super::f", "crate::g::H::new", "self::i"];
    assert_eq!(found, expected.map(String::from).into());
}

const MOST_FILES: usize = 20;

/// Names in `agent` and `boot` that also stand for something in another room: a host's certificate as the agent follows
/// it, the authorities that it asks, and the certificates that the control socket shows.
const TWO_THINGS: [&str; 3] = ["Authorities", "Certificates", "HostState"];
