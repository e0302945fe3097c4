//! The things that the server and its workers inherit from the program that started the server: signals, limits, a
//! folder that is gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Setup, skip, until};

#[tokio::test]
async fn signals_that_mean_something_to_other_servers_end_nothing_and_are_told() {
    let mut server = Setup::scripted().start().await;
    for (signal, told) in [
        (Signal::USR1, "SIGUSR1 is ignored: the server has no log file"),
        (Signal::USR2, "SIGUSR2 is ignored"),
        (Signal::ALARM, "SIGALRM is ignored"),
        (Signal::QUIT, "SIGQUIT is ignored: SIGTERM ends the server"),
    ] {
        server.signal(signal);
        until("it is told", || async { server.output().contains(told) }).await;
        assert_eq!(server.get("/").await.status, 200);
    }
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_server_that_was_started_with_signals_blocked_and_ignored_can_be_stopped() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Setup::scripted().within(&["python3", "-c", DEAF]).start().await;
        server.signal(signal);
        assert_eq!(server.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_worker_starts_as_if_nothing_had_been_blocked_ignored_or_raised() {
    let folder = worker_behind("cat /proc/self/status /proc/self/limits >seen");
    let server = Setup::app(folder.path()).words(&["w:1"]).within(&["python3", "-c", DEAF]).start().await;
    let seen = fs::read_to_string(folder.path().join("seen")).unwrap();
    let value = |name: &str| {
        let line = seen.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().next().unwrap().to_owned()
    };
    // posix_spawn(3) of glibc ignores the two signals that are glibc's own, 32 and 33.
    const OF_GLIBC: u64 = 0b11 << 31;
    for mask in ["SigBlk:", "SigIgn:"] {
        let signals = u64::from_str_radix(&value(mask), 16).unwrap();
        assert_eq!(signals & !OF_GLIBC, 0, "{mask} {signals:x}");
    }
    assert_eq!(value("Max open files"), "512");
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let own: u64 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(own > 512, "the server itself has what its connections need: {own}");
    assert_eq!(server.get("/").await.status, 200);
}

/// Starts what its arguments say with every signal blocked, those of the terminal and of pipes ignored, and a low limit
/// of open files.
const DEAF: &str = "import os, resource, signal, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
for name in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGUSR1, signal.SIGQUIT):
    signal.signal(name, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])";

#[tokio::test]
async fn as_the_first_process_of_a_container_the_server_reaps_orphans_and_still_knows_how_its_workers_end() {
    let container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !Command::new(container[0])
        .args(&container[1..])
        .arg("true")
        .output()
        .is_ok_and(|ran| ran.status.success())
    {
        return skip("no process namespace can be made here");
    }
    // Each one's parent ends at once.
    let folder = worker_behind("for i in $(seq 40); do (sleep 0.2 &) ; done");
    let server = Setup::app(folder.path()).words(&["w:1"]).within(&container).start().await;
    let first = children(server.pid())[0];
    until("orphans have come and gone", || async {
        children(first).iter().all(|child| state_of(*child) != Some('Z')) && orphans(first) == 0
    })
    .await;
    // Seen from outside, the worker has another number.
    let worker = children(first).into_iter().find(|child| command_of(*child).contains("worker.py")).unwrap();
    kill_process(Pid::from_raw(worker as i32).unwrap(), Signal::KILL).unwrap();
    until("its end is known", || async { server.output().contains("was killed by signal 9") }).await;
    server.await_ready().await;
    assert_eq!(server.get("/").await.status, 200);
}

/// Children named `sleep`, dead or alive.
fn orphans(parent: u32) -> usize {
    let named = |child: &u32| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.contains("(sleep)")
    };
    children(parent).iter().filter(|child| named(child)).count()
}

fn children(parent: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap();
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let field = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat[stat.rfind(')')? + 1..].split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    pids.filter(|pid| field(*pid) == Some(parent)).collect()
}

fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

fn command_of(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
}

#[test]
fn in_a_folder_that_was_removed_everything_works_that_needs_none() {
    let hello = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps/hello");
    for words in [&["--version"][..], &["--help"], &["default-config"], &["check", hello]] {
        let ran = in_a_removed_folder(words);
        assert_eq!(ran.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        assert!(!ran.stdout.is_empty());
    }
    let ran = in_a_removed_folder(&["check", hello, "--config=server.toml"]);
    assert_eq!(ran.status.code(), Some(2));
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(said.contains("gone (deleted)/server.toml"), "the folder is named: {said}");
    assert_eq!(in_a_removed_folder(&["check", "./app"]).status.code(), Some(2));
}

fn in_a_removed_folder(words: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let script = "cd \"$1\" && rmdir \"$1\" && shift && exec \"$0\" \"$@\"";
    let program = env!("CARGO_BIN_EXE_rip-server");
    Command::new("sh").args(["-c", script, program]).arg(gone).args(words).output().unwrap()
}

/// An app whose worker is the scripted one, behind a script that does something first.
fn worker_behind(first: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    fs::write(&path, format!("#!/bin/sh\n{first}\nexec python3 \"$WORKER\"\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    write_rules(folder.path());
    folder
}

fn write_rules(folder: &Path) {
    let worker = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/worker.py");
    let meet = folder.to_str().unwrap();
    let own = format!(
        "listen = \"fd\"\nready_path = \"/ready\"\nreload = \"none\"\nenv = {{ WORKER = {worker:?}, MEET = {meet:?} }}\n"
    );
    fs::write(folder.join("rip.toml"), own).unwrap();
}
