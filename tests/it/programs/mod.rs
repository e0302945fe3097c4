//! Real programs, as people install them: what they answer, where their links lead, and that deploys lose nothing.

mod django;
mod rails;
mod shared_host;
mod symfony;
mod webdav;

use std::fs;
use std::path::Path;

use crate::support::Reply;
use crate::support::skip;

/// Whether a package's file is there; says that the test is skipped when not.
fn installed(file: &str, packages: &str) -> bool {
    let there = Path::new(file).is_file();
    if !there {
        skip(&format!("{file} is not there: apt install {packages}"));
    }
    there
}

/// Copies a sample of `tests/apps`.
fn copy(sample: &str, to: &Path) {
    let from = Path::new("tests/apps").join(sample);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").args([&*from, to]).status().unwrap();
    assert!(copied.success());
}

/// The text of an answer between two others.
#[track_caller]
fn between<'a>(reply: &'a Reply, begin: &str, end: &str) -> &'a str {
    let text = reply.text();
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("no {begin} in {text}"));
    rest.split_once(end).unwrap().0
}
