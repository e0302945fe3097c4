//! Owns which folder an instance's name stands for: the path that systemd makes of the name, or one in which a dash is
//! a dash.
//!
//! Never here: where apps of instances lie, or what is in them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::error::ConfigError;
use crate::name::InstanceName;

/// The folder below `root` that a name stands for: `labs-api` is `labs/api`, un-escaped as systemd does for `%I`; where
/// that folder does not exist, a dash may stand for itself.
///
/// # Errors
/// When the path leaves `root`, and when more than one folder exists that the name may stand for.
pub(crate) fn folder(root: &Path, instance: &str) -> Result<PathBuf, ConfigError> {
    let below = unescape(instance);
    if !is_inside(&below) {
        return Err(ConfigError::Escapes {
            instance: instance.into(),
            path: below.display().to_string(),
            root: root.into(),
        });
    }
    let mut there = there(root, instance);
    if there.len() > 1 {
        return Err(ConfigError::SeveralFolders { instance: instance.into(), there, dash: dash(instance) });
    }
    Ok(there.pop().unwrap_or_else(|| root.join(below)))
}

/// The existing paths below `root` that a name may stand for: each of its dashes is a slash or a dash.
pub(crate) fn there(root: &Path, instance: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let whole = unescape(instance);
    if is_inside(&whole) && root.join(&whole).exists() {
        found.push(root.join(whole));
    }
    let parts: Vec<&str> = instance.split('-').collect();
    // A part that is empty ends the search: two dashes in a row are one slash to systemd.
    look(root, &parts, &mut found);
    found.dedup();
    found
}

/// Looks into existing folders only: they are far fewer than the ways to read a name.
fn look(folder: &Path, parts: &[&str], found: &mut Vec<PathBuf>) {
    for count in 1..=parts.len() {
        let name = unescape_part(&parts[..count].join("-"));
        if !is_inside(&name) || name.components().count() != 1 {
            continue;
        }
        let path = folder.join(name);
        if count == parts.len() {
            if path.exists() && !found.contains(&path) {
                found.push(path);
            }
        } else if path.is_dir() {
            look(&path, &parts[count..], found);
        }
    }
}

/// The name whose dashes stand for dashes.
pub(crate) fn dash(instance: &str) -> String {
    instance.replace('-', "\\x2d")
}

/// The words of a command line, in which a path that systemd has made of an instance's name and that does not exist is
/// replaced by the one that does.
///
/// # Errors
/// As [`folder`].
pub(crate) fn found_among(words: &[OsString]) -> Result<Vec<OsString>, ConfigError> {
    let said = words.iter().find_map(|word| word.to_str()?.strip_prefix("--instance="));
    let Some(instance) = said.filter(|said| InstanceName::parse(said).is_ok()) else {
        return Ok(words.to_vec());
    };
    let below = unescape(instance);
    let found = |word: &OsString| {
        let path = Path::new(word);
        let root = path.is_absolute() && path.ends_with(&below) && is_inside(&below);
        let root = path.ancestors().nth(below.components().count()).filter(|_| root);
        root.map_or_else(|| Ok(word.clone()), |root| folder(root, instance).map(PathBuf::into_os_string))
    };
    words.iter().map(found).collect()
}

fn is_inside(below: &Path) -> bool {
    below.components().all(|part| matches!(part, Component::Normal(_)))
}

fn unescape(name: &str) -> PathBuf {
    bytes(name, b'/')
}

fn unescape_part(name: &str) -> PathBuf {
    bytes(name, b'-')
}

fn bytes(name: &str, dash: u8) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let escaped = rest.strip_prefix("\\x").and_then(|code| code.get(..2));
        match escaped.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                let mut buffer = [0; 4];
                let plain = first.encode_utf8(&mut buffer).as_bytes();
                if first == '-' {
                    bytes.push(dash)
                } else {
                    bytes.extend_from_slice(plain)
                }
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(folders: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for folder in folders {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        (dir, root)
    }

    #[test]
    fn a_dash_is_a_slash_or_where_that_is_not_there_a_dash() {
        for (folders, name, found) in [
            (&["my/app"][..], "my-app", "my/app"),
            (&["my-app"], "my-app", "my-app"),
            (&["my", "my-app"], "my-app", "my-app"),
            (&["labs/my-app"], "labs-my-app", "labs/my-app"),
            (&["labs-my/app"], "labs-my-app", "labs-my/app"),
            (&["my/app", "my-app"], r"my\x2dapp", "my-app"),
            (&["a--b"], "a--b", "a--b"),
            (&["a/b"], "a--b", "a/b"),
            (&[], "my-app", "my/app"),
            (&["shop/über uns"], r"shop-\xc3\xbcber\x20uns", "shop/über uns"),
        ] {
            let (_dir, root) = stage(folders);
            assert_eq!(folder(&root, name).unwrap(), root.join(found), "{folders:?} {name}");
        }
    }

    #[test]
    fn two_that_are_there_are_named_with_what_to_write() {
        let (_dir, root) = stage(&["my/app", "my-app"]);
        let error = folder(&root, "my-app").unwrap_err().to_string();
        for part in
            [root.join("my/app").to_str().unwrap(), root.join("my-app").to_str().unwrap(), r"my\x2dapp"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn no_way_to_read_a_name_leaves_the_folder() {
        let (_dir, root) = stage(&["a", "etc"]);
        for name in ["a-..-..-etc", r"a-\x2e\x2e-etc", r"a-\x2e\x2e\x2fetc", r"\x2e\x2e-etc"] {
            assert!(folder(&root, name).is_err(), "{name}");
            assert_eq!(there(&root, name), Vec::<PathBuf>::new(), "{name}");
        }
    }

    #[test]
    fn a_path_made_of_the_name_by_systemd_is_found_among_the_words() {
        let (_dir, root) = stage(&["my-app"]);
        let words = |path: PathBuf| vec![OsString::from("--instance=my-app"), path.into_os_string()];
        assert_eq!(found_among(&words(root.join("my/app"))).unwrap(), words(root.join("my-app")));
        let other = words(root.join("other"));
        assert_eq!(found_among(&other).unwrap(), other);
    }
}
