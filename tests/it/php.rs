//! PHP apps: which script or file answers, what scripts are told, what is never sent.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::ctl::{SERVER, rip_server};
use crate::support::{Server, Setup, has, until};

/// A script that tells which it is, and what it was told.
const TELL: &str = "<?php header('Content-Type: application/json'); \
    echo json_encode(['file' => __FILE__, 'server' => $_SERVER, 'get' => $_GET, 'post' => $_POST]);";

/// `None` where php-cgi is missing.
fn site(files: &[(&str, &str)]) -> Option<TempDir> {
    if !has("php-cgi", "php-cgi") {
        return None;
    }
    let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    for (name, text) in files {
        write(&folder, name, text);
    }
    Some(folder)
}

fn write(folder: &TempDir, name: &str, text: &str) {
    let path = folder.path().join("site").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

async fn start(folder: TempDir) -> Server {
    Setup::app(folder.path().join("site")).start_in(folder).await
}

/// The script that answers, and its `PATH_INFO`.
async fn told(server: &Server, path: &str) -> (String, String) {
    let reply = server.get(path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    let seen: Value = reply.json();
    assert_eq!(seen["server"]["REQUEST_URI"], path);
    let info = seen["server"]["PATH_INFO"].as_str().unwrap_or_default().to_owned();
    (seen["server"]["SCRIPT_NAME"].as_str().unwrap().to_owned(), info)
}

#[tokio::test]
async fn a_path_leads_to_a_script_a_file_or_the_front_controller() {
    let files = [
        ("index.php", TELL),
        ("login.php", TELL),
        ("remote.php", TELL),
        ("admin/index.php", TELL),
        ("docs/index.html", "<p>docs"),
        ("style.css", "p {}"),
    ];
    let Some(folder) = site(&files) else { return };
    let server = start(folder).await;
    for (path, script, info) in [
        ("/", "/index.php", ""),
        ("/login.php?a=b", "/login.php", ""),
        ("/admin/", "/admin/index.php", ""),
        ("/blog/2026?page=2", "/index.php", ""),
        ("/index.php/blog", "/index.php", "/blog"),
        ("/remote.php/dav/files/a%20b", "/remote.php", "/dav/files/a b"),
        ("/missing.php", "/index.php", ""),
    ] {
        assert_eq!(told(&server, path).await, (script.into(), info.into()), "{path}");
    }
    let seen: Value = server.get("/index.php/blog?x=y").await.json();
    let root = server.root().join("site").canonicalize().unwrap();
    for (name, value) in [
        ("DOCUMENT_ROOT", root.to_str().unwrap().to_owned()),
        ("SCRIPT_FILENAME", format!("{}/index.php", root.display())),
        ("PHP_SELF", "/index.php/blog".into()),
        ("QUERY_STRING", "x=y".into()),
        ("REMOTE_ADDR", "127.0.0.1".into()),
        ("SERVER_NAME", "localhost".into()),
    ] {
        assert_eq!(seen["server"][name], value, "{name}");
    }
    assert_eq!(seen["get"]["x"], "y");
    let folder = server.get("/admin?a=b").await;
    assert_eq!((folder.status, folder.field("location")), (301, "/admin/?a=b"));
    assert_eq!(server.get("/docs/").await.text(), "<p>docs");
    let style = server.get("/style.css").await;
    assert_eq!((style.text(), style.field("content-type")), ("p {}", "text/css; charset=utf-8"));
    let same = server.ask("GET", "/style.css", &[("If-None-Match", style.field("etag"))], b"").await;
    assert_eq!((same.status, same.field("rip-no-body")), (304, ""));
    let part = server.ask("GET", "/style.css", &[("Range", "bytes=2-")], b"").await;
    assert_eq!((part.status, part.text()), (206, "{}"));
    let head = server.ask("HEAD", "/style.css", &[], b"").await;
    assert_eq!((head.status, head.field("content-length"), head.text()), (200, "4", ""));
    assert_eq!(server.post("/style.css", b"x").await.status, 405);
    for record in server.records("/style.css", 5).await {
        assert_eq!(record["worker"], Value::Null, "no worker is woken for a file");
    }
}

/// As a script is told in a folder of that name.
#[tokio::test]
async fn below_a_prefix_a_script_is_told_where_it_is_for_the_client() {
    let Some(folder) = site(&[("index.php", TELL), ("remote.php", TELL), ("admin/index.php", TELL)]) else {
        return;
    };
    write(&folder, "rip.toml", "hosts = [\"a.example/my/site\", \"b.example\"]\nstrip = true\n");
    let server = start(folder).await;
    let root = server.root().join("site").canonicalize().unwrap();
    for (host, path, script, info) in [
        ("a.example", "/my/site", "/my/site/index.php", ""),
        ("a.example", "/my/site/?a=b", "/my/site/index.php", ""),
        ("a.example", "/my/site/blog/2026", "/my/site/index.php", ""),
        ("a.example", "/my/site/admin/", "/my/site/admin/index.php", ""),
        ("a.example", "/my/site/remote.php/dav/a%20b", "/my/site/remote.php", "/dav/a b"),
        ("b.example", "/my/site/blog", "/index.php", ""),
    ] {
        let fields = [("Host", host), ("X-Forwarded-Prefix", "/evil")];
        let seen: Value = server.ask("GET", path, &fields, b"").await.json();
        let seen = &seen["server"];
        let name = script.strip_prefix("/my/site").unwrap_or(script);
        // Where nothing is left of a path, its worker sees `/`.
        let uri = if path == "/my/site" { "/my/site/" } else { path };
        for (variable, value) in [
            ("REQUEST_URI", uri.to_owned()),
            ("SCRIPT_NAME", script.into()),
            ("PHP_SELF", format!("{script}{info}")),
            ("SCRIPT_FILENAME", format!("{}{name}", root.display())),
        ] {
            assert_eq!(seen[variable], value, "{variable} of {host}{path}");
        }
        assert_eq!(seen["PATH_INFO"].as_str().unwrap_or_default(), info, "{host}{path}");
        assert_eq!(seen["HTTP_X_FORWARDED_PREFIX"], Value::Null, "{host}{path}");
    }
    let folder = server.ask("GET", "/my/site/admin?a=b", &[("Host", "a.example")], b"").await;
    assert_eq!((folder.status, folder.field("location")), (301, "/my/site/admin/?a=b"));
}

#[tokio::test]
async fn source_is_never_sent_and_a_picture_never_run() {
    const SECRET: &str = "<?php $password = 'secret'; echo 'run';";
    let names = [
        "index.php~",
        "index.php.bak",
        "conf.php.orig",
        "conf.php.swp",
        "lib/db.inc",
        "lib/view.phtml",
        "lib/x.PHP",
        "lib/a.phar",
        "avatar.jpg",
        ".env",
        ".git/config",
        "rip.toml.php.old",
    ];
    let Some(folder) = site(&names.map(|name| (name, SECRET))) else { return };
    write(&folder, "index.php", "<?php http_response_code(404); echo 'front';");
    fs::write(folder.path().join("secret.txt"), SECRET).unwrap();
    symlink("../secret.txt", folder.path().join("site/out.txt")).unwrap();
    symlink("index.php", folder.path().join("site/text.txt")).unwrap();
    symlink("avatar.jpg", folder.path().join("site/linked.php")).unwrap();
    let server = start(folder).await;
    let picture = server.get("/avatar.jpg").await;
    assert_eq!((picture.status, picture.text()), (200, SECRET), "what is in a picture is a picture");
    for path in names.iter().filter(|name| **name != "avatar.jpg").map(|name| format!("/{name}")).chain(
        [
            "/avatar.jpg/x.php",
            "/avatar.jpg/index.php",
            "/avatar.jpg%00.php",
            "/index.php%00",
            "/index.php.",
            "/index.php%20",
            "/%2e%2e/secret.txt",
            "/..%2fsecret.txt",
            "/lib%2fdb.inc",
            "/out.txt",
            "/text.txt",
            "/linked.php",
            "/rip.toml",
        ]
        .map(String::from),
    ) {
        let reply = server.get(&path).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
        assert!(
            !reply.text().contains("secret") && !reply.text().contains("run"),
            "{path}: {}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn only_public_is_reached_where_there_is_one() {
    let files =
        [("public/index.php", TELL), ("public/a.txt", "a"), ("index.txt", "no"), ("storage/b.txt", "b")];
    let Some(folder) = site(&files) else { return };
    symlink(folder.path().join("site/storage"), folder.path().join("site/public/storage")).unwrap();
    let server = start(folder).await;
    assert_eq!(server.get("/a.txt").await.text(), "a");
    assert_eq!(server.get("/storage/b.txt").await.text(), "b", "a link within the app, as Laravel makes it");
    assert_eq!(told(&server, "/index.txt").await.0, "/index.php");
    assert_eq!(told(&server, "/public/a.txt").await.0, "/index.php");
}

#[tokio::test]
async fn links_lead_out_to_folders_that_the_admin_names() {
    let Some(folder) = site(&[("index.php", "<?php echo 'front';")]) else { return };
    let shared = folder.path().join("usr");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("style.css"), "p {}").unwrap();
    fs::write(shared.join("lib.php"), "<?php echo 'lib';").unwrap();
    symlink(&shared, folder.path().join("site/shared")).unwrap();
    symlink(shared.join("lib.php"), folder.path().join("site/lib.php")).unwrap();
    let app = folder.path().join("site");
    let server = Setup::app(&app).start_in(folder).await;
    for path in ["/shared/style.css", "/lib.php", "/shared/lib.php"] {
        assert_eq!(server.get(path).await.text(), "front", "{path}");
    }
    let folder = server.kill();
    let follow = format!("app.follow = [\"{}\"]", shared.display());
    let server = Setup::app(&app).server(&follow).start_in(folder).await;
    for (path, text) in [("/shared/style.css", "p {}"), ("/lib.php", "lib"), ("/shared/lib.php", "lib")] {
        assert_eq!(server.get(path).await.text(), text, "{path}");
    }
}

#[tokio::test]
async fn uploads_sessions_and_settings_work() {
    let script = "<?php session_start(); $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1; echo json_encode(['n' => \
        $_SESSION['n'], 'pid' => getmypid(), 'limit' => ini_get('upload_max_filesize'), 'shown' => \
        ini_get('display_errors'), 'file' => isset($_FILES['f']) ? filesize($_FILES['f']['tmp_name']) : null]);";
    let Some(folder) = site(&[("index.php", script)]) else { return };
    write(
        &folder,
        "rip.toml",
        "php.ini = { upload_max_filesize = \"64M\", post_max_size = \"64M\", display_errors = true }",
    );
    let server = start(folder).await;
    let mut body = b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n".to_vec();
    body.extend(vec![b'x'; 5 << 20]);
    body.extend(b"\r\n--b--\r\n");
    let fields = [("Content-Type", "multipart/form-data; boundary=b")];
    let first = server.ask("POST", "/", &fields, &body).await;
    let seen: Value = first.json();
    assert_eq!(
        (&seen["file"], &seen["limit"], &seen["shown"]),
        (&(5 << 20).into(), &"64M".into(), &"1".into())
    );
    let cookie = first.field("set-cookie").split(';').next().unwrap().to_owned();
    let ask = async || server.ask("GET", "/", &[("Cookie", &cookie)], b"").await.json::<Value>();
    let mut pids = BTreeSet::from([seen["pid"].to_string()]);
    let mut count = 1;
    for _ in 0..10 {
        let (one, other) = futures_util::future::join(ask(), ask()).await;
        count = one["n"].as_u64().max(other["n"].as_u64()).unwrap();
        pids.extend([one, other].map(|seen| seen["pid"].to_string()));
    }
    assert_eq!(count, 21, "all workers have the session");
    assert!(pids.len() > 1);
    assert!(server.status().await.apps[0].workers.wanted >= 2, "WordPress asks itself");
}

#[tokio::test]
async fn a_script_that_fails_is_its_own_answer_and_its_error_is_in_the_log() {
    let files = [
        ("index.php", "<?php echo 'hello';"),
        ("bad.php", "<?php nothing();"),
        ("exit.php", "<?php exit(3);"),
    ];
    let Some(folder) = site(&files) else { return };
    let server = start(folder).await;
    let before = server.worker_pids().await;
    let reply = server.get("/bad.php").await;
    assert_eq!((reply.status, reply.reason()), (500, ""));
    assert!(!reply.text().contains("nothing"), "{}", reply.text());
    until("the error is logged", async || server.output().contains("undefined function nothing()")).await;
    assert_eq!(server.get("/exit.php").await.status, 200);
    assert_eq!(server.worker_pids().await, before);
}

#[tokio::test]
async fn a_page_that_asks_its_own_site_is_answered() {
    let script = "<?php if (isset($_GET['inner'])) { echo 'inner'; exit; } echo \
        file_get_contents('http://' . $_SERVER['HTTP_HOST'] . '/?inner');";
    let Some(folder) = site(&[("index.php", script)]) else { return };
    let server = start(folder).await;
    let host = format!("localhost:{}", server.port());
    let reply = server.ask("GET", "/", &[("Host", &host)], b"").await;
    assert_eq!(reply.text(), "inner");
}

/// A script goes on behind its answer, or writes for nobody: the one worker is free when it has ended.
#[tokio::test]
async fn a_client_that_leaves_holds_no_worker_and_ends_none() {
    let work = "header('Content-Length: 5'); echo 'hello'; flush(); \
        for ($n = 0; !file_exists('go') && $n < 900; $n++) { usleep(10000); clearstatcache(); } touch('done');";
    let page = "for (;;) { echo str_repeat('x', 8192); flush(); usleep(1000); }";
    let slow = "for ($n = 0; !file_exists('go') && $n < 900; $n++) { usleep(10000); clearstatcache(); } \
        for (;;) { echo str_repeat('x', 8192); flush(); }";
    let script = |text: &str| format!("<?php chdir(__DIR__); touch('begun'); {text}");
    let (work, page, slow) = (script(work), script(page), script(slow));
    let files =
        [("index.php", "<?php echo 'front';"), ("work.php", &work), ("page.php", &page), ("slow.php", &slow)];
    let Some(folder) = site(&files) else { return };
    let app = folder.path().join("site");
    let server = Setup::app(&app).words(&["w:1", "--reload=none"]).tls().start_in(folder).await;
    let app = app.canonicalize().unwrap();
    let before = server.worker_pids().await;
    for path in ["/work.php", "/page.php", "/slow.php"] {
        let mut conn = server.connect().await;
        conn.send_get(path).await;
        until("the script runs", async || app.join("begun").exists()).await;
        match path {
            "/work.php" => assert_eq!(
                (conn.head().await.status, conn.exactly(5).await.unwrap()),
                (200, b"hello".to_vec())
            ),
            "/page.php" => assert_eq!(conn.head().await.status, 200),
            _ => {}
        }
        conn.reset();
        fs::write(app.join("go"), "").unwrap();
        assert_eq!(server.get("/").await.text(), "front", "behind {path}");
        assert!(path != "/work.php" || app.join("done").exists(), "the script has ended");
        assert_eq!(server.worker_pids().await, before, "{path}");
        ["begun", "go", "done"].iter().for_each(|mark| drop(fs::remove_file(app.join(mark))));
    }
}

#[test]
fn what_is_missing_or_wrong_is_said() {
    let check = |path: &Path, rip: &str, php: bool| {
        fs::write(path.join("rip.toml"), rip).unwrap();
        let mut command = std::process::Command::new(SERVER);
        if !php {
            command.env("PATH", "/nonexistent");
        }
        let checked = command.arg("check").arg(path).output().unwrap();
        String::from_utf8_lossy(&checked.stderr).into_owned()
    };
    let folder = tempfile::tempdir().unwrap();
    let app: PathBuf = folder.path().join("app");
    fs::create_dir_all(app.join("pub")).unwrap();
    fs::write(app.join("index.php"), "").unwrap();
    let said = check(&app, "", false);
    assert!(said.contains("`php-cgi` is needed to run index.php: apt install php-cgi"), "{said}");
    let said = check(&app, "concurrency = 4", false);
    assert!(said.contains("`php-fpm` is needed to run index.php: apt install php-fpm"), "{said}");
    for (rip, right) in [
        ("php.root = \"nowhere\"", "which is not there"),
        ("php.root = \"pub\"", "in which there is no index.php"),
        ("php.root = \"..\"", "which is not in the app's folder"),
        ("php.ini = { memory_limit = [1] }", "memory_limit as a text, a number, true or false"),
        ("php.ini = { \"a b\" = 1 }", "a value of one line"),
        ("php.ini = \"x\"", "a table of values"),
        ("follow = [\"/usr\"]", "only the server's own config may set it"),
    ] {
        let said = check(&app, rip, true);
        assert!(said.contains(right), "{rip}: {said}");
    }
}

#[tokio::test]
async fn check_says_what_its_workers_speak() {
    let Some(folder) = site(&[("index.php", TELL)]) else { return };
    let app = folder.path().join("site");
    let checked =
        rip_server(folder.path(), &["check".as_ref(), "--all".as_ref(), app.as_os_str()]).await.expect(0);
    let row = checked.out.lines().find(|line| line.trim_start().starts_with("protocol ")).unwrap();
    assert!(row.contains("fastcgi") && !row.contains("http1"), "{row}");
}

/// A pool of php-fpm where it is installed.
async fn pool(files: &[(&str, &str)], concurrency: u32) -> Option<Server> {
    let named = |name: &str| Path::new("/usr/sbin").join(name).is_file();
    if !(0..10).any(|minor| named(&format!("php-fpm8.{minor}"))) {
        crate::support::skip("php-fpm is not installed: apt install php-fpm");
        return None;
    }
    let folder = site(files)?;
    write(&folder, "rip.toml", &format!("concurrency = {concurrency}\n"));
    Some(start(folder).await)
}

/// Waits until three requests are in it at the same time, and says who answers.
const TOGETHER: &str = "<?php\nif ($_SERVER['QUERY_STRING'] === 'complain') { error_log('a complaint'); }\n\
    if ($_SERVER['QUERY_STRING'] === 'end') { exec('kill -9 ' . getmypid()); }\n\
    if ($_SERVER['QUERY_STRING'] === 'wait') {\n\
        file_put_contents(sys_get_temp_dir() . '/in.' . getmypid(), 'x');\n\
        while (count(glob(sys_get_temp_dir() . '/in.*')) < 3) { usleep(5000); }\n\
    }\necho json_encode(['pid' => getmypid(), 'sapi' => PHP_SAPI, 'cache' => ini_get('opcache.file_cache')]);";

#[tokio::test]
async fn a_pool_answers_several_requests_at_a_time_by_one_worker() {
    let Some(server) = pool(&[("index.php", TOGETHER), ("a.css", "p {}")], 3).await else { return };
    let app = &server.status().await.apps[0];
    assert_eq!((app.workers.wanted, app.concurrency), (1, 3));
    assert!(app.described.contains("run by php-fpm"), "{}", app.described);
    let ask = async || server.get("/?wait").await.json::<Value>();
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    let pids: BTreeSet<_> = [&a, &b, &c].iter().map(|seen| seen["pid"].as_u64().unwrap()).collect();
    assert_eq!((pids.len(), &a["sapi"]), (3, &"fpm-fcgi".into()), "{a} {b} {c}");
    assert_eq!(server.get("/a.css").await.text(), "p {}");
    let head = server.ask("HEAD", "/", &[], b"").await;
    assert_eq!((head.status, head.text()), (200, ""));
    for _ in 0..30 {
        assert_eq!(server.get("/").await.status, 200);
    }
    server.get("/?complain").await;
    let told = async || server.ctl(&["logs", "site"]).await.out.contains("a complaint");
    until("the complaint is in the logs", told).await;

    let ended = server.get("/?end").await;
    assert_eq!((ended.status, ended.reason()), (502, "worker-died"), "{ended:?}");
    let again = async || server.get("/").await.status == 200;
    until("another process of the pool takes its place", again).await;
    server.ctl(&["deploy"]).await.expect(0);
    assert_eq!(server.get("/").await.status, 200);
    assert_eq!(server.status().await.apps[0].workers.ready, 1);
}
