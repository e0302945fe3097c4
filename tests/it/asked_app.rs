//! An app of the server is asked whether requests to another one may pass: what it gets, what becomes of its answers,
//! and that nobody is let in without one.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::forward_auth::OF_A_LIAR;
use crate::support::client::Http2;
use crate::support::ctl::rip_server;
use crate::support::{Server, Setup, folder_with, has, until};

/// Answers by the query of the request that it is asked about, and notes what it was told.
const SSO: &str = r#"
import http.server, json, os, time
class Judge(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/verify"):
            with open("told.jsonl", "a") as notes:
                notes.write(json.dumps([self.command, self.path, self.headers.items()]) + "\n")
        query = (self.headers["x-forwarded-uri"] or "").partition("?")[2]
        status, fields, body = {
            "login": (302, [("Location", "https://sso.example/?rd=1"), ("Set-Cookie", "a=1"), ("X-Secret", "s")], "login"),
            "deny": (403, [("Content-Type", "text/html")], "<b>no</b>"),
            "who": (401, [("WWW-Authenticate", "Bearer")], ""),
            "bug": (500, [], ""),
            "lost": (404, [], ""),
            "large": (403, [], "x" * 100000),
            "plain": (204, None, ""),
        }.get(query, (200, [("Remote-User", "anna"), ("X-Groups", "a"), ("X-Groups", "b"), ("X-Other", "c")], "ok" * 40000))
        while query == "hold" and not os.path.exists("open"):
            time.sleep(0.01)
        if query == "die" and self.path.startswith("/verify"):
            os._exit(3)
        self.send_response(status)
        for name, value in fields or []:
            self.send_header(name, value)
        if fields is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Judge).serve_forever()
"#;
const SSO_RULES: &str = "command = [\"python3\", \"sso.py\"]\nlisten = \"port\"\nworkers = 1\n";
const RULES: &str = "auth = { app = \"sso\", path = \"/verify?a=b\", copy = [\"Remote-User\", \"X-Groups\"] }\n\
    [route.\"/view/open\"]\nauth = false\n";

fn sso(rules: &str) -> Vec<(String, String)> {
    [("sso/sso.py", SSO), ("sso/rip.toml", &format!("{SSO_RULES}{rules}"))]
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into()
}

/// The scripted app, which has the app `sso` asked, and that one beside it.
async fn start(setup: Setup, of_sso: &str) -> Server {
    let files = sso(of_sso);
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let server = setup.rules(RULES).start_in(folder_with(&files)).await;
    add(&server, &server.root().join("sso")).await;
    server
}

async fn add(server: &Server, app: &Path) {
    server.ctl(&["add", "sso.example", "--app", app.to_str().unwrap()]).await.expect(0);
    server.await_ready().await;
}

/// The question that the asked app was told last.
fn told(server: &Server) -> String {
    let notes = fs::read_to_string(server.root().join("sso/told.jsonl")).unwrap_or_default();
    notes.lines().last().unwrap_or_default().to_lowercase()
}

#[tokio::test]
async fn it_is_told_of_the_request_and_the_worker_of_what_it_says() {
    let server = start(Setup::scripted(), "").await;
    let fields = [&OF_A_LIAR[..], &[("If-None-Match", "\"x\"")]].concat();
    let seen = server.ask("POST", "/view/x%20y?z=1", &fields, b"body").await.view();
    assert_eq!((seen.field("remote-user"), seen.field("x-groups")), (Some("anna"), Some("a, b")));
    assert_eq!((seen.field("x-other"), seen.field("cookie")), (None, Some("session=1")));
    assert_eq!((seen.field("authorization"), seen.length), (Some("Basic x"), 4));

    let told_of = told(&server);
    for part in [
        "[\"get\", \"/verify?a=b\"",
        "[\"host\", \"localhost\"]",
        "[\"x-forwarded-method\", \"post\"]",
        "[\"x-forwarded-uri\", \"/view/x%20y?z=1\"]",
        "[\"x-forwarded-host\", \"localhost\"]",
        "[\"x-forwarded-proto\", \"http\"]",
        "[\"x-forwarded-for\", \"127.0.0.1\"]",
        "[\"x-original-url\", \"http://localhost/view/x%20y?z=1\"]",
        "[\"x-request-id\", ",
        "[\"cookie\", \"session=1\"]",
        "[\"authorization\", \"basic x\"]",
        "[\"x-custom\", \"kept\"]",
    ] {
        assert!(told_of.contains(part), "{part}: {told_of}");
    }
    for not in ["root", "admin", "evil", "\"put\"", "range", "if-none", "content-length", "\"connection\""] {
        assert!(!told_of.contains(not), "{not}: {told_of}");
    }
    let record = server.record("/view/x%20y?z=1").await;
    assert_eq!((&record["user"], &record["app"]), (&"anna".into(), &"scripted".into()));
    let asked = server.record("/verify?a=b").await;
    assert_eq!((&asked["app"], &asked["status"], &asked["id"]), (&"sso".into(), &200.into(), &record["id"]));
    assert_eq!((&asked["user"], &asked["outcome"]), (&Value::Null, &"complete".into()));

    let seen = server.ask("GET", "/view?plain", &fields, b"").await.view();
    assert_eq!((seen.field("remote-user"), seen.field("x-groups")), (None, None), "said by nobody");
    let before = told(&server);
    assert_eq!(server.get("/view/open").await.status, 200);
    assert_eq!(told(&server), before, "nobody is asked about an open path");
}

#[tokio::test]
async fn a_client_that_is_not_let_in_gets_the_answer_and_the_worker_nothing() {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = start(setup, "").await;
        let login = server.get("/view?login").await;
        assert_eq!((login.status, login.text(), login.reason()), (302, "login", ""));
        assert_eq!(
            (login.field("location"), login.field("set-cookie")),
            ("https://sso.example/?rd=1", "a=1")
        );
        assert_eq!(login.field("x-secret"), "");
        let denied = server.get("/view?deny").await;
        let type_ = denied.field("content-type");
        assert_eq!((denied.status, denied.text(), type_), (403, "<b>no</b>", "text/html"));
        let who = server.get("/view?who").await;
        assert_eq!((who.status, who.field("www-authenticate")), (401, "Bearer"));
        for path in ["bug", "lost", "large", "die"] {
            let reply = server.get(&format!("/view?{path}")).await;
            assert_eq!((reply.status, reply.reason()), (503, "auth-failed"), "{path}");
        }
        if server.is_tls() {
            let reply = Http2::connect(server.port(), "localhost").await.get("/view?deny").await;
            assert_eq!((reply.status, reply.text()), (403, "<b>no</b>"));
        }
        let mut conn = server.connect().await;
        let head = "POST /view?deny HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n";
        conn.send(head).await;
        assert_eq!(conn.reply("POST").await.status, 403, "before the body");
        server.ctl(&["pause", "localhost"]).await.expect(0);
        assert_eq!(server.get("/view?deny").await.status, 403, "before the queue");
        let upgrade = [("Connection", "upgrade"), ("Upgrade", "echo")];
        assert_eq!(server.ask("GET", "/upgrade?deny", &upgrade, b"").await.status, 403);
        assert_eq!(server.meeting.targets(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn its_own_settings_for_clients_do_not_hold_for_the_question_and_its_queue_does() {
    let of_sso = "deny = [\"0.0.0.0/0\"]\ntimeouts.queue = \"200ms\"\n[route.\"/verify\"]\nheaders.request.set = { X-Custom = \"by sso\" }\n";
    let server = start(Setup::scripted(), of_sso).await;
    let direct = server.ask("GET", "/verify", &[("Host", "sso.example")], b"").await;
    assert_eq!((direct.status, direct.reason()), (403, "forbidden"));
    server.ctl(&["maintenance", "sso.example"]).await.expect(0);
    assert_eq!(server.get("/view").await.status, 200);
    assert!(told(&server).contains("by sso"), "{}", told(&server));
    let (first, second) = tokio::join!(server.get("/view?hold"), async {
        let held = async || {
            let workers = server.workers().await.workers;
            workers.iter().any(|worker| worker.app.as_str() == "sso" && !worker.requests.is_empty())
        };
        until("it is asked", held).await;
        let second = server.get("/view?2").await;
        fs::write(server.root().join("sso/open"), "").unwrap();
        second
    });
    assert_eq!(first.status, 200, "it was asked, and has answered late");
    assert_eq!((second.status, second.reason()), (503, "auth-failed"), "no worker came in time");
    assert_eq!(server.meeting.targets().iter().filter(|target| *target == "/view?2").count(), 0);
}

#[tokio::test]
async fn one_that_has_no_worker_for_want_of_requests_gets_one_to_be_asked() {
    let server = start(Setup::scripted(), "idle = \"1s\"\n").await;
    let workers = async || {
        let workers = server.workers().await.workers;
        workers.iter().filter(|worker| worker.app.as_str() == "sso").count()
    };
    for _ in 0..2 {
        until("nobody has asked it for long", async || workers().await == 0).await;
        assert_eq!(server.get("/view").await.status, 200);
        assert_eq!(workers().await, 1);
    }
}

#[tokio::test]
async fn an_app_that_is_not_there_is_told_and_lets_nobody_in_until_it_comes() {
    let files = sso("");
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let server = Setup::scripted().rules(RULES).start_in(folder_with(&files)).await;
    let reply = server.get("/view").await;
    assert_eq!((reply.status, reply.reason()), (503, "auth-failed"));
    assert_eq!(server.get("/view/open").await.status, 200);
    let missing = "`auth` asks the app sso, which is not there";
    assert!(server.status().await.apps[0].warnings[0].contains(missing));
    assert!(server.ctl(&["status"]).await.out.contains(missing));
    let app = server.root().join("scripted");
    let check = rip_server(server.root(), &["check".as_ref(), app.as_os_str()]).await;
    assert!(check.code == 0 && check.out.contains("asks the app sso, which is not there"), "{check:?}");

    add(&server, &server.root().join("sso")).await;
    assert_eq!(server.get("/view").await.status, 200);
    assert!(server.status().await.apps.iter().all(|app| app.warnings.is_empty()));
    server.ctl(&["remove", "sso.example"]).await.expect(0);
    until("it has gone", async || server.status().await.apps.len() == 1).await;
    assert_eq!(server.get("/view").await.reason(), "auth-failed");
}

#[tokio::test]
async fn no_app_is_asked_about_its_own_requests() {
    let to = |app: &str| format!("auth = {{ app = \"{app}\", path = \"/\" }}\n");
    let in_route = |app: &str| format!("[route.\"/a\"]\n{}", to(app));
    let page = "<p>hello</p>";
    for (rules, error) in [
        ([to("a"), String::new(), String::new()], "`auth` of a names a itself"),
        ([in_route("a"), String::new(), String::new()], "`auth` of a names a itself"),
        ([to("b"), to("c"), in_route("a")], "a circle: a asks b, which asks c, which asks a: one of them"),
    ] {
        let files: Vec<_> = ["a", "b", "c"]
            .iter()
            .zip(&rules)
            .flat_map(|(app, rules)| {
                [(format!("{app}/rip.toml"), rules.as_str()), (format!("{app}/index.html"), page)]
            })
            .collect();
        let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        let folder = folder_with(&files);
        let apps = ["a", "b", "c"].map(|app| format!("[[apps]]\npath = \"{app}\"\n")).concat();
        fs::write(folder.path().join("server.toml"), format!("[listen]\nhttp = 0\n{apps}")).unwrap();
        for words in [&["check", "--config=server.toml"][..], &["--config=server.toml"]] {
            let ran = rip_server(folder.path(), words).await;
            assert!(ran.code == 2 && ran.err.contains(error), "{words:?}: {ran:?}");
            assert_eq!(ran.err.trim_end().lines().count(), 1, "{ran:?}");
        }
    }
}

#[tokio::test]
async fn a_circle_that_comes_with_a_deploy_or_an_added_app_is_refused() {
    let page = ("other/index.html", "<p>hello</p>");
    let rules = "auth = { app = \"scripted\", path = \"/view\" }\n";
    let files = [page, ("other/rip.toml", rules)];
    let server = Setup::scripted()
        .rules("auth = { app = \"other\", path = \"/\" }\n")
        .start_in(folder_with(&files))
        .await;
    let other: PathBuf = server.root().join("other");
    let add = server.ctl(&["add", "o.example", "--app", other.to_str().unwrap()]).await;
    assert!(add.code != 0 && add.err.contains("a circle: other asks scripted, which asks other"), "{add:?}");

    fs::write(other.join("rip.toml"), "").unwrap();
    server.ctl(&["add", "o.example", "--app", other.to_str().unwrap()]).await.expect(0);
    server.await_ready().await;
    assert_eq!(server.get("/view").await.status, 200, "a page is an answer, too");
    fs::write(other.join("rip.toml"), rules).unwrap();
    let deploy = server.ctl(&["deploy", "other"]).await;
    assert!(deploy.code != 0, "{deploy:?}");
    let told = format!("{}{}", deploy.out, deploy.err);
    assert!(told.contains("a circle: other asks scripted, which asks other"), "{told}");
    assert_eq!(server.get("/view").await.status, 200, "the one before goes on");
}

#[tokio::test]
async fn a_php_app_is_asked_as_any_other() {
    if !has("php-cgi", "php-cgi") {
        return;
    }
    let script = "<?php if (($_COOKIE['s'] ?? '') !== 'ok') { http_response_code(401); exit; }\n\
        header('Remote-User: ' . $_SERVER['HTTP_X_FORWARDED_URI']);";
    let files = [("sso/index.php", "<?php http_response_code(404);"), ("sso/verify.php", script)];
    let rules = "auth = { app = \"sso\", path = \"/verify.php\", copy = [\"Remote-User\"] }\n";
    let server = Setup::scripted().rules(rules).start_in(folder_with(&files)).await;
    add(&server, &server.root().join("sso")).await;
    assert_eq!(server.get("/view").await.status, 401);
    let seen = server.ask("GET", "/view?x", &[("Cookie", "s=ok")], b"").await.view();
    assert_eq!(seen.field("remote-user"), Some("/view?x"));
}
