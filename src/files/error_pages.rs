//! Owns an app's own pages for answers of the server in the app's place, as they were when they were read.
//!
//! Never here: which answers have one (the data path), or which folder is meant (`spec`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};

use super::beneath::Beneath;
use super::plain_file;

/// Pages by status, and by class where a status has none of its own: `404.html`, `4xx.html`, `5xx.html`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorPages(BTreeMap<u16, ErrorPage>);

/// A page, cut where the request's id goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorPage(Vec<String>);

impl ErrorPages {
    /// Reads the pages in a folder of the app whose real folder is `root`. No link is followed to a file outside of it.
    ///
    /// # Errors
    /// The fault, as the end of a sentence about the folder.
    pub(crate) fn read(root: &Path, folder: &Path) -> Result<Self, String> {
        if !folder.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err("which must be a folder in the app, such as errors".into());
        }
        let unreadable = |error: std::io::Error| format!("which cannot be read: {error}");
        let mut pages = BTreeMap::new();
        for entry in fs::read_dir(root.join(folder)).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".html")) else { continue };
            let Some(status) = status_of(stem) else {
                if stem.starts_with(|first: char| first.is_ascii_digit()) {
                    return Err(format!("whose {stem}.html is for no answer: {NAMES}"));
                }
                continue;
            };
            let beneath = Beneath::within(root, Path::new(""), &[], |_| true);
            let file = beneath.open(&folder.join(&name));
            let text = file.and_then(|file| plain_file::read_open(file, LARGEST));
            let text = text.map_err(|error| format!("whose {stem}.html cannot be read: {error}"))?;
            pages.insert(status, ErrorPage(text.split(REQUEST_ID).map(str::to_owned).collect()));
        }
        if pages.is_empty() { Err(format!("which has no page: {NAMES}")) } else { Ok(Self(pages)) }
    }

    /// The page for a status.
    pub(crate) fn page(&self, status: u16) -> Option<&ErrorPage> {
        self.0.get(&status).or_else(|| self.0.get(&(status / 100)))
    }
}

impl ErrorPage {
    /// The page for a request.
    pub(crate) fn of_request(&self, id: &str) -> String {
        self.0.join(id)
    }
}

/// The status that a name stands for, or its first digit for a class.
fn status_of(stem: &str) -> Option<u16> {
    match stem {
        "4xx" => Some(4),
        "5xx" => Some(5),
        _ => stem.parse().ok().filter(|status| (400..600).contains(status) && stem.len() == 3),
    }
}

/// The place of the request's id in a page.
const REQUEST_ID: &str = "{request_id}";
const NAMES: &str = "pages are called 404.html, 503.html and so on, 4xx.html and 5xx.html";
/// The largest page, in bytes.
const LARGEST: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("errors")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join("errors").join(name), text).unwrap();
        }
        folder
    }

    fn read(folder: &tempfile::TempDir) -> Result<ErrorPages, String> {
        ErrorPages::read(&folder.path().canonicalize().unwrap(), Path::new("errors"))
    }

    #[test]
    fn a_status_has_its_own_page_else_that_of_its_class() {
        let files = [
            ("404.html", "<b>{request_id}</b>{request_id}"),
            ("5xx.html", "five"),
            ("style.css", "b {}"),
            ("about.html", "x"),
        ];
        let pages = read(&folder(&files)).unwrap();
        let page = |status| pages.page(status).map(|page| page.of_request("id-1"));
        assert_eq!(page(404).as_deref(), Some("<b>id-1</b>id-1"));
        assert_eq!([503, 502, 504].map(&page), [(); 3].map(|()| Some("five".to_owned())));
        assert_eq!((page(403), page(200)), (None, None));
    }

    #[test]
    fn what_is_no_page_of_the_app_is_refused() {
        for (files, why) in [
            (&[][..], "has no page"),
            (&[("index.html", "")], "has no page"),
            (&[("50x.html", "")], "50x.html is for no answer"),
            (&[("200.html", "")], "200.html is for no answer"),
            (&[("0404.html", "")], "0404.html is for no answer"),
        ] {
            let error = read(&folder(files)).unwrap_err();
            assert!(error.contains(why), "{files:?}: {error}");
        }
        let large = "x".repeat(LARGEST as usize + 1);
        assert!(read(&folder(&[("503.html", &large)])).unwrap_err().contains("larger than 64 KiB"));
        for outside in ["/errors", "../errors", "errors/../../x"] {
            assert!(ErrorPages::read(Path::new("/"), Path::new(outside)).is_err(), "{outside}");
        }
        let missing = ErrorPages::read(folder(&[]).path(), Path::new("none")).unwrap_err();
        assert!(missing.contains("cannot be read: No such file"), "{missing}");
    }

    #[test]
    fn links_lead_to_files_of_the_app_alone() {
        let within = folder(&[("real.htm", "real")]);
        symlink("real.htm", within.path().join("errors/503.html")).unwrap();
        assert!(read(&within).unwrap().page(503).is_some());
        symlink("/etc/passwd", within.path().join("errors/404.html")).unwrap();
        assert!(read(&within).unwrap_err().contains("404.html cannot be read"));
    }
}
