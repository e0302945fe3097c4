//! A folder of PHP scripts and other files, as front controllers want it: which script or file a request's path means.
//!
//! Never here: running a script, or sending a file (`site`).

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::beneath::Beneath;
use super::request_path::{decode, is_seen, part_is_seen};
use super::site::Site;

/// A folder whose scripts are run and whose other files are served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DocumentRoot {
    /// The app's folder; no link in its path.
    pub(crate) root: PathBuf,
    /// The folder in the app that requests reach; empty: the app's folder itself.
    pub(crate) within: PathBuf,
    /// Folders elsewhere that links may lead to; no links in their paths.
    pub(crate) follow: Vec<PathBuf>,
    /// Files that are neither run nor sent.
    pub(crate) secrets: Vec<PathBuf>,
}

/// The meaning of a request's path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    Script(Script),
    /// A file that is sent as it is, relative to the folder.
    File(String),
    /// The path means a folder, and needs a slash at its end.
    Folder,
    /// The path means something that is never sent, or that no script should hear of.
    Nothing,
}

/// A script and the rest of its request's path, in CGI's words (RFC 3875 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// `DOCUMENT_ROOT`.
    pub(crate) root: String,
    /// `SCRIPT_NAME`: the script's path as URLs have it, decoded.
    pub(crate) name: String,
    /// `PATH_INFO`, decoded.
    pub(crate) info: String,
}

impl Script {
    /// The root, the name and the info.
    pub(crate) fn parts(&self) -> [&str; 3] {
        [&self.root, &self.name, &self.info]
    }
}

impl DocumentRoot {
    /// Finds what a path means: a script by its name, with or without a path behind it; a file; the script that stands
    /// for a folder; else the front controller.
    pub(crate) fn find(&self, raw: &str) -> Meant {
        let Some(segments) = raw.strip_prefix('/') else { return Meant::Nothing };
        let mut path = String::new();
        let (mut at, mut folded) = (0, false);
        for segment in segments.split('/') {
            at += segment.len() + 1;
            let Some(name) = decode(segment) else { return Meant::Nothing };
            let last = at > segments.len();
            let seen = part_is_seen(name.as_bytes(), path.is_empty(), last);
            if !seen || name.contains(['/', '\\', '\0']) || is_disguised(&name) {
                return Meant::Nothing;
            }
            // An empty name between two slashes is no folder.
            folded |= name.is_empty() && !last;
            path.push_str(&name);
            if is_script(&name)
                && !folded
                && self.scripts().look(Path::new(&path)).is_ok_and(|meta| meta.is_file())
            {
                return match decode(segments.get(at - 1..).unwrap_or_default()) {
                    Some(info) if !info.contains('\0') && !info.split('/').any(|part| part == "..") => {
                        self.script(&path, info)
                    }
                    _ => Meant::Nothing,
                };
            }
            if !last {
                path.push('/');
            }
        }
        if folded { self.front() } else { self.find_file(&path) }
    }

    /// The site that serves files which [`find`](Self::find) has found.
    pub(crate) fn site(&self) -> Site {
        Site::new(self.files(), INDEX_PAGE, None)
    }

    fn find_file(&self, path: &str) -> Meant {
        let looked = self.files().look(Path::new(if path.is_empty() { "." } else { path }));
        let name = path.rsplit('/').next().unwrap_or_default();
        match looked {
            Ok(meta) if meta.is_dir() => self.find_index(path),
            Ok(_) if is_source(name) => Meant::Nothing,
            Ok(_) => Meant::File(path.into()),
            // A path behind a file, as `avatar.jpg/x.php`, means nothing: a server that looked for the longest path
            // that is a file would run pictures.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Meant::Nothing,
            Err(_) => self.front(),
        }
    }

    fn find_index(&self, folder: &str) -> Meant {
        let is_whole = folder.is_empty() || folder.ends_with('/');
        let below = if is_whole { folder.to_owned() } else { format!("{folder}/") };
        let (script, page) = (format!("{below}{INDEX}"), format!("{below}{INDEX_PAGE}"));
        let is_script = self.scripts().look(Path::new(&script)).is_ok_and(|meta| meta.is_file());
        if !is_script && !self.files().look(Path::new(&page)).is_ok_and(|meta| meta.is_file()) {
            return self.front();
        }
        match (is_whole, is_script) {
            (false, _) => Meant::Folder,
            (true, true) => self.script(&script, String::new()),
            (true, false) => Meant::File(page),
        }
    }

    fn front(&self) -> Meant {
        match self.scripts().look(Path::new(INDEX)) {
            Ok(meta) if meta.is_file() => self.script(INDEX, String::new()),
            _ => Meant::Nothing,
        }
    }

    fn script(&self, path: &str, info: String) -> Meant {
        let root = self.root.join(&self.within);
        let root = root.to_string_lossy().trim_end_matches('/').to_owned();
        Meant::Script(Script { root, name: format!("/{path}"), info })
    }

    fn scripts(&self) -> Beneath {
        Beneath::within(&self.root, &self.within, &self.follow, is_script_seen).without(&self.secrets)
    }

    fn files(&self) -> Beneath {
        Beneath::within(&self.root, &self.within, &self.follow, is_file_seen).without(&self.secrets)
    }
}

/// Whether the target of a link may be run.
fn is_script_seen(names: &[OsString]) -> bool {
    is_seen(names) && names.last().is_some_and(|name| name.to_str().is_some_and(is_script))
}

/// Whether the target of a link may be sent.
pub(super) fn is_file_seen(names: &[OsString]) -> bool {
    is_seen(names) && !names.last().is_some_and(|name| is_source(&name.to_string_lossy()))
}

fn is_script(name: &str) -> bool {
    name.len() > SCRIPT.len() && name.ends_with(SCRIPT)
}

/// Whether a file of this name has source in it, or had under the name that it was copied from.
fn is_source(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut bare = name.as_str();
    loop {
        let shorter = bare.trim_matches(['~', '#', '.', ' ']);
        let (stem, ending) = shorter.rsplit_once('.').unwrap_or((shorter, ""));
        if SOURCES.contains(&ending) {
            return true;
        }
        let is_copy =
            COPIES.contains(&ending) || (!ending.is_empty() && ending.bytes().all(|b| b.is_ascii_digit()));
        match is_copy {
            true => bare = stem,
            false if shorter.len() < bare.len() => bare = shorter,
            false => return false,
        }
    }
}

/// Whether a name is that of a script with dots or spaces behind it, which other systems leave out.
fn is_disguised(name: &str) -> bool {
    let bare = name.trim_end_matches(['.', ' ']);
    bare.len() < name.len() && is_source(bare)
}

const INDEX: &str = "index.php";
const INDEX_PAGE: &str = "index.html";
const SCRIPT: &str = ".php";
/// The suffixes of source files, of PHP and of Drupal.
const SOURCES: [&str; 17] = [
    "php", "php3", "php4", "php5", "php7", "php8", "phps", "phtml", "pht", "phar", "inc", "module",
    "install", "theme", "engine", "profile", "tpl",
];
/// The suffixes that editors and people add to copies.
const COPIES: [&str; 15] = [
    "bak", "backup", "orig", "original", "old", "save", "saved", "swp", "swo", "tmp", "copy", "dist", "rej",
    "new", "default",
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    struct Bench {
        home: TempDir,
        follow: Vec<PathBuf>,
        within: &'static str,
    }

    impl Bench {
        fn new(within: &'static str) -> Self {
            let home = tempfile::tempdir().unwrap();
            let root = home.path().join("app").join(within);
            for file in [
                "index.php",
                "a.txt",
                "wp-login.php",
                "wp-admin/index.php",
                "wp-admin/style.css",
                "docs/index.html",
                "empty/x.css",
                "avatar.jpg",
                "remote.php",
                "lib/a.inc",
                "lib/view.phtml",
                "lib/x.PHP",
                "index.php~",
                "index.php.bak",
                "conf.php.orig",
                "conf.php.1",
                "page.php.txt",
                ".env",
                ".git/config",
                ".well-known/x.txt",
                "dir.php/y.php",
                "dir.php/z.txt",
                "php.js",
                "rip.toml",
            ] {
                let path = root.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, file).unwrap();
            }
            Self { home, follow: Vec::new(), within }
        }

        fn root(&self) -> PathBuf {
            self.home.path().canonicalize().unwrap().join("app")
        }

        fn find(&self, path: &str) -> String {
            let root = self.root();
            let within = self.within.into();
            let follow = self.follow.clone();
            let folder = DocumentRoot { root: root.clone(), within, follow, secrets: Vec::new() };
            match folder.find(path) {
                Meant::Script(script) => {
                    assert_eq!(script.root, root.join(self.within).to_string_lossy().trim_end_matches('/'));
                    format!(
                        "run {}{}",
                        script.name,
                        Some(script.info)
                            .filter(|i| !i.is_empty())
                            .map(|i| format!(" + {i}"))
                            .unwrap_or_default()
                    )
                }
                Meant::File(file) => format!("send {file}"),
                Meant::Folder => "folder".into(),
                Meant::Nothing => "nothing".into(),
            }
        }
    }

    #[test]
    fn a_path_means_a_script_a_file_or_the_front_controller() {
        for within in ["", "public"] {
            let bench = Bench::new(within);
            for (path, meant) in [
                ("/", "run /index.php"),
                ("/index.php", "run /index.php"),
                ("/wp-login.php", "run /wp-login.php"),
                ("/wp-admin/", "run /wp-admin/index.php"),
                ("/wp-admin", "folder"),
                ("/docs", "folder"),
                ("/docs/", "send docs/index.html"),
                ("/empty", "run /index.php"),
                ("/empty/", "run /index.php"),
                ("/a.txt", "send a.txt"),
                ("/wp-admin/style.css", "send wp-admin/style.css"),
                ("/php.js", "send php.js"),
                ("/.well-known/x.txt", "send .well-known/x.txt"),
                ("/.well-known/caldav", "run /index.php"),
                ("/blog/2026/hello", "run /index.php"),
                ("/what/is.this", "run /index.php"),
                ("/wiki/Apple_Inc.", "run /index.php"),
                ("/missing.php", "run /index.php"),
                ("/missing.png", "run /index.php"),
                ("//a.txt", "run /index.php"),
                ("/a//b", "run /index.php"),
                ("/index.php/blog/a%20b", "run /index.php + /blog/a b"),
                ("/index.php/", "run /index.php + /"),
                ("/remote.php/dav/files/.config/%2Fx", "run /remote.php + /dav/files/.config//x"),
                ("/dir.php/y.php/z", "run /dir.php/y.php + /z"),
                ("/dir.php/z.txt", "send dir.php/z.txt"),
                ("/gr%C3%BC%C3%9Fe", "run /index.php"),
            ] {
                assert_eq!(bench.find(path), meant, "{path} in {within:?}");
            }
        }
    }

    #[test]
    fn source_is_never_sent_and_what_is_no_script_never_run() {
        let bench = Bench::new("");
        for path in [
            "/avatar.jpg/x.php",
            "/avatar.jpg/",
            "/avatar.jpg/a",
            "/a.txt/index.php",
            "/index.php%00.txt",
            "/index.php/%00",
            "/index.php/a/../b",
            "/a%00.php",
            "/..",
            "/../app/index.php",
            "/%2e%2e/x",
            "/wp-admin%2findex.php",
            "/wp-admin%5Cindex.php",
            "/index.php.",
            "/index.php%20",
            "/index.php.%20.",
            "/lib/a.inc",
            "/lib/view.phtml",
            "/lib/x.PHP",
            "/index.php~",
            "/index.php.bak",
            "/conf.php.orig",
            "/conf.php.1",
            "/.env",
            "/.git/config",
            "/rip.toml",
            "/%ff",
            "*",
            "",
        ] {
            assert_eq!(bench.find(path), "nothing", "{path}");
        }
        assert_eq!(bench.find("/page.php.txt"), "send page.php.txt");
    }

    #[test]
    fn links_lead_within_the_app_and_to_folders_that_are_followed() {
        let mut bench = Bench::new("public");
        let root = bench.root();
        let shared = bench.home.path().canonicalize().unwrap().join("usr");
        for (file, text) in
            [("app/storage/a.png", ""), ("usr/lib.php", ""), ("usr/style.css", ""), ("etc/key.txt", "")]
        {
            let path = bench.home.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for (link, target) in [
            ("storage", "../storage".into()),
            ("absolute", root.join("storage")),
            ("usr", shared.clone()),
            ("lib.php", shared.join("lib.php")),
            ("run.php", shared.join("style.css")),
            ("text.txt", "index.php".into()),
            ("out", bench.home.path().join("etc")),
            ("up", "../../etc".into()),
        ] {
            symlink(target, root.join("public").join(link)).unwrap();
        }
        let followed = [
            ("/usr/style.css", "send usr/style.css"),
            ("/usr/lib.php", "run /usr/lib.php"),
            ("/lib.php", "run /lib.php"),
        ];
        for (path, _) in followed {
            assert_eq!(bench.find(path), "run /index.php", "{path}");
        }
        bench.follow = vec![shared];
        for (path, meant) in followed.into_iter().chain([
            ("/storage/a.png", "send storage/a.png"),
            ("/absolute/a.png", "send absolute/a.png"),
            ("/run.php", "nothing"),
            ("/text.txt", "run /index.php"),
            ("/out/key.txt", "run /index.php"),
            ("/up/key.txt", "run /index.php"),
        ]) {
            assert_eq!(bench.find(path), meant, "{path}");
        }
    }
}
