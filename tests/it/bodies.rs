//! Bodies of requests and answers: whole, large, slow; who waits for whom, and in how much memory.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;

use crate::support::client::whole;
use crate::support::disk::TinyDisk;
use crate::support::{Setup, soon, tls, until};

const MIB: usize = 1 << 20;

/// Bytes that are not the same anywhere near.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// The answer of `/digest` for these bytes.
fn digest(bytes: &[u8]) -> String {
    let hash = TLS13_AES_128_GCM_SHA256.tls13().unwrap().common.hash_provider.hash(bytes);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {hex}", bytes.len())
}

/// The answer of `/big`.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| at as u8).collect()
}

#[tokio::test]
async fn a_body_arrives_intact_whatever_its_size() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    // Around what is kept in memory (64 KiB), and around a chunk of it.
    for size in [0, 1, 8191, 65_535, 65_536, 65_537, 200_000, 5 * MIB] {
        let body = noise(size);
        conn.send(format!("POST /digest HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"))
            .await;
        conn.send(&body).await;
        assert_eq!(conn.reply("POST").await.text(), digest(&body), "{size}");
    }
}

#[tokio::test]
async fn a_chunked_body_arrives_intact_and_with_its_length() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    for size in [0, 1, 70_000, 3 * MIB] {
        let body = noise(size);
        conn.send("POST /digest HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for piece in body.chunks(9_999) {
            conn.send([format!("{:X};note=1\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
        }
        conn.send("0\r\nContent-Type: dropped\r\n\r\n").await;
        assert_eq!(conn.reply("POST").await.text(), digest(&body), "{size}");
    }
    for view in server.meeting.views() {
        assert!(view.field("content-length").is_some(), "{view:?}");
        assert_eq!(view.field("transfer-encoding"), None);
        assert_eq!(view.field("content-type"), None);
    }
}

#[tokio::test]
async fn an_upload_of_50_mb_is_put_aside_and_arrives_intact() {
    let server = Setup::scripted().start().await;
    let before = server.peak_memory();
    let body = noise(50 * MIB);
    let reply = server.post("/digest", &body).await;
    assert_eq!(reply.text(), digest(&body));
    let grown = server.peak_memory() - before;
    assert!(grown < 24 * MIB as u64, "the server grew by {} KiB", grown / 1024);
}

#[tokio::test]
async fn a_download_of_100_mb_takes_little_memory() {
    for setup in [Setup::scripted(), Setup::scripted().tls()] {
        let server = setup.start().await;
        let before = server.peak_memory();
        let size = 100 * MIB;
        let mut conn = server.connect().await;
        conn.send_get(&format!("/big?bytes={size}")).await;
        assert_eq!(conn.head().await.field("content-length"), size.to_string());
        let pattern = pattern(MIB);
        for at in 0..100 {
            assert!(conn.exactly(MIB).await.unwrap() == pattern, "MiB {at} is wrong");
        }
        let grown = server.peak_memory() - before;
        assert!(grown < 32 * MIB as u64, "the server grew by {} KiB", grown / 1024);
        assert_eq!(conn.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn a_slow_sender_holds_no_worker() {
    let server = Setup::scripted().start().await;
    let mut slow = server.connect().await;
    slow.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf ").await;
    assert_eq!(server.get("/").await.status, 200, "the only worker is free");
    assert_eq!(server.meeting.targets(), ["/"], "the half request has not reached it");
    slow.send("whole").await;
    assert_eq!(slow.reply("POST").await.text(), "half whole");
}

#[tokio::test]
async fn a_slow_reader_holds_no_worker() {
    let server = Setup::scripted().start().await;
    let size = 10 * MIB;
    let mut slow = server.connect().await;
    slow.send_get(&format!("/big?bytes={size}&name=sent")).await;
    server.meeting.reached("sent").await;
    assert_eq!(server.get("/").await.status, 200, "the only worker is free");
    let reply = slow.reply("GET").await;
    assert!(reply.body == pattern(size));
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_slow_reader_of_http_2_holds_neither_the_worker_nor_its_connection() {
    let server = Setup::scripted().tls().start().await;
    let mut http2 = server.http2().await;
    let size = 10 * MIB;
    let request = Request::get(format!("https://localhost/big?bytes={size}&name=sent"));
    let slow = http2.send(request.body(Full::default()).unwrap()).await.unwrap();
    server.meeting.reached("sent").await;
    assert_eq!(http2.get("/").await.status, 200);
    assert!(whole(slow).await.unwrap().body == pattern(size));
}

#[tokio::test]
async fn an_answer_beyond_memory_and_file_makes_its_worker_wait_and_is_whole() {
    let server = Setup::scripted()
        .server("limits.reply_memory = \"64K\"\nlimits.reply_spool = \"256K\"")
        .words(&["w:2"])
        .start()
        .await;
    let size = 24 * MIB;
    let mut slow = server.connect().await;
    slow.send_get(&format!("/big?bytes={size}&name=sent")).await;
    slow.head().await;
    assert_eq!(server.get("/").await.status, 200, "the other worker is free");
    assert!(!server.meeting.has_reached("sent"), "more was taken in than there is room for");
    assert!(slow.exactly(size).await.unwrap() == pattern(size));
    server.meeting.reached("sent").await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_and_its_worker_freed() {
    let server = Setup::scripted()
        .server("limits.write_idle = \"1s\"\nlimits.reply_memory = \"64K\"\nlimits.reply_spool = \"64K\"")
        .start()
        .await;
    let mut slow = server.connect().await;
    slow.send_get("/endless?name=noticed").await;
    slow.head().await;
    server.meeting.reached("noticed").await;
    assert_eq!(server.get("/").await.status, 200);
    let record = server.record("/endless?name=noticed").await;
    assert_ne!(record["outcome"], "complete", "{record}");
}

#[tokio::test]
async fn an_http_2_client_that_takes_no_answer_is_cut_and_one_that_waits_for_the_worker_is_not() {
    let server = Setup::scripted().server("limits.write_idle = \"1s\"").words(&["w:2"]).tls().start().await;
    let mut waiting = server.http2().await;
    let request = Request::get("https://localhost/chunks?n=2&name=c").body(Full::default()).unwrap();
    let slow = waiting.send(request).await.unwrap();

    let stream = tls::connect(server.port(), "localhost", &["h2"]).await.unwrap();
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) =
        builder.initial_stream_window_size(0).handshake(TokioIo::new(stream)).await.unwrap();
    let asking = async {
        let mut answers = Vec::new();
        for _ in 0..20 {
            let request = Request::get("https://localhost/?untaken").body(Full::<Bytes>::default()).unwrap();
            answers.push(sender.send_request(request).await.unwrap());
        }
        // The heads are there, and nobody reads a body.
        std::future::pending::<()>().await;
    };
    // Pings are answered all the while.
    tokio::select! {
        () = asking => {}
        _ = soon("the server ends the connection", connection) => {}
    }
    server.meeting.open("c.1");
    assert_eq!(whole(slow).await.unwrap().text(), "chunk 0\nchunk 1\n");
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body_comes() {
    let server = Setup::scripted().start().await;
    let mut conn = server.connect().await;
    let head = "POST /view HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    conn.send(head).await;
    assert_eq!(conn.head().await.status, 100);
    conn.send("12345").await;
    let seen = conn.reply("POST").await.view();
    assert_eq!((seen.length, seen.field("expect")), (5, None));
}

#[tokio::test]
async fn expect_100_continue_is_refused_when_the_body_would_be_too_large() {
    let server = Setup::scripted().words(&["--max-request-body=1000"]).start().await;
    let head =
        "POST /view HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n";
    let mut conn = server.connect().await;
    conn.send(head).await;
    let reply = conn.head().await;
    assert_eq!((reply.status, reply.reason()), (413, "body-too-large"));
}

#[tokio::test]
async fn a_body_on_a_streamed_path_reaches_the_worker_as_it_comes() {
    let server = Setup::scripted().rules("stream = [\"/pieces\"]").start().await;
    let mut conn = server.connect().await;
    conn.send("POST /pieces?name=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nab").await;
    server.meeting.reached("a.2").await;
    conn.send("cd").await;
    server.meeting.reached("a.4").await;
    conn.send("ef").await;
    assert_eq!(conn.reply("POST").await.text(), "6");

    conn.send("POST /pieces/below?name=b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    server.meeting.reached("b.2").await;
    conn.send("1\r\nc\r\n").await;
    server.meeting.reached("b.3").await;
    conn.send("0\r\n\r\n").await;
    assert_eq!(conn.reply("POST").await.text(), "3");
    let framings: Vec<_> =
        server.meeting.views().iter().map(|view| view.field("content-length").is_some()).collect();
    assert_eq!(framings, [true, false]);
}

#[tokio::test]
async fn a_large_streamed_body_arrives_intact_in_little_memory() {
    let server = Setup::scripted().rules("stream = [\"/digest\"]").start().await;
    let before = server.peak_memory();
    let body = noise(50 * MIB);
    assert_eq!(server.post("/digest", &body).await.text(), digest(&body));
    let grown = server.peak_memory() - before;
    assert!(grown < 24 * MIB as u64, "the server grew by {} KiB", grown / 1024);
}

#[tokio::test]
async fn a_streamed_body_that_breaks_off_never_looks_complete() {
    let server = Setup::scripted().rules("stream = [\"/pieces\"]").start().await;
    let mut conn = server.connect().await;
    conn.send(
        "POST /pieces?name=a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    )
    .await;
    server.meeting.reached("a.2").await;
    drop(conn);
    // The only worker is free again once it has noticed.
    assert_eq!(server.get("/").await.status, 200);
    server.meeting.assert_no_violations();
    assert_eq!(server.record("/pieces?name=a").await["status"], 499);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_read_reaches_the_client() {
    for rules in ["", "stream = [\"/refuse-unread\"]"] {
        let server = Setup::scripted().rules(rules).start().await;
        let reply = server.post("/refuse-unread", &noise(3 * MIB)).await;
        assert_eq!((reply.status, reply.text()), (413, "too much for me\n"), "{rules}");
        assert_eq!(server.get("/").await.status, 200, "{rules}");
        server.meeting.assert_no_violations();
    }
}

#[tokio::test]
async fn a_worker_that_takes_no_more_of_a_body_is_replaced() {
    for rules in ["", "stream = [\"/hang\"]"] {
        let server = Setup::scripted().rules("timeouts.request = \"1s\"").rules(rules).start().await;
        let reply = server.post("/hang", &noise(3 * MIB)).await;
        assert_eq!((reply.status, reply.reason()), (504, "worker-timeout"), "{rules}");
        assert_eq!(server.get("/").await.status, 200, "{rules}");
    }
}

#[tokio::test]
async fn a_worker_that_takes_no_more_of_a_body_is_replaced_although_the_client_has_gone() {
    for rules in ["", "stream = [\"/hang\"]"] {
        let server = Setup::scripted().rules("timeouts.request = \"2s\"").rules(rules).start().await;
        let mut conn = server.connect().await;
        let head = format!(
            "POST /hang?name=stuck HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            3 * MIB
        );
        let sending = async {
            conn.send(head).await;
            let _ = conn.try_send(noise(3 * MIB)).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = sending => {}
            () = server.meeting.reached("stuck") => {}
        }
        drop(conn);
        assert_eq!(server.get("/").await.status, 200, "{rules}");
    }
}

#[tokio::test]
async fn the_largest_body_passes_and_one_byte_more_is_413() {
    let server = Setup::scripted().words(&["--max-request-body=100000"]).start().await;
    assert_eq!(server.post("/digest", &noise(100_000)).await.text(), digest(&noise(100_000)));
    let reply = server.post("/digest", &noise(100_001)).await;
    assert_eq!((reply.status, reply.reason(), reply.field("connection")), (413, "body-too-large", "close"));

    let mut conn = server.connect().await;
    conn.send("POST /digest HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    conn.send([b"186A1\r\n", noise(100_001).as_slice(), b"\r\n0\r\n\r\n"].concat()).await;
    let reply = conn.reply("POST").await;
    assert_eq!((reply.status, reply.reason(), reply.field("connection")), (413, "body-too-large", "close"));
    assert_eq!(server.meeting.targets().len(), 1, "no worker saw more than the first");
}

#[tokio::test]
async fn a_refusal_is_read_even_by_a_client_that_only_sends() {
    let server = Setup::scripted().words(&["--max-request-body=1000"]).start().await;
    // More than the sockets hold: the client is still sending when the answer comes.
    let reply = server.post("/digest", &noise(3 * MIB)).await;
    assert_eq!((reply.status, reply.reason()), (413, "body-too-large"));
}

#[tokio::test]
async fn a_body_that_stalls_is_408() {
    let server = Setup::scripted().server("limits.body_idle = \"1s\"").start().await;
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let mut conn = server.connect().await;
        conn.send(format!("POST /echo HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n4\r\nab")).await;
        let reply = conn.reply("POST").await;
        assert_eq!((reply.status, reply.reason(), reply.field("connection")), (408, "too-slow", "close"));
    }
    assert_eq!(server.meeting.targets(), [""; 0]);
}

#[tokio::test]
async fn a_streamed_body_that_stalls_is_408_and_frees_the_worker() {
    let server =
        Setup::scripted().server("limits.body_idle = \"1s\"").rules("stream = [\"/pieces\"]").start().await;
    let mut conn = server.connect().await;
    conn.send("POST /pieces?name=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nab").await;
    let reply = conn.reply("POST").await;
    assert_eq!((reply.status, reply.reason()), (408, "too-slow"));
    assert_eq!(server.get("/").await.status, 200);
    server.meeting.assert_no_violations();
}

#[tokio::test]
async fn a_body_over_http_2_that_is_too_large_is_413() {
    let server = Setup::scripted().words(&["--max-request-body=1000"]).tls().start().await;
    let mut http2 = server.http2().await;
    let request =
        Request::post("https://localhost/echo").body(Full::new(Bytes::from(noise(200_000)))).unwrap();
    let reply = whole(http2.send(request).await.unwrap()).await.unwrap();
    assert_eq!((reply.status, reply.reason()), (413, "body-too-large"));
    assert_eq!(http2.get("/").await.status, 200, "the connection lives on");
}

#[tokio::test]
async fn an_upload_that_breaks_off_reaches_no_worker() {
    let server = Setup::scripted().start().await;
    for framing in ["Content-Length: 10\r\n\r\nhalf ", "Transfer-Encoding: chunked\r\n\r\n5\r\nhalf \r\n"] {
        let mut conn = server.connect().await;
        conn.send(format!("POST /echo?cut HTTP/1.1\r\nHost: localhost\r\n{framing}")).await;
        drop(conn);
    }
    for record in server.records("/echo?cut", 2).await {
        assert_eq!((&record["status"], &record["reason"]), (&499.into(), &"client-gone".into()), "{record}");
    }
    assert_eq!(server.meeting.targets(), [""; 0]);
}

#[tokio::test]
async fn a_request_to_upgrade_that_has_a_body_keeps_it() {
    let server = Setup::scripted().start().await;
    let fields = [("Connection", "upgrade"), ("Upgrade", "something")];
    let reply = server.ask("POST", "/echo", &fields, b"the body").await;
    assert_eq!(reply.text(), "the body");
}

#[tokio::test]
async fn a_full_disk_refuses_what_must_be_put_aside_and_nothing_else() {
    let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    let Some(_disk) = TinyDisk::mount(folder.path().join("state")) else {
        return crate::support::skip("a full disk: mounting a small one needs root");
    };
    let server = Setup::scripted().server("limits.body_room = \"off\"").start_in(folder).await;
    let reply = server.post("/digest", &noise(3 * MIB)).await;
    assert_eq!((reply.status, reply.reason()), (503, "spool"));
    let small = noise(40_000);
    assert_eq!(
        server.post("/digest", &small).await.text(),
        digest(&small),
        "what fits into memory needs no disk"
    );
    let large = server.get(&format!("/big?bytes={}", 20 * MIB)).await;
    assert!(large.body == pattern(20 * MIB), "an answer waits in its worker instead");
    let medium = noise(700_000);
    until("the place is given back", || async { server.post("/digest", &medium).await.status == 200 }).await;
}
