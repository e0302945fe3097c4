//! Apps serve the public: what their runtimes are told of it, and how a person says otherwise.

use std::fs;

use serde_json::Value;

use crate::support::ctl::{SERVER, in_home, run};
use crate::support::{Server, Setup, folder_with, has};

/// Tells its environment to whoever asks.
const TELLS: &str = "import json, os, socket\n\nlistener = socket.socket(fileno=3)\nwhile True:\n    \
     client, _ = listener.accept()\n    client.recv(65536)\n    body = json.dumps(dict(os.environ)).encode()\n    \
     head = b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n' % len(body)\n    \
     client.sendall(head + body)\n    client.close()\n";
const COMMAND: &str = "command = [\"python3\", \"tells.py\"]\n";
const NODE: &str = "export default () => Response.json(process.env)\n";
const RACK: &str = "require 'json'\nrun ->(env) { [200, {}, [JSON.generate(ENV.to_h)]] }\n";

/// The variables of the server's app, less those that the server's own environment has.
async fn told(server: &Server) -> Vec<(&'static str, Option<String>)> {
    let environment: Value = server.get("/").await.json();
    let names = ["NODE_ENV", "RACK_ENV", "RAILS_ENV"];
    names.map(|name| (name, environment[name].as_str().map(str::to_owned))).into()
}

fn all(node: Option<&str>, rack: Option<&str>, rails: Option<&str>) -> Vec<(&'static str, Option<String>)> {
    [("NODE_ENV", node), ("RACK_ENV", rack), ("RAILS_ENV", rails)]
        .map(|(name, value)| (name, value.map(String::from)))
        .into()
}

#[tokio::test]
async fn a_runtime_is_told_that_it_serves_the_public() {
    let production = Some("production");
    let command = folder_with(&[("rip.toml", COMMAND), ("tells.py", TELLS)]);
    let procfile = folder_with(&[
        ("Procfile", "web: python3 tells.py\n"),
        ("tells.py", TELLS),
        ("rip.toml", "listen = \"fd\""),
    ]);
    for app in [&command, &procfile] {
        let server = Setup::app(app.path()).start().await;
        assert_eq!(told(&server).await, all(production, production, production));
    }
    if has("node", "nodejs") {
        let node = folder_with(&[("index.mjs", NODE)]);
        let server = Setup::app(node.path()).start().await;
        assert_eq!(told(&server).await, all(production, None, None));
    }
    if has("puma", "puma") {
        // As `rails new` writes it.
        let puma = "environment ENV.fetch(\"RAILS_ENV\") { \"development\" }\n";
        let ruby = folder_with(&[("config.ru", RACK), ("config/puma.rb", puma)]);
        let server = Setup::app(ruby.path()).start().await;
        assert_eq!(told(&server).await, all(None, production, production));
    }
}

#[tokio::test]
async fn what_a_person_says_counts_more() {
    let own = format!("{COMMAND}env = {{ RAILS_ENV = \"staging\" }}\n");
    let app = folder_with(&[("rip.toml", &own), ("tells.py", TELLS)]);
    let server = Setup::app(app.path()).variable("NODE_ENV", "test").start().await;
    assert_eq!(told(&server).await, all(Some("test"), Some("staging"), Some("staging")));
}

#[tokio::test]
async fn check_shows_what_a_runtime_is_told() {
    let home = tempfile::tempdir().unwrap();
    let app = folder_with(&[("rip.toml", COMMAND), ("tells.py", TELLS), ("config/application.rb", "")]);
    let check = async |variable: Option<(&str, &str)>| {
        let mut command = in_home(home.path(), SERVER);
        command.arg("check").arg(app.path()).args(["--state-dir=s", "--runtime-dir=r"]).envs(variable);
        run(&mut command).await.expect(0).out
    };
    let shown = check(None).await;
    for row in ["NODE_ENV=production", "RAILS_ENV=production", "RAILS_SERVE_STATIC_FILES=enabled"] {
        assert!(shown.contains(row), "{row}: {shown}");
    }
    let shown = check(Some(("NODE_ENV", "development"))).await;
    assert!(shown.contains("NODE_ENV=development"), "{shown}");
    fs::write(app.path().join("rip.toml"), format!("{COMMAND}env = {{ NODE_ENV = \"x\" }}\n")).unwrap();
    let shown = check(None).await;
    assert!(shown.contains("NODE_ENV=… (from `env`)") && !shown.contains("NODE_ENV=production"), "{shown}");
}

#[tokio::test]
async fn what_an_app_lacks_for_production_is_shown_in_its_own_words() {
    if !has("puma", "puma") {
        return;
    }
    let lacks = "raise ArgumentError, \"Missing `secret_key_base` for '#{ENV['RAILS_ENV']}' environment\"\n";
    let app = folder_with(&[("config.ru", lacks)]);
    let server = Setup::app(app.path()).words(&["w:1"]).without_workers().start().await;
    let said = |text: &str| text.contains("Missing `secret_key_base` for 'production' environment");
    crate::support::until("the reason is shown", || async {
        let status = server.status().await;
        status.apps[0].rejected.as_ref().is_some_and(|rejected| rejected.output.iter().any(|line| said(line)))
    })
    .await;
}

#[tokio::test]
async fn workers_of_rails_have_a_pid_file_each_wherever_its_own_configuration_would_write_one() {
    if !has("puma", "puma") {
        return;
    }
    let rack = "run ->(_) { [200, {'content-type' => 'text/plain'}, [ENV['PIDFILE'], ' ', File.read(ENV['PIDFILE'])]] }\n";
    // As `rails new` writes it; there is no such folder, as there is none to write to where workers are units.
    let puma = "pidfile ENV.fetch('PIDFILE') { 'tmp/pids/server.pid' }\n";
    let app = folder_with(&[("config.ru", rack), ("config/puma.rb", puma), ("config/application.rb", "")]);
    let server = Setup::app(app.path()).words(&["w:2"]).start().await;
    let workers = server.workers().await.workers;
    for worker in &workers {
        let file = server.root().join(format!("run/n/{}.pid", worker.worker));
        let written = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(written.trim(), worker.pid.unwrap().to_string(), "{file:?}");
    }
    let told = server.get("/").await.text().to_owned();
    assert!(told.contains("/run/n/"), "{told}");

    let own = format!("env = {{ PIDFILE = {:?} }}\n", app.path().join("own.pid"));
    fs::write(app.path().join("rip.toml"), own).unwrap();
    let server = Setup::app(app.path()).words(&["w:1"]).start().await;
    assert!(server.get("/").await.text().contains("/own.pid "), "what a person says counts more");
}

#[tokio::test]
async fn puma_says_nothing_of_systemd() {
    if !has("puma", "puma") {
        return;
    }
    let server = Setup::demo("ruby").words(&["w:1"]).start().await;
    let said = server.ctl(&["logs"]).await.expect(0).out;
    assert!(said.contains("Puma") && !said.contains("Systemd integration failed"), "{said}");
}

/// An application that answers with what WSGI tells it of a request.
const WSGI: &str = "import json\n\ndef application(environ, start_response):\n    \
     names = ['REMOTE_ADDR', 'SERVER_NAME', 'SERVER_PORT', 'wsgi.url_scheme', 'HTTP_HOST']\n    \
     start_response('200 OK', [])\n    return [json.dumps([environ.get(name) for name in names]).encode()]\n";
const ASGI: &str = "import json\n\nasync def app(scope, receive, send):\n    if scope['type'] == 'http':\n        \
     body = json.dumps([scope['client'][0], scope['scheme']]).encode()\n        \
     await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n        \
     await send({'type': 'http.response.body', 'body': body})\n";

async fn seen(server: &Server, fields: &[(&str, &str)]) -> Vec<String> {
    let seen: Vec<Option<String>> = server.ask("GET", "/", fields, b"").await.json();
    seen.into_iter().map(Option::unwrap_or_default).collect()
}

#[tokio::test]
async fn a_wsgi_application_is_told_the_clients_address_port_and_scheme() {
    if !has("gunicorn", "gunicorn") {
        return;
    }
    let settings = "pythonpath = \"lib\"\n";
    let app = folder_with(&[
        ("wsgi.py", &format!("import helper\n{WSGI}")),
        ("lib/helper.py", ""),
        ("gunicorn.conf.py", settings),
    ]);
    let server = Setup::app(app.path()).start().await;
    let port = server.port().to_string();
    let spoofed = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https"), ("Host", "localhost")];
    assert_eq!(seen(&server, &spoofed).await, ["127.0.0.1", "localhost", &port, "http", "localhost"]);

    let server = Setup::app(app.path()).tls().start().await;
    let port = server.port().to_string();
    let host = format!("[::1]:{port}");
    assert_eq!(seen(&server, &[("Host", &host)]).await, ["127.0.0.1", "[::1]", &port, "https", &host]);
}

#[tokio::test]
async fn behind_trusted_proxies_the_client_is_the_one_that_the_server_knows() {
    if !has("gunicorn", "gunicorn") || !has("uvicorn", "uvicorn") {
        return;
    }
    let trusted = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\", \"fd00::/8\"]";
    let wsgi = folder_with(&[("wsgi.py", WSGI)]);
    let asgi = folder_with(&[("asgi.py", ASGI)]);
    let table = [
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
        ("6.6.6.6, 2001:db8::9, fd00::1, 10.0.0.1", "2001:db8::9"),
        ("6.6.6.6, unknown, 10.0.0.1", "10.0.0.1"),
        ("10.1.1.1", "10.1.1.1"),
    ];
    for app in [&wsgi, &asgi] {
        let server = Setup::app(app.path()).server(trusted).start().await;
        for (forwarded, client) in table {
            let fields = [
                ("X-Forwarded-For", forwarded),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Port", "8443"),
            ];
            let seen = seen(&server, &fields).await;
            assert_eq!(seen[0], client, "{forwarded}: {seen:?}");
            let told: &[&str] =
                if seen.len() == 2 { &["https"] } else { &["localhost", "8443", "https", "localhost"] };
            assert_eq!(&seen[1..], told);
        }
    }
}

#[tokio::test]
async fn an_app_with_a_python_path_of_its_own_keeps_it() {
    if !has("gunicorn", "gunicorn") {
        return;
    }
    let own = "env = { PYTHONPATH = \"elsewhere\" }\n";
    let app = folder_with(&[
        ("app.py", &format!("import helper\n{WSGI}")),
        ("elsewhere/helper.py", ""),
        ("rip.toml", own),
    ]);
    let server = Setup::app(app.path()).start().await;
    assert_eq!(seen(&server, &[]).await[0], "127.0.0.1");
}

#[tokio::test]
async fn a_site_answers_for_what_is_not_there_with_its_own_page() {
    let site = folder_with(&[("index.html", "home"), ("404.html", "<p>not here")]);
    let server = Setup::app(site.path()).start().await;
    for path in ["/nothing", "/nothing.png", "/.git/config", "/a/b/"] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.text()), (404, "<p>not here"), "{path}");
        assert_eq!(reply.headers["content-type"], "text/html; charset=utf-8");
        assert!(!reply.headers.contains_key("etag") && !reply.headers.contains_key("last-modified"));
    }
    let head = server.ask("HEAD", "/nothing", &[], b"").await;
    assert_eq!((head.status, head.headers["content-length"].to_str().unwrap(), head.text()), (404, "11", ""));
    let part = server.ask("GET", "/nothing", &[("Range", "bytes=0-1"), ("If-None-Match", "*")], b"").await;
    assert_eq!((part.status, part.text()), (404, "<p>not here"));
    assert_eq!(server.get("/404.html").await.status, 200);

    fs::write(site.path().join("rip.toml"), "static.spa = true").unwrap();
    let server = Setup::app(site.path()).start().await;
    let page = server.ask("GET", "/nothing", &[("Accept", "text/html")], b"").await;
    assert_eq!((page.status, page.text()), (200, "home"));
    let picture = server.get("/nothing.png").await;
    assert_eq!((picture.status, picture.text()), (404, "Not found\n"));
}
