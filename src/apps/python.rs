//! Python: WSGI applications by gunicorn, ASGI applications by uvicorn, scripts that listen by themselves.
//!
//! Never here: running Python to find out; a light look at the text decides.

use std::path::{Path, PathBuf};

use super::detect::{App, listens_by, name_of, text_of};
use super::found::{DetectError, Found, Kind};
use super::programs::Programs;

/// `asgi.py`, `wsgi.py`, `app.py`, `main.py`, then a Django project by its `manage.py`.
pub(super) fn in_folder(app: &App<'_>) -> Result<Option<Found>, DetectError> {
    for name in ["asgi.py", "wsgi.py", "app.py", "main.py"] {
        let Some(entry) = app.file(name) else { continue };
        let text = text_of(&entry);
        if let Some(target) = Target::read(&text, name) {
            return run(app, &entry, module_of(&entry), target).map(Some);
        }
        if listens_by(&text).is_some() {
            return script(app, &entry, &text).map(Some);
        }
    }
    django(app)
}

/// A Python file given by name.
pub(super) fn of_file(app: &App<'_>, entry: &Path) -> Result<Found, DetectError> {
    let text = text_of(entry);
    match Target::read(&text, &name_of(entry)) {
        Some(target) => run(app, entry, module_of(entry), target),
        None => script(app, entry, &text),
    }
}

/// What the server in between is pointed at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    interface: Interface,
    /// The application's name in its module; `create_app()` for a factory.
    object: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interface {
    Wsgi,
    Asgi,
}

impl Target {
    /// Reads it off top-level lines; `None` when the file holds no application.
    fn read(text: &str, file: &str) -> Option<Self> {
        let found: Vec<_> = text.lines().filter_map(Self::of_line).collect();
        let named = |name: &str| found.iter().find(|(target, _)| target.object == name);
        let (target, certainty) = named("application").or_else(|| named("app")).or(found.first())?;
        let interface = match certainty {
            Certainty::Sure => target.interface,
            Certainty::Guess if file == "asgi.py" || imports_asgi(text) => Interface::Asgi,
            Certainty::Guess => Interface::Wsgi,
        };
        Some(Self { interface, object: target.object.clone() })
    }

    fn of_line(line: &str) -> Option<(Self, Certainty)> {
        if let Some(rest) = line.strip_prefix("async def ") {
            let (name, arguments) = rest.split_once('(')?;
            return arguments
                .starts_with("scope")
                .then(|| (Self::new(Interface::Asgi, name), Certainty::Sure));
        }
        if let Some(rest) = line.strip_prefix("def ") {
            let (name, arguments) = rest.split_once('(')?;
            if arguments.starts_with("env") {
                return Some((Self::new(Interface::Wsgi, name), Certainty::Sure));
            }
            let factory = name == "create_app" || name == "make_app";
            return factory.then(|| (Self::new(Interface::Wsgi, &format!("{name}()")), Certainty::Guess));
        }
        Self::of_assignment(line)
    }

    fn of_assignment(line: &str) -> Option<(Self, Certainty)> {
        let (name, value) = line.split_once('=')?;
        let name = name.split(':').next()?.trim_end();
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let calls = |makers: &[&str]| makers.iter().any(|maker| value.contains(maker));
        if calls(&ASGI_MAKERS) {
            return Some((Self::new(Interface::Asgi, name), Certainty::Sure));
        }
        if calls(&WSGI_MAKERS) {
            return Some((Self::new(Interface::Wsgi, name), Certainty::Sure));
        }
        matches!(name, "app" | "application").then(|| (Self::new(Interface::Wsgi, name), Certainty::Guess))
    }

    fn new(interface: Interface, object: &str) -> Self {
        Self { interface, object: object.into() }
    }
}

/// Whether a line says which interface it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    Sure,
    Guess,
}

fn run(app: &App<'_>, entry: &Path, module: String, target: Target) -> Result<Found, DetectError> {
    match target.interface {
        Interface::Wsgi => wsgi(app, entry, &format!("{module}:{}", target.object)),
        Interface::Asgi => asgi(app, entry, &module, &target.object),
    }
}

/// One process, one thread: the server gives a worker one request at a time. `gthread`, because a `sync` worker ends
/// the connection after each answer; either waits for the first request of a connection it has accepted, so nobody
/// may connect without sending. No time limit of its own: the server has one. No `--bind`: gunicorn takes the socket
/// from `LISTEN_FDS` and would open `fd://3` a second time, which fails.
fn wsgi(app: &App<'_>, entry: &Path, target: &str) -> Result<Found, DetectError> {
    let programs = app.local_programs();
    let file = name_of(entry);
    let gunicorn = app.need(&programs, "gunicorn", &file)?;
    let mut argv = vec![gunicorn.clone()];
    argv.extend(GUNICORN.map(String::from));
    // Newer ones open a control socket in the home directory, one for all; older ones do not know the flag.
    let help = programs.ask(Path::new(&gunicorn), &["--help"]).unwrap_or_default();
    argv.extend(help.contains("--no-control-socket").then(|| "--no-control-socket".into()));
    argv.push(target.into());
    let why = format!("Python WSGI app: {target} in {file}, run by gunicorn");
    let mut found = app.found(Kind::PythonWsgi, why, argv, Some(entry));
    found.env = environment(app, &programs);
    Ok(found)
}

fn asgi(app: &App<'_>, entry: &Path, module: &str, object: &str) -> Result<Found, DetectError> {
    let programs = app.local_programs();
    let file = name_of(entry);
    let mut argv = vec![app.need(&programs, "uvicorn", &file)?];
    argv.extend(UVICORN.map(String::from));
    let target = match object.strip_suffix("()") {
        Some(factory) => {
            argv.push("--factory".into());
            format!("{module}:{factory}")
        }
        None => format!("{module}:{object}"),
    };
    argv.push(target.clone());
    let why = format!("Python ASGI app: {target} in {file}, run by uvicorn");
    let mut found = app.found(Kind::PythonAsgi, why, argv, Some(entry));
    found.env = environment(app, &programs);
    Ok(found)
}

fn script(app: &App<'_>, entry: &Path, text: &str) -> Result<Found, DetectError> {
    let programs = app.local_programs();
    let file = name_of(entry);
    let argv = vec![app.need(&programs, "python3", &file)?, entry.to_string_lossy().into_owned()];
    let why = format!("Python server: {file} found, run by python3");
    let mut found = app.found(Kind::PythonServer, why, argv, Some(entry));
    found.listen = listens_by(text).unwrap_or(found.listen);
    found.env = environment(app, &programs);
    Ok(found)
}

/// A Django project: `manage.py` names the settings module, whose package has `wsgi.py` or only `asgi.py`.
fn django(app: &App<'_>) -> Result<Option<Found>, DetectError> {
    let Some(manage) = app.file("manage.py") else { return Ok(None) };
    let text = text_of(&manage);
    let Some(settings) = text.split("DJANGO_SETTINGS_MODULE").nth(1) else { return Ok(None) };
    let package = settings.split(['"', '\'']).map(str::trim).find(|word| word.contains('.'));
    let Some((package, _)) = package.and_then(|word| word.rsplit_once('.')) else { return Ok(None) };
    let folder = app.dir.join(package.replace('.', "/"));
    let entry = |name: &str| -> Option<PathBuf> { Some(folder.join(name)).filter(|path| path.is_file()) };
    let (entry, interface, name) = match (entry("wsgi.py"), entry("asgi.py")) {
        (Some(entry), _) => (entry, Interface::Wsgi, "wsgi"),
        (None, Some(entry)) => (entry, Interface::Asgi, "asgi"),
        (None, None) => return Ok(None),
    };
    run(app, &entry, format!("{package}.{name}"), Target::new(interface, "application")).map(Some)
}

fn environment(app: &App<'_>, programs: &Programs) -> Vec<(String, String)> {
    let mut env = vec![programs.variable(), ("PYTHONUNBUFFERED".into(), "1".into())];
    let venv =
        [".venv", "venv"].map(|name| app.dir.join(name)).into_iter().find(|venv| venv.join("bin").is_dir());
    env.extend(venv.map(|venv| ("VIRTUAL_ENV".into(), venv.to_string_lossy().into_owned())));
    env
}

fn module_of(entry: &Path) -> String {
    entry.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn imports_asgi(text: &str) -> bool {
    let import = |line: &str| line.starts_with("import ") || line.starts_with("from ");
    let mut imports = text.lines().filter(|line| import(line));
    imports.any(|line| ASGI_PACKAGES.iter().any(|package| line.contains(package)))
}

const ASGI_PACKAGES: [&str; 6] = ["fastapi", "starlette", "quart", "litestar", "blacksheep", "falcon.asgi"];
const ASGI_MAKERS: [&str; 6] =
    ["FastAPI(", "Starlette(", "Quart(", "Litestar(", "get_asgi_application(", "falcon.asgi.App("];
const WSGI_MAKERS: [&str; 5] =
    ["Flask(", "Bottle(", "get_wsgi_application(", "falcon.App(", "make_wsgi_app("];

const GUNICORN: [&str; 7] = [
    "--workers=1",
    "--worker-class=gthread",
    "--threads=1",
    "--timeout=0",
    "--graceful-timeout=30",
    "--keep-alive=75",
    "--forwarded-allow-ips=*",
];
const UVICORN: [&str; 5] =
    ["--fd=3", "--no-access-log", "--proxy-headers", "--forwarded-allow-ips=*", "--timeout-keep-alive=75"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_is_read_off_the_text() {
        let table = [
            (
                "wsgi.py",
                "def application(environ, start_response):\n",
                Some((Interface::Wsgi, "application")),
            ),
            ("app.py", "from flask import Flask\napp = Flask(__name__)\n", Some((Interface::Wsgi, "app"))),
            ("main.py", "from fastapi import FastAPI\napi = FastAPI()\n", Some((Interface::Asgi, "api"))),
            ("main.py", "app: FastAPI = FastAPI()\n", Some((Interface::Asgi, "app"))),
            ("app.py", "async def app(scope, receive, send):\n", Some((Interface::Asgi, "app"))),
            ("asgi.py", "application = get_asgi_application()\n", Some((Interface::Asgi, "application"))),
            ("asgi.py", "from site import build\napp = build()\n", Some((Interface::Asgi, "app"))),
            ("app.py", "from site import build\napp = build()\n", Some((Interface::Wsgi, "app"))),
            ("app.py", "from starlette.x import y\napp = y()\n", Some((Interface::Asgi, "app"))),
            ("app.py", "def create_app():\n    app = Flask('x')\n", Some((Interface::Wsgi, "create_app()"))),
            ("app.py", "def create_app():\n    pass\n\napp = Flask('x')\n", Some((Interface::Wsgi, "app"))),
            ("main.py", "    app = Flask('x')\nx == 1\nprint('app = 1')\n", None),
            ("main.py", "", None),
        ];
        for (file, text, expected) in table {
            let expected = expected.map(|(interface, object)| Target::new(interface, object));
            assert_eq!(Target::read(text, file), expected, "{file}: {text}");
        }
    }
}
