//! gunicorn and uvicorn that the app starts itself: whom an application takes for the client, however that is written.

use std::fs;

use crate::support::{Server, Setup, folder_with, has};

/// An app that answers with what it is told of a request, and with what its own modules said.
const APP: &str = "import json, os\n\ndef app(environ, start_response):\n    \
     names = ['REMOTE_ADDR', 'SERVER_NAME', 'SERVER_PORT', 'wsgi.url_scheme']\n    \
     start_response('200 OK', [])\n    \
     return [json.dumps([environ.get(name) for name in names] + [os.environ.get('OWN', '')]).encode()]\n";

async fn seen(server: &Server, fields: &[(&str, &str)]) -> Vec<String> {
    let reply = server.ask("GET", "/", fields, b"").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let seen: Vec<Option<String>> = reply.json();
    seen.into_iter().map(Option::unwrap_or_default).collect()
}

/// The ways in which an app starts gunicorn, each with a file, its text and the settings.
const WAYS: [(&str, &str, &str); 9] = [
    ("Procfile", "web: gunicorn site_app:app\n", "listen = \"fd\""),
    ("Procfile", "web: A=b exec gunicorn --workers=2 -k gthread site_app:app 2>&1\n", "listen = \"fd\""),
    ("Procfile", "web: python3 -m gunicorn -c settings.py site_app:app\n", "listen = \"fd\""),
    ("Procfile", "web: gunicorn --bind unix:$RIP_SOCKET site_app:app\n", "listen = \"path\""),
    ("Procfile", "web: sh -c 'gunicorn --bind unix:$RIP_SOCKET site_app:app; true'\n", "listen = \"path\""),
    ("Procfile", "web: ./serve.sh\n", "listen = \"fd\""),
    ("package.json", "{\"scripts\": {\"start\": \"gunicorn site_app:app\"}}\n", "listen = \"fd\""),
    ("Procfile", "", "command = [\"gunicorn\", \"site_app:app\"]\nlisten = \"fd\""),
    (
        "Procfile",
        "",
        "command = [\"/usr/bin/env\", \"A=b\", \"gunicorn\", \"site_app:app\"]\nlisten = \"fd\"",
    ),
];

#[tokio::test]
async fn over_a_unix_socket_the_client_is_the_one_that_the_server_knows_in_whatever_way_it_is_started() {
    if !has("gunicorn", "gunicorn") {
        return;
    }
    for (file, text, settings) in WAYS {
        let app = folder_with(&[
            (file, text),
            ("site_app.py", APP),
            ("settings.py", "worker_class = 'gthread'\nthreads = 2\n"),
            ("serve.sh", "#!/bin/sh\nexec gunicorn site_app:app\n"),
            ("rip.toml", &format!("{settings}\nreload = \"none\"\n")),
        ]);
        let script = app.path().join("serve.sh");
        fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let server = Setup::app(app.path()).words(&["w:1"]).start().await;
        let port = server.port().to_string();
        let spoofed = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https")];
        assert_eq!(
            seen(&server, &spoofed).await,
            ["127.0.0.1", "localhost", &port, "http", ""],
            "{text}{settings}"
        );

        let trusted = "trusted_proxies = [\"127.0.0.1\"]";
        let server = Setup::app(app.path()).words(&["w:1"]).server(trusted).start().await;
        let told = [
            ("X-Forwarded-For", "6.6.6.6, 203.0.113.9"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Port", "8443"),
            ("Host", "[2001:db8::1]"),
        ];
        let expected = ["203.0.113.9", "[2001:db8::1]", "8443", "https", ""];
        server.ctl(&["add", "[2001:db8::1]"]).await.expect(0);
        assert_eq!(seen(&server, &told).await, expected, "{text}{settings}");
    }
}

#[tokio::test]
async fn modules_of_the_apps_own_python_path_are_found_and_its_sitecustomize_is_loaded() {
    if !has("gunicorn", "gunicorn") {
        return;
    }
    for (line, settings) in [
        ("PYTHONPATH=lib gunicorn site_app:app", ""),
        ("export PYTHONPATH=lib; gunicorn site_app:app", ""),
        ("gunicorn site_app:app", "env = { PYTHONPATH = \"lib\" }"),
    ] {
        let app = folder_with(&[
            ("Procfile", &format!("web: {line}\n")),
            ("site_app.py", &format!("import helper\n{APP}")),
            ("lib/helper.py", ""),
            ("lib/sitecustomize.py", "import os\nos.environ['OWN'] = 'loaded'\n"),
            ("rip.toml", &format!("listen = \"fd\"\nreload = \"none\"\n{settings}\n")),
        ]);
        let server = Setup::app(app.path()).words(&["w:1"]).start().await;
        let told = seen(&server, &[]).await;
        assert_eq!((&*told[0], &*told[4]), ("127.0.0.1", "loaded"), "{line}");
    }
}

const ASGI: &str = "import json\n\nasync def app(scope, receive, send):\n    if scope['type'] == 'http':\n        \
     body = json.dumps([scope['client'] and scope['client'][0], scope['scheme']]).encode()\n        \
     await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n        \
     await send({'type': 'http.response.body', 'body': body})\n";

#[tokio::test]
async fn uvicorn_tells_the_clients_address_and_scheme_in_whatever_way_it_is_started() {
    if !has("uvicorn", "uvicorn") {
        return;
    }
    for (line, listen) in [
        ("uvicorn --fd 3 site_app:app", "fd"),
        ("python3 -m uvicorn --uds $RIP_SOCKET site_app:app", "path"),
        ("uvicorn --port $PORT site_app:app", "port"),
    ] {
        let app = folder_with(&[
            ("Procfile", &format!("web: {line}\n")),
            ("site_app.py", ASGI),
            ("rip.toml", &format!("listen = \"{listen}\"\nreload = \"none\"\n")),
        ]);
        let server = Setup::app(app.path()).words(&["w:1"]).tls().start().await;
        assert_eq!(seen(&server, &[("X-Forwarded-For", "6.6.6.6")]).await, ["127.0.0.1", "https"], "{line}");

        let trusted = "trusted_proxies = [\"127.0.0.1\"]";
        let server = Setup::app(app.path()).words(&["w:1"]).server(trusted).start().await;
        let told = [("X-Forwarded-For", "6.6.6.6, 203.0.113.9"), ("X-Forwarded-Proto", "https")];
        assert_eq!(seen(&server, &told).await, ["203.0.113.9", "https"], "{line}");
    }
}

#[tokio::test]
async fn over_a_port_gunicorn_is_left_with_whoever_connects() {
    if !has("gunicorn", "gunicorn") {
        return;
    }
    let app = folder_with(&[("Procfile", "web: gunicorn site_app:app\n"), ("site_app.py", APP)]);
    let server =
        Setup::app(app.path()).words(&["w:1"]).server("trusted_proxies = [\"127.0.0.1\"]").start().await;
    assert_eq!(seen(&server, &[("X-Forwarded-For", "203.0.113.9")]).await[0], "127.0.0.1");
}
