//! The texts that a person reads at the start and while an app writes: the banner before anything else, an app's lines
//! as its own, one traceback of many, and what `check` says would be run.

use std::fs;

use crate::support::ctl::{SERVER, in_home, run};
use crate::support::{Server, Setup, until};

#[tokio::test]
async fn the_urls_are_told_before_the_app_is_ready_and_the_app_once_it_is() {
    let home = tempfile::tempdir().unwrap();
    let (app, go) = (home.path().join("slow"), home.path().join("go"));
    fs::create_dir(&app).unwrap();
    let script = "while ! [ -e ../go ]; do sleep 0.02; done; exec python3 server.py";
    let rules =
        format!("command = [\"/bin/sh\", \"-c\", \"{script}\"]\nlisten = \"fd\"\nreload = \"none\"\n");
    fs::write(app.join("rip.toml"), rules).unwrap();
    fs::write(app.join("server.py"), ANSWERS).unwrap();
    let server = Setup::app(&app).words(&["w:2"]).lines().without_workers().start().await;

    let output = server.output();
    until("the banner is there", || async { output.contains("  control ") }).await;
    assert!(output.contains(&format!("  serving     http://127.0.0.1:{}/", server.port())), "{output}");
    assert!(output.lines()[0].starts_with("rip-server "), "{output}");
    assert!(!output.contains("ready slow"), "{output}");
    let lines = output.lines();
    let place = |text: &str| lines.iter().position(|line| line.contains(text));
    assert!(place("  control ") < place("worker 1"), "{output}");

    fs::write(go, "").unwrap();
    until("the app is told to be ready", || async { output.contains("ready slow: 2 workers after ") }).await;
    assert_eq!(server.get("/").await.text(), "here\n");
    assert_eq!(output.count("ready slow: "), 1, "{output}");
}

#[tokio::test]
async fn an_app_that_fails_is_told_as_failed_and_never_as_ready() {
    let server =
        Setup::scripted().worker("START", "exit").words(&["w:3"]).lines().without_workers().start().await;
    let output = server.output();
    until("it is told", || async { output.contains("failed scripted: a worker exited") }).await;
    until("the server is up", || async { output.contains("started, but not every app has a worker") }).await;
    for line in output.lines() {
        assert!(!(line.contains("ready") && line.contains("0 of ")), "{line}");
        assert!(!line.starts_with("ready "), "{line}");
    }
}

#[tokio::test]
async fn on_a_terminal_a_line_of_an_app_has_its_worker_before_it_and_nothing_else() {
    let server = Setup::scripted().words(&["w:1"]).terminal().variable("NO_COLOR", "1").start().await;
    server.get("/say?line=hello%20there").await;
    until("it is shown", || async { server.output().contains("hello there") }).await;
    let line = line_of(&server, "hello there");
    assert_eq!(line, "scripted/1 | hello there");
}

#[tokio::test]
async fn on_a_terminal_an_apps_colours_pass_and_nothing_else_that_steers_it() {
    let server = Setup::scripted().terminal().variable("NO_COLOR", "").start().await;
    for line in [
        "%1b%5b31mred%1b%5b0m%20alert",
        "%1b%5b2J%1b%5d0;title%07%1b%5b8mhidden%1bc%20bell%07%08",
        "%c2%9b31mlast",
    ] {
        server.get(&format!("/say?line={line}")).await;
    }
    until("all are shown", || async { server.output().contains("last") }).await;
    let shown = |text: &str| line_of(&server, text).split_once(" |").unwrap().1.to_owned();
    assert_eq!(shown("alert"), "\u{1b}[0m \u{1b}[31mred\u{1b}[0m alert\u{1b}[0m");
    assert_eq!(shown("hidden"), "\u{1b}[0m hidden bell");
    assert_eq!(shown("last"), "\u{1b}[0m  31mlast");
}

#[tokio::test]
async fn elsewhere_a_line_of_an_app_is_a_record_with_its_fields() {
    let server = Setup::scripted().lines().start().await;
    server.get("/say?line=hello").await;
    until("it is written", || async { server.output().contains("hello") }).await;
    let line = line_of(&server, "hello");
    assert!(line.contains(" INFO hello app=scripted worker=1 generation=1"), "{line}");

    let server = Setup::scripted().start().await;
    server.get("/say?line=hello").await;
    until("it is written", || async {
        server.output().json().iter().any(|record| record["message"] == "hello")
    })
    .await;
    let records = server.output().json();
    let record = records.iter().find(|record| record["message"] == "hello").unwrap();
    assert_eq!((&record["app"], &record["worker"]), (&"scripted".into(), &"1".into()));
}

#[tokio::test]
async fn the_same_end_of_three_workers_is_told_once() {
    let server = Setup::scripted().words(&["w:3"]).start().await;
    server.set_version("exit");
    let ran = server.ctl(&["deploy"]).await.expect(1);
    let status = server.ctl(&["status"]).await.expect(0).out;
    let logs = server.ctl(&["logs"]).await.expect(0).out;
    until("the log has it", || async { server.output().contains("[the same from ") }).await;
    let log = server.output().to_string();
    for (place, text) in [("deploy", &ran.err), ("status", &status), ("logs", &logs), ("log", &log)] {
        assert_eq!(text.matches("cannot start: told to exit").count(), 1, "{place}: {text}");
        assert_eq!(text.matches("[the same from 2 more workers]").count(), 1, "{place}: {text}");
    }
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn workers_that_start_well_each_have_their_lines() {
    let home = tempfile::tempdir().unwrap();
    let app = home.path().join("talks");
    fs::create_dir(&app).unwrap();
    fs::write(app.join("rip.toml"), "command = [\"python3\", \"server.py\"]\nlisten = \"fd\"\n").unwrap();
    fs::write(app.join("server.py"), format!("print('listening', flush=True)\n{ANSWERS}")).unwrap();
    let server = Setup::app(&app).words(&["w:3"]).start().await;
    until("each has said it", || async { server.ctl(&["logs"]).await.out.matches("listening").count() == 3 })
        .await;
    assert!(!server.output().contains("[the same from"), "{}", server.output());
}

#[tokio::test]
async fn check_begins_with_what_it_will_run_and_leaves_defaults_out() {
    let home = tempfile::tempdir().unwrap();
    let app = home.path().join("blog");
    fs::create_dir(&app).unwrap();
    let rules =
        "command = [\"python3\", \"-u\", \"my server.py\"]\nlisten = \"port\"\n[env]\nSECRET = \"hunter2\"\n";
    fs::write(app.join("rip.toml"), rules).unwrap();
    let check = async |words: &[&str]| {
        run(in_home(home.path(), SERVER).arg("check").args(words).args(["./blog", "w:3"])).await.expect(0)
    };

    let ran = check(&[]).await;
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].starts_with("blog: "), "{}", ran.out);
    let (_, runs) = lines[1].split_once("  runs     ").unwrap();
    assert!(runs.ends_with("python3 -u 'my server.py'"), "{}", ran.out);
    let real = app.canonicalize().unwrap();
    assert_eq!(lines[2], format!("  in       {}", real.display()));
    assert!(lines[3].starts_with("  listens  on the port in $PORT"), "{}", ran.out);
    assert!(ran.out.contains("SECRET=…") && !ran.out.contains("hunter2"), "{}", ran.out);
    assert!(ran.out.contains("command line `w:3`") && ran.out.contains("--all shows them"), "{}", ran.out);
    assert!(!ran.out.contains("limits.head") && !ran.out.lines().any(|line| line.ends_with("  default")));

    let all = check(&["--all"]).await.out;
    assert!(all.contains("limits.head") && all.contains("command line `w:3`"), "{all}");
    let json = check(&["--json"]).await.json();
    let has = |key: &str| json["server"].as_array().unwrap().iter().any(|row| row["key"] == key);
    assert!(has("limits.head"), "{json}");
    assert_eq!(json["apps"][0]["run"]["listen"], "port");
    assert_eq!(json["apps"][0]["run"]["command"].as_array().unwrap().len(), 3);
}

/// The first line with this text, without the carriage return of terminals.
fn line_of(server: &Server, text: &str) -> String {
    let lines = server.output().lines();
    lines.iter().find(|line| line.contains(text)).unwrap().trim_end_matches('\r').to_owned()
}

/// Answers every request on descriptor 3.
const ANSWERS: &str = "\
import socket
listener = socket.socket(fileno=3)
while True:
    client, _ = listener.accept()
    client.recv(65536)
    client.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\nhere\\n')
    client.close()
";
