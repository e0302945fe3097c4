//! Owns which apps of the machine a worker does not see: all but its own, wherever they lie, links followed.
//!
//! Never here: how an app is hidden (`properties`), or which folder may be an app at all (`launcher`).

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The folders that are hidden from the worker of an app that sees `visible`: the folders where apps may lie, the usual
/// one among them, and the apps that lie elsewhere. The folders exist, and none of them is inside another.
pub(crate) fn hidden(roots: &[PathBuf], apps: &[PathBuf], visible: &Path) -> Vec<PathBuf> {
    let roots = roots.iter().map(PathBuf::as_path).chain([Path::new(USUAL)]);
    let roots = roots.filter_map(|root| fs::canonicalize(root).ok()).filter(|root| depth(root) > 0);
    let apps = apps.iter().filter_map(|app| folder(app));
    let mut all: Vec<PathBuf> =
        roots.chain(apps).filter(|path| !path.starts_with(visible) && !is_the_systems(path)).collect();
    // A folder comes before its contents.
    all.sort();
    all.dedup_by(|later, earlier| later.starts_with(earlier));
    all
}

/// The folder of an app that the admin has named by its directory or its entry file, links followed. `None` where the
/// folder cannot be the app's alone.
pub(crate) fn folder(app: &Path) -> Option<PathBuf> {
    let app = fs::canonicalize(app).ok()?;
    let folder = if app.is_dir() { app } else { app.parent()?.to_owned() };
    (depth(&folder) > 1).then_some(folder)
}

/// Whether the path has programs and libraries that every worker needs, so that it is never hidden.
fn is_the_systems(path: &Path) -> bool {
    SYSTEM.iter().any(|folder| path.starts_with(folder))
}

/// The number of names in a path: `/` has none, `/srv` one.
fn depth(path: &Path) -> usize {
    path.components().filter(|part| matches!(part, Component::Normal(_))).count()
}

/// The folder of apps, unless the admin names others.
const USUAL: &str = "/srv/rip";
const SYSTEM: [&str; 9] = ["/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/proc", "/sys", "/dev"];

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn all_apps_but_its_own_are_hidden_links_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |below: &str| dir.path().canonicalize().unwrap().join(below);
        for folder in ["data/rip/blog/admin", "opt/shop", "opt/other"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("opt/other/index.js"), "").unwrap();
        symlink(at("data/rip"), at("rip")).unwrap();
        let roots = [at("rip"), at("nowhere")];
        let apps =
            [at("opt/shop"), at("opt/other/index.js"), at("rip/blog"), at("gone"), "/usr/bin/env".into()];
        let here = |path: Vec<PathBuf>| -> Vec<PathBuf> {
            path.into_iter().filter(|path| path.starts_with(at(""))).collect()
        };

        let of = |visible: &str| here(hidden(&roots, &apps, &at(visible)));

        assert_eq!(of("data/rip/blog"), [at("data/rip"), at("opt/other"), at("opt/shop")]);
        assert_eq!(of("opt/shop"), [at("data/rip"), at("opt/other")]);
        assert!(!hidden(&roots, &apps, &at("opt/shop")).iter().any(|path| path.starts_with("/usr")));
        // A path in an app's own folder is the app's own.
        assert_eq!(here(hidden(&[], &[at("rip/blog/admin")], &at("data/rip/blog"))), Vec::<PathBuf>::new());
    }
}
