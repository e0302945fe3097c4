//! Apps behind symbolic links: deploys that swap `current` are followed, however the app came to run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rip_server::api::Status;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Server, Setup, until};

/// Releases of an app, each of which says its own name, and links to them.
struct Releases(TempDir);

impl Releases {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let releases = Self(folder);
        for release in ["one", "two"] {
            let folder = releases.at("releases").join(release);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("index.html"), release).unwrap();
        }
        releases.point("current", "one");
        releases
    }

    /// Below the folder of the app `shop`.
    fn at(&self, below: &str) -> PathBuf {
        self.0.path().join("shop").join(below)
    }

    /// As deploy tools do it: a new link is renamed over the old one.
    fn point(&self, link: &str, release: &str) {
        let fresh = self.at("fresh");
        symlink(Path::new("releases").join(release), &fresh).unwrap();
        fs::rename(fresh, self.at(link)).unwrap();
    }
}

/// The output of rip-serverctl in `folder`, with the shell's name for that folder.
fn ctl(server: &Server, folder: &Path, words: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rip-serverctl"));
    command.arg("--socket").arg(server.control_socket()).args(words);
    let done = command.current_dir(folder).env("PWD", folder).output().unwrap();
    let text = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (done.status.success(), text)
}

fn status(server: &Server) -> Status {
    serde_json::from_str(&ctl(server, Path::new("/"), &["status", "--json"]).1).unwrap()
}

async fn says(server: &Server, host: &str) -> String {
    server.ask("GET", "/", &[("Host", host)], b"").await.text().to_owned()
}

/// Another app is the instance's own.
async fn host(words: &[&str]) -> Server {
    Setup::scripted().words(words).start().await
}

#[tokio::test]
async fn deploys_of_an_added_app_follow_its_link() {
    let releases = Releases::new();
    for (folder, path) in [(releases.at("."), "current"), (releases.at("current"), ".")] {
        releases.point("current", "one");
        let server = host(&["--reload=none"]).await;
        let (added, text) = ctl(&server, &folder, &["add", "shop.example", "--app", path]);
        assert!(added, "{text}");
        until("it serves", || async { says(&server, "shop.example").await == "one" }).await;

        releases.point("current", "two");
        let (deployed, text) = ctl(&server, Path::new("/"), &["deploy", "shop"]);
        assert!(deployed, "{text}");

        assert_eq!(says(&server, "shop.example").await, "two", "added as {path}");
        let registry = fs::read_to_string(server.root().join("state/registry.changes")).unwrap();
        assert!(registry.contains(releases.at("current").to_str().unwrap()), "{registry}");
    }
}

#[tokio::test]
async fn two_apps_that_are_given_by_their_links_have_the_names_of_their_folders() {
    let (one, two) = (Releases::new(), Releases::new());
    let folder = two.0.path().join("blog");
    fs::rename(two.at(""), &folder).unwrap();
    let server = host(&["--reload=none"]).await;
    for (host, path) in [("shop.example", one.at("current")), ("blog.example", folder.join("current"))] {
        let (added, text) = ctl(&server, Path::new("/"), &["add", host, "--app", path.to_str().unwrap()]);
        assert!(added, "{text}");
        until("it serves", || async { says(&server, host).await == "one" }).await;
    }
    let names: Vec<String> = status(&server).apps.iter().map(|app| app.app.to_string()).collect();
    assert!(names.contains(&"shop".into()) && names.contains(&"blog".into()), "{names:?}");
}

#[tokio::test]
async fn a_swapped_link_above_the_app_is_noticed_at_once() {
    let releases = Releases::new();
    for release in ["one", "two"] {
        let web = releases.at("releases").join(release).join("web");
        fs::create_dir(&web).unwrap();
        fs::write(web.join("index.html"), format!("web {release}")).unwrap();
    }
    let server = Setup::app(releases.at("current/web")).start().await;
    assert_eq!(server.get("/").await.text(), "web one");
    let swapped = std::time::SystemTime::now();
    releases.point("current", "two");
    until("the other release", || async { server.get("/").await.text() == "web two" }).await;
    assert!(swapped.elapsed().unwrap().as_secs() < 9, "not by the look every 10 s");
}

#[tokio::test]
async fn an_app_that_runs_is_known_by_every_spelling_of_its_path() {
    let releases = Releases::new();
    symlink(releases.at("."), releases.at("alias")).unwrap();
    let server = Setup::app(releases.at("current")).start().await;
    let spellings =
        ["current", "./releases/../current", "alias/current", "releases/one", "alias/releases/one"];
    for (number, path) in spellings.into_iter().enumerate() {
        let (added, text) =
            ctl(&server, &releases.at("."), &["add", &format!("h{number}.example"), "--app", path]);
        assert!(added && text.contains("(app shop)"), "{path}: {text}");
        assert_eq!(status(&server).apps.len(), 1, "{path}");
    }
    releases.point("current", "two");
    until("every host follows the link", || async { says(&server, "h3.example").await == "two" }).await;
}

#[tokio::test]
async fn a_link_is_an_app_of_its_own_beside_the_folder_it_leads_to() {
    let releases = Releases::new();
    releases.point("next", "one");
    let server = Setup::app(releases.at("releases/one")).words(&["--reload=none"]).start().await;
    for (link, host, app) in [("current", "a.example", "shop"), ("next", "b.example", "next")] {
        let (added, text) = ctl(&server, &releases.at("."), &["add", host, "--app", link]);
        assert!(added && text.contains(&format!("(app {app})")), "{text}");
    }
    until("both serve", || async {
        says(&server, "a.example").await == "one" && says(&server, "b.example").await == "one"
    })
    .await;
    releases.point("next", "two");
    assert!(ctl(&server, Path::new("/"), &["deploy"]).0);
    let said = [
        says(&server, "localhost").await,
        says(&server, "a.example").await,
        says(&server, "b.example").await,
    ];
    assert_eq!(said, ["one", "one", "two"]);
}

#[tokio::test]
async fn the_link_that_the_shell_stands_in_is_the_app() {
    let releases = Releases::new();
    let told = |folder: &Path, pwd: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rip-server"));
        command.args(["check", ".", "--json", "--runtime-dir=r", "--state-dir=s"]).current_dir(folder);
        let done = command.env("PWD", pwd).output().unwrap();
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        // The server's own files do not move with the link.
        let rows = report["server"].as_array().unwrap();
        let own = rows.iter().find(|row| row["key"] == "state_dir").unwrap()["value"].as_str().unwrap();
        assert_eq!(Path::new(own), folder.canonicalize().unwrap().join("s"));
        PathBuf::from(report["apps"][0]["path"].as_str().unwrap())
    };
    let (link, real) = (releases.at("current"), releases.at("releases/one").canonicalize().unwrap());

    assert_eq!(told(&link, &link), link);
    assert_eq!(told(&link, Path::new("/")), real, "a PWD that is another folder");
    assert_eq!(told(&link, Path::new("current")), real);
    assert_eq!(told(&link, &link.join("../current")), real, "no shell says that");
}

#[tokio::test]
async fn the_folder_of_a_configured_site_changes_with_the_deploy_and_not_before() {
    let releases = Releases::new();
    for release in ["one", "two"] {
        let folder = releases.at("releases").join(release);
        fs::create_dir(folder.join("public")).unwrap();
        fs::write(folder.join("public/index.html"), format!("public {release}")).unwrap();
        fs::write(folder.join("rip.toml"), "static.root = \"public\"").unwrap();
    }
    let server = Setup::app(releases.at("current")).words(&["--reload=none"]).start().await;
    assert_eq!(server.get("/").await.text(), "public one");
    releases.point("current", "two");
    assert_eq!(server.get("/").await.text(), "public one");
    assert!(ctl(&server, Path::new("/"), &["deploy"]).0);
    assert_eq!(server.get("/").await.text(), "public two");
}
