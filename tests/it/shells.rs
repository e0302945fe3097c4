//! Commands with a shell in between: what runs, what it is told at its end, how long it has.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Meeting, Server, Setup, soon, until};

/// Commands below which a shell stays; in the last one it is a script of the app's own.
const BEHIND_A_SHELL: [&str; 3] =
    ["/usr/bin/env python3 \"$WORKER\" | cat", "/usr/bin/env python3 \"$WORKER\"; true", "sh ./run.sh"];

#[tokio::test]
async fn a_program_behind_a_shell_finishes_what_it_has_in_hand_when_a_deploy_ends_it() {
    for command in BEHIND_A_SHELL {
        let app = app(command, "timeouts.drain = \"100ms\"\ntimeouts.kill = \"20s\"");
        let server = Setup::app(app.path()).words(&["w:1"]).start().await;
        let meeting = Meeting::at(app.path().to_owned());
        let mut client = server.connect().await;
        client.send("POST /gate?name=slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
        meeting.reached("slow").await;

        soon("the deploy", server.ctl(&["deploy"])).await.expect(0);
        until("the old one was told to end", || async { stopping(&server).await }).await;
        // The worker's shell is gone by now.
        until("the shell has ended", || async { !leader_lives(&server).await }).await;
        meeting.open("slow");

        assert_eq!(soon("its answer", client.reply("POST")).await.status, 200, "{command}");
        assert_eq!(meeting.targets().iter().filter(|target| target.contains("slow")).count(), 1, "{command}");
        until("it is gone", || async { server.workers().await.workers.len() == 1 }).await;
    }
}

#[tokio::test]
async fn a_program_behind_a_shell_that_does_not_end_has_its_time_and_is_killed_then() {
    let app = app(BEHIND_A_SHELL[0], "timeouts.kill = \"1s\"");
    let rules = fs::read_to_string(app.path().join("rip.toml")).unwrap();
    fs::write(app.path().join("rip.toml"), rules.replace("env = {", "env = { TERM_IGNORED = \"1\","))
        .unwrap();
    let mut server = Setup::app(app.path()).words(&["w:1"]).start().await;
    let begun = tokio::time::Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_shell_that_crashes_takes_its_program_with_it_at_once() {
    let app = app(BEHIND_A_SHELL[0], "timeouts.kill = \"20s\"");
    let server = Setup::app(app.path()).words(&["w:1"]).start().await;
    let shell = server.worker_pids().await[0];
    rustix::process::kill_process(rustix::process::Pid::from_raw(shell as i32).unwrap(), Signal::KILL)
        .unwrap();
    until("another one serves", || async {
        let workers = server.workers().await.workers;
        workers.len() == 1 && workers[0].pid.is_some_and(|pid| pid != shell)
    })
    .await;
}

#[tokio::test]
async fn a_procfile_line_with_assignments_and_redirections_runs_as_its_program() {
    for line in [
        "EXTRA=$MORE B=$EXTRA exec_is_not_needed= /usr/bin/env python3 \"$WORKER\" 2>&1",
        "C=~/x /usr/bin/env python3 \"$WORKER\" >>log 2>&1 </dev/null",
    ] {
        let app = app(line, "");
        let server = Setup::app(app.path()).words(&["w:1"]).start().await;
        let pid = server.worker_pids().await[0];
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        // A version manager may have put its own path there.
        let program = String::from_utf8_lossy(command.split(|byte| *byte == 0).next().unwrap());
        assert!(program.ends_with("python3"), "{}", String::from_utf8_lossy(&command));
        assert_eq!(server.get("/").await.status, 200);
    }
}

/// An app with this `Procfile`; the worker is the scripted one, on a port.
fn app(line: &str, rules: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Procfile"), format!("web: {line}\n")).unwrap();
    fs::write(folder.path().join("run.sh"), "/usr/bin/env python3 \"$WORKER\"\necho ended\n").unwrap();
    write_rules(folder.path(), rules);
    folder
}

fn write_rules(folder: &Path, rules: &str) {
    let worker = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/worker.py");
    let meet = folder.to_str().unwrap();
    let own = format!(
        "listen = \"port\"\nready_path = \"/ready\"\nreload = \"none\"\n\
         env = {{ WORKER = {worker:?}, MEET = {meet:?}, MORE = \"a b\" }}\n{rules}\n"
    );
    fs::write(folder.join("rip.toml"), own).unwrap();
}

async fn stopping(server: &Server) -> bool {
    server.status().await.apps[0].workers.stopping == 1
}

/// Whether the process that the older worker was started as has not exited.
async fn leader_lives(server: &Server) -> bool {
    let pids = server.worker_pids().await;
    let oldest = pids.iter().min().unwrap();
    let status = fs::read_to_string(format!("/proc/{oldest}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}
