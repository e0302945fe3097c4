//! A new version beside the old one: taken when it is ready, refused when it is not, nothing lost on the way.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Server, Setup, until};

#[tokio::test]
async fn a_deploy_returns_once_the_new_version_serves() {
    let server = versioned(Setup::scripted().words(&["w:2"]), "v1").await;
    let before = server.worker_pids().await;
    server.set_version("v2");
    let ran = server.ctl(&["deploy", "--json"]).await.expect(0);
    assert_eq!(server.get("/version").await.text(), "v2");
    let last = ran.out.lines().last().unwrap();
    assert!(last.contains("\"done\""), "{ran:?}");
    until("the old workers are gone", || async {
        let now = server.worker_pids().await;
        now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
    })
    .await;
    let status = server.status().await;
    assert!(status.apps[0].rejected.is_none());
}

#[tokio::test]
async fn a_request_in_hand_is_finished_by_the_version_that_began_it() {
    let server = versioned(Setup::scripted(), "v1").await;
    let mut conn = server.connect().await;
    conn.send_get("/gate?name=held").await;
    server.meeting.reached("held").await;
    server.deploy("v2").await;
    assert_eq!(server.get("/version").await.text(), "v2", "the new version serves beside it");
    server.meeting.open("held");
    let reply = conn.reply("GET").await;
    assert_eq!((reply.status, reply.text()), (200, "through held\n"));
    assert_eq!(conn.get("/version").await.text(), "v2");
    until("one worker is left", || async { server.worker_pids().await.len() == 1 }).await;
}

#[tokio::test]
async fn a_version_that_ends_at_once_is_rejected_with_its_last_words() {
    let server = versioned(Setup::scripted(), "v1").await;
    let before = server.worker_pids().await;
    server.set_version("exit");
    let ran = server.ctl(&["deploy"]).await.expect(1);
    assert!(format!("{}{}", ran.out, ran.err).contains("cannot start: told to exit"), "{ran:?}");
    assert_eq!(server.get("/version").await.text(), "v1");
    assert_eq!(server.worker_pids().await, before, "the old worker was not touched");
    let status = server.ctl(&["status"]).await.expect(0);
    assert!(status.out.contains("told to exit"), "it stays visible: {status:?}");

    server.deploy("v3").await;
    assert_eq!(server.get("/version").await.text(), "v3");
    assert!(server.status().await.apps[0].rejected.is_none(), "until one succeeds");
}

#[tokio::test]
async fn a_version_that_never_answers_is_rejected_in_time() {
    let server = versioned(Setup::scripted(), "v1").await;
    server.add_rule("timeouts.start = \"1s\"");
    server.set_version("mute");
    let ran = server.ctl(&["deploy", "--json"]).await.expect(1);
    assert!(ran.out.contains("rejected"), "{ran:?}");
    assert_eq!(server.get("/version").await.text(), "v1");
    until("the mute worker is gone", || async { server.worker_pids().await.len() == 1 }).await;
}

#[tokio::test]
async fn settings_that_are_wrong_reject_a_deploy_and_leave_the_old_version() {
    let server = versioned(Setup::scripted(), "v1").await;
    let own = server.root().join("scripted/rip.toml");
    let good = fs::read_to_string(&own).unwrap();
    fs::write(&own, format!("{good}\nconcurency = 2\n")).unwrap();
    let ran = server.ctl(&["deploy"]).await;
    assert!(ran.code != 0 && format!("{}{}", ran.out, ran.err).contains("concurency"), "{ran:?}");
    assert_eq!(server.get("/version").await.text(), "v1");
    fs::write(&own, good).unwrap();
    server.deploy("v2").await;
    assert_eq!(server.get("/version").await.text(), "v2");
}

#[tokio::test]
async fn a_worker_that_crashes_comes_back_in_its_own_version() {
    let releases = tempfile::tempdir().unwrap();
    let app = release(&releases, "one");
    let server = Setup::app(&app).words(&["--reload=none"]).start().await;
    assert_eq!(server.get("/").await.text(), "one");
    let one = server.worker_pids().await[0];

    // The link leads elsewhere now, but nobody has deployed.
    point(&releases, "two");
    kill_process(Pid::from_raw(one as i32).unwrap(), Signal::KILL).unwrap();
    until("another worker is there", || async {
        let pids = server.worker_pids().await;
        !pids.is_empty() && !pids.contains(&one)
    })
    .await;
    server.await_ready().await;
    assert_eq!(server.get("/").await.text(), "one");

    server.ctl(&["deploy"]).await.expect(0);
    assert_eq!(server.get("/").await.text(), "two");
}

#[tokio::test]
async fn a_swapped_link_is_deployed_by_itself() {
    let releases = tempfile::tempdir().unwrap();
    let app = release(&releases, "one");
    let server = Setup::app(&app).start().await;
    assert_eq!(server.get("/").await.text(), "one");
    point(&releases, "two");
    until("the new release serves", || async { server.get("/").await.text() == "two" }).await;
}

#[tokio::test]
async fn a_hang_up_deploys() {
    let server = versioned(Setup::scripted(), "v1").await;
    server.set_version("v2");
    server.signal(Signal::HUP);
    until("the new version serves", || async { server.get("/version").await.text() == "v2" }).await;
}

#[tokio::test]
async fn a_first_version_that_fails_leaves_a_server_that_says_so_and_takes_a_better_one() {
    let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    fs::create_dir(folder.path().join("scripted")).unwrap();
    fs::write(folder.path().join("scripted/VERSION"), "exit").unwrap();
    let server = Setup::scripted().without_workers().start_in(folder).await;
    until("the failure is known", || async { server.status().await.apps[0].rejected.is_some() }).await;
    let reply = server.get("/version").await;
    assert_eq!((reply.status, reply.reason()), (503, "no-worker"));
    let status = server.ctl(&["status"]).await.expect(3);
    assert!(status.out.contains("told to exit"), "{status:?}");
    server.deploy("v2").await;
    assert_eq!(server.get("/version").await.text(), "v2");
    server.ctl(&["status"]).await.expect(0);
}

async fn versioned(setup: Setup, version: &str) -> Server {
    let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    fs::create_dir(folder.path().join("scripted")).unwrap();
    fs::write(folder.path().join("scripted/VERSION"), version).unwrap();
    setup.start_in(folder).await
}

/// Two static releases, and `current` that leads to this one.
fn release(releases: &tempfile::TempDir, name: &str) -> std::path::PathBuf {
    for release in ["one", "two"] {
        fs::create_dir(releases.path().join(release)).unwrap();
        fs::write(releases.path().join(release).join("index.html"), release).unwrap();
    }
    point(releases, name);
    releases.path().join("current")
}

/// As deploy tools do it: a new link is renamed over the old one.
fn point(releases: &tempfile::TempDir, name: &str) {
    let fresh = releases.path().join("fresh");
    symlink(name, &fresh).unwrap();
    fs::rename(fresh, releases.path().join("current")).unwrap();
}
