//! The parsers of words and files, each as a function of bytes that panics when one of its promises is broken.
//!
//! Every test run calls the functions here with seeded inputs, and the targets of `tests/fuzz` call them for as long as
//! one likes. Never in a program that serves.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::env;
use super::file;
use super::words::command_line;
use crate::pattern::Pattern;
use crate::spec::settings::{compound, units};

/// Words of a command line, one a line, are read, or refused with a text.
pub fn words(data: &[u8]) {
    let words: Vec<OsString> =
        data.split(|byte| *byte == b'\n').map(|word| OsString::from_vec(word.to_vec())).collect();
    let exists = |path: &Path| path.ends_with("app") || path.ends_with("index.js");
    if let Err(error) = command_line::parse(&words, &exists) {
        assert!(!error.to_string().trim().is_empty(), "{error:?}");
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}

/// The values of `r:`, `w:` and others with parts are the same whatever the order of the parts, or refused.
pub fn values(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let reversed = text.rsplit(',').collect::<Vec<_>>().join(",");
    match (compound::recycle(text), compound::recycle(&reversed)) {
        (Ok(one), Ok(other)) => assert_eq!(one, other, "{text:?}"),
        (Err(_), Err(_)) => {}
        (one, other) => panic!("{text:?}: {one:?}, and in another order {other:?}"),
    }
    let _ = (compound::workers(text), compound::memory(text), compound::rate(text));
    if let Some(duration) = units::duration(text) {
        assert_eq!(units::duration(&units::show_duration(duration)), Some(duration), "{text:?}");
    }
    if let Some(size) = units::size(text) {
        assert_eq!(units::size(&units::show_size(size)), Some(size), "{text:?}");
    }
}

/// Variables, one a line, are read, or refused with the variable's name.
pub fn environment(data: &[u8]) {
    let variables: Vec<(OsString, OsString)> = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b'=')?;
            let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
            Some((part(&line[..at]), part(&line[at + 1..])))
        })
        .collect();
    let is_named = |text: &str| variables.iter().any(|(name, _)| text.contains(&*name.to_string_lossy()));
    match env::read(&variables) {
        Ok((_, warnings)) => assert!(warnings.iter().all(|warning| is_named(warning)), "{warnings:?}"),
        Err(error) => {
            assert!(is_named(&error.to_string()), "{error}");
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }
}

/// Takes a pattern, then paths of files, one a line. The folder of each file that matches is looked into, and a pattern
/// without signs matches the file that it names and everything below.
pub fn pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, paths) = text.split_once('\n').unwrap_or((text, ""));
    let pattern = match Pattern::parse(text) {
        Ok(pattern) => pattern,
        Err(error) => return assert!(error.to_string().contains(text), "{error}"),
    };
    assert_eq!(pattern.to_string(), text);
    for path in paths.lines() {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let meant = pattern.matches(&names);
        if meant {
            assert!((0..names.len()).all(|depth| pattern.may_be_in(&names[..depth])), "{text}: {path}");
        }
        let plain = text.strip_prefix("./").unwrap_or(text).trim_end_matches('/');
        if !plain.contains(['*', '?', '[', '{']) {
            let folder: Vec<&str> = plain.split('/').collect();
            let below = names.strip_prefix(&folder[..]);
            let expected = below.is_some_and(|below| !below.iter().any(|name| name.starts_with('.')));
            assert_eq!(meant, expected, "{text}: {path}");
        }
    }
}

/// A server's and an app's file are read, or refused with the file's name and the place in it.
pub fn files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("/fuzz.toml");
    let errors = [file::parse_server(path, text).err(), file::parse_own(path, text).err()];
    for error in errors.into_iter().flatten() {
        assert!(error.to_string().contains("/fuzz.toml:"), "{error}");
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::feed_kept;

    const ROUNDS: usize = 20_000;

    #[test]
    fn words_keep_their_promises() {
        feed_kept("words", ROUNDS, words);
    }

    #[test]
    fn values_keep_their_promises() {
        feed_kept("values", ROUNDS, values);
    }

    #[test]
    fn environments_keep_their_promises() {
        // Each unknown name is compared with all known ones, which takes long.
        feed_kept("environment", ROUNDS / 10, environment);
    }

    #[test]
    fn files_keep_their_promises() {
        feed_kept("files", ROUNDS, files);
    }

    #[test]
    fn patterns_keep_their_promises() {
        feed_kept("pattern", ROUNDS, pattern);
    }
}
