//! Many request bodies at once over one HTTP/2 connection: none keeps another from coming, whoever reads it and when.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::Full;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use tokio::time::timeout;

use crate::support::client::{Http2, whole};
use crate::support::{Reply, Server, Setup, has, soon, until};

const MIB: usize = 1 << 20;

/// A body like no other.
fn body(seed: usize, length: usize) -> Bytes {
    let mut state = seed as u64 + 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// The answer of `/digest` for these bytes.
fn digest(bytes: &[u8]) -> String {
    let hash = TLS13_AES_128_GCM_SHA256.tls13().unwrap().common.hash_provider.hash(bytes);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {hex}", bytes.len())
}

fn request(path: &str, kind: &str, body: &Bytes) -> Request<Full<Bytes>> {
    let request = Request::post(format!("https://localhost{path}")).header("content-type", kind);
    request.body(Full::new(body.clone())).unwrap()
}

async fn post(client: &Http2, path: &str, kind: &str, body: &Bytes) -> Reply {
    let mut sender = client.sender.clone();
    let answer = timeout(STANDSTILL, sender.send_request(request(path, kind, body))).await;
    whole(answer.expect("an answer's head").unwrap()).await.unwrap()
}

/// So many uploads at once, each answered for what it is.
async fn upload(client: &Http2, count: usize, length: usize, kind: &str) {
    let one = async |number: usize| {
        let body = body(number, length);
        let reply = post(client, &format!("/digest?{number}"), kind, &body).await;
        assert_eq!((reply.status, reply.text()), (200, digest(&body).as_str()), "{number}");
    };
    join_all((0..count).map(one)).await;
}

async fn queued(server: &Server) -> usize {
    server.status().await.apps[0].queued
}

/// A request that stands still does so for ever: no limit ends it before the test does.
fn setup() -> Setup {
    let setup = Setup::scripted().tls().server("limits.body_idle = \"10m\"");
    setup.rules("timeouts.queue = \"10m\"\ntimeouts.request = \"10m\"")
}

/// How long an answer is waited for: far longer than all of them take on a machine that is busy with something else.
const STANDSTILL: Duration = Duration::from_secs(90);

#[tokio::test]
async fn uploads_to_a_streamed_path_all_arrive_at_once() {
    for workers in ["w:1", "w:2"] {
        let server = setup().words(&[workers]).rules("stream = [\"/digest\"]").start().await;
        let client = server.http2().await;
        upload(&client, 8, 2 * MIB, "application/octet-stream").await;
        // As many as there may be at a time.
        upload(&client, 100, MIB / 4, "application/octet-stream").await;
        server.meeting.assert_no_violations();
    }
}

#[tokio::test]
async fn uploads_of_grpc_too() {
    let server = setup().start().await;
    upload(&server.http2().await, 8, 2 * MIB, "application/grpc+proto").await;
}

#[tokio::test]
async fn uploads_for_a_worker_that_speaks_http_2_too() {
    if !has("node", "nodejs") {
        return;
    }
    for words in [&["w:1"][..], &["w:2"], &["w:1", "c:8"]] {
        let server = setup().h2c().words(words).start().await;
        let client = server.http2().await;
        let one = async |number: usize| {
            let body = body(number, 2 * MIB);
            let reply = post(&client, "/echo", "application/grpc", &body).await;
            assert!(reply.status == 200 && reply.body == body, "{words:?}: {number}: {}", reply.status);
        };
        join_all((0..8).map(one)).await;
    }
}

#[tokio::test]
async fn a_stranger_and_others_of_the_connection_are_served_beside_uploads() {
    let server = setup().words(&["w:2"]).rules("stream = [\"/digest\"]").start().await;
    let client = server.http2().await;
    let others = async {
        for number in 0..10 {
            let small = body(number, 200_000);
            let mine = post(&client, "/echo", "text/plain", &small);
            let theirs = server.post("/echo", &small);
            let (mine, theirs) = tokio::join!(mine, theirs);
            assert!(mine.status == 200 && mine.body == small, "{}", mine.status);
            assert!(theirs.status == 200 && theirs.body == small, "{}", theirs.status);
        }
    };
    tokio::join!(upload(&client, 24, 2 * MIB, "text/plain"), others);
}

/// Bodies that nobody reads, because their requests wait for a worker that does not come, let one that is read come.
#[tokio::test]
async fn bodies_that_wait_and_are_given_up_leave_the_connection_as_it_was() {
    let setup = Setup::scripted().tls().rules("stream = [\"/digest\"]\ntimeouts.queue = \"4s\"");
    let server = setup.server("limits.body_idle = \"3s\"").start().await;
    let client = server.http2().await;
    let mut stranger = server.connect().await;
    stranger.send_get("/gate?name=g").await;
    server.meeting.reached("g").await;

    let wait = async |number: usize| {
        // The last one is collected, which must not stand still: it would be told that it is too slow.
        let path = if number == 89 { "/echo" } else { "/digest" };
        let reply = post(&client, path, "text/plain", &body(number, MIB / 2)).await;
        assert_eq!((reply.status, reply.reason()), (503, "queue-timeout"), "{path}");
    };
    // Two rounds are more than a connection has room for, if any of it was lost.
    for _ in 0..2 {
        join_all((0..90).map(wait)).await;
    }
    server.meeting.open("g");
    assert_eq!(stranger.reply("GET").await.status, 200);
    for _ in 0..4 {
        upload(&client, 4, MIB / 2, "text/plain").await;
    }
}

#[tokio::test]
async fn bodies_that_are_reset_while_they_wait_leave_the_connection_as_it_was() {
    let setup = Setup::scripted().tls().rules("stream = [\"/digest\"]\ntimeouts.queue = \"60s\"");
    let server = setup.start().await;
    let client = server.http2().await;
    let mut stranger = server.connect().await;
    stranger.send_get("/gate?name=g").await;
    server.meeting.reached("g").await;
    for round in 0..3 {
        let waiting: Vec<_> = (0..90)
            .map(|number| {
                client.sender.clone().send_request(request("/digest", "text/plain", &body(number, MIB)))
            })
            .collect();
        let mut waiting = Box::pin(join_all(waiting));
        tokio::select! {
            _ = &mut waiting => panic!("nobody is to answer, {round}"),
            () = until("90 requests wait", async || queued(&server).await == 90) => {}
        }
        drop(waiting);
        until("nobody waits", async || queued(&server).await == 0).await;
    }
    server.meeting.open("g");
    assert_eq!(stranger.reply("GET").await.status, 200);
    upload(&client, 16, 2 * MIB, "text/plain").await;
}

/// The other direction: what clients do not read of a worker's answers must not keep its other answers from coming.
#[tokio::test]
async fn a_worker_that_speaks_http_2_serves_others_while_clients_do_not_read() {
    if !has("node", "nodejs") {
        return;
    }
    let limits = "limits.reply_memory = \"64K\"\nlimits.reply_spool = \"1M\"";
    let server = Setup::scripted().h2c().server(limits).words(&["w:1", "c:20"]).start().await;
    let mut deaf = Vec::new();
    for _ in 0..12 {
        let mut conn = server.connect().await;
        conn.send_get("/big?bytes=30000000").await;
        assert_eq!(conn.head().await.status, 200);
        deaf.push(conn);
    }
    // The answers have come as far as they can when the worker is told to wait.
    let stand_still = async || server.meeting.has_reached("big.12.waits");
    until("the answers stand still", stand_still).await;
    for conn in 0..4 {
        let mut reader = server.connect().await;
        let reply = soon("an answer beside those that stand still", reader.get("/big?bytes=3000000")).await;
        assert_eq!((reply.status, reply.body.len()), (200, 3_000_000), "{conn}");
    }
}
