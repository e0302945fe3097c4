//! The words that a shell offers while somebody types: names of instances, and hosts and apps of the server that is
//! meant.

use std::path::Path;

use tokio::process::Command;

use crate::support::ctl::{CTL, SERVER, in_home, rip_server, rip_serverctl, run};
use crate::support::{Server, Setup, has};

#[tokio::test]
async fn bash_completes_instances_hosts_and_apps_of_both_programs() {
    let server = Setup::scripted().words(&["--instance=shown"]).start().await;
    for host in ["a.example", "*.b.example"] {
        server.ctl(&["add", host]).await.expect(0);
    }
    let socket = server.control_socket().display().to_string();
    for (program, name) in [(CTL, "rip-serverctl"), (SERVER, "rip-server")] {
        for (words, offered) in [
            (&["remove", "--socket", &socket, "a."][..], "a.example"),
            (&["remove", "--socket", &socket, "*"], "*.b.example"),
            (&["maintenance", "--socket", &socket, "a"], "a.example"),
            (&["deploy", "--socket", &socket, "s"], "scripted"),
            (&["logs", "--socket", &socket, ""], "scripted"),
            (&["scale", "--socket", &socket, "scripted", "2"], "2x"),
            (&["statu"], "status"),
        ] {
            let found = in_bash(&server, program, name, words).await;
            // `rip-server` has its own `remove`, whose words it reads itself.
            assert_eq!(found, [offered], "{name} {words:?}");
        }
        let found = in_bash(&server, program, name, &["pause", "--socket", &socket, ""]).await;
        assert!(found.contains(&"localhost".to_owned()) && found.len() >= 5, "{found:?}");
    }
}

#[tokio::test]
async fn instances_are_those_that_have_a_socket() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("rip-server");
    std::fs::create_dir(&folder).unwrap();
    for name in ["labs-api.sock", "labs-blog.sock", "shop.sock", "labs $(reboot).sock", "labs.txt"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    for words in
        [&["--instance", "la"][..], &["status", "--instance", "=", "la"], &["--json", "--instance", "la"]]
    {
        let ran = complete(home.path(), words).await;
        assert_eq!(ran.lines().collect::<Vec<_>>(), ["labs-api", "labs-blog"], "{words:?}");
    }
    assert_eq!(complete(home.path(), &["--instance=s"]).await, "--instance=shop\n");
    assert_eq!(complete(home.path(), &["deploy", "x"]).await, "", "nothing runs");
    assert_eq!(complete(home.path(), &["--so"]).await, "", "the script knows flags");
}

#[tokio::test]
async fn the_scripts_of_zsh_and_fish_ask_too_and_are_read_by_their_shells() {
    let home = tempfile::tempdir().unwrap();
    for (shell, file) in [("zsh", "_rip-serverctl"), ("fish", "rip-serverctl.fish")] {
        let script = rip_serverctl(home.path(), &["completions", shell]).await.expect(0).out;
        let other = rip_server(home.path(), &["completions", shell]).await.expect(0).out;
        assert!(
            script.contains("complete rip-serverctl -- ") && other.contains("complete rip-server -- "),
            "{shell}"
        );
        std::fs::write(home.path().join(file), script).unwrap();
        if has(shell, shell) {
            run(Command::new(shell).args(["-n", file]).current_dir(home.path())).await.expect(0);
        }
    }
}

/// The output of `complete`.
async fn complete(home: &Path, words: &[&str]) -> String {
    let words = [&["complete", "rip-serverctl", "--"], words].concat();
    rip_serverctl(home, &words).await.expect(0).out
}

/// The words that bash offers for the last word.
async fn in_bash(server: &Server, program: &str, name: &str, words: &[&str]) -> Vec<String> {
    let script = "
        source <(\"$PROGRAM\" completions bash)
        hook=$(complete -p \"$NAME\" | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_WORDS=(\"$PROGRAM\" \"$@\")
        COMP_CWORD=$#
        COMPREPLY=()
        $hook \"$PROGRAM\" \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"
        printf '%s\\n' \"${COMPREPLY[@]}\"
    ";
    let mut bash = in_home(server.root(), "bash");
    bash.args(["-c", script, "bash"]).args(words).env("PROGRAM", program).env("NAME", name);
    let ran = run(&mut bash).await.expect(0);
    ran.out.lines().map(str::to_owned).collect()
}
