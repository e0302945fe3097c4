//! Python: where in a folder an application or a script that listens is looked for, and what runs it.
//!
//! Never here: what application a module holds (`python_target`), or running Python to find out.

use std::path::{Path, PathBuf};

use super::python_place::{ModulePlace, imports_neighbours};
use super::python_target::{Interface, PythonApp};
use super::source;
use crate::apps::app_folder::{AppFolder, listens_by};
use crate::apps::detected_app::{DetectError, DetectedApp};
use crate::apps::kind::{AppKind, CONCURRENT};
use crate::apps::programs::{Program, Programs};
use crate::apps::recogniser::{LookAtFolder, Recogniser};
use crate::apps::source_files::{name_of, text_of};
use crate::apps::{project, worker_scripts};
use crate::spec::Listen;

pub(in crate::apps) static WSGI: AppKind = AppKind {
    name: "a WSGI app",
    listens: &[Listen::Fd],
    asked_to_notify: false,
    stateless: true,
    production: &[],
    finds_client: true,
    ..AppKind::PROGRAM
};

pub(in crate::apps) static ASGI: AppKind = AppKind {
    name: "an ASGI app",
    listens: &[Listen::Fd],
    stateless: true,
    concurrency: CONCURRENT,
    production: &[],
    finds_client: true,
    ..AppKind::PROGRAM
};

/// A script that listens by itself.
pub(in crate::apps) static PYTHON_SERVER: AppKind =
    AppKind { name: "a Python server", production: &[], ..AppKind::PROGRAM };

pub(super) static BY_MODULE: Recogniser = Recogniser {
    files: &[("py", of_file)],
    looks_for: "asgi.py, wsgi.py, app.py, main.py, manage.py, a package with create_app",
    programs: &[GUNICORN, UVICORN, PYTHON],
    event_loops: &["uvicorn", "hypercorn", "daphne", "granian"],
    kinds: &[&WSGI, &ASGI, &PYTHON_SERVER],
    readme: &[[
        "`asgi.py`, `wsgi.py`, `app.py`, `main.py`, a Django project, `app/main.py`, a package with `create_app`",
        "uvicorn, gunicorn, or python3",
        "gunicorn or uvicorn",
    ]],
    spec: &[
        [
            "`asgi.py`, `wsgi.py`, `app.py`, `main.py` with a WSGI application, their own or imported, or with \
             `create_app`",
            "gunicorn, one process, one thread",
            "`fd`",
        ],
        ["… with an ASGI application", "uvicorn", "`fd`"],
        ["… with neither, but a server that listens", "python3", "as its text shows"],
        [
            "`manage.py` of a Django project, here or in the only folder that has one",
            "gunicorn or uvicorn with `wsgi.py`, else `asgi.py`, of the settings' package or of one above it \
             (`mysite.settings.dev`: `mysite`)",
            "`fd`",
        ],
        [
            "`application.py`, `server.py`, `run.py`, `api.py`, `flask_app.py`, or a file called like the folder",
            "as `app.py`",
            "",
        ],
        ["the only file in which a line makes an application, whatever it is called", "as `app.py`", ""],
        [
            "a package of the folder, or of its `src`, whose `asgi.py`, `wsgi.py`, `main.py`, `app.py` or `__init__.py` \
             makes an application: `app/main.py`, `flaskr/__init__.py`. One called `app`, `src`, `backend`, `server`, \
             `api`, `web` or like the folder comes first; of others there may be only one",
            "as `app.py`, by its name from the project's folder; in its own folder if it imports its neighbours by their \
             bare names",
            "",
        ],
    ],
    ..Recogniser::new(in_folder)
};

const GUNICORN: Program<'static> = Program {
    name: "gunicorn",
    install: "apt install gunicorn, or pip install gunicorn into the app's .venv",
};
const UVICORN: Program<'static> =
    Program { name: "uvicorn", install: "apt install uvicorn, or pip install uvicorn into the app's .venv" };
const PYTHON: Program<'static> = Program { name: "python3", install: "apt install python3" };

/// Looks for modules in the folder, a Django project, modules in a package of the folder, and a Django project in a
/// folder below it.
fn in_folder(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let ways: [LookAtFolder; 6] = [first_modules, django, later_modules, only_module, package, nested];
    for way in ways {
        if let Some(found) = way(app)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A Python file given by name.
fn of_file(app: &AppFolder<'_>, entry: &Path) -> Result<DetectedApp, DetectError> {
    let place = ModulePlace::of(app, entry);
    match PythonApp::of_file(entry, &place.root) {
        Some(target) => run(app, &place, target),
        None => script(app, entry, &text_of(entry)),
    }
}

fn first_modules(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    modules(app, &["asgi.py", "wsgi.py", "app.py", "main.py"].map(String::from))
}

fn later_modules(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let own = format!("{}.py", name_of(&app.dir).replace('-', "_"));
    let usual =
        ["application.py", "server.py", "run.py", "api.py", "flask_app.py", "__init__.py"].map(String::from);
    modules(app, &[&usual[..], &[own]].concat())
}

/// An app by the only file of the folder in which a line makes an application, whatever the file is called.
fn only_module(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let places = project::files(&app.dir, "py").into_iter().filter(|entry| {
        let name = name_of(entry);
        !["setup.py", "conftest.py", "manage.py"].contains(&&*name) && !name.starts_with("test_")
    });
    let places = places.map(|entry| ModulePlace::of(app, &entry));
    let mut found = places.filter_map(|place| {
        let target = PythonApp::of_file(&place.entry, &place.root).filter(|target| target.sure)?;
        Some((place, target))
    });
    match (found.next(), found.next()) {
        (Some((place, target)), None) => run(app, &place, target).map(Some),
        (Some((one, _)), Some((other, _))) => {
            app.saw(format!(
                "{} and {} each make an application: name the one that is meant, as in `rip-server ./{}`",
                name_of(&one.entry),
                name_of(&other.entry),
                name_of(&one.entry)
            ));
            Ok(None)
        }
        (None, _) => Ok(None),
    }
}

fn modules(app: &AppFolder<'_>, names: &[String]) -> Result<Option<DetectedApp>, DetectError> {
    for name in names {
        let Some(entry) = app.file(name) else { continue };
        let place = ModulePlace::of(app, &entry);
        if let Some(target) = PythonApp::of_file(&entry, &place.root) {
            return run(app, &place, target).map(Some);
        }
        let text = source::without_hash_lines(&text_of(&entry));
        if listens_by(&text).is_some() {
            return script(app, &entry, &text).map(Some);
        }
        if name != "__init__.py" {
            app.saw(format!(
                "{name} is there, but no line in it makes an application, as `app = Flask(__name__)` does, or listens \
                 on $PORT: in rip.toml `command = [\"python3\", \"{name}\"]` runs it as it is"
            ));
        }
    }
    Ok(None)
}

/// An app by a package of the folder, or of its `src`, whose modules make an application: a package with a usual name,
/// else the only one.
fn package(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let src = app.dir.join("src");
    let own = name_of(&app.dir).replace('-', "_");
    let mut others = Vec::new();
    for root in [&app.dir, &src] {
        let mut packages = project::folders(root);
        let rank = |folder: &PathBuf| {
            let name = name_of(folder);
            let usual = PACKAGES.iter().position(|usual| *usual == name);
            if name == own { 0 } else { usual.map_or(usize::MAX, |at| at + 1) }
        };
        packages.sort_by_key(rank);
        for folder in packages {
            let usual = rank(&folder) < usize::MAX;
            let Some((place, target)) = module_of(app, root, &folder, usual) else { continue };
            if usual {
                return run(app, &place, target).map(Some);
            }
            others.push((place, target));
        }
    }
    let names: Vec<_> =
        others.iter().map(|(place, target)| format!("{}:{}", place.module, target.object)).collect();
    match (others.pop(), others.len()) {
        (Some((place, target)), 0) => run(app, &place, target).map(Some),
        (Some(_), _) => {
            let server = if names.len() > 1 { names.join(", ") } else { String::new() };
            app.saw(format!(
                "several packages make an application ({server}): say which one in rip.toml, as in \
                 `command = [\"gunicorn\", \"{}\"]`",
                names[0]
            ));
            Ok(None)
        }
        (None, _) => Ok(None),
    }
}

fn module_of(
    app: &AppFolder<'_>,
    root: &Path,
    folder: &Path,
    usual: bool,
) -> Option<(ModulePlace, PythonApp)> {
    if !usual && !folder.join("__init__.py").is_file() {
        return None;
    }
    let entries = MODULES.map(|name| folder.join(name)).into_iter().filter(|entry| entry.is_file());
    entries.into_iter().find_map(|entry| {
        // A module that imports its neighbours by their bare names is run in their folder.
        let place = match imports_neighbours(&entry, folder, root) {
            true => ModulePlace::in_root(folder, &entry, folder),
            false => ModulePlace::in_root(root, &entry, &app.dir),
        };
        let target = PythonApp::of_file(&entry, &place.root).filter(|target| target.sure)?;
        Some((place, target))
    })
}

/// A Django project: `manage.py` names the settings module, and the package of that, or one above it, has `wsgi.py` or
/// only `asgi.py`. Where `manage.py` names none, the project is the only package that has one of these files.
fn django(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let Some(manage) = app.file("manage.py") else { return Ok(None) };
    let text = source::without_hash_lines(&text_of(&manage));
    let settings = text.split("DJANGO_SETTINGS_MODULE").nth(1).unwrap_or_default();
    let line = settings.split(')').next().unwrap_or_default();
    let named = line.split(['"', '\'']).map(str::trim).find(|word| word.contains('.') && !word.contains(' '));
    let named = named.map(|module| app.dir.join(module.replace('.', "/")));
    let above = named.iter().flat_map(|settings| settings.ancestors().skip(1));
    let above = above.take_while(|folder| folder.starts_with(&app.dir)).map(Path::to_path_buf);
    let all = project::folders(&app.dir);
    let folders: Vec<_> = above.chain(all.iter().cloned()).collect();
    for (name, interface) in [("wsgi.py", Interface::Wsgi), ("asgi.py", Interface::Asgi)] {
        let Some(entry) = folders.iter().map(|folder| folder.join(name)).find(|entry| entry.is_file()) else {
            continue;
        };
        let place = ModulePlace::in_root(&app.dir, &entry, &app.dir);
        let named = PythonApp::of_file(&entry, &app.dir).map_or("application".into(), |target| target.object);
        return run(app, &place, PythonApp { interface, object: named, sure: true }).map(Some);
    }
    app.saw(
        "manage.py is there, but no wsgi.py or asgi.py in the package of its settings, as `django-admin startproject` \
         writes them: in rip.toml `command = [\"gunicorn\", \"PACKAGE.wsgi:application\"]`",
    );
    Ok(None)
}

/// The only folder in this one that has a `manage.py`.
fn nested(app: &AppFolder<'_>) -> Result<Option<DetectedApp>, DetectError> {
    let mut folders = project::folders(&app.dir);
    folders.retain(|folder| folder.join("manage.py").is_file());
    match folders.pop() {
        Some(folder) if folders.is_empty() => django(&app.within(folder)),
        _ => Ok(None),
    }
}

fn run(app: &AppFolder<'_>, place: &ModulePlace, target: PythonApp) -> Result<DetectedApp, DetectError> {
    let mut found = match target.interface {
        Interface::Wsgi => wsgi(app, place, &format!("{}:{}", place.module, target.object)),
        Interface::Asgi => asgi(app, place, &target.object),
    }?;
    found.command.dir = place.dir.clone();
    Ok(found)
}

/// Runs gunicorn with one process and one thread, because the server gives a worker one request at a time. The worker
/// is threaded, because a `sync` worker ends the connection after each answer; either waits for the first request of a
/// connection that it has accepted, so that nobody may connect without sending. The worker's class is the server's own,
/// which tells the app the client's address. There is no time limit of gunicorn's: the server has one. There is no
/// `--bind`: gunicorn takes the socket from `LISTEN_FDS` and would open `fd://3` a second time, which fails.
fn wsgi(app: &AppFolder<'_>, place: &ModulePlace, target: &str) -> Result<DetectedApp, DetectError> {
    let programs = app.local_programs();
    let file = shown(app, &place.entry);
    let gunicorn = app.need(&programs, &GUNICORN, &name_of(&place.entry))?;
    let mut argv = vec![gunicorn.clone(), format!("--worker-class={}", worker_scripts::GUNICORN_WORKER)];
    argv.push(format!("--pythonpath={}", python_path(app, place)?));
    argv.extend(GUNICORN_FLAGS.map(String::from));
    // Newer versions open a control socket in the home directory, one for all; older ones do not know the flag.
    let help = programs.ask(Path::new(&gunicorn), &["--help"]).unwrap_or_default();
    argv.extend(help.contains("--no-control-socket").then(|| "--no-control-socket".into()));
    argv.push(target.into());
    let why = format!("Python WSGI app: {target} in {file}, run by gunicorn");
    let mut found = app.found(&WSGI, why, argv, Some(&place.entry));
    found.env = environment(app, &programs);
    Ok(found)
}

/// The folders in which gunicorn looks for modules beside its working directory: that of the server's worker class, the
/// app's, and those of the app's own `gunicorn.conf.py`, whose setting the flag replaces.
fn python_path(app: &AppFolder<'_>, place: &ModulePlace) -> Result<String, DetectError> {
    let text = |path: &Path| path.to_str().map(String::from).ok_or_else(|| DetectError::NotUtf8(path.into()));
    let mut folders = vec![text(app.hints.runtime_dir_for_scripts)?];
    if place.root != place.dir {
        folders.push(text(&place.root)?);
    }
    let lines = source::python_lines(&text_of(&place.dir.join("gunicorn.conf.py")));
    let own = lines.iter().filter_map(|line| line.strip_prefix("pythonpath")?.trim_start().strip_prefix('='));
    folders.extend(own.map(|value| value.trim().trim_matches(['"', '\'']).to_owned()).next_back());
    Ok(folders.join(","))
}

fn asgi(app: &AppFolder<'_>, place: &ModulePlace, object: &str) -> Result<DetectedApp, DetectError> {
    let programs = app.local_programs();
    let file = shown(app, &place.entry);
    let mut argv = vec![app.need(&programs, &UVICORN, &name_of(&place.entry))?];
    argv.extend(UVICORN_FLAGS.map(String::from));
    let (module, mut env) = (&place.module, environment(app, &programs));
    let name = object.strip_suffix("()").unwrap_or(object);
    let text = |path: &Path| path.to_str().map(String::from).ok_or_else(|| DetectError::NotUtf8(path.into()));
    if app.hints.behind_proxies {
        argv.push(format!("--app-dir={}", text(app.hints.runtime_dir_for_scripts)?));
        argv.push(worker_scripts::ASGI_WRAPPER.into());
        env.push(("RIP_ASGI".into(), format!("{module}:{object}")));
        env.push(("RIP_ASGI_FOLDER".into(), text(&place.root)?));
    } else {
        argv.extend(
            (place.root != place.dir)
                .then(|| text(&place.root))
                .transpose()?
                .map(|root| format!("--app-dir={root}")),
        );
        argv.extend((name != object).then(|| "--factory".into()));
        argv.push(format!("{module}:{name}"));
    }
    let why = format!("Python ASGI app: {module}:{name} in {file}, run by uvicorn");
    let mut found = app.found(&ASGI, why, argv, Some(&place.entry));
    found.env = env;
    Ok(found)
}

fn script(app: &AppFolder<'_>, entry: &Path, text: &str) -> Result<DetectedApp, DetectError> {
    let programs = app.local_programs();
    let file = name_of(entry);
    let argv = vec![app.need(&programs, &PYTHON, &file)?, entry.to_string_lossy().into_owned()];
    let why = format!("Python server: {file} found, run by python3");
    let mut found = app.found(&PYTHON_SERVER, why, argv, Some(entry));
    found.listen = listens_by(text).unwrap_or(found.listen);
    found.env = environment(app, &programs);
    Ok(found)
}

fn environment(app: &AppFolder<'_>, programs: &Programs) -> Vec<(String, String)> {
    let mut env = vec![programs.variable(), ("PYTHONUNBUFFERED".into(), "1".into())];
    let venvs = app.roots.iter().flat_map(|root| [".venv", "venv"].map(|name| root.join(name)));
    let venv = venvs.into_iter().find(|venv| venv.join("bin").is_dir());
    env.extend(venv.map(|venv| ("VIRTUAL_ENV".into(), venv.to_string_lossy().into_owned())));
    env
}

/// The file's path from the app's folder.
fn shown(app: &AppFolder<'_>, entry: &Path) -> String {
    entry.strip_prefix(&app.dir).map_or_else(|_| name_of(entry), |below| below.display().to_string())
}

/// The usual names of packages with the app, which win over other packages.
const PACKAGES: [&str; 6] = ["app", "src", "backend", "server", "api", "web"];
/// The modules of a package, in the order in which they are looked at.
const MODULES: [&str; 7] = ["asgi.py", "wsgi.py", "main.py", "app.py", "__init__.py", "server.py", "api.py"];

const GUNICORN_FLAGS: [&str; 6] = [
    "--workers=1",
    "--threads=1",
    "--timeout=0",
    "--graceful-timeout=30",
    "--keep-alive=75",
    "--forwarded-allow-ips=*",
];
const UVICORN_FLAGS: [&str; 5] =
    ["--fd=3", "--no-access-log", "--proxy-headers", "--forwarded-allow-ips=*", "--timeout-keep-alive=75"];
