//! PHP: scripts and files of a folder, with a front controller, by php-cgi, or by php-fpm where a worker takes several
//! requests at a time.
//!
//! Never here: which script or file a request means (`files/scripts`), or FastCGI.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use crate::apps::app_folder::AppFolder;
use crate::apps::detected_app::{DetectError, DetectedApp};
use crate::apps::kind::AppKind;
use crate::apps::programs::Program;
use crate::apps::recogniser::Recogniser;
use crate::spec::{Listen, Protocol, WorkerCount};

pub(in crate::apps) static PHP_APP: AppKind = PHP;

/// The processes of a pool are its own, and share what PHP has compiled.
pub(in crate::apps) static PHP_POOL: AppKind =
    AppKind { workers: Some(WorkerCount::Exactly(NonZeroU32::MIN)), ..PHP };

const PHP: AppKind = AppKind {
    name: "a PHP app",
    listens: &[Listen::Fd],
    asked_to_notify: false,
    stateless: true,
    production: &[],
    // WordPress, for one, sends requests to itself while it answers.
    workers: Some(WorkerCount::Times(TWO)),
    protocol: Some(Protocol::FastCgi),
    ..AppKind::PROGRAM
};

pub(super) static BY_SETTINGS: Recogniser = Recogniser {
    by_settings: true,
    spec: &[[
        "`php.root`",
        "php-cgi, one process for each worker; with `concurrency` above 1 php-fpm, with so many processes for each",
        "FastCGI",
    ]],
    ..Recogniser::new(configured)
};

pub(super) static BY_INDEX: Recogniser = Recogniser {
    looks_for: "index.php here or in public or web",
    programs: &[PHP_CGI, PHP_FPM],
    kinds: &[&PHP_APP],
    readme: &[[
        "`public/index.php` (Laravel, Symfony), `index.php` (WordPress), `web/index.php` (Drupal)",
        "php-cgi, or php-fpm",
        "php-cgi, or php-fpm",
    ]],
    spec: &[[
        "`index.php` in `public`, else in the folder, else in `web`",
        "php-cgi, one process for each worker; with `concurrency` above 1 php-fpm, with so many processes for each",
        "FastCGI",
    ]],
    ..Recogniser::new(in_folder)
};

const PHP_CGI: Program<'static> = Program { name: "php-cgi", install: "apt install php-cgi" };
const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);
/// The name of Debian's program has the version in it.
const PHP_FPM: Program<'static> = Program { name: "php-fpm", install: "apt install php-fpm" };

/// An app by `php.root` of the config, a folder in the app.
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
    let several = app.hints.concurrency.filter(|concurrency| *concurrency > NonZeroU32::MIN);
    let needed_for = file.display().to_string();
    let program = match several {
        None => app.need(&app.programs, &PHP_CGI, &needed_for)?,
        Some(_) => pool_program(app, &needed_for)?,
    };
    let start = format!("{FOLDERS} {}", if several.is_some() { START_POOL } else { START });
    let mut argv = vec!["/bin/sh".to_owned(), "-c".to_owned(), start, program];
    argv.extend(several.map(|processes| processes.to_string()));
    let usual = USUAL.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let told = app.hints.php_ini.iter().map(|(name, value)| (name.clone(), value.clone()));
    for (name, value) in usual.into_iter().chain(told) {
        argv.extend(["-d".to_owned(), format!("{name}={value}")]);
    }
    let (kind, by) = if several.is_some() { (&PHP_POOL, "php-fpm") } else { (&PHP_APP, "php-cgi") };
    let why = format!("PHP app: {} found, run by {by}", file.display());
    let mut found = app.found(kind, why, argv, None);
    found.scripts = Some(PathBuf::from(within));
    // The server decides how long a worker lives, and how many there are.
    found.env.extend(
        [("PHP_FCGI_MAX_REQUESTS", "0"), ("PHP_FCGI_CHILDREN", "0")]
            .map(|(name, value)| (name.into(), value.into())),
    );
    Ok(found)
}

/// The path of the newest php-fpm.
fn pool_program(app: &AppFolder<'_>, needed_for: &str) -> Result<String, DetectError> {
    let versions = (0..10).rev().map(|minor| format!("php-fpm8.{minor}"));
    let mut names = std::iter::once(PHP_FPM.name.to_owned()).chain(versions);
    let there = names.find(|name| app.programs.find(name).is_some());
    let program = Program { name: there.as_deref().unwrap_or(PHP_FPM.name), ..PHP_FPM };
    app.need(&app.programs, &program, needed_for)
}

/// Makes the folder of sessions, where all workers of the app find them, and the folder of compiled scripts, where
/// later workers find them. The script is one line, which units have no trouble with.
const FOLDERS: &str = "own=${TMPDIR:-/tmp}/rip-php-$(id -u)-$RIP_INSTANCE-$RIP_APP; \
    state=${STATE_DIRECTORY:-$own}; cache=${CACHE_DIRECTORY:-$own}; \
    mkdir -p -m 700 \"$state\" \"$cache\" && mkdir -p -m 700 \"$state/sessions\" \"$cache/opcache\" || exit; \
    [ -O \"$state\" ] || { echo \"$state belongs to somebody else\"; exit 1; };";

/// Becomes php-cgi with the listener as its standard input, where FastCGI has it.
const START: &str = "exec \"$0\" -d \"session.save_path=$state/sessions\" -d \"opcache.file_cache=$cache/opcache\" \
    \"$@\" <&3 3<&-";

/// Becomes php-fpm with a pool of a given number of processes on the listener, which php-fpm takes for a listener that
/// it has left to itself (`FPM_SOCKETS`). The file with its settings is the same for all workers with as many
/// processes.
const START_POOL: &str = "count=$1; shift; settings=$state/fpm-$count.conf; \
    if [ \"$(id -u)\" = 0 ]; then root='-R'; user='user = root'; group='group = root'; fi; \
    printf '%s\\n' '[global]' 'error_log = /dev/null' 'log_level = warning' 'daemonize = no' '[app]' \"${user:-}\" \
    \"${group:-}\" 'listen = /rip.sock' 'pm = static' \"pm.max_children = $count\" 'clear_env = no' \
    'catch_workers_output = yes' 'decorate_workers_output = no' >\"$settings.$$\" && \
    mv \"$settings.$$\" \"$settings\" || exit; export FPM_SOCKETS=/rip.sock=3; \
    exec \"$0\" -F -O ${root:-} -y \"$settings\" -d \"session.save_path=$state/sessions\" \
    -d \"opcache.file_cache=$cache/opcache\" \"$@\"";

/// The values beside PHP's own php.ini. Debian leaves sessions that are over to a timer, which knows only one folder.
const USUAL: [(&str, &str); 5] = [
    ("display_errors", "0"),
    ("log_errors", "1"),
    ("expose_php", "0"),
    ("session.gc_probability", "1"),
    ("session.gc_divisor", "1000"),
];
const INDEX: &str = "index.php";
