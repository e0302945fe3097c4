//! A command that runs as the workers of an app do: their folder, environment and user, and the caller's terminal.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::ctl::{CTL, in_home};
use crate::support::{Setup, soon};

#[tokio::test]
async fn a_command_has_the_folder_and_the_environment_of_the_workers_that_serve() {
    let setup = Setup::scripted()
        .worker("COLOUR", "blue")
        .variable("FROM_SERVER", "yes")
        .variable("RIP_THREADS", "2");
    let server = setup.start().await;
    let script = "pwd; echo $COLOUR $FROM_SERVER $RIP_APP $RIP_INSTANCE $RIP_GENERATION; \
                  echo ${RIP_WORKER-none} ${NOTIFY_SOCKET-none} ${RIP_THREADS-none} ${HOME_OF_CALLER-none}; echo \"$0\"";
    let ran = server.ctl(&["run", "scripted", "--", "sh", "-c", script, "a b"]).await.expect(0);
    let folder = server.root().join("scripted").canonicalize().unwrap();
    let expected = format!("{}\nblue yes scripted scripted 1\nnone none none none\na b\n", folder.display());
    assert_eq!(ran.out, expected);
    server.deploy("two").await;
    let ran = server.ctl(&["run", "--", "sh", "-c", "echo $RIP_GENERATION"]).await.expect(0);
    assert_eq!(ran.out, "2\n");
}

#[tokio::test]
async fn its_exit_code_is_the_command_s_and_its_own_errors_say_what_would_be_right() {
    let server = Setup::scripted().start().await;
    server.ctl(&["run", "scripted", "--", "sh", "-c", "exit 42"]).await.expect(42);
    let gone = server.ctl(&["run", "scripted", "--", "no-such-program"]).await.expect(1);
    assert!(
        gone.err.contains("cannot run no-such-program in ") && gone.err.contains("No such file"),
        "{}",
        gone.err
    );
    server.ctl(&["run", "nobody", "--", "true"]).await.expect(4);
    server.ctl(&["run", "scripted"]).await.expect(2);
    server.ctl(&["run", "scripted", "ls"]).await.expect(2);
    std::fs::create_dir_all(server.root().join("scripted/.venv/bin")).unwrap();
    let tool = server.root().join("scripted/.venv/bin/tool");
    std::fs::write(&tool, "#!/bin/sh\necho of the app\n").unwrap();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(server.ctl(&["run", "scripted", "--", "tool"]).await.expect(0).out, "of the app\n");
}

#[tokio::test]
async fn what_it_reads_is_the_caller_s_and_a_signal_reaches_it() {
    let server = Setup::scripted().start().await;
    let socket = server.control_socket();
    let start = |script: &str| {
        let mut command = in_home(server.root(), CTL);
        command.arg("--socket").arg(&socket).args(["run", "scripted", "--", "sh", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut reading = start("read line; echo got $line");
    reading.stdin.take().unwrap().write_all(b"this\n").await.unwrap();
    assert_eq!(soon("it has read", reading.wait_with_output()).await.unwrap().stdout, b"got this\n");

    let mut waiting = start("echo ready; exec sleep 600");
    let mut ready = [0; 6];
    soon("it runs", waiting.stdout.take().unwrap().read_exact(&mut ready)).await.unwrap();
    let pid = Pid::from_raw(waiting.id().unwrap() as i32).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(soon("it ends", waiting.wait()).await.unwrap().signal(), Some(15));
}
