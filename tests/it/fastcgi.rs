//! Workers that speak FastCGI: what they are told, what becomes of their answers, and of those that are none.

use serde_json::Value;

use crate::support::{Server, Setup, until};

fn setup() -> Setup {
    Setup::scripted().fastcgi()
}

/// A request's variables as the worker got them.
async fn variables(
    server: &Server,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Value {
    let reply = server.ask(method, target, fields, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json::<Value>()["variables"].take()
}

#[tokio::test]
async fn a_request_is_told_in_variables() {
    let server = setup().tls().start().await;
    let fields = [
        ("Content-Type", "text/plain"),
        ("X-Custom", "one"),
        ("X-Custom", "two"),
        ("Cookie", "a=1"),
        ("Proxy", "evil.example"),
        ("X_Forwarded_For", "6.6.6.6"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("Authorization", "Basic dTpw"),
    ];
    let told = variables(&server, "POST", "/view/gr%C3%BC%C3%9Fe%20x/?a=b%20c", &fields, b"body").await;
    let port = server.port().to_string();
    for (name, value) in [
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/view/gr%C3%BC%C3%9Fe%20x/?a=b%20c"),
        ("PATH_INFO", "/view/grüße x/"),
        ("SCRIPT_NAME", ""),
        ("QUERY_STRING", "a=b%20c"),
        ("CONTENT_TYPE", "text/plain"),
        ("CONTENT_LENGTH", "4"),
        ("HTTPS", "on"),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PORT", &port),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REDIRECT_STATUS", "200"),
        ("HTTP_X_CUSTOM", "one, two"),
        ("HTTP_COOKIE", "a=1"),
        ("HTTP_AUTHORIZATION", "Basic dTpw"),
        ("HTTP_X_FORWARDED_FOR", "127.0.0.1"),
        ("HTTP_X_FORWARDED_PROTO", "https"),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    for name in
        ["HTTP_PROXY", "HTTP_X_REAL_IP", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_CONNECTION"]
    {
        assert_eq!(told[name], Value::Null, "{name}");
    }
    let told = variables(&server, "GET", "/view", &[], b"").await;
    assert_eq!((&told["CONTENT_LENGTH"], &told["QUERY_STRING"]), (&Value::Null, &"".into()));
    let reply = server.get("/view/a%00b").await;
    assert_eq!((reply.status, reply.reason()), (400, "malformed"));
}

#[tokio::test]
async fn a_trusted_proxy_says_who_asks() {
    let server = setup().server("trusted_proxies = [\"127.0.0.1\"]").start().await;
    let fields = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https")];
    let told = variables(&server, "GET", "/view", &fields, b"").await;
    assert_eq!((&told["REMOTE_ADDR"], &told["HTTPS"]), (&"203.0.113.9".into(), &"on".into()));
}

#[tokio::test]
async fn bodies_of_every_size_come_whole() {
    let server = setup().server("limits.body_memory = \"256K\"").start().await;
    for length in [0, 1, 65_535, 65_536, 200_000, 3 << 20] {
        let body: Vec<u8> = (0..length).map(|at| b'a' + (at % 23) as u8).collect();
        let seen: Value = server.post("/view", &body).await.json();
        assert_eq!(seen["variables"]["CONTENT_LENGTH"], length.to_string());
        assert!(seen["body"].as_str().unwrap().as_bytes() == body, "{length} bytes");
    }
    // The length of a body in chunks is known once the body is there.
    let mut conn = server.connect().await;
    conn.send("POST /view HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n").await;
    let seen: Value = conn.reply("POST").await.json();
    assert_eq!((&seen["variables"]["CONTENT_LENGTH"], &seen["body"]), (&"5".into(), &"abcde".into()));
}

#[tokio::test]
async fn a_body_of_a_streamed_path_passes_as_it_comes_if_its_length_is_known() {
    let server = setup().rules("stream = [\"/as-it-comes\"]").start().await;
    let mut conn = server.connect().await;
    conn.send("POST /as-it-comes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nhalf").await;
    server.meeting.reached("body.begun").await;
    conn.send("half").await;
    assert_eq!(conn.reply("POST").await.text(), "8 of 8\n");
    let mut conn = server.connect().await;
    conn.send("POST /as-it-comes HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n").await;
    assert_eq!(conn.reply("POST").await.text(), "4 of 4\n");
}

#[tokio::test]
async fn answers_come_as_they_are_however_they_are_cut() {
    let server = setup().start().await;
    for (output, status, body) in [
        ("Content-Type: text/plain\r\n\r\nhello", 200, "hello"),
        ("Content-Type: text/plain\nX-A: b\n\nhello", 200, "hello"),
        ("Status: 418 I'm a teapot\r\n\r\nshort and stout", 418, "short and stout"),
        ("Status: 201\r\n\r\n", 201, ""),
        ("Location: https://a.example/\r\n\r\n", 302, ""),
        ("Status: 301 Moved\r\nLocation: /there\r\n\r\n", 301, ""),
        ("Content-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello", 200, "hello"),
        ("Status: 304 Not Modified\r\n\r\n", 304, ""),
        ("Status: 204 No Content\r\n\r\n", 204, ""),
    ] {
        for cut in ["", "?cut=1", "?cut=7"] {
            let reply = server.post(&format!("/raw{cut}"), output.as_bytes()).await;
            assert_eq!((reply.status, reply.text()), (status, body), "{output:?} {cut}");
            assert_eq!(reply.field("status"), "");
        }
    }
    let head = server.ask("HEAD", "/view", &[], b"").await;
    assert_eq!((head.status, head.text()), (200, ""));
    for length in ["", "&length=1"] {
        let reply = server.get(&format!("/big?bytes=5000000{length}")).await;
        assert_eq!((reply.status, reply.body.len()), (200, 5_000_000));
        assert_eq!(reply.field("content-length") == "5000000", !length.is_empty());
    }
    assert_eq!(server.get("/nothing").await.status, 404);
}

#[tokio::test]
async fn an_answer_passes_as_it_comes() {
    let server = setup().start().await;
    let mut conn = server.connect().await;
    conn.send_get("/pieces").await;
    assert_eq!(conn.head().await.status, 200);
    assert_eq!(conn.chunk().await.unwrap(), b"begun,");
    server.meeting.open("pieces");
    assert_eq!(conn.chunk().await.unwrap(), b"ended");
    assert_eq!(conn.chunk().await, None);
    conn.send_get("/events").await;
    assert_eq!(conn.head().await.field("content-type"), "text/event-stream");
    assert_eq!(conn.chunk().await.unwrap(), b"data: one\n\n");
    server.meeting.open("events");
    assert_eq!(conn.chunk().await.unwrap(), b"data: two\n\n");
    assert_eq!(conn.chunk().await, None);
}

#[tokio::test]
async fn what_is_no_answer_is_refused() {
    let server = setup().start().await;
    for output in [
        "",
        "\r\n",
        "\r\nhello",
        "no field at all",
        "Content-Type: text/plain\r\nhalf a head",
        "Status: 42\r\n\r\n",
        "Status: 2000\r\n\r\n",
        "Status: 101 Switching Protocols\r\n\r\n",
        "Status: 200\r\nStatus: 200\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n\r\nfour",
        "bad name: x\r\n\r\n",
    ] {
        let reply = server.post("/raw", output.as_bytes()).await;
        assert_eq!((reply.status, reply.reason()), (502, "bad-answer"), "{output:?}");
    }
    let head = b"Content-Type: text/plain\r\n\r\n";
    let end = [1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let stdout = |version: u8, kind: u8, id: u8| {
        [&[version, kind, 0, id, 0, head.len() as u8, 0, 0][..], head, &end].concat()
    };
    assert_eq!(server.post("/bytes", &stdout(1, 6, 1)).await.status, 200);
    for bytes in [stdout(2, 6, 1), stdout(1, 5, 1), stdout(1, 6, 2), b"HTTP/1.1 200 OK\r\n\r\n".to_vec()] {
        let reply = server.post("/bytes", &bytes).await;
        assert_eq!((reply.status, reply.reason()), (502, "bad-answer"), "{}", bytes.escape_ascii());
    }
    assert_eq!(server.get("/view").await.status, 200);
}

#[tokio::test]
async fn an_answer_that_breaks_off_has_no_end() {
    let server = setup().start().await;
    let mut conn = server.connect().await;
    conn.send_get("/cut").await;
    let rest = conn.rest().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "an answer that is cut has no end");
    assert_eq!(server.record("/cut").await["reason"], "worker-died");
    for length in [3, 5] {
        let output = format!("Content-Length: {length}\r\n\r\nfour");
        let asked = format!(
            "POST /raw?{length} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{output}",
            output.len()
        );
        let mut conn = server.connect().await;
        conn.send(asked).await;
        conn.rest().await;
        let record = server.record(&format!("/raw?{length}")).await;
        assert!(record["outcome"] == "truncated" || record["status"] == 502, "{record}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again_unless_the_worker_closes_it() {
    let server = setup().start().await;
    let conn = async || server.get("/view").await.json::<Value>()["conn"].as_u64().unwrap();
    let first = conn().await;
    assert_eq!((conn().await, conn().await), (first, first));
    server.get("/big?bytes=300000").await;
    assert_eq!(conn().await, first);
    for (method, status) in [("GET", "204"), ("GET", "304"), ("HEAD", "200")] {
        let path = format!("/late-end?status={status}&name={method}{status}");
        let answered = server.ask(method, &path, &[], b"").await;
        assert_eq!((answered.status.to_string(), answered.text()), (status.to_owned(), ""));
        let (next, ()) =
            tokio::join!(conn(), async { server.meeting.open(&format!("end.{method}{status}")) });
        assert_eq!(next, first, "{method} {status}");
    }

    let server = setup().worker("IGNORE_KEEP", "1").start().await;
    let conn = async || server.get("/view").await.json::<Value>()["conn"].as_u64().unwrap();
    let first = conn().await;
    assert_eq!((conn().await, conn().await), (first + 1, first + 2));
}

#[tokio::test]
async fn a_worker_with_one_connection_serves_every_thread() {
    let server = setup().start().await;
    let asking = (0..8).map(|_| async {
        let mut conn = server.connect().await;
        for _ in 0..50 {
            conn.send_get("/view").await;
            assert_eq!(conn.reply("GET").await.status, 200);
        }
    });
    futures_util::future::join_all(asking).await;
}

#[tokio::test]
async fn what_a_worker_says_behind_its_answer_is_nobodys() {
    let server = setup().start().await;
    for _ in 0..20 {
        assert_eq!(server.get("/stray").await.text(), "answer\n");
        assert_eq!(server.get("/view").await.status, 200);
    }
    until("it is noted", async || server.output().contains("bytes that belong to no answer")).await;
}

#[tokio::test]
async fn another_worker_is_asked_where_the_first_cannot_have_acted() {
    let server = setup().words(&["w:2"]).start().await;
    assert_eq!(server.get("/die").await.text(), "alive\n");
    server.await_ready().await;
    let reply = server.post("/die?always=1", b"x").await;
    assert_eq!((reply.status, reply.reason()), (502, "worker-died"));
    server.await_ready().await;
    assert_eq!(server.post("/overloaded", b"precious").await.text(), "taken\n");
    let tries = server.meeting.targets().iter().filter(|target| *target == "/overloaded").count();
    assert_eq!(tries, 2);
    let reply = server.post("/deaf", &vec![b'x'; 4 << 20]).await;
    assert_eq!((reply.status, reply.text()), (403, "refused\n"), "an answer before the body is an answer");
}

#[tokio::test]
async fn a_worker_has_its_time_and_no_more() {
    let server = setup().rules("timeouts.request = \"1s\"\ntimeouts.body_idle = \"1s\"").start().await;
    let before = server.worker_pids().await;
    let reply = server.get("/hang").await;
    assert_eq!((reply.status, reply.reason()), (504, "worker-timeout"));
    assert_eq!(server.get("/view").await.status, 200);
    assert_ne!(server.worker_pids().await, before);
    let mut conn = server.connect().await;
    conn.send_get("/stall").await;
    assert!(!conn.rest().await.ends_with(b"0\r\n\r\n"));
    assert_eq!(server.record("/stall").await["reason"], "worker-stalled");
    assert_eq!(server.get("/view").await.status, 200);
}

#[tokio::test]
async fn a_worker_is_free_when_its_client_has_gone() {
    let server = setup().start().await;
    let before = server.worker_pids().await;
    let mut conn = server.connect().await;
    conn.send_get("/until-gone").await;
    assert_eq!(conn.head().await.status, 200);
    drop(conn);
    server.meeting.reached("gone").await;
    assert_eq!(server.get("/view").await.status, 200);
    assert_eq!(server.worker_pids().await, before);
}

#[tokio::test]
async fn standard_error_is_in_the_log_and_not_in_the_answer() {
    let server = setup().start().await;
    assert_eq!(server.get("/stderr").await.text(), "said\n");
    for line in ["PHP Warning: first", "second", "last without end"] {
        until(line, async || server.output().json().iter().any(|row| row["message"] == line)).await;
        let logs = server.ctl(&["logs", "scripted"]).await.expect(0).out;
        assert!(logs.lines().any(|row| row.ends_with(line) && row.contains("scripted")), "{line}: {logs}");
    }
}

#[tokio::test]
async fn the_prefix_of_a_route_stands_in_script_name() {
    let server = setup().rules("hosts = [\"a.example/my/app\", \"b.example\"]\nstrip = true").start().await;
    for (host, path, uri, script, info, field) in [
        (
            "a.example",
            "/my/app/view/x%20y?a=b",
            "/my/app/view/x%20y?a=b",
            "/my/app",
            "/view/x y",
            "/my/app".into(),
        ),
        ("a.example", "/my/%61pp/view", "/my/app/view", "/my/app", "/view", "/my/app".into()),
        ("b.example", "/view?/my/app", "/view?/my/app", "", "/view", Value::Null),
    ] {
        let fields = [("Host", host), ("X-Forwarded-Prefix", "/evil")];
        let told = variables(&server, "GET", path, &fields, b"").await;
        for (name, value) in [
            ("REQUEST_URI", uri.into()),
            ("SCRIPT_NAME", script.into()),
            ("PATH_INFO", info.into()),
            ("HTTP_X_FORWARDED_PREFIX", field),
        ] {
            assert_eq!(told[name], value, "{name} of {host}{path}");
        }
    }
}
