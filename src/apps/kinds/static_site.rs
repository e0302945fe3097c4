//! Static sites: folders that the built-in worker serves.
//!
//! Never here: answering for a file.

use std::fs;
use std::path::{Path, PathBuf};

use super::package::Package;
use super::source;
use crate::apps::app_folder::AppFolder;
use crate::apps::detected_app::{DetectError, DetectedApp, StaticHint};
use crate::apps::kind::AppKind;
use crate::apps::recogniser::Recogniser;
use crate::apps::source_files::{name_of, text_of};
use crate::spec::{Listen, ReadyBy};

pub(in crate::apps) static STATIC_SITE: AppKind = AppKind {
    name: "a static site",
    listens: &[Listen::Fd],
    ready_by: ReadyBy::Either,
    stateless: true,
    // The static worker takes many requests at once: one worker fills a disk or a network long before this number.
    concurrency: 64,
    production: &[],
    ..AppKind::PROGRAM
};

pub(super) static BY_SETTINGS: Recogniser = Recogniser {
    by_settings: true,
    kinds: &[&STATIC_SITE],
    readme: &[["`rip.toml` with `[static]`", "the built-in static worker", "nothing"]],
    spec: &[["`static.root`, `static.index` or `static.spa`", "the built-in static worker", "`fd`"]],
    ..Recogniser::new(configured)
};

pub(super) static BY_PAGE: Recogniser = Recogniser {
    files: &[("html", of_file), ("htm", of_file)],
    looks_for: "index.html here or in public, dist, build, out, _site, site",
    readme: &[[
        "`index.html`, also in `public`, `dist`, `build`, `out`, `_site` or `site`",
        "the built-in static worker",
        "nothing",
    ]],
    spec: &[[
        "`index.html` in the folder, or in `public`, `dist`, `build`, `out`, `_site`, `site` (beside a `package.json` \
         or the settings of a site generator what is built first, with `dist/PROJECT/browser`)",
        "the built-in static worker",
        "`fd`",
    ]],
    ..Recogniser::new(in_folder)
};

/// A site by `static` of the config.
fn configured(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    app.hints.static_root.as_ref().map(|hint| of_hint(app, hint)).transpose()
}

/// A site by `index.html` in the folder, in `public`, or where a build puts it.
fn in_folder(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let generator = GENERATORS.iter().find(|row| row.marks.iter().any(|mark| app.file(mark).is_some()));
    // The result of a generator is the site; beside it stand the sources.
    let first = generator.map(|row| row.output);
    let built = generator.is_some() || app.file("package.json").is_some();
    let order = if built { BUILT_FIRST } else { PLAIN_FIRST };
    let named = first.into_iter().chain(order).map(|folder| app.dir.join(folder));
    let mut unbuilt = None;
    for folder in named.chain(of_angular(&app.dir)) {
        let page = folder.join("index.html");
        if !page.is_file() {
            continue;
        }
        match source_of(app, &page)? {
            None => {
                let hint = StaticHint { root: Some(below(app, &folder)), ..StaticHint::default() };
                return of_hint(app, &hint).map(Some);
            }
            Some(error) => unbuilt = unbuilt.or(Some(error)),
        }
    }
    if let Some(error) = unbuilt {
        app.refuse(error);
    }
    if let Some(row) = generator {
        let mark = row.marks.iter().find(|mark| app.file(mark).is_some()).unwrap_or(&"");
        app.saw(format!("{mark} is there, but not {}/index.html, which `{}` makes", row.output, row.build));
    }
    Ok(None)
}

/// A site by a page given by name: the page's folder, with the page as index.
fn of_file(app: &AppFolder<'_>, entry: &Path) -> Result<DetectedApp, DetectError> {
    if let Some(error) = source_of(app, entry)? {
        return Err(error);
    }
    of_hint(app, &StaticHint { index: Some(name_of(entry)), ..StaticHint::default() })
}

/// The error for a page that has to be built before a browser can show it; `None`: the page is finished.
fn source_of(app: &AppFolder<'_>, page: &Path) -> Result<Option<DetectError>, DetectError> {
    let text = text_of(page);
    let package = Package::of(app)?;
    let generator = GENERATORS.iter().find(|row| row.marks.iter().any(|mark| app.file(mark).is_some()));
    let why = placeholder(&text, generator.is_some()).or_else(|| {
        let bundles =
            package.as_ref().is_some_and(Package::bundles) || generator.is_some_and(|row| row.bundles);
        bundled_script(&text, page, bundles)
    });
    let Some(why) = why else { return Ok(None) };
    let of_package = package.map(|package| package.build(&app.dir));
    let build = generator.filter(|row| !row.bundles).map(|row| row.build.to_owned()).or(of_package);
    let root = page.parent().map_or_else(PathBuf::new, |folder| below(app, folder));
    Ok(Some(DetectError::Unbuilt {
        page: page.to_path_buf(),
        why,
        build: build.unwrap_or_else(|| "npm run build".into()),
        root: if root.as_os_str().is_empty() { ".".into() } else { root.display().to_string() },
    }))
}

/// The text of a page that a build would have replaced.
fn placeholder(text: &str, generated: bool) -> Option<String> {
    let page = source::html(text);
    if generated && text.trim_start_matches('\u{feff}').starts_with("---\n") {
        return Some("it begins with the front matter of a site generator".into());
    }
    PLACEHOLDERS
        .iter()
        .find(|sign| page.contains(**sign))
        .map(|sign| format!("it has `{sign}` in it, which a build replaces"))
}

/// A script of a page that only a bundler can load, or, where there is one, a module of the sources.
fn bundled_script(text: &str, page: &Path, bundles: bool) -> Option<String> {
    let scripts = source::scripts(text);
    let value = |script: &[(String, String)], name: &str| {
        script.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    // Where the page has an import map for the names of packages, a browser can load them.
    let mapped = scripts.iter().any(|script| value(script, "type") == "importmap");
    scripts.iter().find_map(|script| {
        let src = value(script, "src");
        let path = src.split(['?', '#']).next().unwrap_or_default();
        let local = !path.contains("://") && !path.starts_with("//");
        let foreign = SOURCES.iter().any(|suffix| path.ends_with(suffix));
        let steps = path.trim_start_matches(['.', '/']);
        let module = bundles && value(script, "type") == "module";
        let of_source =
            || steps.starts_with("src/") || (!mapped && imports_what_is_bundled(&page.with_file_name(steps)));
        (local && (foreign || (module && of_source()))).then(|| format!("its script `{src}` is source"))
    })
}

/// Whether a module imports packages by their names, or files that are no modules: styles, pictures.
fn imports_what_is_bundled(module: &Path) -> bool {
    let code = source::javascript(&text_of(module));
    let imports = code.lines().filter(|line| line.trim_start().starts_with("import"));
    let mut named =
        imports.filter_map(|line| line.trim_end().trim_end_matches(';').rsplit(['"', '\'']).nth(1));
    named.any(|name| {
        let path = name.starts_with(['.', '/']) || name.contains("://");
        !path || !["js", "mjs"].contains(&name.rsplit('.').next().unwrap_or_default())
    })
}

/// The output of Angular: `dist/PROJECT/browser` or `dist/PROJECT`, where there is one project.
fn of_angular(dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir.join("dist")).ok()?.flatten().map(|entry| entry.path());
    let places = entries.flat_map(|project| [project.join("browser"), project]);
    let mut places: Vec<_> = places.filter(|place| place.join("index.html").is_file()).collect();
    places.truncate(2);
    places.pop().filter(|_| places.is_empty())
}

fn below(app: &AppFolder<'_>, folder: &Path) -> PathBuf {
    folder.strip_prefix(&app.dir).unwrap_or(folder).to_path_buf()
}

fn of_hint(app: &AppFolder<'_>, hint: &StaticHint) -> Result<DetectedApp, DetectError> {
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
    Ok(DetectedApp { site: Some(root), ..app.found(&STATIC_SITE, why, argv, None) })
}

fn require(holds: bool, what: &'static str, path: &Path) -> Result<(), DetectError> {
    if holds { Ok(()) } else { Err(DetectError::Static { what, path: path.to_owned() }) }
}

fn text(path: &Path) -> Result<String, DetectError> {
    path.to_str().map(String::from).ok_or_else(|| DetectError::NotUtf8(PathBuf::from(path)))
}

/// A program that makes a site out of sources in the same folder.
struct Generator {
    /// The files of which any shows that the generator is used.
    marks: &'static [&'static str],
    output: &'static str,
    build: &'static str,
    /// Whether the generator resolves the scripts of pages.
    bundles: bool,
}

const fn generator(marks: &'static [&'static str], output: &'static str, build: &'static str) -> Generator {
    Generator { marks, output, build, bundles: false }
}

const fn bundler(marks: &'static [&'static str]) -> Generator {
    Generator { marks, output: "dist", build: "npm run build", bundles: true }
}

/// The generators, a row for each.
const GENERATORS: [Generator; 11] = [
    generator(&["mkdocs.yml", "mkdocs.yaml"], "site", "mkdocs build"),
    generator(&["_config.yml", "_config.toml"], "_site", "bundle exec jekyll build"),
    generator(&["hugo.toml", "hugo.yaml", "hugo.json"], "public", "hugo"),
    generator(&["book.toml"], "book", "mdbook build"),
    generator(&[".eleventy.js", "eleventy.config.js", "eleventy.config.mjs"], "_site", "npx @11ty/eleventy"),
    generator(&["gatsby-config.js", "gatsby-config.ts"], "public", "npm run build"),
    generator(&["zensical.toml"], "site", "zensical build"),
    generator(&["pelicanconf.py"], "output", "pelican content"),
    bundler(&["vite.config.js", "vite.config.ts", "vite.config.mjs", "vite.config.mts"]),
    bundler(&["astro.config.mjs", "astro.config.ts", "astro.config.js"]),
    bundler(&["angular.json", "webpack.config.js", "rollup.config.js", ".parcelrc", "rsbuild.config.ts"]),
];
const BUILT_FIRST: [&str; 10] =
    ["dist", "build", "out", "_site", "site", ".output/public", "build/client", "www", "public", ""];
const PLAIN_FIRST: [&str; 10] =
    ["", "public", "dist", "build", "out", "_site", "site", "book", "_build/html", "docs/_build/html"];
/// The texts that templates of Create React App and Vue CLI have in the place of a path.
const PLACEHOLDERS: [&str; 4] = ["%PUBLIC_URL%", "<%= BASE_URL %>", "<%= htmlWebpackPlugin", "%sveltekit."];
/// The suffixes of files that no browser runs.
const SOURCES: [&str; 6] = [".ts", ".tsx", ".jsx", ".vue", ".svelte", ".mts"];
