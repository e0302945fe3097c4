//! Going back to the version before: what comes back with it, what does not, and a deploy that changes nothing.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::support::{Server, Setup, has};

/// Writes a version of the scripted app that says so.
fn release(folder: &Path, template: &str, version: &str) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(
        folder.join("rip.toml"),
        template.replace("env = {", &format!("env = {{ SAYS = \"{version}\",")),
    )
    .unwrap();
    std::fs::write(folder.join("VERSION"), version).unwrap();
}

/// A server whose app is reached by a link to the release that serves; the folder of releases.
async fn with_releases() -> (Server, std::path::PathBuf) {
    let server = Setup::scripted().words(&["w:1"]).start().await;
    let template = std::fs::read_to_string(server.root().join("scripted/rip.toml")).unwrap();
    let shop = server.root().join("shop");
    for version in ["one", "two"] {
        release(&shop.join(version), &template, version);
    }
    lead(&shop, "one");
    let app = shop.join("current");
    server.ctl(&["add", "shop.example", "--app", app.to_str().unwrap()]).await.expect(0);
    server.await_ready().await;
    (server, shop)
}

fn lead(shop: &Path, version: &str) {
    let new = shop.join("new");
    symlink(version, &new).unwrap();
    std::fs::rename(new, shop.join("current")).unwrap();
}

async fn version(server: &Server) -> String {
    server.ask("GET", "/version", &[("Host", "shop.example")], b"").await.text().to_owned()
}

#[tokio::test]
async fn the_release_before_serves_again_from_its_own_folder() {
    let (server, shop) = with_releases().await;
    let none = server.ctl(&["rollback", "shop"]).await.expect(5);
    assert!(
        none.err.contains("no generation of `shop` is known that served before generation 1"),
        "{}",
        none.err
    );
    lead(&shop, "two");
    server.ctl(&["deploy", "shop"]).await.expect(0);
    assert_eq!(version(&server).await, "two");

    let back = server.ctl(&["rollback", "shop"]).await.expect(0);
    let folder = shop.join("one").display().to_string();
    assert!(
        back.err.contains(&format!("generation 3 is generation 1 again, in {folder}; the next deploy")),
        "{}",
        back.err
    );
    assert_eq!(version(&server).await, "one");
    let status = server.ctl(&["status"]).await.expect(0).out;
    assert!(
        status.contains("generation 3 is generation 1 again, until the next deploy or start"),
        "{status}"
    );
    let page = server.ctl(&["--json", "status"]).await.expect(0).json();
    let app = page["apps"].as_array().unwrap().iter().find(|app| app["app"] == "shop").unwrap().clone();
    assert_eq!((&app["again"], &app["earlier"]), (&1.into(), &2.into()));

    server.ctl(&["rollback", "shop"]).await.expect(0);
    assert_eq!(version(&server).await, "two", "asked again it goes forth again");
    let folder = shop.join("one");
    std::fs::rename(&folder, shop.join("gone")).unwrap();
    let gone = server.ctl(&["rollback", "shop"]).await.expect(1);
    let page = server.ctl(&["metrics"]).await.expect(0).out;
    for line in [
        "rip_rollbacks_total{app=\"shop\",outcome=\"done\"} 2",
        "rip_rollbacks_total{app=\"shop\",outcome=\"rejected\"} 1",
        "rip_deploys_total{app=\"shop\",outcome=\"rejected\"} 1",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    assert!(gone.err.contains(folder.to_str().unwrap()), "{}", gone.err);
    assert_eq!(version(&server).await, "two");
    server.ctl(&["rollback", "nobody"]).await.expect(4);
    let which = server.ctl(&["rollback"]).await.expect(2);
    assert!(which.err.contains("scripted") && which.err.contains("shop"), "{}", which.err);
}

#[tokio::test]
async fn command_and_environment_come_back_where_files_were_edited_in_place_and_it_says_so() {
    let server = Setup::scripted().words(&["w:1"]).start().await;
    let own = server.root().join("scripted/rip.toml");
    let text = std::fs::read_to_string(&own).unwrap();
    std::fs::write(&own, text.replace("ready_path", "concurrency = 2\nready_path")).unwrap();
    server.deploy("two").await;
    assert_eq!(server.status().await.apps[0].concurrency, 2);
    let back = server.ctl(&["rollback"]).await.expect(0);
    assert!(
        back.err.contains("in the same folder as generation 2") && back.err.contains("edited in place"),
        "{}",
        back.err
    );
    assert_eq!(server.status().await.apps[0].concurrency, 1);
    assert_eq!(server.get("/version").await.text(), "two", "the file is as it is now");
}

#[tokio::test]
async fn of_a_git_checkout_the_commit_of_then_is_named() {
    if !has("git", "git") {
        return;
    }
    let server = Setup::scripted().words(&["w:1"]).start().await;
    let folder = server.root().join("scripted");
    let git = |words: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
        let ran = Command::new("git").arg("-C").arg(&folder).args(identity).args(words).output().unwrap();
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    };
    let commit = |message: &str| {
        git(&["add", "-A"]);
        git(&["commit", "-qm", message]);
        git(&["rev-parse", "HEAD"])
    };
    git(&["init", "-q"]);
    let first = commit("first");
    server.deploy("one").await;
    let same = server.ctl(&["deploy"]).await.expect(0);
    assert!(
        same.err.contains(&format!("changed since generation 2: {}, commit {first}", folder.display())),
        "{}",
        same.err
    );
    server.set_version("two");
    let second = commit("second");
    let other = server.ctl(&["deploy"]).await.expect(0);
    assert!(!other.err.contains("nothing"), "another commit is a change: {}", other.err);
    let back = server.ctl(&["rollback"]).await.expect(0);
    assert!(
        back.err.contains(&format!("checkout of {first} then and is of {second} now: `git -C")),
        "{}",
        back.err
    );
    git(&["checkout", "-q", &first]);
    server.ctl(&["deploy"]).await.expect(0);
}

#[tokio::test]
async fn a_deploy_of_what_serves_already_says_so() {
    let (server, shop) = with_releases().await;
    let same = server.ctl(&["deploy", "shop"]).await.expect(0);
    let folder = shop.join("one").display().to_string();
    assert!(
        same.err
            .contains(&format!("nothing that the server looks at has changed since generation 1: {folder}")),
        "{}",
        same.err
    );
    lead(&shop, "two");
    let other = server.ctl(&["deploy", "shop"]).await.expect(0);
    assert!(!other.err.contains("nothing"), "{}", other.err);
}

#[tokio::test]
async fn a_rollback_under_load_loses_nothing() {
    let server = Setup::scripted().words(&["w:2"]).start().await;
    server.deploy("two").await;
    let load = crate::support::load::Load::start(server.port(), false, &["two"]);
    load.more(50).await;
    for _ in 0..2 {
        server.ctl(&["rollback"]).await.expect(0);
        load.more(50).await;
    }
    load.finish("rollback").await.assert_nothing_lost();
}
