//! Owns finding the known app that a path means in whatever spelling.
//!
//! Never here: what is done with the app.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::machine::is_one_entry;

/// How far a path is followed to find the app that it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum PathMatch {
    /// The same entry of the same folder, whatever links lead to the folder.
    Entry,
    /// Also the folder that a known app's link leads to now. A link is still an app of its own, also where the folder
    /// that it leads to is one, because only an app by the link follows later deploys.
    Target,
}

/// The index in `known` of the app that `path` means.
pub(in crate::supervisor) fn position_of(path: &Path, known: &[PathBuf], meant: PathMatch) -> Option<usize> {
    let exact = known.iter().position(|known| known == path);
    let entry = || known.iter().position(|known| is_one_entry(known, path));
    let target = || {
        let real =
            fs::canonicalize(path).ok().filter(|_| meant == PathMatch::Target && !path.is_symlink())?;
        known.iter().position(|known| fs::canonicalize(known).is_ok_and(|known| known == real))
    };
    exact.or_else(entry).or_else(target)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_target_means_the_app_of_its_link_and_a_link_means_itself() {
        let folder = tempfile::tempdir().unwrap();
        let at = |below: &str| folder.path().join(below);
        for release in ["1", "2"] {
            fs::create_dir_all(at("shop").join(release)).unwrap();
        }
        symlink("shop", at("www")).unwrap();
        for link in ["current", "next"] {
            symlink("1", at("shop").join(link)).unwrap();
        }
        let table = [
            ("shop/current", "shop/current", Some(0), Some(0)),
            ("shop/current", "www/current", Some(0), Some(0)),
            ("shop/current", "shop/1", None, Some(0)),
            ("shop/current", "www/1", None, Some(0)),
            ("shop/current", "shop/2", None, None),
            ("shop/current", "shop/next", None, None),
            ("shop/1", "shop/current", None, None),
            ("shop/1", "www/1", Some(0), Some(0)),
            ("shop/none", "www/none", Some(0), Some(0)),
        ];
        for (known, path, entry, target) in table {
            let known = [at(known)];
            assert_eq!(position_of(&at(path), &known, PathMatch::Entry), entry, "{path} of {known:?}");
            assert_eq!(position_of(&at(path), &known, PathMatch::Target), target, "{path} of {known:?}");
        }
    }
}
