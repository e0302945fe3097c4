//! Finds the application that a Python module holds, and its interface, as far as the module's top-level lines show.
//!
//! Never here: running Python, or how an application is run.

use std::path::{Path, PathBuf};

use super::source;
use crate::apps::source_files::{name_of, text_of};

/// The application that gunicorn or uvicorn is pointed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::apps) struct PythonApp {
    pub(in crate::apps) interface: Interface,
    /// The application's name in its module; `create_app()` for a factory.
    pub(in crate::apps) object: String,
    /// Whether a line, and not only the name, shows that it is an application.
    pub(in crate::apps) sure: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::apps) enum Interface {
    Wsgi,
    Asgi,
}

impl PythonApp {
    /// Finds the application in a module's file; imports of the module are looked up below `root`. `None`: there is no
    /// application.
    pub(in crate::apps) fn of_file(file: &Path, root: &Path) -> Option<Self> {
        Self::read(&text_of(file), &Module::of(file, root))
    }

    /// Finds the application in the text of a module's file, as [`of_file`](Self::of_file) does.
    pub(in crate::apps) fn read(text: &str, module: &Module<'_>) -> Option<Self> {
        let lines = source::python_lines(text);
        let before = [""].into_iter().chain(lines.iter().map(String::as_str));
        let found: Vec<_> =
            before.zip(&lines).flat_map(|(before, line)| Assignment::of(line, before)).collect();
        let named = |name: &str| found.iter().find(|one| one.object == name);
        let sure = || found.iter().find(|one| one.interface.is_some());
        let chosen = named("application").or_else(|| named("app")).or_else(sure).or(found.first())?;
        let told = chosen.interface.or_else(|| module.interface(&lines, chosen));
        let interface = told.unwrap_or_else(|| module.needs());
        Some(Self { interface, object: chosen.object.clone(), sure: told.is_some() })
    }
}

/// A name that may be an application.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Assignment {
    object: String,
    /// The interface; `None`: the line does not show it.
    interface: Option<Interface>,
}

impl Assignment {
    fn of(line: &str, before: &str) -> Vec<Self> {
        if let Some(import) = line.strip_prefix("from ") {
            let usual = imports(import).map(|(_, _, bound)| bound).filter(|bound| is_usual(bound));
            return usual.map(|bound| Self { object: called(bound), interface: None }).collect();
        }
        Self::of_function(line, before).or_else(|| Self::of_assignment(line)).into_iter().collect()
    }

    /// A function as an application, which its parameters show whatever they are called, or as a factory of one.
    fn of_function(line: &str, before: &str) -> Option<Self> {
        let asynchronous = line.starts_with("async def ");
        let rest = line.strip_prefix("async def ").or_else(|| line.strip_prefix("def "))?;
        let (name, rest) = rest.split_once('(')?;
        let (name, parameters) = (name.trim(), parameters(rest));
        if !is_identifier(name) {
            return None;
        }
        let usual = matches!(name, "app" | "application");
        let first = parameters.first().map(String::as_str).unwrap_or_default();
        let decorated = DECORATORS.contains(&before);
        let interface = match parameters.len() {
            3 if asynchronous && (usual || first.starts_with("scope")) => Some(Interface::Asgi),
            3 if usual && first.starts_with("scope") => Some(Interface::Asgi),
            2 if !asynchronous && (usual || first.starts_with("env")) => Some(Interface::Wsgi),
            _ if decorated => Some(Interface::Wsgi),
            _ => None,
        };
        if interface.is_some() {
            return Some(Self { object: name.into(), interface });
        }
        // A server cannot call a function that needs arguments.
        let makes =
            !asynchronous && FACTORIES.contains(&name) && parameters.iter().all(|one| is_optional(one));
        makes.then(|| Self { object: called(name), interface: None })
    }

    fn of_assignment(line: &str) -> Option<Self> {
        let (name, value) = line.split_once('=')?;
        let name = name.split(':').next()?.trim_end();
        if !is_identifier(name) || value.starts_with('=') || OTHERS.iter().any(|other| calls(value, other)) {
            return None;
        }
        let maker = |makers: &[&str]| makers.iter().any(|maker| calls(value, maker));
        let interface = match (maker(&ASGI_MAKERS), maker(&WSGI_MAKERS)) {
            (true, _) => Some(Interface::Asgi),
            (_, true) => Some(Interface::Wsgi),
            _ => None,
        };
        // Dash keeps its application in this attribute.
        let interface =
            interface.or((name == "server" && value.ends_with(".server")).then_some(Interface::Wsgi));
        if interface.is_none() && !is_usual(name) {
            return None;
        }
        Some(Self { object: name.into(), interface })
    }
}

/// A module whose imports may be followed.
pub(in crate::apps) struct Module<'a> {
    file: &'a Path,
    root: &'a Path,
    steps: usize,
}

impl<'a> Module<'a> {
    pub(in crate::apps) fn of(file: &'a Path, root: &'a Path) -> Self {
        Self { file, root, steps: MOST_STEPS }
    }

    /// The interface of a name whose line does not show it: by the file's name, by what the module makes and imports,
    /// or by the module that the name comes from.
    fn interface(&self, lines: &[String], chosen: &Assignment) -> Option<Interface> {
        match &*name_of(self.file) {
            "asgi.py" => return Some(Interface::Asgi),
            "wsgi.py" => return Some(Interface::Wsgi),
            _ => {}
        }
        let whole = text_of(self.file);
        let own = made_in(&whole).or_else(|| imports_asgi(lines).then_some(Interface::Asgi));
        own.or_else(|| self.origin(lines, chosen.object.trim_end_matches("()")))
    }

    /// The interface of what the module makes from which a name comes, in files of the project alone.
    fn origin(&self, lines: &[String], name: &str) -> Option<Interface> {
        let steps = self.steps.checked_sub(1)?;
        let imported = lines.iter().filter_map(|line| line.strip_prefix("from ")).flat_map(imports);
        if let Some((from, name, _)) = imported.filter(|(_, _, bound)| *bound == name).last() {
            let file = self.find(from).or_else(|| self.find(&format!("{from}.{name}")))?;
            let text = text_of(&file);
            let (module, lines) =
                (Module { file: &file, root: self.root, steps }, source::python_lines(&text));
            let own = made_in(&text).or_else(|| imports_asgi(&lines).then_some(Interface::Asgi));
            return own.or_else(|| module.origin(&lines, name));
        }
        let whole =
            lines.iter().filter_map(|line| line.strip_prefix("import ")).flat_map(|line| line.split(','));
        let mut whole = whole.map(|one| one.trim().split_once(" as ").unwrap_or((one.trim(), one.trim())));
        if let Some((module, _)) = whole.find(|(_, bound)| bound.trim() == name) {
            return made_in(&text_of(&self.find(module.trim())?));
        }
        let mut values = lines.iter().filter_map(|line| line.split_once('='));
        let made = values.rfind(|(own, _)| own.split(':').next().is_some_and(|own| own.trim() == name));
        let maker = made?.1.trim().split(|c: char| !is_name(c)).next().filter(|maker| *maker != name)?;
        Self { steps, ..*self }.origin(lines, maker)
    }

    fn find(&self, module: &str) -> Option<PathBuf> {
        let plain = module.trim_start_matches('.');
        let dots = module.len() - plain.len();
        let folder = match dots {
            0 => self.root.to_path_buf(),
            _ => self.file.ancestors().nth(dots)?.to_path_buf(),
        };
        let path = folder.join(plain.replace('.', "/"));
        let places = [path.with_extension("py"), path.join("__init__.py")];
        places.into_iter().find(|place| place.is_file() && place.starts_with(self.root))
    }

    /// The interface by the packages that the project needs, where nothing else shows it.
    fn needs(&self) -> Interface {
        let lists =
            ["requirements.txt", "pyproject.toml", "Pipfile"].map(|name| text_of(&self.root.join(name)));
        let lists = source::without_hash_lines(&lists.concat()).to_ascii_lowercase();
        let named = |names: &[&str]| names.iter().any(|name| lists.contains(name));
        match named(&["fastapi", "starlette", "quart", "litestar"]) && !named(&["flask", "django", "bottle"])
        {
            true => Interface::Asgi,
            false => Interface::Wsgi,
        }
    }
}

/// The interface of what a module's code makes, where that is only one.
fn made_in(text: &str) -> Option<Interface> {
    let code = source::without_hash_lines(text);
    let has = |makers: &[&str]| makers.iter().any(|maker| calls(&code, maker));
    match (has(&ASGI_MAKERS) || code.contains("async def __call__"), has(&WSGI_MAKERS)) {
        (true, false) => Some(Interface::Asgi),
        (false, true) => Some(Interface::Wsgi),
        _ => None,
    }
}

fn imports_asgi(lines: &[String]) -> bool {
    let import = |line: &&String| line.starts_with("import ") || line.starts_with("from ");
    let mut imports = lines.iter().filter(import);
    imports.any(|line| ASGI_PACKAGES.iter().any(|package| line.contains(package)))
}

/// The parts of `a import b as c, d`: module, name, and the name that it gets here.
fn imports(line: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let (from, names) = line.split_once(" import ").unwrap_or(("", ""));
    let names =
        names.split(',').map(|name| name.trim_matches(|c: char| c.is_whitespace() || "()".contains(c)));
    names.filter(|name| !name.is_empty()).map(move |name| {
        let (name, bound) = name.split_once(" as ").unwrap_or((name, name));
        (from.trim(), name.trim(), bound.trim())
    })
}

/// The parameters of a definition, without the bare marks `*` and `/`.
fn parameters(rest: &str) -> Vec<String> {
    let (mut all, mut one, mut depth) = (Vec::new(), String::new(), 0);
    for c in rest.chars() {
        match c {
            ')' if depth == 0 => break,
            ',' if depth == 0 => all.push(std::mem::take(&mut one)),
            c => {
                depth += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
                one.push(c);
            }
        }
    }
    all.push(one);
    let all = all.iter().map(|one| one.trim().to_owned());
    all.filter(|one| !one.is_empty() && one != "*" && one != "/").collect()
}

/// The name of an application, or the call of a factory.
fn called(name: &str) -> String {
    if FACTORIES.contains(&name) { format!("{name}()") } else { name.into() }
}

fn is_optional(parameter: &str) -> bool {
    parameter.starts_with('*') || parameter.contains('=')
}

fn is_usual(name: &str) -> bool {
    matches!(name, "app" | "application") || FACTORIES.contains(&name)
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_name) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether the text calls `maker`, also by a longer name that ends so, such as `MyFlask(`.
fn calls(text: &str, maker: &str) -> bool {
    text.contains(maker)
}

const ASGI_PACKAGES: [&str; 6] = ["fastapi", "starlette", "quart", "litestar", "blacksheep", "falcon.asgi"];
const ASGI_MAKERS: [&str; 12] = [
    "FastAPI(",
    "Starlette(",
    "Quart(",
    "Litestar(",
    "get_asgi_application(",
    "falcon.asgi.App(",
    "ProtocolTypeRouter(",
    "Sanic(",
    "WsgiToAsgi(",
    "WSGIMiddleware(",
    "socketio.ASGIApp(",
    "get_default_application(",
];
const WSGI_MAKERS: [&str; 9] = [
    "Flask(",
    "Bottle(",
    "default_app(",
    "get_wsgi_application(",
    "falcon.App(",
    "falcon.API(",
    "make_wsgi_app(",
    "DispatcherMiddleware(",
    "WhiteNoise(",
];
/// Calls whose results are often called `app` but are applications of neither interface.
const OTHERS: [&str; 6] = ["Dash(", "web.Application(", "typer.Typer(", "Typer(", "Celery(", "argparse."];
const FACTORIES: [&str; 5] = ["create_app", "make_app", "get_app", "create_application", "build_app"];
const DECORATORS: [&str; 3] = ["@Request.application", "@responder", "@wsgify"];
/// The most imports that are followed; modules may import one another in a circle.
const MOST_STEPS: usize = 4;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str, file: &str) -> Option<PythonApp> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        fs::write(&path, text).unwrap();
        PythonApp::of_file(&path, folder.path())
    }

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
            let found = read(text, file).map(|found| (found.interface, found.object));
            assert_eq!(
                found,
                expected.map(|(interface, object)| (interface, object.into())),
                "{file}: {text}"
            );
        }
    }

    #[test]
    fn usual_ways_to_write_it_are_read_and_comments_and_strings_are_not() {
        let (wsgi, asgi) = (Interface::Wsgi, Interface::Asgi);
        let table = [
            ("def application(e, start):\n", Some((wsgi, "application"))),
            ("def app(\n    env: dict,\n    respond,\n):\n", Some((wsgi, "app"))),
            ("def application(request):\n", None),
            ("def simple(environ, start_response):\n", Some((wsgi, "simple"))),
            ("@Request.application\ndef hello(request):\n", Some((wsgi, "hello"))),
            ("async def app(s, r, w):\n", Some((asgi, "app"))),
            ("async def main(a, b, c):\n", None),
            ("from web import app\n", Some((wsgi, "app"))),
            ("from web import (\n    db,\n    server as application,\n)\n", Some((wsgi, "application"))),
            ("from web import create_app\n", Some((wsgi, "create_app()"))),
            ("def create_app(config=None, *, debug=False, **more):\n", Some((wsgi, "create_app()"))),
            ("def create_app(config):\n", None),
            ("def create_app():\n    return FastAPI()\n", Some((asgi, "create_app()"))),
            ("app = Flask(\n    __name__,\n)\n", Some((wsgi, "app"))),
            ("# app = Flask(__name__)\n", None),
            ("\"\"\"Usage:\n\napp = Flask(__name__)\n\"\"\"\n", None),
            (
                "application = ProtocolTypeRouter({'http': get_asgi_application()})\n",
                Some((asgi, "application")),
            ),
            ("app = Dash(__name__)\nserver = app.server\n", Some((wsgi, "server"))),
            ("app = web.Application()\nweb.run_app(app)\n", None),
            (
                "class App:\n    async def __call__(self, scope, receive, send):\n        pass\napp = App()\n",
                Some((asgi, "app")),
            ),
        ];
        for (text, expected) in table {
            let found = read(text, "app.py").map(|found| (found.interface, found.object));
            assert_eq!(found, expected.map(|(interface, object)| (interface, object.into())), "{text}");
        }
    }

    #[test]
    fn the_interface_of_what_is_imported_is_its_modules() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("web/core")).unwrap();
        for (name, text) in [
            ("web/__init__.py", "from .core import make as create_app"),
            ("web/core/__init__.py", "from .make import make"),
            ("web/core/make.py", "def make():\n    return FastAPI()"),
            ("site.py", "app = Flask(__name__)"),
            ("api.py", "app = FastAPI()"),
            ("circle.py", "from circle2 import app"),
            ("circle2.py", "from circle import app"),
        ] {
            fs::write(root.join(name), text).unwrap();
        }
        let (wsgi, asgi) = (Interface::Wsgi, Interface::Asgi);
        let table = [
            ("from web import create_app\napp = create_app()", asgi),
            ("from web.core import make\n\napp = make()", asgi),
            ("from site import app", wsgi),
            ("from circle import app", wsgi),
            ("from nowhere import app", wsgi),
            ("import os, api as web_api\napp = web_api.app", asgi),
        ];
        for (text, expected) in table {
            fs::write(root.join("app.py"), text).unwrap();
            let found = PythonApp::of_file(&root.join("app.py"), root).unwrap();
            assert_eq!((found.interface, &*found.object), (expected, "app"), "{text}");
        }
        fs::write(root.join("requirements.txt"), "# flask\nFastAPI==0.1").unwrap();
        assert_eq!(PythonApp::of_file(&root.join("circle.py"), root).unwrap().interface, asgi);
    }
}
