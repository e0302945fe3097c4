//! Names and passwords: who is let in, what the worker is told, and files of users that change or are wrong.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Full;

use crate::support::client::{Http2, Reply, whole};
use crate::support::ctl::rip_server;
use crate::support::{Server, Setup, folder_with, has, until};

/// `correct horse`, by crypt(5) at its least cost.
const ANNA: &str = "anna:$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e\n";
/// `päss:wort`.
const BOB: &str = "böb:$2b$04$abcdefghijklmnopqrstuu10dizIEH490iejFXSRrWZC9bVi.Upc2\n";
const AUTH: &str = "auth = { users = \"staff.htpasswd\", realm = \"The Staff\" }\n";

fn basic(pair: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

/// A server whose app asks for names and passwords of Anna and Bob.
async fn start(setup: Setup) -> Server {
    let folder = folder_with(&[("scripted/staff.htpasswd", &format!("# staff\n{ANNA}{BOB}"))]);
    setup.start_in(folder).await
}

async fn ask(server: &Server, path: &str, fields: &[(&str, &str)]) -> Reply {
    server.ask("GET", path, fields, b"").await
}

/// Asks with a name and a password, over HTTP/2 where there is TLS.
async fn ask_as(server: &Server, path: &str, pair: &str) -> Reply {
    let basic = basic(pair);
    if !server.is_tls() {
        return ask(server, path, &[("Authorization", &basic)]).await;
    }
    let request = http::Request::get(format!("https://localhost{path}")).header("authorization", basic);
    let mut conn = Http2::connect(server.port(), "localhost").await;
    whole(conn.send(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap()).await.unwrap()
}

fn users_file(server: &Server) -> std::path::PathBuf {
    server.root().join("scripted/staff.htpasswd")
}

#[tokio::test]
async fn only_a_right_name_with_its_password_gets_in_and_the_worker_sees_the_name_alone() {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = start(setup.rules(AUTH)).await;
        for _ in 0..2 {
            let seen = ask_as(&server, "/view", "anna:correct horse").await.view();
            assert_eq!(seen.field("remote-user"), Some("anna"));
            assert_eq!(seen.field("authorization"), None);
            assert_eq!(ask_as(&server, "/view", "böb:päss:wort").await.status, 200);
            for pair in [
                "anna:correct hors",
                "anna:",
                "anna",
                "Anna:correct horse",
                "bob:correct horse",
                ":correct horse",
                "böb:correct horse",
                "nobody:x",
            ] {
                let reply = ask_as(&server, "/view?wrong", pair).await;
                assert_eq!((reply.status, reply.reason()), (401, "unauthorized"), "{pair}");
                let challenge = "Basic realm=\"The Staff\", charset=\"UTF-8\"";
                assert_eq!(reply.field("www-authenticate"), challenge);
            }
        }
        let none = ask(&server, "/view?wrong", &[]).await;
        assert_eq!((none.status, none.reason()), (401, "unauthorized"));
        let right = basic("anna:correct horse");
        let twice =
            ask(&server, "/view?wrong", &[("Authorization", &right), ("Authorization", &right)]).await;
        assert_eq!(twice.status, 401);
        assert!(!server.meeting.targets().iter().any(|target| target.contains("wrong")));
        assert_eq!(server.record("/view?wrong").await["reason"], "unauthorized");
    }
}

#[tokio::test]
async fn nobody_says_who_they_are_by_a_field() {
    let spellings = ["Remote-User", "REMOTE-USER", "Remote_User", "REMOTE_USER", "remote_User"];
    for (setup, rules) in [
        (Setup::scripted(), AUTH),
        (Setup::scripted(), ""),
        (Setup::scripted().server("trusted_proxies = [\"127.0.0.1\"]"), AUTH),
    ] {
        let server = start(setup.rules(rules)).await;
        let right = basic("anna:correct horse");
        for name in spellings {
            for more in ["X-A", "Connection"] {
                let fields =
                    [(name, "root"), ("Authorization", &*right), (more, "Remote-User, Authorization")];
                let seen = ask(&server, "/view", &fields).await.view();
                let named: Vec<_> = seen.headers.iter().filter(|(_, value)| value == "root").collect();
                assert!(named.is_empty(), "{name}: {:?}", seen.headers);
                let user = if rules.is_empty() { None } else { Some("anna") };
                assert_eq!(seen.field("remote-user"), user, "{name} {more}");
            }
        }
    }
    let trusted = Setup::scripted().server("trusted_proxies = [\"127.0.0.1\"]");
    let seen = ask(&start(trusted).await, "/view", &[("Remote-User", "carl")]).await.view();
    assert_eq!(seen.field("remote-user"), Some("carl"), "a trusted proxy may say so where nobody is asked");
}

#[tokio::test]
async fn cgi_and_grpc_workers_are_told_too_and_settings_may_say_another_authorization() {
    let rules = format!("{AUTH}headers.request.set = {{ Authorization = \"Bearer inner\" }}\n");
    let server = start(Setup::scripted().fastcgi().rules(&rules)).await;
    let reply = ask_as(&server, "/view", "anna:correct horse").await;
    let told = &reply.json::<serde_json::Value>()["variables"];
    assert_eq!((&told["REMOTE_USER"], &told["HTTP_REMOTE_USER"]), (&"anna".into(), &"anna".into()));
    assert_eq!(told["HTTP_AUTHORIZATION"], "Bearer inner");
    if has("node", "nodejs") {
        let server = start(Setup::scripted().h2c().rules(AUTH)).await;
        let seen = ask_as(&server, "/view", "anna:correct horse").await.view();
        assert_eq!((seen.field("remote-user"), seen.field("authorization")), (Some("anna"), None));
    }
}

#[tokio::test]
async fn it_is_asked_before_the_body_and_the_queue_and_holds_for_upgrades() {
    let server = start(Setup::scripted().rules(AUTH)).await;
    server.ctl(&["pause", "localhost"]).await.expect(0);
    let mut conn = server.connect().await;
    let head =
        "POST /view HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n";
    conn.send(head).await;
    let reply = conn.reply("POST").await;
    assert_eq!((reply.status, reply.field("connection")), (401, "close"));
    server.ctl(&["resume", "localhost"]).await.expect(0);

    let upgrade = [("Connection", "upgrade"), ("Upgrade", "echo")];
    assert_eq!(ask(&server, "/upgrade", &upgrade).await.status, 401);
    let mut conn = server.connect().await;
    let right = basic("anna:correct horse");
    let head = format!(
        "GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\nAuthorization: {right}\r\n\r\n"
    );
    conn.send(head).await;
    assert_eq!(conn.head().await.status, 101);
}

#[tokio::test]
async fn some_paths_are_open_some_are_closed_and_redirects_come_first() {
    let rules =
        format!("{AUTH}redirect = {{ \"/old\" = \"/view\" }}\n[route.\"/view/open\"]\nauth = false\n");
    let server = start(Setup::scripted().rules(&rules)).await;
    for (path, status) in [
        ("/view", 401),
        ("/view/open", 200),
        ("/view/%6fpen/x", 200),
        ("/view/opened", 401),
        ("/view/OPEN", 400),
        ("/view/open/../secret", 400),
        ("/old", 301),
    ] {
        assert_eq!(ask(&server, path, &[]).await.status, status, "{path}");
    }
    let rules = format!("[route.\"/admin\"]\n{AUTH}");
    let server = start(Setup::scripted().rules(&rules)).await;
    for (path, status) in [("/view", 200), ("/admin", 401), ("/%61dmin/x", 401), ("/view/../admin", 400)] {
        assert_eq!(ask(&server, path, &[]).await.status, status, "{path}");
    }
    assert_eq!(
        ask_as(&server, "/admin", "anna:correct horse").await.status,
        404,
        "the worker has no such page"
    );
}

#[tokio::test]
async fn a_changed_file_counts_without_a_deploy_and_a_wrong_one_does_not() {
    let server = start(Setup::scripted().rules(AUTH)).await;
    let status = async |pair: &str| ask_as(&server, "/view", pair).await.status;
    assert_eq!((status("anna:correct horse").await, status("böb:päss:wort").await), (200, 200));

    fs::write(users_file(&server), ANNA).unwrap();
    until("Bob is out", async || status("böb:päss:wort").await == 401).await;
    assert_eq!(status("anna:correct horse").await, 200);

    fs::write(users_file(&server), format!("{ANNA}bob:secret\n")).unwrap();
    until("the wrong line is told", async || {
        assert_eq!(status("anna:correct horse").await, 200);
        server.output().contains("is wrong in line 2")
    })
    .await;
    assert!(!server.output().contains("secret"), "what stands in the file is nobody's business");
    let deploy = server.ctl(&["deploy"]).await;
    assert!(deploy.code != 0 && deploy.err.contains("line 2"), "{deploy:?}");

    fs::write(users_file(&server), format!("{ANNA}{BOB}")).unwrap();
    until("Bob is in again", async || status("böb:päss:wort").await == 200).await;
}

#[tokio::test]
async fn wrong_settings_and_files_are_one_clear_error_each() {
    for (rules, users, error) in [
        ("auth = true", "", "rip.toml:1:8: auth: read `true`, expected off, or a table such as"),
        ("auth = { user = \"x\" }", "", "`user` is no part of it"),
        ("auth = { realm = \"x\" }", "", "it has no `users`"),
        ("auth = { users = \"none\" }", "", "none, which `auth` names, cannot be read: No such file"),
        ("auth = { users = \".\" }", "", "it is not a plain file"),
        ("auth = { users = \"staff\" }", "anna:secret", "is wrong in line 1: the hash is of no kind"),
        ("auth = { users = \"staff\" }", "# x\nanna", "is wrong in line 2: NAME:HASH is expected"),
        ("[route.\"/x\"]\nauth = { users = \"staff\" }", "a:$apr1$x$y", "$apr1$, which is not taken: bcrypt"),
    ] {
        let folder =
            folder_with(&[("app/rip.toml", rules), ("app/staff", users), ("app/index.html", "hello")]);
        let ran = rip_server(folder.path(), &["check", "app"]).await;
        assert!(ran.code != 0 && ran.err.contains(error), "{rules}: {ran:?}");
        assert_eq!(ran.err.trim_end().lines().count(), 1, "{ran:?}");
        assert!(!ran.err.contains("secret"), "{ran:?}");
    }
    let right = "auth = { users = \"staff\" }\n[route.\"/open\"]\nauth = \"off\"\n";
    let folder = folder_with(&[("app/rip.toml", right), ("app/staff", ANNA), ("app/index.html", "hello")]);
    let ran = rip_server(folder.path(), &["check", "app"]).await.expect(0);
    let shown = format!("{{ users = \"{}/app/staff\", realm = \"Restricted\" }}", real(folder.path()));
    assert!(ran.out.contains(&shown), "{shown}: {ran:?}");
    assert!(ran.out.contains("route.\"/open\".auth"), "{ran:?}");
}

fn real(folder: &Path) -> String {
    folder.canonicalize().unwrap().display().to_string()
}

#[tokio::test]
async fn a_record_says_who_was_let_in_and_of_nobody_else_a_name() {
    let server = start(Setup::scripted().rules(AUTH)).await;
    assert_eq!(ask_as(&server, "/view?in", "böb:päss:wort").await.status, 200);
    assert_eq!(ask_as(&server, "/view?out", "anna:wrong").await.status, 401);
    assert_eq!(server.record("/view?in").await["user"], "böb");
    assert_eq!(server.record("/view?out").await["user"], serde_json::Value::Null);
    let server = start(Setup::scripted().rules(AUTH).lines()).await;
    ask_as(&server, "/view?in", "anna:correct horse").await;
    until("its line", async || server.output().contains(" user=anna ")).await;
}

/// A file of users in a folder that is served, by all ways in which folders are.
#[tokio::test]
async fn a_file_of_users_that_lies_where_files_are_served_is_told_and_never_sent() {
    let right = basic("anna:correct horse");
    let users = |folder: &str| format!("auth = {{ users = \"{folder}secrets.txt\" }}\n");
    let told = "secrets.txt, which `auth` names, lies in ";
    let page = ("app/index.html", "<p>hello</p>");
    let program = ("app/index.php", "<?php echo 'front';");
    let in_files = format!("{}static = [{{ path = \"/files\", root = \"files\" }}]\n", users("files/"));
    for (files, rules, path, beside) in [
        ([page, ("app/secrets.txt", ANNA), ("app/a.txt", "a")], users(""), "/", "/a.txt"),
        ([program, ("app/secrets.txt", ANNA), ("app/a.txt", "a")], users(""), "/", "/a.txt"),
        (
            [program, ("app/files/secrets.txt", ANNA), ("app/files/a.txt", "a")],
            in_files,
            "/files/",
            "/files/a.txt",
        ),
    ] {
        if files[0] == program && !has("php-cgi", "php-cgi") {
            continue;
        }
        let rip = [files[0], files[1], files[2], ("app/rip.toml", &rules), ("app/staff.htpasswd", "x")];
        let folder = folder_with(&rip);
        let app = folder.path().join("app");
        let secret = folder.path().join(files[1].0);
        std::os::unix::fs::symlink("secrets.txt", secret.with_file_name("link.txt")).unwrap();
        fs::hard_link(&secret, secret.with_file_name("hard.txt")).unwrap();
        let check = rip_server(folder.path(), &["check".as_ref(), app.as_os_str()]).await;
        assert!(check.code == 0 && check.out.contains(told), "{check:?}");
        let server = Setup::app(app).start_in(folder).await;
        let ask = async |path: &str| server.ask("GET", path, &[("Authorization", &right)], b"").await;
        for round in 0..2 {
            assert_eq!(ask(beside).await.text(), "a", "{rules}");
            for name in ["secrets.txt", "link.txt", "hard.txt", "%73ecrets.txt"].iter().take(if round == 0 {
                4
            } else {
                2
            }) {
                let reply = ask(&format!("{path}{name}")).await;
                assert!(!reply.text().contains("anna"), "{path}{name}: {reply:?}");
                assert!(reply.status == 404 || reply.text() == "front", "{path}{name}: {reply:?}");
            }
            assert!(!ask("/staff.htpasswd").await.text().contains('x'));
            // As `rip-serverctl passwd` does it: another file takes its place.
            fs::write(secret.with_file_name(".new"), format!("{ANNA}# more\n")).unwrap();
            fs::rename(secret.with_file_name(".new"), &secret).unwrap();
        }
        assert!(server.status().await.apps[0].warnings[0].contains(told));
    }
    let rip = [page, ("app/rip.toml", &users("../")), ("secrets.txt", ANNA)];
    let folder = folder_with(&rip);
    let check = rip_server(folder.path(), &["check", "./app"]).await;
    assert!(!check.out.contains("lies in"), "{check:?}");
}

/// The file of users of one app in a folder that another app serves, in each way.
#[tokio::test]
async fn a_file_of_users_is_sent_by_no_other_app_either() {
    let page = ("app/index.html", "front");
    let program = ("app/index.php", "<?php echo 'front';");
    let mount = "static = [{ path = \"/files\", root = \"files\" }]\n";
    for (front, rules, within) in [(page, "", ""), (program, "", ""), (program, mount, "files/")] {
        if front == program && !has("php-cgi", "php-cgi") {
            continue;
        }
        let (names, beside) = (format!("app/{within}names.txt"), format!("app/{within}a.txt"));
        let auth = format!("auth = {{ users = \"../{names}\" }}\n");
        let files = [
            front,
            ("app/rip.toml", rules),
            (&*names, ANNA),
            (&*beside, "a"),
            ("other/index.html", "other"),
            ("other/rip.toml", &auth),
        ];
        let folder = folder_with(&files);
        let secret = folder.path().join(&names);
        std::os::unix::fs::symlink("names.txt", secret.with_file_name("link.txt")).unwrap();
        fs::hard_link(&secret, secret.with_file_name("hard.txt")).unwrap();
        let (app_folder, other) = (folder.path().join("app"), folder.path().join("other"));
        let mut server = Setup::app(&app_folder).start_in(folder).await;
        server.ctl(&["add", "b.example", "--app", other.to_str().unwrap()]).await.expect(0);
        server.ctl(&["deploy", "app"]).await.expect(0);
        // The app of an added host is read after those of the start.
        for round in ["deployed", "started"] {
            assert_eq!(server.get(&format!("/{within}a.txt")).await.text(), "a", "{front:?} {round}");
            for name in ["names.txt", "link.txt", "hard.txt", "%6eames.txt"] {
                let reply = server.get(&format!("/{within}{name}")).await;
                let refused = reply.status == 404 || reply.text() == "front";
                assert!(refused, "{front:?} {within}{name} {round}: {reply:?}");
            }
            assert_eq!(server.ask("GET", "/", &[("Host", "b.example")], b"").await.status, 401);
            let apps = server.status().await.apps;
            let app = apps.iter().find(|one| one.app.as_str() == "app").unwrap();
            assert!(app.warnings[0].contains("names.txt, which `auth` names, lies in "), "{round}: {app:?}");
            server = Setup::app(&app_folder).start_in(server.kill()).await;
        }
    }
}
