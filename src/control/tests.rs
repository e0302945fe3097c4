//! The control server through a real socket, as a client of any kind sees it.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Running {
    dir: tempfile::TempDir,
    stop: Stop,
    shutdown: Stop,
}

impl Running {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (stop, shutdown) = (Stop::new(), Stop::new());
        let control = dir.path().join("api.sock");
        let facts = Facts {
            instance: InstanceName::parse("api").unwrap(),
            version: "0.1.0".into(),
            started: Instant::now(),
            urls: vec!["https://localhost".into()],
            control: control.clone(),
            certificates: Box::new(|| {
                let names = vec!["localhost".into()];
                vec![CertificateStatus { names, source: "self-signed".into(), expires_in: 60, problem: None }]
            }),
            drain: Duration::from_secs(30),
        };
        Control::start(ControlParts {
            listener: bind(&control).unwrap(),
            manager: manager(),
            facts: Arc::new(facts),
            metrics: Metrics::new(),
            stop: stop.clone(),
            shutdown: shutdown.clone(),
        })
        .unwrap();
        Self { dir, stop, shutdown }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    /// The answer's head and body to a request of one connection.
    async fn call(&self, request: &str, body: &str) -> (String, String) {
        let length = body.len();
        let head =
            format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        exchange(&self.socket(), &(head + body)).await
    }

    async fn ask(&self, request: &str, body: &str) -> (String, Value) {
        let (head, body) = self.call(request, body).await;
        let status = head.split(' ').nth(1).unwrap().into();
        (status, serde_json::from_str(&body).unwrap())
    }
}

fn manager() -> Manager {
    Manager
}

async fn exchange(socket: &Path, bytes: &str) -> (String, String) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    split(read_to_end(&mut stream).await)
}

async fn read_to_end(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    // What a server that refuses unread bodies wrote is there in spite of the reset.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8(answer).unwrap()
}

fn split(answer: String) -> (String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.into(), body.into())
}

fn refused(code: &str, message: &str, hint: Option<&str>) -> Value {
    let mut error = json!({"code": code, "message": message});
    if let Some(hint) = hint {
        error["hint"] = hint.into();
    }
    json!({"ok": false, "error": error})
}

#[tokio::test]
async fn status_tells_the_facts() {
    let server = Running::start();

    let (status, body) = server.ask("GET /status", "").await;

    let expected = json!({
        "status": "healthy", "instance": "api", "version": "0.1.0", "pid": std::process::id(), "uptime": 0,
        "urls": ["https://localhost"], "control": server.socket(), "doing": "waiting for a first app", "apps": [],
        "certificates": [{"names": ["localhost"], "source": "self-signed", "expires_in": 60}]
    });
    assert_eq!((status.as_str(), body), ("200", expected));
}

#[tokio::test]
async fn registry_and_workers_are_objects_also_when_empty() {
    let server = Running::start();

    let registry = server.ask("GET /registry", "").await;
    assert_eq!(registry, ("200".into(), json!({"ok": true, "hosts": [], "entries": []})));

    let workers = server.ask("GET /workers", "").await;
    assert_eq!(workers, ("200".into(), json!({"workers": []})));
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let server = Running::start();

    let (head, body) = server.call("GET /metrics", "").await;

    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
}

#[tokio::test]
async fn stop_is_answered_and_asked_for_and_then_told_by_status() {
    let server = Running::start();

    let answer = server.ask("POST /stop", "").await;

    assert_eq!(answer, ("200".into(), json!({"ok": true, "drain": 30})));
    assert!(server.shutdown.is_requested() && !server.stop.is_requested());
    let (_, status) = server.ask("GET /status", "").await;
    assert_eq!(status["doing"], "stopping: requests in hand are finished first");
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    let server = Running::start();

    let (head, body) = server.call("PUT /registry", "").await;

    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("allow: GET, POST"), "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, refused("wrong-method", "`/registry` takes no PUT", None));
}

#[tokio::test]
async fn workers_that_want_to_join_by_themselves_are_told_why_not() {
    let server = Running::start();

    let (status, body) = server.ask("POST /worker", r#"{"op":"join","workerId":"1","socket":"/s"}"#).await;

    let message = "workers no longer join by themselves: the manager starts them and hands them their socket";
    let hint = "`POST /workers/scale` changes how many there are";
    assert_eq!((status.as_str(), body), ("410", refused("gone", message, Some(hint))));
}

#[tokio::test]
async fn a_body_that_makes_no_sense_is_shown_with_what_would() {
    let server = Running::start();
    let scale = r#"expected {"app":"blog","workers":"half"}, "auto", "2x" or "4"; app may be left out when there is one"#;
    let add = r#"expected {"host":"blog.example","path":"/srv/rip/blog"}; without path: the first app"#;

    for (request, body, message, hint) in [
        (
            "POST /workers/scale",
            r#"{"wrkers":"2"}"#,
            r#"cannot use the body `{"wrkers":"2"}`: unknown field `wrkers`, expected `app` or `workers` at line 1 column 9"#,
            scale,
        ),
        (
            "POST /workers/scale",
            "",
            "cannot use the body ``: EOF while parsing a value at line 1 column 0",
            scale,
        ),
        (
            "POST /registry",
            r#"{"host":"a..b"}"#,
            r#"cannot use the body `{"host":"a..b"}`: `a..b` is not a host name: expected something like `app.example.com`, `127.0.0.1` or `[::1]` at line 1 column 15"#,
            add,
        ),
        ("POST /registry", r#"{"host":"a.example","path":"b"}"#, "path: `b` is not absolute", add),
        (
            "POST /stop",
            r#"{"now":1}"#,
            r#"cannot use the body `{"now":1}`: unknown field `now`, there are no fields at line 1 column 6"#,
            "expected {} or nothing",
        ),
    ] {
        let answer = server.ask(request, body).await;
        assert_eq!(answer, ("400".into(), refused("bad-request", message, Some(hint))), "{request} {body}");
    }
    assert!(!server.shutdown.is_requested());
}

#[tokio::test]
async fn a_body_longer_than_a_mebibyte_is_refused() {
    let server = Running::start();
    let body = "x".repeat((1 << 20) + 1);

    let head = format!("POST /registry HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let (head, _) = exchange_slowly(&server.socket(), &head, body).await;

    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
}

/// Reads while it writes, as the server may answer before it has read everything.
async fn exchange_slowly(socket: &Path, head: &str, body: String) -> (String, String) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut answer = vec![0; 4096];
    let (_, length) = tokio::join!(async { drop(writer.write_all(body.as_bytes()).await) }, async {
        reader.read(&mut answer).await.unwrap()
    });
    answer.truncate(length);
    split(String::from_utf8(answer).unwrap())
}

#[tokio::test(start_paused = true)]
async fn who_is_too_slow_is_cut_off() {
    let server = Running::start();
    let started = Instant::now();

    let mut silent = UnixStream::connect(server.socket()).await.unwrap();
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(started.elapsed().as_secs(), 10);

    let request = "POST /deploy HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{";
    let (head, body) = exchange(&server.socket(), request).await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, refused("too-slow", "the body did not come within 10 s", None));
}

#[tokio::test]
async fn one_connection_carries_several_calls() {
    let server = Running::start();
    let requests = "GET /workers HTTP/1.1\r\nhost: x\r\n\r\nGET /workers HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    let mut stream = UnixStream::connect(server.socket()).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;

    assert_eq!(answer.matches("{\"workers\":[]}\n").count(), 2, "{answer}");
}

#[tokio::test]
async fn beyond_the_limit_connections_are_told_so_and_places_come_back() {
    let server = Running::start();
    let mut held = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        held.push(UnixStream::connect(server.socket()).await.unwrap());
    }

    let (status, body) = server.ask("GET /status", "").await;
    assert_eq!((status.as_str(), &body["error"]["code"]), ("503", &json!("busy")));

    held.clear();
    loop {
        let (status, _) = server.ask("GET /status", "").await;
        if status == "200" {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_half_way_harms_no_other() {
    let server = Running::start();
    for bytes in
        ["", "GET", "POST /registry HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{", "\0\r\n\r\n"]
    {
        let mut stream = UnixStream::connect(server.socket()).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    assert_eq!(server.ask("GET /status", "").await.0, "200");
}

#[tokio::test]
async fn when_it_ends_its_socket_goes() {
    let server = Running::start();
    let mut idle = UnixStream::connect(server.socket()).await.unwrap();
    assert_eq!(server.ask("GET /status", "").await.0, "200");

    server.stop.request();
    server.stop.finished().await;

    assert!(!server.socket().exists());
    assert_eq!(read_to_end(&mut idle).await, "");
}

#[tokio::test]
async fn lines_are_sent_as_they_come_until_the_end_is_requested() {
    use http_body_util::BodyExt;

    let (sender, lines) = tokio::sync::mpsc::channel(4);
    let stop = Stop::new();
    let mut body = reply::json_lines(lines, stop.clone()).into_body();
    let mut waiting = pin!(async move {
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        (first, body.frame().await.unwrap().unwrap().into_data().unwrap(), body.frame().await.is_none())
    });

    assert!(futures_util::poll!(&mut waiting).is_pending());
    sender.send(json!({"n": 1})).await.unwrap();
    assert!(futures_util::poll!(&mut waiting).is_pending());
    sender.send(json!({"n": 2})).await.unwrap();
    stop.request();

    let (first, second, ended) = waiting.await;
    assert_eq!((&first[..], &second[..], ended), (&b"{\"n\":1}\n"[..], &b"{\"n\":2}\n"[..], true));
}
