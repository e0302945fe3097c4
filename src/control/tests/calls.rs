//! Every call and its answer.

use super::*;

#[tokio::test]
async fn status_tells_the_facts() {
    let server = Running::start();

    let (status, body) = server.ask("GET /status", "").await;

    let expected = json!({
        "status": "healthy", "instance": "api", "version": "0.1.0", "pid": std::process::id(), "uptime": 0,
        "urls": ["https://localhost"], "control": server.socket(), "drained": false, "doing": "waiting for a first app", "apps": [],
        "certificates": [{"names": ["localhost"], "source": "self-signed", "expires_in": 60}],
        "backend": {"name": "child", "why": "as a test"}
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

    assert_eq!(answer, ("200".into(), json!({"ok": true, "drain": 30, "lame_duck": 0})));
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
        (
            "POST /registry",
            r#"{"host":"a.example","path":"b"}"#,
            "the path `b` is not absolute",
            "give the whole path, from `/` on",
        ),
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
async fn hosts_are_added_changed_listed_and_removed() {
    let server = Running::with_blog().await;
    let entry = |host, (state, intent), origin| json!({"host": host, "app": "blog", "state": state, "intent": intent, "live": true, "origin": origin});
    let (running, paused) = (("running", "run"), ("paused", "hold"));

    let added = server.ask("POST /registry", r#"{"host":"B.Example"}"#).await;
    let expected = json!({"ok": true, "changed": true, "entry": entry("b.example", running, "added")});
    assert_eq!(added, ("200".into(), expected));

    let changed = server.ask("POST /registry/b.example/state", r#"{"state":"paused"}"#).await;
    let expected = json!({"ok": true, "changed": true, "entry": entry("b.example", paused, "added")});
    assert_eq!(changed, ("200".into(), expected));

    let listed = server.ask("GET /registry", "").await;
    let entries = [entry("b.example", paused, "added"), entry("blog.example", running, "config")];
    let expected = json!({"ok": true, "hosts": ["b.example", "blog.example"], "entries": entries});
    assert_eq!(listed, ("200".into(), expected));

    let removed = server.ask("DELETE /registry/b.example", "").await;
    assert_eq!(removed, ("200".into(), json!({"ok": true, "changed": true})));
}

#[tokio::test]
async fn the_words_for_the_states_that_were_said_before_are_understood() {
    let server = Running::with_blog().await;

    for (path, word, state) in
        [("intent", "hold", "paused"), ("state", "stop", "stopped"), ("intent", "running", "running")]
    {
        let body = format!(r#"{{"intent":"{word}"}}"#);
        let (status, body) = server.ask(&format!("POST /registry/blog.example/{path}"), &body).await;
        assert_eq!((status.as_str(), &body["entry"]["state"]), ("200", &json!(state)), "{word}");
    }
}

#[tokio::test]
async fn what_the_manager_refuses_is_told_in_its_words() {
    let server = Running::with_blog().await;

    for (request, body, status, code, message) in [
        ("DELETE /registry/a.example", "", "404", "no-such-host", "there is no host `a.example`"),
        (
            "POST /registry/a.example/state",
            r#"{"state":"running"}"#,
            "404",
            "no-such-host",
            "there is no host `a.example`",
        ),
        (
            "DELETE /registry/blog.example",
            "",
            "409",
            "conflict",
            "the host `blog.example` comes with the settings of the app `blog`",
        ),
        (
            "POST /registry",
            r#"{"host":"a.example","path":"/srv/rip/no app"}"#,
            "422",
            "rejected",
            "`no app` is no app",
        ),
        ("POST /deploy", r#"{"app":"shop"}"#, "404", "no-such-app", "there is no app `shop`"),
        ("GET /logs?app=shop", "", "404", "no-such-app", "there is no app `shop`"),
        ("POST /workers/scale", r#"{"workers":"0"}"#, "400", "bad-request", "`0` is not a number of workers"),
    ] {
        let (got, body) = server.ask(request, body).await;
        let error = &body["error"];
        assert_eq!(
            (got.as_str(), &error["code"], &error["message"]),
            (status, &json!(code), &json!(message))
        );
    }
}

#[tokio::test]
async fn a_deploy_is_told_line_by_line_to_its_end() {
    let server = Running::with_blog().await;

    let (head, body) = server.call("POST /deploy", "").await;

    assert!(head.contains("content-type: application/x-ndjson"), "{head}");
    let lines = lines(&body);
    let starting = json!({"event": "starting", "app": "blog", "generation": 2, "workers": 2});
    assert_eq!(lines.first(), Some(&starting));
    let done = lines.last().unwrap();
    assert_eq!((&done["event"], &done["generation"]), (&json!("done"), &json!(2)));
}

#[tokio::test]
async fn a_deploy_goes_on_when_its_client_leaves() {
    let server = Running::with_blog().await;
    let ready_after = Some(Duration::from_millis(100));
    server.workers.script(move |_| Behaviour { ready_after, ..Behaviour::default() });

    let mut client = UnixStream::connect(server.socket()).await.unwrap();
    client.write_all(b"POST /deploy HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    client.readable().await.unwrap();
    drop(client);

    loop {
        let (_, status) = server.ask("GET /status", "").await;
        if status["apps"][0]["generation"] == 2 {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_rejected_deploy_says_what_the_workers_wrote() {
    let server = Running::with_blog().await;
    let events = server.events.clone();
    server.workers.script(move |order| {
        events.try_send(WorkerEvent::Output(order.worker, "Error: no database".into())).unwrap();
        let exit_after = Some((Duration::ZERO, WorkerExit::Status(1)));
        Behaviour { ready_after: None, exit_after, ..Behaviour::default() }
    });

    let (_, body) = server.call("POST /deploy", r#"{"app":"blog"}"#).await;

    let last = lines(&body).pop().unwrap();
    assert_eq!((&last["event"], &last["rejection"]["generation"]), (&json!("rejected"), &json!(2)));
    assert_eq!(last["rejection"]["output"][0], "Error: no database");
    let (_, status) = server.ask("GET /status", "").await;
    assert_eq!((&status["status"], &status["apps"][0]["generation"]), (&json!("healthy"), &json!(1)));
}

#[tokio::test]
async fn workers_are_counted_and_changed_in_number() {
    let server = Running::with_blog().await;

    let scaled = server.ask("POST /workers/scale", r#"{"workers":"3"}"#).await;
    assert_eq!(scaled, ("200".into(), json!({"ok": true, "app": "blog", "before": 2, "now": 3})));

    loop {
        let (_, body) = server.call("GET /workers", "").await;
        let workers: crate::api::WorkerList = serde_json::from_str(&body).unwrap();
        if workers.workers.iter().filter(|worker| worker.state == WorkerState::Idle).count() == 3 {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn logs_are_followed_until_the_server_ends() {
    let server = Running::with_blog().await;
    let wrote = |line: &str| WorkerEvent::Output(WorkerId(1), line.into());
    server.events.send(wrote("one")).await.unwrap();
    while lines(&server.call("GET /logs?app=blog", "").await.1).is_empty() {}

    let request = "GET /logs?lines=1&follow=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut follower = UnixStream::connect(server.socket()).await.unwrap();
    follower.write_all(request.as_bytes()).await.unwrap();
    follower.readable().await.unwrap();
    server.events.send(wrote("two")).await.unwrap();
    let mut answer = String::new();
    while !answer.contains("two") {
        let mut bytes = [0; 1024];
        let length = follower.read(&mut bytes).await.unwrap();
        answer += std::str::from_utf8(&bytes[..length]).unwrap();
    }

    server.stop.request();
    answer += &read_to_end(&mut follower).await;
    assert!(answer.contains(r#""line":"one""#) && answer.ends_with("0\r\n\r\n"), "{answer}");
}

/// The JSON lines of a chunked body whose chunks are whole lines.
fn lines(body: &str) -> Vec<Value> {
    body.lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
