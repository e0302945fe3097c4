//! `rip-serverctl logs` where the lines are in the journal: what somebody is told who may not read it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::support::ctl::{CTL, Ran, in_home, run};

#[tokio::test]
async fn who_may_not_read_the_journal_is_told_of_the_group() {
    for (says, ends) in [
        ("Hint: You are currently not seeing messages from other users and the system.", "exit 0"),
        ("No journal files were opened due to insufficient permissions.", "exit 1"),
        ("Hint: You are currently not seeing messages from other users and the system.", "sleep 600"),
    ] {
        for words in [&["logs"][..], &["logs", "-f"]] {
            let ran = logs(words, &format!("echo '{says}' >&2\n{ends}"), false).await.expect(5);
            assert!(
                ran.err.contains("systemd-journal") && ran.err.contains("no permission"),
                "{says}: {ran:?}"
            );
            assert_eq!(ran.out, "", "{ran:?}");
        }
    }
}

#[tokio::test]
async fn lines_that_may_be_read_are_shown_and_other_failures_keep_their_words() {
    let line =
        r#"{"__REALTIME_TIMESTAMP":"1700000000123456","MESSAGE":"hello","RIP_APP":"api","RIP_WORKER":"7"}"#;
    let ran = logs(&["logs"], &format!("echo 'Hint: old' >&2; echo '{line}'"), false).await.expect(0);
    assert!(ran.out.ends_with(" api/7 hello\n"), "{ran:?}");
    let ran = logs(&["logs"], "echo 'Failed to parse' >&2; exit 1", false).await.expect(1);
    assert!(ran.err.contains("journalctl: Failed to parse"), "{ran:?}");
    let hint = "echo 'Hint: You are currently not seeing messages from other users and the system.' >&2";
    let ran = logs(&["logs"], hint, true).await.expect(0);
    assert_eq!(ran.out, "", "a user's own units are readable, and have written nothing: {ran:?}");
}

/// Runs the verb with a server whose workers are units, and a journalctl that does this.
async fn logs(words: &[&str], journalctl: &str, user: bool) -> Ran {
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("journalctl");
    fs::write(&program, format!("#!/bin/sh\n{journalctl}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let socket = home.path().join("run.sock");
    answer_status(&socket, user);
    let path = format!("{}:{}", home.path().display(), std::env::var("PATH").unwrap());
    let mut command = in_home(home.path(), CTL);
    run(command.arg("--socket").arg(&socket).args(words).env("PATH", path)).await
}

/// A control socket that answers one question about its state.
fn answer_status(socket: &Path, user: bool) {
    let listener = UnixListener::bind(socket).unwrap();
    let status = format!(
        r#"{{"status":"healthy","instance":"api","version":"1","pid":1,"uptime":1,"urls":[],"control":"/x",
            "doing":"serving","apps":[],"certificates":[],
            "service":{{"unit":"rip-server@api.service","user":{user},"workers":"rip-worker-api-*.service"}}}}"#
    );
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            status.len()
        );
        client.write_all((head + &status).as_bytes()).unwrap();
    });
}
