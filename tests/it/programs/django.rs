//! A project of Django with its admin, by gunicorn, as `django-admin startproject` makes it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::between;
use crate::support::load::Load;
use crate::support::visitor::Visitor;
use crate::support::{Server, Setup, has};

/// The settings that people change before the public comes.
const SETTINGS: &str = "
DEBUG = False
ALLOWED_HOSTS = ['localhost']
SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https')
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
STATIC_ROOT = BASE_DIR / 'collected'
";

/// Views beside the admin.
const URLS: &str = "
from django.conf import settings
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt

VERSION = (settings.BASE_DIR / 'VERSION').read_text()
urlpatterns += [
    path('version', lambda request: HttpResponse(VERSION)),
    path('echo', csrf_exempt(lambda request: HttpResponse(request.body))),
    path('link', lambda request: HttpResponse(request.build_absolute_uri(reverse('admin:index')))),
]
";

pub(super) fn is_installed() -> bool {
    has("django-admin", "django, of PyPI") && has("gunicorn", "gunicorn")
}

/// A project with a database, an admin named anna and its files collected, in a new folder `shop`.
pub(super) fn project(folder: &Path) {
    let shop = folder.join("shop");
    run("django-admin", &["startproject", "shop"], folder);
    for (file, more) in [("shop/settings.py", SETTINGS), ("shop/urls.py", URLS)] {
        let file = shop.join(file);
        fs::write(&file, fs::read_to_string(&file).unwrap() + more).unwrap();
    }
    fs::write(shop.join("VERSION"), "v1").unwrap();
    fs::write(shop.join("rip.toml"), "static = [{ path = \"/static\", root = \"collected\" }]\n").unwrap();
    for words in [
        &["migrate", "--verbosity=0"][..],
        &["createsuperuser", "--noinput", "--username=anna", "--email=anna@example.com"],
        &["collectstatic", "--noinput", "--verbosity=0"],
    ] {
        run("python3", &[&["manage.py"], words].concat(), &shop);
    }
}

fn run(program: &str, words: &[&str], folder: &Path) {
    let mut command = Command::new(program);
    command.args(words).current_dir(folder).env("DJANGO_SUPERUSER_PASSWORD", PASSWORD);
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

const PASSWORD: &str = "correct-horse";

/// Logs anna into the admin below a prefix, once with a wrong password.
pub(super) async fn log_in(visitor: &mut Visitor, server: &Server, prefix: &str) {
    let admin = format!("{prefix}/admin/");
    let before = visitor.get(server, &admin).await;
    let login = before.field("location").to_owned();
    assert_eq!((before.status, &*login), (302, &*format!("{prefix}/admin/login/?next={admin}")));
    for (password, status) in [("guess", 200), (PASSWORD, 302)] {
        let form = visitor.get(server, &login).await;
        let cookie = form.field("set-cookie");
        assert!(cookie.starts_with("csrftoken=") && cookie.contains("; Secure"), "{cookie}");
        let token = token(&form);
        let form = format!("csrfmiddlewaretoken={token}&username=anna&password={password}&next={admin}");
        let reply = visitor.post(server, &login, &form).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        if status == 200 {
            assert!(reply.text().contains("Please enter the correct username and password"));
        } else {
            assert_eq!(reply.field("location"), admin);
            let cookies: Vec<_> =
                reply.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect();
            assert!(cookies.iter().all(|cookie| cookie.contains("; Secure")), "{cookies:?}");
            assert!(cookies.iter().any(|cookie| cookie.starts_with("sessionid=")), "{cookies:?}");
        }
    }
    let index = visitor.get(server, &admin).await;
    assert!(index.status == 200 && index.text().contains("Site administration"), "{index:?}");
}

fn token(form: &crate::support::Reply) -> String {
    between(form, "name=\"csrfmiddlewaretoken\" value=\"", "\"").to_owned()
}

#[tokio::test]
async fn django_s_admin_is_logged_into_and_its_files_come_from_a_folder_through_deploys_under_load() {
    if !is_installed() {
        return;
    }
    let folder: TempDir = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    project(folder.path());
    let shop = folder.path().join("shop");
    let server = Setup::app(&shop).words(&["w:2", "--reload=none"]).tls().start_in(folder).await;
    let described = server.status().await.apps[0].described.clone();
    assert!(described.contains("shop.wsgi:application"), "{described}");
    let host = format!("localhost:{}", server.port());
    let mut anna = Visitor::of(&*host);
    log_in(&mut anna, &server, "").await;
    assert_eq!(anna.get(&server, "/link").await.text(), format!("https://{host}/admin/"));

    let form = anna.get(&server, "/admin/auth/user/add/").await;
    let bob =
        "username=bob&password1=battery-staple&password2=battery-staple&usable_password=true&_save=Save";
    let forged = anna.post(&server, "/admin/auth/user/add/", bob).await;
    assert_eq!(forged.status, 403, "without the token of the form");
    let bob = format!("{bob}&csrfmiddlewaretoken={}", token(&form));
    let added = anna.post(&server, "/admin/auth/user/add/", &bob).await;
    assert_eq!((added.status, added.field("location")), (302, "/admin/auth/user/2/change/"), "{added:?}");
    let stranger = Visitor::of(&*host).get(&server, "/admin/auth/user/").await;
    assert_eq!(stranger.status, 302);

    for (path, file) in [
        ("/static/admin/css/base.css", "collected/admin/css/base.css"),
        ("/static/admin/js/core.js", "collected/admin/js/core.js"),
    ] {
        let reply = server.get(path).await;
        assert!(reply.status == 200 && reply.body == fs::read(shop.join(file)).unwrap(), "{path}");
        assert_eq!(server.record(path).await["worker"], Value::Null, "no worker is woken for a file");
    }
    for path in [
        "/static/../shop/settings.py",
        "/static/%2e%2e/db.sqlite3",
        "/static/..%2fshop/settings.py",
        "/static/none.css",
        "/db.sqlite3",
        "/shop/settings.py",
    ] {
        let reply = server.get(path).await;
        assert!(matches!(reply.status, 400 | 404) && reply.body.len() < 1000, "{path}: {reply:?}");
    }

    let load = Load::start(server.port(), true, &["v1", "v2", "v3"]);
    for (at, version) in ["v2", "v3"].into_iter().enumerate() {
        load.more(100).await;
        fs::write(shop.join("VERSION"), version).unwrap();
        server.ctl(&["deploy"]).await.expect(0);
        load.at_least_version(at + 1);
    }
    load.more(100).await;
    load.finish("deploys of Django").await.assert_nothing_lost();
    let users = anna.get(&server, "/admin/auth/user/").await;
    assert!(users.status == 200 && users.text().contains(">bob</a>"), "anna is still logged in: {users:?}");
}
