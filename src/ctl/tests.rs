//! The verbs, from words to exit code, against a server that plays from a script.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::json;

use super::*;

/// A server that answers one connection after another from its script, and keeps the requests.
struct Scripted {
    dir: tempfile::TempDir,
    asked: JoinHandle<Vec<String>>,
}

impl Scripted {
    fn answers(script: &[(u16, String)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let script = script.to_vec();
        let asked = thread::spawn(move || {
            let asked =
                script.iter().map(|(status, body)| answer(&mut next(&listener), *status, body)).collect();
            std::fs::remove_file(path).unwrap();
            asked
        });
        Self { dir, asked }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    /// Runs the words; returns exit code, data, messages, and the requests to the server.
    fn play(self, words: &[&str]) -> (u8, String, String, Vec<String>) {
        let socket = self.socket().display().to_string();
        let words: Vec<_> = ["--socket", &socket].iter().chain(words).copied().collect();
        let (code, data, talk) = play(&words, &SocketPlaces::default());
        (code, data, talk, self.asked.join().unwrap())
    }
}

fn next(listener: &UnixListener) -> UnixStream {
    listener.accept().unwrap().0
}

fn answer(stream: &mut UnixStream, status: u16, body: &str) -> String {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut request, mut length, mut line) = (String::new(), 0, String::new());
    while reader.read_line(&mut line).unwrap() > 2 {
        if request.is_empty() {
            request = line.trim_end_matches(" HTTP/1.1\r\n").into();
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut sent = vec![0; length];
    reader.read_exact(&mut sent).unwrap();
    let sent = String::from_utf8(sent).unwrap();
    // The client of some tests leaves early.
    drop(write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    format!("{request} {sent}").trim_end().into()
}

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap().clone();
        anstream::adapter::strip_str(&String::from_utf8(bytes).unwrap()).to_string()
    }
}

fn play(words: &[&str], places: &SocketPlaces) -> (u8, String, String) {
    let words = CtlArgs::try_parse_from(["rip-serverctl"].iter().chain(words)).unwrap();
    let (data, talk) = (Paper::default(), Paper::default());
    let mut screen = Screen::new(Box::new(data.clone()), Box::new(talk.clone()));
    let exit = act(words, places, &mut screen);
    screen.finish().unwrap();
    (exit.code(), data.text(), talk.text())
}

fn failure(code: &str, message: &str, hint: Option<&str>) -> String {
    json!({"ok": false, "error": {"code": code, "message": message, "hint": hint}}).to_string()
}

fn entry() -> serde_json::Value {
    json!({"host": "blog.example", "app": "blog", "state": "running", "live": true, "origin": "added"})
}

fn status(health: &str) -> String {
    json!({
        "status": health, "instance": "api", "version": "0.1.0", "pid": 0, "uptime": 1, "urls": [],
        "control": "/c.sock", "doing": "serving", "apps": [], "certificates": [], "news": "of a newer server"
    })
    .to_string()
}

#[test]
fn list_asks_for_the_registry_and_shows_a_table() {
    let server = Scripted::answers(&[(
        200,
        json!({"ok": true, "hosts": ["blog.example"], "entries": [entry()]}).to_string(),
    )]);

    let (code, data, talk, asked) = server.play(&["list"]);

    assert_eq!(asked, ["GET /registry"]);
    assert_eq!(data, "HOST          APP   FROM   STATE\nblog.example  blog  added  running\n");
    assert_eq!((code, talk.as_str()), (0, ""));
}

#[test]
fn add_gives_the_whole_path_of_the_app() {
    let app = tempfile::tempdir().unwrap();
    let path = app.path().canonicalize().unwrap();
    let server =
        Scripted::answers(&[(200, json!({"ok": true, "changed": true, "entry": entry()}).to_string())]);

    let dotted = app.path().join(".").display().to_string();
    let (code, data, talk, asked) = server.play(&["add", "Blog.Example.", "--app", &dotted]);

    let expected = json!({"host": "blog.example", "path": path});
    assert_eq!(asked, [format!("POST /registry {expected}")]);
    assert_eq!((code, data.as_str(), talk.as_str()), (0, "", "blog.example: added (app blog)\n"));
}

#[test]
fn add_of_a_missing_app_asks_no_server() {
    let (code, _, talk) = play(
        &["--socket", "/nonexistent", "add", "a.example", "--app", "/no/such/app"],
        &SocketPlaces::default(),
    );

    let expected = "rip-serverctl: --app /no/such/app: No such file or directory (os error 2)\n  \
                    give the directory or the entry file of an app\n";
    assert_eq!((code, talk.as_str()), (2, expected));
}

#[test]
fn verbs_about_a_host_say_what_they_did() {
    let page = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(page.path(), "<p>back soon</p>").unwrap();
    let page = page.path().display().to_string();
    for (words, changed, asked, told) in [
        (
            vec!["remove", "*.blog.example"],
            true,
            "DELETE /registry/%2A.blog.example",
            "*.blog.example: removed",
        ),
        (
            vec!["pause", "b.example"],
            true,
            r#"POST /registry/b.example/state {"state":"paused"}"#,
            "b.example: paused: its requests wait",
        ),
        (
            vec!["resume", "b.example"],
            false,
            r#"POST /registry/b.example/state {"state":"running"}"#,
            "b.example: running, as before",
        ),
        (
            vec!["maintenance", "b.example", "--page", &page],
            true,
            r#"POST /registry/b.example/state {"state":"stopped","page":"<p>back soon</p>"}"#,
            "b.example: stopped: its requests are answered with 503",
        ),
    ] {
        let server = Scripted::answers(&[(200, json!({"ok": true, "changed": changed}).to_string())]);
        let played = server.play(&words);
        assert_eq!(played, (0, String::new(), format!("{told}\n"), vec![asked.into()]), "{words:?}");
    }
}

#[test]
fn the_exit_code_of_status_tells_a_degraded_server() {
    for (health, expected) in [("healthy", 0), ("degraded", 3)] {
        let (code, data, ..) = Scripted::answers(&[(200, status(health))]).play(&["status"]);
        assert_eq!(code, expected);
        assert!(data.starts_with(&format!("api: {health}, serving\n")), "{data}");
    }
}

#[test]
fn json_is_the_servers_answer_with_what_only_a_newer_client_knows() {
    let (code, data, talk, _) = Scripted::answers(&[(200, status("degraded"))]).play(&["--json", "status"]);

    assert_eq!((code, data, talk.as_str()), (3, status("degraded") + "\n", ""));
}

#[test]
fn a_refusal_is_told_in_the_servers_words_with_its_exit_code() {
    let refusals = [
        ("no-such-app", 404, 4),
        ("conflict", 409, 5),
        ("stopping", 503, 5),
        ("bad-request", 400, 2),
        ("internal", 500, 1),
    ];
    for (code, status, exit) in refusals {
        let text = failure(code, "read `x`", Some("write `y`"));
        let server = Scripted::answers(&[(status, text.clone())]);
        let (got, data, talk, asked) = server.play(&["scale", "api", "x"]);
        assert_eq!(asked, [r#"POST /workers/scale {"app":"api","workers":"x"}"#]);
        assert_eq!((got, data.as_str()), (exit, ""), "{code}");
        assert_eq!(talk, "rip-serverctl: read `x`\n  write `y`\n");

        let server = Scripted::answers(&[(status, text)]);
        let (got, data, talk, _) = server.play(&["scale", "api", "x", "--json"]);
        let data: serde_json::Value = serde_json::from_str(&data).unwrap();
        let expected =
            json!({"ok": false, "error": {"code": code, "message": "read `x`", "hint": "write `y`"}});
        assert_eq!((got, data, talk.as_str()), (exit, expected, ""), "{code}");
    }
}

#[test]
fn what_is_no_answer_is_a_failure() {
    for (status, body) in [(200, "{}"), (200, "not json"), (500, "oops"), (404, "")] {
        let (code, data, talk, _) = Scripted::answers(&[(status, body.into())]).play(&["list"]);
        assert_eq!((code, data.as_str()), (1, ""), "{body}");
        assert!(talk.starts_with("rip-serverctl: the server's answer cannot be used: "), "{talk}");
    }
}

#[test]
fn a_server_that_does_not_answer_in_time_is_exit_code_8() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("mute.sock");
    let _mute = UnixListener::bind(&socket).unwrap();
    let socket = socket.display().to_string();

    for words in [&["status"][..], &["deploy"], &["logs", "-f"], &["stop"]] {
        let words: Vec<_> = ["--socket", &socket, "--timeout", "1"].iter().chain(words).copied().collect();
        let (code, _, talk) = play(&words, &SocketPlaces::default());
        assert_eq!(code, 8, "{talk}");
        assert!(talk.ends_with("took longer than 1 s\n  --timeout SECS waits longer\n"), "{talk}");
    }
}

#[test]
fn a_server_with_a_full_queue_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("full.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _first = UnixStream::connect(&socket).unwrap();

    let words = ["--socket", &socket.display().to_string(), "--timeout", "1", "status"];
    let (code, _, talk) = play(&words, &SocketPlaces::default());

    let expected = "rip-serverctl: GET /status took longer than 1 s\n  --timeout SECS waits longer\n";
    assert_eq!((code, talk.as_str()), (8, expected));
}

#[test]
fn without_a_server_the_exit_code_is_7_and_version_still_works() {
    let (code, data, talk) = play(&["status", "--json"], &SocketPlaces::default());
    let failure: crate::api::ErrorAnswer = serde_json::from_str(&data).unwrap();
    assert_eq!((code, talk.as_str(), failure.error.code.as_str()), (7, "", "unreachable"));

    let (code, data, _) = play(&["version"], &SocketPlaces::default());
    assert_eq!(code, 0);
    assert_eq!(data, format!("rip-serverctl {}\nrip-server: none answers\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_deploy_succeeds_only_when_every_app_serves_the_new_generation() {
    let starting = |app| json!({"event": "starting", "app": app, "generation": 2, "workers": 1}).to_string();
    let done = |app| json!({"event": "done", "app": app, "generation": 2, "ms": 1500}).to_string();
    let rejected_of = |app| {
        json!({
            "event": "rejected", "app": app,
            "rejection": {"generation": 2, "reason": "exited with status 1", "output": ["Error: no db"]}
        })
        .to_string()
    };
    let rejected = rejected_of("b");
    let superseded = json!({"event": "superseded", "app": "a", "generation": 2}).to_string();

    for (events, expected) in [
        (vec![starting("a"), starting("b"), done("b"), done("a")], 0),
        (vec![starting("a"), starting("b"), done("a"), rejected.clone()], 1),
        (vec![starting("a"), superseded.clone(), starting("a"), done("a")], 0),
        (vec![starting("a"), superseded.clone(), rejected_of("a")], 1),
        (vec![starting("a"), superseded], 1),
        (vec![starting("a"), starting("b"), done("a")], 1),
        (vec![], 1),
    ] {
        let body: String = events.iter().map(|event| event.clone() + "\n").collect();
        let (code, data, talk, asked) = Scripted::answers(&[(200, body)]).play(&["deploy"]);
        assert_eq!((code, data.as_str(), asked), (expected, "", vec!["POST /deploy {}".into()]), "{talk}");
    }

    let (_, _, talk, asked) = Scripted::answers(&[(200, rejected + "\n")]).play(&["deploy", "b"]);
    let expected = "b: generation 2 was rejected: exited with status 1\n  | Error: no db\n\
                    b: the generation before goes on serving\n";
    assert_eq!((talk.as_str(), asked), (expected, vec![r#"POST /deploy {"app":"b"}"#.into()]));
}

#[test]
fn a_deploy_whose_report_breaks_off_names_the_app() {
    let event = json!({"event": "ready", "app": "a", "generation": 2, "ready": 1, "workers": 2}).to_string();
    let (code, _, talk, _) = Scripted::answers(&[(200, event + "\n")]).play(&["deploy"]);

    let expected = "a: 1 of 2 ready\n\
                    rip-serverctl: the server ended the report before the deploy of a was decided\n  \
                    `rip-serverctl status` tells more\n";
    assert_eq!((code, talk.as_str()), (1, expected));
}

#[test]
fn logs_are_data_and_their_flags_reach_the_server() {
    let line =
        json!({"t": 0, "app": "api", "worker": 7, "generation": 1, "line": "hello"}).to_string() + "\n";
    let server = Scripted::answers(&[(200, status("healthy")), (200, line.clone())]);
    let (code, data, talk, asked) = server.play(&["logs", "api", "-n", "5", "-f"]);
    assert_eq!(asked, ["GET /status", "GET /logs?lines=5&app=api&follow=1"]);
    assert!(data.ends_with(" api/7 hello\n"), "{data}");
    assert_eq!((code, talk.as_str()), (0, ""));

    let server = Scripted::answers(&[(200, status("healthy")), (200, line.clone())]);
    let (_, data, _, asked) = server.play(&["logs", "--json"]);
    assert_eq!((data, asked.last().map(String::as_str)), (line, Some("GET /logs?lines=100")));
}

#[test]
fn stop_waits_until_the_socket_is_gone() {
    let stopping = json!({"ok": true, "drain": 30}).to_string();
    let server = Scripted::answers(&[(200, status("healthy")), (200, stopping)]);
    let socket = server.socket();

    let (code, data, talk, asked) = server.play(&["stop"]);

    assert!(!socket.exists());
    assert_eq!(asked, ["GET /status", "POST /stop {}"]);
    let expected = "api: stopping, requests in hand have 30 s\napi: stopped\n";
    assert_eq!((code, data.as_str(), talk.as_str()), (0, "", expected));
}

#[test]
fn stop_ends_when_the_process_does_and_tells_a_timeout() {
    for (program, expected) in [("true", 0), ("cat", 8)] {
        let mut process =
            std::process::Command::new(program).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let status = status("healthy").replace(r#""pid":0"#, &format!(r#""pid":{}"#, process.id()));
        let stopping = json!({"ok": true, "drain": 30}).to_string();
        // The last answer is never asked for, so that the socket stays.
        let server = Scripted::answers(&[(200, status), (200, stopping), (200, String::new())]);
        let socket = server.socket();

        let words = ["--socket", &socket.display().to_string(), "stop", "--timeout", "1"];
        let (code, _, talk) = play(&words, &SocketPlaces::default());

        assert_eq!(code, expected, "{talk}");
        drop(process.stdin.take());
        process.wait().unwrap();
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        server.asked.join().unwrap();
    }
}

#[test]
fn stop_without_waiting_returns_at_once() {
    let stopping = json!({"ok": true, "drain": 30}).to_string();
    let server = Scripted::answers(&[(200, status("healthy")), (200, stopping)]);

    let (code, data, ..) = server.play(&["stop", "--no-wait", "--json"]);

    assert_eq!((code, data.as_str()), (0, "{\"ok\":true,\"drain\":30,\"stopped\":false}\n"));
}

#[test]
fn metrics_pass_through_and_completions_need_no_server() {
    let (code, data, ..) = Scripted::answers(&[(200, "a 1\n# EOF\n".into())]).play(&["metrics"]);
    assert_eq!((code, data.as_str()), (0, "a 1\n# EOF\n"));

    for shell in ["bash", "zsh", "fish"] {
        let (code, data, _) = play(&["completions", shell], &SocketPlaces::default());
        assert_eq!(code, 0);
        assert!(data.contains("maintenance"), "{shell}");
    }
}
