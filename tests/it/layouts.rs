//! The recognition of usual projects, the folders that are not taken for an app, and the texts that a person reads
//! then.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::ctl::{Ran, SERVER, in_home, run};
use crate::support::{Setup, folder_with, has};

/// A project called `shop`, and a machine whose programs do nothing.
struct Project(TempDir);

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        let programs = project.0.path().join("bin");
        fs::create_dir(&programs).unwrap();
        for name in ["node", "bun", "gunicorn", "uvicorn", "puma", "python3", "ruby", "bundle"] {
            let program = programs.join(name);
            fs::write(&program, "#!/bin/sh\nexit 1\n").unwrap();
            fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::create_dir(project.app()).unwrap();
        files.iter().for_each(|(name, text)| project.write(name, text));
        project
    }

    fn app(&self) -> PathBuf {
        self.0.path().join("shop")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.app().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn check(&self, below: &str) -> Ran {
        let mut command = in_home(self.0.path(), SERVER);
        command.arg("check").arg(self.app().join(below)).args(["--state-dir=s", "--runtime-dir=r"]);
        run(command.env("PATH", self.0.path().join("bin"))).await
    }

    /// The sentence that says what the project is.
    async fn sentence(&self) -> String {
        let ran = self.check("").await.expect(0);
        let real = self.app().canonicalize().unwrap();
        let first = ran.out.lines().find_map(|line| line.strip_prefix("shop: ")).unwrap();
        // How many requests a worker takes is another matter.
        let first = first.split("; each worker takes").next().unwrap();
        first.replace(real.to_str().unwrap(), "SHOP")
    }

    /// Why it is none.
    async fn refusal(&self) -> String {
        let ran = self.check("").await.expect(1);
        ran.err.replace(self.app().canonicalize().unwrap().to_str().unwrap(), "SHOP")
    }
}

/// Files, and what a person is told of them.
type Told<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

const FLASK: &str =
    "from flask import Flask\n\ndef create_app(config=None):\n    app = Flask(__name__)\n    return app\n";
const FASTAPI: &str = "from fastapi import FastAPI\n\napp = FastAPI()\n";
const WSGI: &str =
    "from django.core.wsgi import get_wsgi_application\n\napplication = get_wsgi_application()\n";
const MODULE: &str = "<div id=app></div><script type=\"module\" src=\"/src/main.jsx\"></script>";

#[tokio::test]
async fn usual_python_projects_are_recognised() {
    let manage = |settings: &str| {
        format!("import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', '{settings}')\n")
    };
    let (dev, local) = (manage("mysite.settings.dev"), manage("config.settings.local"));
    let variable = "import os\nSETTINGS = 'x'\nos.environ['DJANGO_SETTINGS_MODULE'] = SETTINGS\n";
    let wsgi = |target: &str, file: &str| format!("Python WSGI app: {target} in {file}, run by gunicorn");
    let asgi = |target: &str, file: &str| format!("Python ASGI app: {target} in {file}, run by uvicorn");
    let table: [(&[(&str, &str)], String); 17] = [
        (
            &[("hello.py", FASTAPI), ("tool.py", "app = 1\n"), ("test_hello.py", FASTAPI)],
            asgi("hello:app", "hello.py"),
        ),
        (&[("app.py", "import web\n\napp = web.app\n"), ("web.py", FASTAPI)], asgi("app:app", "app.py")),
        (
            &[("manage.py", &dev), ("mysite/settings/dev.py", ""), ("mysite/wsgi.py", WSGI)],
            wsgi("mysite.wsgi:application", "mysite/wsgi.py"),
        ),
        (
            &[
                ("manage.py", &local),
                ("config/wsgi.py", WSGI),
                ("config/asgi.py", ""),
                ("shop/__init__.py", ""),
            ],
            wsgi("config.wsgi:application", "config/wsgi.py"),
        ),
        (&[("manage.py", variable), ("core/wsgi.py", WSGI)], wsgi("core.wsgi:application", "core/wsgi.py")),
        (
            &[("site/manage.py", &dev), ("site/mysite/wsgi.py", WSGI), ("README.md", "")],
            wsgi("mysite.wsgi:application", "mysite/wsgi.py"),
        ),
        (&[("app.py", "from web import app\n"), ("web.py", FASTAPI)], asgi("app:app", "app.py")),
        (&[("app.py", "def application(e, start):\n    pass\n")], wsgi("app:application", "app.py")),
        (&[("app/main.py", FASTAPI), ("app/__init__.py", "")], asgi("app.main:app", "app/main.py")),
        (&[("app/main.py", FASTAPI), ("requirements.txt", "")], asgi("app.main:app", "app/main.py")),
        (
            &[("flaskr/__init__.py", FLASK), ("tests/app.py", FLASK)],
            wsgi("flaskr:create_app()", "flaskr/__init__.py"),
        ),
        (
            &[("src/flaskr/__init__.py", FLASK), ("setup.py", "")],
            wsgi("flaskr:create_app()", "src/flaskr/__init__.py"),
        ),
        (
            &[
                ("backend/main.py", "import db\nfrom fastapi import FastAPI\napp = FastAPI()\n"),
                ("backend/db.py", ""),
            ],
            asgi("main:app", "backend/main.py"),
        ),
        (
            &[("run.py", "from web import create_app\n\napp = create_app()\n"), ("web/__init__.py", FLASK)],
            wsgi("run:app", "run.py"),
        ),
        (
            &[("app.py", "# app = 1\n'''\napp = Flask()\n'''\nimport tool\n"), ("shop/__init__.py", FLASK)],
            wsgi("shop:create_app()", "shop/__init__.py"),
        ),
        (
            &[("app.py", "from shop import create_app\n\napp = create_app()\n"), ("shop/__init__.py", FLASK)],
            wsgi("app:app", "app.py"),
        ),
        (
            &[("app.py", "import asyncio\nfrom quart import Quart\n\napp = Quart(\n    __name__,\n)\n")],
            asgi("app:app", "app.py"),
        ),
    ];
    for (files, expected) in table {
        assert_eq!(Project::new(files).sentence().await, expected, "{files:?}");
    }
}

#[tokio::test]
async fn usual_projects_of_other_languages_are_recognised() {
    let server =
        "const http = require('http')\nhttp.createServer((q, s) => s.end()).listen(process.env.PORT)\n";
    let handler = "module.exports = () => new Response('x')\n";
    let table: [(&[(&str, &str)], &str); 13] = [
        (
            &[("hello.rb", "require 'sinatra'\n"), ("Rakefile.rb", "")],
            "Ruby app: hello.rb found, run by puma",
        ),
        (
            &[("package.json", r#"{"main": "lib/www"}"#), ("lib/www.js", server)],
            "Node server: www.js found, run by node",
        ),
        (&[("index.cjs", handler)], "Node handler: index.cjs found, run by node"),
        (&[("app.js", server)], "Node server: app.js found, run by node"),
        (
            &[("src/server.ts", "Bun.serve({ fetch: () => new Response() })")],
            "Bun server: server.ts found, run by bun",
        ),
        (&[("app.rb", "require 'sinatra'\nget('/') { 'x' }\n")], "Ruby app: app.rb found, run by puma"),
        (&[("shop.rb", "require \"sinatra/base\"\n")], "Ruby app: shop.rb found, run by puma"),
        (
            &[("mkdocs.yml", ""), ("site/index.html", "<p>")],
            "Static site: SHOP/site, served by the built-in worker",
        ),
        (
            &[("_config.yml", ""), ("index.html", "---\ntitle: x\n---\n"), ("_site/index.html", "<p>")],
            "Static site: SHOP/_site, served by the built-in worker",
        ),
        (
            &[
                (
                    "package.json",
                    r#"{"scripts": {"start": "react-scripts start", "build": "react-scripts build"}}"#,
                ),
                ("public/index.html", "<link href=\"%PUBLIC_URL%/x\">"),
                ("build/index.html", "<p>"),
            ],
            "Static site: SHOP/build, served by the built-in worker",
        ),
        (
            &[
                ("package.json", r#"{"scripts": {"start": "ng serve"}}"#),
                ("dist/shop/browser/index.html", "<p>"),
            ],
            "Static site: SHOP/dist/shop/browser, served by the built-in worker",
        ),
        (
            &[
                ("package.json", r#"{"scripts": {"start": "npm run dev", "dev": "vite"}}"#),
                ("index.html", MODULE),
                ("dist/index.html", "<p>"),
            ],
            "Static site: SHOP/dist, served by the built-in worker",
        ),
        (
            &[("package.json", r#"{"scripts": {"start": "nest start --watch", "start:prod": "node main"}}"#)],
            "package.json app: scripts.start of package.json says `node main`",
        ),
    ];
    for (files, expected) in table {
        assert_eq!(Project::new(files).sentence().await, expected, "{files:?}");
    }
}

#[tokio::test]
async fn a_development_server_gives_way_to_what_follows_it() {
    let start = |line: &str| format!(r#"{{"scripts": {{"start": "{line}"}}, "main": "server.js"}}"#);
    let manage = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'core.settings')\n";
    let watch = Project::new(&[
        ("package.json", &start("webpack --watch")),
        ("manage.py", manage),
        ("core/wsgi.py", WSGI),
    ]);
    assert!(watch.sentence().await.starts_with("Python WSGI app: core.wsgi:application"));
    let nodemon = Project::new(&[("package.json", &start("nodemon server.js")), ("server.js", "")]);
    assert_eq!(nodemon.sentence().await, "Node server: server.js found, run by node");
}

#[tokio::test]
async fn a_project_that_has_to_be_built_is_refused_with_the_command_that_builds_it() {
    let table: [Told<'_>; 8] = [
        (
            &[
                ("package.json", r#"{"devDependencies": {"vite": "7"}}"#),
                ("index.html", "<script type=module src=/main.js></script>"),
                ("main.js", "import './style.css'\nimport { up } from './counter.js'\n"),
            ],
            &["`/main.js` is source"],
        ),
        (
            &[("package.json", r#"{"scripts": {"start": "ng serve", "build": "ng build"}}"#)],
            &["scripts.start is `ng serve`, and ng serve is for development", "npm run build`"],
        ),
        (
            &[
                ("package.json", r#"{"devDependencies": {"vite": "7"}, "scripts": {"build": "vite build"}}"#),
                ("index.html", MODULE),
            ],
            &[
                "index.html` is the source of a page",
                "`/src/main.jsx` is source",
                "npm run build`",
                "static.root = \".\"",
            ],
        ),
        (
            &[
                ("package.json", r#"{"scripts": {"build": "vite build"}}"#),
                ("vite.config.js", ""),
                ("yarn.lock", ""),
                ("index.html", "<script src='src/main.js' type=module></script>"),
            ],
            &["`src/main.js` is source", "yarn run build`"],
        ),
        (
            &[("package.json", r#"{"scripts": {"start": "next dev", "build": "next build"}}"#)],
            &["next dev is for development", "npm run build`", "next start -p"],
        ),
        (
            &[("package.json", r#"{"scripts": {"start": "nodemon src/api.js"}}"#), ("src/api.js", "")],
            &["nodemon is for development", "command = [\"node\", \"src/api.js\"]"],
        ),
        (&[("_config.yml", ""), ("index.html", "---\nlayout: x\n---\n")], &["front matter", "jekyll build"]),
        (&[("mkdocs.yml", ""), ("docs/index.md", "")], &["site/index.html, which `mkdocs build` makes"]),
    ];
    for (files, told) in table {
        let refusal = Project::new(files).refusal().await;
        for part in told {
            assert!(refusal.contains(part), "{files:?}: {part}: {refusal}");
        }
    }
    let commented = format!("<!-- {MODULE} --><p>");
    let plain = Project::new(&[
        ("package.json", r#"{"devDependencies": {"vite": "7"}}"#),
        ("index.html", &commented),
    ]);
    assert!(plain.sentence().await.starts_with("Static site: SHOP,"));
}

#[tokio::test]
async fn what_is_no_app_is_told_with_what_is_there_and_leaves_nothing_behind() {
    let table: [Told<'_>; 6] = [
        (
            &[("app.py", "print('x')\n")],
            &[
                "app.py is there, but no line in it makes an application",
                "`command = [\"python3\", \"app.py\"]`",
            ],
        ),
        (&[("server", "#!/bin/sh\n")], &["server is not executable: `chmod +x server`"]),
        (&[("go.mod", ""), ("main.go", "")], &["go.mod is there", "`go build -o app .`"]),
        (&[("package.json", "{}"), ("notes", "")], &["package.json has no scripts.start"]),
        (
            &[("a/__init__.py", FLASK), ("b/__init__.py", FLASK)],
            &["several packages make an application (a:create_app(), b:create_app())"],
        ),
        (&[("notes.md", ""), ("x.csv", "")], &["it has notes.md, x.csv"]),
    ];
    for (files, told) in table {
        let project = Project::new(files);
        let refusal = project.refusal().await;
        assert!(refusal.contains("is not an app that can be recognised"), "{refusal}");
        for part in told {
            assert!(refusal.contains(part), "{files:?}: {part}: {refusal}");
        }
        let home = project.0.path();
        let mut command = in_home(home, SERVER);
        command.arg(project.app()).args(["http:0", "--state-dir=s/state", "--runtime-dir=r/run"]);
        run(command.env("PATH", home.join("bin"))).await.expect(1);
        assert!(!home.join("s").exists() && !home.join("r").exists(), "{files:?}");
    }
}

#[tokio::test]
async fn a_virtual_environment_of_the_project_is_used_by_what_is_below_it() {
    let project = Project::new(&[("web/wsgi.py", "application = x\n"), ("requirements.txt", "")]);
    let mut venv = project.app().join(".venv/bin");
    fs::create_dir_all(&venv).unwrap();
    fs::remove_file(project.0.path().join("bin/gunicorn")).unwrap();
    assert!(project.check("web/wsgi.py").await.expect(1).err.contains("`gunicorn` is needed"));

    venv.push("gunicorn");
    fs::write(&venv, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&venv, fs::Permissions::from_mode(0o755)).unwrap();

    assert!(project.check("web/wsgi.py").await.expect(0).out.contains("wsgi:application in wsgi.py"));
    assert!(project.check("web").await.expect(0).out.contains("wsgi:application in wsgi.py"));
    assert!(project.check("").await.expect(0).out.contains("web.wsgi:application in web/wsgi.py"));
}

/// Both interfaces without any framework.
const OWN_WSGI: &str = "import os\n\nclass Flask:\n    def __call__(self, environ, start_response):\n        \
     start_response('200 OK', [('X-Folder', os.path.basename(os.getcwd()))])\n        return [b'by flaskr']\n\n\
     def create_app(config=None):\n    from . import part\n    return Flask()\n";
const OWN_ASGI: &str = "from .part import BODY\n\nasync def app(scope, receive, send):\n    \
     if scope['type'] == 'http':\n        await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n        \
     await send({'type': 'http.response.body', 'body': BODY})\n";

async fn says(path: &Path, body: &str) {
    let server = Setup::app(path).words(&["w:1"]).start().await;
    let reply = server.get("/").await;
    assert_eq!((reply.status, reply.text()), (200, body), "{}", path.display());
}

#[tokio::test]
async fn applications_in_packages_run_with_their_own_imports() {
    if !has("gunicorn", "gunicorn") || !has("uvicorn", "uvicorn") {
        return;
    }
    let flaskr = folder_with(&[("flaskr/__init__.py", OWN_WSGI), ("flaskr/part.py", "")]);
    says(flaskr.path(), "by flaskr").await;
    let src = folder_with(&[("src/flaskr/__init__.py", OWN_WSGI), ("src/flaskr/part.py", "")]);
    says(src.path(), "by flaskr").await;
    let asgi = folder_with(&[
        ("app/main.py", OWN_ASGI),
        ("app/part.py", "BODY = b'by app'"),
        ("pyproject.toml", ""),
    ]);
    says(asgi.path(), "by app").await;
    says(&asgi.path().join("app/main.py"), "by app").await;
    says(&asgi.path().join("app"), "by app").await;
}

#[tokio::test]
async fn a_django_project_with_split_settings_is_served() {
    if !has("django-admin", "django, of PyPI") {
        return;
    }
    let settings = "SECRET_KEY = 'x'\nALLOWED_HOSTS = ['*']\nROOT_URLCONF = 'mysite.urls'\n";
    let urls = "from django.http import HttpResponse\nfrom django.urls import path\n\n\
                def home(request):\n    return HttpResponse('split')\n\nurlpatterns = [path('', home)]\n";
    let wsgi = "import os\nfrom django.core.wsgi import get_wsgi_application\n\
                os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings.prod')\napplication = get_wsgi_application()\n";
    let folder = folder_with(&[
        ("manage.py", "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings.dev')\n"),
        ("mysite/__init__.py", ""),
        ("mysite/settings/__init__.py", ""),
        ("mysite/settings/dev.py", "raise RuntimeError('development')"),
        ("mysite/settings/prod.py", settings),
        ("mysite/urls.py", urls),
        ("mysite/wsgi.py", wsgi),
    ]);
    says(folder.path(), "split").await;
}

#[tokio::test]
async fn a_sinatra_application_in_one_file_is_served() {
    let installed = std::process::Command::new("ruby").args(["-e", "require 'sinatra/base'"]).output();
    if !has("puma", "puma") || !installed.is_ok_and(|ran| ran.status.success()) {
        return;
    }
    let classic = folder_with(&[("app.rb", "require 'sinatra'\n\nget('/') { settings.environment.to_s }\n")]);
    says(classic.path(), "production").await;
    let modular = "require 'sinatra/base'\n\nclass Shop < Sinatra::Base\n  get('/') { 'modular' }\n  run! if app_file == $0\nend\n";
    says(folder_with(&[("app.rb", modular)]).path(), "modular").await;
}
