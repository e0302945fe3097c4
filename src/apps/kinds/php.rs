//! PHP: scripts and files of a folder, with a front controller, by php-cgi.
//!
//! Never here: which script or file a request means (`files/scripts`), or FastCGI.

use std::path::{Path, PathBuf};

use crate::apps::app_folder::AppFolder;
use crate::apps::detected_app::{DetectError, DetectedApp};
use crate::apps::kind::AppKind;
use crate::apps::programs::Program;
use crate::apps::recogniser::Recogniser;
use crate::spec::{Listen, Protocol, WorkerCount};

pub(in crate::apps) static PHP_APP: AppKind = AppKind {
    name: "a PHP app",
    listens: &[Listen::Fd],
    asked_to_notify: false,
    stateless: true,
    production: &[],
    // WordPress, for one, asks itself while it answers.
    workers: Some(WorkerCount::Times(TWO)),
    protocol: Some(Protocol::FastCgi),
    ..AppKind::PROGRAM
};

pub(super) static BY_SETTINGS: Recogniser = Recogniser {
    by_settings: true,
    spec: &[["`php.root`", "php-cgi, one process for each worker", "FastCGI"]],
    ..Recogniser::new(configured)
};

pub(super) static BY_INDEX: Recogniser = Recogniser {
    looks_for: "index.php here or in public or web",
    programs: &[PHP_CGI],
    kinds: &[&PHP_APP],
    readme: &[[
        "`public/index.php` (Laravel, Symfony), `index.php` (WordPress), `web/index.php` (Drupal)",
        "php-cgi",
        "php-cgi",
    ]],
    spec: &[[
        "`index.php` in `public`, else in the folder, else in `web`",
        "php-cgi, one process for each worker",
        "FastCGI",
    ]],
    ..Recogniser::new(in_folder)
};

const PHP_CGI: Program<'static> = Program { name: "php-cgi", install: "apt install php-cgi" };
const TWO: std::num::NonZeroU32 = std::num::NonZeroU32::MIN.saturating_add(1);

/// `php.root` of the config: a folder of the app's own.
fn configured(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let Some(told) = app.hints.php_root else { return Ok(None) };
    let wrong = |why| Err(DetectError::PhpRoot { path: told.to_owned(), why });
    let Ok(root) = app.dir.join(told).canonicalize() else { return wrong("which is not there") };
    match root.strip_prefix(&app.dir) {
        Err(_) => wrong("which is not in the app's folder"),
        Ok(_) if !root.join(INDEX).is_file() => wrong("in which there is no index.php"),
        Ok(within) => run(app, within).map(Some),
    }
}

fn in_folder(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let within = ["public", "", "web"].into_iter().find(|within| app.dir.join(within).join(INDEX).is_file());
    within.map(|within| run(app, Path::new(within))).transpose()
}

fn run(app: &AppFolder<'_>, within: &Path) -> Result<DetectedApp, DetectError> {
    let file = within.join(INDEX);
    let program = app.need(&app.programs, &PHP_CGI, &file.display().to_string())?;
    let mut argv = ["/bin/sh", "-c", START, &program].map(String::from).to_vec();
    let usual = USUAL.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let told = app.hints.php_ini.iter().map(|(name, value)| (name.clone(), value.clone()));
    for (name, value) in usual.into_iter().chain(told) {
        argv.extend(["-d".to_owned(), format!("{name}={value}")]);
    }
    let why = format!("PHP app: {} found, run by php-cgi", file.display());
    let mut found = app.found(&PHP_APP, why, argv, None);
    found.scripts = Some(PathBuf::from(within));
    // How long a worker lives is the server's business, and so is how many there are.
    found.env.extend(
        [("PHP_FCGI_MAX_REQUESTS", "0"), ("PHP_FCGI_CHILDREN", "0")]
            .map(|(name, value)| (name.into(), value.into())),
    );
    Ok(found)
}

/// Becomes php-cgi with the listener as its standard input, where FastCGI has it. Sessions are kept where all workers
/// of the app find them, and compiled scripts where those to come do. In one line, which units have no trouble with.
const START: &str = "own=${TMPDIR:-/tmp}/rip-php-$(id -u)-$RIP_INSTANCE-$RIP_APP; \
    state=${STATE_DIRECTORY:-$own}; cache=${CACHE_DIRECTORY:-$own}; \
    mkdir -p -m 700 \"$state\" \"$cache\" && mkdir -p -m 700 \"$state/sessions\" \"$cache/opcache\" || exit; \
    [ -O \"$state\" ] || { echo \"$state belongs to somebody else\"; exit 1; }; \
    exec \"$0\" -d \"session.save_path=$state/sessions\" -d \"opcache.file_cache=$cache/opcache\" \"$@\" <&3 3<&-";

/// What php-cgi is told beside its own php.ini. Debian leaves the sessions that are over to a timer, which knows one
/// folder.
const USUAL: [(&str, &str); 5] = [
    ("display_errors", "0"),
    ("log_errors", "1"),
    ("expose_php", "0"),
    ("session.gc_probability", "1"),
    ("session.gc_divisor", "1000"),
];
const INDEX: &str = "index.php";
