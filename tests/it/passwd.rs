//! `rip-serverctl passwd`: lines of files of users, written from a pipe or a terminal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::support::ctl::{CTL, SERVER};
use crate::support::{Setup, folder_with};

/// Runs it with a text as its standard input; code, output, errors.
fn passwd(folder: &Path, words: &[&str], input: &str) -> (i32, String, String) {
    passwd_by(CTL, folder, words, input)
}

fn passwd_by(program: &str, folder: &Path, words: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(program);
    command.arg("passwd").args(words).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that needs no input may have closed it.
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap_or_default();
    let done = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[tokio::test]
async fn what_it_writes_is_what_the_server_takes() {
    let folder = folder_with(&[("scripted/staff", "# staff\n")]);
    let staff = folder.path().join("scripted/staff");
    for (words, input, said) in [
        (&["scripted/staff", "anna"][..], "correct horse\n", "added anna"),
        (&["scripted/staff", "bert"], "secret", "added bert"),
        (&["scripted/staff", "anna"], "wrong horse\r\n", "changed anna"),
        (&["scripted/staff", "bert", "--delete"], "", "deleted bert"),
    ] {
        let (code, out, err) = passwd(folder.path(), words, input);
        assert!(code == 0 && out.starts_with(said) && err.is_empty(), "{words:?}: {code} {out} {err}");
    }
    let text = fs::read_to_string(&staff).unwrap();
    assert!(text.starts_with("# staff\nanna:$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");

    let setup = Setup::scripted().rules("auth = { users = \"staff\" }");
    let server = setup.start_in(folder).await;
    // `printf 'anna:wrong horse' | base64`
    let right = [("Authorization", "Basic YW5uYTp3cm9uZyBob3JzZQ==")];
    let seen = server.ask("GET", "/view", &right, b"").await.view();
    assert_eq!(seen.field("remote-user"), Some("anna"));
}

#[test]
fn rip_server_hands_it_over_with_its_file_and_needs_no_server() {
    let folder = folder_with(&[("staff", "# staff\n")]);
    let file = folder.path().join("staff");
    for (file, user) in [("./staff", "anna"), (file.to_str().unwrap(), "8443"), ("staff", "bert")] {
        let (code, out, err) = passwd_by(SERVER, folder.path(), &[file, user], "secret\n");
        assert!(code == 0 && out.starts_with(&format!("added {user}")), "{file}: {code} {out} {err}");
    }
    let (code, out, _) = passwd_by(SERVER, folder.path(), &["staff", "bert", "--delete"], "");
    assert!(code == 0 && out.starts_with("deleted bert"), "{code} {out}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("\nanna:$") && text.contains("\n8443:$") && !text.contains("bert"), "{text}");
}

#[test]
fn the_file_keeps_its_mode_and_a_link_what_it_leads_to() {
    let folder = folder_with(&[("real/old", "")]);
    let (old, new) = (folder.path().join("real/old"), folder.path().join("new"));
    fs::set_permissions(&old, fs::Permissions::from_mode(0o604)).unwrap();
    symlink("real/old", folder.path().join("link")).unwrap();
    for file in ["link", "new"] {
        assert_eq!(passwd(folder.path(), &[file, "anna"], "secret\n").0, 0, "{file}");
    }
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
    assert_eq!((mode(&old), mode(&new)), (0o604, 0o640));
    assert!(folder.path().join("link").symlink_metadata().unwrap().is_symlink());
    let left: Vec<_> = fs::read_dir(folder.path().join("real")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn what_cannot_be_done_changes_nothing_and_says_why() {
    let folder = folder_with(&[("staff", "anna:secret\n"), ("empty", "")]);
    for (words, input, code, why) in [
        (&["staff", "bert"][..], "x\n", 1, "is wrong in line 1"),
        (&["empty", "bert"], "", 1, "no password"),
        (&["empty", "bert"], "\n", 1, "no password"),
        (&["empty", "bert"], "a\tb\n", 1, "no control characters"),
        (&["empty", "bert", "--delete"], "", 1, "has no user `bert`"),
        (&["empty", "a:b"], "x\n", 2, "neither `:` nor"),
        (&["none/staff", "bert"], "x\n", 1, "cannot use"),
        (&["empty"], "", 2, "<USER>"),
        (&[".", "bert"], "x\n", 1, "not a plain file"),
    ] {
        let (seen, out, err) = passwd(folder.path(), words, input);
        assert!(seen == code && out.is_empty() && err.contains(why), "{words:?}: {seen} {out} {err}");
        assert!(!err.contains("secret"), "{err}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("staff")).unwrap(), "anna:secret\n");
    assert_eq!(fs::read_to_string(folder.path().join("empty")).unwrap(), "");
}

/// A terminal with the program on it, which has asked for the first password.
fn on_a_terminal(folder: &Path) -> (std::process::Child, File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = File::options().read(true).write(true).open(name).unwrap();
    let mut command = Command::new(CTL);
    command.args(["passwd", "staff", "anna"]).current_dir(folder);
    let [input, output] = [(); 2].map(|()| Stdio::from(terminal.try_clone().unwrap()));
    command.stdin(input).stdout(output).stderr(Stdio::from(terminal.try_clone().unwrap()));
    let child = command.spawn().unwrap();
    let mut master = File::from(master);
    read_until(&mut master, "New password of anna: ");
    (child, master, terminal)
}

fn read_until(master: &mut File, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        let mut bytes = [0; 256];
        let read = master.read(&mut bytes).unwrap();
        seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    seen
}

#[test]
fn a_person_is_asked_twice_and_sees_nothing_of_it() {
    for (second, code, last) in [
        ("secret\n", 0, "added anna"),
        ("other\n", 1, "the two passwords differ"),
        ("sec\u{3}", 1, "given up"),
        ("\u{4}", 1, "given up"),
    ] {
        let folder = folder_with(&[("staff", "")]);
        let (mut child, mut master, terminal) = on_a_terminal(folder.path());
        master.write_all(b"secret\n").unwrap();
        let mut seen = read_until(&mut master, "again: ");
        master.write_all(second.as_bytes()).unwrap();
        seen += &read_until(&mut master, last);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{seen}");
        assert!(!seen.contains("sec") && !seen.contains("other"), "{seen}");
        let modes = tcgetattr(&terminal).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ISIG), "the terminal is as it was");
        let written = fs::read_to_string(folder.path().join("staff")).unwrap();
        assert_eq!(written.starts_with("anna:$argon2id$"), code == 0, "{written}");
    }
}
