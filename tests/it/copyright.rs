//! The package's copyright file names the crates that are linked into the programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn debian_copyright_names_the_crates_that_are_linked_and_no_others() {
    let linked: BTreeSet<String> = cargo_tree().into_iter().collect();
    let text = fs::read_to_string(root().join("debian/copyright")).unwrap();
    let patterns = text.lines().filter_map(|line| line.trim().strip_prefix("*/")?.strip_suffix("/*"));
    let named: BTreeSet<String> = patterns.filter(|name| *name != "library").map(str::to_owned).collect();
    assert_eq!(named, linked, "run debian/update-copyright");
    for license in text.lines().filter_map(|line| line.strip_prefix("License: ")) {
        for name in license.split(" and ").flat_map(|part| part.trim_end_matches(',').split(" or ")) {
            assert!(text.contains(&format!("\nLicense: {name}\n ")), "the text of {name} is missing");
        }
    }
}

#[test]
fn debian_copyright_is_as_its_tool_writes_it_from_the_crates() {
    let checked = Command::new(root().join("debian/update-copyright")).arg("--check").output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
}

/// The crates that are neither for the build alone nor macros, as `NAME-VERSION`.
fn cargo_tree() -> Vec<String> {
    let words = ["tree", "--offline", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none"];
    let of = ["--target", "x86_64-unknown-linux-gnu", "--format", "{p}"];
    let tree = Command::new(env!("CARGO")).args(words).args(of).current_dir(root()).output().unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let packages = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        // Our own is where the sources are.
        let own = words.next().is_some_and(|place| place.starts_with("(/"));
        (!own).then(|| format!("{name}-{version}"))
    });
    let found: Vec<String> = packages.collect();
    assert!(found.len() > 50, "{text}");
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
