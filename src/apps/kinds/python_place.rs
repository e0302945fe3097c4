//! The folder from which a Python module is imported and run, judged by what the module imports.
//!
//! Never here: which application it holds (`python_target`).

use std::path::{Path, PathBuf};

use super::source;
use crate::apps::app_folder::AppFolder;
use crate::apps::source_files::{name_of, text_of};

/// The folder from which a module is imported, and the module's name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModulePlace {
    pub(super) entry: PathBuf,
    /// The folder that modules are looked up in.
    pub(super) root: PathBuf,
    /// The module's name from there: `app.main`.
    pub(super) module: String,
    pub(super) dir: PathBuf,
}

impl ModulePlace {
    /// The place of a file in the app's own folder; when the file's imports say so, that is in the package that the
    /// folder is.
    pub(super) fn of(app: &AppFolder<'_>, entry: &Path) -> Self {
        let folder = entry.parent().unwrap_or(&app.dir);
        if !imports_package(entry, folder) {
            return Self::in_root(folder, entry, folder);
        }
        let mut root = folder.parent().unwrap_or(folder);
        while root.join("__init__.py").is_file() {
            let Some(above) = root.parent() else { break };
            root = above;
        }
        let known = app.roots.iter().any(|known| known == root);
        Self::in_root(root, entry, if known { root } else { &app.dir })
    }

    pub(super) fn in_root(root: &Path, entry: &Path, dir: &Path) -> Self {
        let below = entry.strip_prefix(root).unwrap_or(entry).with_extension("");
        let mut parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        if parts.len() > 1 && parts.last().is_some_and(|last| last == "__init__") {
            parts.pop();
        }
        Self { entry: entry.into(), root: root.into(), module: parts.join("."), dir: dir.into() }
    }
}

/// Whether a module imports from the package that its folder is.
fn imports_package(entry: &Path, folder: &Path) -> bool {
    let name = name_of(folder);
    let own = !is_there(folder, &name);
    imported(entry)
        .iter()
        .any(|module| module.starts_with('.') || (own && module.split('.').next() == Some(&name)))
}

/// Whether a module imports others of its folder by their bare names, which are not found from `root`.
pub(super) fn imports_neighbours(entry: &Path, folder: &Path, root: &Path) -> bool {
    let modules = imported(entry);
    let mut first =
        modules.iter().filter_map(|module| module.split('.').next()).filter(|name| !name.is_empty());
    first.any(|name| is_there(folder, name) && !is_there(root, name))
}

/// Whether a module of this name can be imported from the folder.
fn is_there(folder: &Path, name: &str) -> bool {
    folder.join(name).is_dir() || folder.join(format!("{name}.py")).is_file()
}

/// The modules that a file imports at its top.
fn imported(entry: &Path) -> Vec<String> {
    let lines = source::python_lines(&text_of(entry));
    let modules = lines.iter().flat_map(|line| match line.split_once(' ') {
        Some(("from", rest)) => vec![rest.split_whitespace().next().unwrap_or_default().to_owned()],
        Some(("import", rest)) => {
            rest.split(',').map(|name| name.trim().split(' ').next().unwrap_or_default().into()).collect()
        }
        _ => Vec::new(),
    });
    modules.collect()
}
