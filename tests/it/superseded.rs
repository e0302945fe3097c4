//! Deploys beside each other and beside the file watch: whoever asked hears how it ends, and it ends right.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::{Server, Setup, has, until};

/// An app of an entry that is watched: the default.
struct App {
    folder: TempDir,
    entry: &'static str,
}

impl App {
    fn node(text: &str) -> Self {
        Self::new("index.js", text)
    }

    fn python(text: &str) -> Self {
        let app = Self::new("web.py", text);
        fs::write(app.folder.path().join("Procfile"), "web: python3 web.py\n").unwrap();
        app
    }

    fn new(entry: &'static str, text: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("ripapp").tempdir().unwrap();
        fs::write(folder.path().join("rip.toml"), "timeouts.probation = \"50ms\"\n").unwrap();
        let app = Self { folder, entry };
        app.write(text);
        app
    }

    fn entry(&self) -> PathBuf {
        self.folder.path().join(self.entry)
    }

    fn write(&self, text: &str) {
        let code = match self.entry {
            "web.py" => format!(
                "import socket\nlistener = socket.socket(fileno=3)  # LISTEN_FDS\nwhile True:\n    \
                 conn, _ = listener.accept()\n    conn.recv(65536) and conn.sendall(b'HTTP/1.1 200 OK\\r\\n\
                 Connection: close\\r\\nContent-Length: {}\\r\\n\\r\\n{text}')\n    conn.close()\n",
                text.len()
            ),
            _ => format!("module.exports = () => new Response({text:?});\n"),
        };
        fs::write(self.entry(), code).unwrap();
    }

    async fn start(&self) -> Server {
        Setup::app(self.folder.path()).words(&["w:1"]).start().await
    }
}

async fn every_deploy_ends_right(app: App, rounds: u32) {
    let server = app.start().await;
    for round in 0..rounds {
        let text = format!("v{:04}", round + 10);
        // In place and of the same length, as the plainest of deploy scripts does it.
        app.write(&text);
        let ran = server.ctl(&["deploy"]).await;
        assert_eq!(ran.code, 0, "round {round}: {ran:?}\n{}", server.output());
        assert_eq!(server.get("/").await.text(), text, "round {round}");
    }
    let generation = server.status().await.apps[0].generation.0;
    assert!(generation <= u64::from(rounds) + 2, "{generation} generations for {rounds} deploys");
}

#[tokio::test]
async fn an_entry_that_is_written_and_deployed_at_once_serves_fifty_times() {
    every_deploy_ends_right(App::python("v0000"), 50).await;
}

#[tokio::test]
async fn a_handler_that_is_written_and_deployed_at_once_serves_each_time() {
    if has("node", "nodejs") {
        every_deploy_ends_right(App::node("v0000"), 10).await;
    }
}

#[tokio::test]
async fn a_link_that_is_swapped_and_deployed_at_once_serves_each_time_and_is_deployed_once() {
    let releases = tempfile::Builder::new().prefix("ripapp").tempdir().unwrap();
    let current = releases.path().join("current");
    let point_to = |version: &str| {
        let release = releases.path().join(version);
        fs::create_dir(&release).unwrap();
        fs::write(release.join("rip.toml"), "timeouts.probation = \"50ms\"\n").unwrap();
        fs::write(release.join("Procfile"), "web: python3 web.py\n").unwrap();
        let app = App { folder: tempfile::tempdir().unwrap(), entry: "web.py" };
        app.write(version);
        fs::copy(app.entry(), release.join("web.py")).unwrap();
        let fresh = releases.path().join("fresh");
        std::os::unix::fs::symlink(version, &fresh).unwrap();
        fs::rename(fresh, &current).unwrap();
    };
    point_to("v0");
    let server = Setup::app(&current).words(&["w:1"]).start().await;
    for round in 1..=10 {
        let version = format!("v{round}");
        point_to(&version);
        let ran = server.ctl(&["deploy"]).await.expect(0);
        assert!(!format!("{}{}", ran.out, ran.err).contains("later deploy"), "{ran:?}");
        assert_eq!(server.get("/").await.text(), version);
    }
    assert_eq!(server.status().await.apps[0].generation.0, 11, "{}", server.output());
}

#[tokio::test]
async fn a_broken_entry_that_is_deployed_at_once_is_explained_once() {
    let app = App::python("good");
    let server = app.start().await;
    for round in 0..5 {
        fs::write(app.entry(), format!("# LISTEN_FDS\nimport no_such_module_{round}\n")).unwrap();
        let ran = server.ctl(&["deploy"]).await.expect(1);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains(&format!("No module named 'no_such_module_{round}'")), "{said}");
        assert_eq!(server.get("/").await.text(), "good");
    }
    // A deploy that the watch asks for is told from one that a person asked for by what it leaves in the log.
    app.write("fine");
    until("the watch has deployed what nobody else did", || async { server.get("/").await.text() == "fine" })
        .await;
    let output = server.output().to_string();
    let watched = output.matches("its entry changed").count();
    assert_eq!(watched, 1, "{output}");
}

#[tokio::test]
async fn a_deploy_whose_files_change_under_it_ends_as_the_one_that_took_its_place() {
    let app = App::python("one");
    let server = app.start().await;
    for (text, code, serving) in [("two", 0, "two"), ("no app at all", 1, "two")] {
        // The version never answers: only a later deploy can end its trial.
        let tried = app.folder.path().join("tried");
        fs::remove_file(&tried).ok();
        fs::write(app.entry(), "# LISTEN_FDS\nimport time\nopen('tried', 'w')\ntime.sleep(600)\n").unwrap();
        let deploy = server.ctl(&["deploy"]);
        let change = async {
            until("it has been loaded", || async { tried.exists() }).await;
            if code == 0 {
                app.write(text)
            } else {
                fs::write(app.entry(), "import no_such_module\n").unwrap()
            }
        };
        let (ran, ()) = tokio::join!(deploy, change);
        let said = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, code, "{said}");
        assert!(said.contains("was given up for a later deploy, which goes on"), "{said}");
        assert!(code == 0 || said.contains("No module named 'no_such_module'"), "{said}");
        assert_eq!(server.get("/").await.text(), serving);
    }
}

#[tokio::test]
async fn deploys_that_are_asked_for_together_all_end_as_the_last_one() {
    let app = App::python("one");
    let server = app.start().await;
    app.write("two");
    let (a, b, c) = tokio::join!(server.ctl(&["deploy"]), server.ctl(&["deploy"]), server.ctl(&["deploy"]));
    for ran in [a, b, c] {
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(server.get("/").await.text(), "two");
}
