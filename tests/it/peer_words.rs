//! Words that people know from other servers, and verbs of `rip-serverctl` said to `rip-server`.

use std::fs;

use crate::support::Setup;
use crate::support::ctl::{SERVER, in_home, rip_server, rip_serverctl, run};

#[tokio::test]
async fn words_of_other_servers_are_answered_with_ours() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("blog")).unwrap();
    fs::write(home.path().join("app.py"), "").unwrap();
    for (line, said) in [
        ("./blog --port=8080", "say `https:8080`, or `http:8080`"),
        ("./blog --port 8080", "say `https:8080`, or `http:8080`"),
        ("-p 3000 ./blog", "say `https:3000`"),
        ("./blog -p3000", "say `https:3000`"),
        ("./blog --workers=3", "say `w:3`"),
        ("./blog -w 4", "say `w:4`"),
        ("./blog -w4", "say `w:4`"),
        ("./blog -i max", "say `w:auto`"),
        ("./blog -b 127.0.0.1:8000", "say `--bind=127.0.0.1 https:8000`"),
        ("./blog --bind=0.0.0.0:8000", "say `https:8000`"),
        ("./blog --bind tcp:1", "expected"),
        ("./blog --host 127.0.0.1", "say `--bind=127.0.0.1`"),
        ("./blog --listen :443", "say `https:443`"),
        ("./blog --timeout 30", "say `--read-timeout-ms=30000`"),
        ("./blog --max-requests=500", "say `r:500`"),
        ("./blog --certfile=/c.pem", "say `--cert=/c.pem`"),
        ("./blog --daemon", "systemctl enable --now rip-server@NAME"),
        ("./blog :8080", "say `https:8080`"),
        ("./blog PORT=8080", "say `https:8080`"),
        ("app:app", "`rip-server ./app.py`"),
        ("start ./blog", "`rip-server APP`"),
        ("restart", "here it is `rip-server deploy`"),
        ("ps", "here it is `rip-server workers`"),
        ("./blog -t 1:5", "say `c:N`"),
        ("./blog w:2 --all", "goes with `check`"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let ran = rip_server(home.path(), &words).await.expect(2);
        assert!(ran.err.contains(said), "{line}: {ran:?}");
        assert_eq!(ran.out, "", "{line}");
    }
}

#[tokio::test]
async fn a_verb_of_another_program_or_a_slip_never_leads_to_one_that_does_harm() {
    let home = tempfile::tempdir().unwrap();
    for (word, ours) in [("ps", "workers"), ("top", "workers"), ("restart", "deploy"), ("reload", "deploy")] {
        for ran in [rip_serverctl(home.path(), &[word]).await, rip_server(home.path(), &[word]).await] {
            assert!(ran.code == 2 && ran.err.contains(ours) && !ran.err.contains("stop"), "{word}: {ran:?}");
        }
    }
    for slip in ["stp", "sto", "stopp", "remov", "pauze", "maintenanc"] {
        for ran in [rip_serverctl(home.path(), &[slip]).await, rip_server(home.path(), &[slip]).await] {
            assert_eq!(ran.code, 2, "{ran:?}");
            for verb in ["'stop'", "`stop`", "'remove'", "`remove`", "'pause'", "`pause`", "'maintenance'"] {
                assert!(!ran.err.contains(verb), "{slip}: {ran:?}");
            }
        }
    }
    let ran = rip_serverctl(home.path(), &["statsu"]).await.expect(2);
    assert!(ran.err.contains("'status'"), "{ran:?}");
}

#[tokio::test]
async fn verbs_of_rip_serverctl_work_with_rip_server_too() {
    let server = Setup::scripted().start().await;
    let socket = format!("--socket={}", server.control_socket().display());
    let folder = format!("--runtime-dir={}", server.root().join("run").display());
    let state = format!("--state-dir={}", server.root().join("state").display());
    server.get("/say?line=spoken").await;
    for said in [vec![&*socket], vec![&*folder, &*state]] {
        let verb = async |words: &[&str]| {
            let all: Vec<&str> = words.iter().chain(&said).copied().collect();
            rip_server(server.root(), &all).await
        };
        let told = verb(&["status"]).await.expect(0);
        assert!(told.out.contains("healthy"), "{told:?}");
        assert!(verb(&["status", "--json"]).await.expect(0).json()["apps"].is_array());
        assert!(verb(&["workers"]).await.expect(0).out.contains("idle"));
        assert!(verb(&["logs", "-n", "5"]).await.expect(0).out.contains("spoken"));
        assert!(verb(&["metrics"]).await.expect(0).out.contains("rip_connections"));
        assert!(verb(&["scale", "1"]).await.expect(0).err.contains("1 workers"));
        verb(&["pause", "nobody.example"]).await.expect(4);
        verb(&["deploy"]).await.expect(0);
    }
    let before = rip_server(server.root(), &[&*socket, "--json", "status"]).await.expect(0);
    assert!(before.json()["apps"].is_array(), "flags may stand before the verb");
}

#[tokio::test]
async fn help_and_version_are_words_too_and_a_verb_has_help_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let version = rip_server(home.path(), &["version"]).await.expect(0);
    assert_eq!(version.out, concat!("rip-server ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(rip_server(home.path(), &["help"]).await.expect(0).out.contains("w:COUNT"));
    let help = rip_server(home.path(), &["logs", "--help"]).await.expect(0);
    assert!(help.out.contains("--follow"), "{help:?}");
    let none = rip_server(home.path(), &["status"]).await;
    assert!(none.code == 7 || none.code == 2, "{none:?}");
}

#[tokio::test]
async fn a_folder_called_like_a_verb_is_served_where_it_is_meant_and_told_of_in_any_case() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("logs")).unwrap();
    fs::write(home.path().join("logs/index.html"), "hi").unwrap();
    let verb = run(in_home(home.path(), SERVER).args(["logs", "--socket=/nowhere"])).await.expect(7);
    assert!(verb.err.contains("served by `rip-server ./logs`"), "{verb:?}");
    let folder = run(in_home(home.path(), SERVER).args(["check", "logs"])).await.expect(0);
    assert!(folder.out.contains("app logs"), "{folder:?}");

    fs::write(home.path().join("blocked"), "").unwrap();
    let both = ["logs", "http:0", "--bind=127.0.0.1", "--state-dir=s", "--runtime-dir=blocked/run"];
    let served = run(in_home(home.path(), SERVER).args(both)).await;
    assert!(served.err.contains("`logs` is taken for the app"), "{served:?}");
}
