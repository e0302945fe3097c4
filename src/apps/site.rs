//! Static sites: folders that the built-in worker serves.
//!
//! Never here: answering for a file.

use std::path::{Path, PathBuf};

use super::detect::{App, name_of};
use super::found::{DetectError, Found, Kind, StaticHint};

/// `static` of the config.
pub(super) fn configured(app: &App<'_>) -> Result<Option<Found>, DetectError> {
    app.hints.static_root.as_ref().map(|hint| of_hint(app, hint)).transpose()
}

/// `index.html` in the folder, in `public/` or in `dist/`.
pub(super) fn in_folder(app: &App<'_>) -> Result<Option<Found>, DetectError> {
    // Beside a package.json an index.html is the source of what a build puts into dist/.
    let order =
        if app.file("package.json").is_some() { ["dist", "public", "."] } else { [".", "public", "dist"] };
    let has_index = |folder: &&str| app.dir.join(folder).join("index.html").is_file();
    let Some(folder) = order.into_iter().find(has_index) else { return Ok(None) };
    let hint = StaticHint { root: Some(folder.into()), ..StaticHint::default() };
    of_hint(app, &hint).map(Some)
}

/// A page given by name: its folder, with the page as index.
pub(super) fn of_file(app: &App<'_>, entry: &Path) -> Result<Found, DetectError> {
    of_hint(app, &StaticHint { index: Some(name_of(entry)), ..StaticHint::default() })
}

fn of_hint(app: &App<'_>, hint: &StaticHint) -> Result<Found, DetectError> {
    let root = match &hint.root {
        Some(root) if ![".", ""].map(Path::new).contains(&&**root) => app.dir.join(root),
        _ => app.dir.clone(),
    };
    require(root.is_dir(), "root", &root)?;
    let mut argv = vec![text(&app.hints.self_exe)?, "worker-static".into(), "--root".into(), text(&root)?];
    if let Some(index) = &hint.index {
        argv.extend(["--index".into(), index.clone()]);
    }
    if let Some(spa) = &hint.spa {
        require(root.join(spa).is_file(), "spa file", &root.join(spa))?;
        argv.extend(["--spa".into(), spa.clone()]);
    }
    let why = format!("Static site: {}, served by the built-in worker", root.display());
    let mut found = app.found(Kind::Static, why, argv, None);
    found.concurrency = Some(CONCURRENCY);
    Ok(found)
}

fn require(holds: bool, what: &'static str, path: &Path) -> Result<(), DetectError> {
    if holds { Ok(()) } else { Err(DetectError::Static { what, path: path.to_owned() }) }
}

fn text(path: &Path) -> Result<String, DetectError> {
    path.to_str().map(String::from).ok_or_else(|| DetectError::NotUtf8(PathBuf::from(path)))
}

/// The static worker multiplexes: one of them fills a disk or a network long before this many at once.
const CONCURRENCY: u32 = 64;
