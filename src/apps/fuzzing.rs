//! The parsers of what lies in an app's folder, each as a function of bytes that panics when one of its promises is
//! broken.
//!
//! Every test run calls the functions here with seeded inputs, and the targets of `tests/fuzz` call them for as long as
//! one likes. Never in a program that serves.

use std::path::Path;

use super::kinds::package::{Package, StartScript};
use super::kinds::python_target::{Module, PythonApp};
use super::kinds::{shell, source};

/// In a line of a `Procfile`, `exec` is put in at most once, and nothing else is changed.
pub fn shell_line(data: &[u8]) {
    let Ok(line) = std::str::from_utf8(data) else { return };
    let replaced = shell::replaced_by_last_command(line);
    let last = shell::last_command(line);
    assert!(line.ends_with(last));
    if replaced != line {
        let before = line.strip_suffix(last).unwrap_or_default();
        assert_eq!(replaced, format!("{before}exec {last}"));
    }
    assert_eq!(shell::replaced_by_last_command(&replaced), replaced, "{line:?}");
}

/// A `package.json` is started by one of its scripts, which is found in a time that no script can make long.
pub fn start_script(data: &[u8]) {
    let Ok(package) = serde_json::from_slice::<Package>(data) else { return };
    match package.start() {
        StartScript::Line(line) => assert!(package.scripts.values().any(|script| script == line)),
        StartScript::Development(line, found) => {
            assert_eq!(package.scripts.get("start").map(String::as_str), Some(line));
            assert!(!found.words.is_empty());
        }
        StartScript::Nothing => assert!(!package.scripts.contains_key("start")),
    }
}

/// Source text of any language gets no longer when it is made fit, and a line stays a line.
pub fn source_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(source::javascript(text).len() <= text.len() + 1);
    assert!(source::html(text).len() <= text.len());
    assert!(source::without_hash_lines(text).len() <= text.len() + 1);
    let lines = source::python_lines(text);
    assert!(lines.iter().all(|line| line.starts_with(|c: char| !c.is_whitespace())), "{lines:?}");
    assert!(source::scripts(text).len() <= text.len() / "<script".len());
    let module = Module::of(Path::new("/nonexistent/app.py"), Path::new("/nonexistent"));
    if let Some(target) = PythonApp::read(text, &module) {
        let name = target.object.trim_end_matches("()");
        assert!(!name.is_empty() && !name.contains(char::is_whitespace), "{target:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed_kept;

    const ROUNDS: usize = 20_000;

    #[test]
    fn shell_lines_keep_their_promises() {
        feed_kept("shell_line", ROUNDS, shell_line);
    }

    #[test]
    fn start_scripts_keep_their_promises() {
        feed_kept("start_script", ROUNDS, start_script);
    }

    #[test]
    fn source_texts_keep_their_promises() {
        feed_kept("source_text", ROUNDS, source_text);
    }
}
