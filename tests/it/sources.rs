//! `watch`: source files whose change is a deploy, beside the entry's.

use std::fs;
use std::path::PathBuf;

use crate::support::ctl::{SERVER, in_home, run};
use crate::support::{Server, Setup, until};

/// The scripted worker tells the `VERSION` that it found when it started.
async fn watching(patterns: &str, files: &[&str]) -> Server {
    let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    for file in files {
        let path = folder.path().join("scripted").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "1").unwrap();
    }
    // The scripted app's own `reload` stands in the same file.
    let setup = Setup::scripted().words(&["--reload=process"]).rules(&format!("watch = {patterns}"));
    setup.start_in(folder).await
}

fn at(server: &Server, file: &str) -> PathBuf {
    server.root().join("scripted").join(file)
}

async fn generation(server: &Server) -> u64 {
    server.status().await.apps[0].generation.0
}

/// Waits until a generation after this one serves.
async fn deployed(server: &Server, what: &str, before: u64) -> u64 {
    until(what, || async { generation(server).await > before }).await;
    server.await_ready().await;
    generation(server).await
}

/// Nothing is deployed: a change of another server's app, made after those of this one, is seen after they would have
/// been.
async fn quiet(server: &Server, before: u64) {
    let witness = watching("[\"*.py\"]", &["a.py"]).await;
    fs::write(at(&witness, "a.py"), "22").unwrap();
    deployed(&witness, "the witness has noticed", 1).await;
    assert_eq!(generation(server).await, before);
}

#[tokio::test]
async fn a_source_that_changes_comes_or_goes_is_a_deploy() {
    let server =
        watching("[\"**/*.py\", \"templates\"]", &["lib/a.py", "templates/x.html", "notes.txt"]).await;
    let mut now = generation(&server).await;
    fs::write(at(&server, "lib/a.py"), "22").unwrap();
    now = deployed(&server, "a changed module", now).await;
    fs::write(at(&server, "templates/x.html"), "22").unwrap();
    now = deployed(&server, "a changed template", now).await;
    fs::create_dir_all(at(&server, "lib/new/deep")).unwrap();
    fs::write(at(&server, "lib/new/deep/b.py"), "1").unwrap();
    now = deployed(&server, "a module in a new folder", now).await;
    fs::write(at(&server, "lib/new/deep/b.py"), "22").unwrap();
    now = deployed(&server, "a change in the new folder", now).await;
    fs::remove_file(at(&server, "lib/a.py")).unwrap();
    now = deployed(&server, "a removed module", now).await;
    fs::rename(at(&server, "templates"), at(&server, "old")).unwrap();
    fs::create_dir(at(&server, "templates")).unwrap();
    fs::write(at(&server, "templates/x.html"), "333").unwrap();
    now = deployed(&server, "a folder in the place of another", now).await;
    fs::write(at(&server, "templates/x.html"), "4444").unwrap();
    now = deployed(&server, "a change in that", now).await;

    fs::write(at(&server, "notes.txt"), "22").unwrap();
    quiet(&server, now).await;
}

#[tokio::test]
async fn what_is_not_the_apps_own_source_is_not_looked_at() {
    let others = [
        "node_modules/a.py",
        ".venv/a.py",
        "venv/a.py",
        ".git/a.py",
        "b/__pycache__/a.py",
        "env/pyvenv.cfg",
        "env/a.py",
    ];
    let server = watching("[\"**/*.py\", \"link\"]", &[&others[..], &["b/c.py"]].concat()).await;
    let outside = server.root().join("outside");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, at(&server, "link")).unwrap();
    fs::write(at(&server, "b/c.py"), "22").unwrap();
    let now = deployed(&server, "the watch has begun", 1).await;
    for other in others {
        fs::write(at(&server, other), "22").unwrap();
    }
    fs::write(outside.join("x.py"), "1").unwrap();
    quiet(&server, now).await;
}

#[tokio::test]
async fn many_changes_at_once_are_one_deploy() {
    let files: Vec<_> = (0..50).map(|number| format!("m{number}.py")).collect();
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    let server = watching("[\"*.py\"]", &files).await;
    fs::write(at(&server, "m0.py"), "22").unwrap();
    let now = deployed(&server, "the watch has begun", 1).await;
    for file in &files {
        fs::write(at(&server, file), "333").unwrap();
    }
    let then = deployed(&server, "all of them", now).await;
    assert_eq!(then, now + 1);
    quiet(&server, then).await;
}

#[tokio::test]
async fn a_watch_of_more_folders_than_are_looked_at_is_warned_of() {
    let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    for number in 0..4200 {
        fs::create_dir_all(folder.path().join(format!("scripted/d/{number}"))).unwrap();
    }
    let setup = Setup::scripted().words(&["--reload=process"]).rules("watch = [\"**/*.py\"]");
    let server = setup.start_in(folder).await;
    until("it is told", || async { server.output().contains("more than 4096 folders") }).await;
}

#[tokio::test]
async fn a_pattern_that_means_nothing_is_an_error_that_names_it() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("index.html"), "").unwrap();
    let check = async |watch: &str| {
        fs::write(home.path().join("rip.toml"), format!("watch = {watch}\n")).unwrap();
        run(in_home(home.path(), SERVER).args(["check", "./", "--state-dir=s", "--runtime-dir=r"])).await
    };
    for bad in ["/etc/*.conf", "../x", "src/[a", "node_modules/x", "a**b", ""] {
        let ran = check(&format!("[\"*.py\", \"{bad}\"]")).await.expect(2);
        assert!(ran.err.contains("rip.toml:1:9") && ran.err.contains(&format!("(`{bad}`: ")), "{}", ran.err);
    }
    assert!(check("\"*.py\"").await.expect(2).err.contains("a list of patterns"));
    let shown = check("[\"*.py\", \"templates\"]").await.expect(0).out;
    let row = shown.lines().find(|line| line.trim_start().starts_with("watch ")).unwrap();
    assert!(row.contains("[\"*.py\", \"templates\"]") && row.contains("rip.toml:1"), "{row}");
}
