//! The limits of connections: how many, how slow, how long, until when.

use super::*;
use crate::api::endpoint::ObjectLines;
use crate::control::reply::EndpointAnswer;

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
    let stop = TaskGroup::new();
    let mut body = ObjectLines::into_reply(lines, stop.clone()).into_body();
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
