//! The fuzz targets: each has what every test run needs to feed it, and nothing is kept for a target that is gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_fuzz_target_has_seeds_and_a_dictionary_and_is_fed_by_the_tests() {
    let targets = targets();
    assert_eq!(names(&folder().join("fuzz_targets"), ".rs"), targets, "programs");
    assert_eq!(names(&folder().join("seeds"), ""), targets, "folders of seeds");
    let tests = sources(&root().join("src"));
    for target in &targets {
        let seeds = names(&folder().join("seeds").join(target), "");
        assert!(!seeds.is_empty(), "{target} has no seeds");
        assert!(
            folder().join("dictionaries").join(format!("{target}.dict")).is_file(),
            "{target} has no dictionary"
        );
        let program = fs::read_to_string(folder().join("fuzz_targets").join(format!("{target}.rs"))).unwrap();
        assert!(program.contains(&format!("rip_server::fuzzing::{target}(data)")), "{program}");
        assert!(tests.contains(&format!("feed_kept(\"{target}\", ")), "no test feeds {target}");
    }
}

#[test]
fn seeds_are_small() {
    let mut bytes = 0;
    for target in targets() {
        for entry in fs::read_dir(folder().join("seeds").join(&target)).unwrap() {
            let entry = entry.unwrap();
            let length = entry.metadata().unwrap().len();
            assert!(length <= 4096, "{target}/{}: {length} bytes", entry.file_name().display());
            bytes += length;
        }
    }
    assert!(bytes < 256 << 10, "{bytes} bytes in all");
}

/// The programs that cargo-fuzz knows.
fn targets() -> BTreeSet<String> {
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let programs = manifest.split("[[bin]]").skip(1);
    programs.map(|program| program.split('"').nth(1).unwrap().to_owned()).collect()
}

fn names(folder: &Path, ending: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    entries.map(|name| name.to_str().unwrap().strip_suffix(ending).unwrap().to_owned()).collect()
}

/// The text of all sources.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        text += &if path.is_dir() { sources(&path) } else { fs::read_to_string(&path).unwrap() };
    }
    text
}

fn folder() -> PathBuf {
    root().join("tests/fuzz")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
